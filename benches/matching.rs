//! Candidates for one of 1,000 issuers among 1,000, 10,000 and 100,000 identities in a store on disk. Aim: at most
//! 0.1 ms for one identity per issuer, and nearly flat: by index, not by a scan.
//!
//! `any issuer` is a request that names none: what it takes to find out that only a person can choose. Aim, from the second time on:
//! 0.1, 0.3 and 1 ms for 1,000, 10,000 and 100,000 identities. The floor is a plain look at the decision for the destination, which
//! every request takes.
//!
//! `warm` repeats one request on an open store, `other issuer` asks for another one of the thousand each time, so that
//! most identities under it are not in memory. `first` is the first request of a store just opened,
//! without the opening: authorities and identities are parsed then.
// Whatever fails ends the measurement
#![allow(missing_docs, clippy::indexing_slicing, clippy::unwrap_used)]

#[path = "matching/crowd.rs"]
mod crowd;
#[path = "../tests/library/pki.rs"]
mod pki;

use std::hint::black_box;
use std::time::{Duration, Instant};

use cardcase::ask::CertificateRequest;
use cardcase::{Destination, Error, Selector};
use criterion::Criterion;
use rustls::SignatureScheme;

use crowd::Authorities;
use pki::{Ca, Home, NOW};

const ISSUERS: usize = 1000;

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .configure_from_args();
    let authorities = Authorities::new(ISSUERS);
    let issuers = &authorities.issuers;
    let mut group = criterion.benchmark_group("candidates");
    for per_issuer in [1, 10, 100] {
        let identities = per_issuer * ISSUERS;
        let home = Home::new();
        authorities.fill(&home.open(), identities);
        let selector = Selector::new(home.open()).with_clock(|| NOW);
        group.bench_function(format!("warm, {per_issuer} of {identities}"), |bencher| {
            let request = request(&issuers[7]);
            bencher.iter(|| assert_eq!(black_box(candidates(&selector, &request)), per_issuer));
        });
        group.bench_function(format!("any issuer, {identities}"), |bencher| {
            let request = CertificateRequest::new(&[], &[SignatureScheme::ED25519]);
            bencher.iter(|| assert!(black_box(is_open(&selector, &request))));
        });
        group.bench_function(format!("any issuer, {identities}, floor"), |bencher| {
            bencher.iter(|| black_box(selector.prepare(destination()).unwrap()));
        });
        let mut requests = issuers.iter().map(request).cycle();
        group.bench_function(format!("other issuer, {per_issuer} of {identities}"), |bencher| {
            bencher.iter_batched_ref(
                || requests.next().unwrap(),
                |request| assert_eq!(black_box(candidates(&selector, request)), per_issuer),
                criterion::BatchSize::SmallInput,
            );
        });
        group.sample_size(10).bench_function(format!("first, {per_issuer} of {identities}"), |bencher| {
            bencher.iter_custom(|times| (0..times).map(|_| first(&home, &request(&issuers[7]))).sum());
        });
    }
    group.finish();
    criterion.final_summary();
}

fn first(home: &Home, request: &CertificateRequest) -> Duration {
    let selector = Selector::new(home.open()).with_clock(|| NOW);
    let start = Instant::now();
    black_box(candidates(&selector, request));
    start.elapsed()
}

/// Whether only a person can choose.
fn is_open(selector: &Selector, request: &CertificateRequest) -> bool {
    matches!(selector.select(destination(), request), Err(Error::NobodyToAsk { .. }))
}

fn destination() -> Destination {
    Destination::new("www.example.com", 443).unwrap()
}

/// Looks the candidates up and reads all of them, as `platformKeys.selectClientCertificates` does.
fn candidates(selector: &Selector, request: &CertificateRequest) -> usize {
    selector.select_client_certificates(request, None).unwrap().map(Result::unwrap).count()
}

fn request(issuer: &Ca) -> CertificateRequest {
    CertificateRequest::new(&[issuer.name().der()], &[SignatureScheme::ED25519])
}
