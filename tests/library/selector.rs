use std::sync::{Arc, Barrier};

use cardcase::certificate::Fingerprint;
use cardcase::chooser::{NoChooser, Reply};
use cardcase::clock::Timestamp;
use cardcase::decisions::Outcome;
use cardcase::decisions::{Answer, Lifetime, Mode};
use cardcase::error::Error;
use cardcase::matching::Reason;
use cardcase::name::Name;
use cardcase::request::{CertificateRequest, Destination};
use cardcase::selector::{Foreseen, Prepared, Selection, Selector, Source};
use cardcase::store::Store;
use rustls::SignatureScheme;

use crate::people::{Script, first};
use crate::pki::{Ca, DAY, Home, NOW, expired, params, valid};

fn request(authorities: &[Name]) -> CertificateRequest {
    let mut request = CertificateRequest::new(&[], &[SignatureScheme::ECDSA_NISTP256_SHA256]);
    request.authorities = authorities.to_vec();
    request
}

fn at(text: &str) -> Destination {
    text.parse().unwrap()
}

fn selector(store: Arc<Store>, chooser: &Arc<Script>) -> Selector {
    Selector::new(store).unwrap().with_chooser(chooser.clone()).with_clock(Arc::new(NOW))
}

/// What was selected and why.
fn selected(prepared: Prepared) -> (Option<Fingerprint>, Source) {
    let Selection { answer, source } = prepared.selection().unwrap().clone();
    (answer.fingerprint(), source)
}

#[test]
fn an_answer_holds_for_as_long_as_was_said() {
    for (lifetime, holds) in [(Lifetime::Once, false), (Lifetime::Session, true), (Lifetime::Permanent, true)] {
        for (reply, sends_one) in [(first(lifetime), true), (Reply::None { lifetime }, false)] {
            let (home, root) = (Home::new(), Ca::root("Root"));
            let leaf = root.leaf("a");
            let chooser = Script::new([reply, Reply::Abort]);
            let selector = selector(home.with([&leaf], []), &chooser);
            let sent = sends_one.then(|| leaf.fingerprint());
            let request = request(&[root.name()]);

            assert!(selector.prepare(&at("a.example")).unwrap().selection().is_none());
            let answer = selected(selector.select(&at("a.example"), &request).unwrap());
            assert_eq!(answer, (sent, Source::Ask));
            assert_eq!(chooser.asked().len(), 1);

            let again = selector.select(&at("a.example:8443"), &request);
            assert_eq!(chooser.asked().len(), usize::from(!holds));
            assert_eq!(again.ok().map(selected), holds.then_some((sent, Source::Decision)));
            let prepared = selector.prepare(&at("a.example")).unwrap();
            assert_eq!(prepared.selection().is_some(), holds);
        }
    }
}

#[test]
fn the_question_says_where_for_whom_and_with_what() {
    let (home, root) = (Home::new(), Ca::root("Root"));
    let (good, old) = (root.leaf("good"), root.leaf_of(expired("old")));
    let chooser = Script::new([]);
    let store = home.with([&old, &good, &Ca::root("Other").leaf("other")], []);
    let _ = selector(store, &chooser).select(&at("A.example.:8443"), &request(&[root.name()]));
    let [asked] = &chooser.asked()[..] else { panic!("asked once") };
    assert_eq!(asked.destination, "a.example:8443");
    assert_eq!(asked.candidates, [good.fingerprint(), old.fingerprint()]);
    assert_eq!((&asked.unfit, asked.mode), (&None, Mode::Firefox));
}

#[test]
fn chrome_mode_remembers_per_port_whatever_the_lifetime_said() {
    let (home, leaf) = (Home::new(), Ca::root("Root").leaf("a"));
    let chooser = Script::new([first(Lifetime::Once), Reply::None { lifetime: Lifetime::Once }]);
    let selector = selector(home.with([&leaf], []), &chooser).with_mode(Mode::Chrome);
    let answers = ["a.example:1", "a.example:1", "a.example:2", "a.example:2"]
        .map(|destination| selected(selector.select(&at(destination), &request(&[])).unwrap()));
    let sent = Some(leaf.fingerprint());
    let expected = [(sent, Source::Ask), (sent, Source::Decision), (None, Source::Ask), (None, Source::Decision)];
    assert_eq!(answers, expected);
    let decisions = selector.store().decisions().unwrap();
    assert!(decisions.iter().all(|decision| decision.lifetime == Lifetime::Permanent));
    assert_eq!(decisions.len(), 2);
}

/// One identity remembered for a.example that does not do for the request, and another one that would.
fn unfit_is_asked_about(remembered_until: Timestamp, requested: impl Fn(&Ca, &Ca) -> Name, reasons: &[Reason]) {
    let (home, one, two) = (Home::new(), Ca::root("One"), Ca::root("Two"));
    let remembered = one.leaf_of(valid(params("remembered"), Timestamp(0), remembered_until));
    let candidates = [one.leaf("of one"), two.leaf("of two")];
    let store = home.with(candidates.iter().chain([&remembered]), []);
    let scope = Mode::Firefox.scope(&at("a.example"));
    store.remember(&scope, Some(remembered.fingerprint()), Lifetime::Permanent, NOW).unwrap();
    let before = store.decision(&scope).unwrap();

    let chooser = Script::new([Reply::Abort, Reply::Nobody, first(Lifetime::Once)]);
    let selector = selector(store.clone(), &chooser);
    for _ in 0..3 {
        let _ = selector.select(&at("a.example"), &request(&[requested(&one, &two)]));
        let [asked] = &chooser.asked()[..] else { panic!("asked once") };
        let unfit = asked.unfit.as_ref().unwrap();
        assert_eq!((unfit.identity.fingerprint(), &unfit.reasons[..]), (remembered.fingerprint(), reasons));
        assert_eq!(store.decision(&scope).unwrap(), before, "the entry stays");
    }
}

#[test]
fn a_remembered_identity_that_expired_is_asked_about() {
    unfit_is_asked_about(Timestamp(NOW.0 - 1), |one, _| one.name(), &[]);
}

#[test]
fn a_remembered_identity_that_the_server_does_not_take_is_asked_about() {
    unfit_is_asked_about(Timestamp(NOW.0 + DAY), |_, two| two.name(), &[Reason::IssuerNotRequested]);
}

#[test]
fn an_expired_identity_is_not_prepared_but_none_is() {
    let (home, old) = (Home::new(), Ca::root("Root").leaf_of(expired("old")));
    let store = home.with([&old], []);
    let chooser = Script::new([]);
    for (identity, prepared) in [(Some(old.fingerprint()), false), (None, true)] {
        store.remember(&Mode::Firefox.scope(&at("a.example")), identity, Lifetime::Permanent, NOW).unwrap();
        let found = selector(store.clone(), &chooser).prepare(&at("a.example")).unwrap();
        assert_eq!(found.selection().is_some(), prepared);
    }
}

#[test]
fn none_is_sent_and_nothing_stored_when_no_identity_fits() {
    let (home, leaf) = (Home::new(), Ca::root("Root").leaf("a"));
    let chooser = Script::new([]);
    let selector = selector(home.with([&leaf], []), &chooser);
    let request = request(&[Ca::root("Other").name()]);
    let answer = selected(selector.select(&at("a.example"), &request).unwrap());
    assert_eq!(answer, (None, Source::NoCandidate));
    assert_eq!(selector.foresee(&at("a.example"), &request).unwrap(), Foreseen::NoCandidate);
    assert_eq!((chooser.asked().len(), selector.store().decisions().unwrap().len()), (0, 0));
}

#[test]
fn whoever_does_not_answer_has_nothing_stored_or_sent() {
    let (home, leaf) = (Home::new(), Ca::root("Root").leaf("a"));
    let store = home.with([&leaf], []);
    let beyond = Reply::Identity { index: 1, lifetime: Lifetime::Permanent };
    for mode in [Mode::Firefox, Mode::Chrome] {
        for (reply, aborted) in [(Reply::Abort, true), (Reply::Nobody, false), (beyond, true)] {
            let selector = selector(store.clone(), &Script::new([reply])).with_mode(mode);
            let error = selector.select(&at("a.example"), &request(&[])).unwrap_err();
            assert_eq!(matches!(error, Error::Aborted { .. }), aborted, "{error}");
            assert_eq!(matches!(error, Error::NobodyToAsk { .. }), !aborted, "{error}");
            assert!(error.to_string().contains("a.example:443"), "{error}");
            assert_eq!(store.decisions().unwrap(), []);
        }
    }
}

#[test]
fn where_nobody_can_be_asked_nobody_waits_for_a_turn() {
    let (home, leaf) = (Home::new(), Ca::root("Root").leaf("a"));
    let nobody = Selector::new(home.with([&leaf], [])).unwrap().with_chooser(Arc::new(NoChooser));
    assert!(matches!(nobody.select(&at("a.example"), &request(&[])), Err(Error::NobodyToAsk { .. })));
    assert!(!home.session_directory().exists());
}

#[test]
fn one_question_for_all_who_wait() {
    const WAITING: usize = 50;
    for reply in [first(Lifetime::Session), Reply::None { lifetime: Lifetime::Permanent }] {
        let (home, leaf) = (Home::new(), Ca::root("Root").leaf("a"));
        drop(home.with([&leaf], []));
        let chooser = Script::new([reply]);
        // Several stores on one file, as several processes have them
        let selectors: Vec<Selector> = (0..4).map(|_| selector(home.open(), &chooser)).collect();
        let start = Barrier::new(WAITING);
        let answers: Vec<Option<Fingerprint>> = std::thread::scope(|threads| {
            let waiting: Vec<_> = (0..WAITING)
                .map(|number| {
                    let (selector, start) = (&selectors[number % selectors.len()], &start);
                    threads.spawn(move || {
                        start.wait();
                        selected(selector.select(&at("a.example"), &request(&[])).unwrap()).0
                    })
                })
                .collect();
            waiting.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(chooser.asked().len(), 1);
        assert!(answers.windows(2).all(|pair| pair[0] == pair[1]));
    }
}

#[test]
fn what_the_caller_says_goes_before_what_is_remembered_and_is_not_stored() {
    let (home, ca) = (Home::new(), Ca::root("Root"));
    let (remembered, given) = (ca.leaf("remembered"), ca.leaf("given"));
    let store = home.with([&remembered, &given], []);
    let scope = Mode::Firefox.scope(&at("a.example"));
    store.remember(&scope, Some(remembered.fingerprint()), Lifetime::Permanent, NOW).unwrap();
    let selector = selector(store.clone(), &Script::new([]));
    let identity = store.find_identity("given").unwrap();
    assert_eq!(
        selected(selector.given(&at("a.example"), identity).unwrap()),
        (Some(given.fingerprint()), Source::Given)
    );
    assert_eq!(selected(selector.omitted(&at("a.example")).unwrap()), (None, Source::Omitted));
    let kept = store.decision(&scope).unwrap().unwrap();
    assert_eq!(kept.identity, Some(remembered.fingerprint()));
}

#[test]
fn foreseeing_asks_nobody() {
    let (home, leaf) = (Home::new(), Ca::root("Root").leaf("a"));
    let chooser = Script::new([]);
    let selector = selector(home.with([&leaf], []), &chooser);
    let foresee = || selector.foresee(&at("a.example"), &request(&[])).unwrap();
    assert_eq!(foresee(), Foreseen::Ask);
    let scope = Mode::Firefox.scope(&at("a.example"));
    selector.store().remember(&scope, None, Lifetime::Permanent, NOW).unwrap();
    assert_eq!(foresee(), Foreseen::Decision(Answer::None));
    assert_eq!(chooser.asked().len(), 0);
}

#[test]
fn what_became_of_it_is_recorded_and_ranks_the_next_list() {
    let (home, ca) = (Home::new(), Ca::root("Root"));
    let (long, short) = (ca.leaf("long"), ca.leaf_of(valid(params("short"), Timestamp(0), Timestamp(NOW.0 + DAY))));
    let chooser = Script::new([Reply::Identity { index: 1, lifetime: Lifetime::Permanent }]);
    let selector = selector(home.with([&long, &short], []), &chooser);
    let destination = at("a.example");
    let prepared = selector.select(&destination, &request(&[])).unwrap();
    let selection = prepared.selection().unwrap();
    selector.record(&destination, selection, Outcome::Accepted, None, Some("TLSv1.3".to_owned())).unwrap();

    let [used] = &selector.store().history(Some("a.example")).unwrap()[..] else { panic!("one use") };
    assert_eq!((used.identity, &used.source[..], used.port), (Some(short.fingerprint()), "ask", 443));
    let decision = selector.store().decision(&Mode::Firefox.scope(&destination)).unwrap().unwrap();
    assert_eq!((decision.last_used_at, decision.last_outcome), (Some(NOW), Some(Outcome::Accepted)));

    selector.store().forget_all().unwrap();
    for (host, best) in [("a.example", &short), ("b.example", &long)] {
        chooser.asked();
        let _ = selector.select(&at(host), &request(&[]));
        assert_eq!(chooser.asked()[0].candidates[0], best.fingerprint(), "{host}");
    }
}

#[test]
fn an_identity_removed_meanwhile_is_asked_about_anew() {
    let (home, ca) = (Home::new(), Ca::root("Root"));
    let (gone, stays) = (ca.leaf("gone"), ca.leaf("stays"));
    let store = home.with([&gone, &stays], []);
    let scope = Mode::Firefox.scope(&at("a.example"));
    store.remember(&scope, Some(gone.fingerprint()), Lifetime::Permanent, NOW).unwrap();
    let chooser = Script::new([first(Lifetime::Once)]);
    let selector = selector(store, &chooser);
    assert!(selector.prepare(&at("a.example")).unwrap().selection().is_some());
    home.open().remove(&[gone.fingerprint()]).unwrap();
    assert!(selector.prepare(&at("a.example")).unwrap().selection().is_none());
    let answer = selected(selector.select(&at("a.example"), &request(&[])).unwrap());
    assert_eq!(answer, (Some(stays.fingerprint()), Source::Ask));
}
