//! What happens within this process: bursts of connections, and all that changes between and during them.

use std::sync::Arc;

use cardcase::Destination;
use cardcase::manage::{Lifetime, Mode};

use crate::client::{Client, Errand};
use crate::ledger::count;
use crate::world::{Dice, Place, Who, World};

/// Runs until there were this many connections.
pub async fn work(world: Arc<World>, seed: u64, connections: usize) {
    let mut dice = Dice::new(seed);
    while world.ledger.connections() < connections {
        let client = dice.roll(world.clients.len());
        let to = dice.pick(&world.destinations).clone();
        let _peace = world.peace.read().await;
        match dice.roll(40) {
            0 => world.change_mode(&mut dice).await,
            1 => switch_at_a_proxy(&world, &mut dice).await,
            2..6 => switch(&world, client, &to, &mut dice).await,
            6..9 => forget_and_ask(&world, client, &to, &mut dice).await,
            9..11 => race(&world, client, &to, &mut dice).await,
            _ => burst(&world, client, &to, &mut dice).await,
        }
    }
}

/// Some requests one after the other, or at once; where nothing is decided, a person is asked first.
async fn burst(world: &Arc<World>, client: usize, to: &Destination, dice: &mut Dice) {
    let settled = world.settled(world.clients[client].mode).await;
    let decided = world.at(&Place::of(settled.mode, to)).read().await;
    let Some(who) = *decided else {
        drop((decided, settled));
        return forget_and_ask(world, client, to, dice).await;
    };
    let through = dice.roll(12) == 0;
    let proxy = world.proxy(dice.roll(world.proxies.len()));
    let at_proxy = world.at(&Place::of(settled.mode, &proxy)).read().await;
    let mut errands = Vec::new();
    for _ in 0..=dice.roll(6) {
        let mut errand = any_errand(world, to, who, dice);
        errand.through = through.then(|| (proxy.clone(), at_proxy.unwrap())).filter(|_| errand.credentials);
        errands.push(errand);
    }
    if dice.roll(3) == 0 {
        at_once(world, errands.into_iter().map(|errand| (client, errand))).await;
    } else {
        for errand in errands {
            world.clients[client].run(&world.ledger, errand).await;
        }
    }
}

/// Mostly a plain request; some carry no credentials, or an identity that the program itself names.
fn any_errand(world: &World, to: &Destination, who: Who, dice: &mut Dice) -> Errand {
    let plain = Errand { pooled: dice.roll(3) == 0, ..Errand::plain(to, &[who]) };
    match dice.roll(12) {
        0 => {
            count(&world.ledger.done.omitted);
            Errand { credentials: false, allowed: vec![None], ..plain }
        }
        1 => match world.anyone(dice) {
            given @ Some(_) => {
                count(&world.ledger.done.given);
                Errand { given, allowed: vec![given], ..plain }
            }
            None => plain,
        },
        _ => plain,
    }
}

async fn at_once(world: &Arc<World>, errands: impl Iterator<Item = (usize, Errand)>) {
    let run = |(client, errand): (usize, Errand)| {
        let world = world.clone();
        tokio::spawn(async move { world.clients[client].run(&world.ledger, errand).await })
    };
    for task in errands.map(run).collect::<Vec<_>>() {
        task.await.unwrap();
    }
}

/// A kept connection and a new one would both show an error after a change.
pub async fn kept_and_new(world: &World, client: &Client, to: &Destination, who: Who) {
    for pooled in [true, false] {
        client.run(&world.ledger, Errand { pooled, ..Errand::plain(to, &[who]) }).await;
    }
}

async fn switch(world: &World, client: usize, to: &Destination, dice: &mut Dice) {
    let client = &world.clients[client];
    let settled = world.settled(client.mode).await;
    let mut decided = world.at(&Place::of(settled.mode, to)).write().await;
    let who = world.anyone(dice);
    world.remember(settled.mode, to, who, dice);
    *decided = Some(who);
    count(&world.ledger.done.switched);
    let _decided = decided.downgrade();
    kept_and_new(world, client, to, who).await;
}

async fn switch_at_a_proxy(world: &World, dice: &mut Dice) {
    let proxy = world.proxy(dice.roll(world.proxies.len()));
    let mode = *dice.pick(&[Mode::Firefox, Mode::Chrome]);
    let mut decided = world.at(&Place::of(mode, &proxy)).write().await;
    let who = world.anyone(dice);
    world.remember(mode, &proxy, who, dice);
    *decided = Some(who);
    count(&world.ledger.done.switched);
}

async fn forget_and_ask(world: &Arc<World>, client: usize, to: &Destination, dice: &mut Dice) {
    let settled = world.settled(world.clients[client].mode).await;
    let mut decided = world.at(&Place::of(settled.mode, to)).write().await;
    world.forget(settled.mode, to, dice);
    *decided = ask(world, client, settled.mode, to, dice).await;
}

/// Several clients connect at once where nothing is decided. Returns what is decided there afterwards.
pub async fn ask(world: &Arc<World>, client: usize, mode: Mode, to: &Destination, dice: &mut Dice) -> Option<Who> {
    let (place, who) = (Place::of(mode, to), world.anyone(dice));
    let lifetime = *dice.pick(&[Lifetime::Once, Lifetime::Session, Lifetime::Permanent]);
    world.oracle.will_answer(&place, who, lifetime);
    count(&world.ledger.done.asked);
    let others = (0..world.clients.len()).filter(|number| world.clients[*number].mode == Some(mode));
    let crowd = others.take(dice.roll(3)).chain([client]);
    let errand = Errand { pooled: dice.roll(2) == 0, ..Errand::plain(to, &[who]) };
    at_once(world, crowd.map(|client| (client, errand.clone()))).await;
    world.oracle.will_not_answer(&place);
    // Chrome mode remembers in any case
    (lifetime != Lifetime::Once || mode == Mode::Chrome).then_some(who)
}

/// The decision changes while connections are made: the old identity or the new one arrives, and no other.
async fn race(world: &Arc<World>, client: usize, to: &Destination, dice: &mut Dice) {
    let settled = world.settled(world.clients[client].mode).await;
    let mut decided = world.at(&Place::of(settled.mode, to)).write().await;
    let Some(before) = *decided else { return };
    let after = world.anyone(dice);
    let errand = Errand { pooled: dice.roll(2) == 0, ..Errand::plain(to, &[before, after]) };
    let changer = {
        let (world, to, mode) = (world.clone(), to.clone(), settled.mode);
        let mut dice = Dice::new(dice.roll(usize::MAX) as u64);
        tokio::task::spawn_blocking(move || world.remember(mode, &to, after, &mut dice))
    };
    at_once(world, (0..4).map(|_| (client, errand.clone()))).await;
    changer.await.unwrap();
    *decided = Some(after);
    count(&world.ledger.done.raced);
    kept_and_new(world, &world.clients[client], to, after).await;
}
