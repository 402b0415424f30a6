//! hyper-util, by HTTP/1.1 and HTTP/2.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use cardcase::Chooser;
use cardcase::ask::{Question, Refused, Reply};
use cardcase::connect::hyper::{Client as Hyper, Connector};
use cardcase::connect::tokio::Connector as TlsConnector;
use cardcase::connect::{Opened, Source};
use cardcase::manage::{Lifetime, Mode};
use cardcase::raw::Prepared;
use cardcase::{Destination, Target};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty};
use hyper::body::{Body, Bytes};
use hyper::{Request, Response, Uri};
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tower::{Service, ServiceBuilder, ServiceExt};

use crate::scenarios::{self, Ticking, until};
use crate::support::server::{Ask, BOTH_VERSIONS, Tls};
use crate::world::{BoxError, Client, Peer, World};

fn client(world: &World, alpn: &[&str], ticking: Ticking) -> Client {
    let client = Hyper::new(world.selector.clone(), world.config(alpn));
    Box::new(move |to| {
        ticking.run(async {
            let request = Request::get(format!("https://{to}/")).body(Empty::<Bytes>::new())?;
            client.request(request).await?.into_body().collect().await?;
            Ok::<_, BoxError>(())
        })
    })
}

pub fn http1(world: &World) -> Client {
    client(world, &["http/1.1"], Ticking::new())
}

pub fn http2(world: &World) -> Client {
    client(world, &["h2"], Ticking::new())
}

fn either(world: &World, ticking: Ticking) -> Client {
    client(world, &[], ticking)
}

/// Below layers, in clients such as kube and octocrab: what they require of a service, and what they do with it.
fn in_a_client<S, B>(
    service: S,
) -> impl Service<Request<AnyBody>, Response = Response<AnyBody>, Error = BoxError> + Clone
where
    S: Service<Request<AnyBody>, Response = Response<B>> + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let erased = |response: Response<B>| response.map(|body| body.map_err(Into::into).boxed_unsync());
    let service = service.map_err(Into::into).map_response(erased).boxed();
    ServiceBuilder::new().buffer(8).service(service)
}

type AnyBody = UnsyncBoxBody<Bytes, BoxError>;

fn layered(world: &World) -> Client {
    let client = Hyper::new(world.selector.clone(), world.config(&[]));
    let ticking = Ticking::new();
    let service = ticking.run(async { Ok(in_a_client(client)) }).unwrap();
    Box::new(move |to| {
        let mut service = service.clone();
        ticking.run(async {
            let body = Empty::new().map_err(|never| match never {}).boxed_unsync();
            let request = Request::get(format!("https://{to}/")).body(body)?;
            service.ready().await?.call(request).await?.into_body().collect().await?;
            Ok(())
        })
    })
}

#[test]
fn it_answers_as_decided() {
    for tls in BOTH_VERSIONS {
        for make in [http1, http2, layered] {
            scenarios::answers_as_decided(make, scenarios::serve_http, tls);
        }
    }
}

/// The server speaks no HTTP/2.
#[test]
fn it_reports_a_refusal() {
    for tls in BOTH_VERSIONS {
        scenarios::reports_a_refusal(http1, tls);
    }
}

#[test]
fn it_does_not_stall() {
    scenarios::does_not_stall(either, scenarios::serve_http);
}

#[test]
fn requests_share_a_connection() {
    for make in [http1, http2, layered] {
        scenarios::requests_share_a_connection(make);
    }
}

/// Clones, and a reference to one, use the same pools.
#[test]
fn clones_share_connections() {
    for alpn in ["http/1.1", "h2"] {
        let world = World::new();
        let server = world.http(Tls::V1_3, Ask::Optional);
        world.remember(&server, Some(world.alice));
        let client = Hyper::new(world.selector.clone(), world.config(&[alpn]));
        let request = || Request::get(server.url()).body(Empty::<Bytes>::new()).unwrap();
        Ticking::new()
            .run(async {
                let [one, mut other, third] = [(); 3].map(|()| client.clone());
                let (first, second, last) = (request(), request(), request());
                one.request(first).await?.into_body().collect().await?;
                other.call(second).await?.into_body().collect().await?;
                (&third).call(last).await?.into_body().collect().await?;
                Ok(())
            })
            .unwrap();
        assert_eq!((server.handshakes().len(), server.came().len()), (1, 3), "{alpn}");
    }
}

/// What the caller sets counts, for the pools and for what this client sets itself.
#[test]
fn the_settings_of_the_caller_count() {
    let world = World::new();
    let server = world.http(Tls::V1_3, Ask::Optional);
    world.remember(&server, Some(world.alice));
    let client = Hyper::new(world.selector.clone(), world.config(&["http/1.1"]));
    let no_pool = client.clone().with_settings(|pool| {
        pool.pool_max_idle_per_host(0);
    });
    let few_headers = client.with_settings(|pool| {
        pool.http1_max_headers(1);
    });
    let get = async |client: &Hyper<Empty<Bytes>>| {
        let request = Request::get(server.url()).body(Empty::<Bytes>::new())?;
        client.request(request).await?.into_body().collect().await?;
        Ok::<_, BoxError>(())
    };
    let ticking = Ticking::new();
    for _ in 0..2 {
        ticking.run(get(&no_pool)).unwrap();
    }
    assert_eq!(server.handshakes().len(), 2);
    ticking.run(get(&few_headers)).unwrap_err();
}

/// The pings need a timer, which the client has.
#[test]
fn a_connection_of_http2_may_be_kept_alive() {
    let world = World::new();
    let server = world.http(Tls::V1_3, Ask::Optional);
    world.remember(&server, Some(world.alice));
    let client = Hyper::new(world.selector.clone(), world.config(&["h2"])).with_settings(|pool| {
        pool.http2_keep_alive_interval(Duration::from_millis(1)).http2_keep_alive_while_idle(true);
    });
    Ticking::new()
        .run(async {
            for _ in 0..2 {
                let request = Request::get(server.url()).body(Empty::<Bytes>::new())?;
                client.request(request).await?.into_body().collect().await?;
            }
            Ok(())
        })
        .unwrap();
    assert_eq!((server.handshakes().len(), server.came().len()), (1, 2));
}

/// A request that is given up while a person is asked sends nothing, and the next one finds the answer.
#[test]
fn a_request_may_be_given_up_while_a_person_is_asked() {
    for alpn in ["http/1.1", "h2"] {
        let world = World::new();
        let server = world.http(Tls::V1_3, Ask::Optional);
        let client = Hyper::new(world.selector.clone(), world.config(&[alpn]));
        let request = || Request::get(server.url()).body(Empty::<Bytes>::new()).unwrap();
        world.person.will_think(Duration::from_millis(200));
        world.person.will_pick("alice");
        let came = Ticking::new().run(async {
            let given_up = tokio::time::timeout(Duration::from_secs(10), async {
                tokio::select! {
                    biased;
                    done = client.request(request()) => panic!("{done:?}"),
                    () = until(|| world.person.is_asked()) => {}
                }
            });
            given_up.await?;
            assert!(server.came().is_empty());
            client.request(request()).await?.into_body().collect().await?;
            Ok(server.came())
        });
        assert_eq!(came.unwrap(), [Some(world.alice.to_string())], "{alpn}");
        assert_eq!(world.person.asked(), [server.destination()], "{alpn}");
    }
}

/// The proxy, which speaks TLS, and the server behind it each see the identity that was decided for them.
#[test]
fn a_proxy_has_an_identity_of_its_own() {
    for tls in BOTH_VERSIONS {
        let world = World::new();
        let (proxy, server, _) = world.scene.behind_a_proxy(tls);
        let at = format!("127.0.0.1:{}", proxy.port());
        world.remember_at(&at, Some(world.alice));
        world.remember(&server, Some(world.bob));
        let connector = || Arc::new(TlsConnector::new(world.selector.clone(), world.config(&[])));
        let tunnel = Tunnel::new(format!("https://{at}").parse().unwrap(), Connector::new(connector()));
        let client = Hyper::with_connector(Connector::over(connector(), tunnel));
        let request = Request::get(server.url()).body(Empty::<Bytes>::new()).unwrap();
        let response = Ticking::new().run(async { Ok(client.request(request).await?) }).unwrap();
        assert!(response.status().is_success());
        assert_eq!(proxy.chains()[0][0], world.alice.to_string(), "{tls:?}");
        assert_eq!(server.came(), [Some(world.bob.to_string())], "{tls:?}");
    }
}

#[test]
fn it_unlocks() {
    for tls in BOTH_VERSIONS {
        scenarios::unlocks(http1, scenarios::serve_http, tls);
    }
}

#[test]
fn it_forgets_what_was_refused() {
    for tls in BOTH_VERSIONS {
        scenarios::forgets_what_was_refused(http1, tls);
    }
}

#[test]
fn rules_about_paths_select_nothing() {
    for make in [http1, http2] {
        scenarios::rules_about_paths_select_nothing(make);
    }
}

#[test]
fn it_writes_the_history() {
    for make in [http1, http2] {
        scenarios::writes_the_history(make);
    }
}

/// Picks the first identity that fits, for once.
struct OnlyOnce(Mutex<usize>);

impl Chooser for OnlyOnce {
    fn choose(&self, question: &Question<'_>) -> Reply {
        *self.0.lock().unwrap() += 1;
        Reply::Identity { identity: question.candidates().next().unwrap().identity, lifetime: Lifetime::Once }
    }
}

/// Dials at once, unless the next connection has to wait for something.
#[derive(Clone, Default)]
struct Held(Arc<Mutex<VecDeque<Option<oneshot::Receiver<()>>>>>);

impl Service<Uri> for Held {
    type Response = TokioIo<TcpStream>;
    type Error = BoxError;
    type Future = std::pin::Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let held = self.0.lock().unwrap().pop_front().flatten();
        Box::pin(async move {
            if let Some(held) = held {
                held.await?;
            }
            Ok(TokioIo::new(TcpStream::connect(uri.authority().unwrap().as_str()).await?))
        })
    }
}

/// A pool gives a request the first connection that is free, such as one that was opened meanwhile.
#[test]
fn a_choice_for_one_request_is_not_used_by_another_that_waits_for_a_connection() {
    for alpn in ["http/1.1", "h2"] {
        let world = World::new();
        let server = world.http(Tls::V1_3, Ask::Optional);
        let person = Arc::new(OnlyOnce(Mutex::default()));
        let selector = world.scene.machine.selector().with_chooser(person.clone()).with_mode(Mode::Firefox);
        let tls = Arc::new(TlsConnector::new(Arc::new(selector), world.config(&[alpn])));
        let held = Held::default();
        let client = Hyper::with_connector(Connector::over(tls, held.clone()));
        let (first, second) = (oneshot::channel(), oneshot::channel());
        held.0.lock().unwrap().extend([Some(first.1), Some(second.1)]);
        let request = || Request::get(server.url()).body(Empty::<Bytes>::new()).unwrap();
        let get = async || Ok::<_, BoxError>(client.request(request()).await?.into_body().collect().await?);
        Ticking::new()
            .run(async {
                let begin = async {
                    // Both have begun
                    while !held.0.lock().unwrap().is_empty() {
                        tokio::task::yield_now().await;
                    }
                    let _ = first.0.send(());
                };
                let one = async {
                    let (done, ()) = tokio::join!(get(), begin);
                    // Whatever else might take the connection does so now
                    for _ in 0..100 {
                        tokio::task::yield_now().await;
                    }
                    let _ = second.0.send(());
                    done
                };
                let (one, other) = tokio::join!(one, get());
                one.and(other)
            })
            .unwrap();
        assert_eq!((server.came().len(), *person.0.lock().unwrap()), (2, 2), "{alpn}");
    }
}

/// A request that carries a target or an identity goes over a connection made for it, which serves no other request.
#[test]
fn a_request_may_carry_its_target_or_an_identity() {
    for alpn in ["http/1.1", "h2"] {
        let world = World::new();
        let server = world.http(Tls::V1_3, Ask::Optional);
        let destination: Destination = server.destination().parse().unwrap();
        world.remember(&server, Some(world.alice));
        let client = Hyper::new(world.selector.clone(), world.config(&[alpn]));
        let ticking = Ticking::new();
        let send = |carried: Option<Carried>| {
            let mut request = Request::get(server.url()).body(Empty::<Bytes>::new()).unwrap();
            match carried {
                Some(Carried::Target(target)) => drop(request.extensions_mut().insert(target)),
                Some(Carried::Prepared(prepared)) => drop(request.extensions_mut().insert(prepared)),
                None => {}
            }
            let before = server.came().len();
            ticking.run(async {
                let response = client.request(request).await?;
                let opened = response.extensions().get::<Opened>().unwrap().clone();
                response.into_body().collect().await?;
                Ok::<_, BoxError>((opened, server.came().split_off(before)))
            })
        };
        let bob = world.selector.store().identity(world.bob).unwrap().unwrap();
        let given = world.selector.given(&destination, (*bob).clone()).unwrap();
        let omitting = Target::new(destination.clone()).without_credentials();
        let (alice, bob) = (Some(world.alice.to_string()), Some(world.bob.to_string()));
        let (opened, came) = send(None).unwrap();
        assert_eq!((opened.selection().unwrap().source, came), (Source::Decision, vec![alice.clone()]), "{alpn}");
        let (opened, came) = send(Some(Carried::Prepared(given.clone()))).unwrap();
        assert_eq!((opened.selection().unwrap().source, came), (Source::Given, vec![bob]), "{alpn}");
        let (opened, came) = send(Some(Carried::Target(omitting))).unwrap();
        assert_eq!((opened.selection().unwrap().source, came), (Source::Omitted, vec![None]), "{alpn}");
        assert_eq!(send(None).unwrap().1, [alice], "{alpn}");
        assert_eq!(server.handshakes().len(), 3, "{alpn}: the connection of the pool served two requests");
        let elsewhere = Target::new(Destination::new("localhost", 1).unwrap());
        assert!(send(Some(Carried::Target(elsewhere))).unwrap_err().to_string().contains("localhost:1"), "{alpn}");
        assert_eq!(server.came().len(), 4, "{alpn}");
    }
}

/// What a request carries in its extensions.
#[allow(clippy::large_enum_variant)]
enum Carried {
    Target(Target),
    Prepared(Prepared),
}

/// A client that leaves the history to its caller, and whose requests are repeated with another identity after a refusal.
#[test]
fn an_error_says_what_was_sent_and_another_identity_may_be_sent_then() {
    for tls in BOTH_VERSIONS {
        let world = World::new();
        let server = world.refusing(tls);
        world.remember_at(&server.destination(), Some(world.alice));
        let connector = Arc::new(TlsConnector::new(world.selector.clone(), world.config(&[])));
        let client = Hyper::with_connector(Connector::new(connector).without_history());
        let ticking = Ticking::new();
        let send = |prepared: Option<Prepared>| {
            let mut request =
                Request::get(format!("https://{}/", server.destination())).body(Empty::<Bytes>::new()).unwrap();
            prepared.map(|prepared| request.extensions_mut().insert(prepared));
            ticking.run(async { Ok(client.request(request).await.unwrap_err()) }).unwrap()
        };
        let error = send(None);
        let (opened, refusal) = (error.opened().unwrap(), error.refusal().unwrap());
        let sent = opened.selection().unwrap();
        assert_eq!(sent.answer.fingerprint(), Some(world.alice), "{tls:?}");
        world.person.will_pick("bob");
        let refused = [Refused::new(sent.answer, refusal)];
        let other = world.selector.select_again(opened.target(), &opened.request().unwrap(), &refused).unwrap();
        let sent = send(Some(other)).opened().unwrap().selection().unwrap();
        assert_eq!(sent.answer.fingerprint(), Some(world.bob), "{tls:?}");
        assert!(world.scene.machine.json("history")["uses"].as_array().unwrap().is_empty(), "{tls:?}");
    }
}
