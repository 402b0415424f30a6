//! The HTTP client of `fetch`: redirects, refusals and repeated requests, with an identity selected for each.

use std::collections::{HashMap, HashSet};
use std::error::Error as StdError;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use cardcase::ask::{Refusal, Refused};
use cardcase::connect::tokio::Connector;
use cardcase::connect::{self, Opened, Selection, Source};
use cardcase::connect::{Cause, cause};
use cardcase::manage::Answer;
use cardcase::raw::Prepared;
use cardcase::{Destination, Identity, Target};
use hyper::StatusCode;
use hyper::body::{Bytes, Incoming};
use hyper::http::Extensions;
use hyper::http::response::Parts;
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::capture_connection;
use rustls::ProtocolVersion;
use url::Url;

use crate::app::App;
use crate::cli::{self, Fetch, TlsLibrary};
use crate::http::decompress;
use crate::http::dial::TIMEOUT;
use crate::http::exchange::Requests;
use crate::http::incompatible::{self, Incompatible};
use crate::http::location::{self, destination};
use crate::http::message::Message;
use crate::http::mid_connection::MidConnection;
#[cfg(feature = "openssl")]
use crate::http::openssl;
use crate::http::outcome::{self, Asked, Ended, Outcomes};
use crate::http::patience::{Impatience, Patience, Speed, next};
use crate::http::route::{Dialer, H2, HTTP_1_1, Route, connector};
use crate::http::told::told;
use crate::http::upload::{Sending, Unread};
use crate::http::verbose;
use crate::http::verify;
use crate::ui::failure::{Code, Failure};
use crate::ui::remedy;
use crate::ui::say;

/// Redirects followed, as in curl.
const MAX_REDIRECTS: usize = 50;

/// Bytes of an error page that are searched for a refusal.
const MAX_ERROR_PAGE: usize = 64 << 10;

/// Bytes of a body that are written at once, if they are there.
const BATCH: usize = 256 << 10;

/// Why a request is not sent again over another connection.
const NOT_REPEATED: &str =
    "the request was not sent again: the server may have processed it, and its method is not idempotent";

/// Why a request is not sent again if its body cannot be.
const NOT_REPLAYABLE: &str = "the request was not sent again: its body came from a pipe and is too long to keep; \
     save it to a file and use -d @FILE";

/// Sends requests.
pub(crate) struct Client<'a> {
    app: &'a App,
    args: &'a Fetch,
    connector: Arc<Connector>,
    route: Arc<Route>,
    /// The identity that `--as` names, for the destination of the URL only: a redirect does not take it elsewhere.
    given: Option<(Destination, Identity)>,
    credentials: bool,
    outcomes: Arc<Outcomes>,
    /// The limit for each step before the request.
    timeout: Duration,
    /// The limits for the response; `None` if there are none.
    patience: Option<Patience>,
}

/// What earlier attempts found out, for those that follow.
#[derive(Default)]
struct Progress {
    /// What was refused in this run, by destination.
    refused: HashMap<Destination, Vec<Refused>>,
    /// Destinations that need OpenSSL.
    openssl: HashSet<Destination>,
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
        !self.sent_again && message.is_repeatable()
    }
}

/// A response, with as much of its body as was read.
pub(crate) struct Response {
    pub(crate) head: Parts,
    url: Url,
    start: Bytes,
    body: Incoming,
    /// How the body ended, behind the pieces that were read.
    failed: Option<hyper::Error>,
    speed: Speed,
    requests: Requests,
    /// Whether it came over OpenSSL, which lets a server ask at any time.
    is_openssl: bool,
    /// The failure of the command although there is a response: the server refused by an error page.
    refused: Option<Failure>,
    /// Whether the body of the request could be read.
    unread: Unread,
}

/// Why there is no response.
enum Unanswered {
    /// The server, or a proxy, refused the answer that it got.
    Refused(Box<Asked>, Refusal),
    /// The server asks in the middle of the connection, which the TLS library does not support.
    MidConnection(MidConnection),
    /// The handshake failed, because rustls lacks what the server uses. The request was not sent.
    Incompatible(Incompatible, Failure),
    /// The server did not wait for what a person chose. It is kept for another connection.
    Lost,
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
        incompatible::check_built_in(args.tls)?;
        let selector = Arc::new(app.selector()?);
        let config = verify::config(app, args.route.cacert.as_deref())?;
        let given = match &args.identity {
            Some(id) => Some((destination(url)?, app.store()?.find_identity(id)?)),
            None => None,
        };
        let outcomes = Arc::new(Outcomes::new(selector.clone(), app.mode_flag()));
        let timeout = args.connect_timeout.filter(|limit| !limit.is_zero()).unwrap_or(TIMEOUT);
        Ok(Self {
            app,
            args,
            connector: Arc::new(connector(selector, &config, &[H2, HTTP_1_1], timeout)),
            route: Arc::new(Route::new(&args.route, &config, outcomes.clone(), timeout)?),
            given,
            credentials: message.carries_credentials(args.credentials == cli::Credentials::Include),
            outcomes,
            timeout,
            patience: Patience::new(args.speed_time, args.speed_limit),
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

    /// The next pieces of the body: those that are there, or else the one that comes first. None at its end.
    pub(crate) async fn read(&self, response: &mut Response) -> Result<Vec<Bytes>, Failure> {
        if !response.start.is_empty() {
            return Ok(vec![std::mem::take(&mut response.start)]);
        }
        let mut pieces = Vec::new();
        let first = match response.failed.take() {
            Some(error) => Err(error),
            None => match response.speed.next(next(&mut response.body)).await {
                Ok(read) => read,
                Err(impatience) => return Err(slow(&response.url, &impatience)),
            },
        };
        pieces.extend(first.map_err(|error| self.interrupted(response, &error))?);
        // Those of HTTP/2 are small
        while !pieces.is_empty() && pieces.iter().map(Bytes::len).sum::<usize>() < BATCH {
            match response.speed.ready(&mut response.body).await {
                Some(Ok(piece)) => pieces.push(piece),
                failed => {
                    response.failed = failed.and_then(Result::err);
                    break;
                }
            }
        }
        Ok(pieces)
    }

    /// Ends an exchange whose response is not read any further. Fails if the response refuses.
    pub(crate) fn finish(&self, mut response: Response) -> Result<(), Failure> {
        // The server may have asked while it sent the body
        response.requests.catch_up(&self.outcomes);
        response.requests.accepted(&self.outcomes);
        #[cfg(feature = "openssl")]
        if let Some(opened) = response.requests.opened() {
            opened.finished();
        }
        let is_cut = response.head.status.is_success() && !response.unread.is_complete();
        let cut = || {
            let url = &response.url;
            is_cut.then(|| {
                Failure::new(Code::Failed, format_args!("{url}: the server answered before the whole body was sent"))
                    .hint("whether it takes the rest is not known: ask the server what it has")
            })
        };
        response.refused.or_else(|| response.unread.failure()).or_else(cut).map_or(Ok(()), Err)
    }

    /// The connection ended in the middle of the body.
    fn interrupted(&self, response: &mut Response, error: &hyper::Error) -> Failure {
        if let Some(failure) = response.unread.failure() {
            response.requests.accepted(&self.outcomes);
            return failure;
        }
        let (url, is_openssl) = (response.url.clone(), response.is_openssl);
        match self.broken(&mut Progress::default(), &url, &mut response.requests, (is_openssl, false), error) {
            Unanswered::Refused(asked, refusal) => self.outcomes.refused(&asked, refusal),
            Unanswered::MidConnection(how) => match destination(&url) {
                Ok(destination) => how.explain(&destination, None),
                Err(failure) => failure,
            },
            Unanswered::Failed(failure) | Unanswered::Incompatible(_, failure) => failure,
            Unanswered::Lost => with_causes(&url, error),
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
                    if !message.is_replayable() {
                        return Err(failure.hint(NOT_REPLAYABLE));
                    }
                    if !self.choose_again(progress, &asked, refusal).await? {
                        return Err(failure);
                    }
                }
                Err(Unanswered::MidConnection(how)) => {
                    if !self.turn_to_openssl(progress, url, message, how)? {
                        return Err(how.explain(&destination(url)?, why_not_repeated(message, how)));
                    }
                }
                Err(Unanswered::Incompatible(how, failure)) => {
                    let Some(next) = self.turn_for_handshake(progress, url, how, failure).await? else { continue };
                    return Err(next);
                }
                Err(Unanswered::Lost) => progress.sent_again = true,
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
        let status = response.head.status;
        let page = decompress::start_of(&response.start, &response.head.headers, MAX_ERROR_PAGE);
        if let Some(how) = MidConnection::from_page(status, &String::from_utf8_lossy(&page)) {
            if self.turn_to_openssl(progress, url, message, how)? {
                response.requests.accepted(&self.outcomes);
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
        let refusal = match message.is_head() {
            true => self.without_page(&mut response),
            false => Refusal::from_response(status.as_u16(), &page),
        };
        let Some(refusal) = refusal else {
            response.requests.accepted(&self.outcomes);
            return Ok(Some(response));
        };
        if let Some(asked) = response.requests.pending.take() {
            let failure = self.outcomes.refused(&asked, refusal);
            response.refused = Some(if !message.is_replayable() {
                failure.hint(NOT_REPLAYABLE)
            } else if self.choose_again(progress, &asked, refusal).await? {
                return Ok(None);
            } else {
                failure
            });
        }
        Ok(Some(response))
    }

    /// What a response to HEAD says of the answer that its server got. Servers refuse by a page, which it does not have: then the
    /// outcome is unknown.
    fn without_page(&self, response: &mut Response) -> Option<Refusal> {
        let status = response.head.status;
        let asks_later = status == StatusCode::FORBIDDEN && !response.is_openssl && response.url.scheme() == "https";
        let may_refuse = Refusal::may_come_with(status.as_u16()) && response.requests.pending.is_some();
        if !may_refuse && !asks_later {
            return None;
        }
        say::warn(format_args!(
            "{}: {status} may be about the client certificate; only a request with GET, which has a page, can tell",
            response.url
        ));
        let asked = response.requests.pending.take_if(|_| may_refuse)?;
        let refusal = self.outcomes.end(&asked, None).err();
        response.requests.pending = refusal.map(|_| asked);
        refusal
    }

    /// Makes the next connection to a server with OpenSSL, where it may ask at any time, if this cardcase has OpenSSL and the
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
        if !may || why_not_repeated(message, how).is_some() {
            return Ok(false);
        }
        say::note(format_args!("{destination}: {}; connecting again with OpenSSL, which supports that", how.meaning()));
        Ok(progress.openssl.insert(destination))
    }

    /// Switches to OpenSSL after a handshake in which rustls had nothing in common with the server; returns the failure if that
    /// is not possible. The request was not sent, so it may be sent now.
    async fn turn_for_handshake(
        &self,
        progress: &mut Progress,
        url: &Url,
        how: Incompatible,
        failure: Failure,
    ) -> Result<Option<Failure>, Failure> {
        let destination = destination(url)?;
        let what = match how {
            Incompatible::Key(missed) => Some(missed.to_owned()),
            Incompatible::Parameters => self.beyond_rustls(progress, &destination).await?,
        };
        let Some(what) = what else { return Ok(Some(failure)) };
        let message = incompatible::unsupported(&destination, &what);
        if self.args.tls.is_some() || !cfg!(feature = "openssl") {
            return Ok(Some(Failure::new(failure.code, message).hint(remedy::use_openssl())));
        }
        say::note(format_args!("{message}; connecting again with OpenSSL"));
        progress.openssl.insert(destination);
        Ok(None)
    }

    /// Connects with OpenSSL to find out what a server uses that rustls lacks; `None` if that fails too. Nothing but a
    /// handshake is sent.
    #[cfg(feature = "openssl")]
    async fn beyond_rustls(&self, progress: &Progress, destination: &Destination) -> Result<Option<String>, Failure> {
        let proxy_answer = self.route.proxy(destination, false).and_then(|proxy| progress.chosen.get(proxy)).cloned();
        let dialer = Dialer::new(self.route.clone(), self.credentials, proxy_answer);
        let connector = self.openssl()?;
        let target = Target::new(destination.clone()).without_credentials();
        let dial = || async { dialer.dial_through(destination).await.map_err(std::io::Error::other) };
        Ok(match connector.connect_async(target, dial).await {
            Ok(connection) => Some(openssl::beyond_rustls(&connection.opened)),
            // The server may have got as far as asking
            Err(error) => error.opened().filter(|opened| opened.request().is_some()).map(openssl::beyond_rustls),
        })
    }

    #[cfg(not(feature = "openssl"))]
    async fn beyond_rustls(&self, _: &Progress, _: &Destination) -> Result<Option<String>, Failure> {
        Ok(None)
    }

    #[cfg(feature = "openssl")]
    fn openssl(&self) -> Result<connect::openssl::Connector, Failure> {
        let selector = self.outcomes.selector().clone();
        openssl::connector(
            self.app,
            selector,
            self.args.route.cacert.as_deref(),
            &[HTTP_1_1],
            self.handshake_limit(true),
        )
    }

    /// How long a handshake may take.
    #[cfg_attr(not(feature = "openssl"), expect(unused_variables, reason = "only connections of OpenSSL need it"))]
    fn handshake_limit(&self, is_openssl: bool) -> Duration {
        // The server may still be busy with the connection of rustls
        #[cfg(feature = "openssl")]
        if is_openssl && self.args.tls.is_none() && self.args.connect_timeout.is_none() {
            return openssl::PATIENCE;
        }
        self.timeout
    }

    fn uses_openssl(&self, progress: &Progress, destination: &Destination) -> bool {
        self.args.tls == Some(TlsLibrary::Openssl) || progress.openssl.contains(destination)
    }

    /// Switches to OpenSSL before the first connection, if the identity that is given or remembered for the destination needs
    /// it.
    fn begins_with_openssl(
        &self,
        progress: &mut Progress,
        url: &Url,
        destination: &Destination,
    ) -> Result<bool, Failure> {
        if self.args.tls.is_some() || !self.credentials {
            return Ok(false);
        }
        let given = self.given.as_ref().filter(|(given_for, _)| given_for == destination).map(|(_, given)| given);
        let target = Target::new(destination.clone()).with_path(url.path());
        let Some(limit) = incompatible::limit_of_identity(self.outcomes.selector(), target, given)? else {
            return Ok(false);
        };
        say::note(format_args!("{limit}; connecting to {destination} with OpenSSL"));
        Ok(progress.openssl.insert(destination.clone()))
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
        let destination = destination(url)?;
        let is_openssl = url.scheme() == "https"
            && (self.uses_openssl(progress, &destination) || self.begins_with_openssl(progress, url, &destination)?);
        let may_send_again = progress.may_send_again(message);
        let proxy_answer = self.route.proxy(&destination, url.scheme() == "http");
        let proxy_answer = proxy_answer.and_then(|proxy| progress.chosen.get(proxy)).cloned();
        let dialer = Dialer::new(self.route.clone(), self.credentials, proxy_answer);
        let mut request = self.prepared_request(progress, url, message, &dialer)?;
        let (activity, unread) = (dialer.activity().clone(), request.body().unread());
        let client = self.client(dialer.clone(), is_openssl)?;
        let sending = say::gives_details().then(|| tell_sending(&mut request, is_openssl));
        let sent = activity.head(self.patience, self.handshake_limit(is_openssl), client.request(request));
        let sent = match sending {
            Some(sending) => {
                let (mut sent, mut sending, mut is_told) = (pin!(sent), pin!(sending), false);
                poll_fn(|context| {
                    is_told = is_told || sending.as_mut().poll(context).is_ready();
                    sent.as_mut().poll(context)
                })
                .await
            }
            None => sent.await,
        };
        let sent = sent.map_err(|impatience| Unanswered::Failed(slow(url, &impatience)))?;
        dialer.proxy_answer().into_iter().for_each(|chosen| progress.keep(chosen));
        let (head, body) = match sent {
            Ok(response) => response.into_parts(),
            Err(connect::Error::Request { source, opened }) => {
                // hyper-util does not say which connection it was when that ended before the request was sent
                let opened = opened.or_else(|| dialer.proxy_opened().filter(|_| url.scheme() == "http"));
                let mut requests = Requests::new(opened);
                if let Some(failure) = unread.failure() {
                    requests.catch_up(&self.outcomes);
                    return Err(Unanswered::Failed(failure));
                }
                return Err(self.broken(
                    progress,
                    url,
                    &mut requests,
                    (is_openssl, may_send_again),
                    without_client(&*source),
                ));
            }
            Err(error) => return Err(self.unconnected(progress, &destination, error, is_openssl)),
        };
        let mut requests = Requests::new(head.extensions.get::<Opened>().cloned());
        requests.catch_up(&self.outcomes);
        say::http('<', &format!("{:?} {}", head.version, head.status));
        verbose::tell_headers('<', &head.headers);
        requests.chosen().into_iter().for_each(|chosen| progress.keep(chosen));
        let speed = Speed::new(activity, self.patience);
        let (url, start, refused) = (url.clone(), Bytes::new(), None);
        let mut response =
            Response { head, url, start, body, failed: None, speed, requests, is_openssl, refused, unread };
        let begun = response.read_start().await;
        match begun.map_err(|impatience| Unanswered::Failed(slow(&response.url, &impatience)))? {
            Ok(()) => Ok(response),
            Err(_) if response.unread.failure().is_some() => {
                Err(response.unread.failure().map_or(Unanswered::Lost, Unanswered::Failed))
            }
            Err(error) => {
                Err(self.broken(progress, &response.url, &mut response.requests, (is_openssl, may_send_again), &error))
            }
        }
    }

    /// Why there is no connection.
    fn unconnected(
        &self,
        progress: &mut Progress,
        destination: &Destination,
        error: connect::Error,
        is_openssl: bool,
    ) -> Unanswered {
        let how = Incompatible::from_error(&error).filter(|_| !is_openssl);
        let Some(how) = how else { return self.outcomes.unconnected(destination, error).into() };
        // Use what a person chose in the next handshake too, so that they are not asked again
        let asked = error.opened().cloned().and_then(Asked::from_opened);
        let chosen = asked.as_ref().and_then(Asked::chosen);
        chosen.into_iter().for_each(|chosen| progress.keep(chosen));
        let failure = match asked.zip(error.refusal()) {
            Some((asked, refusal)) if self.args.tls.is_some() || !cfg!(feature = "openssl") => {
                self.outcomes.refused(&asked, refusal)
            }
            _ => verify::failed(destination, &error),
        };
        Unanswered::Incompatible(how, failure)
    }

    /// The request with what its connection begins with: an identity that was chosen or given for it, or what is decided.
    fn prepared_request(
        &self,
        progress: &Progress,
        url: &Url,
        message: &Message,
        dialer: &Dialer,
    ) -> Result<hyper::Request<Sending>, Failure> {
        let destination = destination(url)?;
        let target = dialer.target(&destination).with_path(url.path());
        let prepared = match (progress.chosen.get(&destination), &self.given) {
            (Some(chosen), _) => Some(chosen.clone()),
            (None, Some((given_for, identity))) if *given_for == destination && url.scheme() == "https" => {
                Some(self.outcomes.selector().given(&target, identity.clone())?)
            }
            _ => None,
        };
        let mut request = message.request(url, dialer.activity().clone())?;
        request.extensions_mut().insert(target);
        if let Some(prepared) = prepared {
            request.extensions_mut().insert(prepared);
        }
        Ok(request)
    }

    /// A client for one request. It writes no history: whether a server accepts shows only in its page.
    fn client(&self, dialer: Dialer, is_openssl: bool) -> Result<connect::hyper::Client<Sending, Dialer>, Failure> {
        let connector = connect::hyper::Connector::over(self.connector.clone(), dialer).without_history();
        let connector = match is_openssl {
            #[cfg(feature = "openssl")]
            true => connector.with_openssl(Arc::new(self.openssl()?), |_| true),
            _ => connector,
        };
        Ok(connect::hyper::Client::with_connector(connector))
    }

    /// Why a connection ended before the end of the response.
    fn broken(
        &self,
        progress: &mut Progress,
        url: &Url,
        requests: &mut Requests,
        (is_openssl, may_send_again): (bool, bool),
        error: &(dyn StdError + 'static),
    ) -> Unanswered {
        requests.catch_up(&self.outcomes);
        let chosen = requests.chosen();
        chosen.iter().for_each(|chosen| progress.keep(chosen.clone()));
        if let (Some(Cause::Failed(error)), Some(destination)) = (cause(error), requests.destination()) {
            return self.outcomes.undecided(destination, error).into();
        }
        if !is_openssl && let Some(how) = MidConnection::from_error(error, requests.opened()) {
            requests.accepted(&self.outcomes);
            return Unanswered::MidConnection(how);
        }
        let failure = with_causes(url, error);
        // A server that answers, even in a way that cannot be read, has not refused in the handshake
        if is_malformed(error) {
            requests.accepted(&self.outcomes);
            return Unanswered::Failed(failure);
        }
        // A server that hangs up while a person chooses has not seen the answer
        let may_be_unseen = requests.opened().is_some_and(|opened| opened.alert().is_none());
        if is_openssl && may_send_again && chosen.is_some() && may_be_unseen {
            return Unanswered::Lost;
        }
        self.outcomes.broken(requests.pending.take(), error, failure).into()
    }
}

impl Response {
    /// The URL that it is of.
    pub(crate) fn url(&self) -> &Url {
        &self.url
    }

    /// The failure of the command although there is a response.
    pub(crate) fn refused(&mut self) -> Option<Failure> {
        self.refused.take()
    }

    /// Reads the start of a page that may refuse: one of nginx, or one of Apache when it cannot ask.
    async fn read_start(&mut self) -> Result<hyper::Result<()>, Impatience> {
        let may_refuse = match self.head.status {
            StatusCode::FORBIDDEN => !self.is_openssl,
            status => Refusal::may_come_with(status.as_u16()) && self.requests.pending.is_some(),
        };
        let mut start = Vec::new();
        while may_refuse && start.len() < MAX_ERROR_PAGE {
            match self.speed.next(next(&mut self.body)).await? {
                Ok(Some(data)) => start.extend_from_slice(&data),
                Ok(None) => break,
                Err(error) => return Ok(Err(error)),
            }
        }
        self.start = start.into();
        Ok(Ok(()))
    }

    /// What a person chose in the middle of the connection, if the server may have sent its page before they did: in TLS 1.3
    /// Apache waits for some time, and then forbids. Sending the request again shows.
    fn sent_before_choice(&self) -> Option<Prepared> {
        let opened = self.requests.opened()?;
        let is_forbidden =
            self.head.status == StatusCode::FORBIDDEN && opened.version() == Some(ProtocolVersion::TLSv1_3);
        self.requests.chosen().filter(|_| is_forbidden && opened.is_mid_connection())
    }
}

/// Prints a request with `-v` as soon as there is a connection for it, and how that is protected.
fn tell_sending(request: &mut hyper::Request<Sending>, is_openssl: bool) -> impl Future<Output = ()> + use<> {
    let (mut connection, told) = (capture_connection(request), verbose::Told::new(request));
    async move {
        let mut of_connection = Extensions::new();
        match &*connection.wait_for_connection_metadata().await {
            Some(connected) => connected.get_extras(&mut of_connection),
            None => return,
        }
        if let Some(opened) = of_connection.get::<Opened>() {
            outcome::tell_connection(opened, is_openssl);
        }
        told.tell();
    }
}

/// Why a request may not be sent again to a server that asks in the middle of the connection.
fn why_not_repeated(message: &Message, how: MidConnection) -> Option<&'static str> {
    if !message.is_replayable() {
        Some(NOT_REPLAYABLE)
    } else if how.is_unprocessed() || message.is_repeatable() {
        None
    } else {
        Some(NOT_REPEATED)
    }
}

/// The error below the one of hyper-util, which only says at which step it occurred.
fn without_client<'a>(error: &'a (dyn StdError + Send + Sync + 'static)) -> &'a (dyn StdError + 'static) {
    match error.downcast_ref::<legacy::Error>().and_then(StdError::source) {
        Some(source) => source,
        None => error,
    }
}

/// Whether an answer that nobody chose just now was refused before, and so would be refused again.
fn was_refused(selection: &Selection, refused: &[Refused]) -> bool {
    let sent = selection.answer.fingerprint();
    selection.source != Source::Ask && refused.iter().any(|refused| refused.answer.fingerprint() == sent)
}

/// Whether a response came that is not HTTP.
fn is_malformed(error: &(dyn StdError + 'static)) -> bool {
    error.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_parse)
}

/// The failure that an error is, with its causes.
fn with_causes(url: &Url, error: &(dyn StdError + 'static)) -> Failure {
    Failure::new(Code::Failed, format_args!("{url}: {}", told(error)))
}

/// The failure when a server takes too long, or sends too much.
fn slow(url: &dyn std::fmt::Display, impatience: &Impatience) -> Failure {
    let failure = Failure::new(Code::Failed, format_args!("{url}: {impatience}"));
    match impatience {
        // These hold whatever the speed is
        Impatience::LargeHead | Impatience::NoBody => failure,
        _ => failure.hint("to wait longer: --speed-time SECONDS; without a limit: --speed-time 0"),
    }
}
