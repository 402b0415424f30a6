//! The way to a destination: directly, to the address that `--connect-to` names, or through a proxy, which may ask for a
//! certificate itself.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use cardcase::connect::tokio::Connector;
use cardcase::connect::{Connection, Opened};
use cardcase::raw::Prepared;
use cardcase::{Destination, Selector, Target};
use hyper::Uri;
use rustls::ClientConfig;
use tower_service::Service;

use crate::cli;
use crate::http::dial::{Detour, detour, tcp};
use crate::http::outcome::{Asked, Ended, Outcomes};
use crate::http::patience::Activity;
use crate::http::proxy::{Proxies, tunnel, variable};
use crate::http::socket::{Peer, Socket};
use crate::http::stream::{BoxStream, Dialled};
use crate::http::tls_only::TlsOnly;
use crate::http::verify;
use crate::ui::failure::Failure;

/// HTTP/2's name in ALPN (RFC 9113).
pub(crate) const H2: &[u8] = b"h2";
/// HTTP/1.1's name in ALPN (RFC 7301).
pub(crate) const HTTP_1_1: &[u8] = b"http/1.1";

/// Makes TLS connections that offer these protocols by ALPN.
pub(crate) fn connector(
    selector: Arc<Selector>,
    config: &ClientConfig,
    alpn: &[&[u8]],
    timeout: Duration,
) -> Connector {
    let mut config = config.clone();
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    Connector::new(selector, config).with_handshake_timeout(timeout)
}

/// How destinations are reached.
pub(crate) struct Route {
    detours: Vec<Detour>,
    proxies: Proxies,
    /// For a proxy that speaks TLS. All of them speak HTTP/1.1.
    to_proxy: Connector,
    outcomes: Arc<Outcomes>,
    /// For each step before the request.
    timeout: Duration,
}

impl Route {
    pub(crate) fn new(
        args: &cli::Route,
        config: &ClientConfig,
        outcomes: Arc<Outcomes>,
        timeout: Duration,
    ) -> Result<Self, Failure> {
        Ok(Self {
            detours: args.connect_to.iter().map(|text| Detour::parse(text)).collect::<Result<_, _>>()?,
            proxies: Proxies::new(args.proxy.as_deref(), variable)?,
            to_proxy: connector(outcomes.selector().clone(), config, &[HTTP_1_1], timeout),
            outcomes,
            timeout,
        })
    }

    /// The proxy through which a destination is reached.
    pub(crate) fn proxy(&self, destination: &Destination, is_http: bool) -> Option<&Destination> {
        self.proxies.for_destination(destination, is_http).ok().flatten().map(|proxy| &proxy.destination)
    }

    async fn open(&self, destination: &Destination, detour: Option<(String, u16)>) -> Result<Socket, Failure> {
        let stream = tcp(destination, detour, self.timeout).await;
        stream.map_err(|error| verify::unreachable(destination, &error))
    }
}

/// Dials for one request. A connector may dial several times for it.
#[derive(Clone)]
pub(crate) struct Dialer {
    route: Arc<Route>,
    credentials: bool,
    /// What a person chose for the proxy on an earlier connection of this request.
    proxy_answer: Option<Prepared>,
    /// The last TLS connection to the proxy.
    proxy_opened: Arc<Mutex<Option<Opened>>>,
    /// Measures the connection of the request.
    activity: Activity,
    /// The other end of the last TCP connection.
    peer: Arc<Mutex<Peer>>,
}

impl Dialer {
    pub(crate) fn new(route: Arc<Route>, credentials: bool, proxy_answer: Option<Prepared>) -> Self {
        Self {
            route,
            credentials,
            proxy_answer,
            proxy_opened: Arc::default(),
            activity: Activity::default(),
            peer: Arc::default(),
        }
    }

    /// Measures the connection of the request.
    pub(crate) fn activity(&self) -> &Activity {
        &self.activity
    }

    /// The last TLS connection to the proxy.
    pub(crate) fn proxy_opened(&self) -> Option<Opened> {
        self.proxy_opened.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The other end of the last TCP connection: the destination, or the proxy.
    pub(crate) fn peer(&self) -> Peer {
        self.peer.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn watched(&self, socket: Socket) -> Socket {
        *self.peer.lock().unwrap_or_else(PoisonError::into_inner) = socket.peer();
        socket
    }

    /// What a person chose for the proxy: they are not asked again when this request needs another connection.
    pub(crate) fn proxy_answer(&self) -> Option<Prepared> {
        let chosen = self.proxy_opened().and_then(Asked::from_opened).and_then(|asked| asked.chosen());
        chosen.or_else(|| self.proxy_answer.clone())
    }

    /// A request to this destination, with or without credentials.
    pub(crate) fn target(&self, destination: &Destination) -> Target {
        let target = Target::new(destination.clone());
        if self.credentials { target } else { target.without_credentials() }
    }

    /// Connects to a destination, or to the proxy.
    async fn dial(&self, destination: &Destination, is_http: bool) -> Result<Dialled, Ended> {
        let route = &self.route;
        let Some(proxy) = route.proxies.for_destination(destination, is_http)? else {
            let socket = route.open(destination, detour(destination, &route.detours)).await?;
            return Ok(Dialled::to_destination(Box::new(self.watched(socket))));
        };
        Ok(match proxy.tls {
            true => self.connect_to_proxy(&proxy.destination).await?,
            false => Dialled::to_proxy(Box::new(self.watched(route.open(&proxy.destination, None).await?)), None),
        })
    }

    /// Connects to a destination that speaks TLS, by a tunnel if there is a proxy.
    pub(crate) async fn dial_through(&self, destination: &Destination) -> Result<BoxStream, Ended> {
        Ok(Box::new(TlsOnly::new(self.dial_tunnel(destination).await?)))
    }

    async fn dial_tunnel(&self, destination: &Destination) -> Result<BoxStream, Ended> {
        let (stream, opened) = self.dial(destination, false).await?.into_parts();
        let Some(proxy) = self.route.proxy(destination, false) else { return Ok(stream) };
        let authority = match detour(destination, &self.route.detours) {
            Some((host, port)) => Destination::new(&host, port).map_err(Failure::from)?.to_string(),
            None => destination.to_string(),
        };
        let (tunnel, proxy) = (tunnel(stream, &authority, self.route.timeout).await, proxy.clone());
        let asked = opened.and_then(Asked::from_opened);
        let recorded = self.route.outcomes.blocking(move |outcomes| {
            if let Some(asked) = &asked {
                outcomes.announce(asked);
            }
            match (tunnel, asked) {
                (Ok(tunnel), Some(asked)) => {
                    outcomes.accepted(&asked);
                    Ok(tunnel)
                }
                (Ok(tunnel), None) => Ok(tunnel),
                (Err(error), asked) => Err(outcomes.broken(asked, &error, verify::unreachable(&proxy, &error))),
            }
        });
        recorded.await?
    }

    async fn connect_to_proxy(&self, proxy: &Destination) -> Result<Dialled, Ended> {
        let Route { to_proxy, outcomes, timeout, .. } = &*self.route;
        let dial = async || tcp(proxy, None, *timeout).await.map(|socket| TlsOnly::new(self.watched(socket)));
        let connected = match self.proxy_answer() {
            Some(chosen) => to_proxy.connect_prepared(chosen, dial).await,
            None => to_proxy.connect(self.target(proxy), dial).await,
        };
        let Connection { stream, opened, .. } = match connected {
            Ok(connection) => connection,
            Err(error) => {
                let proxy = proxy.clone();
                return Err(outcomes.blocking(move |outcomes| outcomes.unconnected(&proxy, error)).await?);
            }
        };
        *self.proxy_opened.lock().unwrap_or_else(PoisonError::into_inner) = Some(opened.clone());
        Ok(Dialled::to_proxy(Box::new(stream), Some(opened)))
    }
}

/// For the client of hyper-util: a tunnel for `https`, and for `http` a connection to the proxy, which forwards the request.
impl Service<Uri> for Dialer {
    type Response = Dialled;
    type Error = Ended;
    type Future = Pin<Box<dyn Future<Output = Result<Dialled, Ended>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Ended>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let dialer = self.clone();
        Box::pin(async move {
            let is_http = uri.scheme_str() == Some("http");
            let default = if is_http { 80 } else { Destination::DEFAULT_PORT };
            let destination = Destination::new(uri.host().unwrap_or_default(), uri.port_u16().unwrap_or(default));
            let destination = destination.map_err(Failure::from)?;
            let dialled = match is_http {
                true => dialer.dial(&destination, true).await?,
                false => Dialled::to_destination(dialer.dial_through(&destination).await?),
            };
            Ok(dialled.around(|stream| dialer.activity.watch(stream)))
        })
    }
}
