//! Renaming an identity, and the manual pages.

use crate::support::missing;
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
fn every_command_has_a_manual_page_that_mandoc_finds_no_fault_with() {
    let scene = Scene::new();
    let directory = scene.machine.dir().join("man");
    std::fs::create_dir(&directory).unwrap();
    scene.machine.run(&format!("man {}", directory.display())).expect(0);
    let mut pages: Vec<_> = std::fs::read_dir(&directory).unwrap().map(|page| page.unwrap().path()).collect();
    pages.sort();
    let names: Vec<_> = pages.iter().map(|page| page.file_name().unwrap().to_str().unwrap()).collect();
    for page in ["cardcase.1", "cardcase-fetch.1", "cardcase-tunnel.1", "cardcase-rules-add.1"] {
        assert!(names.contains(&page), "{page}: {names:?}");
    }
    assert!(!names.contains(&"cardcase-agent.1"), "{names:?}");
    let mut all = String::new();
    for page in &pages {
        let text = std::fs::read_to_string(page).unwrap();
        let sections =
            ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXIT STATUS", "ENVIRONMENT", "FILES", "SEE ALSO"];
        for section in sections {
            assert!(
                text.lines().any(|line| line.trim_start_matches(".SH ").trim_matches('"') == section),
                "{page:?}: {section}"
            );
        }
        let mandoc = program::named("mandoc").args(["-Tlint", "-Wstyle"]).arg(page).output();
        let mandoc = mandoc.unwrap_or_else(|error| panic!("{}", missing("mandoc", "mandoc", &error)));
        assert_eq!(String::from_utf8_lossy(&mandoc.stdout), "", "{page:?}");
        all.push_str(&text);
    }
    let printed = scene.machine.run("man -").expect(0).text();
    assert_eq!(printed.len(), all.len());
    assert!(printed.starts_with(&std::fs::read_to_string(directory.join("cardcase.1")).unwrap()));
    scene.machine.run("man /no/such/directory").expect(1).says(&["/no/such/directory"]);
}
