//! Private keys as OpenSSL encrypted them before PKCS#8: with `Proc-Type` and `DEK-Info` headers (RFC 1421 sections 4.6.1.1 and
//! 4.6.1.3), and a key from one round of MD5 (`EVP_BytesToKey`).

use cbc::cipher::block_padding::Pkcs7;
use cbc::cipher::{BlockCipherDecrypt, BlockModeDecrypt, KeyInit, KeyIvInit};
use data_encoding::HEXUPPER_PERMISSIVE;
use md5::{Digest, Md5};
use zeroize::Zeroizing;

use super::structure;
use crate::error::file::{Error, damaged};
use crate::file::pkcs12::{Candidates, Form};

type Plaintext = Zeroizing<Vec<u8>>;

/// CBC with one cipher: key, IV and ciphertext to plaintext, or `None` when they do not fit.
type Decrypt = fn(&[u8], &[u8], &[u8]) -> Option<Plaintext>;

/// An encrypted private key, with its parameters.
pub(super) struct Ciphertext {
    key_size: usize,
    iv: Vec<u8>,
    /// The beginning of the IV.
    salt: [u8; 8],
    decrypt: Decrypt,
    ciphertext: Plaintext,
}

impl Ciphertext {
    /// # Errors
    /// [`Error::Unsupported`] for other ciphers.
    pub(super) fn read(dek_info: &str, ciphertext: Plaintext) -> Result<Self, Error> {
        let (cipher, iv) = dek_info.split_once(',').unwrap_or((dek_info, ""));
        let (key_size, block, decrypt): (_, _, Decrypt) = match cipher.trim().to_ascii_uppercase().as_str() {
            "AES-128-CBC" => (16, 16, cbc::<aes::Aes128>),
            "AES-192-CBC" => (24, 16, cbc::<aes::Aes192>),
            "AES-256-CBC" => (32, 16, cbc::<aes::Aes256>),
            "DES-EDE3-CBC" => (24, 8, cbc::<des::TdesEde3>),
            "DES-CBC" => (8, 8, cbc::<des::Des>),
            "CAMELLIA-128-CBC" => (16, 16, cbc::<camellia::Camellia128>),
            "CAMELLIA-192-CBC" => (24, 16, cbc::<camellia::Camellia192>),
            "CAMELLIA-256-CBC" => (32, 16, cbc::<camellia::Camellia256>),
            "ARIA-128-CBC" => (16, 16, cbc::<aria::Aria128>),
            "ARIA-192-CBC" => (24, 16, cbc::<aria::Aria192>),
            "ARIA-256-CBC" => (32, 16, cbc::<aria::Aria256>),
            "BF-CBC" => (16, 8, cbc::<blowfish::Blowfish>),
            "CAST5-CBC" => (16, 8, cbc::<cast5::Cast5>),
            "IDEA-CBC" => (16, 8, cbc::<idea::Idea>),
            other => return Err(unsupported(other)),
        };
        let iv = HEXUPPER_PERMISSIVE.decode(iv.trim().as_bytes()).ok().filter(|iv| iv.len() == block);
        let iv = iv.ok_or_else(|| damaged("the initialisation vector of an encrypted key"))?;
        let salt = *iv.first_chunk().ok_or_else(|| damaged("the salt of an encrypted key"))?;
        if ciphertext.is_empty() || !ciphertext.len().is_multiple_of(block) {
            return Err(damaged("an encrypted key that is not a number of whole blocks"));
        }
        Ok(Self { key_size, iv, salt, decrypt, ciphertext })
    }

    /// Decrypts the key, and returns it as PKCS#8; `None` when no password fits.
    pub(super) fn open(&self, candidates: &mut Candidates) -> Option<Plaintext> {
        let open = |password| {
            let key = derive(password, self.salt, self.key_size)?;
            structure::private_key(&(self.decrypt)(&key, &self.iv, &self.ciphertext)?)
        };
        let found = candidates.of(Form::Pkcs5).enumerate().find_map(|(index, password)| Some((index, open(password)?)));
        let (index, key) = found?;
        candidates.prefer(Form::Pkcs5, index);
        Some(key)
    }
}

fn unsupported(cipher: &str) -> Error {
    let name = cipher.chars().take(40).collect();
    Error::Unsupported { what: "cipher", name, advice: "write it as PKCS#8: openssl pkcs8 -topk8 -in FILE" }
}

/// `EVP_BytesToKey` with MD5 and one round.
fn derive(password: &[u8], salt: [u8; 8], size: usize) -> Option<Plaintext> {
    let mut key = Zeroizing::new(Vec::with_capacity(size + 16));
    while key.len() < size {
        let last = key.len().saturating_sub(16);
        let hash = Md5::new().chain_update(key.get(last..)?).chain_update(password).chain_update(salt);
        key.extend_from_slice(&hash.finalize());
    }
    key.truncate(size);
    Some(key)
}

fn cbc<C: BlockCipherDecrypt + KeyInit>(key: &[u8], iv: &[u8], ciphertext: &[u8]) -> Option<Plaintext> {
    let decryptor = cbc::Decryptor::<C>::new_from_slices(key, iv).ok()?;
    let mut buffer = Zeroizing::new(ciphertext.to_vec());
    let size = decryptor.decrypt_padded::<Pkcs7>(&mut buffer).ok()?.len();
    buffer.truncate(size);
    Some(buffer)
}
