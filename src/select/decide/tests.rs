//! Decisions as a table, without a store: what is remembered, which rules and settings hold, which identities there are.

use std::cell::Cell;
use std::sync::Arc;

use rustls::{AlertDescription, ProtocolVersion, SignatureScheme};

use super::{Open, Verdict, decide};
use crate::answer::decision::Answer;
use crate::answer::refusal::Refusal;
use crate::answer::rules::{Rule, Rules};
use crate::answer::settings::Settings;
use crate::certificate::authority::{Authorities, Authority};
use crate::certificate::identity::Identity;
use crate::certificate::outline::{Outline, Outlines};
use crate::certificate::permission::Permit;
use crate::certificate::tried::Tried;
use crate::error::{Damage, Error};
use crate::pki::{Ca, NOW, expired, params};
use crate::request::{CertificateRequest, Target};
use crate::select::chooser::Refused;
use crate::select::look::Look;
use crate::select::matching::{Matcher, Reason, Warning};
use crate::select::selection::Source;

/// Both libraries sign with the key.
const SIGNS: Tried = Tried { by_rustls: true, by_openssl: Some(true), is_lost: false };

const ECDSA: SignatureScheme = SignatureScheme::ECDSA_NISTP256_SHA256;

/// Everything that a decision depends on, to be changed by each case.
struct Case {
    target: Target,
    settings: Settings,
    remembered: Option<Answer>,
    rules: &'static [&'static str],
    identities: Vec<Arc<Identity>>,
    is_damaged: bool,
    request: CertificateRequest,
    refused: Vec<Refused>,
}

/// Two identities under one CA, a decision for none of them.
struct People {
    ca: Ca,
    alice: Arc<Identity>,
    bob: Arc<Identity>,
    late: Arc<Identity>,
}

impl People {
    fn new() -> Self {
        let ca = Ca::root("Root");
        let identity = |name: &str, params| {
            Arc::new(Identity::new(name.to_owned(), ca.leaf_of(params).certificate, false, SIGNS, Permit::default()))
        };
        let (alice, bob) = (identity("alice", params("alice")), identity("bob", params("bob")));
        let late = identity("late", expired("late"));
        Self { ca, alice, bob, late }
    }

    /// Alice and Bob, and nothing that says which of them.
    fn case(&self) -> Case {
        Case {
            target: "a.example".parse::<crate::Destination>().unwrap().into(),
            settings: Settings::default(),
            remembered: None,
            rules: &[],
            identities: vec![self.alice.clone(), self.bob.clone()],
            is_damaged: false,
            request: CertificateRequest::new(&[self.ca.name().der()], &[ECDSA]),
            refused: Vec::new(),
        }
    }
}

impl Case {
    /// What is decided, and whether the identities were looked at.
    fn decide(&self) -> (Result<Verdict, Error>, bool) {
        let rule = |(number, json): (i64, &&str)| Arc::new(Rule::parse(json).unwrap().numbered(number));
        let rules = Rules::new((1..).zip(self.rules).map(rule).collect());
        let authorities = Authorities::new(std::iter::empty::<Authority>());
        let look = Look {
            target: &self.target,
            settings: self.settings,
            remembered: self.remembered.as_ref(),
            authorities: &authorities,
            in_force: rules.in_force(self.target.destination(), self.target.path()),
            now: NOW,
        };
        let is_asked = Cell::new(false);
        let candidates = |matcher: &Matcher<'_>| {
            is_asked.set(true);
            let damage = || Damage { table: "identities", row: 9, id: String::new(), detail: String::new() };
            let outline = |identity: &Arc<Identity>| {
                let issuer = Arc::new(identity.certificate().issuer().clone());
                Arc::new(Outline::new(identity, issuer, 0))
            };
            let outlines = self.identities.iter().map(outline).collect();
            Ok(matcher.fit(Arc::new(Outlines::new(outlines, self.is_damaged.then(damage)))))
        };
        let read = |outline: &Outline| {
            let mut identities = self.identities.iter();
            Ok(identities.find(|identity| identity.fingerprint() == outline.fingerprint).unwrap().clone())
        };
        (decide(&look, &self.request, &self.refused, candidates, read), is_asked.get())
    }

    /// The name of the selected identity and the source; `None` when the chooser is asked.
    fn selected(&self) -> Option<(Option<String>, Source)> {
        match self.decide().0.unwrap() {
            Verdict::Selected(selection) => {
                let name = match selection.answer {
                    Answer::Identity(identity) => Some(identity.name().to_owned()),
                    Answer::None => None,
                };
                Some((name, selection.source))
            }
            Verdict::Ask(_) => None,
        }
    }

    fn asked(&self) -> Open {
        match self.decide().0.unwrap() {
            Verdict::Ask(open) => open,
            Verdict::Selected(selection) => panic!("{selection:?}"),
        }
    }
}

fn some(name: &str, source: Source) -> Option<(Option<String>, Source)> {
    Some((Some(name.to_owned()), source))
}

/// Their common names are their names.
fn names(open: &Open) -> Vec<String> {
    let mut names: Vec<String> = open.candidates.iter().map(|candidate| candidate.subject.common_name()).collect();
    names.sort_unstable();
    names
}

const ALICE: &str = r#"{"pattern": "*", "filter": {"SUBJECT": {"CN": "alice"}}}"#;
const ALL: &str = r#"{"pattern": "*", "filter": {}}"#;
const DENY_ALICE: &str = r#"{"pattern": "*", "filter": {"SUBJECT": {"CN": "alice"}}, "deny": true}"#;
const DENY_ALL: &str = r#"{"pattern": "*", "filter": {}, "deny": true}"#;
const TLS13_ALICE: &str =
    r#"{"pattern": "*", "filter": {"SUBJECT": {"CN": "alice"}}, "select": false, "min_tls": "1.3"}"#;

#[test]
fn without_a_decision_a_rule_or_a_setting_the_chooser_is_asked() {
    let people = People::new();
    let open = people.case().asked();
    assert_eq!(names(&open), ["alice", "bob"]);
    assert_eq!((open.unfit, open.ambiguous_rule), (None, None));
}

#[test]
fn a_decision_that_fits_answers_without_looking_at_the_identities() {
    let people = People::new();
    for (answer, expected) in [
        (Answer::Identity(people.alice.clone()), some("alice", Source::Decision)),
        (Answer::None, Some((None, Source::Decision))),
    ] {
        let case = Case { remembered: Some(answer), rules: &[ALL], ..people.case() };
        assert_eq!(case.selected(), expected);
        assert!(!case.decide().1, "the identities were looked at");
    }
}

#[test]
fn a_decision_that_no_longer_fits_is_shown_with_the_reason() {
    let people = People::new();
    let remembered = || Some(Answer::Identity(people.alice.clone()));
    let other = CertificateRequest::new(&[Ca::root("Other").name().der()], &[ECDSA]);
    let visible = people.case().request.with_version(Some(ProtocolVersion::TLSv1_2));
    let rsa = CertificateRequest::new(&[], &[SignatureScheme::RSA_PSS_SHA256]);
    let denied = Case { rules: &[DENY_ALICE], remembered: remembered(), ..people.case() };
    let below = Case { rules: &[TLS13_ALICE], request: visible, remembered: remembered(), ..people.case() };
    for (case, reason) in [(denied, Reason::DeniedByRule), (below, Reason::RequiresTls13)] {
        assert_eq!(case.asked().unfit.unwrap().reasons, [reason]);
    }
    // Where nobody else fits either, nothing is asked
    for request in [other, rsa] {
        let case = Case { request, remembered: remembered(), ..people.case() };
        assert_eq!(case.selected(), Some((None, Source::NoCandidate)));
    }
    let late = Case { remembered: Some(Answer::Identity(people.late.clone())), ..people.case() };
    let unfit = late.asked().unfit.unwrap();
    assert_eq!((unfit.reasons, unfit.warnings[0]), (vec![], Warning::Expired));
}

#[test]
fn what_holds_for_every_request_comes_before_the_decision() {
    let people = People::new();
    let decided = || Case { remembered: Some(Answer::Identity(people.alice.clone())), ..people.case() };
    let omitted = Case { target: people.case().target.without_credentials(), ..decided() };
    assert_eq!(omitted.selected(), Some((None, Source::Omitted)));
    assert_eq!(Case { rules: &[DENY_ALL], ..decided() }.selected(), Some((None, Source::Rule)));
}

#[test]
fn no_certificate_is_sent_when_no_identity_fits() {
    let people = People::new();
    let nobody = Case { identities: Vec::new(), ..people.case() };
    assert_eq!(nobody.selected(), Some((None, Source::NoCandidate)));
    let denied = Case { identities: vec![people.alice.clone()], rules: &[DENY_ALICE], ..people.case() };
    assert_eq!(denied.selected(), Some((None, Source::NoCandidate)));
}

#[test]
fn an_identity_that_cannot_be_read_might_be_the_only_one_that_fits() {
    let people = People::new();
    let nobody = Case { identities: Vec::new(), is_damaged: true, ..people.case() };
    assert!(matches!(nobody.decide().0, Err(Error::RowDamaged(_))));
    // It counts as another candidate
    let settings = Settings { use_single_candidate: true, prompt_on_multiple: true, ..Settings::default() };
    for rules in [&[][..], &[ALICE]] {
        let one = |is_damaged| {
            let identities = vec![people.alice.clone()];
            Case { identities, is_damaged, settings, rules, ..people.case() }.selected()
        };
        assert_eq!((one(false), one(true)), (some("alice", Source::Rule), None), "{rules:?}");
    }
}

#[test]
fn rules_select_and_deny() {
    let people = People::new();
    let selected = |rules| Case { rules, ..people.case() }.selected();
    assert_eq!(selected(&[ALICE]), some("alice", Source::Rule));
    assert_eq!(selected(&[ALICE, DENY_ALICE]), None, "of two equal patterns the one that denies counts");
    assert!(selected(&[ALL]).is_some(), "the first of several");
    assert_eq!(names(&Case { rules: &[DENY_ALICE], ..people.case() }.asked()), ["bob"]);
    // An expired identity is sent only if a person picks it
    let late = Case { rules: &[ALL], identities: vec![people.late.clone()], ..people.case() };
    assert_eq!(names(&late.asked()), ["late"]);
}

#[test]
fn the_setting_prompt_on_multiple_asks_when_rules_select_several() {
    let people = People::new();
    let settings = Settings { prompt_on_multiple: true, ..Settings::default() };
    let open = Case { settings, rules: &[ALL], ..people.case() }.asked();
    assert_eq!(open.ambiguous_rule.as_deref(), Some("rule 1 (*)"));
    assert_eq!(Case { settings, rules: &[ALICE], ..people.case() }.selected(), some("alice", Source::Rule));
}

#[test]
fn settings_select_when_no_rule_does() {
    let people = People::new();
    let single = Settings { use_single_candidate: true, ..Settings::default() };
    let automatic = Settings { select_automatically: true, ..Settings::default() };
    let selected = |settings, identities| Case { settings, identities, ..people.case() }.selected();
    let (alice, bob, late) = (people.alice.clone(), people.bob.clone(), people.late.clone());
    assert_eq!(selected(single, vec![alice.clone()]), some("alice", Source::Rule));
    assert_eq!(selected(single, vec![alice.clone(), bob]), None);
    assert_eq!(selected(single, vec![late.clone()]), None);
    assert_eq!(selected(automatic, vec![late.clone(), alice]), some("alice", Source::Rule));
    assert_eq!(selected(automatic, vec![late]), None);
}

#[test]
fn a_demand_for_tls_1_3_excludes_an_identity_below_it() {
    let people = People::new();
    for (version, candidates) in [
        (Some(ProtocolVersion::TLSv1_2), &["bob"][..]),
        (Some(ProtocolVersion::TLSv1_3), &["alice", "bob"]),
        (None, &["alice", "bob"]),
    ] {
        let request = people.case().request.with_version(version);
        let open = Case { request, rules: &[TLS13_ALICE], ..people.case() }.asked();
        assert_eq!(names(&open), candidates, "{version:?}");
    }
}

#[test]
fn what_was_refused_is_asked_about_unless_nothing_else_may_be_sent() {
    let people = People::new();
    let refused = |answer| vec![Refused::new(answer, Refusal::Alert(AlertDescription::UnknownCA))];
    let alice = || Answer::Identity(people.alice.clone());
    let by_decision = Case { remembered: Some(alice()), refused: refused(alice()), ..people.case() };
    assert_eq!(names(&by_decision.asked()), ["alice", "bob"]);
    let by_rule = Case { rules: &[ALICE], refused: refused(alice()), ..people.case() };
    assert_eq!(by_rule.selected(), None);
    let another = Case { remembered: Some(alice()), refused: refused(Answer::None), ..people.case() };
    assert_eq!(another.selected(), some("alice", Source::Decision));
    for case in [
        Case { identities: Vec::new(), refused: refused(Answer::None), ..people.case() },
        Case { rules: &[DENY_ALL], refused: refused(Answer::None), ..people.case() },
    ] {
        assert!(matches!(case.selected(), Some((None, _))));
    }
}
