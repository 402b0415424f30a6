//! Tests that call the module themselves: each in a process of its own.

use std::process::Command;

use crate::load::Module;
use crate::person::Person;

/// Names the module in the process that a test starts for itself.
const MODULE: &str = "TEST_MODULE";

/// Runs a test in a process of its own, with the environment of a person: the module has one state for a process, and reads its
/// environment. `test` is the name of the test, which calls this first: in the new process it gets the module, and in the old one
/// nothing, after the new one has ended well.
pub fn own_process(test: &str, set_up: impl FnOnce() -> Person) -> Option<Module> {
    if let Some(module) = std::env::var_os(MODULE) {
        return Some(Module::load(module.as_ref()));
    }
    let person = set_up();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture", "--test-threads=1"]);
    command.envs(person.environment()).env(MODULE, &person.module);
    let output = command.output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(output.status.success() && said.contains("1 passed"), "{test}: {}\n{said}", output.status);
    None
}
