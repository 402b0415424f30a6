//! NSS's own programs, which change its databases.

use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

use crate::ui::failure::{Code, Failure};

/// What a program said when it failed.
pub(crate) struct Said {
    pub(crate) status: ExitStatus,
    text: String,
}

impl Said {
    pub(crate) fn contains(&self, part: &str) -> bool {
        self.text.contains(part)
    }

    /// Its last line.
    pub(crate) fn last(&self) -> &str {
        self.text.lines().rev().map(str::trim).find(|line| !line.is_empty()).unwrap_or("it says nothing")
    }
}

/// Runs a program, with the arguments that `prepare` gives it. `purpose` is what it does, for the failure when it is not installed.
///
/// # Errors
/// The failure when it cannot be run.
pub(crate) fn run(
    program: &str,
    purpose: &str,
    prepare: impl FnOnce(&mut Command),
) -> Result<Result<(), Said>, Failure> {
    let mut command = Command::new(program);
    prepare(&mut command);
    let output = command.stdin(Stdio::null()).output().map_err(|error| match error.kind() {
        ErrorKind::NotFound => Failure::new(Code::Failed, format_args!("{program} is missing: it {purpose}"))
            .hint("install NSS's tools: apt install libnss3-tools (Debian, Ubuntu), dnf install nss-tools (Fedora)"),
        _ => Failure::new(Code::Failed, format_args!("{program}: {error}")),
    })?;
    if output.status.success() {
        return Ok(Ok(()));
    }
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    Ok(Err(Said { status: output.status, text }))
}

/// A directory with a database, as an argument.
pub(crate) fn database(directory: &Path) -> OsString {
    let mut database = OsString::from("sql:");
    database.push(directory);
    database
}
