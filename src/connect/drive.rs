//! The handshakes of one call, without I/O: what every connector does between dialling, the TLS handshake and the selector.
//!
//! A connector dials, [looks up](Drive::look_up) what is decided, makes an [`Attempt`] at a handshake, and asks
//! [what it needs](Drive::failed) when that failed. It gets that from the selector, and connects [again](Drive::again).

use std::collections::HashMap;
use std::error::Error as StdError;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, HandshakeKind, ProtocolVersion};

use crate::answer::decision::Answer;
use crate::clock::Timestamp;
use crate::connect::error::Error;
use crate::connect::guarded::{Guarded, Trace};
use crate::connect::hosts::server_name;
use crate::connect::needs::{Needs, needs};
use crate::connect::opened::Opened;
use crate::connect::refusal::{alert, invalid_certificate};
use crate::connect::resolver::Resolver;
use crate::error;
use crate::request::{Destination, Target};
use crate::select::prepared::Prepared;
use crate::select::selector::Selector;

/// Connections made for one call: the first, one after asking, one after unlocking, and one more for a server that asks for
/// something else meanwhile.
const ATTEMPTS: usize = 4;

/// Destinations whose sessions are kept for resumption.
const MAX_DESTINATIONS: usize = 256;

/// What a call begins with.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one for each call")]
pub(super) enum Start {
    /// A target, for which the store is looked up.
    Target(Target),
    /// What was prepared before.
    Prepared(Prepared),
}

impl Start {
    pub(super) fn target(&self) -> &Target {
        match self {
            Self::Target(target) => target,
            Self::Prepared(prepared) => prepared.target(),
        }
    }
}

/// The handshakes of one call.
pub(super) struct Drive {
    target: Target,
    name: ServerName<'static>,
    /// Handshakes begun so far.
    attempts: usize,
    next: LookUp,
}

/// How to get what the next handshake begins with.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one for each handshake")]
pub(super) enum LookUp {
    /// It is looked up in the store.
    Prepare(Target),
    /// It was prepared before. The store, or the identity that was chosen or given, may have changed since.
    Refresh(Prepared),
}

impl LookUp {
    /// Reads the store.
    ///
    /// # Errors
    /// Those of [`Selector::prepare`] and [`Selector::refresh`].
    pub(super) fn run(self, selector: &Selector) -> Result<Prepared, error::Error> {
        match self {
            Self::Prepare(target) => selector.prepare(target),
            Self::Refresh(before) => selector.refresh(&before),
        }
    }

    /// [`Self::run`], if it can answer without waiting.
    ///
    /// # Errors
    /// Those of [`Selector::prepare`].
    #[cfg(feature = "tokio")]
    pub(super) fn unchanged(&self, selector: &Selector) -> Result<Option<Prepared>, error::Error> {
        match self {
            Self::Prepare(target) => selector.prepare_unchanged(target),
            Self::Refresh(_) => Ok(None),
        }
    }
}

impl Drive {
    /// # Errors
    /// [`Error::Selection`] when no certificate can hold the name of the destination.
    pub(super) fn new(start: Start) -> Result<Self, Error> {
        let target = start.target().clone();
        let name = server_name(target.destination())?;
        let next = match start {
            Start::Target(target) => LookUp::Prepare(target),
            Start::Prepared(prepared) => LookUp::Refresh(prepared),
        };
        Ok(Self { target, name, attempts: 0, next })
    }

    /// How to get what the next handshake begins with. To be done after dialling, which may take long.
    pub(super) fn look_up(&mut self) -> LookUp {
        self.attempts += 1;
        std::mem::replace(&mut self.next, LookUp::Prepare(self.target.clone()))
    }

    /// A handshake with what was looked up, over what was dialled.
    pub(super) fn attempt<S>(&self, ready: Ready, dialled: S) -> (Attempt, Guarded<S>) {
        let guarded = ready.resolver.guard(dialled);
        (Attempt { trace: guarded.trace(), name: self.name.clone(), ready }, guarded)
    }

    /// What a handshake that failed with this error needs; `None` when it failed for another reason.
    ///
    /// # Errors
    /// [`Error::Selection`] when there is no attempt left: nobody is asked for what will not be used.
    pub(super) fn failed<'a>(&self, error: &'a (dyn StdError + 'static)) -> Result<Option<&'a Needs>, Error> {
        match needs(error) {
            Some(_) if self.attempts >= ATTEMPTS => {
                let destination = self.target.destination().to_string();
                Err(error::Error::RequestKeepsChanging { destination, attempts: ATTEMPTS }.into())
            }
            needs => Ok(needs),
        }
    }

    /// Goes on with what a handshake needed.
    pub(super) fn again(&mut self, granted: Prepared) {
        self.next = LookUp::Refresh(granted);
    }
}

/// One handshake over rustls.
pub(super) struct Attempt {
    /// What it was begun with.
    pub(super) ready: Ready,
    /// The name to verify the server by.
    pub(super) name: ServerName<'static>,
    trace: Arc<Trace>,
}

impl Attempt {
    /// The connection of a session whose handshake is done.
    pub(super) fn succeeded(self, tls: &ClientConnection) -> Opened {
        let Ready { resolver, prepared, .. } = self.ready;
        // A resumed session stands for the identity that began it, without another request
        let resumed = tls.handshake_kind() == Some(HandshakeKind::Resumed) && resolver.was_asked();
        let version = tls.protocol_version();
        let opened = Opened::new(prepared.clone());
        opened.negotiated(version, tls.alpn_protocol());
        opened.traced(self.trace.clone());
        if resumed || self.trace.was_asked() {
            resolver.note_answer(&opened, prepared, version);
        }
        opened
    }

    /// The error of a handshake that failed for another reason than that it needs something.
    pub(super) fn failed(self, source: io::Error) -> Error {
        let Self { ready: Ready { resolver, prepared, .. }, trace, .. } = self;
        let opened = Opened::new(prepared.clone());
        let is_sent = resolver.prepared().selection().is_some_and(|selection| match selection.answer {
            Answer::Identity(_) => trace.signed().is_some(),
            Answer::None => trace.was_answered() && invalid_certificate(&source).is_none(),
        });
        if is_sent {
            // A server that answers our answer within the handshake speaks TLS 1.2: in 1.3 the handshake is over by then
            let version = trace.signed().or(alert(&source).map(|_| ProtocolVersion::TLSv1_2));
            opened.negotiated(version, None);
            resolver.note_answer(&opened, prepared, version);
        }
        opened.ended_by(&source);
        Error::Handshake { source, opened }
    }
}

/// The resolvers of a connector, one per destination.
#[derive(Debug, Default)]
pub(super) struct Resolvers(Mutex<HashMap<Destination, Ready>>);

/// What a handshake begins with: a resolver, and the configuration that holds its sessions.
#[derive(Clone, Debug)]
pub(super) struct Ready {
    pub(super) resolver: Arc<Resolver>,
    pub(super) config: Arc<ClientConfig>,
    /// For the path of this connection, which may differ from that of the resolver.
    pub(super) prepared: Prepared,
}

impl Resolvers {
    /// The previous resolver, if it serves what was prepared now; otherwise a new one, with no sessions to resume. This may ask an
    /// agent, which blocks.
    pub(super) fn ready(&self, prepared: Prepared, base: &ClientConfig, now: Timestamp) -> Ready {
        let before = self.kept().get(prepared.destination()).cloned();
        if let Some(Ready { resolver, config, prepared: same }) = before
            && resolver.prepared().serves(&prepared, now)
        {
            return Ready { resolver, config, prepared: same.toward(prepared.target().clone()) };
        }
        let mut kept = self.kept();
        if kept.len() >= MAX_DESTINATIONS {
            kept.clear();
        }
        let destination = prepared.destination().clone();
        let resolver = Resolver::new(prepared.clone());
        let config = Arc::new(resolver.config(base));
        let new = Ready { resolver, config, prepared };
        kept.insert(destination, new.clone());
        new
    }

    fn kept(&self) -> MutexGuard<'_, HashMap<Destination, Ready>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
