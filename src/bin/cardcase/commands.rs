//! One file for each command.

pub(crate) mod accept;
pub(crate) mod authorities;
pub(crate) mod completions;
pub(crate) mod config;
pub(crate) mod credential;
pub(crate) mod decisions;
pub(crate) mod explain;
pub(crate) mod export;
pub(crate) mod fetch;
pub(crate) mod forget;
pub(crate) mod history;
pub(crate) mod import;
pub(crate) mod list;
pub(crate) mod man;
pub(crate) mod min_tls;
pub(crate) mod password;
pub(crate) mod remember;
pub(crate) mod remove;
pub(crate) mod rename;
pub(crate) mod renew;
pub(crate) mod rules;
pub(crate) mod show;
pub(crate) mod trust;
pub(crate) mod tunnel;
