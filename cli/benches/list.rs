//! `cardcase list` of 10, 10,000 and 100,000 identities and `cardcase decisions` of 50,000, the whole process with its output thrown
//! away. The floor is a plain SQL query of the same columns, in this process. `benches/peers` compares with `certutil -L` of NSS.
// Whatever fails ends the measurement
#![allow(missing_docs, clippy::indexing_slicing, clippy::unwrap_used)]

#[path = "../../benches/matching/crowd.rs"]
mod crowd;
#[path = "../../tests/library/pki.rs"]
mod pki;

use std::hint::black_box;
use std::process::{Command, Stdio};
use std::time::Duration;

use criterion::Criterion;
use rusqlite::Connection;

use crowd::Authorities;
use pki::Home;

/// How many identities, and the aims in milliseconds and MB.
const LISTS: [(usize, u32, u32); 3] = [(10, 5, 16), (10_000, 50, 20), (100_000, 500, 64)];

const DECISIONS: usize = 50_000;

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(5))
        .configure_from_args();
    for (identities, milliseconds, megabytes) in LISTS {
        let home = Home::new();
        Authorities::new(10).fill(&home.open(), identities);
        let name = format!("list {identities} (aim: {milliseconds} ms, {megabytes} MB)");
        measure(&mut criterion, &name, &home, "list", "SELECT name, certificate FROM identities ORDER BY name");
    }
    let home = Home::new();
    Authorities::new(10).fill(&home.open(), 1000);
    decide(&home);
    let name = format!("decisions {DECISIONS} (aim: 150 ms, 32 MB)");
    let columns =
        "SELECT d.host, i.name, d.decided_at FROM decisions d JOIN identities i ON i.id = d.identity ORDER BY d.host";
    measure(&mut criterion, &name, &home, "decisions", columns);
    criterion.final_summary();
}

/// One command as text and as JSON, and the query.
fn measure(criterion: &mut Criterion, name: &str, home: &Home, command: &str, query: &str) {
    let mut group = criterion.benchmark_group(name);
    group.bench_function("floor", |bencher| bencher.iter(|| read_all(home, query)));
    for format in [None, Some("--json")] {
        group.bench_function(format.unwrap_or("text"), |bencher| {
            bencher.iter(|| assert!(run(home, command, format).status().unwrap().success()));
        });
        println!("peak memory of {}: {}", format.unwrap_or("text"), peak_memory(home, command, format));
    }
    group.finish();
}

fn read_all(home: &Home, query: &str) {
    let db = Connection::open(home.store_file()).unwrap();
    let mut query = db.prepare(query).unwrap();
    let columns = query.column_count();
    let mut rows = query.query([]).unwrap();
    while let Some(row) = rows.next().unwrap() {
        for column in 0..columns {
            black_box(row.get_ref(column).unwrap());
        }
    }
}

/// Decisions as `remember` writes them, without its transactions. `decisions` does not look at their authentication codes.
fn decide(home: &Home) {
    let mut db = home.database();
    let transaction = db.transaction().unwrap();
    for number in 0..DECISIONS {
        let row = "INSERT INTO decisions (host, identity, decided_at, mac) VALUES (?1, ?2, 0, zeroblob(32))";
        let (host, identity) = (format!("host{number}.example.com"), number % 1000 + 1);
        transaction.execute(row, (host, identity as i64)).unwrap();
    }
    transaction.commit().unwrap();
}

fn run(home: &Home, name: &str, format: Option<&str>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cardcase"));
    command.arg("--store").arg(home.store_file()).arg(name).args(format);
    command.env("XDG_RUNTIME_DIR", home.path()).stdin(Stdio::null()).stdout(Stdio::null());
    command
}

/// As GNU time reports it for a process of its own; what this one needed does not count.
fn peak_memory(home: &Home, name: &str, format: Option<&str>) -> String {
    let command = run(home, name, format);
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
