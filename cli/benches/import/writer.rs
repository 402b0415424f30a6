//! Files with any number of identities. `pkcs12::write` makes files of one, with as many rounds as OpenSSL would take for
//! seventy.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use cardcase::manage::Certificate;
use der::Encode;
use p12::{
    AlgorithmIdentifier, CertBag, ContentInfo, EncryptedContentInfo, EncryptedData, EncryptedPrivateKeyInfo, MacData,
    OtherAlgorithmIdentifier, PFX, PKCS12Attribute, SafeBag, SafeBagKind,
};
use pkcs8::pkcs5::pbes2;
use sha1::{Digest, Sha1};
use yasna::construct_der;
use yasna::models::ObjectIdentifier;

use crate::pki::Leaf;

/// OpenSSL's.
const ROUNDS: u32 = 2048;

/// Key, certificate and the certificate of the issuer.
pub(crate) fn pem(leaf: &Leaf, issuer: &Certificate) -> String {
    let block = |label: &str, der: &[u8]| {
        let lines: Vec<String> = der.chunks(48).map(|line| BASE64_STANDARD.encode(line)).collect();
        format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
    };
    let certificates = [leaf.certificate.der(), issuer.der()].map(|der| block("CERTIFICATE", der)).concat();
    block("PRIVATE KEY", &leaf.pkcs8) + &certificates
}

/// A file as OpenSSL 3 writes it, but with many identities in it and a MAC with SHA-1: the certificates encrypted together,
/// each key for itself.
pub(crate) fn p12(leaves: &[Leaf], password: &str) -> Vec<u8> {
    let certificates =
        leaves.iter().map(|leaf| bag(leaf, SafeBagKind::CertBag(CertBag::X509(leaf.certificate.der().to_vec()))));
    let (content_encryption_algorithm, encrypted_content) = encrypt(&safe(certificates), password);
    let info = EncryptedContentInfo { content_encryption_algorithm, encrypted_content };
    let keys = leaves.iter().map(|leaf| {
        let (encryption_algorithm, encrypted_data) = encrypt(&leaf.pkcs8, password);
        bag(leaf, SafeBagKind::Pkcs8ShroudedKeyBag(EncryptedPrivateKeyInfo { encryption_algorithm, encrypted_data }))
    });
    let keys = ContentInfo::Data(safe(keys));
    let certificates = ContentInfo::EncryptedData(EncryptedData { encrypted_content_info: info });
    let contents = construct_der(|writer| {
        writer.write_sequence_of(|writer| [certificates, keys].iter().for_each(|content| content.write(writer.next())));
    });
    let utf16: Vec<u8> = password.encode_utf16().chain([0]).flat_map(u16::to_be_bytes).collect();
    let mac_data = Some(MacData::new(&contents, &utf16));
    PFX { version: 3, auth_safe: ContentInfo::Data(contents), mac_data }.to_der()
}

fn bag(leaf: &Leaf, bag: SafeBagKind) -> SafeBag {
    let name = PKCS12Attribute::FriendlyName(leaf.certificate.subject().common_name());
    let id = PKCS12Attribute::LocalKeyId(Sha1::digest(leaf.certificate.der()).to_vec());
    SafeBag { bag, attributes: vec![name, id] }
}

fn safe(bags: impl Iterator<Item = SafeBag>) -> Vec<u8> {
    construct_der(|writer| writer.write_sequence_of(|writer| bags.for_each(|bag| bag.write(writer.next()))))
}

fn encrypt(plaintext: &[u8], password: &str) -> (AlgorithmIdentifier, Vec<u8>) {
    let (mut salt, mut iv) = ([0; 8], [0; 16]);
    getrandom::fill(&mut salt).unwrap();
    getrandom::fill(&mut iv).unwrap();
    let parameters = pbes2::Parameters::generate_pbkdf2_sha256_aes256cbc(ROUNDS, &salt, iv).unwrap();
    let ciphertext = parameters.encrypt(password, plaintext).unwrap();
    let algorithm_type = ObjectIdentifier::from_slice(&[1, 2, 840, 113_549, 1, 5, 13]);
    let params = Some(parameters.to_der().unwrap());
    (AlgorithmIdentifier::OtherAlg(OtherAlgorithmIdentifier { algorithm_type, params }), ciphertext)
}
