//! People who answer from a script, and record what they were asked.

#![allow(unreachable_pub)]

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use cardcase::Chooser;
use cardcase::Error;
use cardcase::Unlocker;
use cardcase::ask::{Considered, Question, Refused, Reply};
use cardcase::manage::Fingerprint;
use cardcase::manage::{Lifetime, Mode};
use zeroize::Zeroizing;

/// One question.
#[derive(Debug)]
pub struct Asked {
    pub destination: String,
    pub candidates: Vec<Fingerprint>,
    pub unfit: Option<Considered>,
    pub refused: Vec<Refused>,
    pub mode: Mode,
}

/// Gives these replies in order, then aborts.
#[derive(Debug, Default)]
pub struct Script {
    replies: Mutex<VecDeque<Reply>>,
    asked: Mutex<Vec<Asked>>,
}

impl Script {
    pub fn new(replies: impl IntoIterator<Item = Reply>) -> Arc<Self> {
        Arc::new(Self { replies: Mutex::new(replies.into_iter().collect()), asked: Mutex::default() })
    }

    /// The questions since the last call.
    pub fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }
}

impl Chooser for Script {
    fn choose(&self, question: &Question<'_>) -> Reply {
        self.asked.lock().unwrap().push(Asked {
            destination: question.destination.to_string(),
            candidates: question.candidates.iter().map(|candidate| candidate.identity.fingerprint()).collect(),
            unfit: question.unfit.cloned(),
            refused: question.refused.to_vec(),
            mode: question.mode,
        });
        self.replies.lock().unwrap().pop_front().unwrap_or(Reply::Abort)
    }
}

/// The best candidate, with this lifetime.
pub fn first(lifetime: Lifetime) -> Reply {
    Reply::Identity { index: 0, lifetime }
}

/// Cannot ask for the primary password.
pub struct Nobody;

impl Unlocker for Nobody {
    fn primary_password(&self, _attempt: u32) -> Result<Zeroizing<String>, Error> {
        Err(Error::VaultLocked)
    }
}

pub const PASSWORD: &str = "correct horse";

/// Knows the primary password.
pub struct Typist;

impl Unlocker for Typist {
    fn primary_password(&self, _attempt: u32) -> Result<Zeroizing<String>, Error> {
        Ok(Zeroizing::new(PASSWORD.to_owned()))
    }
}
