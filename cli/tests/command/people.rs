//! What people see: how much is said, in which time zone, in which colours, and how wide.

use serde_json::Value;

use crate::support::ca::{P12, Validity};
use crate::support::command::Cardcase;
use crate::support::scene::Scene;
use crate::support::server::{Ask, Kind};
use crate::support::terminal::Terminal;
use crate::support::tunnel::Tunnel;

#[test]
fn quiet_leaves_nothing_but_errors() {
    let scene = Scene::new();
    let alice = scene.employee("alice").issue();
    let file = alice.p12(scene.machine.dir(), P12::Default);
    let password = scene.machine.password_file(Scene::password());
    let import = ["import", file.to_str().unwrap(), "--password-file", password.to_str().unwrap()];
    for quiet in ["-q", "--quiet"] {
        let outcome = scene.machine.command(import).arg(quiet).run().expect(0);
        assert_eq!(outcome.stderr, "", "{quiet}");
    }
    assert!(!scene.machine.command(import).run().expect(0).stderr.is_empty());
    let outcome = scene.machine.run("show nobody -q").expect(3);
    assert!(outcome.stderr.starts_with("cardcase: error: "), "{}", outcome.stderr);
    scene.machine.run("list -q -v").expect(2);
}

#[test]
fn verbose_says_what_answers_and_how_it_connects() {
    let scene = Scene::new();
    let alice = scene.hire("alice");
    let server = scene.server(Kind::Go).ask(Ask::Optional).start();
    scene.remember("localhost", &alice.fingerprint());
    let said = scene.fetch(&server.url(), &["-v"]).expect(0).stderr;
    let store = scene.machine.store().to_str().unwrap().to_owned();
    let short = &alice.fingerprint()[..8];
    for words in [store.as_str(), "TLSv1.3", "rustls", "alice", short, "it is remembered", "> GET /", "< HTTP/"] {
        assert!(said.contains(words), "{words}: {said}");
    }
    let order = ["connected to localhost", "> GET /", "< HTTP/"].map(|words| said.find(words).unwrap());
    assert!(order.is_sorted(), "{said}");
    let cacert = scene.server_root_file.to_str().unwrap();
    let explain = ["explain", &server.destination(), "-v", "--cacert", cacert];
    scene.machine.command(explain).run().expect(0).says(&["connected to localhost", "TLSv1.3"]);
    let tunnel = Tunnel::start(&scene, &server.destination(), &["-v"]);
    tunnel.fetches();
    tunnel.says("connected to localhost");
    tunnel.says("it is remembered");
    // A rule is named
    scene.machine.run("forget localhost").expect(0);
    scene.machine.run("rules add https://localhost").expect(0);
    scene.fetch(&server.url(), &["-v"]).expect(0).says(&["alice", "rule 1", "says so"]);
    scene.fetch(&server.url(), &["-v", "--credentials", "omit"]).expect(0).says(&["--credentials omit"]);
    assert!(scene.machine.run("list -v").expect(0).stderr.contains(&store));
    let plain = scene.fetch(&server.url(), &[]).expect(0).stderr;
    assert_eq!(plain, "");
}

/// A machine whose history has one entry.
fn used(scene: &Scene) -> Value {
    let alice = scene.hire("alice");
    let server = scene.server(Kind::Go).ask(Ask::Optional).start();
    scene.remember("localhost", &alice.fingerprint());
    scene.fetch(&server.url(), &[]).expect(0);
    scene.machine.json("history")["uses"][0]["at"].clone()
}

#[test]
fn people_see_their_own_time_and_programs_utc() {
    let scene = Scene::new();
    let utc = used(&scene);
    let utc = utc.as_str().unwrap();
    let shown =
        |line: &str, zone: &str| scene.machine.command(line.split_whitespace()).env("TZ", zone).run().expect(0).text();
    assert!(utc.ends_with('Z'), "{utc}");
    assert!(shown("history", "UTC0").contains(&utc.trim_end_matches('Z').replace('T', " ")), "{utc}");
    // 14 hours east, without a database of time zones
    let (here, east) = (shown("history", "UTC0"), shown("history", "EAST-14"));
    assert!(here.contains("+00:00") && east.contains("+14:00"), "{here}{east}");
    assert_eq!(shown("history --json", "EAST-14"), shown("history --json", "UTC0"));
    assert_ne!(shown("show alice", "UTC0"), shown("show alice", "EAST-14"));
    // Of a database
    assert_eq!(shown("history", "Etc/UTC"), here);
    assert_eq!(shown("history", "No/Where"), here);
}

#[test]
fn what_is_expired_or_expires_soon_has_a_colour() {
    let scene = Scene::new();
    scene.bring(scene.employee("old").validity(Validity::Expired).issue());
    scene.bring(scene.employee("soon").validity(Validity::Soon).issue());
    scene.hire("fresh");
    let list = |arguments: &[&str], environment: &[(&str, &str)]| {
        let mut run = scene.machine.command(["list"].iter().chain(arguments));
        for (name, value) in environment {
            run = run.env(name, value);
        }
        run.run().expect(0).text()
    };
    let row = |text: &str, name: &str| {
        text.lines().find(|line| line.contains(&format!("{name} "))).unwrap_or_else(|| panic!("{text}")).to_owned()
    };
    let text = list(&["--color", "always"], &[]);
    assert!(row(&text, "old").starts_with("\u{1b}[31m") && row(&text, "old").ends_with("\u{1b}[0m"), "{text:?}");
    assert!(row(&text, "soon").starts_with("\u{1b}[33m"), "{text:?}");
    assert!(row(&text, "fresh").starts_with("fresh"), "{text:?}");
    assert!(row(&list(&[], &[("CLICOLOR_FORCE", "1")]), "old").starts_with("\u{1b}[31m"));
    for (arguments, environment) in [
        (&[][..], &[][..]),
        (&["--color", "never"], &[("CLICOLOR_FORCE", "1")]),
        (&[], &[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")]),
    ] {
        assert!(!list(arguments, environment).contains('\u{1b}'), "{arguments:?} {environment:?}");
    }
}

#[test]
fn stderr_is_as_wide_as_the_terminal_and_commands_stay_whole() {
    let machine = Cardcase::new();
    let mut terminal = Terminal::open_sized(&machine, ["fetch", "ftp://a.example/"], 24, 40);
    terminal.end();
    assert!(!terminal.any_row_wrapped(), "{}", terminal.text());
    assert!(terminal.rows().iter().all(|row| row.chars().count() <= 40), "{}", terminal.text());
    let scene = Scene::new();
    scene.hire("alice");
    let mut terminal = Terminal::open_sized(&scene.machine, ["show", "nobody of this name"], 24, 40);
    terminal.end();
    assert!(terminal.rows().iter().any(|row| row.ends_with("cardcase list")), "{}", terminal.text());
    // Into a file or a pipe goes one line
    let outcome = machine.run("fetch ftp://a.example/").expect(2);
    assert_eq!(outcome.stderr.lines().count(), 1, "{}", outcome.stderr);
}
