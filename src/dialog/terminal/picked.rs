//! What a person picked, and for how long.

use std::sync::Arc;

use super::line::{Line, Look};
use crate::answer::decision::Lifetime;
use crate::certificate::identity::Identity;
use crate::select::chooser::Reply;
use crate::text::plain;

/// The row that stays at the end of the list.
pub(super) const SEND_NONE: &str = "Send no certificate";

/// How long to remember an answer, in words.
pub(super) const LIFETIMES: [(&str, Lifetime); 3] =
    [("Just this once", Lifetime::Once), ("Until I log out", Lifetime::Session), ("Permanently", Lifetime::Permanent)];

/// What was picked.
pub(super) enum Picked {
    Identity(Arc<Identity>),
    None,
}

impl Picked {
    /// In one line.
    pub(super) fn line(&self) -> Line {
        match self {
            Self::Identity(identity) => {
                let issuer = identity.certificate().issuer().common_name();
                let line = Line::default().and_outside(&plain(identity.name()), &[], &[]);
                line.and(" · ", Look::Plain).and_outside(&plain(&issuer), &[], &[])
            }
            Self::None => Line::own(SEND_NONE),
        }
    }

    pub(super) fn reply(self, lifetime: Lifetime) -> Reply {
        match self {
            Self::Identity(identity) => Reply::Identity { identity, lifetime },
            Self::None => Reply::None { lifetime },
        }
    }
}
