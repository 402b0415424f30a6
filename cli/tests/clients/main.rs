//! cardcase in other clients: each against real servers, judged by what the servers see.
// A failed set-up is a failed test
#![allow(missing_docs, unreachable_pub, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]
// Each recipe brings what it begins with
#![allow(clippy::duplicate_mod)]

#[path = "../support/mod.rs"]
mod support;

mod ask;
mod forwarded;
mod hyper;
mod inside;
mod java;
mod leaks;
mod lettre;
mod nats;
#[cfg(feature = "openssl")]
mod openssl;
mod plain;
mod postgres;
mod quinn;
mod reqwest;
mod restconf;
mod rumqttc;
mod running;
mod scenarios;
mod tonic;
mod tungstenite;
mod ureq;
mod world;
