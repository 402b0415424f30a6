//! `cardcase tunnel`

use std::error::Error as StdError;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use cardcase::Identity;
use cardcase::ask::Refusal;
use cardcase::connect::Selection;
use cardcase::connect::tokio::{ConnectError, Connection, Connector};
use cardcase::manage::Outcome;
use cardcase::raw::failure;
use cardcase::raw::{alert, alert_name, refusal};
use cardcase::{Destination, Target};
use rustls::ProtocolVersion;
use serde::Serialize;

use crate::app::App;
use crate::cli;
use crate::http::dial;
use crate::http::dial::{BoxStream, Proxy};
use crate::http::exchange::HTTP_1_1;
use crate::http::outcome::Account;
use crate::http::verify;
use crate::tunnel::listen::{Address, Listener};
use crate::tunnel::relay::{End, relay};
use crate::ui::failure::{Code, Failure};
use crate::ui::json::{DestinationJson, print_json};
use crate::ui::notices::DamageTold;
use crate::ui::say;
use crate::ui::stdout::print;
use crate::ui::text::quoted;

/// After a connection could not be taken, as when too many files are open.
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
        announce(app, &listener.address()?, tunnel.towards.destination())?;
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

/// Until a signal ends the process.
async fn serve(listener: &Listener, tunnel: &Arc<Tunnel>) -> Result<(), Failure> {
    loop {
        match listener.accept().await {
            Ok(near) => {
                let tunnel = tunnel.clone();
                tokio::spawn(async move {
                    if let Err(failure) = tunnel.carry(near).await {
                        failure.tell();
                    }
                    tunnel.damage_told.tell(tunnel.connector.selector().store());
                });
            }
            Err(error) => {
                say::warn(format_args!("a connection could not be taken: {error}"));
                tokio::time::sleep(A_MOMENT).await;
            }
        }
    }
}

/// The way to one destination.
struct Tunnel {
    connector: Connector,
    towards: Towards,
    detour: Option<(String, u16)>,
    through: Option<Through>,
    given: Option<Identity>,
    damage_told: DamageTold,
}

/// A proxy on the way, which may ask for a certificate itself.
struct Through {
    proxy: Proxy,
    connector: Connector,
    towards: Towards,
}

/// A destination, and the account of what is answered there.
struct Towards(Arc<(Destination, Account)>);

impl Tunnel {
    fn new(app: &App, args: &cli::Tunnel, destination: Destination) -> Result<Self, Failure> {
        let selector = Arc::new(app.selector()?);
        let config = verify::config(app, args.route.cacert.as_deref())?;
        let towards = |destination| Towards(Arc::new((destination, Account::new(selector.clone(), app.mode_flag()))));
        let detours = args.route.detours()?;
        let through = |proxy: Proxy| Through {
            connector: dial::connector(selector.clone(), &config, &[HTTP_1_1]),
            towards: towards(proxy.destination.clone()),
            proxy,
        };
        let given = match &args.identity {
            Some(id) => Some(app.store()?.find_identity(id)?),
            None => None,
        };
        let alpn: Vec<&[u8]> = args.alpn.iter().map(String::as_bytes).collect();
        Ok(Self {
            given,
            damage_told: DamageTold::default(),
            detour: dial::detour(&destination, &detours),
            through: args.route.proxy()?.map(through),
            connector: dial::connector(selector.clone(), &config, &alpn),
            towards: towards(destination),
        })
    }

    /// One connection: selected anew, and carried to its end.
    async fn carry(&self, near: BoxStream) -> Result<(), Failure> {
        let destination = self.towards.destination();
        let connected = match &self.given {
            Some(identity) => {
                let prepared = self.connector.selector().given(destination, identity.clone())?;
                self.connector.connect_prepared(prepared, || self.dial()).await
            }
            None => self.connector.connect(destination, || self.dial()).await,
        };
        let connection = match connected {
            Ok(connection) => connection,
            Err(error) => return Err(self.towards.unconnected(error).await),
        };
        relay_over(&self.towards, near, connection).await
    }

    async fn dial(&self) -> io::Result<BoxStream> {
        let destination = self.towards.destination();
        let Some(through) = &self.through else {
            return Ok(Box::new(dial::tcp(destination, self.detour.clone()).await?));
        };
        let authority = match &self.detour {
            Some((host, port)) => Destination::new(host, *port).map_err(io::Error::other)?.to_string(),
            None => destination.to_string(),
        };
        through.dial(&authority).await
    }
}

impl Towards {
    fn destination(&self) -> &Destination {
        &self.0.0
    }

    fn tell(&self, selection: &Selection) {
        let (destination, account) = &*self.0;
        account.tell(destination, selection);
    }

    /// The failure of a TLS connection that did not come about. A refusal is recorded.
    async fn unconnected(&self, error: ConnectError) -> Failure {
        let (destination, account) = &*self.0;
        let (source, sent, version) = match error {
            ConnectError::Selection(error) => return account.undecided(destination, &error),
            ConnectError::Handshake { source, sent, version, .. } => (source, sent, version),
            other => return verify::unreachable(destination, &other),
        };
        if let Some(error) = failure(&source) {
            return Failure::from(error);
        }
        if let Some(selection) = sent {
            self.tell(&selection);
            if let Some(refusal) = refusal(&source) {
                return self.refused(&selection, version, refusal).await;
            }
            let said = alert(&source);
            self.record(&selection, version, Outcome::Unknown, said.map(alert_name)).await;
            if said.is_none() {
                return account.cut_short(destination, &selection, verify::failed(destination, &source));
            }
        }
        verify::failed(destination, &source)
    }

    /// Records a refusal, and gives the failure that says who refused what, and what to do.
    async fn refused(&self, selection: &Selection, version: Option<ProtocolVersion>, why: Refusal) -> Failure {
        self.record(selection, version, Outcome::Refused, why.alert_name()).await;
        let (destination, account) = &*self.0;
        account.refusal(destination, selection, why)
    }

    /// Others may be writing, and other connections go on.
    async fn record(
        &self,
        selection: &Selection,
        version: Option<ProtocolVersion>,
        outcome: Outcome,
        alert: Option<String>,
    ) {
        let (towards, selection) = (self.0.clone(), selection.clone());
        let written = tokio::task::spawn_blocking(move || {
            let (destination, account) = &*towards;
            account.record(destination, &selection, version, outcome, alert);
        });
        // It fails when the program ends
        let _ = written.await;
    }
}

impl Through {
    /// A tunnel through the proxy.
    async fn dial(&self, authority: &str) -> io::Result<BoxStream> {
        let dial = || dial::tcp(&self.proxy.destination, None);
        if !self.proxy.tls {
            return dial::tunnel(Box::new(dial().await?), authority).await;
        }
        let connected = self.connector.connect(Target::new(self.proxy.destination.clone()), dial).await;
        let Connection { stream, selection, version, alert, .. } = match connected {
            Ok(connection) => connection,
            Err(error) => return Err(self.failed(error).await),
        };
        let tunnel = dial::tunnel(Box::new(stream), authority).await;
        if let Some(selection) = selection {
            self.towards.tell(&selection);
            match (&tunnel, alert.refusal()) {
                (Ok(_), _) => self.towards.record(&selection, version, Outcome::Accepted, None).await,
                (Err(_), Some(refusal)) => {
                    return Err(io::Error::other(self.towards.refused(&selection, version, refusal).await.message));
                }
                (Err(_), None) => self.towards.record(&selection, version, Outcome::Unknown, None).await,
            }
        }
        tunnel
    }

    async fn failed(&self, error: ConnectError) -> io::Error {
        io::Error::other(self.towards.unconnected(error).await.message)
    }
}

/// Carries what comes over an open connection, and keeps account of what the server makes of the answer it was sent: the
/// first byte from it accepts.
async fn relay_over(towards: &Towards, near: BoxStream, connection: Connection<BoxStream>) -> Result<(), Failure> {
    let Connection { stream, selection, version, alert: late, .. } = connection;
    if let Some(selection) = &selection {
        towards.tell(selection);
    }
    let mut accepted = false;
    let answered = async || {
        accepted = true;
        if let Some(selection) = &selection {
            towards.record(selection, version, Outcome::Accepted, None).await;
        }
    };
    let ended = relay(near, stream, answered).await;
    if let Some(selection) = selection.filter(|_| !accepted) {
        let error = ended.as_ref().err();
        let refusal = late.refusal().or_else(|| error.and_then(|error| refusal(error)));
        if let Some(refusal) = refusal {
            return Err(towards.refused(&selection, version, refusal).await);
        }
        let alert = late.get().or_else(|| error.and_then(|error| alert(error)));
        towards.record(&selection, version, Outcome::Unknown, alert.map(alert_name)).await;
    }
    match ended {
        Ok(End::Whole | End::Gone) => Ok(()),
        Ok(End::Cut) => {
            say::warn(format_args!(
                "{} hung up without saying so in TLS; what came last may be cut short",
                towards.destination()
            ));
            Ok(())
        }
        Err(error) => Err(verify::unreachable(towards.destination(), &error as &dyn StdError)),
    }
}
