//! The reader against files of every producer at hand, and against what an attacker could make of them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod jks;
mod nss;
mod pem;
mod pkcs12;
