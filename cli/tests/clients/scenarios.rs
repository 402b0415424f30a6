//! What every client has to do, whatever its protocol: checked at the servers.

use std::cell::Cell;
use std::future::Future;
use std::rc::Rc;
use std::time::{Duration, Instant};

use cardcase::Error;
use cardcase::connect::{Cause, cause};
use tokio::runtime::{Builder, Runtime};

use crate::support::server::{Ask, BOTH_VERSIONS, Kind, Tls};
use crate::world::{BoxError, Client, Peer, World};

/// Starts a server.
type Serve = fn(&World, Tls, Ask) -> Box<dyn Peer>;

/// Makes the client.
type Make = fn(&World) -> Client;

/// How long an executor may stand still while a person thinks.
const STALL: Duration = Duration::from_millis(20);

/// Two destinations with two identities from one client; switching, forgetting, sending none and declining in between;
/// a server that does not ask.
pub fn answers_as_decided(make: Make, serve: Serve, tls: Tls) {
    let world = World::new();
    let [one, two] = [(); 2].map(|()| serve(&world, tls, Ask::Optional));
    let silent = serve(&world, tls, Ask::Never);
    each_gets_what_was_decided(&world, make(&world), [&*one, &*two], &*silent, tls);
}

/// The same for many clients, one after the other, of servers that take their time to start.
pub fn all_answer_as_decided(make: &[Make], serve: Serve, tls: Tls) {
    let world = World::new();
    let [one, two] = [(); 2].map(|()| serve(&world, tls, Ask::Optional));
    let silent = serve(&world, tls, Ask::Never);
    for make in make {
        each_gets_what_was_decided(&world, make(&world), [&*one, &*two], &*silent, tls);
        world.forget(&*two);
    }
}

fn each_gets_what_was_decided(
    world: &World,
    mut client: Client,
    [one, two]: [&dyn Peer; 2],
    silent: &dyn Peer,
    tls: Tls,
) {
    let (alice, bob) = (Some(world.alice), Some(world.bob));
    let mut go = |peer: &dyn Peer, who: Option<_>, asked: &[String], case: &str| {
        let before = peer.came().len();
        client(&peer.destination()).unwrap_or_else(|error| panic!("{tls:?} {case}: {error:?}"));
        let came = peer.came().split_off(before);
        assert_eq!(came, [who.map(|who: cardcase::manage::Fingerprint| who.to_string())], "{tls:?} {case}");
        assert_eq!(world.person.asked(), asked, "{tls:?} {case}");
    };
    world.person.will_pick("alice");
    go(one, alice, &[one.destination()], "asked");
    go(one, alice, &[], "remembered");
    world.person.will_pick("bob");
    go(two, bob, &[two.destination()], "asked elsewhere");
    go(one, alice, &[], "back");
    go(silent, None, &[], "not asked");
    world.remember(one, bob);
    go(one, bob, &[], "switched");
    go(two, bob, &[], "the other stays");
    world.remember(one, None);
    go(one, None, &[], "none");
    world.forget(one);
    world.person.will_pick("alice");
    go(one, alice, &[one.destination()], "forgotten");
    world.forget(one);
    let before = one.came().len();
    for case in ["declined", "declined again"] {
        let error = client(&one.destination()).unwrap_err();
        assert!(matches!(cause(&*error), Some(Cause::Failed(Error::Aborted { .. }))), "{tls:?} {case}: {error:?}");
        assert_eq!((world.person.asked(), one.came().len()), (vec![one.destination()], before), "{tls:?} {case}");
    }
}

/// An HTTP server.
pub fn serve_http(world: &World, tls: Tls, ask: Ask) -> Box<dyn Peer> {
    Box::new(world.http(tls, ask))
}

/// Requests that may use the same connection share it.
pub fn requests_share_a_connection(make: Make) {
    let world = World::new();
    let server = world.http(Tls::V1_3, Ask::Optional);
    world.remember(&server, Some(world.alice));
    let mut client = make(&world);
    for _ in 0..3 {
        client(&server.destination()).unwrap();
    }
    assert_eq!((server.handshakes().len(), server.requests().len()), (1, 3));
}

/// A server refuses everyone: the client says so, in a way that a program can read.
pub fn reports_a_refusal(make: Make, tls: Tls) {
    let world = World::new();
    let mut client = make(&world);
    let server = world.refusing(tls);
    world.person.will_pick("alice");
    let error = client(&server.destination()).unwrap_err();
    assert_eq!(server.chains()[0][0], world.alice.to_string(), "{tls:?}");
    let Some(Cause::Refused(refusal)) = cause(&*error) else { panic!("{tls:?}: {error:?}") };
    assert_eq!(refusal.alert_name().as_deref(), Some("certificate_revoked"), "{tls:?}");
}

/// In chrome mode an identity that a server refused is not sent again without asking.
pub fn forgets_what_was_refused(make: Make, tls: Tls) {
    let world = World::new();
    let mut client = make(&world);
    let server = world.refusing(tls);
    for name in ["alice", "bob"] {
        world.person.will_pick(name);
        client(&server.destination()).unwrap_err();
        assert_eq!(world.person.asked(), [server.destination()], "{tls:?} {name}");
    }
    let sent: Vec<_> = server.chains().into_iter().map(|chain| chain[0].clone()).collect();
    assert_eq!(sent, [world.alice, world.bob].map(|who| who.to_string()), "{tls:?}");
}

/// The history has each success once for a connection, and each refusal as a refusal only, also if it came by a page.
pub fn writes_the_history(make: Make) {
    for tls in BOTH_VERSIONS {
        let world = World::new();
        let mut client = make(&world);
        let server = world.http(tls, Ask::Optional);
        world.person.will_pick("alice");
        for _ in 0..3 {
            client(&server.destination()).unwrap();
        }
        world.remember(&server, None);
        client(&server.destination()).unwrap();
        let silent = world.http(tls, Ask::Never);
        client(&silent.destination()).unwrap();
        // A connection on which a person was asked ended with that
        let came = server.handshakes().into_iter().filter(|handshake| handshake.complete).rev();
        let came: Vec<_> = came.map(|handshake| (handshake.chain.first().cloned(), "accepted".to_owned())).collect();
        assert!(came.len() < 4 && came[0].0.is_none() && came[1].0 == Some(world.alice.to_string()), "{came:?}");
        assert_eq!(outcomes(&world), came, "{tls:?}");

        let world = World::new();
        let mut client = make(&world);
        let refusing = world.refusing(tls);
        world.person.will_pick("alice");
        client(&refusing.destination()).unwrap_err();
        let by_page = world.scene.server(Kind::Nginx).tls(tls).ask(Ask::Require).start();
        world.remember_at(&by_page.destination(), None);
        client(&by_page.destination()).ok();
        let refused = outcomes(&world).into_iter().map(|(_, outcome)| outcome);
        assert_eq!(refused.collect::<Vec<_>>(), ["refused"], "{tls:?}");
    }
}

/// Who was sent and with which outcome, the last first.
fn outcomes(world: &World) -> Vec<(Option<String>, String)> {
    let uses = world.scene.machine.json("history")["uses"].clone();
    let text = |value: &serde_json::Value| value.as_str().map(str::to_owned);
    uses.as_array().unwrap().iter().map(|used| (text(&used["identity"]), text(&used["outcome"]).unwrap())).collect()
}

/// A pool knows no paths: an identity that a rule selects for one path is not sent, and neither is one that a rule denies for one path.
pub fn rules_about_paths_select_nothing(make: Make) {
    let world = World::new();
    let server = world.http(Tls::V1_3, Ask::Optional);
    let mut client = make(&world);
    let at = |path: &str| format!("{}{path}", server.destination());
    let rules = |line: String| drop(world.scene.machine.run(&format!("rules {line}")).expect(0));
    rules("add https://localhost/admin --subject CN=bob".to_owned());
    for path in ["/admin", "/other"] {
        client(&at(path)).unwrap_err();
        assert_eq!(world.person.asked(), [server.destination()], "{path}");
    }
    assert_eq!((server.chains(), server.came()), (vec![], vec![]));
    world.person.will_pick("alice");
    for path in ["/admin", "/other", "/admin/more"] {
        client(&at(path)).unwrap();
    }
    assert_eq!(server.came(), vec![Some(world.alice.to_string()); 3]);
    assert_eq!(world.person.asked(), [server.destination()]);
    // The connection that is open may be used for the path that is denied
    rules("add https://localhost/secret --deny --subject CN=alice".to_owned());
    world.person.will_pick("bob");
    client(&at("/other")).unwrap();
    assert_eq!(world.person.asked(), [server.destination()]);
    assert_eq!(server.came().last(), Some(&Some(world.bob.to_string())));
}

/// The primary password is asked for once, when a verified server wants a signature.
pub fn unlocks(make: Make, serve: Serve, tls: Tls) {
    let mut world = World::new();
    let [silent, one] = [Ask::Never, Ask::Optional].map(|ask| serve(&world, tls, ask));
    world.remember(&*one, Some(world.alice));
    let typist = world.lock();
    let mut client = make(&world);
    client(&silent.destination()).unwrap();
    assert_eq!(typist.typed(), 0, "{tls:?}");
    for _ in 0..2 {
        client(&one.destination()).unwrap();
        assert_eq!((typist.typed(), one.came().pop()), (1, Some(Some(world.alice.to_string()))), "{tls:?}");
    }
}

/// Other tasks on the same thread go on while a person thinks.
pub fn does_not_stall(make: fn(&World, Ticking) -> Client, serve: Serve) {
    const TRIES: usize = 15;
    let world = World::new();
    world.person.will_think(Duration::from_secs(1));
    let mut shortest = Duration::MAX;
    // The machine has other things to do as well; a thread that waits for the person is late every time
    for _ in 0..TRIES {
        let peer = serve(&world, Tls::V1_3, Ask::Optional);
        let ticking = Ticking::new();
        let worst = ticking.worst.clone();
        world.person.will_pick("alice");
        let began = Instant::now();
        make(&world, ticking)(&peer.destination()).unwrap();
        assert!(began.elapsed() >= Duration::from_secs(1));
        assert_eq!(peer.came(), [Some(world.alice.to_string())]);
        shortest = shortest.min(worst.get());
        if shortest <= STALL {
            return;
        }
    }
    panic!("it stood still for {shortest:?} at least, every time");
}

/// Waits for an event.
pub async fn until(happened: impl Fn() -> bool) {
    while !happened() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// A runtime of one thread, and how long it stood still at worst.
pub struct Ticking {
    runtime: Runtime,
    worst: Rc<Cell<Duration>>,
}

impl Ticking {
    pub fn new() -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        Self { runtime, worst: Rc::default() }
    }

    pub fn run<T>(&self, work: impl Future<Output = Result<T, BoxError>>) -> Result<T, BoxError> {
        const TICK: Duration = Duration::from_millis(1);
        let tick = async {
            let mut last = Instant::now();
            loop {
                tokio::time::sleep(TICK).await;
                let gap = last.elapsed().saturating_sub(TICK);
                self.worst.set(self.worst.get().max(gap));
                last = Instant::now();
            }
        };
        let local = tokio::task::LocalSet::new();
        self.runtime.block_on(local.run_until(async {
            tokio::pin!(tick, work);
            std::future::poll_fn(|cx| {
                let _: std::task::Poll<()> = tick.as_mut().poll(cx);
                work.as_mut().poll(cx)
            })
            .await
        }))
    }
}
