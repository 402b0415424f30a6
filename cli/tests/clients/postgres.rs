//! tokio-postgres with PostgreSQL: by the recipe in `examples/`, and with a configuration that follows the store, as pools take it.

use std::io::{self, ErrorKind};

use rustls::ClientConfig;
use tokio::runtime::Builder;
use tokio_postgres::Config;
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::running::{self, Case};
use crate::support::service::Kind;
use crate::world::{BoxError, Client, World};
use cardcase::Destination;
use cardcase::connect::{config, tokio::Connector};
use cardcase::raw::causes;

#[path = "../../../examples/postgres.rs"]
mod recipe;

const CASE: Case = Case {
    make: postgres,
    serve: |world| running::start(world, Kind::Postgres),
    reconnects: false,
    is_refusal: running::is_refusal,
};

fn postgres(world: &World, base: ClientConfig) -> Client {
    let connector = Connector::new(world.selector.clone(), base);
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    Box::new(move |to| {
        runtime.block_on(async {
            let (client, connection) =
                recipe::connect(&connector, &to.parse()?, Config::new().user("postgres")).await?;
            tokio::spawn(connection);
            client.simple_query("select 1").await?;
            Ok(())
        })
    })
}

/// A refusal, or a write that failed since the server had closed by then: tokio-rustls does not read the alert after that.
fn is_refusal_or_hang_up(error: &BoxError) -> bool {
    let is_closed = |kind| matches!(kind, ErrorKind::BrokenPipe | ErrorKind::ConnectionReset);
    let hung_up =
        causes(&**error).any(|cause| cause.downcast_ref::<io::Error>().is_some_and(|error| is_closed(error.kind())));
    hung_up || running::is_refusal(error)
}

/// With one `MakeTlsConnect` for each server.
fn pooled(world: &World, base: ClientConfig) -> Client {
    let (selector, mut running) = (world.selector.clone(), std::collections::HashMap::new());
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    Box::new(move |to| {
        let destination: Destination = to.parse()?;
        let mut config_of_it = Config::new();
        config_of_it.host(destination.host()).port(destination.port()).user("postgres");
        let tls = running
            .entry(to.to_owned())
            .or_insert_with(|| MakeRustlsConnect::new(config(selector.clone(), destination, &base)));
        runtime.block_on(async {
            let (client, connection) = config_of_it.connect(tls.clone()).await?;
            tokio::spawn(connection);
            client.simple_query("select 1").await?;
            Ok(())
        })
    })
}

#[test]
fn it_sends_what_is_decided() {
    running::sends_what_is_decided(&CASE);
    running::sends_what_is_decided(&Case { make: pooled, reconnects: true, ..CASE });
}

#[test]
fn it_reports_a_refusal_and_sends_a_renewed_certificate() {
    running::reports_a_refusal_and_sends_a_renewed_certificate(&CASE);
    let pooled = Case { make: pooled, reconnects: true, is_refusal: is_refusal_or_hang_up, ..CASE };
    running::reports_a_refusal_and_sends_a_renewed_certificate(&pooled);
}
