//! Renaming an identity, and how the command describes itself: completions and manual pages.

use std::process::Stdio;

use crate::support::program;
use crate::support::scene::Scene;
use crate::support::server::Kind;
use serde_json::json;

#[test]
fn a_renamed_identity_is_used_as_before() {
    let scene = Scene::new();
    let alice = scene.hire("alice");
    scene.hire("bob");
    scene.remember("localhost", &alice.fingerprint());
    scene.machine.run("min-tls alice 1.3").expect(0);
    scene.machine.run("rename alice Liddell").expect(0).says(&["Liddell"]);
    let shown = scene.machine.json("show Liddell");
    assert_eq!(shown["fingerprint"], alice.fingerprint());
    assert_eq!((&shown["name"], &shown["requires_tls13"]), (&json!("Liddell"), &json!(true)));
    scene.machine.run("show alice").expect(3);
    // Its key is bound to its name, but the decision is not
    let server = scene.server(Kind::Go).start();
    scene.fetch(&server.url(), &[]).expect(0);
    assert_eq!(server.chains(), [alice.sent_chain()]);
    // To its current name, and back
    scene.machine.run("rename Liddell Liddell").expect(0);
    scene.machine.run("rename Liddell alice").expect(0);
}

#[test]
fn an_invalid_name_changes_nothing() {
    let scene = Scene::new();
    scene.hire("alice");
    scene.hire("bob");
    let before = scene.machine.json("list");
    for name in ["bob", "none", "", " x", "a\nb", "\u{202e}x"] {
        scene.machine.command(["rename", "alice", name]).run().expect(2).says(&["name"]);
    }
    scene.machine.run("rename carol dave").expect(3);
    assert_eq!(scene.machine.json("list"), before);
}

#[test]
fn renaming_requires_the_primary_password() {
    let scene = Scene::new();
    let alice = scene.hire("alice");
    let password = scene.machine.password_file("correct horse");
    let flag = format!("--primary-password-file {}", password.display());
    scene.machine.run(&format!("password --new-password-file {}", password.display())).expect(0);
    scene.machine.run("rename alice eve").expect(4);
    scene.machine.run(&format!("rename alice eve {flag}")).expect(0);
    let server = scene.server(Kind::Go).start();
    scene.machine.run(&format!("remember localhost eve {flag}")).expect(0);
    scene.fetch(&server.url(), &flag.split(' ').collect::<Vec<_>>()).expect(0);
    assert_eq!(server.chains(), [alice.sent_chain()]);
}

#[test]
fn shells_can_read_the_completions() {
    let scene = Scene::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = scene.machine.run(&format!("completions {shell}")).expect(0).text();
        assert!(script.contains("tunnel") && script.contains("min-tls"), "{shell}: {script}");
        if shell == "bash" {
            let mut bash = program::named("bash");
            let file = crate::support::ca::write(scene.machine.dir(), "completions", "bash", &script);
            let lines = format!(
                "source {} && COMP_WORDS=(cardcase tun) COMP_CWORD=1 && _cardcase cardcase tun cardcase && echo \"${{COMPREPLY[@]}}\"",
                file.display()
            );
            let output = bash.args(["--norc", "-c", &lines]).stdin(Stdio::null()).output().unwrap();
            assert_eq!(
                String::from_utf8_lossy(&output.stdout).trim(),
                "tunnel",
                "{}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
    }
    scene.machine.run("completions command.com").expect(2);
}

#[test]
fn every_command_has_a_manual_page() {
    let scene = Scene::new();
    let directory = scene.machine.dir().join("man");
    std::fs::create_dir(&directory).unwrap();
    scene.machine.run(&format!("man {}", directory.display())).expect(0);
    for page in ["cardcase.1", "cardcase-fetch.1", "cardcase-tunnel.1", "cardcase-rules-add.1"] {
        let text = std::fs::read_to_string(directory.join(page)).unwrap_or_else(|error| panic!("{page}: {error}"));
        assert!(text.contains(".SH NAME"), "{page}");
    }
    scene.machine.run("man /no/such/directory").expect(1).says(&["/no/such/directory"]);
}
