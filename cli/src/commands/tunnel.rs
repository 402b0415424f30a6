//! `cardcase tunnel`

use std::error::Error as StdError;
use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use cardcase::connect::tokio::Connector;
use cardcase::connect::{self, Connection};
use cardcase::raw::Prepared;
use cardcase::{Destination, Identity};
use rustix::process::{Resource, getrlimit};
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::app::App;
use crate::cli::{self, TlsLibrary};
use crate::http::dial::TIMEOUT;
use crate::http::exchange::Requests;
use crate::http::incompatible::{self, Incompatible};
use crate::http::mid_connection::MidConnection;
#[cfg(feature = "openssl")]
use crate::http::openssl;
use crate::http::outcome::{self, Asked, Outcomes};
use crate::http::route::{Dialer, Route, connector};
use crate::http::socket::Socket;
#[cfg(feature = "openssl")]
use crate::http::stream::BoxStream;
use crate::http::stream::Stream;
use crate::http::verify;
use crate::tunnel::listen::{Address, Listener};
use crate::tunnel::relay::{End, Peers, relay};
use crate::ui::failure::{Code, Failure};
use crate::ui::json::{DestinationJson, print_json};
use crate::ui::notices::DamageTold;
use crate::ui::remedy;
use crate::ui::say;
use crate::ui::stdout::print;
use crate::ui::text::quoted;

/// The pause after a connection that could not be accepted, for example because too many files are open.
const A_MOMENT: Duration = Duration::from_millis(100);

/// The maximum of simultaneous connections, however many descriptors are available.
const MAX_CONNECTIONS: usize = 1000;

/// Descriptors that the process itself needs: the listener, the store, the agent's socket, and those of threads that ask.
const OWN_DESCRIPTORS: usize = 64;

/// Descriptors for each connection, including those that are open only briefly.
const EACH: usize = 3;

/// The limit for all protocol names together, in bytes. All extensions of a ClientHello may have 65,535 (RFC 8446 section 4.1.2).
const MAX_ALPN: usize = 32 << 10;

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

/// Limits the number of connections that a tunnel serves at the same time; others wait until one ends. Each has a descriptor for the
/// client and one for the server, and briefly opens others.
struct Places {
    free: Arc<Semaphore>,
    all: usize,
    /// Whether the user was told that all places are taken. Reset when nobody waited for one and half of them are free again.
    told: bool,
}

impl Places {
    fn new() -> Self {
        let descriptors = getrlimit(Resource::Nofile).current.and_then(|limit| usize::try_from(limit).ok());
        let all = (descriptors.unwrap_or(usize::MAX).saturating_sub(OWN_DESCRIPTORS) / EACH).clamp(1, MAX_CONNECTIONS);
        Self { free: Arc::new(Semaphore::new(all)), all, told: false }
    }

    async fn take(&mut self) -> Result<OwnedSemaphorePermit, Failure> {
        if self.free.available_permits() == 0 && !self.told {
            self.told = true;
            say::warn(format_args!(
                "{} connections are open, and no more are served at the same time: the next ones wait until one ends \
                 (`ulimit -n` sets how many, up to {MAX_CONNECTIONS})",
                self.all
            ));
        }
        self.free.clone().acquire_owned().await.map_err(|error| Failure::new(Code::Failed, error))
    }

    /// Notes that no client waited for a place until now.
    fn nobody_waited(&mut self) {
        self.told &= self.free.available_permits() <= self.all / 2;
    }
}

/// Accepts connections until a signal ends the process.
async fn serve(listener: &Listener, tunnel: &Arc<Tunnel>) -> Result<(), Failure> {
    let mut places = Places::new();
    let mut told = false;
    loop {
        let place = places.take().await?;
        let mut accepting = std::pin::pin!(listener.accept());
        let accepted = match poll_fn(|cx| Poll::Ready(accepting.as_mut().poll(cx))).await {
            Poll::Ready(accepted) => accepted,
            Poll::Pending => {
                let accepted = accepting.await;
                places.nobody_waited();
                accepted
            }
        };
        match accepted {
            Ok(near) => {
                told = false;
                let tunnel = tunnel.clone();
                tokio::spawn(async move {
                    let _place = place;
                    if let Err(failure) = tunnel.forward(near).await {
                        failure.tell();
                    }
                    // An error of that is one of the runtime, which ends
                    let _ = tunnel.outcomes.blocking(|outcomes| outcomes.flush()).await;
                    tunnel.damage_told.tell(tunnel.outcomes.selector().store());
                });
            }
            Err(error) => {
                if !std::mem::replace(&mut told, true) {
                    say::warn(format_args!("cannot accept a connection: {error}; trying again"));
                }
                tokio::time::sleep(A_MOMENT).await;
            }
        }
    }
}

/// The connections to one destination.
struct Tunnel {
    destination: Destination,
    connector: Connector,
    #[cfg(feature = "openssl")]
    openssl: connect::openssl::Connector,
    /// Whether `--tls` was given.
    is_tls_given: bool,
    /// Whether connections are made with OpenSSL.
    by_openssl: AtomicBool,
    route: Arc<Route>,
    given: Option<Identity>,
    outcomes: Arc<Outcomes>,
    damage_told: DamageTold,
}

impl Tunnel {
    fn new(app: &App, args: &cli::Tunnel, destination: Destination) -> Result<Self, Failure> {
        incompatible::check_built_in(args.tls)?;
        // Each name is preceded by a byte with its length
        let offered: usize = args.alpn.iter().map(|name| name.len() + 1).sum();
        if offered > MAX_ALPN {
            return Err(Failure::usage(format!(
                "the names that --alpn gives have {offered} bytes together, and a ClientHello has room for {MAX_ALPN}"
            )));
        }
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
            #[cfg(feature = "openssl")]
            openssl: openssl::connector(app, selector.clone(), args.route.cacert.as_deref(), &alpn, openssl::PATIENCE)?,
            is_tls_given: args.tls.is_some(),
            by_openssl: AtomicBool::new(args.tls == Some(TlsLibrary::Openssl)),
            connector: connector(selector, &config, &alpn, TIMEOUT),
            route: Arc::new(Route::new(&args.route, &config, outcomes.clone(), TIMEOUT)?),
            given,
            outcomes,
            damage_told: DamageTold::default(),
        })
    }

    /// Forwards one connection to its end, with the identity that is selected for it.
    async fn forward(&self, near: Socket) -> Result<(), Failure> {
        let dialer = Dialer::new(self.route.clone(), true, None);
        let dial = || async { dialer.dial_through(&self.destination).await.map_err(io::Error::other) };
        let mut prepared = match &self.given {
            Some(identity) => Some(self.outcomes.selector().given(&self.destination, identity.clone())?),
            None => None,
        };
        if !self.is_tls_given
            && !self.by_openssl.load(Ordering::Acquire)
            && let Some(limit) =
                incompatible::limit_of_identity(self.outcomes.selector(), &self.destination, self.given.as_ref())?
        {
            self.by_openssl.store(true, Ordering::Release);
            say::note(format_args!("{limit}; connecting to {} with OpenSSL from now on", self.destination));
        }
        if !self.by_openssl.load(Ordering::Acquire) {
            let connect = async {
                match prepared.clone() {
                    Some(prepared) => self.connector.connect_prepared(prepared, dial).await,
                    None => self.connector.connect(&self.destination, dial).await,
                }
            };
            let Some(connected) = near.peer().while_there(connect).await else { return Ok(()) };
            let error = match connected {
                Ok(connection) => {
                    outcome::tell_connection(&connection.opened, false);
                    return self.relay(near, &dialer, connection).await;
                }
                Err(error) => error,
            };
            let Some(how) = Incompatible::from_error(&error) else { return Err(self.unconnected(error).await?) };
            self.turn_to_openssl(how.meaning(), None)?;
            // Use what a person chose in the next handshake too, so that they are not asked again
            let chosen = error.opened().cloned().and_then(Asked::from_opened).and_then(|asked| asked.chosen());
            prepared = prepared.or(chosen);
        }
        self.forward_by_openssl(near, &dialer, dial, prepared).await
    }

    #[cfg(feature = "openssl")]
    async fn forward_by_openssl<D, F>(
        &self,
        near: Socket,
        dialer: &Dialer,
        dial: D,
        prepared: Option<Prepared>,
    ) -> Result<(), Failure>
    where
        D: FnMut() -> F,
        F: Future<Output = io::Result<BoxStream>>,
    {
        let connect = async {
            match prepared {
                Some(prepared) => self.openssl.connect_prepared_async(prepared, dial).await,
                None => self.openssl.connect_async(&self.destination, dial).await,
            }
        };
        let Some(connected) = near.peer().while_there(connect).await else { return Ok(()) };
        match connected {
            Ok(connection) => {
                outcome::tell_connection(&connection.opened, true);
                self.relay(near, dialer, connection).await
            }
            Err(error) => Err(self.unconnected(error).await?),
        }
    }

    #[cfg(not(feature = "openssl"))]
    async fn forward_by_openssl<D>(&self, _: Socket, _: &Dialer, _: D, _: Option<Prepared>) -> Result<(), Failure> {
        incompatible::check_built_in(Some(TlsLibrary::Openssl))
    }

    /// Turns the error of a connector into a failure, and records a refusal.
    async fn unconnected(&self, error: connect::Error) -> Result<Failure, Failure> {
        let destination = self.destination.clone();
        self.outcomes.blocking(move |outcomes| outcomes.failure(outcomes.unconnected(&destination, error))).await
    }

    /// Uses OpenSSL for all further connections, because the server does what rustls does not support. Fails if that is not
    /// possible. `then` says what to do about a connection that has ended.
    fn turn_to_openssl(&self, what: &str, then: Option<&str>) -> Result<(), Failure> {
        let message = incompatible::unsupported(&self.destination, what);
        if self.is_tls_given || !cfg!(feature = "openssl") {
            return Err(Failure::new(Code::Failed, message).hint(remedy::use_openssl()));
        }
        self.by_openssl.store(true, Ordering::Release);
        match then {
            Some(then) => Err(Failure::new(Code::Failed, message).hint(then)),
            None => {
                say::note(format_args!("{message}; using OpenSSL from now on"));
                Ok(())
            }
        }
    }

    /// Forwards bytes over an open connection. The first byte from the server means that it accepts the answer that it got.
    async fn relay<S: Stream>(&self, near: Socket, dialer: &Dialer, connection: Connection<S>) -> Result<(), Failure> {
        let peers = Peers { near: near.peer(), far: dialer.peer() };
        let Connection { stream: far, opened, .. } = connection;
        let mut requests = Requests::new(Some(opened.clone()));
        requests.catch_up(&self.outcomes);
        let answered = async || {
            // Over OpenSSL, the server may also have asked during the connection
            let mut until_now = std::mem::take(&mut requests);
            let noted = move |outcomes: &Outcomes| {
                until_now.catch_up(outcomes);
                until_now.accepted(outcomes);
                until_now
            };
            // This fails only when the program ends
            if let Ok(noted) = self.outcomes.blocking(noted).await {
                requests = noted;
            }
        };
        let (ended, error) = match relay(near, far, &peers, answered).await {
            Ok(end) => (Some(end), None),
            Err(error) => (None, Some(error)),
        };
        if let Some(how) = error.as_ref().and_then(|error| MidConnection::from_error(error, Some(&opened))) {
            let then = "the next connection uses OpenSSL: send the request again";
            return self.turn_to_openssl(how.meaning(), Some(then));
        }
        let destination = self.destination.clone();
        let is_cut = matches!(ended, Some(End::Cut));
        let settle = move |outcomes: &Outcomes| {
            requests.catch_up(outcomes);
            if let Some(asked) = requests.pending.take() {
                let hung_up = is_cut.then(|| io::Error::from(io::ErrorKind::UnexpectedEof));
                let end = error.as_ref().or(hung_up.as_ref()).map(|error| error as &(dyn StdError + 'static));
                outcomes.end(&asked, end).map_err(|refusal| outcomes.refused(&asked, refusal))?;
            }
            error.map_or(Ok(()), |error| Err(verify::unreachable(&destination, &error)))
        };
        self.outcomes.blocking(settle).await??;
        if is_cut {
            say::warn(format_args!(
                "{} hung up without a TLS close_notify; the last data may be cut short",
                self.destination
            ));
        }
        Ok(())
    }
}
