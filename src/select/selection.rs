//! What is sent to a server, and why.

use std::fmt;

use crate::answer::decision::Answer;

/// Where a selection comes from. Displayed as in the JSON of `explain` and `history`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Source {
    /// A remembered decision.
    Decision,
    /// A rule, or a setting that selects without asking.
    Rule,
    /// The chooser.
    Ask,
    /// No identity fits, so none is sent.
    NoCandidate,
    /// The caller, who gave this identity for one connection.
    Given,
    /// The caller, who wants no certificate sent.
    Omitted,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Decision => "decision",
            Self::Rule => "rule",
            Self::Ask => "ask",
            Self::NoCandidate => "no_candidate",
            Self::Given => "given",
            Self::Omitted => "omitted",
        })
    }
}

/// What is sent to a server, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Selection {
    /// What is sent.
    pub answer: Answer,
    /// Where it comes from.
    pub source: Source,
    /// The rule or the setting, in words for a person, where it comes from one.
    pub rule: Option<String>,
}

impl Selection {
    pub(super) fn new(answer: Answer, source: Source) -> Self {
        Self { answer, source, rule: None }
    }

    pub(super) fn by(rule: impl fmt::Display, answer: Answer) -> Self {
        Self { answer, source: Source::Rule, rule: Some(rule.to_string()) }
    }

    pub(super) fn decided(answer: &Answer) -> Self {
        Self::new(answer.clone(), Source::Decision)
    }

    /// Whether it holds for one request only, and says nothing about another.
    pub(super) fn is_conditional(&self) -> bool {
        matches!(self.source, Source::Rule | Source::NoCandidate)
    }

    /// Whether it was looked up in the store, where it may have changed since.
    pub(crate) fn is_looked_up(&self) -> bool {
        self.source == Source::Decision || self.is_conditional()
    }
}
