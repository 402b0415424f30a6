//! What this test did, in numbers that the servers' records have to match.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use cardcase::Destination;
use url::form_urlencoded::Serializer;

use crate::world::{Who, word};

/// Connections by the port of the server and by what came with them.
pub type Connections = BTreeMap<(u16, String), usize>;

#[derive(Debug, Default)]
pub struct Ledger {
    requests: AtomicUsize,
    count: AtomicUsize,
    opened: Mutex<Connections>,
    pub done: Tally,
}

/// How often each thing was done.
#[derive(Debug, Default)]
pub struct Tally {
    pub switched: AtomicUsize,
    pub asked: AtomicUsize,
    pub raced: AtomicUsize,
    pub omitted: AtomicUsize,
    pub given: AtomicUsize,
    pub modes: AtomicUsize,
    pub reused: AtomicUsize,
    pub reused_http2: AtomicUsize,
    pub fetched: AtomicUsize,
    pub redirected: AtomicUsize,
    pub tunnelled: AtomicUsize,
    pub removed: AtomicUsize,
    pub locked: AtomicUsize,
    pub passwords: AtomicUsize,
    pub distrusted: AtomicUsize,
    pub renamed: AtomicUsize,
    pub withheld: AtomicUsize,
}

pub fn count(what: &AtomicUsize) {
    what.fetch_add(1, Ordering::Relaxed);
}

impl Ledger {
    /// The path of a request with which one of these has to arrive; a server answers with a redirect where there is a
    /// `next` URL.
    pub fn path(&self, allowed: &[Who], next: Option<&str>) -> String {
        let id = self.requests.fetch_add(1, Ordering::Relaxed);
        let expected: Vec<String> = allowed.iter().map(|who| word(*who)).collect();
        let mut query = Serializer::new(String::new());
        query.append_pair("expect", &expected.join("|")).append_pair("id", &id.to_string());
        let path = next.map_or("/", |next| {
            query.append_pair("to", next);
            "/redirect"
        });
        format!("{path}?{}", query.finish())
    }

    /// How many requests were made.
    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }

    /// Counts a connection that was opened.
    pub fn opened(&self, to: &Destination, with: String) {
        count(&self.count);
        *self.opened.lock().unwrap().entry((to.port(), with)).or_default() += 1;
    }

    pub fn connections(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    pub fn opened_at(&self, port: u16) -> Connections {
        self.opened
            .lock()
            .unwrap()
            .iter()
            .filter(|((at, _), _)| *at == port)
            .map(|(key, n)| (key.clone(), *n))
            .collect()
    }
}
