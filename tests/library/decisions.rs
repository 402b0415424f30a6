use cardcase::Destination;
use cardcase::Error;
use cardcase::Store;
use cardcase::manage::Session;
use cardcase::manage::Timestamp;
use cardcase::manage::{Lifetime, Mode, Scope};

use crate::pki::{Ca, Home, Leaf, NOW};

fn scope(mode: Mode, destination: &str) -> Scope {
    mode.scope(&destination.parse::<Destination>().unwrap())
}

#[test]
fn firefox_remembers_per_host_and_chrome_per_host_and_port() {
    let cases = [
        (Mode::Firefox, "a.example:1", "A.example.:2", true),
        (Mode::Firefox, "a.example:1", "b.example:1", false),
        (Mode::Firefox, "a.example", "www.a.example", false),
        (Mode::Chrome, "a.example:1", "a.example:1", true),
        (Mode::Chrome, "a.example", "A.example.:443", true),
        (Mode::Chrome, "a.example:1", "a.example:2", false),
        (Mode::Chrome, "[::1]:8443", "[0::1]:8443", true),
    ];
    for (mode, decided, asked, found) in cases {
        let home = Home::new();
        let store = home.open();
        store.remember(&scope(mode, decided), None, Lifetime::Permanent, NOW).unwrap();
        assert_eq!(store.decision(&scope(mode, asked)).unwrap().is_some(), found, "{mode}: {decided}, {asked}");
    }
}

#[test]
fn the_modes_do_not_share_decisions() {
    let home = Home::new();
    let store = home.open();
    store.remember(&scope(Mode::Firefox, "a.example:1"), None, Lifetime::Permanent, NOW).unwrap();
    assert_eq!(store.decision(&scope(Mode::Chrome, "a.example:1")).unwrap(), None);
    store.remember(&scope(Mode::Chrome, "a.example:1"), None, Lifetime::Permanent, NOW).unwrap();
    assert_eq!(store.forget(&scope(Mode::Firefox, "a.example")).unwrap().0.len(), 1);
    assert!(store.decision(&scope(Mode::Chrome, "a.example:1")).unwrap().is_some());
}

#[test]
fn a_new_store_is_in_firefox_mode() {
    assert_eq!(Home::new().open().settings().unwrap().mode, Mode::Firefox);
}

#[test]
fn a_decision_survives_reopening_and_can_be_replaced() {
    let home = Home::new();
    let leaf = Ca::root("Root").leaf("a");
    let scope = scope(Mode::Firefox, "a.example");
    let store = home.with([&leaf], []);
    store.remember(&scope, None, Lifetime::Permanent, NOW).unwrap();
    assert_eq!(home.open().decision(&scope).unwrap().unwrap().identity, None);
    store.remember(&scope, Some(leaf.fingerprint()), Lifetime::Permanent, NOW).unwrap();
    drop(store);
    let [decision] = &home.open().decisions().unwrap()[..] else { panic!("one scope, one decision") };
    assert_eq!((decision.identity, decision.lifetime), (Some(leaf.fingerprint()), Lifetime::Permanent));
    assert_eq!((decision.decided_at, decision.last_used_at, decision.last_outcome), (NOW, None, None));
}

#[test]
fn each_lifetime_ends_when_it_should() {
    let cases = [(Lifetime::Once, false, false), (Lifetime::Session, true, false), (Lifetime::Permanent, true, true)];
    for (lifetime, now, after_logout) in cases {
        let home = Home::new();
        let scope = scope(Mode::Firefox, "a.example");
        home.open().remember(&scope, None, lifetime, NOW).unwrap();
        let found = || home.open().decision(&scope).unwrap().map(|decision| decision.lifetime);
        assert_eq!(found(), now.then_some(lifetime));
        // The system does this at logout
        let _ = std::fs::remove_dir_all(home.session_directory());
        assert_eq!(found(), after_logout.then_some(lifetime));
        assert_eq!(home.open().decisions().unwrap().len(), usize::from(after_logout));
    }
}

#[test]
fn decisions_of_another_session_are_invisible_and_kept_for_half_a_year() {
    let (home, elsewhere) = (Home::new(), tempfile::tempdir().unwrap());
    let here = home.open();
    let there = Store::open_in_session(here.path(), Session::in_directory(elsewhere.path().join("session"))).unwrap();
    let scope = scope(Mode::Firefox, "a.example");
    here.remember(&scope, None, Lifetime::Session, NOW).unwrap();
    there.remember(&scope, None, Lifetime::Session, NOW).unwrap();
    assert_eq!(there.forget(&scope).unwrap().0.len(), 1);
    assert_eq!(there.decision(&scope).unwrap(), None);
    assert!(here.decision(&scope).unwrap().is_some());

    let half_a_year = Timestamp(NOW.0 + 184 * 86_400);
    there.remember(&scope, None, Lifetime::Permanent, half_a_year).unwrap();
    let rows: i64 = home.database().query_row("SELECT count(*) FROM decisions", [], |row| row.get(0)).unwrap();
    assert_eq!(rows, 1);
}

#[test]
fn a_session_decision_takes_precedence_over_a_permanent_one() {
    let home = Home::new();
    let leaf = Ca::root("Root").leaf("a");
    let store = home.with([&leaf], []);
    let elsewhere = tempfile::tempdir().unwrap();
    let there = Store::open_in_session(store.path(), Session::in_directory(elsewhere.path().join("session"))).unwrap();
    let scope = scope(Mode::Firefox, "a.example");
    store.remember(&scope, Some(leaf.fingerprint()), Lifetime::Session, NOW).unwrap();
    there.remember(&scope, None, Lifetime::Permanent, NOW).unwrap();
    assert_eq!(store.decision(&scope).unwrap().unwrap().identity, Some(leaf.fingerprint()));
    assert_eq!(there.decision(&scope).unwrap().unwrap().identity, None);
    // A new decision in the session replaces both
    store.remember(&scope, None, Lifetime::Permanent, NOW).unwrap();
    assert_eq!(store.decisions().unwrap().len(), 1);
}

#[test]
fn the_lifetime_once_keeps_the_remembered_decision() {
    let home = Home::new();
    let leaf = Ca::root("Root").leaf("a");
    let store = home.with([&leaf], []);
    let scope = scope(Mode::Firefox, "a.example");
    store.remember(&scope, None, Lifetime::Permanent, NOW).unwrap();
    store.remember(&scope, Some(leaf.fingerprint()), Lifetime::Once, NOW).unwrap();
    assert_eq!(store.decision(&scope).unwrap().unwrap().identity, None);
}

#[test]
fn a_removed_identity_cannot_be_remembered() {
    let home = Home::new();
    let leaf = Ca::root("Root").leaf("a");
    let store = home.with([&leaf], []);
    let scope = scope(Mode::Firefox, "a.example");
    store.remember(&scope, None, Lifetime::Permanent, NOW).unwrap();
    home.open().remove(&[leaf.fingerprint()]).unwrap();
    for lifetime in [Lifetime::Session, Lifetime::Permanent] {
        let error = store.remember(&scope, Some(leaf.fingerprint()), lifetime, NOW).unwrap_err();
        assert!(matches!(error, Error::UnknownIdentity { .. }));
    }
    assert_eq!(store.decision(&scope).unwrap().unwrap().identity, None, "what was there stays");
}

#[test]
fn many_are_remembered_together_or_not_at_all() {
    let home = Home::new();
    let authority = Ca::root("Root");
    let (leaf, stranger) = (authority.leaf("a"), authority.leaf("b"));
    let store = home.with([&leaf], []);
    let scopes: Vec<Scope> = (0..4).map(|number| scope(Mode::Firefox, &format!("{number}.example"))).collect();
    store.remember(&scopes[0], None, Lifetime::Session, NOW).unwrap();
    let answers = |last: &Leaf| -> Vec<_> {
        let identities = [Some(leaf.fingerprint()), Some(leaf.fingerprint()), None, Some(last.fingerprint())];
        scopes.iter().cloned().zip(identities).collect()
    };
    let error = store.remember_new(answers(&stranger), NOW).unwrap_err();
    assert!(matches!(error, Error::UnknownIdentity { .. }));
    assert_eq!(store.decisions().unwrap().len(), 1);
    // What is remembered already stays
    assert_eq!(store.remember_new(answers(&leaf), NOW).unwrap(), answers(&leaf)[1..]);
    let found: Vec<_> = home.open().decisions().unwrap().into_iter().map(|one| (one.scope, one.identity)).collect();
    let expected: Vec<_> = [(scopes[0].clone(), None)].into_iter().chain(answers(&leaf).split_off(1)).collect();
    assert_eq!(found, expected);
}

#[test]
fn forgetting_says_whether_there_was_a_decision() {
    let home = Home::new();
    let store = home.open();
    let (a, b) = (scope(Mode::Firefox, "a.example"), scope(Mode::Chrome, "b.example:1"));
    store.remember(&a, None, Lifetime::Permanent, NOW).unwrap();
    let (forgotten, unreadable) = store.forget(&a).unwrap();
    assert_eq!((forgotten[0].scope.clone(), forgotten.len(), unreadable), (a.clone(), 1, 0));
    assert_eq!(store.forget(&a).unwrap(), (Vec::new(), 0));
    for scope in [&a, &b] {
        store.remember(scope, None, Lifetime::Session, NOW).unwrap();
    }
    let forgotten = store.forget_all().unwrap().0;
    assert_eq!(forgotten.iter().map(|one| &one.scope).collect::<Vec<_>>(), [&a, &b]);
    assert_eq!(store.forget_all().unwrap(), (Vec::new(), 0));
}
