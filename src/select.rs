//! Who gets what: which identity answers a request, or who is asked.

pub(crate) mod asking;
pub(crate) mod chooser;
pub(crate) mod matching;
pub(crate) mod selector;
