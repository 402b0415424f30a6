//! What was parsed from the store stays in memory until somebody changes the rows it came from.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::answer::rules::Rules;
use crate::certificate::Fingerprint;
use crate::certificate::authority::Authorities;
use crate::certificate::identity::Identity;
use crate::certificate::name::{Name, NameKey};
use crate::certificate::outline::{Outline, Outlines};
use crate::error::Damage;

/// Identities kept parsed. Beyond that all of them are dropped, and parsed again when needed.
const MAX_IDENTITIES: usize = 4096;

/// Outlines kept, which take about a tenth of the memory. Beyond that they are dropped likewise.
const MAX_OUTLINES: usize = 1 << 18;

/// Parsed rows of one generation: of one state of identities, authorities, rules and enrollments.
#[derive(Default)]
pub(super) struct Cache {
    pub(super) generation: i64,
    /// By row number.
    pub(super) identities: HashMap<i64, Arc<Identity>>,
    /// By row number.
    pub(super) outlines: HashMap<i64, Arc<Outline>>,
    /// The issuers of the outlines, which share them.
    pub(super) issuers: HashMap<Name, (Arc<Name>, NameKey)>,
    /// Those of every identity, for requests that any issuer fits.
    pub(super) all: Option<(u32, Arc<Outlines>)>,
    pub(super) authorities: Option<Arc<Authorities>>,
    /// Rules and digest come from the same moment: the code of one set of rules must not vouch for another set.
    pub(super) terms: Option<(TermsDigest, Arc<Rules>)>,
    /// Rows that were skipped.
    pub(super) damaged: Vec<Damage>,
}

/// The part of the terms that rarely changes and may be long: the rules and the trusted authorities.
#[derive(Clone)]
pub(super) struct TermsDigest {
    pub(super) digest: [u8; 32],
    pub(super) trusted: Arc<HashSet<Fingerprint>>,
}

impl Cache {
    /// Drops the identities or the outlines when there are too many of them.
    pub(super) fn trim(&mut self) {
        if self.identities.len() > MAX_IDENTITIES {
            self.identities.clear();
        }
        if self.outlines.len() > MAX_OUTLINES {
            self.outlines.clear();
            self.issuers.clear();
            self.all = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crate::answer::decision::{Lifetime, Scope};
    use crate::pki::{Ca, Home, NOW, import};
    use crate::store::Store;

    fn scope(host: &str) -> Scope {
        Scope { host: host.to_owned(), port: None }
    }

    #[test]
    fn two_stores_on_one_file_see_each_others_changes() {
        let home = Home::new();
        let root = Ca::root("Root");
        let issuer = root.intermediate("Issuer");
        let (one, two) = (home.open(), home.open());
        let leaf = issuer.leaf("Person");
        // Each fills its cache before the other writes
        let under_root = |store: &Store| {
            let requested = store.arranged_authorities().unwrap().requested(&[root.name()]);
            let found = store.found(Some(&requested)).unwrap();
            let name = |fingerprint| store.identity(fingerprint).unwrap().unwrap().name().to_owned();
            found.iter().map(|found| name(found.fingerprint)).collect::<Vec<_>>()
        };
        assert_eq!((under_root(&one), under_root(&two)), (vec![], vec![]));
        one.import(vec![import([&leaf], [])], None, NOW).unwrap();
        assert_eq!((under_root(&one), under_root(&two)), (vec![], vec![]));
        two.import(vec![import([], [&issuer.certificate])], None, NOW).unwrap();
        for store in [&one, &two] {
            assert_eq!(under_root(store), ["Person"]);
            assert!(store.identity(leaf.fingerprint()).unwrap().is_some());
        }
        home.database().execute("UPDATE identities SET name = 'Renamed'", []).unwrap();
        assert_eq!((under_root(&one), under_root(&two)), (vec!["Renamed".to_owned()], vec!["Renamed".to_owned()]));
        one.remove(&[leaf.fingerprint()]).unwrap();
        assert_eq!((under_root(&one), under_root(&two)), (vec![], vec![]));
        assert_eq!(two.identity(leaf.fingerprint()).unwrap(), None);
    }

    #[test]
    fn a_request_that_names_no_issuer_sees_every_change() {
        let home = Home::new();
        let ca = Ca::root("Root");
        let (alice, bob) = (ca.leaf("alice"), ca.leaf("bob"));
        let (one, two) = (home.with([&alice], []), home.open());
        let all = |store: &Store| {
            let found = store.found(None).unwrap();
            let mut names: Vec<_> = found.iter().map(|found| found.subject.common_name()).collect();
            names.sort_unstable();
            (names, found.damaged().is_some())
        };
        let both = |expected: &[&str], is_damaged: bool| {
            for store in [&one, &two] {
                // The second time from memory
                for _ in 0..2 {
                    let expected: Vec<String> = expected.iter().map(|name| (*name).to_owned()).collect();
                    assert_eq!(all(store), (expected, is_damaged));
                }
                assert!(Arc::ptr_eq(&store.found(None).unwrap(), &store.found(None).unwrap()));
            }
        };
        both(&["alice"], false);
        two.import(vec![import([&bob], [])], None, NOW).unwrap();
        both(&["alice", "bob"], false);
        let alice = one.identity(alice.fingerprint()).unwrap().unwrap();
        one.require_tls13(&alice, true).unwrap();
        let restricted =
            |store: &Store| store.found(None).unwrap().iter().filter(|one| one.traits.requires_tls13).count();
        assert_eq!((restricted(&one), restricted(&two)), (1, 1));
        home.database().execute("UPDATE identities SET certificate = x'00' WHERE name = 'bob'", []).unwrap();
        both(&["alice"], true);
        one.remove(&[alice.fingerprint(), bob.fingerprint()]).unwrap();
        both(&[], false);
    }

    #[test]
    fn parsed_authorities_stay_cached_while_only_decisions_and_history_change() {
        let home = Home::new();
        let root = Ca::root("Root");
        let leaf = root.leaf("Person");
        let (store, other) = (home.with([&leaf], [&root.certificate]), home.open());
        let before = store.arranged_authorities().unwrap();
        for writer in [&store, &other] {
            writer.remember(&scope("a.example"), Some(leaf.fingerprint()), Lifetime::Session, NOW).unwrap();
            writer.forget_all().unwrap();
            assert!(Arc::ptr_eq(&before, &store.arranged_authorities().unwrap()));
        }
        other.trust(std::slice::from_ref(&root.certificate), NOW).unwrap();
        assert!(!Arc::ptr_eq(&before, &store.arranged_authorities().unwrap()));
    }
}
