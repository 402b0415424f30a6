//! Identity bleed: ten thousand connections of every kind to many hosts and ports, from many threads and processes on one
//! store, while the decisions change all the time. The servers record what arrives. No identity may arrive
//! where it was not decided at that moment.
//!
//! Every request names in its URL the identity that has to arrive with it, so the servers' own records show any error. The
//! test knows that identity for sure: it locks a place (a host, in chrome mode a host and port) while it changes what is
//! decided there, and shares the lock while it connects there.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod client;
mod ledger;
mod load;
mod oracle;
mod processes;
#[path = "../support/mod.rs"]
mod support;
mod upheaval;
mod verdict;
mod world;

use std::sync::Arc;
use std::time::Instant;

use verdict::Verdict;
use world::World;

/// Connections made in all, at least.
const CONNECTIONS: usize = 10_000;
/// Tasks that connect within this process.
const WORKERS: u64 = 12;
/// Tasks that run the command, one run after the other.
const SHELLS: u64 = 3;
/// How many rounds each of them runs.
const ROUNDS: usize = 48;
/// How often something is changed for all of them: the store is locked, or the password, an authority or a name changes.
const UPHEAVALS: usize = 48;

#[test]
fn no_identity_arrives_where_it_was_not_decided() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap();
    let world = Arc::new(World::new(&runtime));
    let started = Instant::now();
    let failed = runtime.block_on(everything_at_once(&world));
    let verdict = Verdict::over(&world);
    eprintln!("{:?}: {verdict}", started.elapsed());
    // Servers that end while a test fails show all they wrote down
    drop(runtime);
    drop(world);
    verdict.assert_nothing_wrong();
    assert_eq!(failed, [""; 0]);
    verdict.assert_that_it_was_put_to_the_test(CONNECTIONS);
}

/// What failed.
async fn everything_at_once(world: &Arc<World>) -> Vec<String> {
    let workers = (0..WORKERS).map(|number| tokio::spawn(load::work(world.clone(), number, CONNECTIONS)));
    let shells = (0..SHELLS).map(|number| tokio::spawn(processes::work(world.clone(), WORKERS + number, ROUNDS)));
    let mut failed = Vec::new();
    let upheavals = tokio::spawn(upheaval::work(world.clone(), WORKERS + SHELLS, UPHEAVALS, CONNECTIONS));
    for task in workers.chain(shells).chain([upheavals]).collect::<Vec<_>>() {
        failed.extend(task.await.err().map(|error| error.to_string()));
    }
    failed
}
