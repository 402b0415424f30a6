//! Where the profiles of browsers are found, and what is told of them.

use std::fs;
use std::path::Path;

use serde_json::Value;

use super::nss::{copy, import, make_fifo, text};
use crate::support::command::Cardcase;

/// A profile of this name with identities.
fn profile(root: &Path, name: &str) {
    copy("nss-3.87", &root.join("x.profile"));
    fs::write(root.join("profiles.ini"), format!("[Profile0]\nName={name}\nIsRelative=1\nPath=x.profile\n")).unwrap();
}

/// What `cardcase` alone and `doctor` say; neither may wait.
fn looks(machine: &Cardcase) -> (String, Vec<Value>) {
    let said = machine.run("").expect(0).text();
    let findings = machine.json("doctor")["findings"].as_array().unwrap().clone();
    (said, findings.into_iter().filter(|finding| finding["code"] == "in_browser").collect())
}

#[test]
fn the_profile_in_use_is_found_and_several_are_listed() {
    let machine = Cardcase::new();
    import(&machine, &["--from-firefox"]).expect(3).says(&[
        "no profile of Firefox",
        ".config/mozilla/firefox",
        "snap/firefox",
        "about:profiles",
    ]);
    // An older Firefox, and a snap
    let old = machine.dir().join(".mozilla/firefox");
    copy("nss-3.87", &old.join("a.default"));
    fs::create_dir(old.join("b.unused")).unwrap();
    let ini = "[Install1]\nDefault=a.default\n[Profile0]\nName=unused\nIsRelative=1\nPath=b.unused\nDefault=1\n\
        [Profile1]\nName=default\nIsRelative=1\nPath=a.default\n";
    fs::write(old.join("profiles.ini"), ini).unwrap();
    let planned = import(&machine, &["--from-firefox", "--dry-run", "--json"]).expect(0).json();
    assert_eq!(planned["imported"].as_array().unwrap().len(), 3, "{planned}");
    let snap = machine.dir().join("snap/firefox/common/.mozilla/firefox");
    copy("chromium-156", &snap.join("c.default"));
    fs::write(snap.join("profiles.ini"), "[Profile0]\nName=snapped\nIsRelative=1\nPath=c.default\n").unwrap();
    import(&machine, &["--from-firefox"]).expect(2).says(&[
        "default: ",
        "(3 identities, last used ",
        "snapped: ",
        "(1 identity, ",
        "Firefox has several profiles",
        "--from-firefox NAME",
    ]);
    for wanted in ["snapped", "c.default", text(&snap.join("c.default")), text(&snap)] {
        let planned = import(&machine, &["--from-firefox", wanted, "--dry-run", "--json"]).expect(0).json();
        assert_eq!(planned["imported"].as_array().unwrap().len(), 1, "{wanted}: {planned}");
    }
    import(&machine, &["--from-firefox", "nobody"]).expect(3).says(&["Firefox has no profile \"nobody\"", "snapped: "]);
    import(&machine, &["--from-thunderbird"]).expect(3).says(&["no profile of Thunderbird"]);
    copy("chromium-156", &machine.dir().join(".local/share/pki/nssdb"));
    let planned = import(&machine, &["--from-chromium", "--dry-run", "--json"]).expect(0).json();
    assert_eq!(planned["imported"].as_array().unwrap().len(), 1, "{planned}");
}

#[test]
fn a_store_without_identities_is_told_of_those_in_a_browser() {
    let machine = Cardcase::new();
    let root = machine.dir().join(".config/mozilla/firefox");
    copy("nss-3.87", &root.join("x.default"));
    fs::write(root.join("profiles.ini"), "[Profile0]\nName=default\nIsRelative=1\nPath=x.default\n").unwrap();
    let told = "to import the 3 identities of Firefox's profile default:";
    let said = machine.run("").expect(0).text();
    assert!(said.contains(told) && said.contains("cardcase import --from-firefox default"), "{said}");
    let findings = machine.json("doctor");
    let found: Vec<&Value> = findings["findings"].as_array().unwrap().iter().collect();
    let found: Vec<_> = found.iter().filter(|finding| finding["code"] == "in_browser").collect();
    assert_eq!(found.len(), 1, "{findings}");
    assert_eq!(found[0]["command"], "cardcase import --from-firefox default");
    import(&machine, &["--from-firefox"]).expect(0);
    assert!(!machine.run("").expect(0).text().contains("Firefox"));
    assert!(!machine.json("doctor").to_string().contains("in_browser"));
}

#[test]
fn what_stands_in_place_of_profiles_ini_does_not_matter() {
    let makes: [fn(&Path); 4] = [
        make_fifo,
        |path| std::os::unix::fs::symlink("/dev/zero", path).unwrap(),
        |path| fs::create_dir(path).unwrap(),
        |path| fs::write(path, "[Profile0]\n".repeat(1 << 20)).unwrap(),
    ];
    for make in makes {
        for file in ["profiles.ini", "installs.ini"] {
            let machine = Cardcase::new();
            let root = machine.dir().join(".mozilla/firefox");
            fs::create_dir_all(&root).unwrap();
            make(&root.join(file));
            assert_eq!(looks(&machine).1, Vec::<Value>::new());
            let run = machine.command(["--batch", "import", "--from-firefox"]).memory(64).run();
            run.expect(3).says(&[&format!("{file}: it is "), "no profile of Firefox"]);
        }
    }
}

#[test]
fn a_name_that_does_not_show_is_escaped_and_not_to_be_typed() {
    let machine = Cardcase::new();
    let root = machine.dir().join(".mozilla/firefox");
    profile(&root, "ev\x1b[31mil\x1b]0;title\x07");
    let (said, findings) = looks(&machine);
    assert!(!said.contains('\x1b') && !said.contains('\x07'), "{said:?}");
    let command = format!("cardcase import --from-firefox {}", root.join("x.profile").display());
    assert!(said.contains(&command), "{said}");
    assert_eq!(findings[0]["command"], command);
    profile(&root, "--batch");
    assert!(looks(&machine).0.contains(&command));
}

#[test]
fn a_directory_here_does_not_hide_a_profile_of_its_name() {
    let machine = Cardcase::new();
    profile(&machine.dir().join(".mozilla/firefox"), "default");
    fs::create_dir(machine.dir().join("default")).unwrap();
    let run = machine.command(["--batch", "import", "--dry-run", "--from-firefox", "default"]);
    run.in_directory(machine.dir()).run().expect(0);
    let run = machine.command(["--batch", "import", "--dry-run", "--from-firefox", "./default"]);
    run.in_directory(machine.dir()).run().expect(1).says(&["there is no cert9.db in ./default"]);
}

/// As after a move to another form of package.
#[test]
fn where_two_profiles_have_one_name_the_directory_is_named() {
    let machine = Cardcase::new();
    let (old, new) =
        (machine.dir().join(".mozilla/firefox"), machine.dir().join("snap/firefox/common/.mozilla/firefox"));
    profile(&old, "default");
    profile(&new, "default");
    let later = fs::File::open(new.join("x.profile/key4.db")).unwrap().metadata().unwrap().modified().unwrap();
    let earlier = fs::File::options().write(true).open(old.join("x.profile/key4.db")).unwrap();
    earlier.set_modified(later - std::time::Duration::from_secs(86_400)).unwrap();
    let said = looks(&machine).0;
    let commands: Vec<&str> =
        said.lines().filter_map(|line| Some(line.split_once("cardcase import --from-firefox ")?.1)).collect();
    assert_eq!(commands.len(), 2, "{said}");
    for directory in commands {
        import(&machine, &["--dry-run", "--from-firefox", directory]).expect(0);
    }
    for arguments in [&["--from-firefox"][..], &["--from-firefox", "default"]] {
        let told = import(&machine, arguments).expect(2).stderr;
        assert!(
            told.contains(&format!("name its directory: --from-firefox {}", new.join("x.profile").display())),
            "{told}"
        );
        // The one that was used last stands first
        let position = |root: &Path| told.find(&root.display().to_string()).unwrap();
        assert!(position(&new) < position(&old), "{told}");
    }
}

#[test]
fn thunderbird_is_found_under_each_name_of_its_package() {
    for id in ["org.mozilla.thunderbird", "org.mozilla.Thunderbird"] {
        let machine = Cardcase::new();
        profile(&machine.dir().join(".var/app").join(id).join(".thunderbird"), "default");
        import(&machine, &["--from-thunderbird", "--dry-run"]).expect(0);
    }
}

#[test]
fn a_profile_that_is_in_use_is_told_at_once() {
    let machine = Cardcase::new();
    let root = machine.dir().join(".mozilla/firefox");
    profile(&root, "default");
    let writer = rusqlite::Connection::open(root.join("x.profile/key4.db")).unwrap();
    writer.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let (said, findings) = looks(&machine);
    assert!(said.contains("to import from Firefox's profile default (in use now):"), "{said}");
    assert!(findings[0]["text"].as_str().unwrap().contains("is in use now"), "{findings:?}");
}
