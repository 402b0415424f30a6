//! `cardcase fetch`

use std::cell::{OnceCell, RefCell};
use std::collections::{HashMap, HashSet};
use std::error::Error as StdError;
use std::io;
use std::sync::Arc;

use cardcase::Identity;
use cardcase::ask::Refusal;
use cardcase::ask::Refused;
use cardcase::ask::{CertificateRequest, Credentials};
use cardcase::connect::LateAlert;
use cardcase::connect::tokio::{ConnectError, Connection, Connector};
use cardcase::connect::{Selection, Source};
use cardcase::manage::{Answer, Outcome};
use cardcase::raw::Prepared;
use cardcase::raw::failure;
use cardcase::raw::{alert, alert_name, refusal};
use cardcase::{Destination, Target};
use http_body_util::BodyExt;
use hyper::body::{Bytes, Incoming};
use hyper::http::response::Parts;
use hyper::{StatusCode, header};
use rustls::ProtocolVersion;
use url::Url;

use crate::app::App;
use crate::cli::{self, Fetch, TlsLibrary};
use crate::http::body::{Sink, head_bytes};
use crate::http::dial;
use crate::http::dial::{BoxStream, Detour, Proxy};
use crate::http::exchange;
use crate::http::exchange::{H2, HTTP_1_1};
use crate::http::message::Message;
use crate::http::mid_connection::Late;
use crate::http::openssl;
use crate::http::openssl::Later;
use crate::http::outcome::Account;
use crate::http::verify;
use crate::ui::failure::{Code, Failure};
use crate::ui::say;

/// Redirects followed, as in curl.
const MAX_REDIRECTS: usize = 50;

/// Bytes of an error page that are looked at for nginx's way of refusing a certificate.
const MAX_ERROR_PAGE: usize = 64 << 10;

pub(crate) fn run(app: &App, args: &Fetch) -> Result<(), Failure> {
    let url = parse_url(&args.url)?;
    let message = Message::new(app, args)?;
    let client = Client::new(app, args, &url, &message)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::new(Code::Failed, error))?;
    runtime.block_on(client.fetch(url, message))
}

fn parse_url(text: &str) -> Result<Url, Failure> {
    let url = Url::parse(text).map_err(|error| not_a_url(text, error))?;
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

fn not_a_url(text: &str, error: url::ParseError) -> Failure {
    let zone =
        text.split_once("://[").and_then(|(_, rest)| rest.split_once(']')).is_some_and(|(host, _)| host.contains('%'));
    if error == url::ParseError::InvalidIpv6Address && zone {
        let failure = Failure::usage(format_args!(
            "{text}: an IPv6 address in a URL has no zone, here as in browsers (URL standard, section 3.1)"
        ));
        return failure.hint("leave it out of the URL, and add: --connect-to '::[fe80::1%eth0]:'");
    }
    Failure::usage(format_args!("{text}: {error}"))
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
    /// By the other TLS library, once that is needed.
    by_openssl: OnceCell<openssl::Connector>,
    /// Servers that ask in the middle of a connection.
    late: RefCell<HashSet<Destination>>,
    /// For the destination of the URL alone: a redirect does not take it elsewhere.
    given: Option<(Destination, Identity)>,
    credentials: Credentials,
    /// What was refused in this run, by whom.
    refused: RefCell<HashMap<Destination, Vec<Refused>>>,
    /// What a person chose for the request going on. Where it takes another connection they are not asked again, unless the
    /// server itself asks once more on one of them.
    chosen: RefCell<HashMap<Destination, Prepared>>,
    account: Account,
}

/// An open way to a destination.
struct Open {
    stream: BoxStream,
    http2: bool,
    /// Towards a proxy that forwards plain HTTP.
    forwarded: bool,
    version: Option<ProtocolVersion>,
    talk: Talk,
}

/// What a server asked for on a connection so far, and what may come.
#[derive(Default)]
struct Talk {
    asked: Option<Asked>,
    /// Where it may ask as long as the connection lasts.
    later: Option<Later>,
    /// Answers on it that are accounted for.
    seen: usize,
}

/// A server that asked for a certificate, and what it was answered.
struct Asked {
    target: Target,
    selection: Selection,
    request: Option<CertificateRequest>,
    version: Option<ProtocolVersion>,
    alert: LateAlert,
}

/// A response, as far as it was read.
struct Arrived {
    head: Parts,
    start: Vec<u8>,
    body: Incoming,
    version: Option<ProtocolVersion>,
    talk: Talk,
    /// What the command ends with although there is a response: the server refused by its page.
    refused: Option<Failure>,
}

/// Why there is no response.
enum Unanswered {
    /// The server, or a proxy, refused what it was sent.
    Refused(Box<Asked>, Refusal),
    /// The server wants to ask for a certificate only now, and the TLS library does not let it.
    Late(Late, Failure),
    /// The server did not wait for what a person chose; that is kept for another connection.
    Lost(Failure),
    Failed(Failure),
}

impl<T: Into<Failure>> From<T> for Unanswered {
    fn from(failure: T) -> Self {
        Self::Failed(failure.into())
    }
}

impl<'a> Client<'a> {
    fn new(app: &'a App, args: &'a Fetch, url: &Url, message: &Message) -> Result<Self, Failure> {
        let selector = Arc::new(app.selector()?);
        let config = verify::config(app, args.route.cacert.as_deref())?;
        let given = match &args.identity {
            Some(id) => Some((destination(url)?, app.store()?.find_identity(id)?)),
            None => None,
        };
        Ok(Self {
            app,
            args,
            connector: dial::connector(selector.clone(), &config, &[H2, HTTP_1_1]),
            to_proxies: dial::connector(selector.clone(), &config, &[HTTP_1_1]),
            detours: args.route.detours()?,
            proxy: args.route.proxy()?,
            by_openssl: OnceCell::new(),
            late: RefCell::default(),
            given,
            credentials: message.credentials(args.credentials == cli::Credentials::Include),
            refused: RefCell::default(),
            chosen: RefCell::default(),
            account: Account::new(selector, app.mode_flag()),
        })
    }

    async fn fetch(&self, mut url: Url, mut message: Message) -> Result<(), Failure> {
        for _ in 0..=MAX_REDIRECTS {
            let arrived = self.exchange(&url, &message).await?;
            match self.redirect(&url, &arrived.head)? {
                Some(next) => {
                    message.redirected(arrived.head.status, next.origin() == url.origin());
                    url = next;
                }
                None => return self.deliver(&url, arrived).await,
            }
        }
        Err(Failure::new(Code::Failed, format_args!("more than {MAX_REDIRECTS} redirects, the last to {url}")))
    }

    /// One request and its response. After a refusal a person may choose another identity at once; then once more.
    async fn exchange(&self, url: &Url, message: &Message) -> Result<Arrived, Failure> {
        let mut lost = false;
        // What was chosen for once was for the request before
        self.chosen.borrow_mut().clear();
        loop {
            match self.attempt(url, message).await {
                Err(Unanswered::Failed(failure)) => return Err(failure),
                Err(Unanswered::Lost(failure)) if lost || !message.is_idempotent() => return Err(failure),
                Err(Unanswered::Lost(_)) => lost = true,
                Err(Unanswered::Late(late, failure)) => {
                    if !self.turn_to_openssl(url, message, late)? {
                        return Err(late.explain(failure));
                    }
                }
                Err(Unanswered::Refused(asked, refusal)) => {
                    let failure = self.refused(&asked, refusal);
                    if !self.choose_another(&asked, refusal).await? {
                        return Err(failure);
                    }
                }
                Ok(mut arrived) => {
                    let page = String::from_utf8_lossy(&arrived.start);
                    if let Some(late) = Late::of_page(arrived.head.status, &page) {
                        if self.turn_to_openssl(url, message, late)? {
                            self.accepted(arrived.talk.asked.as_ref());
                            continue;
                        }
                        say::warn(&late.hint());
                    }
                    if !lost && message.is_idempotent() && self.came_too_late(&arrived) {
                        lost = true;
                        continue;
                    }
                    let refusal = Refusal::of_page(arrived.head.status.as_u16(), &page);
                    let Some((asked, refusal)) = arrived.talk.asked.as_ref().zip(refusal) else {
                        self.accepted(arrived.talk.asked.as_ref());
                        return Ok(arrived);
                    };
                    let failure = self.refused(asked, refusal);
                    if !self.choose_another(asked, refusal).await? {
                        arrived.refused = Some(failure);
                        return Ok(arrived);
                    }
                }
            }
        }
    }

    /// Has the next connection to a server be one on which it may ask later, if that can be had, and the request may be
    /// sent once more.
    fn turn_to_openssl(&self, url: &Url, message: &Message, late: Late) -> Result<bool, Failure> {
        let destination = destination(url)?;
        let may = openssl::BUILT_IN && self.args.tls.is_none() && !self.takes_openssl(&destination);
        if !may || !(late.is_unprocessed() || message.is_idempotent()) {
            return Ok(false);
        }
        say::note(format_args!("{destination}: {}; connecting again by OpenSSL, which lets it", late.meaning()));
        Ok(self.late.borrow_mut().insert(destination))
    }

    fn takes_openssl(&self, destination: &Destination) -> bool {
        self.args.tls == Some(TlsLibrary::Openssl) || self.late.borrow().contains(destination)
    }

    async fn attempt(&self, url: &Url, message: &Message) -> Result<Arrived, Unanswered> {
        let Open { stream, http2, forwarded, version, mut talk } = self.open(url).await?;
        let request = message.request(url, http2, forwarded)?;
        let sent = exchange::send(stream, http2.then_some(H2), request).await;
        self.catch_up(&mut talk);
        let response = match sent {
            Ok(response) => response,
            Err(error) => return Err(self.broken(url.as_str(), talk, version, &error)),
        };
        let (head, mut body) = response.into_parts();
        let mut start = Vec::new();
        if may_refuse(&head, &talk) {
            while start.len() < MAX_ERROR_PAGE {
                match next(&mut body).await {
                    Ok(Some(data)) => start.extend_from_slice(&data),
                    Ok(None) => break,
                    Err(error) => return Err(self.broken(url.as_str(), talk, version, &error)),
                }
            }
        }
        Ok(Arrived { head, start, body, version, talk, refused: None })
    }

    /// Takes account of what was answered meanwhile. A server that asks once more has accepted what it was sent before.
    fn catch_up(&self, talk: &mut Talk) {
        let Some(later) = &talk.later else { return };
        for answered in later.answers.all().into_iter().skip(talk.seen) {
            self.accepted(talk.asked.as_ref());
            talk.seen += 1;
            let asked = Asked::new(&later.target, answered);
            self.account.tell(asked.target.destination(), &asked.selection);
            talk.asked = Some(asked);
        }
    }

    /// Lets a person choose anew what was refused; whether they did. Whoever named an identity on the command line, or
    /// wants none, is not asked.
    async fn choose_another(&self, asked: &Asked, refusal: Refusal) -> Result<bool, Failure> {
        let chosen_by_us = match asked.selection.source {
            Source::Decision | Source::Ask => true,
            // A rule that denies everything leaves nothing to choose
            Source::Rule => asked.selection.answer != Answer::None,
            _ => false,
        };
        let Some(request) = asked.request.clone().filter(|_| chosen_by_us && self.app.can_choose()) else {
            return Ok(false);
        };
        let (selector, target) = (self.connector.selector().clone(), asked.target.clone());
        let refused = {
            let mut all = self.refused.borrow_mut();
            let here = all.entry(asked.target.destination().clone()).or_default();
            here.push(Refused::new(asked.selection.answer.clone(), refusal));
            here.clone()
        };
        let before = refused.clone();
        let chosen = tokio::task::spawn_blocking(move || selector.select_again(target, &request, &before));
        match chosen.await.map_err(|error| Failure::new(Code::Failed, error))? {
            Ok(prepared) if prepared.selection().is_none_or(|selection| was_refused(selection, &refused)) => Ok(false),
            Ok(prepared) => {
                self.chosen.borrow_mut().insert(prepared.destination().clone(), prepared);
                Ok(true)
            }
            Err(
                cardcase::Error::Aborted { .. }
                | cardcase::Error::NobodyToAsk { .. }
                | cardcase::Error::ChooserFailed { .. },
            ) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Where to go next, with `-L`.
    fn redirect(&self, url: &Url, response: &Parts) -> Result<Option<Url>, Failure> {
        let follows = matches!(response.status.as_u16(), 301 | 302 | 303 | 307 | 308);
        let location = response.headers.get(header::LOCATION).filter(|_| follows && self.args.location);
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

    async fn open(&self, url: &Url) -> Result<Open, Unanswered> {
        let destination = destination(url)?;
        if url.scheme() == "http" {
            let (stream, proxy) = self.dial(&destination).await?;
            let talk = Talk { asked: proxy, ..Talk::default() };
            return Ok(Open { stream, http2: false, forwarded: self.proxy.is_some(), version: None, talk });
        }
        // The connector wants I/O errors; what went wrong in detail waits here
        let undialled = RefCell::new(None);
        let dial = || async {
            self.dial_through(&destination).await.map_err(|unanswered| {
                *undialled.borrow_mut() = Some(unanswered);
                io::Error::other("not dialled")
            })
        };
        let target = Target::new(destination.clone()).with_path(url.path()).with_credentials(self.credentials);
        let prepared = match (self.chosen.borrow().get(&destination).cloned(), &self.given) {
            (Some(chosen), _) => Some(chosen),
            (None, Some((given_for, identity))) if *given_for == destination => {
                Some(self.connector.selector().given(&target, identity.clone())?)
            }
            _ => None,
        };
        let opened = match (self.takes_openssl(&destination), prepared) {
            (true, prepared) => self.open_by_openssl(&target, prepared, dial).await?,
            (false, Some(prepared)) => {
                self.connector.connect_prepared(prepared, dial).await.map(|open| self.opened(&target, open))
            }
            (false, None) => self.connector.connect(&target, dial).await.map(|open| self.opened(&target, open)),
        };
        match (opened, undialled.into_inner()) {
            (Ok(open), _) => Ok(open),
            (Err(_), Some(unanswered)) => Err(unanswered),
            (Err(error), None) => Err(self.unconnected(target, error)),
        }
    }

    fn opened(&self, target: &Target, connection: Connection<BoxStream>) -> Open {
        let (http2, version) = (connection.alpn.as_deref() == Some(H2), connection.version);
        let (stream, asked) = self.connected(target.clone(), connection);
        Open { stream, http2, forwarded: false, version, talk: Talk { asked, ..Talk::default() } }
    }

    async fn open_by_openssl<F>(
        &self,
        target: &Target,
        prepared: Option<Prepared>,
        dial: impl FnMut() -> F,
    ) -> Result<Result<Open, ConnectError>, Failure>
    where
        F: Future<Output = io::Result<BoxStream>>,
    {
        let connector = match self.by_openssl.get() {
            Some(known) => known,
            None => {
                let selector = self.connector.selector().clone();
                let new = openssl::Connector::new(self.app, selector, self.args.route.cacert.as_deref())?;
                self.by_openssl.get_or_init(|| new)
            }
        };
        Ok(match connector.connect(target, prepared, dial).await {
            Ok(openssl::Connection { stream, version, later }) => {
                let mut talk = Talk { later: Some(later), ..Talk::default() };
                self.catch_up(&mut talk);
                Ok(Open { stream, http2: false, forwarded: false, version, talk })
            }
            Err(openssl::ConnectError { source, answered, .. }) => {
                let (sent, request) = answered.map(|answered| (answered.selection, answered.request)).unzip();
                let version = request.as_ref().and_then(|request| request.version);
                Err(ConnectError::Handshake { source, sent, request, version })
            }
        })
    }

    /// A byte stream to a destination, through a tunnel where there is a proxy.
    async fn dial_through(&self, destination: &Destination) -> Result<BoxStream, Unanswered> {
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
            Err(error) => {
                let talk = Talk { asked: proxy, ..Talk::default() };
                Err(self.broken(&at.to_string(), talk, None, &error))
            }
        }
    }

    /// A byte stream to a destination, or to the proxy, which may have asked for a certificate itself.
    async fn dial(&self, destination: &Destination) -> Result<(BoxStream, Option<Asked>), Unanswered> {
        let Some(proxy) = &self.proxy else {
            return Ok((self.tcp(destination, dial::detour(destination, &self.detours)).await?, None));
        };
        if !proxy.tls {
            return Ok((self.tcp(&proxy.destination, None).await?, None));
        }
        let dial = || dial::tcp(&proxy.destination, None);
        let target = Target::new(proxy.destination.clone()).with_credentials(self.credentials);
        let chosen = self.chosen.borrow().get(&proxy.destination).cloned();
        let connected = match chosen {
            Some(chosen) => self.to_proxies.connect_prepared(chosen, dial).await,
            None => self.to_proxies.connect(&target, dial).await,
        };
        match connected {
            Ok(connection) => Ok(self.connected(target, connection)),
            Err(error) => Err(self.unconnected(target, error)),
        }
    }

    async fn tcp(&self, destination: &Destination, detour: Option<(String, u16)>) -> Result<BoxStream, Failure> {
        let stream = dial::tcp(destination, detour).await.map_err(|error| verify::unreachable(destination, &error))?;
        Ok(Box::new(stream))
    }

    fn connected<IO: dial::Stream + 'static>(
        &self,
        target: Target,
        connection: Connection<IO>,
    ) -> (BoxStream, Option<Asked>) {
        if connection.selection.as_ref().is_some_and(|selection| selection.source == Source::Ask) {
            self.chosen.borrow_mut().insert(target.destination().clone(), connection.again());
        }
        let Connection { stream, selection, request, version, alert, .. } = connection;
        let asked = selection.map(|selection| Asked { target, selection, request, version, alert });
        if let Some(asked) = &asked {
            self.account.tell(asked.target.destination(), &asked.selection);
        }
        (Box::new(stream), asked)
    }

    /// No TLS connection came about.
    fn unconnected(&self, target: Target, error: ConnectError) -> Unanswered {
        let destination = target.destination().clone();
        let (source, sent, request, version) = match error {
            ConnectError::Selection(error) => return self.account.undecided(&destination, &error).into(),
            ConnectError::Handshake { source, sent, request, version } => (source, sent, request, version),
            other => return verify::unreachable(&destination, &other).into(),
        };
        if let Some(error) = failure(&source) {
            return self.account.undecided(&destination, error).into();
        }
        if let Some(selection) = sent {
            let asked = Asked { target, selection, request, version, alert: LateAlert::default() };
            self.account.tell(asked.target.destination(), &asked.selection);
            if let Some(refusal) = refusal(&source) {
                return Unanswered::Refused(Box::new(asked), refusal);
            }
            let said = alert(&source);
            self.record(&asked, Outcome::Unknown, said.map(alert_name));
            if said.is_none() {
                let failure = verify::failed(&destination, &source);
                return self.account.cut_short(&destination, &asked.selection, failure).into();
            }
        }
        verify::failed(&destination, &source).into()
    }

    /// The connection ended before the response.
    fn broken(
        &self,
        at: &str,
        talk: Talk,
        version: Option<ProtocolVersion>,
        error: &(dyn StdError + 'static),
    ) -> Unanswered {
        let Talk { asked, later, .. } = talk;
        if let Some((error, later)) = failure(error).zip(later.as_ref()) {
            return self.account.undecided(later.target.destination(), error).into();
        }
        let interrupted = interrupted(at, error);
        if later.is_none()
            && let Some(late) = Late::of_error(error, version)
        {
            self.accepted(asked.as_ref());
            return Unanswered::Late(late, interrupted);
        }
        let Some(asked) = asked else { return interrupted.into() };
        if let Some(refusal) = asked.alert.refusal().or_else(|| refusal(error)) {
            return Unanswered::Refused(Box::new(asked), refusal);
        }
        let said = asked.alert.get().or_else(|| alert(error));
        self.record(&asked, Outcome::Unknown, said.map(alert_name));
        let interrupted = match said {
            Some(_) => interrupted,
            None => self.account.cut_short(asked.target.destination(), &asked.selection, interrupted),
        };
        match later.filter(|later| alert(error).is_none() && self.keep_chosen(later)) {
            Some(_) => Unanswered::Lost(interrupted),
            None => interrupted.into(),
        }
    }

    /// Keeps for the next connection what a person chose on one that did not last so long; whether there is
    /// such an answer.
    fn keep_chosen(&self, later: &Later) -> bool {
        let last = later.answers.all().pop();
        match last.filter(|answered| answered.selection.source == Source::Ask) {
            Some(chosen) => {
                self.chosen.borrow_mut().insert(later.target.destination().clone(), chosen.again());
                true
            }
            None => false,
        }
    }

    /// Whether a page may have been sent before a person had chosen: Apache waits in TLS 1.3 for some time, and then forbids.
    /// It is fetched once more to know.
    fn came_too_late(&self, arrived: &Arrived) -> bool {
        let forbidden =
            arrived.head.status == StatusCode::FORBIDDEN && arrived.version == Some(ProtocolVersion::TLSv1_3);
        let asked_later = |later: &&Later| later.answers.all().pop().is_some_and(|answered| answered.mid_connection);
        forbidden && arrived.talk.later.as_ref().filter(asked_later).is_some_and(|later| self.keep_chosen(later))
    }

    /// Prints the response, which may be a page that refuses.
    async fn deliver(&self, url: &Url, mut arrived: Arrived) -> Result<(), Failure> {
        let mut out = Sink::open(self.args.output.as_deref())?;
        if self.args.include {
            out.write(&head_bytes(arrived.head.version, arrived.head.status, &arrived.head.headers))?;
        }
        out.write(&arrived.start)?;
        while !out.is_gone() {
            match next(&mut arrived.body).await {
                Ok(Some(data)) => out.write(&data)?,
                Ok(None) => break,
                Err(error) => return Err(self.cut_off(url, arrived, &error)),
            }
        }
        out.finish()?;
        self.body_ended(&mut arrived);
        arrived.refused.map_or(Ok(()), Err)
    }

    /// A server may have asked within the body.
    fn body_ended(&self, arrived: &mut Arrived) {
        let seen = arrived.talk.seen;
        // What came before was accounted for when the headers had come
        arrived.talk.asked = None;
        self.catch_up(&mut arrived.talk);
        if arrived.talk.seen > seen {
            self.accepted(arrived.talk.asked.as_ref());
        }
        if let Some(later) = &arrived.talk.later {
            later.finished();
        }
    }

    /// The connection ended within the body.
    fn cut_off(&self, url: &Url, mut arrived: Arrived, error: &hyper::Error) -> Failure {
        arrived.talk.asked = None;
        self.catch_up(&mut arrived.talk);
        match self.broken(url.as_str(), arrived.talk, arrived.version, error) {
            Unanswered::Refused(asked, refusal) => self.refused(&asked, refusal),
            Unanswered::Late(late, failure) => late.explain(failure),
            Unanswered::Lost(failure) | Unanswered::Failed(failure) => failure,
        }
    }

    fn accepted(&self, asked: Option<&Asked>) {
        if let Some(asked) = asked {
            self.record(asked, Outcome::Accepted, None);
        }
    }

    /// Records a refusal, and gives the failure that says who refused what, and what to do.
    fn refused(&self, asked: &Asked, why: Refusal) -> Failure {
        self.record(asked, Outcome::Refused, why.alert_name());
        self.account.refusal(asked.target.destination(), &asked.selection, why)
    }

    fn record(&self, asked: &Asked, outcome: Outcome, alert: Option<String>) {
        self.account.record(asked.target.destination(), &asked.selection, asked.version, outcome, alert);
    }
}

impl Asked {
    fn new(target: &Target, answered: openssl::Answered) -> Self {
        let openssl::Answered { selection, request, .. } = answered;
        let (version, alert) = (request.version, LateAlert::default());
        Self { target: target.clone(), selection, request: Some(request), version, alert }
    }
}

/// Whether a response may be a page that refuses: nginx's, or Apache's for want of a way to ask.
fn may_refuse(head: &Parts, talk: &Talk) -> bool {
    match head.status {
        StatusCode::BAD_REQUEST => talk.asked.is_some(),
        StatusCode::FORBIDDEN => talk.later.is_none(),
        _ => false,
    }
}

/// Whether an answer that nobody chose just now was refused before: sent once more it would be refused once more.
fn was_refused(selection: &Selection, refused: &[Refused]) -> bool {
    let sent = selection.answer.fingerprint();
    selection.source != Source::Ask && refused.iter().any(|refused| refused.answer.fingerprint() == sent)
}

/// The failure of an exchange that ended too early.
fn interrupted(at: &str, error: &(dyn StdError + 'static)) -> Failure {
    let mut message = format!("{at}: {error}");
    let mut source = error.source();
    while let Some(cause) = source {
        message.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    Failure::new(Code::Failed, message)
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
