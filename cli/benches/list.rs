//! `cardcase list` of 10,000 identities, the whole process with its output thrown away. Aim: at most 0.2 s and 64 MB.
// Whatever fails ends the measurement
#![allow(missing_docs, clippy::indexing_slicing, clippy::unwrap_used)]

#[path = "../../tests/library/pki.rs"]
mod pki;

use std::process::{Command, Stdio};
use std::time::Duration;

use criterion::Criterion;
use rcgen::{KeyPair, SerialNumber};

use pki::{Ca, Home, Leaf, params};

const IDENTITIES: u64 = 10_000;

fn main() {
    let home = filled();
    let mut criterion = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(5))
        .configure_from_args();
    let mut group = criterion.benchmark_group(format!("list {IDENTITIES} (aim: 200 ms)"));
    for format in [None, Some("--json")] {
        group.bench_function(format.unwrap_or("text"), |bencher| {
            bencher.iter(|| assert!(list(&home, format).status().unwrap().success()));
        });
        println!("peak memory of {}: {} (aim: 64 MB)", format.unwrap_or("text"), peak_memory(&home, format));
    }
    group.finish();
    criterion.final_summary();
}

fn list(home: &Home, format: Option<&str>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cardcase"));
    command.arg("--store").arg(home.store_file()).arg("list").args(format);
    command.env("XDG_RUNTIME_DIR", home.path()).stdin(Stdio::null()).stdout(Stdio::null());
    command
}

/// As GNU time reports it for a process of its own; what this one needed does not count.
fn peak_memory(home: &Home, format: Option<&str>) -> String {
    let command = list(home, format);
    let mut timed = Command::new("time");
    timed.args(["-f", "%M"]).arg(command.get_program()).args(command.get_args());
    timed.env("XDG_RUNTIME_DIR", home.path()).stdin(Stdio::null()).stdout(Stdio::null());
    match timed.output() {
        Ok(output) => match String::from_utf8_lossy(&output.stderr).trim().parse::<u64>() {
            Ok(kilobytes) => format!("{:.1} MB", kilobytes as f64 / 1000.0),
            Err(_) => String::from_utf8_lossy(&output.stderr).into_owned(),
        },
        Err(error) => format!("not measured, GNU time is missing: {error}"),
    }
}

/// A store of identities under ten issuers. They share a key, which `list` does not open.
fn filled() -> Home {
    let home = Home::new();
    let root = Ca::root("Root");
    let issuers: Vec<Ca> = (0..10).map(|number| root.intermediate(&format!("Issuer {number}"))).collect();
    let key = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let leaves = issuers.iter().cycle().zip(1..=IDENTITIES).map(|(issuer, number)| {
        let mut params = params(&format!("Person {number}"));
        params.serial_number = Some(SerialNumber::from(number));
        Leaf { certificate: issuer.sign(params, &key), pkcs8: key.serialize_der() }
    });
    let leaves: Vec<Leaf> = leaves.collect();
    let authorities = issuers.iter().chain([&root]).map(|ca| &ca.certificate);
    home.with(&leaves, authorities);
    home
}
