//! The host that a configuration is for, and those that it is used for.
//!
//! rustls does not tell a resolver which server asks. But it tells the session store the name of the server at the beginning of each
//! handshake, before anything is sent. So a session store notices when a configuration for one destination is used for another host.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use rustls::NamedGroup;
use rustls::client::{
    ClientSessionMemoryCache, ClientSessionStore, Resumption, Tls12ClientSessionValue, Tls13ClientSessionValue,
};
use rustls::pki_types::ServerName;

use crate::error::Error;
use crate::request::Destination;

/// The name to verify the server by; an address without its zone, which no certificate holds.
///
/// # Errors
/// [`Error::Destination`] when a certificate cannot hold such a name.
pub fn server_name(destination: &Destination) -> Result<ServerName<'static>, Error> {
    ServerName::try_from(destination.host_without_zone().to_owned())
        .map_err(|error| Error::Destination { text: destination.to_string(), reason: error.to_string() })
}

/// Sessions kept for resumption by one configuration.
pub(super) const SESSIONS: usize = 8;

/// The hosts that the configurations for one destination are used for.
#[derive(Debug)]
pub(super) struct Hosts {
    /// `None` if no certificate can hold the name of the destination.
    own: Option<ServerName<'static>>,
    /// The first other host.
    other: OnceLock<ServerName<'static>>,
    last_was_own: AtomicBool,
    /// Whether any handshake was begun.
    begun: AtomicBool,
}

/// Which host a certificate request may come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RequestFrom {
    /// The destination: no handshake with another host was ever begun.
    Own,
    /// Probably another host: the last handshake was begun with one.
    Other,
    /// The destination or another host. Nothing tells when a handshake with another host has ended, so this stays.
    Either,
    /// No handshake was begun with this session store: it was replaced.
    Unknown,
}

impl Hosts {
    pub(super) fn new(destination: &Destination) -> Self {
        Self {
            own: server_name(destination).ok(),
            other: OnceLock::new(),
            last_was_own: AtomicBool::new(true),
            begun: AtomicBool::new(false),
        }
    }

    /// Notes that a handshake with this host begins.
    pub(super) fn note(&self, name: &ServerName<'_>) {
        let is_own = self.is_own(name);
        self.begun.store(true, Ordering::Release);
        if !is_own {
            let _ = self.other.get_or_init(|| name.to_owned());
        }
        self.last_was_own.store(is_own, Ordering::Release);
    }

    pub(super) fn is_own(&self, name: &ServerName<'_>) -> bool {
        self.own.as_ref() == Some(name)
    }

    pub(super) fn request_from(&self) -> RequestFrom {
        if !self.begun.load(Ordering::Acquire) {
            return RequestFrom::Unknown;
        }
        match (self.other.get(), self.last_was_own.load(Ordering::Acquire)) {
            (None, _) => RequestFrom::Own,
            (Some(_), true) => RequestFrom::Either,
            (Some(_), false) => RequestFrom::Other,
        }
    }

    /// The error of a request that cannot be answered, because it may come from another host.
    pub(super) fn error(&self, destination: &Destination) -> Error {
        let destination = destination.to_string();
        match self.other.get() {
            Some(other) => Error::OtherHost { destination, other: other.to_str().into_owned() },
            None => Error::SessionStoreReplaced { destination },
        }
    }
}

/// Keeps sessions for one host, and notes the use for any other.
#[derive(Debug)]
pub(super) struct Sessions {
    hosts: Arc<Hosts>,
    kept: ClientSessionMemoryCache,
}

impl Sessions {
    /// No sessions yet.
    pub(super) fn resumption(hosts: Arc<Hosts>) -> Resumption {
        Resumption::store(Arc::new(Self { hosts, kept: ClientSessionMemoryCache::new(SESSIONS) }))
    }
}

impl ClientSessionStore for Sessions {
    fn set_kx_hint(&self, name: ServerName<'static>, group: NamedGroup) {
        self.kept.set_kx_hint(name, group);
    }

    fn kx_hint(&self, name: &ServerName<'_>) -> Option<NamedGroup> {
        self.hosts.note(name);
        self.kept.kx_hint(name)
    }

    fn set_tls12_session(&self, name: ServerName<'static>, session: Tls12ClientSessionValue) {
        self.kept.set_tls12_session(name, session);
    }

    fn tls12_session(&self, name: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.hosts.note(name);
        self.kept.tls12_session(name)
    }

    fn remove_tls12_session(&self, name: &ServerName<'static>) {
        self.kept.remove_tls12_session(name);
    }

    fn insert_tls13_ticket(&self, name: ServerName<'static>, ticket: Tls13ClientSessionValue) {
        self.kept.insert_tls13_ticket(name, ticket);
    }

    fn take_tls13_ticket(&self, name: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.hosts.note(name);
        self.kept.take_tls13_ticket(name)
    }
}
