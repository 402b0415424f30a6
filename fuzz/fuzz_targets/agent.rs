//! Reads arbitrary bytes as a request at the socket of an agent, as the reply of an agent, and as the lease that starts one.

#![no_main]

use std::sync::LazyLock;

use cardcase::fuzzing::Agent;
use libfuzzer_sys::{fuzz_mutator, fuzz_target};

static AGENT: LazyLock<Agent> = LazyLock::new(|| Agent::new().unwrap());

/// What a client signs in TLS 1.3, and the beginning of a handshake in TLS 1.2.
const MESSAGES: [&[u8]; 2] = [include_bytes!("../messages/tls13"), include_bytes!("../messages/tls12")];

/// Valid requests, with a key that this agent has sealed, so that changed requests get as far as the key.
static REQUESTS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let (certificate, key) =
        (include_bytes!("../../fixtures/alice/certificate.der"), include_bytes!("../../fixtures/alice/key.der"));
    AGENT.requests(certificate, key, &MESSAGES).unwrap()
});

fuzz_target!(|input: &[u8]| {
    AGENT.attend(input);
});

fuzz_mutator!(|frame: &mut [u8], size: usize, max_size: usize, seed: u32| {
    cardcase_fuzz::mutate_frame(frame, size, max_size, seed, &REQUESTS)
});
