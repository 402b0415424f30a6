//! `cardcase list` of 10,000 identities, the whole process with its output thrown away. Aim: at most 0.2 s and 64 MB.
// Whatever fails ends the measurement
#![allow(missing_docs, clippy::indexing_slicing, clippy::unwrap_used)]

#[path = "../../benches/matching/crowd.rs"]
mod crowd;
#[path = "../../tests/library/pki.rs"]
mod pki;

use std::process::{Command, Stdio};
use std::time::Duration;

use criterion::Criterion;

use crowd::Authorities;
use pki::Home;

const IDENTITIES: usize = 10_000;

fn main() {
    let home = Home::new();
    Authorities::new(10).fill(&home.open(), IDENTITIES);
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
