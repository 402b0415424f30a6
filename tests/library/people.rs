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

/// What a person says to a question.
#[derive(Clone, Debug)]
pub enum Says {
    /// The candidate in this place, with this lifetime.
    Nth(usize, Lifetime),
    Reply(Reply),
}

impl Says {
    pub fn to(self, question: &Question<'_>) -> Reply {
        match self {
            Self::Nth(place, lifetime) => {
                let identity = question.candidates().nth(place).unwrap().identity;
                Reply::Identity { identity, lifetime }
            }
            Self::Reply(reply) => reply,
        }
    }
}

impl From<Reply> for Says {
    fn from(reply: Reply) -> Self {
        Self::Reply(reply)
    }
}

/// Says this in order, then aborts.
#[derive(Debug, Default)]
pub struct Script {
    says: Mutex<VecDeque<Says>>,
    asked: Mutex<Vec<Asked>>,
}

impl Script {
    pub fn new(says: impl IntoIterator<Item = Says>) -> Arc<Self> {
        Arc::new(Self { says: Mutex::new(says.into_iter().collect()), asked: Mutex::default() })
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
            candidates: question.candidates().map(|candidate| candidate.identity.fingerprint()).collect(),
            unfit: question.unfit.cloned(),
            refused: question.refused.to_vec(),
            mode: question.mode,
        });
        let says = self.says.lock().unwrap().pop_front();
        says.map_or(Reply::Abort, |says| says.to(question))
    }
}

/// The best candidate, with this lifetime.
pub fn first(lifetime: Lifetime) -> Says {
    Says::Nth(0, lifetime)
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
