//! Changes that affect all programs at once, and are then undone: locking the store, changing the primary password, no longer trusting
//! an authority, and renaming an identity. During these, TLS sessions could be resumed and kept connections reused.

use std::sync::Arc;
use std::time::Duration;

use cardcase::Destination;

use crate::ledger::count;
use crate::load::kept_and_new;
use crate::processes::cardcase;
use crate::world::{Dice, Place, Who, World};

/// The most connections that are tried after each change.
const TRIED: usize = 12;

/// Makes these changes, spread over the time that the given number of connections takes.
pub async fn work(world: Arc<World>, seed: u64, rounds: usize, connections: usize) {
    let mut dice = Dice::new(seed);
    for round in 0..rounds {
        while world.ledger.connections() < connections * round / rounds {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let _alone = world.peace.write().await;
        match round % 4 {
            0 => lock(&world, &mut dice).await,
            1 => change_password(&world, round, &mut dice).await,
            2 => distrust(&world, &mut dice).await,
            _ => rename(&world, round, &mut dice).await,
        }
    }
}

/// A client, where it goes, and what is decided there.
type Trip = (usize, Destination, Who);

/// Trips to places where something is decided.
async fn trips(world: &World, dice: &mut Dice) -> Vec<Trip> {
    let mut trips = Vec::new();
    for _ in 0..TRIED {
        let (client, to) = (dice.roll(world.clients.len()), dice.pick(&world.destinations).clone());
        let mode = world.settled(world.clients[client].mode).await.mode;
        if let Some(who) = *world.at(&Place::of(mode, &to)).read().await {
            trips.push((client, to, who));
        }
    }
    trips
}

/// Makes these trips, each over a kept connection if there is one and over a new one.
async fn make(world: &World, trips: &[Trip]) {
    for (client, to, who) in trips {
        kept_and_new(world, &world.clients[*client], to, *who).await;
    }
}

/// Makes a change while connections are being opened.
async fn take(world: &Arc<World>, trips: &[Trip], taking: impl Future<Output = ()>) {
    let attempts: Vec<_> = trips
        .iter()
        .take(4)
        .map(|(client, to, who)| {
            let (world, client, to, who) = (world.clone(), *client, to.clone(), *who);
            tokio::spawn(async move { world.clients[client].attempt(&world.ledger, &to, who).await })
        })
        .collect();
    taking.await;
    for attempt in attempts {
        attempt.await.unwrap();
    }
}

/// Checks that no identity is used while the vault is locked, and that connections without an identity still succeed.
async fn check_withheld(world: &World, trips: &[Trip], why: &str) {
    for (client, to, who) in trips {
        match who {
            Some(_) => world.clients[*client].must_not_connect(&world.ledger, to, why).await,
            None => kept_and_new(world, &world.clients[*client], to, *who).await,
        }
    }
}

async fn blocking(world: &Arc<World>, work: impl FnOnce(&World) + Send + 'static) {
    let world = world.clone();
    tokio::task::spawn_blocking(move || work(&world)).await.unwrap();
}

async fn run(world: &Arc<World>, line: String) {
    cardcase(world, line.split(' ').map(str::to_owned).collect()).await;
}

async fn lock(world: &Arc<World>, dice: &mut Dice) {
    let trips = trips(world, dice).await;
    make(world, &trips).await;
    take(world, &trips, run(world, "lock".to_owned())).await;
    check_withheld(world, &trips, "locked").await;
    blocking(world, World::unlock).await;
    make(world, &trips).await;
    count(&world.ledger.done.locked);
}

async fn change_password(world: &Arc<World>, round: usize, dice: &mut Dice) {
    let trips = trips(world, dice).await;
    make(world, &trips).await;
    let password = format!("correct horse {round}");
    take(world, &trips, blocking(world, move |world| world.change_password(&password))).await;
    check_withheld(world, &trips, "another password").await;
    blocking(world, World::unlock).await;
    make(world, &trips).await;
    count(&world.ledger.done.passwords);
}

async fn distrust(world: &Arc<World>, dice: &mut Dice) {
    let trips = trips(world, dice).await;
    make(world, &trips).await;
    let authority = world.scene.server_root.fingerprint();
    take(world, &trips, run(world, format!("trust --remove {authority}"))).await;
    for (client, to, _) in &trips {
        world.clients[*client].must_not_connect(&world.ledger, to, "not trusted").await;
    }
    run(world, format!("trust {}", world.scene.server_root_file.display())).await;
    make(world, &trips).await;
    count(&world.ledger.done.distrusted);
}

/// A decision applies to the identity, also after it is renamed.
async fn rename(world: &Arc<World>, round: usize, dice: &mut Dice) {
    let trips = trips(world, dice).await;
    let somebody = world.somebody(dice);
    let name = format!("renamed {round}");
    take(world, &trips, blocking(world, move |world| world.rename(somebody, &name))).await;
    make(world, &trips).await;
    count(&world.ledger.done.renamed);
}
