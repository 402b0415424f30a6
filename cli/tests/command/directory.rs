//! `import` of a directory and of many files: one that is wrong does not lose the others.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use crate::support::ca::{self, P12, PASSWORD};
use crate::support::command::{Cardcase, Outcome};
use crate::support::scene::Scene;
use crate::support::terminal::Terminal;
use serde_json::Value;

/// A directory with certificates, and with everything else that may be in one.
fn full(scene: &Scene) -> std::path::PathBuf {
    let dir = scene.machine.dir().join("certificates");
    std::fs::create_dir(&dir).unwrap();
    let put = |name: &str, content: &[u8]| std::fs::write(dir.join(name), content).unwrap();
    let copy = |name: &str, from: &Path| std::fs::copy(from, dir.join(name)).map(drop).unwrap();
    let files = scene.machine.dir();
    copy("alice.p12", &scene.employee("alice").issue().p12(files, P12::Default));
    let bob = scene.employee("bob").issue();
    put("bob.crt", bob.pem().as_bytes());
    put("bob.key", bob.key_pem().as_bytes());
    put("root.pem", scene.guests_root.pem().as_bytes());
    put("server.key", scene.server_certificate.key_pem().as_bytes());
    put("notes.txt", b"call the CA on Monday");
    put("picture.png", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR");
    put("empty", b"");
    put(".hidden.p12", b"not read");
    std::fs::create_dir(dir.join("more")).unwrap();
    copy("more/carol.p12", &scene.employee("carol").issue().p12(files, P12::Default));
    std::fs::File::create(dir.join("huge.bin")).unwrap().set_len(1 << 40).unwrap();
    symlink("circle", dir.join("circle")).unwrap();
    symlink(".", dir.join("itself")).unwrap();
    symlink("/nowhere", dir.join("broken")).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        dir.join("pipe"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
        0,
    )
    .unwrap();
    dir
}

fn import(machine: &Cardcase, paths: &[&Path], more: &[&str]) -> Outcome {
    let password = machine.password_file(PASSWORD);
    machine.command(["--batch", "import", "--password-file"]).arg(password).args(paths).args(more).run()
}

fn names(answer: &Value, list: &str) -> Vec<String> {
    answer[list].as_array().unwrap().iter().map(|found| found["name"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_directory_brings_what_is_in_it_and_passes_over_the_rest() {
    let scene = Scene::new();
    let dir = full(&scene);
    let dry = import(&scene.machine, &[&dir], &["--dry-run"]).expect(0).says(&["nothing was changed"]);
    assert!(dry.text().contains("would import: alice") && dry.text().contains("would import: bob"), "{}", dry.text());
    assert!(!scene.machine.store().exists());

    let outcome = import(&scene.machine, &[&dir], &["--json"]).expect(0).says(&["passed over", "more"]);
    let answer = outcome.json();
    assert_eq!(names(&answer, "imported"), ["alice", "bob"]);
    let mut left: Vec<String> = answer["left_out"]
        .as_array()
        .unwrap()
        .iter()
        .map(|left| Path::new(left["file"].as_str().unwrap()).file_name().unwrap().to_str().unwrap().to_owned())
        .collect();
    left.sort();
    let expected = ["broken", "circle", "empty", "huge.bin", "notes.txt", "picture.png", "pipe", "server.key"];
    assert_eq!(left, expected);
    let authorities = scene.machine.json("authorities").to_string();
    assert!(authorities.contains("Guests Root"), "{authorities}");
}

#[test]
fn a_wrong_file_does_not_lose_the_others() {
    let scene = Scene::new();
    let dir = scene.machine.dir();
    let good = scene.employee("alice").issue().p12(dir, P12::Default);
    let locked = scene.employee("bob").issue().p12_with_password(dir, P12::Default, "another");
    let short = ca::write(dir, "short", "p12", &std::fs::read(&good).unwrap()[..300]);
    let text = ca::write(dir, "notes", "txt", "call the CA on Monday");
    let key = scene.employee("carol").issue().key_file(dir);
    let gone = dir.join("gone.p12");
    for (wrong, code, word) in [
        (&locked, 6, "wrong password"),
        (&short, 1, "cut short"),
        (&text, 1, "neither pkcs#12"),
        (&key, 1, "belongs to no certificate"),
        (&gone, 1, "no such file"),
    ] {
        let machine = Cardcase::new();
        let name = wrong.file_name().unwrap().to_str().unwrap();
        let outcome = import(&machine, &[&good, wrong], &["--json"]);
        let outcome = outcome.expect(code).says(&["warning", word, name, "1 file was not imported", "the others were"]);
        assert_eq!(outcome.stderr.matches("error:").count(), 1, "{}", outcome.stderr);
        import(&Cardcase::new(), &[&good, wrong], &["--dry-run"]).expect(code).says(&["1 file would not be imported"]);
        assert_eq!(names(&outcome.json(), "imported"), ["alice"]);
        assert!(outcome.json()["left_out"][0]["file"].as_str().unwrap().ends_with(name));
        assert_eq!(names(&machine.json("list"), "identities"), ["alice"]);
        // Alone it is the only error
        let alone = import(&Cardcase::new(), &[wrong], &[]).expect(code).says(&[word]);
        assert_eq!(alone.stderr.matches("error:").count(), 1, "{}", alone.stderr);
    }
    let machine = Cardcase::new();
    import(&machine, &[&gone, &dir.join("lost.p12")], &[]).expect(1).says(&["gone.p12", "lost.p12"]);
    assert!(!machine.store().exists(), "nothing was read, and a store was made");
    import(&machine, &[&short, &text], &[]).expect(1).says(&["2 files were not imported", "nothing was stored"]);
}

#[test]
fn all_identities_of_a_file_come_or_none() {
    let scene = Scene::new();
    let dir = scene.machine.dir();
    let (alice, bob) = (scene.employee("alice").issue(), scene.employee("bob").issue());
    // Bob's certificate is missing
    let both = ca::write(dir, "both", "pem", alice.key_pem() + &alice.pem() + &bob.key_pem());
    let good = scene.employee("carol").issue().pem_file(dir);
    let outcome = import(&scene.machine, &[&both, &good], &["--json"]).expect(1);
    assert_eq!(names(&outcome.json(), "imported"), ["carol"]);
}

#[test]
fn an_empty_directory_is_an_error() {
    let scene = Scene::new();
    let dir = scene.machine.dir().join("empty");
    std::fs::create_dir(&dir).unwrap();
    import(&scene.machine, &[&dir], &[]).expect(1).says(&["no certificate and no key", "empty"]);
}

#[test]
fn a_person_is_asked_for_each_password_once_with_the_name_of_the_file() {
    let scene = Scene::new();
    let dir = scene.machine.dir().join("protected");
    std::fs::create_dir(&dir).unwrap();
    for (name, password) in [("alice", "one"), ("bob", "one"), ("carol", "two")] {
        let file = scene.employee(name).issue().p12_with_password(scene.machine.dir(), P12::Default, password);
        std::fs::copy(file, dir.join(format!("{name}.p12"))).unwrap();
    }
    let mut terminal = Terminal::open(&scene.machine, ["import", dir.to_str().unwrap()]);
    for (prompt, answer) in [("alice.p12", "one\r"), ("carol.p12", "two\r"), ("New primary password", "\r")] {
        terminal.wait_until(prompt, |screen| screen.lines().any(|line| line.contains(prompt)));
        // The prompt appears before the terminal is ready to read a password
        terminal.stays_for(Duration::from_millis(300));
        terminal.send(answer);
    }
    assert_eq!(terminal.end().code(), Some(0), "{}", terminal.text());
    let text = terminal.text();
    assert!(!text.contains("bob.p12"), "{text}");
    assert_eq!(names(&scene.machine.json("list"), "identities"), ["alice", "bob", "carol"]);
}
