//! `cardcase show`

use cardcase::manage::Certificate;
use cardcase::manage::Confirmation;
use cardcase::manage::Decision;
use cardcase::manage::Mode;
use cardcase::manage::Permission;
use cardcase::manage::Timestamp;
use cardcase::manage::Use;
use cardcase::manage::plain;
use cardcase::{Error, Identity};
use serde::Serialize;

use crate::app::App;
use crate::cli::Show;
use crate::pkcs11::Uris;
use crate::ui::failure::Failure;
use crate::ui::json::{CertificateJson, DecisionJson, RuleJson, UseJson, print_json};
use crate::ui::pem::pem;
use crate::ui::stdout::print;
use crate::ui::time::local_time;

#[derive(Serialize)]
struct ShowJson<I> {
    #[serde(flatten)]
    identity: I,
    chain: Vec<CertificateJson>,
    decisions: Vec<DecisionJson>,
    rules: Vec<RuleJson>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    requires_tls13: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pkcs11: Option<Pkcs11Json>,
    uses: Vec<UseJson>,
}

/// What other programs may have signed, if they may have anything signed.
#[derive(Serialize)]
struct Pkcs11Json {
    permission: String,
    confirmation: String,
    #[serde(flatten)]
    uris: Option<Uris>,
}

pub(crate) fn run(app: &App, args: &Show) -> Result<(), Failure> {
    let store = app.store()?;
    let now = app.now();
    let identity = store.find_identity(&args.id)?;
    let chain = store.chain(identity.certificate())?;
    let certificates: Vec<&Certificate> =
        std::iter::once(identity.certificate()).chain(chain.iter().map(|ca| &ca.certificate)).collect();
    if args.pem {
        let mut text = String::new();
        for certificate in &certificates {
            text.push_str(&pem("CERTIFICATE", certificate.der())?);
        }
        return print(&text);
    }
    let named = Some(identity.fingerprint());
    let decisions = wanted(store.each_decision()?, |decision| decision.identity == named)?;
    let uses = wanted(store.each_use(None), |used| used.identity == named)?;
    // A rule for all identities names none of them
    let mut rules = app.all_rules(&app.survey_policies().0)?;
    rules.retain(|rule| rule.names(identity.certificate()));
    if app.common.json {
        return print_json(&ShowJson {
            identity: identity.json(chain.len(), now),
            chain: certificates.iter().map(|certificate| CertificateJson::new(certificate)).collect(),
            decisions: decisions.into_iter().map(DecisionJson::new).collect(),
            rules: rules.iter().map(RuleJson::new).collect(),
            requires_tls13: identity.requires_tls13(),
            pkcs11: (identity.permission() != Permission::Off).then(|| Pkcs11Json {
                permission: identity.permission().to_string(),
                confirmation: identity.confirmation().to_string(),
                uris: Uris::new(&identity),
            }),
            uses: uses.into_iter().map(UseJson::new).collect(),
        });
    }
    let mut lines = facts(&identity, now);
    for (depth, certificate) in certificates.iter().enumerate().skip(1) {
        lines.push(fact(if depth == 1 { "Chain" } else { "" }, &certificate.subject().to_string()));
    }
    if let Some(top) = certificates.last().filter(|top| !top.is_self_signed()) {
        lines.push(fact("Missing", &format!("{} (to add its certificate: cardcase import FILE)", top.issuer())));
    }
    if identity.requires_tls13() {
        lines.push(fact("Sent in", "TLS 1.3 only"));
    }
    lines.extend(for_programs(&identity));
    for (i, rule) in rules.iter().enumerate() {
        lines.push(fact(if i == 0 { "Rules" } else { "" }, &rule.to_string()));
    }
    lines.extend(whereabouts(&decisions, app.mode()?, &uses));
    print(&lines.concat())
}

/// Keeps these alone in memory: there may be many others.
fn wanted<T>(rows: impl Iterator<Item = Result<T, Error>>, is_wanted: impl Fn(&T) -> bool) -> Result<Vec<T>, Error> {
    rows.filter(|row| row.as_ref().map_or(true, &is_wanted)).collect()
}

fn facts(identity: &Identity, now: Timestamp) -> Vec<String> {
    let certificate = identity.certificate();
    let list = |usages: Option<Vec<String>>| match usages {
        None => "any (no extension)".to_owned(),
        Some(usages) if usages.is_empty() => "none".to_owned(),
        Some(usages) => usages.join(", "),
    };
    let key_usage = certificate.key_usage().map(|usages| usages.into_iter().map(str::to_owned).collect());
    let validity = format!(
        "{} to {} ({}{})",
        local_time(certificate.not_before()),
        local_time(certificate.not_after()),
        certificate.not_after().days_from(now),
        if certificate.is_valid_at(now) { "" } else { "; NOT VALID NOW" },
    );
    let mut facts = vec![
        fact("Name", identity.name()),
        fact("Subject", &certificate.subject().to_string()),
        fact("E-mail", &certificate.emails().join(", ")),
        fact("Issuer", &certificate.issuer().to_string()),
        fact("Serial", &certificate.serial()),
        fact("Validity", &validity),
        fact("Key", &certificate.key().to_string()),
        fact("Key usage", &list(key_usage)),
        fact("Extended", &list(certificate.extended_key_usage().map(<[String]>::to_vec))),
        fact("SHA-256", &certificate.fingerprint().to_string()),
    ];
    facts.extend(identity.why_unusable().iter().map(|why| fact("Unusable", why)));
    facts
}

/// What other programs may have signed, and how they name the identity.
fn for_programs(identity: &Identity) -> Vec<String> {
    let signs = match identity.permission() {
        Permission::Tls => "sign TLS connections",
        Permission::Any => "sign anything",
        _ => return Vec::new(),
    };
    let asks = match identity.confirmation() {
        Confirmation::Each => "; you are asked each time",
        Confirmation::For15Minutes => "; you are asked once in 15 minutes",
        _ => "",
    };
    let uris = Uris::new(identity).map(|uris| [uris.uri, uris.uri_of_certificate]);
    let uris = uris.into_iter().flatten().enumerate().map(|(i, uri)| fact(if i == 0 { "URI" } else { "" }, &uri));
    std::iter::once(fact("Programs", &format!("{signs}{asks}"))).chain(uris).collect()
}

fn whereabouts(decisions: &[Decision], mode: Mode, uses: &[Use]) -> Vec<String> {
    let decided = decisions.iter().map(|Decision { scope, lifetime, .. }| match Mode::from_scope(scope) {
        used if used == mode => format!("{scope} ({lifetime})"),
        other => format!("{scope} ({lifetime}; only in {other} mode)"),
    });
    let used = uses.iter().take(5).map(|used| format!("{} {} {}", local_time(used.at), used.place(), used.outcome));
    let labelled = |label: &'static str| move |(i, text): (usize, String)| fact(if i == 0 { label } else { "" }, &text);
    decided.enumerate().map(labelled("Remembered")).chain(used.enumerate().map(labelled("Used"))).collect()
}

fn fact(label: &str, value: &str) -> String {
    format!("{label:<11}{}\n", plain(value))
}
