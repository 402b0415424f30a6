//! The HTTP client of `fetch`: redirects, refusals and repeated requests, with an identity selected for each.

use std::collections::{HashMap, HashSet};
use std::error::Error as StdError;
use std::io;
use std::sync::Arc;

use cardcase::ask::{Refusal, Refused};
use cardcase::connect::tokio::Connector;
use cardcase::connect::{Connection, Selection, Source};
use cardcase::manage::Answer;
use cardcase::raw::{Prepared, failure};
use cardcase::{Destination, Identity, Target};
use http_body_util::BodyExt;
use hyper::StatusCode;
use hyper::body::{Bytes, Incoming};
use hyper::http::response::Parts;
use rustls::ProtocolVersion;
use url::Url;

use crate::app::App;
use crate::cli::{self, Fetch, TlsLibrary};
use crate::http::exchange::{Requests, send};
use crate::http::location::{self, destination};
use crate::http::message::Message;
use crate::http::mid_connection::MidConnection;
#[cfg(feature = "openssl")]
use crate::http::openssl;
use crate::http::outcome::{Asked, Ended, Outcomes};
use crate::http::route::{Dialer, H2, HTTP_1_1, Route, connector};
use crate::http::stream::BoxStream;
use crate::http::verify;
use crate::ui::failure::{Code, Failure};
use crate::ui::say;

/// Redirects followed, as in curl.
const MAX_REDIRECTS: usize = 50;

/// Bytes of an error page that are searched for a refusal.
const MAX_ERROR_PAGE: usize = 64 << 10;

/// Sends requests.
pub(crate) struct Client<'a> {
    app: &'a App,
    args: &'a Fetch,
    connector: Connector,
    route: Arc<Route>,
    /// The identity that `--as` names, for the destination of the URL only: a redirect does not take it elsewhere.
    given: Option<(Destination, Identity)>,
    credentials: bool,
    outcomes: Arc<Outcomes>,
}

/// What earlier attempts found out, for those that follow.
#[derive(Default)]
struct Progress {
    /// What was refused in this run, by destination.
    refused: HashMap<Destination, Vec<Refused>>,
    /// Destinations that ask in the middle of a connection, which takes OpenSSL.
    mid_connection: HashSet<Destination>,
    /// What a person chose for the current request, by destination. They are not asked again when the request needs another
    /// connection, unless the server itself asks again on it.
    chosen: HashMap<Destination, Prepared>,
    /// Whether the current request was sent again because the server did not wait for that choice.
    sent_again: bool,
}

impl Progress {
    /// Begins another request: what was chosen once does not apply to it.
    fn begin_request(&mut self) {
        self.chosen.clear();
        self.sent_again = false;
    }

    fn keep(&mut self, chosen: Prepared) {
        self.chosen.insert(chosen.destination().clone(), chosen);
    }

    /// Whether a request may be sent again because the server did not wait for a person.
    fn may_send_again(&self, message: &Message) -> bool {
        !self.sent_again && message.is_idempotent()
    }
}

/// An open connection for a request.
struct Open {
    stream: BoxStream,
    is_http2: bool,
    /// Whether it leads to a proxy that forwards the request.
    is_forwarded: bool,
    version: Option<ProtocolVersion>,
    requests: Requests,
}

/// A response, with as much of its body as was read.
pub(crate) struct Response {
    pub(crate) head: Parts,
    url: Url,
    start: Bytes,
    body: Incoming,
    version: Option<ProtocolVersion>,
    requests: Requests,
    /// The failure of the command although there is a response: the server refused by an error page.
    refused: Option<Failure>,
}

/// Why there is no response.
enum Unanswered {
    /// The server, or a proxy, refused the answer that it got.
    Refused(Box<Asked>, Refusal),
    /// The server asks in the middle of the connection, which the TLS library does not support.
    MidConnection(MidConnection, Failure),
    /// The server did not wait for what a person chose. It is kept for another connection.
    Lost(Failure),
    Failed(Failure),
}

impl<T: Into<Ended>> From<T> for Unanswered {
    fn from(ended: T) -> Self {
        match ended.into() {
            Ended::Refused(asked, refusal) => Self::Refused(asked, refusal),
            Ended::Failed(failure) => Self::Failed(failure),
        }
    }
}

impl<'a> Client<'a> {
    pub(crate) fn new(app: &'a App, args: &'a Fetch, url: &Url, message: &Message) -> Result<Self, Failure> {
        if args.tls == Some(TlsLibrary::Openssl) && !cfg!(feature = "openssl") {
            let failure = Failure::usage("--tls openssl: this cardcase was built without OpenSSL");
            return Err(failure.hint("cargo install cardcase-cli --features openssl"));
        }
        let selector = Arc::new(app.selector()?);
        let config = verify::config(app, args.route.cacert.as_deref())?;
        let given = match &args.identity {
            Some(id) => Some((destination(url)?, app.store()?.find_identity(id)?)),
            None => None,
        };
        let outcomes = Arc::new(Outcomes::new(selector.clone(), app.mode_flag()));
        Ok(Self {
            app,
            args,
            connector: connector(selector, &config, &[H2, HTTP_1_1]),
            route: Arc::new(Route::new(&args.route, &config, outcomes.clone())?),
            given,
            credentials: message.carries_credentials(args.credentials == cli::Credentials::Include),
            outcomes,
        })
    }

    /// Sends a request, follows redirects if that is wanted, and gives the last response.
    pub(crate) async fn fetch(&self, mut url: Url, mut message: Message) -> Result<Response, Failure> {
        let mut progress = Progress::default();
        for _ in 0..=MAX_REDIRECTS {
            progress.begin_request();
            let response = self.request(&mut progress, &url, &message).await?;
            let next = if self.args.location { location::redirect(&url, &response.head)? } else { None };
            let Some(next) = next else { return Ok(response) };
            message.redirected(response.head.status, next.origin() == url.origin());
            url = next;
        }
        Err(Failure::new(Code::Failed, format_args!("more than {MAX_REDIRECTS} redirects, the last to {url}")))
    }

    /// The next piece of the body; `None` at its end.
    pub(crate) async fn read(&self, response: &mut Response) -> Result<Option<Bytes>, Failure> {
        if !response.start.is_empty() {
            return Ok(Some(std::mem::take(&mut response.start)));
        }
        let read = next(&mut response.body).await;
        read.map_err(|error| self.interrupted(response, &error))
    }

    /// Ends an exchange whose response is not read any further. Fails if the response refuses.
    pub(crate) fn finish(&self, mut response: Response) -> Result<(), Failure> {
        // The server may have asked while it sent the body
        response.requests.catch_up(&self.outcomes);
        if let Some(asked) = &response.requests.asked {
            self.outcomes.accepted(asked);
        }
        if let Some(open) = &response.requests.open {
            open.finished();
        }
        response.refused.map_or(Ok(()), Err)
    }

    /// The connection ended in the middle of the body.
    fn interrupted(&self, response: &mut Response, error: &hyper::Error) -> Failure {
        let mut requests = std::mem::take(&mut response.requests);
        requests.catch_up(&self.outcomes);
        let broken = self.broken(&mut Progress::default(), &response.url, requests, response.version, error);
        match broken {
            Unanswered::Refused(asked, refusal) => self.outcomes.refused(&asked, refusal),
            Unanswered::MidConnection(how, failure) => how.explain(failure),
            Unanswered::Lost(failure) | Unanswered::Failed(failure) => failure,
        }
    }

    /// One request and its response. After a refusal a person may choose another identity, with which it is sent again.
    async fn request(&self, progress: &mut Progress, url: &Url, message: &Message) -> Result<Response, Failure> {
        loop {
            match self.attempt(progress, url, message).await {
                Ok(response) => {
                    if let Some(response) = self.settle(progress, url, message, response).await? {
                        return Ok(response);
                    }
                }
                Err(Unanswered::Refused(asked, refusal)) => {
                    let failure = self.outcomes.refused(&asked, refusal);
                    if !self.choose_again(progress, &asked, refusal).await? {
                        return Err(failure);
                    }
                }
                Err(Unanswered::MidConnection(how, failure)) => {
                    if !self.turn_to_openssl(progress, url, message, how)? {
                        return Err(how.explain(failure));
                    }
                }
                Err(Unanswered::Lost(failure)) => {
                    if !progress.may_send_again(message) {
                        return Err(failure);
                    }
                    progress.sent_again = true;
                }
                Err(Unanswered::Failed(failure)) => return Err(failure),
            }
        }
    }

    /// Records what a response says of the answer that its server got; `None` if the request is to be sent again.
    async fn settle(
        &self,
        progress: &mut Progress,
        url: &Url,
        message: &Message,
        mut response: Response,
    ) -> Result<Option<Response>, Failure> {
        let page = String::from_utf8_lossy(&response.start);
        if let Some(how) = MidConnection::from_page(response.head.status, &page) {
            if self.turn_to_openssl(progress, url, message, how)? {
                if let Some(asked) = &response.requests.asked {
                    self.outcomes.accepted(asked);
                }
                return Ok(None);
            }
            say::warn(how.hint());
        }
        if progress.may_send_again(message)
            && let Some(chosen) = response.sent_before_choice()
        {
            progress.keep(chosen);
            progress.sent_again = true;
            return Ok(None);
        }
        let refusal = Refusal::from_response(response.head.status.as_u16(), &response.start);
        if let Some(asked) = response.requests.asked.take() {
            match refusal {
                Some(refusal) => {
                    let failure = self.outcomes.refused(&asked, refusal);
                    if self.choose_again(progress, &asked, refusal).await? {
                        return Ok(None);
                    }
                    response.refused = Some(failure);
                }
                None => self.outcomes.accepted(&asked),
            }
        }
        Ok(Some(response))
    }

    /// Makes the next connection to a server by OpenSSL, on which it may ask at any time, if this cardcase has OpenSSL and the
    /// request may be sent again.
    fn turn_to_openssl(
        &self,
        progress: &mut Progress,
        url: &Url,
        message: &Message,
        how: MidConnection,
    ) -> Result<bool, Failure> {
        let destination = destination(url)?;
        let may = cfg!(feature = "openssl") && self.args.tls.is_none() && !self.uses_openssl(progress, &destination);
        if !may || !(how.is_unprocessed() || message.is_idempotent()) {
            return Ok(false);
        }
        say::note(format_args!("{destination}: {}; connecting again by OpenSSL, which supports that", how.meaning()));
        Ok(progress.mid_connection.insert(destination))
    }

    fn uses_openssl(&self, progress: &Progress, destination: &Destination) -> bool {
        self.args.tls == Some(TlsLibrary::Openssl) || progress.mid_connection.contains(destination)
    }

    /// Lets a person choose again after a refusal; whether they did. A person who named an identity on the command line, or
    /// who wants none, is not asked.
    async fn choose_again(&self, progress: &mut Progress, asked: &Asked, refusal: Refusal) -> Result<bool, Failure> {
        let may_choose = match asked.selection.source {
            Source::Decision | Source::Ask => true,
            // A rule that denies every identity leaves nothing to choose
            Source::Rule => asked.selection.answer != Answer::None,
            _ => false,
        };
        let Some(request) = asked.opened.request().filter(|_| may_choose && self.app.can_choose()) else {
            return Ok(false);
        };
        let refused = progress.refused.entry(asked.destination().clone()).or_default();
        refused.push(Refused::new(asked.selection.answer.clone(), refusal));
        let (target, before) = (asked.opened.target().clone(), refused.clone());
        let selected =
            self.outcomes.blocking(move |outcomes| outcomes.selector().select_again(target, &request, &before));
        match selected.await? {
            Ok(prepared) if prepared.selection().is_none_or(|selection| was_refused(selection, refused)) => Ok(false),
            Ok(prepared) => {
                progress.keep(prepared);
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

    /// Sends a request once.
    async fn attempt(&self, progress: &mut Progress, url: &Url, message: &Message) -> Result<Response, Unanswered> {
        let Open { stream, is_http2, is_forwarded, version, mut requests } = self.open(progress, url).await?;
        let request = message.request(url, is_http2, is_forwarded)?;
        let sent = send(stream, is_http2, request).await;
        requests.catch_up(&self.outcomes);
        let response = match sent {
            Ok(response) => response,
            Err(error) => return Err(self.broken(progress, url, requests, version, &error)),
        };
        let (head, mut body) = response.into_parts();
        let mut start = Vec::new();
        if may_refuse(&head, &requests) {
            while start.len() < MAX_ERROR_PAGE {
                match next(&mut body).await {
                    Ok(Some(data)) => start.extend_from_slice(&data),
                    Ok(None) => break,
                    Err(error) => return Err(self.broken(progress, url, requests, version, &error)),
                }
            }
        }
        Ok(Response { head, url: url.clone(), start: start.into(), body, version, requests, refused: None })
    }

    /// Opens a connection for a request.
    async fn open(&self, progress: &mut Progress, url: &Url) -> Result<Open, Unanswered> {
        let destination = destination(url)?;
        let proxy_answer = self.route.proxy().and_then(|proxy| progress.chosen.get(proxy)).cloned();
        let dialer = Dialer::new(self.route.clone(), self.credentials, proxy_answer);
        let opened = match url.scheme() {
            "http" => {
                let dialled = dialer.dial(&destination).await;
                dialled.map(|dialled| Open {
                    stream: dialled.stream,
                    is_http2: false,
                    is_forwarded: dialled.is_proxy,
                    version: None,
                    requests: Requests::of_handshake(dialled.proxy_asked),
                })
            }
            _ => {
                let target = dialer.target(&destination).with_path(url.path());
                let prepared = match (progress.chosen.get(&destination), &self.given) {
                    (Some(chosen), _) => Some(chosen.clone()),
                    (None, Some((given_for, identity))) if *given_for == destination => {
                        Some(self.outcomes.selector().given(&target, identity.clone()).map_err(Failure::from)?)
                    }
                    _ => None,
                };
                match self.uses_openssl(progress, &destination) {
                    #[cfg(feature = "openssl")]
                    true => self.open_by_openssl(&target, prepared, &dialer).await,
                    _ => self.open_by_rustls(target, prepared, &dialer).await,
                }
            }
        };
        dialer.proxy_answer().into_iter().for_each(|chosen| progress.keep(chosen));
        let opened = opened?;
        if let Some(chosen) = opened.requests.asked.as_ref().and_then(Asked::chosen) {
            progress.keep(chosen);
        }
        Ok(opened)
    }

    async fn open_by_rustls(&self, target: Target, prepared: Option<Prepared>, dialer: &Dialer) -> Result<Open, Ended> {
        let dial = || async { dialer.dial_through(target.destination()).await.map_err(io::Error::other) };
        let connected = match prepared {
            Some(prepared) => self.connector.connect_prepared(prepared, dial).await,
            None => self.connector.connect(&target, dial).await,
        };
        let connection = match connected {
            Ok(connection) => connection,
            Err(error) => return Err(self.outcomes.unconnected(target.destination(), error)),
        };
        let Connection { stream, opened, .. } = connection;
        let asked = Asked::on(opened.clone());
        if let Some(asked) = &asked {
            self.outcomes.announce(asked);
        }
        Ok(Open {
            is_http2: opened.alpn() == Some(H2),
            is_forwarded: false,
            version: opened.version(),
            stream: Box::new(stream),
            requests: Requests::of_handshake(asked),
        })
    }

    #[cfg(feature = "openssl")]
    async fn open_by_openssl(
        &self,
        target: &Target,
        prepared: Option<Prepared>,
        dialer: &Dialer,
    ) -> Result<Open, Ended> {
        let selector = self.outcomes.selector().clone();
        let connector = openssl::Connector::new(self.app, selector, self.args.route.cacert.as_deref())?;
        let dial = || async { dialer.dial_through(target.destination()).await.map_err(io::Error::other) };
        let (stream, version, mut requests) = connector.connect(target, prepared, dial, &self.outcomes).await?;
        requests.catch_up(&self.outcomes);
        Ok(Open { stream, is_http2: false, is_forwarded: false, version, requests })
    }

    /// Why a connection ended before the end of the response.
    fn broken(
        &self,
        progress: &mut Progress,
        url: &Url,
        requests: Requests,
        version: Option<ProtocolVersion>,
        error: &(dyn StdError + 'static),
    ) -> Unanswered {
        if let Some((error, open)) = failure(error).zip(requests.open.as_ref()) {
            return self.outcomes.undecided(open.destination(), error).into();
        }
        let failure = with_causes(url, error);
        if requests.open.is_none()
            && let Some(how) = MidConnection::from_error(error, version)
        {
            if let Some(asked) = &requests.asked {
                self.outcomes.accepted(asked);
            }
            return Unanswered::MidConnection(how, failure);
        }
        let chosen = requests.chosen_too_late().filter(|_| cardcase::raw::alert(error).is_none());
        match (self.outcomes.broken(requests.asked, error, failure), chosen) {
            (Ended::Failed(failure), Some(chosen)) => {
                progress.keep(chosen);
                Unanswered::Lost(failure)
            }
            (ended, _) => ended.into(),
        }
    }
}

impl Response {
    /// What a person chose in the middle of the connection, if the server may have sent its page before they did: in TLS 1.3
    /// Apache waits for some time, and then forbids. Sending the request again shows.
    fn sent_before_choice(&self) -> Option<Prepared> {
        let is_forbidden = self.head.status == StatusCode::FORBIDDEN && self.version == Some(ProtocolVersion::TLSv1_3);
        self.requests.chosen_too_late().filter(|_| is_forbidden && self.requests.were_mid_connection())
    }
}

/// Whether a response may be a page that refuses: one of nginx, or one of Apache when it cannot ask.
fn may_refuse(head: &Parts, requests: &Requests) -> bool {
    match head.status {
        StatusCode::BAD_REQUEST => requests.asked.is_some(),
        StatusCode::FORBIDDEN => requests.open.is_none(),
        _ => false,
    }
}

/// Whether an answer that nobody chose just now was refused before, and so would be refused again.
fn was_refused(selection: &Selection, refused: &[Refused]) -> bool {
    let sent = selection.answer.fingerprint();
    selection.source != Source::Ask && refused.iter().any(|refused| refused.answer.fingerprint() == sent)
}

/// The failure that an error is, with its causes.
fn with_causes(url: &Url, error: &(dyn StdError + 'static)) -> Failure {
    let mut message = format!("{url}: {error}");
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
