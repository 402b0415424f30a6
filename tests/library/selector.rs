use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::thread;

use cardcase::Chooser;
use cardcase::Error;
use cardcase::Identity;
use cardcase::Selector;
use cardcase::Store;
use cardcase::ask::CertificateRequest;
use cardcase::ask::Reason;
use cardcase::ask::Refusal;
use cardcase::ask::{Question, Refused, Reply};
use cardcase::connect::{Selection, Source};
use cardcase::manage::Fingerprint;
use cardcase::manage::Name;
use cardcase::manage::Outcome;
use cardcase::manage::Rule;
use cardcase::manage::Session;
use cardcase::manage::Timestamp;
use cardcase::manage::{Answer, Lifetime, Mode};
use cardcase::raw::Prepared;
use cardcase::raw::Resolver;
use cardcase::{Destination, Target};
use rustls::client::ResolvesClientCert;
use rustls::{ProtocolVersion, SignatureScheme};

use crate::people::{Says, Script, first};
use crate::pki::{Ca, DAY, Home, Leaf, NOW, expired, params, valid};

fn request(authorities: &[Name]) -> CertificateRequest {
    let mut request = CertificateRequest::new(&[], &[SignatureScheme::ECDSA_NISTP256_SHA256]);
    request.authorities = authorities.to_vec();
    request
}

fn at(text: &str) -> Destination {
    text.parse().unwrap()
}

fn omitting(text: &str) -> Target {
    Target::new(at(text)).without_credentials()
}

fn selector(store: Arc<Store>, chooser: &Arc<Script>) -> Selector {
    Selector::new(store).with_chooser(chooser.clone()).with_clock(|| NOW)
}

/// The answer and its source.
fn selected(prepared: Prepared) -> (Option<Fingerprint>, Source) {
    let Selection { answer, source, .. } = prepared.selection().unwrap().clone();
    (answer.fingerprint(), source)
}

#[test]
fn an_answer_applies_for_its_lifetime() {
    for (lifetime, holds) in [(Lifetime::Once, false), (Lifetime::Session, true), (Lifetime::Permanent, true)] {
        for (reply, sends_one) in [(first(lifetime), true), (Reply::None { lifetime }.into(), false)] {
            let (home, root) = (Home::new(), Ca::root("Root"));
            let leaf = root.leaf("a");
            let chooser = Script::new([reply, Reply::Abort.into()]);
            let selector = selector(home.with([&leaf], []), &chooser);
            let sent = sends_one.then(|| leaf.fingerprint());
            let request = request(&[root.name()]);

            assert!(selector.prepare(at("a.example")).unwrap().selection().is_none());
            let answer = selected(selector.select(at("a.example"), &request).unwrap());
            assert_eq!(answer, (sent, Source::Ask));
            assert_eq!(chooser.asked().len(), 1);

            let again = selector.select(at("a.example:8443"), &request);
            assert_eq!(chooser.asked().len(), usize::from(!holds));
            assert_eq!(again.ok().map(selected), holds.then_some((sent, Source::Decision)));
            let prepared = selector.prepare(at("a.example")).unwrap();
            assert_eq!(prepared.selection().is_some(), holds);
        }
    }
}

#[test]
fn the_question_holds_the_destination_the_candidates_and_the_mode() {
    let (home, root) = (Home::new(), Ca::root("Root"));
    let (good, old) = (root.leaf("good"), root.leaf_of(expired("old")));
    let chooser = Script::new([]);
    let store = home.with([&old, &good, &Ca::root("Other").leaf("other")], []);
    let _ = selector(store, &chooser).select(at("A.example.:8443"), &request(&[root.name()]));
    let [asked] = &chooser.asked()[..] else { panic!("asked once") };
    assert_eq!(asked.destination, "a.example:8443");
    assert_eq!(asked.candidates, [good.fingerprint(), old.fingerprint()]);
    assert_eq!((&asked.unfit, asked.mode), (&None, Mode::Firefox));
}

#[test]
fn chrome_mode_remembers_per_port_and_ignores_the_lifetime() {
    let (home, leaf) = (Home::new(), Ca::root("Root").leaf("a"));
    let chooser = Script::new([first(Lifetime::Once), Reply::None { lifetime: Lifetime::Once }.into()]);
    let selector = selector(home.with([&leaf], []), &chooser).with_mode(Mode::Chrome);
    let answers = ["a.example:1", "a.example:1", "a.example:2", "a.example:2"]
        .map(|destination| selected(selector.select(at(destination), &request(&[])).unwrap()));
    let sent = Some(leaf.fingerprint());
    let expected = [(sent, Source::Ask), (sent, Source::Decision), (None, Source::Ask), (None, Source::Decision)];
    assert_eq!(answers, expected);
    let decisions = selector.store().decisions().unwrap();
    assert!(decisions.iter().all(|decision| decision.lifetime == Lifetime::Permanent));
    assert_eq!(decisions.len(), 2);
}

/// One identity remembered for a.example that does not fit the request, and another one that would.
fn unfit_is_asked_about(remembered_until: Timestamp, requested: impl Fn(&Ca, &Ca) -> Name, reasons: &[Reason]) {
    let (home, one, two) = (Home::new(), Ca::root("One"), Ca::root("Two"));
    let remembered = one.leaf_of(valid(params("remembered"), Timestamp(0), remembered_until));
    let candidates = [one.leaf("of one"), two.leaf("of two")];
    let store = home.with(candidates.iter().chain([&remembered]), []);
    let scope = Mode::Firefox.scope(&at("a.example"));
    store.remember(&scope, Some(remembered.fingerprint()), Lifetime::Permanent, NOW).unwrap();
    let before = store.decision(&scope).unwrap();

    let chooser = Script::new([Reply::Abort.into(), Reply::Nobody.into(), first(Lifetime::Once)]);
    let selector = selector(store.clone(), &chooser);
    for _ in 0..3 {
        let _ = selector.select(at("a.example"), &request(&[requested(&one, &two)]));
        let [asked] = &chooser.asked()[..] else { panic!("asked once") };
        let unfit = asked.unfit.as_ref().unwrap();
        assert_eq!((unfit.identity.fingerprint(), &unfit.reasons[..]), (remembered.fingerprint(), reasons));
        assert_eq!(store.decision(&scope).unwrap(), before, "the entry stays");
    }
}

#[test]
fn an_expired_remembered_identity_causes_a_question() {
    unfit_is_asked_about(Timestamp(NOW.0 - 1), |one, _| one.name(), &[]);
}

#[test]
fn an_unrequested_remembered_identity_causes_a_question() {
    unfit_is_asked_about(Timestamp(NOW.0 + DAY), |_, two| two.name(), &[Reason::IssuerNotRequested]);
}

#[test]
fn an_expired_identity_is_not_prepared_but_a_decision_for_none_is() {
    let (home, old) = (Home::new(), Ca::root("Root").leaf_of(expired("old")));
    let store = home.with([&old], []);
    let chooser = Script::new([]);
    for (identity, prepared) in [(Some(old.fingerprint()), false), (None, true)] {
        store.remember(&Mode::Firefox.scope(&at("a.example")), identity, Lifetime::Permanent, NOW).unwrap();
        let found = selector(store.clone(), &chooser).prepare(at("a.example")).unwrap();
        assert_eq!(found.selection().is_some(), prepared);
    }
}

#[test]
fn none_is_sent_and_nothing_stored_when_no_identity_fits() {
    let (home, leaf) = (Home::new(), Ca::root("Root").leaf("a"));
    let chooser = Script::new([]);
    let selector = selector(home.with([&leaf], []), &chooser);
    let request = request(&[Ca::root("Other").name()]);
    let answer = selected(selector.select(at("a.example"), &request).unwrap());
    assert_eq!(answer, (None, Source::NoCandidate));
    let explained = selector.explain(at("a.example"), &request).unwrap().selection.unwrap();
    assert_eq!((explained.answer, explained.source), (Answer::None, Source::NoCandidate));
    assert_eq!((chooser.asked().len(), selector.store().decisions().unwrap().len()), (0, 0));
}

#[test]
fn without_an_answer_nothing_is_stored_or_sent() {
    let (home, root) = (Home::new(), Ca::root("Root"));
    let store = home.with([&root.leaf("a"), &Ca::root("Other").leaf("other")], []);
    let identity = Arc::new(store.find_identity("other").unwrap());
    let not_offered = Reply::Identity { identity, lifetime: Lifetime::Permanent };
    for mode in [Mode::Firefox, Mode::Chrome] {
        for (reply, aborted) in [(Reply::Abort, true), (Reply::Nobody, false), (not_offered.clone(), true)] {
            let selector = selector(store.clone(), &Script::new([reply.into()])).with_mode(mode);
            let error = selector.select(at("a.example"), &request(&[root.name()])).unwrap_err();
            assert_eq!(matches!(error, Error::Aborted { .. }), aborted, "{error}");
            assert_eq!(matches!(error, Error::NobodyToAsk { .. }), !aborted, "{error}");
            assert!(error.to_string().contains("a.example:443"), "{error}");
            assert_eq!(store.decisions().unwrap(), []);
        }
    }
}

#[test]
fn a_selector_that_cannot_ask_does_not_wait_for_the_lock() {
    let (home, leaf) = (Home::new(), Ca::root("Root").leaf("a"));
    let nobody = Selector::new(home.with([&leaf], []));
    assert!(matches!(nobody.select(at("a.example"), &request(&[])), Err(Error::NobodyToAsk { .. })));
    assert!(!home.session_directory().exists());
}

#[test]
fn after_a_refusal_another_identity_can_be_chosen_and_remembered() {
    let (home, ca) = (Home::new(), Ca::root("Root"));
    let (wrong, right) = (ca.leaf("wrong"), ca.leaf("right"));
    for mode in [Mode::Firefox, Mode::Chrome] {
        let store = home.with([&wrong, &right], []);
        let scope = mode.scope(&at("a.example"));
        store.remember(&scope, Some(wrong.fingerprint()), Lifetime::Permanent, NOW).unwrap();
        let place = |chosen: &Leaf| {
            let ranked = [wrong.fingerprint(), right.fingerprint()];
            usize::from(ranked.iter().max() == Some(&chosen.fingerprint()))
        };
        let chooser = Script::new([Says::Nth(place(&right), Lifetime::Permanent)]);
        let selector = selector(store.clone(), &chooser).with_mode(mode);
        let answer = Answer::Identity(Arc::new(store.find_identity("wrong").unwrap()));
        let refused = [Refused::new(answer, Refusal::Page)];
        let again = || selected(selector.select_again(at("a.example"), &request(&[]), &refused).unwrap());
        assert_eq!(again(), (Some(right.fingerprint()), Source::Ask), "{mode}");
        assert_eq!(chooser.asked()[0].refused, refused);
        // A later call after the same refusal gets the answer that was chosen meanwhile
        assert_eq!(again(), (Some(right.fingerprint()), Source::Decision), "{mode}");
        assert_eq!(chooser.asked().len(), 0);
        // The two refused identities are not sent again without asking
        let answer = Answer::Identity(Arc::new(store.find_identity("right").unwrap()));
        let both = [refused[0].clone(), Refused::new(answer, Refusal::Page)];
        let error = selector.select_again(at("a.example"), &request(&[]), &both).unwrap_err();
        assert!(matches!(error, Error::Aborted { .. }), "{error}");
        assert_eq!(chooser.asked()[0].refused, both);
    }
}

/// Adds a rule that denies everything while the person thinks.
struct Overtaken {
    store: Arc<Store>,
}

impl Chooser for Overtaken {
    fn choose(&self, question: &Question<'_>) -> Reply {
        self.store.add_rules(&[Rule::parse(r#"{"pattern":"*","filter":{},"deny":true}"#).unwrap()], NOW).unwrap();
        first(Lifetime::Once).to(question)
    }
}

#[test]
fn an_identity_denied_during_the_question_is_not_sent() {
    let (home, leaf) = (Home::new(), Ca::root("Root").leaf("a"));
    let store = home.with([&leaf], []);
    let chooser = Arc::new(Overtaken { store: home.open() });
    let selector = Selector::new(store).with_chooser(chooser).with_clock(|| NOW);
    let error = selector.select(at("a.example"), &request(&[])).unwrap_err();
    assert!(matches!(error, Error::Denied { .. }), "{error}");
    // From now on the rule answers, even after a refusal of "none"
    let refused = [Refused::new(Answer::None, Refusal::Page)];
    let again = selector.select_again(at("a.example"), &request(&[]), &refused).unwrap();
    assert_eq!(selected(again), (None, Source::Rule));
}

/// A TLS 1.2 request, in which everybody on the network can see the certificate.
fn visible(authorities: &[Name]) -> CertificateRequest {
    request(authorities).with_version(Some(ProtocolVersion::TLSv1_2))
}

/// Restricts the best candidate to TLS 1.3 while the person thinks, once.
struct Restricting {
    store: Arc<Store>,
    asked: AtomicUsize,
}

impl Chooser for Restricting {
    fn choose(&self, question: &Question<'_>) -> Reply {
        if self.asked.fetch_add(1, Ordering::SeqCst) == 0 {
            let best = question.candidates().next().unwrap().identity;
            self.store.require_tls13(&best, true).unwrap();
        }
        first(Lifetime::Permanent).to(question)
    }
}

#[test]
fn an_identity_restricted_to_tls_1_3_during_the_question_is_decided_again() {
    let (home, ca) = (Home::new(), Ca::root("Root"));
    let leaves = [ca.leaf("a"), ca.leaf("b")];
    for (known, request, asked, source) in [
        (2, visible(&[]), 2, Source::Ask),
        (1, visible(&[]), 1, Source::NoCandidate),
        (2, request(&[]), 1, Source::Ask),
    ] {
        let store = home.with(&leaves[..known], []);
        let chooser = Arc::new(Restricting { store: home.open(), asked: AtomicUsize::new(0) });
        let selector = Selector::new(store.clone()).with_chooser(chooser.clone()).with_clock(|| NOW);
        let selection = selector.select(at("a.example"), &request).unwrap().selection().unwrap().clone();
        assert_eq!((chooser.asked.load(Ordering::SeqCst), selection.source), (asked, source), "{known} {request:?}");
        let remembered = store.decisions().unwrap();
        assert_eq!(
            remembered.iter().map(|decision| decision.identity).collect::<Vec<_>>(),
            match source {
                Source::Ask => vec![selection.answer.fingerprint()],
                _ => vec![],
            }
        );
        if let Answer::Identity(identity) = &selection.answer {
            assert_eq!(identity.requires_tls13(), !request.is_visible(), "as the store has it now");
        }
        store.forget_all().unwrap();
        store.remove(&leaves.each_ref().map(Leaf::fingerprint)).unwrap();
    }
}

fn selecting(name: &str) -> Rule {
    Rule::parse(&format!(r#"{{"pattern":"*","filter":{{"SUBJECT":{{"CN":"{name}"}}}}}}"#)).unwrap()
}

#[test]
fn a_selection_belongs_to_the_rules_it_was_made_under() {
    let (home, ca) = (Home::new(), Ca::root("Root"));
    let (a, b) = (ca.leaf("a"), ca.leaf("b"));
    let store = home.with([&a, &b], []);
    store.add_rules(&[selecting("a")], NOW).unwrap();
    // The rules change when the clock is read for the first time
    let (other, is_changed) = (home.open(), AtomicBool::new(false));
    let selector = Selector::new(store).with_clock(move || {
        if !is_changed.swap(true, Ordering::SeqCst) {
            other.remove_rules(&[1]).unwrap();
            other.add_rules(&[selecting("b")], NOW).unwrap();
        }
        NOW
    });
    let overtaken = selector.select(at("a.example"), &request(&[])).unwrap();
    assert_eq!(overtaken.selection().unwrap().answer.fingerprint(), Some(a.fingerprint()));
    let now = selector.prepare(at("a.example")).unwrap();
    assert!(!overtaken.serves(&now, NOW), "by now a rule selects the other");
    let again = selector.select(at("a.example"), &request(&[])).unwrap();
    assert_eq!(again.selection().unwrap().answer.fingerprint(), Some(b.fingerprint()));
    assert!(again.serves(&now, NOW));
}

/// The number of certificates that a resolver sends for a request with these authorities: `None` if it sends none, and
/// 0 if it needs another answer.
fn resolved(prepared: &Prepared, authorities: &[&Ca]) -> Option<usize> {
    let names: Vec<Name> = authorities.iter().map(|ca| ca.name()).collect();
    let hints: Vec<&[u8]> = names.iter().map(Name::der).collect();
    let resolver = Resolver::new(prepared.clone());
    resolver.resolve(&hints, &[SignatureScheme::ECDSA_NISTP256_SHA256]).map(|key| key.cert.len())
}

/// Adds a rule when the selector checks whether it can ask.
struct Ruling {
    store: Arc<Store>,
}

impl Chooser for Ruling {
    fn can_ask(&self) -> bool {
        self.store.add_rules(&[selecting("a")], NOW).unwrap();
        true
    }

    fn choose(&self, _question: &Question<'_>) -> Reply {
        Reply::Abort
    }
}

#[test]
fn an_answer_by_a_rule_applies_only_to_its_request_even_after_a_refresh() {
    let (home, ca, other) = (Home::new(), Ca::root("Root"), Ca::root("Other"));
    let store = home.with([&ca.leaf("a")], []);
    let selector = Selector::new(store.clone()).with_chooser(Arc::new(Ruling { store: home.open() }));
    let selector = selector.with_clock(|| NOW);
    let waited = selector.select(at("a.example"), &request(&[ca.name()])).unwrap();
    let prompt = selector.select(at("a.example"), &request(&[ca.name()])).unwrap();
    let nothing = selector.select(at("a.example"), &request(&[other.name()])).unwrap();
    for prepared in [&waited, &prompt, &selector.refresh(&prompt).unwrap()] {
        assert_eq!(prepared.selection().unwrap().source, Source::Rule);
        assert_eq!([resolved(prepared, &[&ca]), resolved(prepared, &[])], [Some(1), Some(0)]);
    }
    for prepared in [&nothing, &selector.refresh(&nothing).unwrap()] {
        assert_eq!(prepared.selection().unwrap().source, Source::NoCandidate);
        assert_eq!([resolved(prepared, &[&other]), resolved(prepared, &[])], [None, Some(0)]);
    }
    // A removed rule is not refreshed
    store.remove_rules(&[1]).unwrap();
    assert!(selector.refresh(&prompt).unwrap().selection().is_none());
}

#[test]
fn a_selection_for_tls_1_2_does_not_serve_if_tls_1_3_allows_another() {
    let (home, ca) = (Home::new(), Ca::root("Root"));
    let (leaf, other) = (ca.leaf("a"), Ca::root("Other"));
    let store = home.with([&leaf], []);
    let selector = selector(store.clone(), &Script::new([]));
    let is_kept = |request: &CertificateRequest| {
        let selected = selector.select(at("a.example"), request).unwrap();
        let source = selected.selection().unwrap().source;
        (source, selected.serves(&selector.prepare(at("a.example")).unwrap(), NOW))
    };
    assert_eq!(is_kept(&visible(&[other.name()])), (Source::NoCandidate, true));
    store.require_tls13(&store.find_identity(&leaf.fingerprint().to_string()).unwrap(), true).unwrap();
    assert_eq!(is_kept(&visible(&[ca.name()])), (Source::NoCandidate, false));
    assert_eq!(is_kept(&visible(&[other.name()])), (Source::NoCandidate, true));
    // A rule may select another identity if more of them fit
    store.require_tls13(&store.find_identity(&leaf.fingerprint().to_string()).unwrap(), false).unwrap();
    store.add_rules(&[Rule::parse(r#"{"pattern":"*","filter":{}}"#).unwrap()], NOW).unwrap();
    assert_eq!(is_kept(&visible(&[ca.name()])), (Source::Rule, true));
    home.with([&ca.leaf("b")], []);
    store.require_tls13(&store.find_identity(&leaf.fingerprint().to_string()).unwrap(), true).unwrap();
    assert_eq!(is_kept(&visible(&[ca.name()])), (Source::Rule, false));
    assert_eq!(is_kept(&request(&[ca.name()])), (Source::Rule, true));
}

#[test]
fn a_use_marks_only_the_decision_that_answered() {
    let (home, leaf) = (Home::new(), Ca::root("Root").leaf("a"));
    let store = home.with([&leaf], []);
    for mode in [Mode::Firefox, Mode::Chrome] {
        let selector = selector(store.clone(), &Script::new([])).with_mode(mode);
        let (to, scope) = (at("a.example"), mode.scope(&at("a.example")));
        let record = |prepared: &Prepared| {
            selector.record(&to, prepared.selection().unwrap(), Outcome::Refused, None, None).unwrap();
            store.decision(&scope).unwrap().map(|decision| decision.last_outcome)
        };
        let remember = |identity| store.remember(&scope, identity, Lifetime::Permanent, NOW).unwrap();
        remember(Some(leaf.fingerprint()));
        let decided = selector.prepare(&to).unwrap();
        assert_eq!(
            record(&selector.given(&to, store.find_identity("a").unwrap()).unwrap()),
            Some(None),
            "{mode}: given"
        );
        remember(None);
        assert_eq!(record(&selector.prepare(omitting("a.example")).unwrap()), Some(None), "{mode}: omitted");
        store.remove(&[leaf.fingerprint()]).unwrap();
        assert_eq!(record(&decided), Some(None), "{mode}: an identity that was removed is not none");
        let marked = (mode == Mode::Firefox).then_some(Some(Outcome::Refused));
        assert_eq!(record(&selector.prepare(&to).unwrap()), marked, "{mode}: decided");
        home.with([&leaf], []);
        store.forget_all().unwrap();
    }
}

/// Answers when another thread waits.
struct Waited {
    waits: Barrier,
    asked: AtomicUsize,
}

impl Chooser for Waited {
    fn waiting(&self, _destination: &Destination) {
        self.waits.wait();
    }

    fn choose(&self, question: &Question<'_>) -> Reply {
        if self.asked.fetch_add(1, Ordering::SeqCst) == 0 {
            self.waits.wait();
        }
        first(Lifetime::Once).to(question)
    }
}

#[test]
fn an_answer_for_once_applies_to_one_port_and_path() {
    let (home, leaf) = (Home::new(), Ca::root("Root").leaf("a"));
    let store = home.with([&leaf], []);
    let path = |path: &str| Target::new(at("a.example")).with_path(path);
    for (other, asked) in [(path("/a"), 1), (path("/b"), 2), (Target::new(at("a.example:8443")).with_path("/a"), 2)] {
        let chooser = Arc::new(Waited { waits: Barrier::new(2), asked: AtomicUsize::new(0) });
        let selector = Selector::new(store.clone()).with_chooser(chooser.clone()).with_clock(|| NOW);
        thread::scope(|threads| {
            for target in [&path("/a"), &other] {
                let (selector, target) = (&selector, target.clone());
                threads.spawn(move || selector.select(target, &request(&[])).unwrap());
            }
        });
        assert_eq!(chooser.asked.load(Ordering::SeqCst), asked, "{other:?}");
    }
}

#[test]
fn only_chrome_mode_forgets_a_refused_decision_and_only_an_unchanged_one() {
    let (home, ca) = (Home::new(), Ca::root("Root"));
    let (refused, other) = (ca.leaf("refused"), ca.leaf("other"));
    let store = home.with([&refused, &other], []);
    for (mode, kept) in [(Mode::Firefox, true), (Mode::Chrome, false)] {
        let selector = selector(store.clone(), &Script::new([])).with_mode(mode);
        let destination = at("a.example");
        let scope = mode.scope(&destination);
        let remember = |leaf: &Leaf| {
            store.remember(&scope, Some(leaf.fingerprint()), Lifetime::Permanent, NOW).unwrap();
            selector.prepare(&destination).unwrap().selection().unwrap().clone()
        };
        let record = |selection| {
            selector.record(&destination, &selection, Outcome::Refused, Some("unknown_ca".to_owned()), None).unwrap();
            store.decision(&scope).unwrap().and_then(|decision| decision.identity)
        };
        assert_eq!(record(remember(&refused)), kept.then(|| refused.fingerprint()), "{mode}");
        let old = remember(&refused);
        remember(&other);
        assert_eq!(record(old), Some(other.fingerprint()), "{mode}");
    }
}

#[test]
fn a_connection_may_be_reused_only_while_the_answer_stays_the_same() {
    let (home, ca) = (Home::new(), Ca::root("Root"));
    let (a, b) = (ca.leaf("a"), ca.leaf("b"));
    let store = home.with([&a, &b], []);
    let selector = selector(store.clone(), &Script::new([]));
    let other = home.open();
    let destination = at("a.example");
    let scope = Mode::Firefox.scope(&destination);
    let target = Target::from(&destination);
    let remember = |identity| other.remember(&scope, identity, Lifetime::Permanent, NOW).unwrap();
    let opened = |identity| {
        remember(identity);
        let resolver = Resolver::new(selector.prepare(&destination).unwrap());
        let unasked = resolver.opened();
        resolver.resolve(&[], &request(&[]).schemes);
        (resolver.opened(), unasked)
    };
    let ((as_a, unasked), (as_none, _)) = (opened(Some(a.fingerprint())), opened(None));
    assert_eq!(other.forget(&scope).unwrap().0.len(), 1);
    let may_be_reused =
        |target: &Target| [&as_a, &as_none, &unasked].map(|opened| opened.may_be_reused(&selector, target).unwrap());

    assert_eq!(
        may_be_reused(&target),
        [false, false, true],
        "nothing is remembered: what was for once was for one request"
    );
    remember(Some(a.fingerprint()));
    assert_eq!(may_be_reused(&target), [true, false, true]);
    assert_eq!(
        may_be_reused(&at("a.example:8443").into()),
        [false, false, false],
        "it is a connection to another port"
    );
    assert_eq!(may_be_reused(&omitting("a.example")), [false, true, true]);
    remember(Some(b.fingerprint()));
    assert_eq!(may_be_reused(&target), [false, false, true], "by another process");
    remember(None);
    assert_eq!(may_be_reused(&target), [false, true, true]);
    remember(Some(a.fingerprint()));
    other.change_settings(|settings| settings.mode = Mode::Chrome).unwrap();
    assert_eq!(may_be_reused(&target), [false, false, true], "the mode changed");
    other.change_settings(|settings| settings.mode = Mode::Firefox).unwrap();
    other.add_rules(&[Rule::parse(r#"{"pattern":"*","filter":{},"deny":true}"#).unwrap()], NOW).unwrap();
    assert_eq!(may_be_reused(&target), [false, true, true], "denied meanwhile");
    other.remove_rules(&[1]).unwrap();
    other.remove(&[a.fingerprint()]).unwrap();
    assert_eq!(may_be_reused(&target), [false, false, true], "the identity was removed");
}

#[test]
fn a_private_session_ends_with_its_store() {
    let (home, leaf) = (Home::new(), Ca::root("Root").leaf("a"));
    drop(home.with([&leaf], []));
    let scope = Mode::Firefox.scope(&at("a.example"));
    let open = || Store::open_in_session(home.store_file(), Session::own().unwrap()).unwrap();
    let own = open();
    own.remember(&scope, Some(leaf.fingerprint()), Lifetime::Session, NOW).unwrap();
    assert!(own.decision(&scope).unwrap().is_some());
    assert!(open().decision(&scope).unwrap().is_none(), "another's session");
    assert!(home.open().decision(&scope).unwrap().is_none(), "the login session");
    drop(own);
    let left: i64 = home.database().query_row("SELECT count(*) FROM decisions", [], |row| row.get(0)).unwrap();
    assert_eq!(left, 0);
}

#[test]
fn client_certificates_are_selected_as_in_platform_keys() {
    const ECDSA: SignatureScheme = SignatureScheme::ECDSA_NISTP256_SHA256;
    const RSA: SignatureScheme = SignatureScheme::RSA_PSS_SHA256;
    let (home, one, two) = (Home::new(), Ca::root("One"), Ca::root("Two"));
    let (a, b) = (one.leaf("a"), two.leaf("b"));
    let none = Reply::None { lifetime: Lifetime::Permanent };
    let chooser = Script::new([first(Lifetime::Permanent), none.into(), Reply::Nobody.into()]);
    let selector = selector(home.with([&a, &b], []), &chooser);
    let asking = |schemes: &[SignatureScheme], authorities: &[&Ca]| {
        let names: Vec<Name> = authorities.iter().map(|ca| ca.name()).collect();
        CertificateRequest::new(&names.iter().map(Name::der).collect::<Vec<_>>(), schemes)
    };
    let given = |schemes: &[SignatureScheme], authorities: &[&Ca]| {
        let identities = selector.select_client_certificates(&asking(schemes, authorities), None).unwrap();
        let mut given: Vec<String> = identities.map(|identity| identity.unwrap().name().to_owned()).collect();
        given.sort();
        given
    };
    assert_eq!(given(&[ECDSA], &[]), ["a", "b"]);
    assert_eq!(given(&[ECDSA, RSA], &[&two]), ["b"]);
    assert_eq!(given(&[RSA], &[]), [""; 0]);
    assert_eq!(given(&[], &[]), [""; 0]);
    assert_eq!(chooser.asked().len(), 0);

    let asker = at("extension.example");
    let pick = || selector.select_client_certificates(&asking(&[ECDSA], &[&two]), Some(&asker));
    let picked = || pick().unwrap().map(|identity| identity.unwrap().fingerprint()).collect::<Vec<_>>();
    assert_eq!(picked(), [b.fingerprint()]);
    assert_eq!(picked(), []);
    assert!(matches!(pick().err(), Some(Error::NobodyToAsk { .. })));
    assert!(matches!(pick().err(), Some(Error::Aborted { .. })));
    assert_eq!(selector.store().decisions().unwrap(), [], "nothing is stored");
}

#[test]
fn a_preflight_is_recognised_by_its_method_and_headers() {
    let preflight = ["origin", "access-control-request-method"];
    let cases: [(&str, &[&str], bool); 4] = [
        ("OPTIONS", &preflight, true),
        ("OPTIONS", &preflight[..1], false),
        ("OPTIONS", &[], false),
        ("GET", &preflight, false),
    ];
    for (method, headers, expected) in cases {
        let has = |name: &str| headers.contains(&name);
        assert_eq!(Target::is_preflight(method, has), expected, "{method} {headers:?}");
    }
}

#[test]
fn an_answer_of_the_caller_takes_precedence_and_is_not_stored() {
    let (home, ca) = (Home::new(), Ca::root("Root"));
    let (remembered, given) = (ca.leaf("remembered"), ca.leaf("given"));
    let store = home.with([&remembered, &given], []);
    let scope = Mode::Firefox.scope(&at("a.example"));
    store.remember(&scope, Some(remembered.fingerprint()), Lifetime::Permanent, NOW).unwrap();
    let selector = selector(store.clone(), &Script::new([]));
    let identity = store.find_identity("given").unwrap();
    assert_eq!(
        selected(selector.given(at("a.example"), identity).unwrap()),
        (Some(given.fingerprint()), Source::Given)
    );
    assert_eq!(selected(selector.prepare(omitting("a.example")).unwrap()), (None, Source::Omitted));
    let kept = store.decision(&scope).unwrap().unwrap();
    assert_eq!(kept.identity, Some(remembered.fingerprint()));
}

#[test]
fn explain_does_not_ask() {
    let (home, leaf) = (Home::new(), Ca::root("Root").leaf("a"));
    let chooser = Script::new([]);
    let selector = selector(home.with([&leaf], []), &chooser);
    let explain = || {
        let explanation = selector.explain(at("a.example"), &request(&[])).unwrap();
        explanation.selection.map(|selection| (selection.answer, selection.source))
    };
    assert_eq!(explain(), None);
    let scope = Mode::Firefox.scope(&at("a.example"));
    selector.store().remember(&scope, None, Lifetime::Permanent, NOW).unwrap();
    assert_eq!(explain(), Some((Answer::None, Source::Decision)));
    assert_eq!(chooser.asked().len(), 0);
}

#[test]
fn the_outcome_is_recorded_and_affects_the_next_order() {
    let (home, ca) = (Home::new(), Ca::root("Root"));
    let (long, short) = (ca.leaf("long"), ca.leaf_of(valid(params("short"), Timestamp(0), Timestamp(NOW.0 + DAY))));
    let chooser = Script::new([Says::Nth(1, Lifetime::Permanent)]);
    let selector = selector(home.with([&long, &short], []), &chooser);
    let destination = at("a.example");
    let prepared = selector.select(&destination, &request(&[])).unwrap();
    let selection = prepared.selection().unwrap();
    selector.record(&destination, selection, Outcome::Accepted, None, Some("TLSv1.3".to_owned())).unwrap();

    let [used] = &selector.store().history(Some("a.example")).unwrap()[..] else { panic!("one use") };
    assert_eq!(
        (used.identity, &used.source[..], &used.destination),
        (Some(short.fingerprint()), "ask", &Some(("a.example".to_owned(), 443)))
    );
    let decision = selector.store().decision(&Mode::Firefox.scope(&destination)).unwrap().unwrap();
    assert_eq!((decision.last_used_at, decision.last_outcome), (Some(NOW), Some(Outcome::Accepted)));

    selector.store().forget_all().unwrap();
    for (host, best) in [("a.example", &short), ("b.example", &long)] {
        chooser.asked();
        let _ = selector.select(at(host), &request(&[]));
        assert_eq!(chooser.asked()[0].candidates[0], best.fingerprint(), "{host}");
    }
}

#[test]
fn a_removed_remembered_identity_causes_a_new_question() {
    let (home, ca) = (Home::new(), Ca::root("Root"));
    let (gone, stays) = (ca.leaf("gone"), ca.leaf("stays"));
    let store = home.with([&gone, &stays], []);
    let scope = Mode::Firefox.scope(&at("a.example"));
    store.remember(&scope, Some(gone.fingerprint()), Lifetime::Permanent, NOW).unwrap();
    let chooser = Script::new([first(Lifetime::Once)]);
    let selector = selector(store, &chooser);
    assert!(selector.prepare(at("a.example")).unwrap().selection().is_some());
    home.open().remove(&[gone.fingerprint()]).unwrap();
    assert!(selector.prepare(at("a.example")).unwrap().selection().is_none());
    let answer = selected(selector.select(at("a.example"), &request(&[])).unwrap());
    assert_eq!(answer, (Some(stays.fingerprint()), Source::Ask));
}

/// What somebody does to an identity.
type Change = fn(&Store, &Identity);

/// Looks at the candidates, then somebody removes or renames the one that is picked.
struct TooLate {
    store: Arc<Store>,
    change: Change,
    asked: Mutex<Vec<Vec<String>>>,
}

impl Chooser for TooLate {
    fn choose(&self, question: &Question<'_>) -> Reply {
        let names = || question.candidates().map(|candidate| candidate.identity.name().to_owned()).collect::<Vec<_>>();
        let mut asked = self.asked.lock().unwrap();
        asked.push(names());
        let Some(picked) = question.candidates().find(|candidate| candidate.identity.name() == "a") else {
            return Reply::None { lifetime: Lifetime::Permanent };
        };
        (self.change)(&self.store, &picked.identity);
        // Nothing that was read before is shown again
        assert!(!names().contains(&"a".to_owned()) && question.candidate_count() == asked[0].len());
        Reply::Identity { identity: picked.identity, lifetime: Lifetime::Permanent }
    }
}

#[test]
fn a_candidate_that_was_removed_or_renamed_meanwhile_is_not_sent() {
    let ca = Ca::root("Root");
    let changes: [(Change, &[&str]); 2] = [
        (|store, identity| store.remove(&[identity.fingerprint()]).unwrap(), &["b"]),
        (|store, identity| store.rename(identity, "c").unwrap(), &["b", "c"]),
    ];
    for (change, then) in changes {
        let home = Home::new();
        let store = home.with([&ca.leaf("a"), &ca.leaf("b")], []);
        let chooser = Arc::new(TooLate { store: home.open(), change, asked: Mutex::default() });
        let selector = Selector::new(store.clone()).with_chooser(chooser.clone()).with_clock(|| NOW);
        assert_eq!(selected(selector.select(at("a.example"), &request(&[])).unwrap()), (None, Source::Ask));
        let mut asked = chooser.asked.lock().unwrap().clone();
        asked.iter_mut().for_each(|names| names.sort());
        assert_eq!(
            asked,
            [["a", "b"].as_slice(), then].map(|names| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>())
        );
        assert_eq!(store.decisions().unwrap().iter().filter_map(|decision| decision.identity).count(), 0);
    }
}

/// Notes what does not fit, and why.
#[derive(Default)]
struct Curious(Mutex<Vec<(String, Vec<Reason>)>>);

impl Chooser for Curious {
    fn choose(&self, question: &Question<'_>) -> Reply {
        let others = question.others().map(|other| (other.identity.name().to_owned(), other.reasons));
        self.0.lock().unwrap().extend(others);
        Reply::Abort
    }
}

#[test]
fn the_question_holds_those_that_do_not_fit_and_why() {
    let (home, one, two) = (Home::new(), Ca::root("One"), Ca::root("Two"));
    let store = home.with([&two.leaf("z"), &one.leaf("fits"), &two.leaf("B"), &two.leaf("a")], []);
    let chooser = Arc::new(Curious::default());
    let selector = Selector::new(store).with_chooser(chooser.clone()).with_clock(|| NOW);
    assert!(selector.select(at("a.example"), &request(&[one.name()])).is_err());
    let expected = ["a", "B", "z"].map(|name| (name.to_owned(), vec![Reason::IssuerNotRequested]));
    assert_eq!(*chooser.0.lock().unwrap(), expected, "by name");
}

/// Somebody damages the file while the person thinks.
struct Unreadable {
    path: PathBuf,
}

impl Chooser for Unreadable {
    fn choose(&self, question: &Question<'_>) -> Reply {
        let first = question.candidates().next().unwrap();
        rusqlite::Connection::open(&self.path).unwrap().execute_batch("DROP TABLE identities").unwrap();
        assert_eq!(question.candidates().count(), 0);
        Reply::Identity { identity: first.identity, lifetime: Lifetime::Once }
    }
}

#[test]
fn a_store_that_cannot_be_read_during_the_question_is_told() {
    let (home, root) = (Home::new(), Ca::root("Root"));
    let store = home.with([&root.leaf("a")], []);
    let chooser = Arc::new(Unreadable { path: store.path().to_owned() });
    let selector = Selector::new(store).with_chooser(chooser).with_clock(|| NOW);
    let error = selector.select(at("a.example"), &request(&[])).unwrap_err();
    assert!(matches!(error, Error::StoreDamaged { .. } | Error::Store { .. }), "{error:?}");
}
