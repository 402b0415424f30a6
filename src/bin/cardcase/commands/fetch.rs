//! `cardcase fetch`

use std::cell::RefCell;
use std::error::Error as StdError;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use cardcase::connect::tokio::{ConnectError, Connection, Connector, LateAlert};
use cardcase::decisions::{Answer, Mode};
use cardcase::history::Outcome;
use cardcase::identity::Identity;
use cardcase::request::Destination;
use cardcase::resolver::{alert, alert_name, failure, refuses};
use cardcase::selector::{Selection, Selector, Source};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode, Uri};
use rustls::{AlertDescription, ClientConfig};
use url::Url;

use crate::app::App;
use crate::cli::{Credentials, Fetch};
use crate::commands::explain::version_name;
use crate::dial::{self, BoxStream, Detour, Proxy};
use crate::exchange::{self, H2, HTTP_1_1};
use crate::report::{Code, Failure};
use crate::server;

/// Redirects followed, as in curl.
const MAX_REDIRECTS: usize = 50;

/// Bytes a request body may have.
const MAX_BODY: u64 = 1 << 30;

/// Bytes of an error page that are looked at for nginx's way of refusing a certificate.
const MAX_ERROR_PAGE: usize = 64 << 10;

/// What nginx writes into the page with which it refuses a certificate, or the lack of one. It sends no alert.
const NGINX_REFUSALS: [&str; 2] = ["No required SSL certificate was sent", "The SSL certificate error"];

pub(crate) fn run(app: &App, args: &Fetch) -> Result<(), Failure> {
    let client = Client::new(app, args)?;
    let message = Message::new(app, args)?;
    let url = parse_url(&args.url)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::new(Code::Failed, error))?;
    runtime.block_on(client.fetch(url, message))
}

fn parse_url(text: &str) -> Result<Url, Failure> {
    let url = Url::parse(text).map_err(|error| Failure::usage(format_args!("{text}: {error}")))?;
    match (url.scheme(), url.host_str()) {
        ("https" | "http", Some(host)) if !host.is_empty() => Ok(url),
        (scheme, _) => Err(Failure::usage(format_args!("{text}: '{scheme}' is not supported, https and http are"))),
    }
}

fn destination(url: &Url) -> Result<Destination, Failure> {
    let port = url.port_or_known_default().unwrap_or(Destination::DEFAULT_PORT);
    Ok(Destination::new(url.host_str().unwrap_or_default(), port)?)
}

/// What is sent: everything of a request but its URL.
struct Message {
    method: Method,
    headers: HeaderMap,
    body: Bytes,
}

impl Message {
    fn new(app: &App, args: &Fetch) -> Result<Self, Failure> {
        let mut headers = HeaderMap::new();
        headers.insert(header::USER_AGENT, HeaderValue::from_static(concat!("cardcase/", env!("CARGO_PKG_VERSION"))));
        headers.insert(header::ACCEPT, HeaderValue::from_static("*/*"));
        let body = match args.data.as_deref() {
            None => Bytes::new(),
            Some(data) => {
                let form = HeaderValue::from_static("application/x-www-form-urlencoded");
                headers.insert(header::CONTENT_TYPE, form);
                match data.strip_prefix('@') {
                    Some(file) => Bytes::from(app.read(Path::new(file), MAX_BODY)?.to_vec()),
                    None => Bytes::copy_from_slice(data.as_bytes()),
                }
            }
        };
        for line in &args.headers {
            set_header(&mut headers, line)?;
        }
        let method = match args.method.as_deref() {
            Some(method) => Method::from_bytes(method.as_bytes())
                .map_err(|_| Failure::usage(format_args!("--request {method}: that is no method")))?,
            None if args.data.is_some() => Method::POST,
            None => Method::GET,
        };
        Ok(Self { method, headers, body })
    }

    /// What is left of it after a redirect (RFC 9110 section 15.4): 303, and 301 and 302 of a POST, become a GET.
    /// Credentials in headers do not go to another host or port.
    fn redirected(&mut self, status: StatusCode, same_origin: bool) {
        let becomes_get = match status {
            StatusCode::SEE_OTHER => self.method != Method::HEAD,
            StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND => self.method == Method::POST,
            _ => false,
        };
        if becomes_get {
            self.method = Method::GET;
            self.body = Bytes::new();
            self.headers.remove(header::CONTENT_TYPE);
        }
        if !same_origin {
            for name in [header::AUTHORIZATION, header::COOKIE, header::HOST, header::PROXY_AUTHORIZATION] {
                self.headers.remove(name);
            }
        }
    }

    /// The request for a URL. HTTP/2 takes the authority from the URI; HTTP/1.1 has it in Host, and the whole URI in its
    /// first line only towards a proxy that forwards (RFC 9112 section 3.2).
    fn request(&self, url: &Url, http2: bool, forwarded: bool) -> Result<Request<Full<Bytes>>, Failure> {
        let failed = |error: &dyn StdError| Failure::usage(format_args!("{url}: {error}"));
        let target = match url.query() {
            Some(query) => format!("{}?{query}", url.path()),
            None => url.path().to_owned(),
        };
        let authority = match url.port() {
            Some(port) => format!("{}:{port}", url.host_str().unwrap_or_default()),
            None => url.host_str().unwrap_or_default().to_owned(),
        };
        let uri = if http2 || forwarded { format!("{}://{authority}{target}", url.scheme()) } else { target };
        let uri: Uri = uri.parse().map_err(|error| failed(&error))?;
        let mut request = Request::new(Full::new(self.body.clone()));
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = uri;
        *request.headers_mut() = self.headers.clone();
        if !http2 && !self.headers.contains_key(header::HOST) {
            let host = HeaderValue::from_str(&authority).map_err(|error| failed(&error))?;
            request.headers_mut().insert(header::HOST, host);
        }
        Ok(request)
    }
}

/// `Name: value`; `Name:` takes away a header that would be sent.
fn set_header(headers: &mut HeaderMap, line: &str) -> Result<(), Failure> {
    let wrong = || Failure::usage(format_args!("--header {line}: it has the form 'Name: value'"));
    let (name, value) = line.split_once(':').ok_or_else(wrong)?;
    let name = HeaderName::from_bytes(name.trim().as_bytes()).map_err(|_| wrong())?;
    let value = HeaderValue::from_str(value.trim()).map_err(|_| wrong())?;
    headers.remove(&name);
    if !value.is_empty() {
        headers.insert(name, value);
    }
    Ok(())
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
    given: Option<Identity>,
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
    fn new(app: &'a App, args: &'a Fetch) -> Result<Self, Failure> {
        let selector = Arc::new(app.selector()?);
        let config = |alpn: &[&[u8]]| server::config(app, args.cacert.as_deref(), alpn);
        let given = match &args.identity {
            Some(id) => Some(app.store()?.find_identity(id)?),
            None => None,
        };
        Ok(Self {
            app,
            args,
            connector: connector(selector.clone(), config(&[H2, HTTP_1_1])?),
            to_proxies: connector(selector, config(&[HTTP_1_1])?),
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
                Err(error) => return Err(self.broken(&url, open.asked.as_ref(), &error)),
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
        parse_url(next.as_str()).map(Some).map_err(|failure| Failure::new(Code::Failed, failure.message))
    }

    async fn open(&self, url: &Url) -> Result<Open, Failure> {
        let destination = destination(url)?;
        if url.scheme() == "http" {
            let stream = self.dial(&destination, false).await?;
            return Ok(Open { stream, http2: false, forwarded: self.proxy.is_some(), asked: None });
        }
        // The connector wants I/O errors; what went wrong in detail waits here
        let undialled = RefCell::new(None);
        let dial = || async {
            self.dial(&destination, true).await.map_err(|failure| {
                let error = io::Error::other(failure.message.clone());
                *undialled.borrow_mut() = Some(failure);
                error
            })
        };
        let connected = match (&self.given, self.args.credentials) {
            (Some(identity), _) => {
                let prepared = self.connector.selector().given(identity.clone())?;
                self.connector.connect_prepared(&destination, prepared, dial).await
            }
            (None, Credentials::Omit) => {
                let prepared = self.connector.selector().omitted()?;
                self.connector.connect_prepared(&destination, prepared, dial).await
            }
            (None, Credentials::Include) => self.connector.connect(&destination, dial).await,
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

    /// A byte stream to a destination, or to the proxy that leads there.
    async fn dial(&self, destination: &Destination, tunnel: bool) -> Result<BoxStream, Failure> {
        let Some(proxy) = &self.proxy else { return Ok(Box::new(self.tcp(destination).await?)) };
        let stream: BoxStream = if proxy.tls {
            let dial = || dial::tcp(&proxy.destination, &self.detours);
            match self.to_proxies.connect(&proxy.destination, dial).await {
                Ok(connection) => {
                    let (stream, asked) = self.connected(proxy.destination.clone(), connection);
                    self.accepted(asked.as_ref());
                    stream
                }
                Err(error) => return Err(self.unconnected(&proxy.destination, error)),
            }
        } else {
            Box::new(self.tcp(&proxy.destination).await?)
        };
        if !tunnel {
            return Ok(stream);
        }
        let tunnelled = dial::tunnel(stream, destination).await;
        tunnelled.map_err(|error| unreachable(&proxy.destination, &error))
    }

    async fn tcp(&self, destination: &Destination) -> Result<tokio::net::TcpStream, Failure> {
        dial::tcp(destination, &self.detours).await.map_err(|error| unreachable(destination, &error))
    }

    fn connected<IO: dial::Stream + 'static>(
        &self,
        destination: Destination,
        connection: Connection<IO>,
    ) -> (BoxStream, Option<Asked>) {
        let asked = connection.selection.map(|selection| Asked {
            destination,
            selection,
            tls_version: connection.version.map(version_name),
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
        let (source, sent) = match error {
            ConnectError::Selection(error) => return self.undecided(destination, &error),
            ConnectError::Handshake { source, sent } => (source, sent),
            other => return unreachable(destination, &other),
        };
        if let Some(error) = failure(&source) {
            return Failure::from(error);
        }
        if let Some(selection) = sent {
            // An alert in the handshake is TLS 1.2's way; 1.3 has finished by then
            let tls_version = Some("TLSv1.2".to_owned());
            let asked = Asked { destination: destination.clone(), selection, tls_version, alert: LateAlert::default() };
            self.tell(&asked);
            if let Some(alert) = alert(&source).filter(|alert| refuses(*alert)) {
                return self.refused(&asked, Some(alert));
            }
            self.record(&asked, Outcome::Unknown, alert(&source).map(alert_name));
        }
        server::unverified(destination, &source).unwrap_or_else(|| unreachable(destination, &source))
    }

    /// Nothing was decided, and nothing sent.
    fn undecided(&self, destination: &Destination, error: &cardcase::Error) -> Failure {
        let mut failure = Failure::from(error);
        if let cardcase::Error::NobodyToAsk { .. } = error {
            failure.hints.clear();
            failure = failure
                .hint(format_args!("cardcase explain {destination}"))
                .hint(format_args!("cardcase remember {} ID", self.scope(destination)));
        }
        failure
    }

    /// The connection ended before the response.
    fn broken(&self, url: &Url, asked: Option<&Asked>, error: &hyper::Error) -> Failure {
        if let Some(asked) = asked {
            let alert = asked.alert.get().or_else(|| alert(error));
            if let Some(alert) = alert.filter(|alert| refuses(*alert)) {
                return self.refused(asked, Some(alert));
            }
            self.record(asked, Outcome::Unknown, alert.map(alert_name));
        }
        let mut message = format!("{url}: {error}");
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
                && let Some(data) = self.next(url, &mut body, asked).await?
            {
                start.extend_from_slice(&data);
            }
        }
        let page = String::from_utf8_lossy(&start);
        let refused = NGINX_REFUSALS.iter().any(|refusal| page.contains(refusal));
        if !refused {
            self.accepted(asked);
        }

        let mut out = Output::open(self.args.output.as_deref())?;
        if self.args.include {
            out.write(&head_bytes(head.version, head.status, &head.headers))?;
        }
        out.write(&start)?;
        while let Some(data) = self.next(url, &mut body, asked).await? {
            out.write(&data)?;
        }
        out.finish()?;
        match asked {
            Some(asked) if refused => Err(self.refused(asked, None)),
            _ => Ok(()),
        }
    }

    async fn next(&self, url: &Url, body: &mut Incoming, asked: Option<&Asked>) -> Result<Option<Bytes>, Failure> {
        loop {
            match body.frame().await {
                None => return Ok(None),
                Some(Err(error)) => return Err(self.broken(url, asked, &error)),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
            }
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

fn connector(selector: Arc<Selector>, config: ClientConfig) -> Connector {
    Connector::new(selector, config).with_handshake_timeout(dial::TIMEOUT)
}

fn unreachable(destination: &Destination, error: &dyn StdError) -> Failure {
    Failure::new(Code::Failed, format_args!("{destination}: {error}"))
}

fn head_bytes(version: hyper::Version, status: StatusCode, headers: &HeaderMap) -> Vec<u8> {
    let mut bytes = format!("{version:?} {}", status.as_u16()).into_bytes();
    if let Some(reason) = status.canonical_reason() {
        bytes.extend_from_slice(format!(" {reason}").as_bytes());
    }
    for (name, value) in headers {
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(name.as_str().as_bytes());
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(value.as_bytes());
    }
    bytes.extend_from_slice(b"\r\n\r\n");
    bytes
}

/// Where the body goes.
enum Output {
    Stdout { gone: bool },
    File(File, std::path::PathBuf),
}

impl Output {
    fn open(path: Option<&Path>) -> Result<Self, Failure> {
        match path {
            None => Ok(Self::Stdout { gone: false }),
            Some(path) if path == Path::new("-") => Ok(Self::Stdout { gone: false }),
            Some(path) => {
                let file = File::create(path).map_err(|error| Failure::io(path, &error))?;
                Ok(Self::File(file, path.to_owned()))
            }
        }
    }

    /// A reader that has gone is no error: it had enough.
    fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        match self {
            Self::File(file, path) => file.write_all(bytes).map_err(|error| Failure::io(path, &error)),
            Self::Stdout { gone: true } => Ok(()),
            Self::Stdout { gone } => match io::stdout().lock().write_all(bytes) {
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                    *gone = true;
                    Ok(())
                }
                written => written.map_err(|error| Failure::new(Code::Failed, format_args!("stdout: {error}"))),
            },
        }
    }

    fn finish(&mut self) -> Result<(), Failure> {
        match self {
            Self::File(file, path) => file.flush().map_err(|error| Failure::io(path, &error)),
            Self::Stdout { gone: true } => Ok(()),
            Self::Stdout { .. } => match io::stdout().lock().flush() {
                Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                    Err(Failure::new(Code::Failed, format_args!("stdout: {error}")))
                }
                _ => Ok(()),
            },
        }
    }
}
