//! What happens in other processes: the command connects, decides, forgets and removes, on the same store.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use cardcase::Destination;
use cardcase::manage::Mode;
use tokio::sync::RwLockReadGuard;

use crate::ledger::count;
use crate::load::{ask, kept_and_new};
use crate::support::command::Outcome;
use crate::world::{Dice, Place, Who, World, word};

const MODES: [Mode; 2] = [Mode::Firefox, Mode::Chrome];

/// How a fetch reaches its servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Direct,
    /// Through a proxy without TLS.
    Relay,
    /// Through an HTTPS proxy, which asks for a certificate too.
    Proxy(usize),
}

pub async fn work(world: Arc<World>, seed: u64, rounds: usize) {
    let mut dice = Dice::new(seed);
    for round in 0..rounds {
        let (mode, to) = (*dice.pick(&MODES), dice.pick(&world.destinations).clone());
        let _peace = world.peace.read().await;
        match round % 8 {
            0 => remember(&world, mode, &to, &mut dice).await,
            1 => forget(&world, mode, &to, &mut dice).await,
            2 => remove(&world, mode, &to, &mut dice).await,
            3..5 => fetch(&world, None, &mut dice).await,
            _ => fetch(&world, Some(mode), &mut dice).await,
        }
    }
}

/// Runs the command; it must succeed.
pub async fn cardcase(world: &Arc<World>, arguments: Vec<String>) -> Outcome {
    let world = world.clone();
    let run = move || world.scene.machine.command(arguments).run().expect(0);
    tokio::task::spawn_blocking(run).await.unwrap()
}

async fn say(world: &Arc<World>, mode: Mode, line: String) {
    let words = line.split(' ').map(str::to_owned);
    cardcase(world, ["--mode".to_owned(), mode.to_string()].into_iter().chain(words).collect()).await;
}

async fn remember(world: &Arc<World>, mode: Mode, to: &Destination, dice: &mut Dice) {
    let mut decided = world.at(&Place::of(mode, to)).write().await;
    let who = world.anyone(dice);
    say(world, mode, format!("remember {to} {} --for {}", word(who), dice.pick(&["session", "permanent"]))).await;
    *decided = Some(who);
    count(&world.ledger.done.switched);
    let _decided = decided.downgrade();
    kept_and_new(world, &world.clients[client_in(world, mode, dice)], to, who).await;
}

/// A client of the library that is in this mode, whatever the store says.
fn client_in(world: &World, mode: Mode, dice: &mut Dice) -> usize {
    let all: Vec<usize> = (0..world.clients.len()).filter(|number| world.clients[*number].mode == Some(mode)).collect();
    *dice.pick(&all)
}

async fn forget(world: &Arc<World>, mode: Mode, to: &Destination, dice: &mut Dice) {
    let mut decided = world.at(&Place::of(mode, to)).write().await;
    if decided.is_some() {
        say(world, mode, format!("forget {to}")).await;
    }
    *decided = ask(world, client_in(world, mode, dice), mode, to, dice).await;
}

/// An identity is imported, used and removed; connections that were opened with it may no longer be used.
async fn remove(world: &Arc<World>, mode: Mode, to: &Destination, dice: &mut Dice) {
    let leaver = {
        let world = world.clone();
        tokio::task::spawn_blocking(move || world.hire_for_a_while()).await.unwrap()
    };
    let mut decided = world.at(&Place::of(mode, to)).write().await;
    say(world, mode, format!("remember {to} {leaver} --for permanent")).await;
    *decided = Some(Some(leaver));
    let client = client_in(world, mode, dice);
    kept_and_new(world, &world.clients[client], to, Some(leaver)).await;
    say(world, mode, format!("remove {leaver} --yes")).await;
    *decided = ask(world, client, mode, to, dice).await;
    count(&world.ledger.done.removed);
}

/// Follows redirects from server to server; in this mode, or in the store's own.
async fn fetch(world: &Arc<World>, own: Option<Mode>, dice: &mut Dice) {
    let settled = world.settled(own).await;
    let mode = settled.mode;
    let way = [Way::Direct, Way::Relay, Way::Proxy(dice.roll(world.proxies.len()))][dice.roll(3)];
    let hops: Vec<Destination> = (0..=dice.roll(5)).map(|_| dice.pick(&world.destinations).clone()).collect();
    let given = if dice.roll(3) == 0 { world.anyone(dice) } else { None };
    let guards = decided_at(world, mode, &hops, way, dice).await;
    let who_at = |to: &Destination| guards[&Place::of(mode, to)].unwrap();
    let expected: Vec<Who> = hops
        .iter()
        .map(|hop| match given {
            Some(_) if *hop == hops[0] => given,
            _ => who_at(hop),
        })
        .collect();

    let mut arguments: Vec<String> =
        ["--batch", "fetch", "-L", "--connect-to", "::127.0.0.1:"].map(str::to_owned).to_vec();
    arguments.push(route(world, &hops, &expected));
    arguments.extend(own.into_iter().flat_map(|mode| ["--mode".to_owned(), mode.to_string()]));
    arguments.extend(given.into_iter().flat_map(|given| ["--as".to_owned(), given.to_string()]));
    match way {
        Way::Direct => {}
        Way::Relay => arguments.extend(["-x".to_owned(), format!("http://{}", world.relay)]),
        Way::Proxy(number) => arguments.extend(["-x".to_owned(), format!("https://{}", world.proxy(number))]),
    }
    cardcase(world, arguments).await;

    for (hop, who) in hops.iter().zip(expected) {
        world.ledger.opened(hop, word(who));
        if let Way::Proxy(number) = way {
            let proxy = world.proxy(number);
            world.ledger.opened(&proxy, word(who_at(&proxy)));
            count(&world.ledger.done.tunnelled);
        }
    }
    world.ledger.done.redirected.fetch_add(hops.len() - 1, std::sync::atomic::Ordering::Relaxed);
    count(&world.ledger.done.fetched);
}

/// The URL of the first of these, which leads on to the next, and so on.
fn route(world: &World, hops: &[Destination], expected: &[Who]) -> String {
    let mut next: Option<String> = None;
    for (hop, who) in hops.iter().zip(expected).rev() {
        let path = world.ledger.path(&[*who], next.as_deref());
        next = Some(format!("https://{hop}{path}"));
    }
    next.unwrap()
}

/// Locks the decisions for every server of the redirects until it is dropped.
async fn decided_at<'a>(
    world: &'a Arc<World>,
    mode: Mode,
    hops: &[Destination],
    way: Way,
    dice: &mut Dice,
) -> BTreeMap<Place, RwLockReadGuard<'a, Option<Who>>> {
    let proxy = match way {
        Way::Proxy(number) => Some(world.proxy(number)),
        Way::Direct | Way::Relay => None,
    };
    loop {
        // Everybody locks in the order of the places, so that nobody waits for who waits for them
        let places: BTreeSet<Place> = hops.iter().chain(&proxy).map(|to| Place::of(mode, to)).collect();
        let mut guards = BTreeMap::new();
        for place in places {
            let guard = world.at(&place).read().await;
            guards.insert(place, guard);
        }
        let undecided = hops.iter().find(|hop| guards[&Place::of(mode, hop)].is_none());
        let Some(undecided) = undecided else { return guards };
        drop(guards);
        remember(world, mode, undecided, dice).await;
    }
}
