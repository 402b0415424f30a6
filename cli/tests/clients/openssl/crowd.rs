//! Many connections at once over tokio: few of those that wait for a person take a thread, and everything else goes on.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use cardcase::Chooser;
use cardcase::ask::{Question, Reply};
use cardcase::connect::Source;
use cardcase::connect::openssl::Connector;
use cardcase::manage::{Answer, Lifetime, Mode};
use cardcase::{Destination, Target};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

use crate::openssl::library;
use crate::support::scene::Scene;
use crate::support::server::{Ask, BOTH_VERSIONS, Kind};

const WAITING: usize = 300;

/// Fewer threads than connections that wait, and a few more than may wait at once.
const THREADS: usize = 140;

/// How long an executor may stand still.
const STALL: Duration = Duration::from_millis(20);

/// More time than anything takes that does not wait for a person.
const LIMIT: Duration = Duration::from_secs(60);

/// A person who thinks until told to answer.
struct Thinking {
    lifetime: Lifetime,
    waiting: AtomicUsize,
    asked: AtomicUsize,
    done: Mutex<bool>,
    told: Condvar,
}

impl Thinking {
    fn new(lifetime: Lifetime) -> Arc<Self> {
        let (waiting, asked) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Arc::new(Self { lifetime, waiting, asked, done: Mutex::default(), told: Condvar::new() })
    }

    fn answer(&self) {
        *self.done.lock().unwrap() = true;
        self.told.notify_all();
    }

    /// Returns once this many wait besides the one that asks.
    async fn until_wait(&self, count: usize) {
        let all_wait = async {
            while self.waiting.load(Ordering::SeqCst) < count {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let waiting = || self.waiting.load(Ordering::SeqCst);
        tokio::time::timeout(LIMIT, all_wait).await.unwrap_or_else(|_| panic!("only {} wait", waiting()));
    }
}

impl Chooser for Thinking {
    fn waiting(&self, _destination: &Destination) {
        self.waiting.fetch_add(1, Ordering::SeqCst);
    }

    fn choose(&self, question: &Question<'_>) -> Reply {
        self.asked.fetch_add(1, Ordering::SeqCst);
        drop(self.told.wait_while(self.done.lock().unwrap(), |done| !*done).unwrap());
        let alice = question.candidates().find(|candidate| candidate.identity.name() == "alice").unwrap();
        Reply::Identity { identity: alice.identity, lifetime: self.lifetime }
    }
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().max_blocking_threads(THREADS).build().unwrap()
}

fn connect(connector: &Arc<Connector>, target: Target) -> JoinHandle<(Source, Option<String>)> {
    let connector = connector.clone();
    tokio::spawn(async move {
        let port = target.destination().port();
        let dial = || tokio::net::TcpStream::connect(("127.0.0.1", port));
        let connection = connector.connect_async(target.clone(), dial).await.unwrap();
        let selection = connection.opened.selection().unwrap();
        let name = match selection.answer {
            Answer::Identity(identity) => Some(identity.name().to_owned()),
            Answer::None => None,
        };
        (selection.source, name)
    })
}

/// How late the runtime is at most, in the quietest of some periods: the machine is busy with other work too, but a thread that
/// waits for the person would be late every time.
async fn stall() -> Duration {
    const TICK: Duration = Duration::from_millis(1);
    let mut shortest = Duration::MAX;
    for _ in 0..5 {
        let (began, mut worst) = (Instant::now(), Duration::ZERO);
        while began.elapsed() < Duration::from_millis(300) {
            let before = Instant::now();
            tokio::time::sleep(TICK).await;
            worst = worst.max(before.elapsed().saturating_sub(TICK));
        }
        shortest = shortest.min(worst);
    }
    shortest
}

/// With one question, and with as many questions as there are tasks.
#[test]
fn three_hundred_connections_share_one_prompt_and_hold_up_nothing() {
    type Page = fn(usize) -> String;
    // Rules may differ for other paths, so those are questions of their own
    let cases: [(&str, Page, Lifetime, usize); 2] = [
        ("one question", |_| "/".to_owned(), Lifetime::Once, WAITING - 1),
        ("many questions", |each| format!("/{each}"), Lifetime::Permanent, 128 - 1),
    ];
    let scene = Scene::new();
    scene.hire("alice");
    scene.hire("bob");
    for tls in BOTH_VERSIONS {
        for (case, page, lifetime, waiting) in cases {
            let [server, decided] = [(); 2].map(|()| scene.server(Kind::Go).tls(tls).ask(Ask::Require).start());
            let thinking = Thinking::new(lifetime);
            let selector = scene.machine.selector().with_chooser(thinking.clone()).with_mode(Mode::Chrome);
            scene.machine.run(&format!("remember {} bob --mode chrome", decided.destination())).expect(0);
            // In chrome mode every choice is remembered
            let selector = if lifetime == Lifetime::Once { selector.with_mode(Mode::Firefox) } else { selector };
            let connector = Arc::new(library::connector(&scene, selector));
            let target = |at: &str| Target::new(at.parse::<Destination>().unwrap());
            runtime().block_on(async {
                let tasks: Vec<_> = (0..WAITING)
                    .map(|each| connect(&connector, target(&server.destination()).with_path(page(each))))
                    .collect();
                thinking.until_wait(waiting).await;
                let stall = stall().await;
                assert!(stall <= STALL, "{case} {tls:?}: the runtime stood still for {stall:?}");
                let blocking = tokio::task::spawn_blocking(|| ());
                tokio::time::timeout(LIMIT, blocking).await.expect("no thread is left").unwrap();
                if lifetime == Lifetime::Permanent {
                    let other = connect(&connector, target(&decided.destination()));
                    let other = tokio::time::timeout(LIMIT, other).await.expect("it waits for a person").unwrap();
                    assert_eq!(other, (Source::Decision, Some("bob".to_owned())), "{case} {tls:?}");
                }
                thinking.answer();
                for task in tasks {
                    assert_eq!(task.await.unwrap().1.as_deref(), Some("alice"), "{case} {tls:?}");
                }
            });
            assert_eq!(thinking.asked.load(Ordering::SeqCst), 1, "{case} {tls:?}");
        }
    }
}
