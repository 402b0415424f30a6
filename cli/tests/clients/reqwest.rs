//! reqwest.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ::reqwest::{Body, Method, Request, Response, StatusCode, Url};
use async_trait::async_trait;
use cardcase::connect::reqwest::{Client as Reqwest, Matcher, blocking, for_destination};
use cardcase::connect::{Cause, Error, cause};
use futures_util::{StreamExt, stream};
use http_body_util::StreamBody;
use hyper::body::{Bytes, Frame};
use hyper::http::Extensions;
use reqwest_middleware::{ClientBuilder, Middleware, Next};
use tower::{Service, ServiceBuilder, ServiceExt};

use crate::scenarios::{self, Ticking, until};
use crate::support::backend::Backend;
use crate::support::gate::PlainProxy;
use crate::support::server::{Ask, BOTH_VERSIONS, Kind, Tls};
use crate::world::{BoxError, Client, Peer, World};

pub fn reqwest(world: &World) -> Client {
    ticking(world, Ticking::new())
}

fn new(world: &World) -> Reqwest {
    Reqwest::new(world.selector.clone(), world.config(&[]))
}

fn ticking(world: &World, ticking: Ticking) -> Client {
    let client = new(world);
    Box::new(move |to| {
        ticking.run(async {
            client.get(format!("https://{to}/")).send().await?.bytes().await?;
            Ok::<_, BoxError>(())
        })
    })
}

/// Without a runtime.
fn waiting(world: &World) -> Client {
    let client = blocking::Client::new(world.selector.clone(), world.config(&[]));
    Box::new(move |to| {
        client.get(format!("https://{to}/")).send()?.bytes()?;
        Ok(())
    })
}

/// Below layers of tower.
fn layered(world: &World) -> Client {
    let (client, ticking) = (new(world), Ticking::new());
    let service = ticking.run(async { Ok(ServiceBuilder::new().buffer(8).service(client)) }).unwrap();
    Box::new(move |to| {
        let mut service = service.clone();
        ticking.run(async {
            let request = Request::new(Method::GET, format!("https://{to}/").parse()?);
            service.ready().await?.call(request).await?.bytes().await?;
            Ok(())
        })
    })
}

/// The last link of a chain of reqwest-middleware.
struct Last(Reqwest);

#[async_trait]
impl Middleware for Last {
    async fn handle(&self, request: Request, _: &mut Extensions, _: Next<'_>) -> reqwest_middleware::Result<Response> {
        self.0.execute(request).await.map_err(reqwest_middleware::Error::middleware)
    }
}

/// Another link, which counts.
struct Counting(Arc<AtomicUsize>);

#[async_trait]
impl Middleware for Counting {
    async fn handle(
        &self,
        request: Request,
        extensions: &mut Extensions,
        next: Next<'_>,
    ) -> reqwest_middleware::Result<Response> {
        self.0.fetch_add(1, Ordering::SeqCst);
        next.run(request, extensions).await
    }
}

fn chained(world: &World) -> Client {
    let unused = ::reqwest::Client::builder().tls_backend_preconfigured(world.config(&[])).build().unwrap();
    let (counted, ticking) = (Arc::<AtomicUsize>::default(), Ticking::new());
    let client = ClientBuilder::new(unused).with(Counting(counted.clone())).with(Last(new(world))).build();
    Box::new(move |to| {
        let before = counted.load(Ordering::SeqCst);
        let done = ticking.run(async {
            client.get(format!("https://{to}/")).send().await?.bytes().await?;
            Ok(())
        });
        assert_eq!(counted.load(Ordering::SeqCst), before + 1);
        done
    })
}

#[test]
fn it_answers_as_decided() {
    for tls in BOTH_VERSIONS {
        for make in [reqwest, waiting, layered, chained] {
            scenarios::answers_as_decided(make, scenarios::serve_http, tls);
        }
    }
}

#[test]
fn it_reports_a_refusal() {
    for tls in BOTH_VERSIONS {
        for make in [reqwest, waiting, chained] {
            scenarios::reports_a_refusal(make, tls);
        }
    }
}

#[test]
fn it_does_not_stall() {
    scenarios::does_not_stall(ticking, scenarios::serve_http);
}

/// Every hop has its own identity.
#[test]
fn each_redirect_gets_the_identity_decided_for_its_destination() {
    let world = World::new();
    let [from, to] = [(); 2].map(|()| world.http(Tls::V1_3, Ask::Optional));
    world.remember(&from, Some(world.alice));
    world.remember(&to, Some(world.bob));
    let client = new(&world);
    let response =
        Ticking::new().run(async { Ok(client.get(from.redirect_to("localhost", &to.url())).send().await?) }).unwrap();
    assert_eq!(response.url().as_str(), to.url());
    assert_eq!((from.came(), to.came()), (vec![Some(world.alice.to_string())], vec![Some(world.bob.to_string())]));
}

/// Where TLS 1.2 is allowed, the certificate would be visible on the network.
#[test]
fn an_identity_that_requires_tls_1_3_is_not_used_where_less_is_allowed() {
    let world = World::new();
    let server = world.http(Tls::V1_2, Ask::Optional);
    let store = world.selector.store();
    store.require_tls13(&store.identity(world.alice).unwrap().unwrap(), true).unwrap();
    world.remember(&server, Some(world.alice));
    reqwest(&world)(&server.destination()).unwrap_err();
    server.assert_nothing_came("demands TLS 1.3");
}

#[test]
fn it_unlocks() {
    for tls in BOTH_VERSIONS {
        scenarios::unlocks(reqwest, scenarios::serve_http, tls);
    }
}

#[test]
fn it_forgets_what_was_refused() {
    for tls in BOTH_VERSIONS {
        scenarios::forgets_what_was_refused(reqwest, tls);
    }
}

#[test]
fn rules_about_paths_select_nothing() {
    scenarios::rules_about_paths_select_nothing(reqwest);
}

#[test]
fn it_writes_the_history() {
    scenarios::writes_the_history(reqwest);
}

/// HTTP/2 tells only by the text of an error which alert ended the connection, or not even that if it came before the request was
/// sent.
#[test]
fn it_reports_a_refusal_over_http_2() {
    for tls in BOTH_VERSIONS {
        for make in [reqwest, waiting] {
            let world = World::new();
            let server = world.scene.server(Kind::Go).tls(tls).authorities(&[&world.scene.guests_root]);
            let server = server.without_hints().start();
            world.remember(&server, Some(world.alice));
            let error = make(&world)(&server.destination()).unwrap_err();
            let Some(Cause::Refused(refusal)) = cause(&*error) else { panic!("{tls:?}: {error:?}") };
            let name = refusal.alert_name();
            assert!(
                name.is_none() && tls == Tls::V1_3 || name.as_deref() == Some("bad_certificate"),
                "{tls:?}: {name:?}"
            );
            assert_eq!(world.scene.machine.json("history")["uses"][0]["outcome"], "refused", "{tls:?}");
        }
    }
}

/// Requests share connections, also those of clones, and go by HTTP/2 without more ado.
#[test]
fn requests_share_a_connection_of_http_2() {
    for make in [reqwest, waiting, layered, chained] {
        scenarios::requests_share_a_connection(make);
    }
    let world = World::new();
    let server = world.http(Tls::V1_3, Ask::Optional);
    world.remember(&server, Some(world.alice));
    let client = new(&world);
    Ticking::new()
        .run(async {
            let other = client.clone();
            for client in [&client, &other] {
                client.get(server.url()).send().await?.bytes().await?;
            }
            let request = Request::new(Method::GET, server.url().parse()?);
            (&other).call(request).await?.bytes().await?;
            Ok(())
        })
        .unwrap();
    assert_eq!(server.handshakes().len(), 1);
    let protocols: Vec<_> = server.requests().iter().map(|request| request["proto"].clone()).collect();
    assert_eq!(protocols, ["HTTP/2.0"; 3]);
}

#[test]
fn a_request_is_built_as_in_reqwest() {
    let world = World::new();
    let client = new(&world);
    let request = client.patch("https://localhost/a").query(&[("b", "c d")]).header("x", "y").bearer_auth("token");
    let request = request.json(&["text"]).timeout(Duration::from_secs(3)).map(|request| request.header("z", "1"));
    let request = request.build().unwrap();
    assert_eq!((request.method(), request.url().as_str()), (&Method::PATCH, "https://localhost/a?b=c+d"));
    let header = |name| request.headers()[name].to_str().unwrap();
    let headers = ["x", "z", "authorization", "content-type"].map(header);
    assert_eq!(headers, ["y", "1", "Bearer token", "application/json"]);
    assert_eq!(request.body().and_then(Body::as_bytes), Some(&br#"["text"]"#[..]));
    assert_eq!(request.timeout(), Some(&Duration::from_secs(3)));
    let wrong = Ticking::new().run(async { Ok(client.get("no URL").send().await?) }).unwrap_err();
    assert!(matches!(wrong.downcast_ref(), Some(Error::Request { .. })), "{wrong:?}");
}

/// A proxy without TLS carries the handshakes with the destinations; whoever is decided for these goes there.
#[test]
fn a_proxy_carries_the_handshakes_with_the_destinations() {
    for tls in BOTH_VERSIONS {
        let world = World::new();
        let proxy = PlainProxy::start();
        let [one, two] = [(); 2].map(|()| world.http(tls, Ask::Optional));
        world.remember(&two, Some(world.bob));
        world.person.will_pick("alice");
        let proxies = Matcher::builder().all(format!("http://me:secret@127.0.0.1:{}", proxy.port)).build();
        let client = new(&world).with_proxies(proxies);
        Ticking::new()
            .run(async {
                for server in [&one, &two, &one] {
                    client.get(server.url()).send().await?.bytes().await?;
                }
                Ok(())
            })
            .unwrap();
        let (alice, bob) = (Some(world.alice.to_string()), Some(world.bob.to_string()));
        assert_eq!((one.came(), two.came()), (vec![alice.clone(), alice], vec![bob]), "{tls:?}");
        let heads = proxy.heads();
        assert!(heads.len() >= 2);
        for head in heads {
            assert!(head.starts_with("CONNECT localhost:"), "{head}");
            assert!(head.to_lowercase().contains("proxy-authorization: basic bwu6c2vjcmv0"), "{head}");
        }
    }
}

/// reqwest has one TLS configuration for such a proxy and the destination.
#[test]
fn a_proxy_that_speaks_tls_is_an_error() {
    for host in ["127.0.0.1", "localhost"] {
        let world = World::new();
        let (proxy, server, _) = world.scene.behind_a_proxy(Tls::V1_3);
        world.remember(&server, Some(world.alice));
        let client = new(&world).with_proxies(Matcher::builder().all(proxy.url_at(host, "")).build());
        let sent = Ticking::new().run(async { Ok(client.get(server.url()).send().await?) });
        let error = sent.unwrap_err();
        assert!(matches!(error.downcast_ref(), Some(Error::TlsProxy { .. })), "{error:?}");
        assert!(error.to_string().contains(&proxy.port().to_string()), "{error}");
        assert!(proxy.handshakes().is_empty() && server.handshakes().is_empty());
    }
}

/// Also one that a redirect leads to.
#[test]
fn a_url_without_tls_is_requested_without_an_identity() {
    let world = World::new();
    let (server, backend) = (world.http(Tls::V1_3, Ask::Optional), Backend::start());
    world.remember(&server, Some(world.alice));
    let to = format!("http://{}/", backend.address());
    let response = Ticking::new().run(async {
        let client = new(&world);
        client.get(&to).send().await?;
        Ok(client.get(server.redirect_to("localhost", &to)).bearer_auth("secret").send().await?)
    });
    assert_eq!(response.unwrap().url().as_str(), to);
    assert_eq!(backend.values("authorization"), [Vec::<String>::new(), vec![]]);
}

#[test]
fn redirects_are_limited() {
    let world = World::new();
    let server = world.http(Tls::V1_3, Ask::Optional);
    world.remember(&server, Some(world.alice));
    let repeated = server.redirect_to("localhost", "/redirect?to=/redirect");
    for (limit, requests) in [(0, 1), (1, 2), (10, 4)] {
        let client = new(&world).with_max_redirects(limit);
        let before = server.requests().len();
        let sent = Ticking::new().run(async { Ok(client.get(&repeated).send().await?) });
        match limit {
            0 => assert_eq!(sent.unwrap().status(), StatusCode::FOUND),
            1 => assert!(matches!(sent.unwrap_err().downcast_ref(), Some(Error::TooManyRedirects { limit: 1 }))),
            _ => assert_eq!(sent.unwrap().status(), StatusCode::OK),
        }
        assert_eq!(server.requests().len() - before, requests, "{limit}");
    }
}

/// A stream as body, which counts how often it is read.
fn counted(read: &Arc<Mutex<usize>>) -> Body {
    let read = read.clone();
    let frames = stream::iter(0..3).map(move |number| {
        *read.lock().unwrap() += 1;
        Ok::<_, BoxError>(Frame::data(Bytes::from(vec![number; 1000])))
    });
    Body::wrap(StreamBody::new(frames))
}

/// No connection that ends in a question reads anything of the body.
#[test]
fn a_stream_is_sent_once_after_asking_and_unlocking() {
    for tls in BOTH_VERSIONS {
        for alpn in ["http/1.1", "h2"] {
            let mut world = World::new();
            let typist = world.lock();
            let server = world.http(tls, Ask::Optional);
            let client = Reqwest::new(world.selector.clone(), world.config(&[alpn]));
            let read = Arc::default();
            world.person.will_pick("alice");
            let response =
                Ticking::new().run(async { Ok(client.post(server.url()).body(counted(&read)).send().await?) });
            assert!(response.unwrap().status().is_success());
            assert_eq!((*read.lock().unwrap(), typist.typed()), (3, 1), "{tls:?} {alpn}");
            assert_eq!(server.came(), [Some(world.alice.to_string())], "{tls:?} {alpn}");
            let redirected = Ticking::new().run(async {
                let request = client.post(server.redirect_to("localhost", "/")).body(counted(&read));
                Ok(request.send().await?)
            });
            // A redirect with status 302 makes it a GET without a body
            assert_eq!(redirected.unwrap().url().path(), "/");
            assert_eq!(*read.lock().unwrap(), 6, "{tls:?} {alpn}");
        }
    }
}

/// A request that is given up while a person is asked sends nothing, and the next one finds the answer.
#[test]
fn a_request_may_be_given_up_while_a_person_is_asked() {
    let world = World::new();
    let server = world.http(Tls::V1_3, Ask::Optional);
    let client = new(&world);
    world.person.will_think(Duration::from_millis(200));
    world.person.will_pick("alice");
    let came = Ticking::new().run(async {
        tokio::select! {
            biased;
            done = client.get(server.url()).send() => panic!("{done:?}"),
            () = until(|| world.person.is_asked()) => {}
        }
        assert!(server.came().is_empty());
        client.get(server.url()).send().await?;
        Ok(server.came())
    });
    assert_eq!(came.unwrap(), [Some(world.alice.to_string())]);
    assert_eq!(world.person.asked(), [server.destination()]);
}

/// The client blocks its thread, and that is all: a runtime on this thread is no reason to fail.
#[test]
fn the_blocking_client_may_be_called_within_a_runtime() {
    let world = World::new();
    let server = world.http(Tls::V1_3, Ask::Optional);
    world.person.will_pick("alice");
    let client = blocking::Client::new(world.selector.clone(), world.config(&[]));
    let status = Ticking::new().run(async {
        let response = client.get(server.url()).send()?;
        Ok((response.status(), response.url().to_string()))
    });
    assert_eq!(status.unwrap(), (StatusCode::OK, server.url()));
    drop(client);
    assert_eq!(server.came(), [Some(world.alice.to_string())]);
}

/// reqwest's own client for one destination, which keeps no connection.
fn only_to(world: &World, destination: &str) -> ::reqwest::Client {
    let builder = ::reqwest::Client::builder().pool_max_idle_per_host(0).no_proxy();
    let base = world.config(&["http/1.1"]);
    for_destination(world.selector.clone(), destination.parse().unwrap(), builder, &base).unwrap()
}

async fn got(client: &::reqwest::Client, url: &str) -> Result<Url, BoxError> {
    let response = client.get(url).send().await?;
    let url = response.url().clone();
    response.bytes().await?;
    Ok(url)
}

/// What is undecided is asked in the background; then every connection goes by what is decided.
#[test]
fn a_client_for_one_destination_lives() {
    for tls in BOTH_VERSIONS {
        let world = World::new();
        let server = world.http(tls, Ask::Optional);
        let client = only_to(&world, &server.destination());
        let (alice, bob) = (Some(world.alice.to_string()), Some(world.bob.to_string()));
        world.person.will_pick("alice");
        let came = Ticking::new().run(async {
            let error = client.get(server.url()).send().await.unwrap_err();
            assert!(matches!(cause(&error), Some(Cause::Needs(_))), "{error:?}");
            while got(&client, &server.url()).await.is_err() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            world.remember(&server, Some(world.bob));
            got(&client, &server.url()).await?;
            world.remember(&server, None);
            got(&client, &server.url()).await?;
            world.forget(&server);
            world.person.will_pick("bob");
            got(&client, &server.url()).await.unwrap_err();
            while got(&client, &server.url()).await.is_err() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            Ok(server.came())
        });
        assert_eq!(came.unwrap(), [alice, bob.clone(), None, bob], "{tls:?}");
        assert_eq!(world.person.asked(), [server.destination(), server.destination()], "{tls:?}");
    }
}

/// The builder of the caller is kept.
#[test]
fn a_client_for_one_destination_has_the_settings_of_its_builder() {
    let world = World::new();
    let server = world.http(Tls::V1_3, Ask::Optional);
    world.remember(&server, Some(world.alice));
    let builder = ::reqwest::Client::builder().redirect(::reqwest::redirect::Policy::none()).no_proxy();
    let destination = server.destination().parse().unwrap();
    let client = for_destination(world.selector.clone(), destination, builder, &world.config(&[])).unwrap();
    let to = server.redirect_to("localhost", "/");
    let response = Ticking::new().run(async { Ok(client.get(to).send().await?) }).unwrap();
    assert_eq!((response.status(), response.version()), (StatusCode::FOUND, ::reqwest::Version::HTTP_2));
}

/// Wherever else the client is led, nobody goes there, nobody is asked, and the destination still gets what is decided for it.
#[test]
fn a_client_for_one_destination_sends_an_identity_nowhere_else() {
    for tls in BOTH_VERSIONS {
        let world = World::new();
        let (proxy, server, _) = world.scene.behind_a_proxy(tls);
        let other = world.http(tls, Ask::Optional);
        world.remember(&server, Some(world.alice));
        let own = only_to(&world, &server.destination());
        let proxied = {
            let through = ::reqwest::Proxy::all(proxy.url_at("127.0.0.1", "")).unwrap();
            let builder = ::reqwest::Client::builder().pool_max_idle_per_host(0).proxy(through);
            let destination = server.destination().parse().unwrap();
            for_destination(world.selector.clone(), destination, builder, &world.config(&["http/1.1"])).unwrap()
        };
        let elsewhere = [
            ("another port", &own, other.url()),
            ("another host", &own, other.url_at("127.0.0.1", "/")),
            ("the other name of the host", &own, server.url_at("127.0.0.1", "/other-name")),
            ("a redirect to another port", &own, server.redirect_to("localhost", &other.url())),
            ("a redirect to another host", &own, server.redirect_to("localhost", &other.url_at("127.0.0.1", "/"))),
            ("another port through a proxy", &proxied, other.url()),
            ("a proxy that speaks TLS", &proxied, server.url()),
        ];
        Ticking::new()
            .run(async {
                for (case, client, url) in elsewhere {
                    got(client, &url).await.unwrap_or_else(|error| panic!("{tls:?} {case}: {error:?}"));
                    got(client, &server.url()).await.unwrap_or_else(|error| panic!("{tls:?} {case}, back: {error:?}"));
                }
                // Together with connections to the destination
                let (here, there) = (server.url(), other.url());
                let both = async |round: usize| {
                    tokio::join!(got(&own, &here), got(&own, if round.is_multiple_of(2) { &there } else { &here }))
                };
                let rounds = futures_util::future::join_all((0..8).map(both)).await;
                assert!(rounds.iter().all(|(one, other)| one.is_ok() && other.is_ok()), "{rounds:?}");
                Ok(())
            })
            .unwrap();
        other.assert_nothing_came("another port or host");
        proxy.assert_nothing_came("the proxy");
        assert!(!other.requests().is_empty() && !proxy.requests().is_empty());
        let alice = world.alice.to_string();
        for request in server.requests() {
            let expected = (request["path"] != "/other-name").then_some(&*alice);
            assert_eq!(request["chain"][0].as_str(), expected, "{tls:?}: {request}");
        }
        assert!(world.person.asked().is_empty());
    }
}

/// A second destination of the same program has an identity of its own.
#[test]
fn two_clients_for_one_destination_each_do_not_share_an_identity() {
    let world = World::new();
    let [one, two] = [(); 2].map(|()| world.http(Tls::V1_3, Ask::Optional));
    world.remember(&one, Some(world.alice));
    world.remember(&two, Some(world.bob));
    let clients = [&one, &two].map(|server| only_to(&world, &server.destination()));
    Ticking::new()
        .run(async {
            for server in [&one, &two] {
                for client in &clients {
                    got(client, &server.url()).await?;
                }
            }
            Ok(())
        })
        .unwrap();
    let (alice, bob) = (Some(world.alice.to_string()), Some(world.bob.to_string()));
    assert_eq!((one.came(), two.came()), (vec![alice, None], vec![None, bob]));
}
