//! What a person reads.

pub(crate) mod failure;
pub(crate) mod output;
pub(crate) mod progress;
