//! Completions, in the shells themselves. A function with the name of the command prints the arguments as the shell gives them.

use std::ffi::OsString;
use std::path::Path;

use crate::support::command::Cardcase;
use crate::support::missing;
use crate::support::program;
use crate::support::scene::Scene;
use crate::support::terminal::Terminal;

/// It needs quotes in every shell.
const NAME: &str = "Alice \"A\" Example's $ca!rd * (x)";

struct Shell {
    name: &'static str,
    arguments: &'static [&'static str],
    /// Turns completions on, and prints the arguments of `cardcase`.
    setup: &'static str,
}

const SHELLS: [Shell; 3] = [
    Shell {
        name: "bash",
        arguments: &["--norc", "--noprofile", "-i"],
        setup: "source <(cardcase completions bash)
n=0; cardcase() { printf '\\033[2J\\033[H'; printf '<%s>\\n' \"$@\"; n=$((n+1)); echo end$n; }
",
    },
    Shell {
        name: "zsh",
        arguments: &["-f", "-i"],
        setup: "autoload -Uz compinit; compinit -u -D; source <(cardcase completions zsh)
n=0; cardcase() { printf '\\033[2J\\033[H'; printf '<%s>\\n' \"$@\"; n=$((n+1)); echo end$n; }
",
    },
    Shell {
        name: "fish",
        arguments: &["--no-config", "-i"],
        setup: "cardcase completions fish | source
set -g n 0; function cardcase; printf '\\033[2J\\033[H'; printf '<%s>\\n' $argv; set n (math $n + 1); echo end$n; end
",
    },
];

/// A shell in a terminal.
struct Session {
    shell: &'static str,
    terminal: Terminal,
    typed: usize,
}

impl Session {
    fn start(shell: &'static Shell, machine: &Cardcase) -> Session {
        let found = program::named(shell.name).arg("--version").output();
        found.unwrap_or_else(|error| panic!("{}", missing(shell.name, shell.name, &error)));
        let mut path = OsString::from(Path::new(env!("CARGO_BIN_EXE_cardcase")).parent().unwrap());
        path.push(":");
        path.push(program::path());
        let command = program::in_terminal(shell.name)
            .args(shell.arguments)
            .env_clear()
            .envs(machine.environment())
            .env("PATH", path)
            .current_dir(machine.dir());
        let mut terminal = Terminal::start(command, 40, 200);
        terminal.send(shell.setup);
        terminal.send("cardcase ready\n");
        terminal.wait_for("end1");
        Session { shell: shell.name, terminal, typed: 1 }
    }

    /// The arguments that the command gets when this is typed, with Tab, and then Enter.
    fn complete(&mut self, typed: &str) -> Vec<String> {
        self.typed += 1;
        self.terminal.send(&format!("cardcase {typed}\t"));
        self.terminal.send("\n");
        let end = format!("end{}", self.typed);
        self.terminal.wait_for(&end);
        let rows = self.terminal.rows();
        let printed = rows.iter().take_while(|row| **row != end);
        printed.filter_map(|row| Some(row.strip_prefix('<')?.strip_suffix('>')?.to_owned())).collect()
    }

    #[track_caller]
    fn expect(&mut self, typed: &str, expected: &[&str]) {
        let got = self.complete(typed);
        assert_eq!(got, expected, "{}: {typed}\n{}", self.shell, self.terminal.text());
    }
}

/// Runs a test in each shell, in a directory with some files.
fn in_each_shell(test: impl Fn(&mut Session, &Scene)) {
    for shell in &SHELLS {
        let scene = Scene::new();
        let machine = &scene.machine;
        machine.import(&scene.employee("Alice").issue());
        machine.import(&scene.employee("Élodie").issue());
        machine.command(["rename", "Alice", NAME]).run().expect(0);
        machine.run("remember intranet.example.com none").expect(0);
        machine.run("remember intranet.example.com:8443 none --mode chrome").expect(0);
        machine.run("rules add https://rule.example.com").expect(0);
        let files = machine.dir().join("files");
        std::fs::create_dir(&files).unwrap();
        std::fs::create_dir(files.join("only directory")).unwrap();
        std::fs::create_dir(files.join("notes.txt.d")).unwrap();
        std::fs::write(files.join("notes.txt"), "").unwrap();
        for file in ["my certificate.p12", "my certificate.txt", "my root.pem"] {
            std::fs::write(files.join(file), "").unwrap();
        }
        test(&mut Session::start(shell, machine), &scene);
    }
}

#[test]
fn names_of_identities_are_quoted_as_the_shell_needs_it() {
    in_each_shell(|session, scene| {
        session.expect("show Al", &["show", NAME]);
        session.expect("show 'Alice ", &["show", NAME]);
        session.expect("show \"Alice ", &["show", NAME]);
        session.expect("show Alice\\ ", &["show", NAME]);
        session.expect("show É", &["show", "Élodie"]);
        session.expect("fetch https://a.example/ --as É", &["fetch", "https://a.example/", "--as", "Élodie"]);
        session.expect("fetch https://a.example/ --as=É", &["fetch", "https://a.example/", "--as=Élodie"]);
        session.expect("remember a.example no", &["remember", "a.example", "none"]);
        let fingerprint = scene.machine.json("show Élodie")["fingerprint"].as_str().unwrap().to_owned();
        session.expect(&format!("show {}", &fingerprint[..6]), &["show", &fingerprint[..16]]);
        let typed = fingerprint[..6].to_uppercase();
        session.expect(&format!("show {typed}"), &["show", &format!("{typed}{}", &fingerprint[6..16])]);
    });
}

#[test]
fn hosts_rules_and_settings_are_completed() {
    in_each_shell(|session, _| {
        session.expect("forget intra", &["forget", "intranet.example.com"]);
        session.expect("--mode chrome forget intra", &["--mode", "chrome", "forget", "intranet.example.com:8443"]);
        session.expect("--mode=chrome forget intra", &["--mode=chrome", "forget", "intranet.example.com:8443"]);
        session.expect("explain intranet.example.com:8", &["explain", "intranet.example.com:8443"]);
        session.expect("fetch https://intranet.example.com:8", &["fetch", "https://intranet.example.com:8443/"]);
        session.expect("rules remove ", &["rules", "remove", "1"]);
        session.expect("config mode ch", &["config", "mode", "chrome"]);
        session.expect("config select-automatically of", &["config", "select-automatically", "off"]);
        session.expect("enroll --key rsa-4", &["enroll", "--key", "rsa-4096"]);
        session.expect("conf", &["config"]);
        // Hidden, so it is not completed
        session.expect("agen", &["agen"]);
        session.expect("list --polic", &["list", "--polic"]);
    });
}

#[test]
fn files_are_completed_by_their_kind() {
    in_each_shell(|session, _| {
        let file = "files/my certificate.p12";
        session.expect("import files/my\\ c", &["import", file]);
        session.expect("import 'files/my c", &["import", file]);
        session.expect("fetch a.example --cacert files/my", &["fetch", "a.example", "--cacert", "files/my root.pem"]);
        session.expect("fetch a.example --cacert=files/my", &["fetch", "a.example", "--cacert=files/my root.pem"]);
        // Any file, beside a directory: as far as both agree
        session.expect("fetch a.example -o files/no", &["fetch", "a.example", "-o", "files/notes.txt"]);
        // Any file, if none is of that kind
        session.expect("rules import files/my\\ r", &["rules", "import", "files/my root.pem"]);
        // zsh takes the slash away again
        let got = session.complete("man files/o");
        assert_eq!(got[1].trim_end_matches('/'), "files/only directory", "{}", session.shell);
        session.expect("--chooser pk12ut", &["--chooser", "pk12util"]);
    });
}

#[test]
fn the_file_of_a_redirection_is_any_file() {
    let machine = Cardcase::new();
    for line in ["cardcase show a > o", "cardcase show a >o", "cardcase import a.p12 2>> o"] {
        let outcome = machine.command(["__complete", "bash", line, "o"]).run().expect(0);
        assert_eq!(outcome.text(), "files\u{1f}\u{1f}\u{1f}o\n", "{line}");
    }
}

/// The answer to a script, which must not have said anything else.
#[track_caller]
fn answer(machine: &Cardcase, arguments: &[&str]) -> String {
    let outcome = machine.command(["__complete", "fish"].iter().chain(arguments)).run().expect(0);
    assert_eq!(outcome.stderr, "", "{arguments:?}");
    outcome.text()
}

#[test]
fn completing_creates_nothing_asks_nothing_and_complains_of_nothing() {
    let machine = Cardcase::new();
    assert_eq!(answer(&machine, &["show", ""]), "");
    assert!(!machine.store().exists());
    std::fs::write(machine.store(), "no store").unwrap();
    assert_eq!(answer(&machine, &["show", ""]), "");
    assert_eq!(std::fs::read(machine.store()).unwrap(), b"no store");
    for arguments in
        [&[][..], &["--"], &["nonsense", ""], &["show", "\u{fffd}"], &["--store"], &["--store", "show", ""]]
    {
        answer(&machine, arguments);
    }
    machine.command(["__complete"]).run().expect(0);
    machine.command(["__complete", "tcsh", "x"]).run().expect(0);
}

#[test]
fn a_protected_store_is_completed_without_its_password() {
    let scene = Scene::new();
    scene.hire("alice");
    let password = scene.machine.password_file("correct horse");
    scene.machine.run(&format!("password --new-password-file {}", password.display())).expect(0);
    assert!(answer(&scene.machine, &["show", ""]).starts_with("value\u{1f}alice\u{1f}CN=alice"));
    let elsewhere = Cardcase::new();
    let store = scene.machine.store().to_str().unwrap();
    assert!(answer(&elsewhere, &["--store", store, "show", ""]).contains("alice"));
    assert!(answer(&elsewhere, &[&format!("--store={store}"), "show", ""]).contains("alice"));
}
