//! The module: in programs of our own that call it as nobody should, and in the programs that it is for.
// A failed set-up is a failed test; and the interface is one of C
#![allow(missing_docs, unreachable_pub, unsafe_code)]
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

#[path = "../../../cli/tests/support/mod.rs"]
mod support;

mod calls;
mod lifetime;
mod load;
mod objects;
mod people;
mod person;
mod programs;
