//! The kinds of findings. docs/cli.md describes each code.

use std::fmt;

use crate::ui::named_store::in_commands;
use serde::ser::{Serialize, SerializeStruct, Serializer};

/// How bad a finding is. Notes alone do not change the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Severity {
    Error,
    Warning,
    Note,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        })
    }
}

/// Defines the kinds: name, code, severity.
macro_rules! kinds {
    ($($kind:ident $code:literal $severity:ident;)*) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Kind { $($kind),* }

        impl Kind {
            #[cfg(test)]
            const ALL: &[Self] = &[$(Self::$kind),*];

            fn code(self) -> &'static str {
                match self { $(Self::$kind => $code),* }
            }

            fn severity(self) -> Severity {
                match self { $(Self::$kind => Severity::$severity),* }
            }
        }
    };
}

kinds! {
    // The file
    NoStore "no_store" Note;
    StoreNotFound "store_not_found" Error;
    NoDataDirectory "no_data_directory" Error;
    StoreRefused "store_refused" Error;
    SharedDirectory "shared_directory" Error;
    StoreUnusable "store_unusable" Error;
    NotAStore "not_a_store" Error;
    NewerStore "newer_store" Error;
    StoreDamaged "store_damaged" Error;
    RowDamaged "row_damaged" Error;
    StoreLocked "store_locked" Warning;
    InterruptedWrite "interrupted_write" Warning;
    OpenToOthers "open_to_others" Warning;
    ReadOnly "read_only" Warning;
    NetworkFileSystem "network_file_system" Warning;
    // What it holds
    NotAuthentic "not_authentic" Error;
    KeyDoesNotOpen "key_does_not_open" Error;
    NotProtected "not_protected" Note;
    NotChecked "not_checked" Note;
    AgentBroken "agent_broken" Error;
    AgentOutdated "agent_outdated" Warning;
    RuntimeDirectory "runtime_directory" Warning;
    KeyringUnreachable "keyring_unreachable" Note;
    Expired "expired" Warning;
    ExpiresSoon "expires_soon" Warning;
    NotYetValid "not_yet_valid" Warning;
    NotForClients "not_for_clients" Warning;
    UnusableKey "unusable_key" Warning;
    MissingIntermediate "missing_intermediate" Warning;
    WaitingForCertificate "waiting_for_certificate" Note;
    UnusableAuthority "unusable_authority" Warning;
    DecisionRefused "decision_refused" Warning;
    DecisionUnfit "decision_unfit" Warning;
    // What is around it
    ClockBehind "clock_behind" Error;
    PolicyUnreadable "policy_unreadable" Error;
    PolicySkipped "policy_skipped" Warning;
    NoSystemAuthorities "no_system_authorities" Warning;
    InBrowser "in_browser" Note;
    ModuleMissing "module_missing" Warning;
    ModuleNotInstalled "module_not_installed" Note;
    OpensslMissing "openssl_missing" Note;
    OpensslUnloadable "openssl_unloadable" Error;
}

/// What was found.
#[derive(Clone, Debug)]
pub(crate) struct Finding {
    kind: Kind,
    text: String,
    command: Option<String>,
}

impl Finding {
    pub(super) fn severity(&self) -> Severity {
        self.kind.severity()
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// What to type next.
    pub(super) fn command(&self) -> Option<&str> {
        self.command.as_deref()
    }
}

impl Serialize for Finding {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_struct("Finding", 4)?;
        object.serialize_field("code", self.kind.code())?;
        object.serialize_field("severity", &self.severity().to_string())?;
        object.serialize_field("text", &self.text)?;
        object.serialize_field("command", &self.command)?;
        object.end()
    }
}

/// What was found so far.
#[derive(Default)]
pub(super) struct Findings(Vec<Finding>);

impl Findings {
    pub(super) fn add(&mut self, kind: Kind, text: impl fmt::Display, command: impl fmt::Display) {
        self.push(Finding {
            kind,
            text: text.to_string(),
            command: Some(in_commands(&command.to_string()).into_owned()),
        });
    }

    /// For what no command repairs.
    pub(super) fn add_without_command(&mut self, kind: Kind, text: impl fmt::Display) {
        self.push(Finding { kind, text: text.to_string(), command: None });
    }

    /// What one fault causes in several places is one finding.
    fn push(&mut self, new: Finding) {
        if !self.0.iter().any(|known| known.kind == new.kind && known.text == new.text) {
            self.0.push(new);
        }
    }

    /// All of them, and otherwise in the order in which they were found.
    pub(super) fn worst_first(mut self) -> Vec<Finding> {
        self.0.sort_by_key(Finding::severity);
        self.0
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_code_is_documented_with_its_severity() {
        let documented: BTreeSet<&str> = include_str!("../../../../docs/cli.md")
            .lines()
            .skip_while(|line| !line.starts_with("`doctor`"))
            .skip_while(|line| !line.starts_with("| code | severity |"))
            .skip(2)
            .take_while(|line| line.starts_with('|'))
            .collect();
        let codes: BTreeSet<&str> = Kind::ALL.iter().map(|kind| kind.code()).collect();
        assert_eq!(codes.len(), Kind::ALL.len(), "two kinds have one code");
        assert_eq!(documented.len(), codes.len(), "{documented:?}");
        for kind in Kind::ALL {
            let start = format!("| `{}` | {} | ", kind.code(), kind.severity());
            assert!(documented.iter().any(|line| line.starts_with(&start)), "{start}");
        }
    }
}
