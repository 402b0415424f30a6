//! The slots, each with a token in it.

use cardcase::manage::KeyKind;
use cryptoki_sys::CK_SLOT_ID;

/// A slot. Java and libp11 (OpenSSL's engine) read no key of a token that holds one of a kind they do not know, so the keys of Ed25519 have
/// a token of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Slot {
    Common,
    Ed25519,
}

impl Slot {
    pub(crate) fn from_id(id: CK_SLOT_ID) -> Option<Self> {
        [Self::Common, Self::Ed25519].into_iter().find(|slot| slot.id() == id)
    }

    pub(crate) fn id(self) -> CK_SLOT_ID {
        match self {
            Self::Common => 0,
            Self::Ed25519 => 1,
        }
    }

    /// The slot of keys of this kind; `None` if the module does not sign with them.
    pub(crate) fn of(key: &KeyKind) -> Option<Self> {
        match key {
            KeyKind::Rsa(_) | KeyKind::RsaPss(_) | KeyKind::EcP256 | KeyKind::EcP384 | KeyKind::EcP521 => {
                Some(Self::Common)
            }
            KeyKind::Ed25519 => Some(Self::Ed25519),
            _ => None,
        }
    }

    /// The label of its token: without a colon, at which NSS divides the name of a certificate.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Common => "cardcase",
            Self::Ed25519 => "cardcase Ed25519",
        }
    }
}
