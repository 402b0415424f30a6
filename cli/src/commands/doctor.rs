//! `cardcase doctor`: what is wrong with the store and with what it needs, each with a command. Changes nothing and asks nobody.
//!
//! `finding` has every kind of finding. Each of the other files examines one thing: to add a finding, add its kind, and examine it where
//! it belongs.

mod finding;

mod place;

mod vault;

mod identities;

mod decisions;

mod system;

use std::process::ExitCode;

use cardcase::manage::plain;
use serde::Serialize;

use self::finding::{Finding, Findings, Severity};
use crate::app::App;
use crate::ui::failure::Failure;
use crate::ui::json::print_json;
use crate::ui::stdout::print;

#[derive(Serialize)]
struct DoctorJson<'a> {
    findings: &'a [Finding],
}

/// The exit code is 1 where something is wrong. A note says only what could be better.
pub(crate) fn run(app: &App) -> Result<ExitCode, Failure> {
    let mut findings = Findings::default();
    let mut is_empty = true;
    if let Some(store) = place::examine(app, &mut findings) {
        is_empty = store.each_identity().is_ok_and(|mut identities| identities.next().is_none());
        vault::examine(&store, &mut findings);
        identities::examine(&store, app.now(), &mut findings);
        decisions::examine(&store, app.now(), &mut findings);
        place::examine_rows(&store, &mut findings);
        system::examine_clock(&store, app.now(), &mut findings);
        system::examine_module(&store, &mut findings);
    }
    if is_empty {
        system::examine_browsers(&mut findings);
    }
    system::examine(app, &mut findings);
    let findings = findings.worst_first();
    if app.common.json {
        print_json(&DoctorJson { findings: &findings })?;
    } else {
        print(&text(&findings))?;
    }
    let is_wrong = findings.iter().any(|finding| finding.severity() != Severity::Note);
    Ok(if is_wrong { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn text(findings: &[Finding]) -> String {
    let mut text = String::new();
    for finding in findings {
        text.push_str(&format!("{:<9}{}\n", finding.severity(), plain(finding.text())));
        if let Some(command) = finding.command() {
            text.push_str(&format!("{:<9}  {}\n", "", plain(command)));
        }
    }
    if findings.iter().all(|finding| finding.severity() == Severity::Note) {
        text.push_str("nothing is wrong\n");
    }
    text
}
