//! What a person picked, and for how long.

use std::sync::Arc;

use crate::answer::decision::Lifetime;
use crate::certificate::identity::Identity;
use crate::select::chooser::Reply;

/// How long to remember an answer, in words.
pub(super) const LIFETIMES: [(&str, Lifetime); 3] =
    [("Just this once", Lifetime::Once), ("Until I log out", Lifetime::Session), ("Permanently", Lifetime::Permanent)];

/// What was picked.
pub(super) enum Picked {
    Identity(Arc<Identity>),
    None,
}

impl Picked {
    pub(super) fn reply(self, lifetime: Lifetime) -> Reply {
        match self {
            Self::Identity(identity) => Reply::Identity { identity, lifetime },
            Self::None => Reply::None { lifetime },
        }
    }
}
