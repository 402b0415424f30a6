//! Locked stores, and people who say yes or no.

use std::path::Path;
use std::process::Command;

use cardcase::manage::Permission;
use cryptoki_sys::*;

use crate::calls::own_process;
use crate::load::{Module, tls13};
use crate::person::Person;
use crate::support::pinentry::Pinentry;

/// The reply of a pinentry with the primary password, and that of a person who says no.
const PASSWORD: &str = "D correct horse\nOK";
const NO: &str = "ERR 83886179 Operation cancelled <Pinentry>";

/// In a process of a person whose store has a primary password, and whose pinentry gives these replies, one after the other.
fn asked(test: &str, replies: &[&str]) -> Option<Module> {
    let module = own_process(test, || {
        let person = Person::same().with_every_key(Permission::Tls);
        person.with_store(|store| store.set_primary_password(Some("correct horse"), &crate::person::Nobody).unwrap());
        let pinentry = Pinentry::replying(person.scene.machine.dir(), replies);
        person.with_variable("PINENTRY_PROGRAM", pinentry.program)
    })?;
    assert_eq!(module.initialize(), CKR_OK);
    Some(module)
}

/// How often the person was asked.
fn questions() -> usize {
    let home = std::env::var_os("HOME").unwrap();
    let told = std::fs::read_to_string(Path::new(&home).join("told.txt")).unwrap_or_default();
    told.lines().filter(|line| line.starts_with("GETPIN")).count()
}

fn command(line: &str) -> String {
    let output = Command::new("cardcase").args(line.split(' ')).output().unwrap();
    assert!(output.status.success(), "cardcase {line}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn sign(module: &Module) -> Result<(), CK_RV> {
    let session = module.session(0);
    let key = module.key(session, "ec-p256");
    module.sign(session, key, CKM_ECDSA_SHA256, &tls13()).map(drop)
}

#[test]
fn a_store_without_a_password_asks_nobody() {
    let test = "people::a_store_without_a_password_asks_nobody";
    let Some(module) = own_process(test, || Person::same().with_every_key(Permission::Tls)) else { return };
    module.initialize();
    assert_eq!(sign(&module), Ok(()));
    assert_eq!(questions(), 0);
}

#[test]
fn a_locked_store_is_unlocked_at_the_first_signature() {
    let Some(module) = asked("people::a_locked_store_is_unlocked_at_the_first_signature", &[PASSWORD]) else { return };
    // Looking around asks nobody
    let session = module.session(0);
    assert!(!module.find(session, &[]).is_empty());
    assert_eq!(questions(), 0);
    for _ in 0..3 {
        assert_eq!(sign(&module), Ok(()));
    }
    assert_eq!(questions(), 1);
}

#[test]
fn threads_that_sign_at_once_ask_once() {
    let Some(module) = asked("people::threads_that_sign_at_once_ask_once", &[PASSWORD]) else { return };
    std::thread::scope(|threads| {
        (0..8).for_each(|_| drop(threads.spawn(|| assert_eq!(sign(&module), Ok(())))));
    });
    assert_eq!(questions(), 1);
}

/// curl and wget ask twice.
#[test]
fn a_no_is_remembered_for_some_seconds() {
    let Some(module) = asked("people::a_no_is_remembered_for_some_seconds", &[NO]) else { return };
    for _ in 0..3 {
        assert_eq!(sign(&module), Err(CKR_FUNCTION_CANCELED));
    }
    assert_eq!(questions(), 1);
}

#[test]
fn a_store_that_is_locked_in_the_middle_asks_again() {
    let test = "people::a_store_that_is_locked_in_the_middle_asks_again";
    let Some(module) = asked(test, &[PASSWORD, PASSWORD]) else { return };
    assert_eq!(sign(&module), Ok(()));
    command("lock");
    assert_eq!(sign(&module), Ok(()));
    assert_eq!(questions(), 2);
}

#[test]
fn an_agent_that_was_killed_is_started_again() {
    let test = "people::an_agent_that_was_killed_is_started_again";
    let Some(module) = asked(test, &[PASSWORD, PASSWORD]) else { return };
    assert_eq!(sign(&module), Ok(()));
    let status: serde_json::Value = serde_json::from_str(&command("unlock --status --json")).unwrap();
    let agent = i32::try_from(status["process"].as_i64().unwrap()).unwrap();
    assert_eq!(unsafe { libc::kill(agent, libc::SIGKILL) }, 0);
    assert_eq!(sign(&module), Ok(()));
    assert_eq!(questions(), 2);
}

/// A program that ignores SIGCHLD has no children to wait for.
#[test]
fn a_program_that_waits_for_no_child_unlocks_too() {
    let test = "people::a_program_that_waits_for_no_child_unlocks_too";
    let Some(module) = asked(test, &[PASSWORD]) else { return };
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
    assert_eq!(sign(&module), Ok(()));
}
