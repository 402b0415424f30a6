//! What was parsed from the store stays in memory until somebody changes the rows it came from.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::answer::rules::Rules;
use crate::certificate::Fingerprint;
use crate::certificate::authority::Authorities;
use crate::certificate::identity::Identity;
use crate::error::Damage;

/// Identities kept parsed. Beyond that all of them are dropped, and parsed again when needed.
const MAX_IDENTITIES: usize = 4096;

/// Parsed rows of one generation: of one state of identities, authorities, rules and enrollments.
#[derive(Default)]
pub(super) struct Cache {
    pub(super) generation: i64,
    /// By row number.
    pub(super) identities: HashMap<i64, Arc<Identity>>,
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
    /// Drops the identities when there are too many of them.
    pub(super) fn trim(&mut self) {
        if self.identities.len() > MAX_IDENTITIES {
            self.identities.clear();
        }
    }
}
