//! Chains and requested names, over certificates made on the spot.

use super::{Authorities, Authority};
use crate::certificate::Certificate;
use crate::certificate::name::Name;
use crate::clock::Timestamp;
use crate::pki::{Ca, DAY, NOW, ca_params, valid};

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
    let long = Ca::root("Root");
    let leaf = short.leaf("leaf").certificate;
    let top = |trusted: bool| {
        let both = [(&short, trusted), (&long, false)];
        let both = both.map(|(ca, trusted)| Authority::new(ca.certificate.clone(), trusted));
        Authorities::new(both).chain(&leaf, None).authorities[0].certificate.clone()
    };
    assert_eq!(top(true), short.certificate);
    assert_eq!(top(false), long.certificate);
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
