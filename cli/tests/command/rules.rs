//! Rules on the command line: in Chrome's format, from the store and from the administrator, and what servers then see.

use std::path::PathBuf;

use cardcase::Destination;

use crate::support::ca::{self, Issued, Validity};
use crate::support::command::Outcome;
use crate::support::program;
use crate::support::scene::Scene;
use crate::support::server::{Ask, Kind, Server, Tls};
use serde_json::{Value, json};

/// Alice and Bob of the staff, and a server that asks for staff.
struct Office {
    scene: Scene,
    alice: Issued,
    bob: Issued,
}

impl Office {
    fn new() -> Office {
        let scene = Scene::new();
        let (alice, bob) = (scene.hire("alice"), scene.hire("bob"));
        Office { scene, alice, bob }
    }

    fn server(&self) -> Server {
        self.scene.server(Kind::Go).ask(Ask::Optional).start()
    }

    fn rules(&self, arguments: &[&str]) -> Outcome {
        self.scene.machine.command(["rules"].iter().chain(arguments)).run()
    }

    fn add(&self, pattern: &str, more: &[&str]) {
        self.rules(&[&["add", pattern], more].concat()).expect(0);
    }

    fn fetch(&self, server: &Server, path: &str, code: i32) -> Outcome {
        self.scene.fetch(&server.url_at("localhost", path), &[]).expect(code)
    }

    fn answer(&self, server: &Server, path: &str) -> Value {
        let root = self.scene.server_root_file.to_str().unwrap();
        let line = format!("--batch explain {}{path} --cacert {root}", server.destination());
        self.scene.machine.json(&line)["answer"].clone()
    }

    /// A policy file of the administrator.
    fn policy(&self, name: &str, content: &str) -> PathBuf {
        let directory = self.scene.machine.policies();
        std::fs::create_dir_all(&directory).unwrap();
        let file = directory.join(name);
        std::fs::write(&file, content).unwrap();
        file
    }
}

#[test]
fn a_rule_selects_without_asking_and_stores_nothing() {
    let office = Office::new();
    let server = office.server();
    office.fetch(&server, "/", 4);
    office.add(&format!("https://localhost:{}", server.port()), &["--subject", "CN=bob"]);
    office.fetch(&server, "/", 0);
    assert_eq!(server.chains(), [office.bob.sent_chain()]);
    assert_eq!(office.scene.machine.json("decisions")["decisions"], json!([]));
    assert_eq!(office.scene.machine.json("history")["uses"][0]["source"], "rule");
    // The rule does not match another port
    office.fetch(&office.server(), "/", 4);
}

#[test]
fn a_remembered_decision_takes_precedence_over_a_rule() {
    let office = Office::new();
    let server = office.server();
    office.add("https://localhost", &["--subject", "CN=bob"]);
    office.scene.remember("localhost", &office.alice.fingerprint());
    office.fetch(&server, "/", 0);
    assert_eq!(server.chains(), [office.alice.sent_chain()]);
}

#[test]
fn several_matches_select_the_first_or_cause_a_question() {
    let office = Office::new();
    let server = office.server();
    office.add("*", &["--subject", "O=Test Clients"]);
    office.fetch(&server, "/", 0);
    assert_eq!(server.chains().len(), 1);
    office.scene.machine.run("config prompt-on-multiple on").expect(0);
    office.fetch(&server, "/", 4);
    office.rules(&["remove", "1"]).expect(0);
    office.add("*", &["--subject", "CN=alice"]);
    office.fetch(&server, "/", 0);
    assert_eq!(server.chains()[1..], [office.alice.sent_chain()]);
}

#[test]
fn a_rule_does_not_select_an_unrequested_or_expired_identity() {
    let office = Office::new();
    let server = office.server();
    office.scene.bring(office.scene.guests.client("guest").issue());
    office.scene.bring(office.scene.employee("late").validity(Validity::Expired).issue());
    office.add("https://localhost", &["--subject", "CN=guest"]);
    office.add("https://localhost", &["--subject", "CN=late"]);
    office.fetch(&server, "/", 4);
    server.assert_nothing_came("rules");
}

#[test]
fn a_denied_host_gets_nothing_even_if_remembered_or_given() {
    let office = Office::new();
    let server = office.scene.server(Kind::OpenSsl).ask(Ask::Optional).start();
    office.scene.remember("localhost", &office.alice.fingerprint());
    office.add("https://localhost", &["--deny"]);
    for tls in [Tls::V1_2, Tls::V1_3] {
        let server = office.scene.server(Kind::OpenSsl).ask(Ask::Optional).tls(tls).start();
        office.fetch(&server, "/", 0).says(&["rule 1", "denies"]);
        assert!(server.chains().is_empty(), "{tls:?}");
    }
    let named = office.scene.fetch(&server.url(), &["--as", &office.alice.fingerprint()]);
    named.expect(3).says(&["alice", "rule 1", "cardcase rules"]);
    server.assert_nothing_came("--as");
    let answer = office.answer(&server, "");
    assert_eq!(answer, json!({ "source": "rule", "identity": null, "rule": "rule 1 (https://localhost)" }));
}

#[test]
fn a_denied_identity_is_not_a_candidate_and_the_others_are() {
    let office = Office::new();
    let server = office.server();
    office.add("https://localhost", &["--subject", "CN=alice", "--deny"]);
    office.scene.remember("localhost", &office.alice.fingerprint());
    office.fetch(&server, "/", 4).says(&["alice", "a rule forbids"]);
    office.scene.remember("localhost", &office.bob.fingerprint());
    office.fetch(&server, "/", 0);
    assert_eq!(server.chains(), [office.bob.sent_chain()]);
    let root = office.scene.server_root_file.to_str().unwrap();
    let explained = office.scene.machine.json(&format!("--batch explain {} --cacert {root}", server.destination()));
    let alice = explained["identities"].as_array().unwrap().iter().find(|each| each["name"] == "alice").unwrap();
    assert_eq!(alice["reasons"], json!(["denied_by_rule"]));
}

/// `fetch` knows the path of each request, and opens a connection for each.
#[test]
fn a_rule_for_a_path_selects_nothing_for_another_path() {
    let office = Office::new();
    let server = office.scene.server(Kind::Go).ask(Ask::Optional).start();
    office.add("https://localhost/admin", &["--subject", "CN=bob"]);
    office.fetch(&server, "/admin/x", 0);
    office.fetch(&server, "/other", 4);
    assert_eq!(server.chains().len(), 1);
    let to = server.url_at("localhost", "/other");
    office.scene.fetch(&server.redirect_to("localhost", &to), &["-L"]).expect(4);
    assert_eq!(server.chains().len(), 1, "{}", server.said());
}

#[test]
fn the_most_specific_pattern_wins_including_its_path() {
    let office = Office::new();
    let server = office.server();
    office.add("*", &["--subject", "CN=alice"]);
    office.add("https://localhost/admin", &["--deny"]);
    office.add("https://localhost/admin/own", &["--subject", "CN=bob"]);
    office.fetch(&server, "/", 0);
    office.fetch(&server, "/admin/x", 0);
    office.fetch(&server, "/%61dmin", 0);
    office.fetch(&server, "/admin/own/x", 0);
    assert_eq!(server.chains(), [office.alice.sent_chain(), office.bob.sent_chain()]);
    let by = |path: &str| office.answer(&server, path)["rule"].clone();
    assert_eq!(by("/"), "rule 1 (*)");
    assert_eq!(by("/admin"), "rule 2 (https://localhost/admin)");
    assert_eq!(by("/admin/own"), "rule 3 (https://localhost/admin/own)");
    // Without a path, the denied path may be meant
    assert_eq!(by(""), "rule 2 (https://localhost/admin)");
}

#[test]
fn a_rule_may_demand_tls_1_3() {
    let office = Office::new();
    office.add("https://localhost", &["--tls13"]);
    office.scene.remember("localhost", &office.alice.fingerprint());
    let older = office.scene.server(Kind::OpenSsl).ask(Ask::Optional).tls(Tls::V1_2).start();
    office.fetch(&older, "/", 0).says(&["no identity fits"]);
    assert!(older.chains().is_empty());
    let newest = office.scene.server(Kind::OpenSsl).ask(Ask::Optional).tls(Tls::V1_3).start();
    office.fetch(&newest, "/", 0);
    assert_eq!(newest.chains(), [office.alice.sent_chain()]);
}

/// A managed policy as administrators write it for Chrome.
fn chrome_policy(filter: &str) -> String {
    let entry = format!(r#"{{"pattern":"https://localhost","filter":{filter}}}"#);
    json!({
        "HomepageLocation": "https://www.example.com",
        "AutoSelectCertificateForUrls": [entry, "{\"pattern\":\"https://no.filter.example\"}"],
        "PromptOnMultipleMatchingCertificates": true,
    })
    .to_string()
}

#[test]
fn a_chrome_policy_is_imported_unchanged() {
    let office = Office::new();
    let server = office.server();
    let content = chrome_policy(r#"{"ISSUER":{"CN":"Staff Issuing"},"SUBJECT":{"CN":"bob"}}"#);
    let file = ca::write(office.scene.machine.dir(), "policy", "json", content);
    office.rules(&["import", file.to_str().unwrap()]).expect(0).says(&["skipped: entry 2"]);
    assert_eq!(office.scene.machine.json("config")["prompt_on_multiple"], true);
    office.fetch(&server, "/", 0);
    assert_eq!(server.chains(), [office.bob.sent_chain()]);
    // Importing it again changes nothing
    office.rules(&["import", file.to_str().unwrap()]).expect(0);
    assert_eq!(office.scene.machine.json("rules")["rules"].as_array().unwrap().len(), 1);
}

#[test]
fn policy_files_of_the_administrator_apply_at_once() {
    let office = Office::new();
    let server = office.server();
    office.fetch(&server, "/", 4);
    let file = office.policy("office.json", &chrome_policy(r#"{"SUBJECT":{"CN":"bob"}}"#));
    office.fetch(&server, "/", 0);
    assert_eq!(server.chains(), [office.bob.sent_chain()]);
    let rule = format!("rule 1 of {} (https://localhost)", file.display());
    assert_eq!(office.answer(&server, "")["rule"], rule);
    let listed = office.scene.machine.json("rules");
    assert_eq!(listed["rules"][0]["file"], file.to_str().unwrap());
    assert_eq!(listed["prompt_on_multiple"], true);
    std::fs::remove_file(file).unwrap();
    office.fetch(&server, "/", 4);
}

#[test]
fn a_policy_file_that_cannot_be_read_fails_closed() {
    let office = Office::new();
    let server = office.server();
    office.scene.remember("localhost", &office.alice.fingerprint());
    office.policy("broken.json", r#"{"AutoSelectCertificateForUrls": [{"pattern": "*", "deny": true}]}"#);
    office.fetch(&server, "/", 1).says(&["broken.json", "entry 1"]);
    server.assert_nothing_came("a broken policy");
}

#[test]
fn a_misspelled_denial_in_a_policy_file_fails_closed() {
    let office = Office::new();
    let server = office.server();
    office.add("https://localhost", &["--subject", "CN=alice"]);
    for key in ["Deny", "denny"] {
        let entry = json!({ "pattern": "https://localhost", "filter": {}, key: true }).to_string();
        office.policy("a.json", &json!({ "AutoSelectCertificateForUrls": [entry] }).to_string());
        office.fetch(&server, "/", 1).says(&[
            "a.json",
            "entry 1",
            key,
            "no certificate is selected until the administrator's rules can be read",
        ]);
    }
    server.assert_nothing_came("a misspelled policy");
}

#[test]
fn a_filter_with_only_unknown_keys_is_skipped() {
    let office = Office::new();
    let server = office.server();
    let content = chrome_policy(r#"{"SUBJCET":{"CN":"bob"}}"#);
    office.policy("office.json", &content);
    office.fetch(&server, "/", 4);
    office.rules(&[]).expect(0).says(&["skipped", "entry 1", "SUBJCET"]);
    let file = ca::write(office.scene.machine.dir(), "policy", "json", content);
    office.rules(&["import", file.to_str().unwrap()]).expect(0).says(&["entry 1", "SUBJCET", "no rule was added"]);
    assert_eq!(office.scene.machine.json("rules")["rules"], json!([]));
}

#[test]
fn a_broken_policy_file_hides_no_rule() {
    let office = Office::new();
    office.add("https://localhost", &["--subject", "CN=alice"]);
    office.policy("a.json", &chrome_policy(r#"{"SUBJECT":{"CN":"bob"}}"#));
    office.policy("b.json", "{");
    let listed = office
        .rules(&[])
        .expect(1)
        .says(&["b.json", "no certificate is selected until the administrator's rules can be read"])
        .text();
    for words in ["CN=alice", "CN=bob"] {
        assert!(listed.contains(words), "{listed}");
    }
    assert!(office.rules(&["--json"]).expect(1).stdout.is_empty());
    let shown = office.scene.machine.run(&format!("show {}", office.bob.fingerprint())).expect(0);
    assert!(shown.says(&["warning", "b.json"]).text().contains("a.json"));
}

#[test]
fn other_files_in_the_policy_directory_are_ignored() {
    let office = Office::new();
    let server = office.server();
    office.add("https://localhost", &["--subject", "CN=alice"]);
    office.policy(".half-written.json", "{");
    office.policy("homepage.json", r#"{"HomepageLocation": "https://www.example.com"}"#);
    office.policy("notes.txt", "{");
    office.fetch(&server, "/", 0);
    office.rules(&[]).expect(0);
    assert_eq!(server.chains(), [office.alice.sent_chain()]);
}

#[test]
fn a_policy_that_is_not_a_regular_file_is_an_error_without_waiting() {
    let office = Office::new();
    let server = office.server();
    office.add("https://localhost", &["--subject", "CN=alice"]);
    let directory = office.scene.machine.policies();
    std::fs::create_dir(&directory).unwrap();
    let pipe = directory.join("pipe.json");
    assert!(program::named("mkfifo").arg(&pipe).status().unwrap().success());
    office.fetch(&server, "/", 1).says(&["pipe.json", "not a regular file"]);
    office.rules(&[]).expect(1);
    std::fs::remove_file(pipe).unwrap();
    std::os::unix::fs::symlink("nowhere", directory.join("dangling.json")).unwrap();
    office.fetch(&server, "/", 1).says(&["dangling.json"]);
    std::fs::remove_dir_all(&directory).unwrap();
    std::fs::write(&directory, "{}").unwrap();
    office.fetch(&server, "/", 1).says(&["policies", "administrator's rules"]);
    server.assert_nothing_came("no policy files");
    std::fs::remove_file(directory).unwrap();
    office.fetch(&server, "/", 0);
}

/// As installers do, which replace files by renaming.
#[test]
fn policy_files_can_be_replaced_while_they_are_read() {
    let office = Office::new();
    let one = office.policy("one.json", &chrome_policy(r#"{"SUBJECT":{"CN":"bob"}}"#));
    let other = one.with_file_name("other.json");
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                std::fs::rename(&one, &other).unwrap();
                std::thread::sleep(std::time::Duration::from_micros(200));
                std::fs::rename(&other, &one).unwrap();
                std::thread::sleep(std::time::Duration::from_micros(200));
            }
        });
        let selector = office.scene.machine.selector();
        let destination: Destination = "localhost".parse().unwrap();
        let failed: Vec<_> = (0..2_000).filter_map(|_| selector.prepare(&destination).err()).collect();
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(failed.is_empty(), "{} times, such as {}", failed.len(), failed[0]);
    });
}

#[test]
fn the_settings_show_that_a_policy_file_requires_a_prompt() {
    let office = Office::new();
    let shown = |key: &str| office.scene.machine.run(&format!("config {key}")).expect(0).text();
    assert_eq!(shown("prompt-on-multiple"), "off\n");
    let file = office.policy("a.json", r#"{"PromptOnMultipleMatchingCertificates": true}"#);
    let expected = format!("on (by {})", file.display());
    assert_eq!(shown("prompt-on-multiple"), format!("{expected}\n"));
    assert!(shown("").contains(&expected));
    assert_eq!(office.scene.machine.json("config")["prompt_on_multiple"], true);
    assert_eq!(office.scene.machine.json("rules")["prompt_on_multiple"], true);
}

#[test]
fn an_import_says_what_it_changed_and_what_was_already_there() {
    let office = Office::new();
    let content = chrome_policy(r#"{"SUBJECT":{"CN":"bob"}}"#);
    let file = ca::write(office.scene.machine.dir(), "policy", "json", content);
    let import = || office.rules(&["import", file.to_str().unwrap()]).expect(0);
    import().says(&["rule 1:", "prompt-on-multiple is on now"]);
    let again = import().says(&["rule 1, which was already there", "no rule was added"]);
    assert!(!again.stderr.contains("prompt-on-multiple"), "{}", again.stderr);
    office
        .rules(&["add", "https://localhost", "--subject", "CN=bob"])
        .expect(0)
        .says(&["rule 1, which was already there"]);
    // A rule that is already there takes no new number
    office.rules(&["add", "http://b.example"]).expect(0).says(&["rule 2:", "warning", "only https"]);
    office.rules(&["remove", "2", "1", "2"]).expect(0);
    assert_eq!(office.scene.machine.json("rules")["rules"], json!([]));
}

#[test]
fn an_import_that_fails_changes_nothing() {
    let office = Office::new();
    office.add("https://localhost", &[]);
    let entries: Vec<_> = (0..10_000).map(|n| json!({ "pattern": format!("h{n}.example"), "filter": {} })).collect();
    let policy = json!({ "AutoSelectCertificateForUrls": entries, "PromptOnMultipleMatchingCertificates": true });
    let file = ca::write(office.scene.machine.dir(), "policy", "json", policy.to_string());
    office.rules(&["import", file.to_str().unwrap()]).expect(1).says(&["10000 rules at most"]);
    let listed = office.scene.machine.json("rules");
    assert_eq!((listed["rules"].as_array().unwrap().len(), &listed["prompt_on_multiple"]), (1, &json!(false)));
}

#[test]
fn an_invalid_pattern_is_reported_once() {
    let said = Office::new().rules(&["add", "*.example.com"]).expect(2).says(&["[*.]example.com"]).stderr;
    assert_eq!(said.matches("is not a rule").count(), 1, "{said}");
}

#[test]
fn rules_are_listed_shown_and_removed_by_number() {
    let office = Office::new();
    office.add("https://[*.]Example.com:8443", &["--issuer", "CN=Staff Issuing", "--issuer", "O=Test Authorities"]);
    office.add(r#"{"pattern":"*","filter":{"SUBJECT":{"CN":"alice"}},"deny":true}"#, &[]);
    office.add("https://a.example", &[r#"{"SUBJECT":{"CN":"bob"}}"#]);
    let listed = office.rules(&[]).expect(0).text();
    for words in
        ["https://[*.]example.com:8443", "issuer CN=Staff Issuing, O=Test Authorities", "deny", "subject CN=bob"]
    {
        assert!(listed.contains(words), "{listed}");
    }
    let shown = office.scene.machine.json(&format!("show {}", office.bob.fingerprint()));
    let numbers: Vec<_> = shown["rules"].as_array().unwrap().iter().map(|rule| rule["number"].clone()).collect();
    assert_eq!(numbers, [1, 3]);
    office.rules(&["remove", "1", "9"]).expect(3).says(&["no rule 9"]);
    assert_eq!(office.scene.machine.json("rules")["rules"].as_array().unwrap().len(), 3);
    office.rules(&["remove", "1", "2"]).expect(0);
    office.add("https://b.example", &[]);
    let left = office.scene.machine.json("rules");
    let numbers: Vec<_> = left["rules"].as_array().unwrap().iter().map(|rule| rule["number"].clone()).collect();
    assert_eq!(numbers, [3, 4], "a number is never given twice");
}

#[test]
fn an_invalid_rule_is_refused_and_changes_nothing() {
    let office = Office::new();
    let cases: [&[&str]; 13] = [
        &["add", "*.example.com"],
        &["add", "ftp://example.com"],
        &["add", "https://example.com", "{"],
        &["add", "https://example.com", r#"{"SUBJCET":{"CN":"alice"}}"#],
        &["add", "https://example.com", r#"{"SUBJECT":{"cn":"alice","O":"Example"}}"#],
        &["add", "https://example.com", r#"{"SUBJECT":{"CN":["alice"]}}"#],
        &["add", r#"{"pattern":"*","filter":{"SUBJECT":{"CN":""}}}"#],
        &["add", "https://example.com", "--subject", "CN"],
        &["add", "https://example.com", "--subject", "X=y"],
        &["add", "https://example.com", "--subject", "CN=a", "--subject", "CN=b"],
        &["add", r#"{"pattern":"*"}"#],
        &["add", r#"{"pattern":"*","filter":{},"denny":true}"#],
        &["add", r#"{"pattern":"*","filter":{}}"#, "--deny"],
    ];
    for case in cases {
        office.rules(case).expect(2);
    }
    let file = ca::write(office.scene.machine.dir(), "policy", "json", "{}");
    office.rules(&["import", file.to_str().unwrap()]).expect(1).says(&["AutoSelectCertificateForUrls"]);
    office.rules(&["import", "missing.json"]).expect(1).says(&["missing.json"]);
    assert_eq!(office.scene.machine.json("rules")["rules"], json!([]));
}

#[test]
fn a_rehearsed_import_of_rules_changes_nothing() {
    let office = Office::new();
    let policy = json!({
        "AutoSelectCertificateForUrls": [
            r#"{"pattern":"https://[*.]example.com","filter":{}}"#,
            r#"{"pattern":"https://known.example","filter":{}}"#,
        ],
        "PromptOnMultipleMatchingCertificates": true,
    });
    office.add("https://known.example", &[]);
    let file = ca::write(office.scene.machine.dir(), "policy", "json", policy.to_string());
    let before = (office.scene.machine.json("rules"), office.scene.machine.json("config"));
    office.rules(&["import", file.to_str().unwrap(), "--dry-run"]).expect(0).says(&[
        r#"would add: {"filter":{},"pattern":"https://[*.]example.com"}"#,
        r#"already there: {"filter":{},"pattern":"https://known.example"}"#,
        "prompt-on-multiple would be on",
    ]);
    assert_eq!((office.scene.machine.json("rules"), office.scene.machine.json("config")), before);
    let told = |more: &[&str]| {
        office.scene.machine.command(["rules", "import", "--json"]).arg(&file).args(more).run().expect(0).json()
    };
    assert_eq!(told(&["--dry-run"]), told(&[]));
    assert_ne!(office.scene.machine.json("rules"), before.0);
}
