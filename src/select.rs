//! Who gets what: which identity answers a certificate request, or whether the chooser is asked.
//!
//! From top to bottom, each file uses only those above it:
//!
//! ```text
//! selection   what is sent, and why
//! matching    compares identities with a request: pure
//! look        one moment of the store and of the rules, as plain values
//! candidates  the candidates of a question, read when they are looked at
//! chooser     what a dialog is asked, and what it answers
//! decide      whether a request can be answered without asking: pure
//! ask_lock    one question at a time, across threads and processes
//! prepared    a selection with what the handshake needs
//! selector    where these meet
//! ```

mod ask_lock;
mod candidates;
pub(crate) mod chooser;
pub(crate) mod decide;
mod look;
pub(crate) mod matching;
pub(crate) mod prepared;
pub(crate) mod selection;
pub(crate) mod selector;
