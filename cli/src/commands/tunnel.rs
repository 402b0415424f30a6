//! `cardcase tunnel`

use std::error::Error as StdError;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use cardcase::connect::Connection;
use cardcase::connect::tokio::Connector;
use cardcase::{Destination, Identity};
use serde::Serialize;

use crate::app::App;
use crate::cli;
use crate::http::dial::TIMEOUT;
use crate::http::outcome::{Asked, Outcomes};
use crate::http::route::{Dialer, Route, connector};
use crate::http::stream::{BoxStream, Stream};
use crate::http::verify;
use crate::tunnel::listen::{Address, Listener};
use crate::tunnel::relay::{End, relay};
use crate::ui::failure::{Code, Failure};
use crate::ui::json::{DestinationJson, print_json};
use crate::ui::notices::DamageTold;
use crate::ui::say;
use crate::ui::stdout::print;
use crate::ui::text::quoted;

/// The pause after a connection that could not be accepted, for example because too many files are open.
const A_MOMENT: Duration = Duration::from_millis(100);

#[derive(Serialize)]
struct TunnelJson {
    listen: String,
    destination: DestinationJson,
}

pub(crate) fn run(app: &App, args: &cli::Tunnel) -> Result<(), Failure> {
    let destination: Destination = args.destination.parse()?;
    let address = match &args.listen {
        Some(text) => Address::parse(text)?,
        None => Address::Unix(app.runtime_directory()?.join(format!("tunnel-{destination}"))),
    };
    let tunnel = Arc::new(Tunnel::new(app, args, destination)?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::new(Code::Failed, error))?;
    runtime.block_on(async {
        let listener = Listener::open(&address).await?;
        announce(app, &listener.address()?, &tunnel.destination)?;
        serve(&listener, &tunnel).await
    })
}

fn announce(app: &App, address: &Address, destination: &Destination) -> Result<(), Failure> {
    match address {
        Address::Tcp(at) => {
            say::warn(format_args!("every user of this machine can use your identity at {destination} through {at}"))
        }
        Address::Unix(path) => {
            say::note(format_args!("for example: curl --unix-socket {} http://{destination}/", quoted(path)));
        }
    }
    match app.common.json {
        true => print_json(&TunnelJson { listen: address.to_string(), destination: DestinationJson::new(destination) }),
        false => print(&format!("{address}\n")),
    }
}

/// Accepts connections until a signal ends the process.
async fn serve(listener: &Listener, tunnel: &Arc<Tunnel>) -> Result<(), Failure> {
    loop {
        match listener.accept().await {
            Ok(near) => {
                let tunnel = tunnel.clone();
                tokio::spawn(async move {
                    if let Err(failure) = tunnel.forward(near).await {
                        failure.tell();
                    }
                    tunnel.damage_told.tell(tunnel.outcomes.selector().store());
                });
            }
            Err(error) => {
                say::warn(format_args!("cannot accept a connection: {error}"));
                tokio::time::sleep(A_MOMENT).await;
            }
        }
    }
}

/// The connections to one destination.
struct Tunnel {
    destination: Destination,
    connector: Connector,
    route: Arc<Route>,
    given: Option<Identity>,
    outcomes: Arc<Outcomes>,
    damage_told: DamageTold,
}

impl Tunnel {
    fn new(app: &App, args: &cli::Tunnel, destination: Destination) -> Result<Self, Failure> {
        let selector = Arc::new(app.selector()?);
        let config = verify::config(app, args.route.cacert.as_deref())?;
        let given = match &args.identity {
            Some(id) => Some(app.store()?.find_identity(id)?),
            None => None,
        };
        let alpn: Vec<&[u8]> = args.alpn.iter().map(String::as_bytes).collect();
        let outcomes = Arc::new(Outcomes::new(selector.clone(), app.mode_flag()));
        Ok(Self {
            destination,
            connector: connector(selector, &config, &alpn, TIMEOUT),
            route: Arc::new(Route::new(&args.route, &config, outcomes.clone(), TIMEOUT)?),
            given,
            outcomes,
            damage_told: DamageTold::default(),
        })
    }

    /// Forwards one connection to its end, with the identity that is selected for it.
    async fn forward(&self, near: BoxStream) -> Result<(), Failure> {
        let dialer = Dialer::new(self.route.clone(), true, None);
        let dial = || async { dialer.dial_through(&self.destination).await.map_err(io::Error::other) };
        let connected = match &self.given {
            Some(identity) => {
                let prepared = self.outcomes.selector().given(&self.destination, identity.clone())?;
                self.connector.connect_prepared(prepared, dial).await
            }
            None => self.connector.connect(&self.destination, dial).await,
        };
        match connected {
            Ok(connection) => self.relay(near, connection).await,
            Err(error) => {
                let destination = self.destination.clone();
                let failed = move |outcomes: &Outcomes| outcomes.failure(outcomes.unconnected(&destination, error));
                Err(self.outcomes.blocking(failed).await?)
            }
        }
    }

    /// Forwards bytes over an open connection. The first byte from the server means that it accepts the answer that it got.
    async fn relay<S: Stream>(&self, near: BoxStream, connection: Connection<S>) -> Result<(), Failure> {
        let Connection { stream: far, opened, .. } = connection;
        let asked = Asked::from_opened(opened);
        if let Some(asked) = &asked {
            self.outcomes.announce(asked);
        }
        let mut unaccepted = asked;
        let answered = async || {
            if let Some(asked) = unaccepted.take() {
                // It fails only when the program ends
                let _ = self.outcomes.blocking(move |outcomes| outcomes.accepted(&asked)).await;
            }
        };
        let ended = relay(near, far, answered).await;
        let (ended, error) = match ended {
            Ok(end) => (Some(end), None),
            Err(error) => (None, Some(error)),
        };
        let destination = self.destination.clone();
        let settle = move |outcomes: &Outcomes| {
            if let Some(asked) = unaccepted {
                let end = outcomes.end(&asked, error.as_ref().map(|error| error as &(dyn StdError + 'static)));
                end.map_err(|refusal| outcomes.refused(&asked, refusal))?;
            }
            error.map_or(Ok(()), |error| Err(verify::unreachable(&destination, &error)))
        };
        self.outcomes.blocking(settle).await??;
        if let Some(End::Cut) = ended {
            say::warn(format_args!(
                "{} hung up without a TLS close_notify; the last data may be cut short",
                self.destination
            ));
        }
        Ok(())
    }
}
