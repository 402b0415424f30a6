//! Chains and requested names, over certificates made on the spot.

use super::{Authorities, Authority};
use crate::certificate::Certificate;
use crate::certificate::name::Name;
use crate::clock::Timestamp;
use crate::pki::{Ca, DAY, Leaf, NOW, ca_params, params, valid};
use rcgen::{CertificateParams, KeyIdMethod};

fn authorities(certificates: &[&Certificate]) -> Authorities {
    Authorities::new(certificates.iter().map(|&ca| Authority::new(ca.clone(), false)))
}

/// A root and `depth` CAs, each issued by the previous one.
fn tower(depth: usize) -> Vec<Ca> {
    let mut tower = vec![Ca::root("CA 0")];
    for level in 1..=depth {
        tower.push(tower[level - 1].intermediate(&format!("CA {level}")));
    }
    tower
}

fn all(tower: &[Ca]) -> Authorities {
    authorities(&tower.iter().map(|ca| &ca.certificate).collect::<Vec<_>>())
}

fn chain_names(authorities: &Authorities, certificate: &Certificate, requested: &[&Ca]) -> Vec<String> {
    let requested = authorities.requested(&requested.iter().map(|ca| ca.name()).collect::<Vec<_>>());
    let chain = authorities.chain(certificate, Some(&requested));
    chain.authorities.iter().map(|authority| authority.certificate.subject().common_name()).collect()
}

#[test]
fn a_requested_name_is_reached_through_any_number_of_intermediates() {
    let tower = tower(3);
    let authorities = all(&tower);
    let leaf = tower[3].leaf("leaf").certificate;
    let stranger = Ca::root("Other").leaf("stranger").certificate;
    for ca in &tower {
        let requested = authorities.requested(&[ca.name()]);
        assert!(requested.leads_from(&leaf), "{:?}", ca.certificate);
        assert!(!requested.leads_from(&stranger));
    }
}

#[test]
fn a_missing_intermediate_breaks_the_path() {
    let tower = tower(2);
    let leaf = tower[2].leaf("leaf").certificate;
    let without = authorities(&[&tower[0].certificate, &tower[2].certificate]);
    assert!(!without.requested(&[tower[0].name()]).leads_from(&leaf));
    assert!(without.requested(&[tower[1].name()]).leads_from(&leaf), "the name above the gap is known all the same");
}

#[test]
fn a_path_has_at_most_twenty_steps() {
    let tower = tower(25);
    let authorities = all(&tower);
    let requested = authorities.requested(&[tower[0].name()]);
    let reached: Vec<bool> = tower.iter().map(|ca| requested.leads_from(&ca.leaf("leaf").certificate)).collect();
    // Under the requested name itself, and under one to twenty intermediates
    assert_eq!(reached.iter().filter(|reached| **reached).count(), 21);
    assert!(reached.is_sorted_by(|nearer, farther| nearer >= farther));
    let chain = authorities.chain(&tower[25].leaf("leaf").certificate, None);
    assert_eq!((chain.authorities.len(), chain.complete), (20, false));
}

#[test]
fn a_cycle_of_authorities_causes_no_endless_search() {
    let (a, b) = (Ca::root("A"), Ca::root("B"));
    let authorities = authorities(&[&a.cross_sign(&b), &b.cross_sign(&a)]);
    let leaf = a.leaf("leaf").certificate;
    assert!(authorities.requested(&[b.name()]).leads_from(&leaf));
    assert!(!authorities.requested(&[Ca::root("C").name()]).leads_from(&leaf));
    let chain = authorities.chain(&leaf, None);
    assert!(!chain.complete);
    assert_eq!(chain.authorities.len(), 2, "each once");
}

#[test]
fn the_chain_leads_to_the_requested_authority() {
    let (one, two) = (Ca::root("One"), Ca::root("Two"));
    let issuer = one.intermediate("Issuer");
    let crossed = two.cross_sign(&issuer);
    let leaf = issuer.leaf("leaf").certificate;
    let authorities = authorities(&[&one.certificate, &issuer.certificate, &two.certificate, &crossed]);
    for root in [&one, &two] {
        let names = chain_names(&authorities, &leaf, &[root]);
        assert_eq!(names, ["Issuer", &root.certificate.subject().common_name()]);
    }
}

#[test]
fn without_a_request_a_trusted_issuer_is_preferred_to_one_valid_longer() {
    let short = Ca::root_of(valid(ca_params("Root"), Timestamp(NOW.0 - DAY), Timestamp(NOW.0 + DAY)));
    let long = short.again(ca_params("Root"));
    let leaf = short.leaf("leaf").certificate;
    let top = |trusted: bool| {
        let both = [(&short, trusted), (&long, false)];
        let both = both.map(|(ca, trusted)| Authority::new(ca.certificate.clone(), trusted));
        Authorities::new(both).chain(&leaf, None).authorities[0].certificate.clone()
    };
    assert_eq!(top(true), short.certificate);
    assert_eq!(top(false), long.certificate);
}

/// The length that is kept is that of the chain.
fn assert_length(authorities: &Authorities, certificate: &Certificate) {
    for _ in 0..2 {
        assert_eq!(authorities.chain_length(certificate), authorities.chain(certificate, None).authorities.len());
    }
}

#[test]
fn the_length_of_a_chain_is_its_own_if_the_signature_decides() {
    let roots = [Ca::root("Root"), Ca::root("Root")];
    let (short, long) = (roots[0].intermediate("Issuer"), roots[1].intermediate("Between").intermediate("Issuer"));
    let known = [&roots[0].certificate, &roots[1].certificate, &short.certificate, &long.certificate];
    let between = roots[1].intermediate("Between");
    for known in [&known[..], &[&short.certificate], &[&between.certificate, &long.certificate], &[]] {
        let authorities = authorities(known);
        for leaf in [short.leaf("a"), long.leaf("b"), short.leaf("c"), Leaf::self_signed(params("d"))] {
            assert_length(&authorities, &leaf.certificate);
        }
        known.iter().for_each(|known| assert_length(&authorities, known));
    }
}

#[test]
fn a_chain_is_complete_at_a_root_or_under_a_requested_name() {
    let tower = tower(2);
    let leaf = tower[2].leaf("leaf").certificate;
    let [root, middle, issuer] = [0, 1, 2].map(|level| &tower[level].certificate);
    let cases: [(&str, &[&Certificate], bool, bool); 5] = [
        ("everything", &[root, middle, issuer], true, true),
        ("no root, which a server that asks for it has", &[middle, issuer], false, true),
        ("the issuer missing", &[root, middle], false, false),
        ("the middle missing", &[root, issuer], false, false),
        ("nothing", &[], false, false),
    ];
    for (what, known, without_request, with_request) in cases {
        let authorities = authorities(known);
        let requested = authorities.requested(&[tower[0].name()]);
        assert_eq!(authorities.chain(&leaf, None).complete, without_request, "{what}");
        assert_length(&authorities, &leaf);
        assert_eq!(authorities.chain(&leaf, Some(&requested)).complete, with_request, "{what}, root requested");
    }
}

#[test]
fn a_root_is_never_among_the_intermediates() {
    let tower = tower(2);
    let authorities = all(&tower);
    let sent = |certificate: &Certificate| {
        let chain = authorities.chain(certificate, None);
        chain.intermediates().map(|ca| ca.subject().common_name()).collect::<Vec<_>>()
    };
    assert_eq!(sent(&tower[2].leaf("leaf").certificate), ["CA 2", "CA 1"]);
    assert_eq!(sent(&tower[0].leaf("leaf").certificate), [""; 0]);
    assert_eq!(sent(&tower[0].certificate), [""; 0]);
}

/// Two roots certified each other. The chain to the requested root contains the certificate that it issued, and ends
/// there. Without a request, the chain ends at the root of the identity's issuer.
#[test]
fn with_cross_signed_roots_the_chain_leads_to_the_requested_one() {
    let (a, b) = (Ca::root("A"), Ca::root("B"));
    let (a_by_b, b_by_a) = (b.cross_sign(&a), a.cross_sign(&b));
    let leaf = a.leaf("leaf").certificate;
    let cases: [(&[Name], &[&Certificate]); 3] =
        [(&[a.name()], &[&a.certificate]), (&[b.name()], &[&a_by_b, &b.certificate]), (&[], &[&a.certificate])];
    let mut known = [&a.certificate, &b.certificate, &a_by_b, &b_by_a];
    for _ in 0..known.len() {
        known.rotate_left(1);
        let authorities = authorities(&known);
        for (names, expected) in cases {
            let requested = authorities.requested(names);
            let chain = authorities.chain(&leaf, Some(&requested).filter(|_| !names.is_empty()));
            let found: Vec<_> = chain.authorities.iter().map(|authority| &authority.certificate).collect();
            assert_eq!((found.as_slice(), chain.complete), (expected, true), "{names:?}");
        }
    }
}

/// The parameters of a certificate that names the key of its issuer.
fn naming_key(mut params: CertificateParams, identifier: u8) -> CertificateParams {
    params.use_authority_key_identifier_extension = true;
    with_identifier(params, identifier)
}

fn with_identifier(mut params: CertificateParams, identifier: u8) -> CertificateParams {
    params.key_identifier_method = KeyIdMethod::PreSpecified(vec![identifier; 20]);
    params
}

fn chain_of(authorities: &[&Certificate], certificate: &Certificate) -> (Vec<Certificate>, bool) {
    let chain = self::authorities(authorities).chain(certificate, None);
    (chain.authorities.iter().map(|authority| authority.certificate.clone()).collect(), chain.complete)
}

/// Every order of the authorities gives this chain.
#[track_caller]
fn assert_chain(
    what: &str,
    known: &[&Certificate],
    certificate: &Certificate,
    expected: &[&Certificate],
    complete: bool,
) {
    let mut known = known.to_vec();
    for _ in 0..known.len() {
        known.rotate_left(1);
        let (found, is_complete) = chain_of(&known, certificate);
        assert_eq!((found.iter().collect::<Vec<_>>().as_slice(), is_complete), (expected, complete), "{what}");
    }
}

#[test]
fn an_issuer_with_another_key_identifier_is_the_second_choice() {
    let ca = Ca::root_of(with_identifier(ca_params("CA"), 1));
    // The same key and name, with the identifier that another program computes
    let other = ca.again(with_identifier(ca_params("CA"), 2));
    let unnamed = ca.again(ca_params("CA"));
    let leaf = other.leaf_of(naming_key(params("leaf"), 9)).certificate;
    let cases: [(&str, &[&Certificate], &Certificate); 3] = [
        ("alone", &[&ca.certificate], &ca.certificate),
        ("beside the one that is named", &[&ca.certificate, &other.certificate], &other.certificate),
        ("three", &[&unnamed.certificate, &other.certificate, &ca.certificate], &other.certificate),
    ];
    for (what, known, expected) in cases {
        assert_chain(what, known, &leaf, &[expected], true);
    }
    let root = Ca::root("Root");
    let issuer = root.intermediate("Issuer");
    let mismatching = issuer.again(with_identifier(ca_params("Issuer"), 7)).leaf_of(naming_key(params("leaf"), 9));
    let known = [&root.certificate, &issuer.certificate];
    assert_chain("an intermediate", &known, &mismatching.certificate, &[&issuer.certificate, &root.certificate], true);
}

#[test]
fn the_signature_decides_between_keys_with_the_same_name() {
    let root = Ca::root("Root");
    for (what, old_id, new_id, leaf_id) in [
        ("no difference in the identifiers", 1, 1, 1),
        ("identifiers that say the same as the signature", 1, 2, 2),
        ("identifiers that say something else", 2, 1, 2),
    ] {
        let old = Ca::root_of(with_identifier(ca_params("CA"), old_id));
        let new = Ca::root_of(with_identifier(ca_params("CA"), new_id));
        let signer = new.again(with_identifier(ca_params("CA"), leaf_id));
        let leaf = signer.leaf_of(naming_key(params("leaf"), 9)).certificate;
        assert_chain(what, &[&old.certificate, &new.certificate], &leaf, &[&new.certificate], true);
        let (old_below, new_below) = (root.cross_sign(&old), root.cross_sign(&new));
        let known = [&old_below, &new_below, &root.certificate];
        assert_chain(what, &known, &leaf, &[&new_below, &root.certificate], true);
    }
}

/// The issuer is found among more candidates than a chain tries, although every other criterion prefers the others.
#[test]
fn the_signature_decides_among_many_keys_with_the_same_name() {
    let root = Ca::root("Root");
    let ca = |days| Ca::root_of(valid(ca_params("CA"), Timestamp(NOW.0 - DAY), Timestamp(NOW.0 + days * DAY)));
    // It is valid for the shortest time, so without its signature it comes last
    let signer = ca(1);
    let leaf = signer.leaf("leaf").certificate;
    let issuer = root.cross_sign(&signer);
    let others: Vec<Certificate> = (10..30).map(|days| root.cross_sign(&ca(days))).collect();
    let known: Vec<&Certificate> = others.iter().chain([&issuer, &root.certificate]).collect();
    assert_chain("twenty others", &known, &leaf, &[&issuer, &root.certificate], true);
}

#[test]
fn a_ca_whose_name_alone_fits_is_never_called_missing() {
    let (old, new) = (Ca::root("CA"), Ca::root("CA"));
    let leaf = new.leaf("leaf").certificate;
    assert!(!leaf.could_be_issued_by(&old.certificate) && leaf.could_be_issued_by(&new.certificate));
    assert_chain("only the old key", &[&old.certificate], &leaf, &[&old.certificate], true);
}

/// A CA that changes its key may certify the new one with the old one (RFC 4210 section 4.4): subject and issuer are equal, but
/// it is no root.
#[test]
fn a_new_key_certified_by_the_old_one_is_an_intermediate() {
    let (old, new) = (Ca::root("CA"), Ca::root("CA"));
    let new_by_old = old.cross_sign(&new);
    assert!(new_by_old.is_self_issued() && !new_by_old.is_self_signed() && old.certificate.is_self_signed());
    let leaf = new.leaf("leaf").certificate;
    let known = [&old.certificate, &new_by_old];
    assert_chain("old root and link", &known, &leaf, &[&new_by_old, &old.certificate], true);
    let sent = authorities(&known).chain(&leaf, None).intermediates().cloned().collect::<Vec<_>>();
    assert_eq!(sent, [new_by_old]);
}

#[test]
fn a_chain_that_is_complete_is_preferred_to_one_valid_longer() {
    let (known, unknown) = (Ca::root("Known"), Ca::root("Unknown"));
    let issuer = known.intermediate("Issuer");
    let longer = valid(ca_params("Issuer"), Timestamp(NOW.0 - DAY), Timestamp(NOW.0 + 40_000 * DAY));
    let dead_end = unknown.cross_sign(&issuer.again(longer));
    let leaf = issuer.leaf("leaf").certificate;
    let short =
        known.cross_sign(&issuer.again(valid(ca_params("Issuer"), Timestamp(NOW.0 - DAY), Timestamp(NOW.0 + DAY))));
    assert_chain("both", &[&dead_end, &short, &known.certificate], &leaf, &[&short, &known.certificate], true);
    assert_chain("only the dead end", &[&dead_end, &known.certificate], &leaf, &[&dead_end], false);
}

#[test]
fn a_servers_own_certificate_issues_nothing() {
    let server = Leaf::self_signed(params("CA")).certificate;
    let ca = Ca::root("CA");
    let leaf = ca.leaf("leaf").certificate;
    assert_chain("beside the CA", &[&server, &ca.certificate], &leaf, &[&ca.certificate], true);
    assert_chain("alone", &[&server], &leaf, &[], false);
}

/// CAs that all certified each other, under a few names.
#[test]
fn the_search_is_bounded_however_many_authorities_share_a_name() {
    let cas: Vec<Ca> = (0..12).map(|number| Ca::root(&format!("CA {}", number % 3))).collect();
    let mut known = Vec::new();
    for (index, ca) in cas.iter().enumerate() {
        let others = cas.iter().enumerate().filter(|(other, _)| other % 3 != index % 3);
        known.extend(others.map(|(_, other)| ca.cross_sign(other)));
    }
    let leaf = cas[0].leaf("leaf").certificate;
    let authorities = authorities(&known.iter().collect::<Vec<_>>());
    assert!(!authorities.chain(&leaf, None).complete, "there is no root");
}
