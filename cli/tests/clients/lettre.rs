//! lettre, by the recipe in `examples/`, with an SMTP server that requires STARTTLS.

use cardcase::connect::tokio::Connector;
use lettre::address::Envelope;
use lettre::transport::smtp::extension::ClientId;
use rustls::ClientConfig;
use tokio::runtime::Builder;

use crate::running::{self, Case};
use crate::support::service::Kind;
use crate::world::{Client, World};

#[path = "../../../examples/lettre.rs"]
mod recipe;

const CASE: Case = Case {
    make: lettre,
    serve: |world| running::start(world, Kind::Smtp),
    reconnects: false,
    is_refusal: running::is_refusal,
};

fn lettre(world: &World, base: ClientConfig) -> Client {
    let connector = Connector::new(world.selector.clone(), base);
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    Box::new(move |to| {
        runtime.block_on(async {
            let mut smtp = recipe::connect(&connector, &to.parse()?, &ClientId::default()).await?;
            let envelope = Envelope::new(Some("a@example.com".parse()?), vec!["b@example.com".parse()?])?;
            smtp.send(&envelope, b"Subject: test\r\n\r\nHello\r\n").await?;
            smtp.quit().await?;
            Ok(())
        })
    })
}

#[test]
fn it_sends_what_is_decided() {
    running::sends_what_is_decided(&CASE);
}

#[test]
fn it_reports_a_refusal_and_sends_a_renewed_certificate() {
    running::reports_a_refusal_and_sends_a_renewed_certificate(&CASE);
}
