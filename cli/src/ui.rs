//! What a person or a script reads. Each file uses only those before it.

pub(crate) mod text;

pub(crate) mod time;

pub(crate) mod named_store;

pub(crate) mod say;

pub(crate) mod progress;

pub(crate) mod remedy;

pub(crate) mod failure;

pub(crate) mod stdout;

pub(crate) mod table;

pub(crate) mod json;

pub(crate) mod pem;

pub(crate) mod notices;
