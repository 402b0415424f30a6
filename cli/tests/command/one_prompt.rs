//! One prompt for all that wait, among threads, tasks and processes: everyone gets the answer, even if nothing is
//! remembered. If the process that asks dies, another one asks.

use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use crate::support::command::Cardcase;
use crate::support::scene::Scene;
use crate::support::screen::{ONCE, PERMANENT, SEND_NONE, choose};
use crate::support::server::{Ask, Kind, Server};
use crate::support::terminal::{Terminal, key};
use cardcase::Chooser;
use cardcase::Destination;
use cardcase::Error;
use cardcase::Selector;
use cardcase::ask::CertificateRequest;
use cardcase::ask::{Question, Reply};
use cardcase::connect::tokio::Connector;
use cardcase::manage::Fingerprint;
use cardcase::manage::Lifetime;
use rustls::SignatureScheme;
use serde_json::json;
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};

/// The time limit for everybody to wait.
const LIMIT: Duration = Duration::from_secs(60);

/// Long enough for a second prompt to appear.
const A_WHILE: Duration = Duration::from_millis(700);

/// What is answered to a question: the best candidate with this lifetime, or another reply.
type Says = Result<Lifetime, Reply>;

/// Answers when all others wait for the answer.
struct Patient {
    others: usize,
    says: Says,
    seen: Mutex<Seen>,
    changed: Condvar,
}

#[derive(Default)]
struct Seen {
    waiting: usize,
    asked: usize,
    asking: bool,
}

impl Patient {
    fn new(others: usize, says: Says) -> Arc<Self> {
        Arc::new(Self { others, says, seen: Mutex::default(), changed: Condvar::new() })
    }

    fn asked(&self) -> usize {
        self.seen.lock().unwrap().asked
    }
}

impl Chooser for Patient {
    fn waiting(&self, _destination: &Destination) {
        self.seen.lock().unwrap().waiting += 1;
        self.changed.notify_all();
    }

    fn choose(&self, question: &Question<'_>) -> Reply {
        let mut seen = self.seen.lock().unwrap();
        assert!(!seen.asking, "asked twice at once");
        (seen.asking, seen.asked) = (true, seen.asked + 1);
        let everybody = self.changed.wait_timeout_while(seen, LIMIT, |seen| seen.waiting < self.others).unwrap();
        let (mut seen, late) = everybody;
        assert!(!late.timed_out(), "{} of {} wait", seen.waiting, self.others);
        seen.asking = false;
        match self.says.clone() {
            Ok(lifetime) => Reply::Identity { identity: question.candidates().next().unwrap().identity, lifetime },
            Err(reply) => reply,
        }
    }
}

fn selector(machine: &Cardcase, chooser: &Arc<Patient>) -> Arc<Selector> {
    Arc::new(machine.selector().with_chooser(chooser.clone()))
}

fn request(schemes: &[SignatureScheme]) -> CertificateRequest {
    CertificateRequest::new(&[], schemes)
}

/// The answers to these requests, made for one destination at the same time through four handles of the store.
fn answers(
    machine: &Cardcase,
    chooser: &Arc<Patient>,
    requests: &[CertificateRequest],
) -> Vec<Result<Option<Fingerprint>, Error>> {
    let destination = Destination::new("a.example", 443).unwrap();
    let selectors: Vec<_> = (0..4).map(|_| selector(machine, chooser)).collect();
    thread::scope(|threads| {
        let asking: Vec<_> = requests
            .iter()
            .enumerate()
            .map(|(number, request)| {
                let (selector, destination) = (&selectors[number % selectors.len()], &destination);
                threads.spawn(move || {
                    selector.select(destination, request).map(|done| done.selection().unwrap().answer.fingerprint())
                })
            })
            .collect();
        asking.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

#[test]
fn one_prompt_for_fifty_threads_whatever_the_answer() {
    let scene = Scene::new();
    let alice = Fingerprint::from_der(scene.hire("alice").der());
    let requests = vec![request(&[SignatureScheme::ECDSA_NISTP256_SHA256]); 50];
    for lifetime in [Lifetime::Once, Lifetime::Session, Lifetime::Permanent] {
        for (says, sent) in [(Ok(lifetime), Some(alice)), (Err(Reply::None { lifetime }), None)] {
            let chooser = Patient::new(requests.len() - 1, says.clone());
            for answer in answers(&scene.machine, &chooser, &requests) {
                assert_eq!(answer.unwrap(), sent, "{says:?}");
            }
            assert_eq!(chooser.asked(), 1, "{says:?}");
            scene.machine.run("forget --all").expect(0);
        }
    }
    let chooser = Patient::new(requests.len() - 1, Err(Reply::Abort));
    let answers = answers(&scene.machine, &chooser, &requests);
    assert!(answers.iter().all(|answer| matches!(answer, Err(Error::Aborted { .. }))), "{answers:?}");
    assert_eq!(chooser.asked(), 1);
}

/// An answer to one question is not an answer to another, and each question is asked once.
#[test]
fn two_different_requests_cause_two_prompts_in_turn() {
    let scene = Scene::new();
    let alice = Fingerprint::from_der(scene.hire("alice").der());
    let one = request(&[SignatureScheme::ECDSA_NISTP256_SHA256]);
    let other = request(&[SignatureScheme::ECDSA_NISTP256_SHA256, SignatureScheme::ED25519]);
    let requests = [vec![one; 10], vec![other; 10]].concat();
    for says in [Ok(Lifetime::Once), Err(Reply::Abort)] {
        let chooser = Patient::new(requests.len() - 1, says.clone());
        for answer in answers(&scene.machine, &chooser, &requests) {
            assert_eq!(answer.ok(), says.is_ok().then_some(Some(alice)), "{says:?}");
        }
        assert_eq!(chooser.asked(), 2, "{says:?}");
    }
}

fn runtimes() -> [Runtime; 2] {
    let several = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    [Builder::new_current_thread().enable_all().build().unwrap(), several]
}

#[test]
fn one_prompt_for_all_tasks_of_a_runtime() {
    const TASKS: usize = 20;
    let scene = Scene::new();
    let alice = scene.hire("alice");
    for runtime in runtimes() {
        for lifetime in [Lifetime::Once, Lifetime::Permanent] {
            let server = scene.server(Kind::Go).start();
            let chooser = Patient::new(TASKS - 1, Ok(lifetime));
            let connector = Arc::new(Connector::new(selector(&scene.machine, &chooser), scene.client_config()));
            let (to, address) = (Destination::new("localhost", server.port()).unwrap(), server.address());
            runtime.block_on(async {
                let connect = |_| {
                    let (connector, to) = (connector.clone(), to.clone());
                    tokio::spawn(async move { connector.connect(&to, || TcpStream::connect(address)).await.unwrap() })
                };
                for task in (0..TASKS).map(connect).collect::<Vec<_>>() {
                    task.await.unwrap();
                }
            });
            assert_eq!(server.chains(), vec![alice.sent_chain(); TASKS], "{lifetime:?}");
            assert_eq!(chooser.asked(), 1, "{lifetime:?}");
            scene.machine.run("forget --all").expect(0);
        }
    }
}

/// Ten people who would be asked the same question on ten screens.
struct Office {
    scene: Scene,
    server: Server,
    terminals: Vec<Terminal>,
}

impl Office {
    const SCREENS: usize = 10;

    fn new() -> Office {
        let scene = Scene::new();
        let server = scene.server(Kind::Go).start();
        Office { scene, server, terminals: Vec::new() }
    }

    fn everybody_fetches(&mut self) {
        let arguments = self.scene.fetch_arguments(&self.server.url());
        self.terminals = (0..Self::SCREENS).map(|_| Terminal::open(&self.scene.machine, &arguments)).collect();
    }

    /// The terminal that shows the question, when all others wait.
    fn asked(&mut self) -> Terminal {
        let asked = Terminal::first_with(&mut self.terminals, SEND_NONE);
        let asked = self.terminals.remove(asked);
        for other in &mut self.terminals {
            other.wait_until("waiting", |screen| screen.contains("waiting") || screen.contains(SEND_NONE));
            assert!(!other.text().contains(SEND_NONE), "asked as well:\n{}", other.text());
        }
        asked
    }

    /// The others end without a question.
    fn everybody_is_done(&mut self) {
        for terminal in &mut self.terminals {
            let status = terminal.end();
            assert_eq!(status.code(), Some(0), "{}", terminal.text());
        }
    }
}

#[test]
fn one_prompt_for_ten_processes() {
    let mut office = Office::new();
    let alice = office.scene.hire("alice");
    for lifetime in [ONCE, PERMANENT] {
        office.everybody_fetches();
        let mut asked = office.asked();
        choose(&mut asked, "alice");
        choose(&mut asked, lifetime);
        assert_eq!(asked.end().code(), Some(0), "{}", asked.text());
        office.everybody_is_done();
    }
    assert_eq!(office.server.chains(), vec![alice.sent_chain(); 2 * Office::SCREENS]);
}

#[test]
fn when_the_process_that_asks_is_killed_another_one_asks() {
    let mut office = Office::new();
    let alice = office.scene.hire("alice");
    office.everybody_fetches();
    office.asked().kill();
    let mut next = office.asked();
    choose(&mut next, "alice");
    choose(&mut next, ONCE);
    assert_eq!(next.end().code(), Some(0), "{}", next.text());
    office.everybody_is_done();
    assert_eq!(office.server.chains(), vec![alice.sent_chain(); Office::SCREENS - 1]);
}

/// The command line of a fetch that prints nothing.
fn fetch(scene: &Scene, url: &str) -> String {
    format!("$cardcase {} -o /dev/null", scene.fetch_arguments(url).join(" "))
}

/// The text below a question while another cardcase waits to ask on the same terminal.
const ANOTHER_ASKS: &str = "another cardcase is asking on this terminal; waiting";

/// Redrawing the menu leaves no remains of it.
#[track_caller]
fn assert_menu_is_whole(terminal: &mut Terminal) {
    for _ in 0..2 {
        terminal.send(key::DOWN);
        terminal.stays_for(A_WHILE);
        let text = terminal.text();
        assert_eq!(text.matches("asks for a client certificate").count(), 1, "the menu is torn:\n{text}");
        assert_eq!(text.matches(SEND_NONE).count(), 1, "the menu is torn:\n{text}");
    }
}

/// The second process takes over the answer to the first, and does not write over its question.
#[test]
fn a_waiting_process_does_not_disturb_the_question_on_its_terminal() {
    let scene = Scene::new();
    let alice = scene.hire("alice");
    let server = scene.server(Kind::Go).ask(Ask::Require).start();
    let (fetch, go) = (fetch(&scene, &server.url()), scene.machine.dir().join("go"));
    let wait = format!("while [ ! -e {} ]; do sleep 0.1; done", go.display());
    let script = format!("exec 3<&0; {fetch} <&3 & {wait}; {fetch} <&3 & wait");
    let mut terminal = Terminal::script(&scene.machine, &script);
    terminal.wait_for(SEND_NONE);
    std::fs::write(go, "").unwrap();
    terminal.stays_for(2 * A_WHILE);
    assert_menu_is_whole(&mut terminal);
    choose(&mut terminal, "alice");
    choose(&mut terminal, ONCE);
    assert_eq!(terminal.end().code(), Some(0), "{}", terminal.text());
    assert_eq!(server.chains(), vec![alice.sent_chain(); 2]);
}

/// Two commands in one window, as a script might run them at the same time.
#[test]
fn two_prompts_on_one_terminal_appear_in_turn() {
    let scene = Scene::new();
    let people = [scene.hire("alice"), scene.hire("bob")];
    let server = scene.server(Kind::Go).ask(Ask::Require).start();
    let [one, other] = ["localhost", "127.0.0.1"].map(|host| fetch(&scene, &server.url_at(host, "/")));
    let mut terminal = Terminal::script(&scene.machine, &format!("exec 3<&0; {one} <&3 & {other} <&3 & wait"));

    let asks = |host: &str| format!("{host}:{} asks", server.port());
    let hosts = ["localhost", "127.0.0.1"];
    terminal.wait_for(SEND_NONE);
    let first = hosts.iter().position(|host| terminal.text().contains(&asks(host))).unwrap();
    let second = 1 - first;
    terminal.stays_for(A_WHILE);
    assert!(!terminal.text().contains(&asks(hosts[second])), "both at once:\n{}", terminal.text());
    assert!(terminal.text().contains(ANOTHER_ASKS), "nothing says that one waits:\n{}", terminal.text());
    assert_menu_is_whole(&mut terminal);
    for (host, person) in [(first, &people[0]), (second, &people[1])] {
        terminal.wait_for(&asks(hosts[host]));
        choose(&mut terminal, &person.name);
        choose(&mut terminal, ONCE);
    }
    assert_eq!(terminal.end().code(), Some(0), "{}", terminal.text());
    for (host, person) in [(first, &people[0]), (second, &people[1])] {
        let requests = server.requests();
        let at = format!("{}:{}", hosts[host], server.port());
        let arrived: Vec<_> = requests.iter().filter(|request| request["host"] == at).collect();
        assert_eq!(arrived.len(), 1, "{at}: {requests:?}");
        assert_eq!(arrived[0]["chain"], json!(person.sent_chain()), "{at}");
    }
}
