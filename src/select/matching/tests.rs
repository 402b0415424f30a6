//! Certificates made on the spot, compared with requests.

use std::collections::HashSet;
use std::sync::Arc;

use rcgen::{CertificateParams, DnType, DnValue, ExtendedKeyUsagePurpose as Eku, KeyUsagePurpose as Ku};
use rustls::{ProtocolVersion, SignatureScheme as Scheme};

use super::{Considered, Matcher, Reason, Warning};
use crate::certificate::authority::{Authorities, Authority};
use crate::certificate::identity::Identity;
use crate::certificate::name::Name;
use crate::certificate::outline::{Outline, Outlines};
use crate::certificate::permission::Permit;
use crate::certificate::tried::Tried;
use crate::certificate::{Certificate, Fingerprint};
use crate::clock::Timestamp;
use crate::crypto;
use crate::pki::{Ca, DAY, Home, Leaf, NOW, ca_params, params, valid};
use crate::request::CertificateRequest;

/// Both libraries sign with the key.
const SIGNS: Tried = Tried { by_rustls: true, by_openssl: Some(true), is_lost: false };

const ECDSA: [Scheme; 3] =
    [Scheme::ECDSA_NISTP256_SHA256, Scheme::ECDSA_NISTP384_SHA384, Scheme::ECDSA_NISTP521_SHA512];

fn request(authorities: &[Name], schemes: &[Scheme]) -> CertificateRequest {
    let mut request = CertificateRequest::new(&[], schemes);
    request.authorities = authorities.to_vec();
    request
}

fn known(certificates: &[&Certificate]) -> Authorities {
    Authorities::new(certificates.iter().map(|&ca| Authority::new(ca.clone(), false)))
}

fn reasons(certificate: &Certificate, authorities: &[Name], schemes: &[Scheme]) -> Vec<Reason> {
    let (request, known) = (request(authorities, schemes), known(&[]));
    let identity = Identity::new("a".to_owned(), certificate.clone(), false, SIGNS, Permit::default());
    let matcher = Matcher::new(&request, &known, NOW);
    let reasons = super::reasons(&identity, matcher.requested(), &request);
    let outline = Outline::new(&identity, Arc::new(certificate.issuer().clone()), 0);
    assert_eq!(matcher.fits(&outline), reasons.is_empty(), "{reasons:?}");
    reasons
}

fn with_usages(mut params: CertificateParams, usages: &[Ku], extended: &[Eku]) -> CertificateParams {
    params.key_usages = usages.to_vec();
    params.extended_key_usages = extended.to_vec();
    params
}

/// browser-behaviour.md, "Key usage, extended key usage", cell by cell: what Firefox and Chrome were seen to do.
#[test]
fn usages_decide_as_in_the_browsers() {
    let extended: [(&[Eku], bool); 10] = [
        (&[], true),
        (&[Eku::ClientAuth], true),
        (&[Eku::ServerAuth, Eku::ClientAuth], true),
        (&[Eku::EmailProtection, Eku::ClientAuth], true),
        (&[Eku::Any, Eku::ClientAuth], true),
        (&[Eku::ServerAuth], false),
        (&[Eku::EmailProtection], false),
        (&[Eku::OcspSigning], false),
        (&[Eku::Any], false),
        (&[Eku::CodeSigning, Eku::TimeStamping], false),
    ];
    let usages: [(&[Ku], bool); 6] = [
        (&[], true),
        (&[Ku::DigitalSignature], true),
        (&[Ku::DigitalSignature, Ku::KeyEncipherment], true),
        (&[Ku::KeyEncipherment], false),
        (&[Ku::ContentCommitment], false),
        (&[Ku::KeyAgreement], false),
    ];
    let ca = Ca::root("Root");
    for (key_usage, signs) in usages {
        for (extended_key_usage, authenticates) in extended {
            let leaf = ca.leaf_of(with_usages(params("a"), key_usage, extended_key_usage)).certificate;
            let missing = [(authenticates, Reason::NotForClientAuth), (signs, Reason::NotForSigning)];
            let expected: Vec<Reason> =
                missing.into_iter().filter(|(fits, _)| !fits).map(|(_, reason)| reason).collect();
            assert_eq!(reasons(&leaf, &[], &ECDSA), expected, "{key_usage:?} {extended_key_usage:?}");
        }
    }
}

#[test]
fn a_ca_certificate_is_offered_with_a_warning_when_its_usages_allow() {
    let cases: [(&[Ku], &[Eku], &[Reason]); 4] = [
        (&[], &[], &[]),
        (&[Ku::DigitalSignature, Ku::KeyCertSign], &[Eku::ClientAuth], &[]),
        (&[Ku::KeyCertSign], &[], &[Reason::NotForSigning]),
        (&[], &[Eku::ServerAuth], &[Reason::NotForClientAuth]),
    ];
    for (usages, extended, expected) in cases {
        let certificate = Leaf::self_signed(with_usages(ca_params("a"), usages, extended)).certificate;
        assert_eq!(reasons(&certificate, &[], &ECDSA), expected);
        let (request, none) = (request(&[], &ECDSA), known(&[]));
        assert_eq!(Matcher::new(&request, &none, NOW).warnings(&certificate), [Warning::CaCertificate]);
    }
}

#[test]
fn an_empty_list_of_authorities_takes_any() {
    let leaf = Ca::root("Root").leaf("a").certificate;
    assert_eq!(reasons(&leaf, &[], &ECDSA), []);
    assert_eq!(reasons(&leaf, &[Ca::root("Other").name()], &ECDSA), [Reason::IssuerNotRequested]);
}

#[test]
fn issuer_or_subject_may_be_the_requested_name() {
    let root = Ca::root("Root");
    let leaf = root.leaf("Person").certificate;
    let itself = Leaf::self_signed(params("Alone")).certificate;
    assert_eq!(reasons(&leaf, &[root.name()], &ECDSA), []);
    assert_eq!(reasons(&leaf, &[leaf.subject().clone()], &ECDSA), []);
    assert_eq!(reasons(&itself, &[itself.subject().clone()], &ECDSA), []);
    assert_eq!(reasons(&leaf, &[Ca::root("x").name(), root.name()], &ECDSA), [], "one of several is enough");
}

/// RFC 5280 section 7.1: string type, case and inner spaces do not matter; the attributes and their order do.
#[test]
fn issuers_compare_by_rfc_5280() {
    let name = |attributes: &[(DnType, DnValue)]| {
        let mut named = ca_params("");
        named.distinguished_name = rcgen::DistinguishedName::new();
        for (kind, value) in attributes {
            named.distinguished_name.push(kind.clone(), value.clone());
        }
        named
    };
    let utf8 = |text: &str| DnValue::Utf8String(text.to_owned());
    let printable = |text: &str| DnValue::PrintableString(text.try_into().unwrap());
    let bmp = |text: &str| DnValue::BmpString(text.try_into().unwrap());
    let (o, cn) = (|| DnType::OrganizationName, || DnType::CommonName);
    let leaf = Ca::root_of(name(&[(o(), utf8("Example Org")), (cn(), utf8("Root CA"))])).leaf("a").certificate;
    let cases = [
        ("the same", vec![(o(), utf8("Example Org")), (cn(), utf8("Root CA"))], true),
        ("string types", vec![(o(), printable("Example Org")), (cn(), bmp("Root CA"))], true),
        ("case", vec![(o(), utf8("EXAMPLE ORG")), (cn(), utf8("root ca"))], true),
        ("spaces", vec![(o(), utf8(" Example  Org ")), (cn(), utf8("Root   CA"))], true),
        ("order", vec![(cn(), utf8("Root CA")), (o(), utf8("Example Org"))], false),
        ("a part", vec![(cn(), utf8("Root CA"))], false),
        ("another type", vec![(DnType::OrganizationalUnitName, utf8("Example Org")), (cn(), utf8("Root CA"))], false),
    ];
    for (what, attributes, fits) in cases {
        let requested = Ca::root_of(name(&attributes)).name();
        assert_eq!(reasons(&leaf, &[requested], &ECDSA).is_empty(), fits, "{what}");
    }
}

/// What servers offer in TLS 1.3 (RFC 8446 section 4.2.3: no PKCS#1 v1.5) and in TLS 1.2.
#[test]
fn keys_fit_the_signatures_of_both_versions() {
    let ca = Ca::root("Root");
    let leaf = |algorithm| ca.leaf_with(params("a"), algorithm).certificate;
    let (p256, p384) = (leaf(&rcgen::PKCS_ECDSA_P256_SHA256), leaf(&rcgen::PKCS_ECDSA_P384_SHA384));
    let (p521, rsa) = (leaf(&rcgen::PKCS_ECDSA_P521_SHA512), leaf(&rcgen::PKCS_RSA_SHA256));
    let ed25519 = leaf(&rcgen::PKCS_ED25519);
    // ring does not sign with it
    let has_p521 = crypto::has_curve(Scheme::ECDSA_NISTP521_SHA512);
    let cases: [(&str, &[Scheme], [bool; 5]); 9] = [
        ("ECDSA of every curve", &ECDSA, [true, true, has_p521, false, false]),
        ("P-256 alone", &[Scheme::ECDSA_NISTP256_SHA256], [true, false, false, false, false]),
        ("P-384 alone", &[Scheme::ECDSA_NISTP384_SHA384], [false, true, false, false, false]),
        ("RSA of TLS 1.3", &[Scheme::RSA_PSS_SHA256], [false, false, false, true, false]),
        ("RSA of TLS 1.2", &[Scheme::RSA_PKCS1_SHA256], [false, false, false, true, false]),
        ("Ed25519", &[Scheme::ED25519], [false, false, false, false, true]),
        ("keys of id-RSASSA-PSS only", &[Scheme::Unknown(0x0809)], [false; 5]),
        ("SHA-1 only", &[Scheme::RSA_PKCS1_SHA1, Scheme::ECDSA_SHA1_Legacy], [false; 5]),
        ("nothing", &[], [false; 5]),
    ];
    for (what, schemes, fits) in cases {
        for (certificate, fits) in [&p256, &p384, &p521, &rsa, &ed25519].into_iter().zip(fits) {
            let expected: &[Reason] = if fits { &[] } else { &[Reason::NoCommonSignatureScheme] };
            assert_eq!(reasons(certificate, &[], schemes), expected, "{} for {what}", certificate.key());
        }
    }
}

#[test]
fn every_reason_is_given_not_the_first() {
    let useless = with_usages(params("a"), &[Ku::KeyEncipherment], &[Eku::ServerAuth]);
    let leaf = Ca::root("Root").leaf_of(useless).certificate;
    assert_eq!(
        reasons(&leaf, &[Ca::root("Other").name()], &[Scheme::ED25519]),
        [Reason::IssuerNotRequested, Reason::NoCommonSignatureScheme, Reason::NotForClientAuth, Reason::NotForSigning]
    );
}

/// The identities as a store hands them out, by their names.
fn stored(home: &Home, leaves: &[&Leaf]) -> Vec<Arc<Identity>> {
    home.with(leaves.iter().copied(), []).identities().unwrap().into_iter().map(Arc::new).collect()
}

/// The candidates among identities as they are shown: best first, but those that were used before at the front.
fn candidates(
    matcher: &Matcher<'_>,
    identities: &[Arc<Identity>],
    authorities: &Authorities,
    used_before: &HashSet<Fingerprint>,
) -> Vec<Considered> {
    let outline = |identity: &Arc<Identity>| {
        let certificate = identity.certificate();
        let issuer = Arc::new(certificate.issuer().clone());
        Arc::new(Outline::new(identity, issuer, authorities.chain_length(certificate)))
    };
    let mut fit = matcher.fit(Arc::new(Outlines::new(identities.iter().map(outline).collect(), None)));
    fit.put_used_first(used_before, NOW);
    let of = |candidate: &Outline| identities.iter().find(|one| one.fingerprint() == candidate.fingerprint).unwrap();
    fit.iter().map(|candidate| matcher.consider(of(candidate).clone())).collect()
}

#[test]
fn valid_ones_first_then_used_here_then_latest_expiry_latest_start_shortest_chain() {
    let root = Ca::root("Root");
    let issuer = root.intermediate("Issuer");
    let day = |days: i64| Timestamp(NOW.0 + days * DAY);
    let between = |name: &str, from, until| valid(params(name), day(from), day(until));
    let used = root.leaf_of(between("1 used here", -5, 5));
    let leaves = [
        &root.leaf_of(between("6 expired", -50, -1)),
        &root.leaf_of(between("3 started later", -1, 10)),
        &root.leaf_of(between("2 expires last", -9, 20)),
        &issuer.leaf_of(between("5 long chain", -9, 10)),
        &root.leaf_of(between("4 short chain", -9, 10)),
        &used,
    ];
    let home = Home::new();
    let mut identities = stored(&home, &leaves);
    let (request, authorities) = (request(&[root.name()], &ECDSA), known(&[&root.certificate, &issuer.certificate]));
    let matcher = Matcher::new(&request, &authorities, NOW);
    let used_before = HashSet::from([used.fingerprint()]);
    for _ in 0..identities.len() {
        identities.rotate_left(1);
        let candidates = candidates(&matcher, &identities, &authorities, &used_before);
        let names: Vec<_> = candidates.iter().map(|candidate| candidate.identity.name().to_owned()).collect();
        assert!(names.is_sorted() && names.len() == leaves.len(), "{names:?}");
    }
}

#[test]
fn what_is_no_candidate_is_not_in_the_list() {
    let root = Ca::root("Root");
    let fits = root.leaf("fits");
    let server = root.leaf_of(with_usages(params("server"), &[], &[Eku::ServerAuth]));
    let other = Ca::root("Other").leaf("other");
    let home = Home::new();
    let identities = stored(&home, &[&fits, &server, &other]);
    let (request, authorities) = (request(&[root.name()], &ECDSA), known(&[]));
    let matcher = Matcher::new(&request, &authorities, NOW);
    let candidates = candidates(&matcher, &identities, &authorities, &HashSet::new());
    assert_eq!(candidates.iter().map(|c| c.identity.fingerprint()).collect::<Vec<_>>(), [fits.fingerprint()]);
}

#[test]
fn warnings_say_what_should_be_known() {
    let root = Ca::root("Root");
    let issuer = root.intermediate("Issuer");
    let day = |days: i64| Timestamp(NOW.0 + days * DAY);
    let cases: [(&str, Certificate, &[&Certificate], &[Warning]); 6] = [
        ("nothing", root.leaf("a").certificate, &[&root.certificate], &[]),
        (
            "expired",
            root.leaf_of(valid(params("a"), day(-2), day(-1))).certificate,
            &[&root.certificate],
            &[Warning::Expired],
        ),
        (
            "early",
            root.leaf_of(valid(params("a"), day(1), day(2))).certificate,
            &[&root.certificate],
            &[Warning::NotYetValid],
        ),
        ("no issuer", issuer.leaf("a").certificate, &[&root.certificate], &[Warning::IncompleteChain]),
        ("no root", issuer.leaf("a").certificate, &[&issuer.certificate], &[Warning::IncompleteChain]),
        ("whole", issuer.leaf("a").certificate, &[&issuer.certificate, &root.certificate], &[]),
    ];
    for (what, certificate, authorities, warnings) in cases {
        let (request, known) = (request(&[], &ECDSA), known(authorities));
        assert_eq!(Matcher::new(&request, &known, NOW).warnings(&certificate), warnings, "{what}");
    }
}

#[test]
fn the_bounds_of_validity_belong_to_it() {
    let leaf = Ca::root("Root").leaf_of(valid(params("a"), Timestamp(NOW.0), Timestamp(NOW.0 + DAY))).certificate;
    for (at, is_valid) in [(NOW.0 - 1, false), (NOW.0, true), (NOW.0 + DAY, true), (NOW.0 + DAY + 1, false)] {
        assert_eq!(leaf.is_valid_at(Timestamp(at)), is_valid, "{at}");
    }
}

#[test]
fn below_tls_1_3_a_certificate_is_visible() {
    let root = Ca::root("Root");
    let (leaf, authorities) = (root.leaf("a").certificate, known(&[&root.certificate]));
    let visible: &[Warning] = &[Warning::VisibleBelowTls13];
    let cases = [(Some(ProtocolVersion::TLSv1_2), visible), (Some(ProtocolVersion::TLSv1_3), &[]), (None, &[])];
    for (version, warnings) in cases {
        let request = request(&[], &ECDSA).with_version(version);
        assert_eq!(Matcher::new(&request, &authorities, NOW).warnings(&leaf), warnings);
    }
}
