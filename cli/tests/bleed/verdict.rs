//! Compares what the servers recorded with what was decided.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;
use url::Url;

use crate::ledger::{Connections, Tally};
use crate::support::server::{BOTH_VERSIONS, Handshake, Server};
use crate::world::World;

/// How many errors are shown.
const SHOWN: usize = 20;

#[derive(Debug, Default)]
pub struct Verdict {
    /// Identities that arrived where they were not decided, and other contradictions.
    pub wrong: Vec<String>,
    connections: usize,
    requests: usize,
    /// Sessions resumed with an identity, by version of TLS.
    resumed: BTreeMap<String, usize>,
    http2: usize,
    /// What was done, by name.
    done: Vec<(&'static str, usize)>,
}

impl Verdict {
    pub fn over(world: &World) -> Self {
        let mut verdict = Self { done: tallies(&world.ledger.done), ..Self::default() };
        let mut seen = BTreeSet::new();
        for server in &world.witnesses {
            for request in server.requests() {
                verdict.judge_request(world, server, &request, &mut seen);
            }
        }
        for server in world.witnesses.iter().chain(&world.proxies) {
            verdict.judge_handshakes(server, &world.ledger.opened_at(server.port()));
        }
        let missing = (0..world.ledger.requests()).filter(|id| !seen.contains(id)).count();
        if missing > 0 {
            verdict.wrong.push(format!("{missing} requests never arrived"));
        }
        verdict
    }

    /// Each request arrived once, at its host, with one of the identities that it names, and with the whole chain.
    fn judge_request(&mut self, world: &World, server: &Server, request: &Value, seen: &mut BTreeSet<usize>) {
        self.requests += 1;
        self.http2 += usize::from(request["proto"] == "HTTP/2.0");
        let path = request["path"].as_str().unwrap();
        let url = Url::parse(&format!("https://{}{path}", request["host"].as_str().unwrap())).unwrap();
        let query: BTreeMap<_, _> = url.query_pairs().collect();
        let came: Vec<String> = serde_json::from_value(request["chain"].clone()).unwrap();
        let allowed = query["expect"].split('|').any(|word| world.chain(word) == came);
        if !allowed {
            self.wrong.push(format!("{url}: {came:?} came, resumed: {}", request["resumed"]));
        }
        if url.port() != Some(server.port()) || !seen.insert(query["id"].parse().unwrap()) {
            self.wrong.push(format!("{url}: came to {} or twice", server.port()));
        }
    }

    /// The handshakes show the same identities as the requests: nothing else was sent, and nothing before it was decided.
    fn judge_handshakes(&mut self, server: &Server, opened: &Connections) {
        let mut came = Connections::new();
        for Handshake { complete, error, tls, resumed, chain } in server.handshakes() {
            if !complete {
                if !chain.is_empty() || error.contains("bad certificate") {
                    self.wrong.push(format!("{}: {chain:?} in a handshake that failed: {error}", server.port()));
                }
                continue;
            }
            self.connections += 1;
            if resumed && !chain.is_empty() {
                *self.resumed.entry(tls).or_default() += 1;
            }
            let leaf = chain.first().map_or("none", String::as_str).to_owned();
            *came.entry((server.port(), leaf)).or_default() += 1;
        }
        if came != *opened {
            self.wrong
                .push(format!("of connections, by what came with them, {came:?} arrived and {opened:?} were made"));
        }
    }

    pub fn assert_nothing_wrong(&self) {
        let shown = &self.wrong[..self.wrong.len().min(SHOWN)];
        assert!(self.wrong.is_empty(), "{} wrong, such as {shown:#?}", self.wrong.len());
    }

    /// An empty list of errors only counts if everything happened, and often.
    pub fn assert_that_it_was_put_to_the_test(&self, connections: usize) {
        assert!(self.connections >= connections, "{self}");
        for tls in BOTH_VERSIONS {
            let resumed = self.resumed.get(tls.number()).copied().unwrap_or_default();
            assert!(resumed >= connections / 20, "resumed in TLS {}: {self}", tls.number());
        }
        for (what, times) in &self.done {
            assert!(*times >= 10, "{what}: {self}");
        }
    }
}

fn tallies(done: &Tally) -> Vec<(&'static str, usize)> {
    let number = |what: &AtomicUsize| what.load(Ordering::Relaxed);
    vec![
        ("decisions switched", number(&done.switched)),
        ("forgotten and asked", number(&done.asked)),
        ("switched while connecting", number(&done.raced)),
        ("credentials omitted", number(&done.omitted)),
        ("identities given", number(&done.given)),
        ("modes changed", number(&done.modes)),
        ("identities removed", number(&done.removed)),
        ("locked and unlocked", number(&done.locked)),
        ("passwords changed", number(&done.passwords)),
        ("authorities no longer trusted", number(&done.distrusted)),
        ("identities renamed", number(&done.renamed)),
        ("connections withheld", number(&done.withheld)),
        ("HTTP/1.1 connections reused", number(&done.reused)),
        ("HTTP/2 connections reused", number(&done.reused_http2)),
        ("fetches", number(&done.fetched)),
        ("redirects", number(&done.redirected)),
        ("tunnels through HTTPS proxies", number(&done.tunnelled)),
    ]
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { wrong, connections, requests, resumed, http2, done } = self;
        write!(f, "{connections} connections, {requests} requests, {http2} of them over HTTP/2; ")?;
        write!(f, "resumed with an identity: {resumed:?}; {done:?}; {} wrong", wrong.len())
    }
}
