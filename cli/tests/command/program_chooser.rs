//! A program as the chooser: what it is told, what its answer does, and that an invalid answer does nothing.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::support::MODES;
use crate::support::ca::Validity;
use crate::support::command::{Run, wait};
use crate::support::executable::executable;
use crate::support::question::Question;
use crate::support::server::{BOTH_VERSIONS, Kind, Server, Tls};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::{Value, json};

/// A chooser that writes the question to a file and then runs this script.
fn chooser(question: &Question, then: &str) -> PathBuf {
    let text = format!("#!/bin/sh\ncat > \"$0.asked\"\n{then}\n");
    executable(question.scene.machine.dir(), "chooser", &text)
}

fn answering(question: &Question, answer: &Value) -> PathBuf {
    chooser(question, &format!("echo '{answer}'"))
}

fn asked(chooser: &Path) -> Value {
    let text = std::fs::read(format!("{}.asked", chooser.display())).unwrap();
    serde_json::from_slice(&text).unwrap()
}

/// A fetch without a terminal that asks this program.
fn fetch(question: &Question, server: &Server, chooser: &Path) -> Run {
    let scene = &question.scene;
    scene.machine.command(scene.fetch_arguments(&server.url())).env("CARDCASE_CHOOSER", chooser)
}

fn decisions(question: &Question) -> Value {
    question.scene.machine.json("decisions")["decisions"].clone()
}

#[test]
fn the_answer_of_the_program_is_sent_and_remembered() {
    for lifetime in ["once", "session", "permanent"] {
        for sends in [true, false] {
            let question = Question::new();
            let alice = question.alice.fingerprint();
            let answer = match sends {
                true => json!({"answer": "identity", "fingerprint": alice, "lifetime": lifetime}),
                false => json!({"answer": "none", "lifetime": lifetime}),
            };
            let server = question.server();
            fetch(&question, &server, &answering(&question, &answer)).run().expect(0);
            let sent = if sends { vec![question.alice.sent_chain()] } else { Vec::new() };
            assert_eq!(server.chains(), sent, "{answer}");
            let decisions = decisions(&question);
            if lifetime == "once" {
                assert_eq!(decisions, json!([]), "{answer}");
            } else {
                assert_eq!(decisions[0]["lifetime"], lifetime, "{answer}");
                assert_eq!(decisions[0]["identity"], if sends { json!(alice) } else { Value::Null }, "{answer}");
            }
        }
    }
}

#[test]
fn chrome_mode_does_not_ask_for_a_lifetime() {
    let question = Question::new();
    let chooser = answering(&question, &json!({"answer": "identity", "fingerprint": question.bob.fingerprint()}));
    let server = question.server();
    fetch(&question, &server, &chooser).args(["--mode", "chrome"]).run().expect(0);
    assert_eq!(asked(&chooser)["lifetimes"], json!([]));
    assert_eq!(asked(&chooser)["mode"], "chrome");
    assert_eq!(server.chains(), [question.bob.sent_chain()]);
    assert_eq!(decisions(&question)[0]["lifetime"], "permanent");
}

#[test]
fn the_program_is_told_what_a_person_would_see() {
    let question = Question::new();
    let scene = &question.scene;
    scene.bring(scene.employee("late").validity(Validity::Expired).issue());
    for tls in BOTH_VERSIONS {
        let chooser = answering(&question, &json!({"answer": "abort"}));
        let server = scene.server(Kind::Go).tls(tls).start();
        fetch(&question, &server, &chooser).run().expect(130);
        let asked = asked(&chooser);
        assert_eq!(asked["version"], 1);
        assert_eq!(asked["destination"], json!({"host": "localhost", "port": server.port()}));
        assert_eq!(asked["visible"], tls == Tls::V1_2);
        assert_eq!(asked["request"]["tls_version"], format!("TLSv{}", tls.number()));
        assert!(asked["request"]["authorities"][0].as_str().unwrap().contains("CN=Staff Root"), "{asked}");
        let schemes = asked["request"]["signature_schemes"].as_array().unwrap();
        assert!(schemes.contains(&json!("ecdsa_secp256r1_sha256")), "{asked}");
        assert_eq!(asked["lifetimes"], json!(["once", "session", "permanent"]));
        assert_eq!((&asked["unfit"], &asked["refused"]), (&Value::Null, &json!([])));
        // The same identities as in `list`, in the same format
        let listed = scene.machine.json("list")["identities"].as_array().unwrap().clone();
        let candidates = asked["candidates"].as_array().unwrap();
        assert_eq!(candidates.len(), listed.len());
        for candidate in candidates {
            let mut identity = candidate.clone();
            let warnings = identity.as_object_mut().unwrap().remove("warnings").unwrap();
            assert!(listed.contains(&identity), "{candidate}");
            let expired = warnings.as_array().unwrap().contains(&json!("expired"));
            assert_eq!(expired, candidate["name"] == "late", "{candidate}");
        }
        assert_eq!(candidates.last().unwrap()["name"], "late", "the best first");
    }
    question.assert_nothing_stored();
}

#[test]
fn the_program_is_asked_again_after_a_refusal_and_told_of_it() {
    let question = Question::new();
    let scene = &question.scene;
    let guest = scene.bring(scene.guests.client("guest").issue());
    // First it picks the guest, whom the server refuses
    let (first, then) = (guest.fingerprint(), question.alice.fingerprint());
    let answer = |fingerprint: &str| json!({"answer": "identity", "fingerprint": fingerprint, "lifetime": "once"});
    let text =
        format!("grep -q '\"refused\":\\[\\]' \"$0.asked\" && echo '{}' || echo '{}'", answer(&first), answer(&then));
    let chooser = chooser(&question, &text);
    for tls in BOTH_VERSIONS {
        let server = scene.server(Kind::OpenSsl).tls(tls).without_hints().start();
        fetch(&question, &server, &chooser).run().expect(0);
        assert_eq!(server.chains(), [guest.sent_chain(), question.alice.sent_chain()], "{tls:?}");
        let refused = &asked(&chooser)["refused"];
        assert_eq!((&refused[0]["identity"], &refused[0]["alert"]), (&json!(first), &json!("unknown_ca")));
    }
}

#[test]
fn the_program_is_told_why_the_remembered_identity_no_longer_fits() {
    let question = Question::new();
    let scene = &question.scene;
    let late = scene.bring(scene.employee("late").validity(Validity::Expired).issue());
    scene.remember("localhost", &late.fingerprint());
    let chooser = answering(&question, &json!({"answer": "abort"}));
    fetch(&question, &question.server(), &chooser).run().expect(130);
    let unfit = asked(&chooser)["unfit"].clone();
    assert_eq!((&unfit["name"], &unfit["reasons"]), (&json!("late"), &json!([])));
    assert!(unfit["text"].as_str().unwrap().contains("expired"), "{unfit}");
}

#[test]
fn an_invalid_answer_has_no_effect() {
    let question = Question::new();
    let alice = question.alice.fingerprint();
    let good = json!({"answer": "identity", "fingerprint": alice, "lifetime": "permanent"}).to_string();
    let cases = [
        ("exits", format!("echo '{good}'; exit 3"), "exit status: 3"),
        ("is killed", format!("echo '{good}'; kill -9 $$"), "signal: 9"),
        ("says nothing", "true".to_owned(), "no answer"),
        ("says no JSON", "echo alice".to_owned(), "not the JSON"),
        ("says half of it", format!("printf '%.20s' '{good}'"), "not the JSON"),
        ("says it twice", format!("echo '{good}{good}'"), "not the JSON"),
        ("says something else", r#"echo '{"answer":"yes"}'"#.to_owned(), "not the JSON"),
        ("adds what is not known", good.replace("{\"", r#"echo '{"port":1,""#) + "'", "not the JSON"),
        ("names another", good.replace(&alice, &"0".repeat(64)).replace("{\"", r#"echo '{""#) + "'", "not a candidate"),
        (
            "names it by a prefix",
            good.replace(&alice, &alice[..16]).replace("{\"", r#"echo '{""#) + "'",
            "not a candidate",
        ),
        ("does not say for how long", format!(r#"echo '{{"answer":"identity","fingerprint":"{alice}"}}'"#), "lifetime"),
        ("never ends", "yes".to_owned(), "more than 65536 bytes"),
        ("leaves it open", format!("sleep 5 & echo '{good}'"), "still holds its output open"),
    ];
    for (what, then, why) in cases {
        let (server, chooser) = (question.server(), chooser(&question, &then));
        let outcome = fetch(&question, &server, &chooser).run().expect(4).says(&["warning: the chooser", why, "hint"]);
        assert!(!outcome.stderr.contains("no terminal"), "{what}: {}", outcome.stderr);
        question.assert_nothing_came_of_it(&server);
    }
    let missing = question.scene.machine.dir().join("missing");
    fetch(&question, &question.server(), &missing).run().expect(4).says(&["cannot be started"]);
}

#[test]
fn the_program_is_not_asked_in_batch_or_after_a_decision() {
    let question = Question::new();
    let chooser = answering(&question, &json!({"answer": "abort"}));
    let server = question.server();
    fetch(&question, &server, &chooser).arg("--batch").run().expect(4);
    question.scene.remember("localhost", &question.alice.fingerprint());
    fetch(&question, &server, &chooser).run().expect(0);
    assert!(!Path::new(&format!("{}.asked", chooser.display())).exists(), "it was asked");
    // An empty name means no program
    question.scene.machine.run("forget localhost").expect(0);
    fetch(&question, &server, Path::new("")).run().expect(4).says(&["nobody can be asked"]);
    assert_eq!(server.chains(), [question.alice.sent_chain()]);
}

/// The window must not stay open when nobody waits for its answer any more.
#[test]
fn the_program_ends_with_the_command() {
    let question = Question::new();
    let pid_file = question.scene.machine.dir().join("pid");
    let chooser =
        chooser(&question, &format!("echo $$ > '{0}.new'; mv '{0}.new' '{0}'; exec sleep 600", pid_file.display()));
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let server = question.server();
        let child = fetch(&question, &server, &chooser).process().spawn().unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        let asked = loop {
            if let Ok(text) = std::fs::read_to_string(&pid_file) {
                break Pid::from_raw(text.trim().parse().unwrap()).unwrap();
            }
            assert!(Instant::now() < deadline, "it was never asked");
            std::thread::sleep(Duration::from_millis(20));
        };
        kill_process(Pid::from_child(&child), signal).unwrap();
        assert_eq!(wait(child, Duration::from_secs(20)).unwrap().code(), Some(code));
        assert!(test_kill_process(asked).is_err(), "it goes on");
        question.assert_nothing_came_of_it(&server);
        std::fs::remove_file(&pid_file).unwrap();
    }
}

/// A program in place of zenity or rofi. It answers with the lines of a file, one for each call, and records its
/// arguments and input.
fn stand_in(dir: &Path, name: &str) {
    let text = r#"#!/bin/sh
printf '%s\n' "$@" >> "$0.shown"
cat >> "$0.shown"
answer=$(head -n 1 "$0.answers")
sed -i 1d "$0.answers"
[ "$answer" = cancel ] && exit 1
echo "$answer"
"#;
    executable(dir, name, text);
}

#[test]
fn the_scripts_for_zenity_and_rofi_work() {
    for mode in MODES {
        for tool in ["zenity", "rofi"] {
            let question = Question::new();
            let dir = question.scene.machine.dir();
            let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../contrib").join(format!("cardcase-{tool}"));
            stand_in(dir, tool);
            let path = format!("{}:{}", dir.display(), std::env::var("PATH").unwrap());
            let ask = |answers: &[&str]| {
                let server = question.server();
                std::fs::write(dir.join(format!("{tool}.answers")), answers.join("\n") + "\n").unwrap();
                let run = fetch(&question, &server, &script).env("PATH", &path).args(["--mode", mode]);
                (run.run(), server)
            };
            for (answers, case) in [(&["cancel"][..], "cancelled"), (&[""], "nothing marked")] {
                let (outcome, server) = ask(answers);
                assert_eq!(outcome.code(), Some(130), "{tool} {mode} {case}: {}", outcome.stderr);
                question.assert_nothing_came_of_it(&server);
            }
            let shown = std::fs::read_to_string(dir.join(format!("{tool}.shown"))).unwrap();
            for text in ["localhost", "alice", "bob", "carol", "Staff Issuing", "Send no certificate"] {
                assert!(shown.contains(text), "{tool}: no {text} in {shown}");
            }
            // The candidates are in the order of the question; rofi's first row is not a candidate
            let alice = question.alice.fingerprint();
            let place = shown.lines().filter(|line| ["alice", "bob", "carol"].iter().any(|name| line.contains(name)));
            let place = place.take(3).position(|line| line.contains("alice")).unwrap() + 1;
            let place = place.to_string();
            let (id, permanently) =
                if tool == "zenity" { (alice.as_str(), "permanent") } else { (place.as_str(), "3") };
            let (outcome, server) = ask(&[id, permanently]);
            assert_eq!(outcome.code(), Some(0), "{tool} {mode}: {}", outcome.stderr);
            assert_eq!(server.chains(), [question.alice.sent_chain()], "{tool} {mode}");
            assert_eq!(decisions(&question)[0]["lifetime"], "permanent", "{tool} {mode}");
        }
    }
}
