//! Identities for programs that make TLS connections themselves: the real curl and git with the options they are given,
//! and the credential for kubectl, compared with its schema.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use crate::support::ca::{Issued, fingerprint_of_pem};
use crate::support::command::Run;
use crate::support::log::Log;
use crate::support::program;
use crate::support::scene::Scene;
use crate::support::server::{Ask, BOTH_VERSIONS, Kind, Server, Tls};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

/// Runs `credential` with `--batch`.
fn credential(scene: &Scene, words: &[&str]) -> Run {
    let authority = scene.server_root_file.to_str().unwrap();
    scene.machine.command(["--batch", "credential"]).args(words).args(["--cacert", authority])
}

fn options(scene: &Scene, program: &str, destination: &str) -> Vec<String> {
    let outcome = credential(scene, &[program, destination]).run().expect(0);
    let text = outcome.text();
    let outcome = outcome.says(&["warning", "has left the store", "credential --forget"]);
    assert!(!outcome.stderr.contains("PRIVATE KEY") && !text.contains("PRIVATE KEY"));
    text.split_whitespace().map(str::to_owned).collect()
}

fn key_files(scene: &Scene) -> Vec<PathBuf> {
    let directory = scene.machine.dir().join("run").join("cardcase");
    let files = std::fs::read_dir(directory).into_iter().flatten().map(|entry| entry.unwrap().path());
    files.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with("credential-")).collect()
}

fn curl(scene: &Scene, options: &[String], url: &str) -> Output {
    let mut command = program::named("curl");
    command.args(["--silent", "--show-error", "--max-time", "30", "--cacert"]).arg(&scene.server_root_file);
    command.args(options).arg(url).output().unwrap()
}

#[test]
fn curl_sends_the_selected_identity_with_its_chain() {
    let scene = Scene::new();
    let alice = scene.hire("alice");
    scene.hire("bob");
    scene.remember("localhost", &alice.fingerprint());
    for tls in BOTH_VERSIONS {
        let server = scene.server(Kind::Go).tls(tls).start();
        let options = options(&scene, "curl", &server.destination());
        let output = curl(&scene, &options, &server.url());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(server.chains(), [alice.sent_chain()], "{tls:?}");
    }
    let files = key_files(&scene);
    assert_eq!(files.len(), 1, "{files:?}");
    let permissions = std::fs::metadata(&files[0]).unwrap().permissions();
    assert_eq!(permissions.mode() & 0o777, 0o600);
    let used = &scene.machine.json("history")["uses"][0];
    assert_eq!((&used["identity"], &used["outcome"]), (&json!(alice.fingerprint()), &json!("unknown")));

    scene.machine.run("credential --forget").expect(0).says(&["removed 1 file"]);
    assert!(key_files(&scene).is_empty());
    scene.machine.run("credential --forget").expect(3);
}

#[test]
fn a_credential_file_is_removed_with_its_identity() {
    let scene = Scene::new();
    let (alice, bob) = (scene.hire("alice"), scene.hire("bob"));
    let server = scene.server(Kind::Go).start();
    for identity in [&alice, &bob] {
        credential(&scene, &["curl", &server.destination(), "--as", &identity.fingerprint()]).run().expect(0);
    }
    assert_eq!(key_files(&scene).len(), 2);
    scene.machine.run("remove alice --yes").expect(0);
    let files = key_files(&scene);
    assert_eq!(files.len(), 1);
    assert!(std::fs::read_to_string(&files[0]).unwrap().starts_with(&bob.pem()[..200].replace("\r\n", "\n")));
}

/// curl would send the identity there.
#[test]
fn curl_does_not_take_the_identity_along_a_redirect() {
    let scene = Scene::new();
    let alice = scene.hire("alice");
    scene.remember("localhost", &alice.fingerprint());
    let (first, other) = (scene.server(Kind::Go).start(), scene.server(Kind::Go).ask(Ask::Optional).start());
    let mut options = options(&scene, "curl", &first.destination());
    options.push("--location".to_owned());
    let output = curl(&scene, &options, &first.redirect_to("localhost", &other.url_at("127.0.0.1", "/")));
    assert!(!output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    assert_eq!(first.chains(), [alice.sent_chain()]);
    other.assert_nothing_came("redirected");
}

/// Neither program knows what the store trusts.
#[test]
fn the_options_name_what_verifies_the_server_where_the_store_does() {
    let scene = Scene::new();
    let alice = scene.hire("alice");
    scene.remember("localhost", &alice.fingerprint());
    let server = scene.server(Kind::Go).start();
    scene.machine.command(["trust"]).arg(&scene.server_root_file).run().expect(0);
    let options = |program: &str| {
        let credential = ["--batch", "credential", program, &server.destination()];
        scene.machine.command(credential).run().expect(0).text()
    };
    let text = options("curl");
    let mut curl = program::named("curl");
    curl.args(["--silent", "--show-error", "--max-time", "30"]).args(text.split_whitespace()).arg(server.url());
    succeeds(curl);
    assert_eq!(server.chains(), [alice.sent_chain()]);

    let text = options("git");
    let named = text.split_whitespace().find_map(|word| word.split_once(".sslCAInfo=")).unwrap().1;
    let bundle = std::fs::read_to_string(named).unwrap();
    assert!(bundle.replace("\r\n", "\n").contains(scene.server_root.pem().replace("\r\n", "\n").trim()));
    assert!(!bundle.contains("PRIVATE KEY"));
    scene.machine.run("credential --forget").expect(0).says(&["removed 1 file"]);
    assert!(!Path::new(named).exists());

    // And what `--cacert` gives
    let fingerprint = scene.server_root.fingerprint();
    scene.machine.run(&format!("trust --remove {fingerprint}")).expect(0);
    let other = credential(&scene, &["curl", &server.destination()]).run().expect(0).text();
    assert!(other.contains("--cacert"), "{other}");
}

/// Serves a directory to clients with a certificate from these authorities.
const FILES: &str = r#"
import functools, http.server, os, ssl, sys
directory, certificate, key, authorities = sys.argv[1:]
handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=directory)
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(certificate, key)
context.load_verify_locations(authorities)
context.verify_mode = ssl.CERT_REQUIRED
server.socket = context.wrap_socket(server.socket, server_side=True)
print("PORT", server.server_address[1], flush=True)
server.serve_forever()
"#;

struct Files {
    child: Child,
    port: u16,
}

impl Files {
    fn serve(scene: &Scene, directory: &Path) -> Files {
        let dir = scene.machine.dir();
        let mut command = program::named("python3");
        command.args(["-c", FILES]).arg(directory).arg(scene.server_certificate.certificate_file(dir));
        command.arg(scene.server_certificate.key_file(dir)).arg(scene.staff_root.file(dir));
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let log = Log::default();
        log.follow(child.stdout.take().unwrap());
        log.follow(child.stderr.take().unwrap());
        let port = |line: &str| line.strip_prefix("PORT ")?.parse().ok();
        Files { child, port: log.wait_for(Duration::from_secs(20), port).unwrap() }
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// git without any other configuration.
fn git(scene: &Scene) -> Command {
    let mut command = program::named("git");
    command.env_clear().envs(scene.machine.environment());
    command.envs([("GIT_CONFIG_NOSYSTEM", "1"), ("GIT_TERMINAL_PROMPT", "0")]);
    command.env("GIT_SSL_CAINFO", &scene.server_root_file);
    command
}

#[track_caller]
fn succeeds(mut command: Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn git_clones_from_a_server_that_requires_a_certificate() {
    let scene = Scene::new();
    let alice = scene.hire("alice");
    scene.remember("localhost", &alice.fingerprint());
    let dir = scene.machine.dir();
    let run = |words: &[&str]| {
        let mut command = git(&scene);
        command.args(["-c", "user.name=a", "-c", "user.email=a@example.com", "-C"]).arg(dir).args(words);
        succeeds(command);
    };
    run(&["init", "--quiet", "work"]);
    run(&["-C", "work", "commit", "--quiet", "--allow-empty", "-m", "first"]);
    run(&["clone", "--quiet", "--bare", "work", "served/project.git"]);
    run(&["-C", "served/project.git", "update-server-info"]);
    let files = Files::serve(&scene, &dir.join("served"));
    let destination = format!("localhost:{}", files.port);
    let clone = |options: &[String], to: &str| {
        let mut command = git(&scene);
        command
            .args(options)
            .args(["clone", "--quiet", &format!("https://{destination}/project.git")])
            .arg(dir.join(to));
        command
    };
    assert!(!clone(&[], "without").output().unwrap().status.success(), "the server demands no certificate");
    // Also for an identity that is sent in TLS 1.3 only
    for (version, to) in [("1.2", "any"), ("1.3", "newest")] {
        scene.machine.run(&format!("min-tls alice {version}")).expect(0);
        let options = options(&scene, "git", &destination);
        assert_eq!(options.len(), if version == "1.3" { 10 } else { 8 }, "{options:?}");
        assert!(options[1].starts_with(&format!("http.https://{destination}/.sslCert=")), "for this server alone");
        succeeds(clone(&options, to));
        assert!(dir.join(to).join(".git").exists());
    }
}

#[test]
fn an_identity_for_tls_1_3_only_is_given_with_that_restriction() {
    let scene = Scene::new();
    let alice = scene.hire("alice");
    scene.remember("localhost", &alice.fingerprint());
    scene.machine.run("min-tls alice 1.3").expect(0);
    let server = scene.server(Kind::Go).tls(Tls::V1_3).start();
    let options = options(&scene, "curl", &server.destination());
    assert!(options.contains(&"--tlsv1.3".to_owned()), "{options:?}");
    assert!(curl(&scene, &options, &server.url()).status.success());
    let old = scene.server(Kind::Go).tls(Tls::V1_2).start();
    assert!(!curl(&scene, &options, &old.url()).status.success());
    assert!(old.chains().is_empty(), "{}", old.said());
    // It is not given for a server that only supports TLS 1.2
    credential(&scene, &["curl", &old.destination()]).run().expect(3).says(&["no identity fits"]);
    kubectl(&scene, &old, |_| ()).run().expect(3);
    kubectl(&scene, &server, |_| ()).run().expect(3).says(&["TLS 1.3 only", "tunnel"]);
}

/// Runs the command as kubectl calls its plugin.
fn kubectl(scene: &Scene, server: &Server, change: impl FnOnce(&mut Value)) -> Run {
    let authority = std::fs::read(&scene.server_root_file).unwrap();
    let mut info = json!({
        "kind": "ExecCredential",
        "apiVersion": "client.authentication.k8s.io/v1",
        "spec": {
            "cluster": {
                "server": server.url(),
                "certificate-authority-data": BASE64.encode(authority),
                "config": null,
            },
            "interactive": false,
        },
    });
    change(&mut info);
    scene.machine.command(["credential", "kubectl"]).env("KUBERNETES_EXEC_INFO", info.to_string())
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_else(|| panic!("no {key} in {value}"))
}

/// <https://kubernetes.io/docs/reference/config-api/client-authentication.v1/>: the fields that exist, and no others.
#[track_caller]
fn assert_is_credential_of(answer: &Value, identity: &Issued, dir: &Path, version: &str) {
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(answer), ["apiVersion", "kind", "status"]);
    assert_eq!((text(answer, "apiVersion"), text(answer, "kind")), (version, "ExecCredential"));
    let status = &answer["status"];
    assert_eq!(keys(status), ["clientCertificateData", "clientKeyData", "expirationTimestamp"]);
    let until = text(status, "expirationTimestamp");
    assert!(until.len() == 20 && until.ends_with('Z') && until.as_bytes()[10] == b'T', "RFC 3339: {until}");
    let certificates = text(status, "clientCertificateData");
    let sent: Vec<_> = certificates.split_inclusive("-----END CERTIFICATE-----\n").map(fingerprint_of_pem).collect();
    assert_eq!(sent, identity.sent_chain());
    // The key belongs to the certificate, as another program reads it
    let key = crate::support::ca::write(dir, "given", "pem", text(status, "clientKeyData"));
    let public = crate::support::ca::openssl(&format!("pkey -in {} -pubout", key.display()));
    let leaf = crate::support::ca::write(dir, "leaf", "pem", identity.pem());
    assert_eq!(public, crate::support::ca::openssl(&format!("x509 -in {} -noout -pubkey", leaf.display())));
}

#[test]
fn kubectl_gets_an_exec_credential() {
    let scene = Scene::new();
    let alice = scene.hire("alice");
    scene.remember("localhost", &alice.fingerprint());
    let server = scene.server(Kind::Go).start();
    for version in ["client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1"] {
        let outcome = kubectl(&scene, &server, |info| info["apiVersion"] = json!(version)).run().expect(0);
        assert_is_credential_of(&outcome.json(), &alice, scene.machine.dir(), version);
        assert_eq!(outcome.stderr, "", "kubectl shows it at every call");
    }
    assert!(key_files(&scene).is_empty(), "nothing is written");
    server.assert_nothing_came("the plugin only looks");

    // The server is verified by another name than its address, and that name is the destination
    let by_name = |info: &mut Value| {
        info["spec"]["cluster"]["server"] = json!(format!("https://127.0.0.2:{}", server.port()));
        info["spec"]["cluster"]["tls-server-name"] = json!("localhost");
    };
    kubectl(&scene, &server, by_name).run().expect(1);
    let at_another_address = scene.server(Kind::Go).listen("127.0.0.2".parse().unwrap()).start();
    let by_name = |info: &mut Value| {
        info["spec"]["cluster"]["server"] = json!(format!("https://127.0.0.2:{}", at_another_address.port()));
        info["spec"]["cluster"]["tls-server-name"] = json!("localhost");
    };
    kubectl(&scene, &server, by_name).run().expect(0);
    // Without provideClusterInfo, the destination must be an argument
    let without = |info: &mut Value| info["spec"] = json!({"interactive": false});
    kubectl(&scene, &server, without).run().expect(1).says(&["names no server", "provideClusterInfo"]);
    let authority = scene.server_root_file.to_str().unwrap();
    kubectl(&scene, &server, without).args([&server.destination(), "--cacert", authority]).run().expect(0);
}

#[test]
fn kubectl_gets_no_credential_without_a_decision() {
    let scene = Scene::new();
    let alice = scene.hire("alice");
    let server = scene.server(Kind::Go).start();
    let nothing = |run: Run, code: i32, words: &[&str]| {
        let outcome = run.run().expect(code).says(words);
        assert_eq!(outcome.text(), "");
    };
    nothing(kubectl(&scene, &server, |_| ()), 4, &["nobody can be asked"]);
    scene.remember("localhost", "none");
    nothing(kubectl(&scene, &server, |_| ()), 3, &["no certificate", "hint"]);
    scene.remember("localhost", &alice.fingerprint());
    nothing(kubectl(&scene, &server, |_| ()).arg("elsewhere.example"), 1, &["not to elsewhere.example"]);
    let other = |info: &mut Value| info["apiVersion"] = json!("client.authentication.k8s.io/v2");
    nothing(kubectl(&scene, &server, other), 1, &["v2", "hint"]);
    let proxy = |info: &mut Value| info["spec"]["cluster"]["proxy-url"] = json!("http://proxy.example");
    nothing(kubectl(&scene, &server, proxy), 1, &["proxy"]);
    let unverified = |info: &mut Value| {
        info["spec"]["cluster"].as_object_mut().unwrap().remove("certificate-authority-data");
    };
    nothing(kubectl(&scene, &server, unverified), 1, &["unknown authority"]);
    let silent = scene.server(Kind::Go).ask(Ask::Never).start();
    nothing(kubectl(&scene, &silent, |_| ()), 1, &["does not ask"]);
    let guests = scene.server(Kind::Go).authorities(&[&scene.guests_root]).start();
    scene.machine.run("forget localhost").expect(0);
    nothing(kubectl(&scene, &guests, |_| ()), 3, &["no identity fits"]);
    let broken = scene.machine.command(["credential", "kubectl"]).env("KUBERNETES_EXEC_INFO", "{");
    nothing(broken, 1, &["KUBERNETES_EXEC_INFO"]);
}

#[test]
fn the_kubectl_configuration_shows_no_key_and_comes_with_a_warning() {
    let scene = Scene::new();
    scene.hire("alice");
    let outcome = scene.machine.run("credential kubectl cluster.example:6443 --as alice").expect(0);
    let text = outcome.text();
    for part in ["exec:", "client.authentication.k8s.io/v1", "cluster.example:6443", "interactiveMode: IfAvailable"] {
        assert!(text.contains(part), "{text}");
    }
    assert!(!text.contains("PRIVATE KEY"));
    outcome.says(&["warning", "private key", "from the store"]);
}

/// The key must pass the same checks as for a signature.
#[test]
fn a_tampered_decision_gives_no_key() {
    let scene = Scene::new();
    let alice = scene.hire("alice");
    scene.hire("bob");
    let server = scene.server(Kind::Go).start();
    scene.remember("localhost", &alice.fingerprint());
    let database = scene.machine.database();
    let swap = "UPDATE decisions SET identity = (SELECT id FROM identities WHERE name = 'bob')";
    assert_eq!(database.execute(swap, []).unwrap(), 1);
    let outcome =
        credential(&scene, &["curl", &server.destination()]).run().expect(1).says(&["not authentic", "accept"]);
    assert_eq!(outcome.text(), "");
    assert!(key_files(&scene).is_empty());
}
