//! `cardcase fetch`

use std::cell::RefCell;
use std::error::Error as StdError;
use std::io;
use std::sync::Arc;

use cardcase::connect::tokio::{ConnectError, Connection, Connector, LateAlert};
use cardcase::decisions::{Answer, Mode, Outcome};
use cardcase::identity::Identity;
use cardcase::request::Destination;
use cardcase::resolver::{alert, alert_name, failure, refuses};
use cardcase::selector::{Selection, Selector, Source};
use http_body_util::BodyExt;
use hyper::body::{Bytes, Incoming};
use hyper::{Response, StatusCode, header};
use rustls::{AlertDescription, ClientConfig, ProtocolVersion};
use url::Url;

use crate::app::App;
use crate::cli::{Credentials, Fetch};
use crate::dial::{self, BoxStream, Detour, Proxy};
use crate::exchange::{self, H2, HTTP_1_1};
use crate::message::Message;
use crate::report::{Code, Failure};
use crate::server;
use crate::sink::{Sink, head_bytes};

/// Redirects followed, as in curl.
const MAX_REDIRECTS: usize = 50;

/// Bytes of an error page that are looked at for nginx's way of refusing a certificate.
const MAX_ERROR_PAGE: usize = 64 << 10;

/// What nginx writes into the page with which it refuses a certificate, or the lack of one. It sends no alert.
const NGINX_REFUSALS: [&str; 2] = ["No required SSL certificate was sent", "The SSL certificate error"];

pub(crate) fn run(app: &App, args: &Fetch) -> Result<(), Failure> {
    let url = parse_url(&args.url)?;
    let client = Client::new(app, args, &url)?;
    let message = Message::new(app, args)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::new(Code::Failed, error))?;
    runtime.block_on(client.fetch(url, message))
}

fn parse_url(text: &str) -> Result<Url, Failure> {
    let url = Url::parse(text).map_err(|error| Failure::usage(format_args!("{text}: {error}")))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Failure::usage(
            "the URL: give no user and password there; other users of the machine can see them",
        ));
    }
    match (url.scheme(), url.host_str()) {
        ("https" | "http", Some(host)) if !host.is_empty() => Ok(url),
        (scheme, _) => Err(Failure::usage(format_args!("{text}: '{scheme}' is not supported, https and http are"))),
    }
}

fn destination(url: &Url) -> Result<Destination, Failure> {
    let port = url.port_or_known_default().unwrap_or(Destination::DEFAULT_PORT);
    Ok(Destination::new(url.host_str().unwrap_or_default(), port)?)
}

/// How requests get out.
struct Client<'a> {
    app: &'a App,
    args: &'a Fetch,
    connector: Connector,
    /// Towards proxies, which speak HTTP/1.1.
    to_proxies: Connector,
    detours: Vec<Detour>,
    proxy: Option<Proxy>,
    /// For the destination of the URL alone: a redirect does not take it elsewhere.
    given: Option<(Destination, Identity)>,
}

/// An open way to a destination.
struct Open {
    stream: BoxStream,
    http2: bool,
    /// Towards a proxy that forwards plain HTTP.
    forwarded: bool,
    asked: Option<Asked>,
}

/// A server that asked for a certificate, and what it was answered.
struct Asked {
    destination: Destination,
    selection: Selection,
    tls_version: Option<String>,
    alert: LateAlert,
}

impl<'a> Client<'a> {
    fn new(app: &'a App, args: &'a Fetch, url: &Url) -> Result<Self, Failure> {
        let selector = Arc::new(app.selector()?);
        let config = server::config(app, args.cacert.as_deref())?;
        let given = match &args.identity {
            Some(id) => Some((destination(url)?, app.store()?.find_identity(id)?)),
            None => None,
        };
        Ok(Self {
            app,
            args,
            connector: connector(selector.clone(), &config, &[H2, HTTP_1_1]),
            to_proxies: connector(selector, &config, &[HTTP_1_1]),
            detours: args.connect_to.iter().map(|text| Detour::parse(text)).collect::<Result<_, _>>()?,
            proxy: args.proxy.as_deref().map(Proxy::parse).transpose()?,
            given,
        })
    }

    async fn fetch(&self, mut url: Url, mut message: Message) -> Result<(), Failure> {
        for _ in 0..=MAX_REDIRECTS {
            let open = self.open(&url).await?;
            let request = message.request(&url, open.http2, open.forwarded)?;
            let alpn = open.http2.then_some(H2);
            let response = match exchange::send(open.stream, alpn, request).await {
                Ok(response) => response,
                Err(error) => return Err(self.broken(url.as_str(), open.asked.as_ref(), &error)),
            };
            match self.redirect(&url, &response)? {
                Some(next) => {
                    self.accepted(open.asked.as_ref());
                    message.redirected(response.status(), next.origin() == url.origin());
                    url = next;
                }
                None => return self.deliver(&url, response, open.asked.as_ref()).await,
            }
        }
        Err(Failure::new(Code::Failed, format_args!("more than {MAX_REDIRECTS} redirects, the last to {url}")))
    }

    /// Where to go next, with `-L`.
    fn redirect(&self, url: &Url, response: &Response<Incoming>) -> Result<Option<Url>, Failure> {
        let follows = matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308);
        let location = response.headers().get(header::LOCATION).filter(|_| follows && self.args.location);
        let Some(location) = location else { return Ok(None) };
        let text = String::from_utf8_lossy(location.as_bytes());
        let next = url.join(&text).map_err(|error| {
            Failure::new(Code::Failed, format_args!("{url} redirects to {text:?}, which is no URL: {error}"))
        })?;
        let checked = parse_url(next.as_str()).and_then(|next| destination(&next).map(|_| next));
        checked.map(Some).map_err(|failure| {
            Failure::new(Code::Failed, format_args!("{url} redirects to what cannot be fetched: {}", failure.message))
        })
    }

    async fn open(&self, url: &Url) -> Result<Open, Failure> {
        let destination = destination(url)?;
        if url.scheme() == "http" {
            let (stream, proxy) = self.dial(&destination).await?;
            return Ok(Open { stream, http2: false, forwarded: self.proxy.is_some(), asked: proxy });
        }
        // The connector wants I/O errors; what went wrong in detail waits here
        let undialled = RefCell::new(None);
        let dial = || async {
            self.dial_through(&destination).await.map_err(|failure| {
                let error = io::Error::other(failure.message.clone());
                *undialled.borrow_mut() = Some(failure);
                error
            })
        };
        let selector = self.connector.selector();
        let prepared = match (&self.given, self.args.credentials) {
            (Some((given_for, identity)), _) if *given_for == destination => {
                Some(selector.given(&destination, identity.clone())?)
            }
            (_, Credentials::Omit) => Some(selector.omitted(&destination)?),
            _ => None,
        };
        let connected = match prepared {
            Some(prepared) => self.connector.connect_prepared(prepared, dial).await,
            None => self.connector.connect(&destination, dial).await,
        };
        match (connected, undialled.into_inner()) {
            (Ok(connection), _) => {
                let http2 = connection.alpn.as_deref() == Some(H2);
                let (stream, asked) = self.connected(destination, connection);
                Ok(Open { stream, http2, forwarded: false, asked })
            }
            (Err(_), Some(failure)) => Err(failure),
            (Err(error), None) => Err(self.unconnected(&destination, error)),
        }
    }

    /// A byte stream to a destination, through a tunnel where there is a proxy.
    async fn dial_through(&self, destination: &Destination) -> Result<BoxStream, Failure> {
        let (stream, proxy) = self.dial(destination).await?;
        let Some(Proxy { destination: at, .. }) = &self.proxy else { return Ok(stream) };
        let authority = match dial::detour(destination, &self.detours) {
            Some((host, port)) => Destination::new(&host, port)?.to_string(),
            None => destination.to_string(),
        };
        match dial::tunnel(stream, &authority).await {
            Ok(tunnel) => {
                self.accepted(proxy.as_ref());
                Ok(tunnel)
            }
            Err(error) => Err(self.broken(&at.to_string(), proxy.as_ref(), &error)),
        }
    }

    /// A byte stream to a destination, or to the proxy, which may have asked for a certificate itself.
    async fn dial(&self, destination: &Destination) -> Result<(BoxStream, Option<Asked>), Failure> {
        let Some(proxy) = &self.proxy else {
            return Ok((self.tcp(destination, dial::detour(destination, &self.detours)).await?, None));
        };
        if !proxy.tls {
            return Ok((self.tcp(&proxy.destination, None).await?, None));
        }
        let dial = || dial::tcp(&proxy.destination, None);
        let connected = match self.args.credentials {
            Credentials::Omit => {
                let prepared = self.to_proxies.selector().omitted(&proxy.destination)?;
                self.to_proxies.connect_prepared(prepared, dial).await
            }
            Credentials::Include => self.to_proxies.connect(&proxy.destination, dial).await,
        };
        match connected {
            Ok(connection) => Ok(self.connected(proxy.destination.clone(), connection)),
            Err(error) => Err(self.unconnected(&proxy.destination, error)),
        }
    }

    async fn tcp(&self, destination: &Destination, detour: Option<(String, u16)>) -> Result<BoxStream, Failure> {
        let stream = dial::tcp(destination, detour).await.map_err(|error| server::unreachable(destination, &error))?;
        Ok(Box::new(stream))
    }

    fn connected<IO: dial::Stream + 'static>(
        &self,
        destination: Destination,
        connection: Connection<IO>,
    ) -> (BoxStream, Option<Asked>) {
        let asked = connection.selection.map(|selection| Asked {
            destination,
            selection,
            tls_version: connection.version.map(server::version_name),
            alert: connection.alert,
        });
        if let Some(asked) = &asked {
            self.tell(asked);
        }
        (Box::new(connection.stream), asked)
    }

    /// Says what nobody decided just now.
    fn tell(&self, asked: &Asked) {
        if asked.selection.source == Source::NoCandidate {
            let destination = &asked.destination;
            self.app.warn(&format!("{destination} asks for a client certificate, and no identity fits; none was sent"));
            self.app.note(&format!("hint: cardcase explain {destination}"));
        }
    }

    /// No TLS connection came about.
    fn unconnected(&self, destination: &Destination, error: ConnectError) -> Failure {
        let (source, sent, version) = match error {
            ConnectError::Selection(error) => return self.undecided(destination, &error),
            ConnectError::Handshake { source, sent, version } => (source, sent, version),
            other => return server::unreachable(destination, &other),
        };
        if let Some(error) = failure(&source) {
            return Failure::from(error);
        }
        if let Some(selection) = sent {
            let alert = alert(&source);
            // A server that answers our answer within the handshake speaks TLS 1.2: in 1.3 it is over by then
            let version = version.or(alert.map(|_| ProtocolVersion::TLSv1_2));
            let destination = destination.clone();
            let tls_version = version.map(server::version_name);
            let asked = Asked { destination, selection, tls_version, alert: LateAlert::default() };
            self.tell(&asked);
            if let Some(alert) = alert.filter(|alert| refuses(*alert)) {
                return self.refused(&asked, Some(alert));
            }
            self.record(&asked, Outcome::Unknown, alert.map(alert_name));
        }
        server::unverified(destination, &source).unwrap_or_else(|| server::unreachable(destination, &source))
    }

    /// Nothing was decided, and nothing sent.
    fn undecided(&self, destination: &Destination, error: &cardcase::Error) -> Failure {
        let mut failure = Failure::from(error);
        if let cardcase::Error::NobodyToAsk { .. } = error {
            failure.hints = vec![
                format!("cardcase explain {destination}"),
                format!("cardcase remember {} ID", self.scope(destination)),
            ];
        }
        failure
    }

    /// The connection ended before the response.
    fn broken(&self, at: &str, asked: Option<&Asked>, error: &(dyn StdError + 'static)) -> Failure {
        if let Some(asked) = asked {
            let alert = asked.alert.get().or_else(|| alert(error));
            if let Some(alert) = alert.filter(|alert| refuses(*alert)) {
                return self.refused(asked, Some(alert));
            }
            self.record(asked, Outcome::Unknown, alert.map(alert_name));
        }
        let mut message = format!("{at}: {error}");
        let mut source = error.source();
        while let Some(cause) = source {
            message.push_str(&format!(": {cause}"));
            source = cause.source();
        }
        Failure::new(Code::Failed, message)
    }

    /// Prints the response, and says so when it is nginx's way of refusing.
    async fn deliver(&self, url: &Url, response: Response<Incoming>, asked: Option<&Asked>) -> Result<(), Failure> {
        let (head, mut body) = response.into_parts();
        let mut start = Vec::new();
        if asked.is_some() && head.status == StatusCode::BAD_REQUEST {
            while start.len() < MAX_ERROR_PAGE
                && let Some(data) = next(&mut body).await.map_err(|error| self.broken(url.as_str(), asked, &error))?
            {
                start.extend_from_slice(&data);
            }
        }
        let page = String::from_utf8_lossy(&start);
        let refused = NGINX_REFUSALS.iter().any(|refusal| page.contains(refusal));
        if !refused {
            self.accepted(asked);
        }

        let mut out = Sink::open(self.args.output.as_deref())?;
        if self.args.include {
            out.write(&head_bytes(head.version, head.status, &head.headers))?;
        }
        out.write(&start)?;
        // What breaks from here on was accepted before
        while !out.is_gone()
            && let Some(data) = next(&mut body).await.map_err(|error| self.broken(url.as_str(), None, &error))?
        {
            out.write(&data)?;
        }
        out.finish()?;
        match asked {
            Some(asked) if refused => Err(self.refused(asked, None)),
            _ => Ok(()),
        }
    }

    fn accepted(&self, asked: Option<&Asked>) {
        if let Some(asked) = asked {
            self.record(asked, Outcome::Accepted, None);
        }
    }

    /// The failure that says who refused what, and what to do.
    fn refused(&self, asked: &Asked, alert: Option<AlertDescription>) -> Failure {
        let destination = &asked.destination;
        self.record(asked, Outcome::Refused, alert.map(alert_name));
        let why = match alert {
            Some(alert) => format!("{} ({})", alert_name(alert), server::meaning(alert)),
            None => "its page says so".to_owned(),
        };
        let (code, message) = match (&asked.selection.answer, asked.selection.source) {
            (Answer::Identity(identity), _) => {
                (Code::Refused, format!("{destination} refused the identity {:?}: {why}", identity.name()))
            }
            (Answer::None, Source::NoCandidate) => {
                (Code::NothingFits, format!("{destination} wants a client certificate, and no identity fits: {why}"))
            }
            (Answer::None, _) => (Code::Refused, format!("{destination} refused, as no certificate was sent: {why}")),
        };
        let failure = Failure::new(code, message).hint(format_args!("cardcase explain {destination}"));
        match asked.selection.source {
            Source::Decision | Source::Ask => {
                failure.hint(format_args!("to choose another: cardcase forget {}", self.scope(destination)))
            }
            _ => failure,
        }
    }

    /// What a decision for this destination is remembered under, as it is typed.
    fn scope(&self, destination: &Destination) -> String {
        match self.connector.selector().mode() {
            Mode::Firefox => destination.host().to_owned(),
            Mode::Chrome => destination.to_string(),
        }
    }

    /// History that cannot be written is no reason to fail what went well.
    fn record(&self, asked: &Asked, outcome: Outcome, alert: Option<String>) {
        let selector = self.connector.selector();
        let recorded = selector.record(&asked.destination, &asked.selection, outcome, alert, asked.tls_version.clone());
        if let Err(error) = recorded {
            self.app.warn(&format!("this use is not in the history: {error}"));
        }
    }
}

fn connector(selector: Arc<Selector>, config: &ClientConfig, alpn: &[&[u8]]) -> Connector {
    let mut config = config.clone();
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    Connector::new(selector, config).with_handshake_timeout(dial::TIMEOUT)
}

/// The next piece of a body.
async fn next(body: &mut Incoming) -> hyper::Result<Option<Bytes>> {
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            return Ok(Some(data));
        }
    }
    Ok(None)
}
