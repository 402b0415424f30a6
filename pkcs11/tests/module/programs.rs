//! Programs of Debian, as an ordinary user, each against a real server. Whether a program has a whole message signed or a digest shows
//! in what it can do with an identity for which only whole messages are permitted; so a program that changes is noticed.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use cardcase::manage::{Confirmation, Permission};
use tempfile::TempDir;

use crate::person::{KEYS, Person, output};
use crate::support::ca::{self, Key};
use crate::support::log::Log;
use crate::support::server::{BOTH_VERSIONS, Kind, Server, Tls};
use crate::support::service::{self, Service};
use crate::support::{missing, program};

/// How long a program may take.
const LIMIT: Duration = Duration::from_secs(60);

/// What a program has signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Signs {
    Whole,
    Digest,
}

/// How a program connects to a server with an identity, and what it has signed with a kind of key; nothing if it cannot use it.
struct Program {
    name: &'static str,
    package: &'static str,
    connect: fn(&Person, Key, &Server) -> Command,
    signs: fn(Key, Tls) -> Option<Signs>,
}

const PROGRAMS: [Program; 6] = [
    Program { name: "curl", package: "curl libengine-pkcs11-openssl", connect: curl, signs: by_engine },
    Program { name: "s_client", package: "openssl libengine-pkcs11-openssl", connect: s_client, signs: by_engine },
    Program { name: "wget", package: "wget", connect: wget, signs: by_wget },
    Program { name: "git", package: "git", connect: git, signs: by_gnutls },
    Program { name: "gnutls-cli", package: "gnutls-bin", connect: gnutls_cli, signs: by_gnutls },
    Program { name: "java", package: "default-jdk-headless", connect: java, signs: by_java },
];

/// The engine of OpenSSL does not know Ed25519.
fn by_engine(key: Key, _: Tls) -> Option<Signs> {
    (key != Key::Ed25519).then_some(Signs::Digest)
}

fn by_gnutls(key: Key, _: Tls) -> Option<Signs> {
    Some(if key == Key::Ed25519 { Signs::Whole } else { Signs::Digest })
}

/// In TLS 1.2 it sends no certificate with such a key.
fn by_wget(key: Key, tls: Tls) -> Option<Signs> {
    if (key, tls) == (Key::Ed25519, Tls::V1_2) { None } else { by_gnutls(key, tls) }
}

fn by_java(key: Key, _: Tls) -> Option<Signs> {
    match key {
        Key::Rsa2048 => Some(Signs::Digest),
        Key::Ed25519 => None,
        _ => Some(Signs::Whole),
    }
}

/// Without a type, which each program adds.
fn uri(key: Key) -> String {
    let token = if key == Key::Ed25519 { "cardcase%20Ed25519" } else { "cardcase" };
    format!("pkcs11:token={token};object={}", key.name())
}

fn root(person: &Person) -> String {
    person.scene.server_root_file.display().to_string()
}

fn curl(person: &Person, key: Key, server: &Server) -> Command {
    let mut command = person.program("curl");
    command.args(["--silent", "--show-error", "--cacert", &root(person), "--cert", &uri(key), &server.url()]);
    command
}

/// The certificate of an identity as a file, for programs that take no URI for it.
fn certificate(person: &Person, key: Key) -> String {
    let pem = person.cardcase(&format!("show {} --pem", key.name()));
    person.file(&format!("{}.pem", key.name()), pem).display().to_string()
}

fn s_client(person: &Person, key: Key, server: &Server) -> Command {
    let request = r#"printf 'GET / HTTP/1.0\r\n\r\n' | exec "$@""#;
    let mut command = person.program("sh");
    command.args(["-c", request, "sh", "openssl", "s_client", "-quiet", "-engine", "pkcs11", "-keyform", "engine"]);
    command.args(["-key", &format!("{};type=private", uri(key)), "-cert", &certificate(person, key)]);
    command.args(["-connect", &server.destination(), "-CAfile", &root(person), "-verify_return_error"]);
    command
}

fn wget(person: &Person, key: Key, server: &Server) -> Command {
    let mut command = person.program("wget");
    command.args(["-q", "-O", "-", "--tries=1", &format!("--ca-certificate={}", root(person))]);
    command.arg(format!("--certificate={};type=cert", uri(key)));
    command.arg(format!("--private-key={};type=private", uri(key))).arg(server.url());
    command
}

/// The server has no repository: git says so, after it has connected.
fn git(person: &Person, key: Key, server: &Server) -> Command {
    let mut command = person.program("git");
    for (name, value) in [
        ("http.sslCAInfo", root(person)),
        ("http.sslCert", format!("{};type=cert", uri(key))),
        ("http.sslKey", format!("{};type=private", uri(key))),
    ] {
        command.arg("-c").arg(format!("{name}={value}"));
    }
    command.args(["ls-remote", &server.url()]);
    command
}

fn gnutls_cli(person: &Person, key: Key, server: &Server) -> Command {
    let request = r#"printf 'GET / HTTP/1.0\r\n\r\n' | exec "$@""#;
    let mut command = person.program("sh");
    command.args(["-c", request, "sh", "gnutls-cli", "--x509cafile", &root(person), "-p"]);
    command.arg(server.port().to_string());
    command.args(["--x509certfile", &format!("{};type=cert", uri(key))]);
    command.args(["--x509keyfile", &format!("{};type=private", uri(key)), "localhost"]);
    command
}

fn java(person: &Person, key: Key, server: &Server) -> Command {
    let directory = person.scene.machine.dir();
    if !directory.join("Client.class").exists() {
        let source = person.file("Client.java", include_str!("Client.java"));
        let mut compile = person.program("javac");
        let compiled = output(compile.arg("-d").arg(directory).arg(source), "default-jdk-headless");
        assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
    }
    let module = person.module.display();
    let configuration = format!("name = cardcase\nlibrary = {module}\nslotListIndex = 0\n");
    let configuration = person.file("java.cfg", configuration);
    let mut command = person.program("java");
    command.arg("-cp").arg(directory).args(["Client", &configuration.display().to_string(), key.name()]);
    command.args([&server.url(), &root(person)]);
    command
}

/// Connects with each kind of key to a server of each version.
fn check(program: &Program) {
    for permission in [Permission::Any, Permission::Tls] {
        let person = Person::ordinary().with_every_key(permission);
        for tls in BOTH_VERSIONS {
            // OpenSSL's engine, and gnutls-cli, send no intermediate certificate
            let authorities = [&person.scene.staff_root, &person.scene.staff];
            let server = person.scene.server(Kind::Nginx).authorities(&authorities).tls(tls).start();
            for key in KEYS {
                let signs = (program.signs)(key, tls);
                let works = signs == Some(Signs::Whole) || (signs.is_some() && permission == Permission::Any);
                let before = server.chains().len();
                let mut command = (program.connect)(&person, key, &server);
                let said = output(&mut command, program.package);
                let arrived: Vec<String> = server.chains().split_off(before).into_iter().flatten().collect();
                let expected = if works { vec![person.fingerprint(key.name())] } else { Vec::new() };
                let said = [said.stdout, said.stderr].concat();
                assert_eq!(
                    arrived,
                    expected,
                    "{} with {} permitted, {}, TLS {}:\n{}",
                    program.name,
                    permission,
                    key.name(),
                    tls.number(),
                    String::from_utf8_lossy(&said)
                );
            }
        }
    }
}

fn check_named(name: &str) {
    check(PROGRAMS.iter().find(|program| program.name == name).unwrap());
}

#[test]
fn curl_has_digests_signed() {
    check_named("curl");
}

#[test]
fn openssl_has_digests_signed() {
    check_named("s_client");
}

#[test]
fn wget_has_digests_signed_and_whole_messages_with_ed25519() {
    check_named("wget");
}

#[test]
fn git_has_digests_signed_and_whole_messages_with_ed25519() {
    check_named("git");
}

#[test]
fn gnutls_has_digests_signed_and_whole_messages_with_ed25519() {
    check_named("gnutls-cli");
}

#[test]
fn java_has_whole_messages_signed_with_ec_keys_and_digests_with_rsa() {
    check_named("java");
}

/// GnuTLS completes the chain from the token: this server knows the root alone.
#[test]
fn wget_and_git_send_the_certificates_of_the_chain() {
    let person = Person::ordinary().with_every_key(Permission::Any);
    let server = person.scene.server(Kind::OpenSsl).start();
    for connect in [wget, git] {
        output(&mut connect(&person, Key::P256, &server), "wget git");
    }
    let chain = vec![person.fingerprint("ec-p256"), person.scene.staff.fingerprint()];
    assert_eq!(server.chains(), [chain.clone(), chain]);
}

#[test]
fn psql_has_digests_signed() {
    for permission in [Permission::Any, Permission::Tls] {
        let person = Person::ordinary().with_every_key(permission);
        let service = Service::start(&person.scene, service::Kind::Postgres);
        let (host, port) = service.destination().split_once(':').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
        let mut expected = Vec::new();
        for version in ["TLSv1.2", "TLSv1.3"] {
            // PostgreSQL accepts no other curve in TLS 1.2
            for key in [Key::Rsa2048, Key::P256] {
                let chain = certificate(&person, key);
                let connection = format!(
                    "host={host} port={port} user=postgres dbname=postgres sslmode=verify-full sslrootcert={} sslcert={chain} \
                     sslkey=pkcs11:{};type=private ssl_min_protocol_version={version} ssl_max_protocol_version={version}",
                    root(&person),
                    uri(key)
                );
                let mut command = person.program("psql");
                let said = output(command.arg(connection).args(["-c", "SELECT 1"]), "postgresql-client");
                let works = permission == Permission::Any;
                let text = String::from_utf8_lossy(&said.stderr).into_owned();
                assert_eq!(said.status.success(), works, "{permission} {} {version}: {text}", key.name());
                if works {
                    expected.push(key.name().to_owned());
                }
            }
        }
        assert_eq!(service.came(expected.len()), expected);
    }
}

/// An OpenVPN server without a network device.
struct OpenVpn {
    child: Child,
    log: Log,
    port: u16,
    /// It reads its files again after each connection.
    _directory: TempDir,
}

impl OpenVpn {
    fn start(person: &Person) -> Self {
        let (scene, directory) = (&person.scene, tempfile::tempdir().unwrap());
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let mut command = program::named("openvpn");
        command.args("--dev null --verb 3 --tls-server --dh none --proto tcp-server --local 127.0.0.1".split(' '));
        // A client with a module sends no intermediate certificate
        let authorities = ca::authorities_file(directory.path(), &[&scene.staff_root, &scene.staff]);
        command.args(["--port", &port.to_string(), "--ca"]).arg(authorities);
        command.arg("--cert").arg(scene.server_certificate.certificate_file(directory.path()));
        command.arg("--key").arg(scene.server_certificate.key_file(directory.path()));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{}", missing("openvpn", "openvpn", &error)));
        let log = Log::default();
        log.follow(child.stdout.take().unwrap());
        let listens = log.wait_for(LIMIT, |line| line.contains("Listening for incoming TCP").then_some(()));
        listens.unwrap_or_else(|said| panic!("openvpn did not start:\n{said}"));
        Self { child, log, port, _directory: directory }
    }
}

impl Drop for OpenVpn {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Names of identities as OpenVPN has them, by the common name of their certificates.
fn openvpn_id(person: &Person, key: Key) -> String {
    let mut command = person.program("openvpn");
    let shown = output(command.arg("--show-pkcs11-ids").arg(&person.module), "openvpn");
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    let (_, rest) = shown.split_once(&format!("CN={}", key.name())).unwrap_or_else(|| panic!("{shown}"));
    let id = rest.lines().find_map(|line| line.trim().strip_prefix("Serialized id:"));
    id.unwrap_or_else(|| panic!("{shown}")).trim().to_owned()
}

#[test]
fn openvpn_has_digests_signed() {
    for permission in [Permission::Any, Permission::Tls] {
        let person = Person::ordinary().with_every_key(permission);
        for key in [Key::Rsa2048, Key::P256] {
            for version in ["1.2", "1.3"] {
                let server = OpenVpn::start(&person);
                let id = openvpn_id(&person, key);
                let mut command = person.program("openvpn");
                command.args("--dev null --tls-client --proto tcp-client --connect-retry-max 1 --tls-exit".split(' '));
                command.args(["--remote", "127.0.0.1", &server.port.to_string(), "--ca", &root(&person)]);
                command.arg("--pkcs11-providers").arg(&person.module).args(["--pkcs11-id", &id]);
                command.args(["--tls-version-min", version, "--tls-version-max", version]);
                command.stdout(Stdio::piped()).stderr(Stdio::piped());
                let mut client =
                    command.spawn().unwrap_or_else(|error| panic!("{}", missing("openvpn", "openvpn", &error)));
                let said = Log::default();
                said.follow(client.stdout.take().unwrap());
                let case = format!("{permission}, {}, TLS {version}", key.name());
                if permission == Permission::Any {
                    let connected =
                        server.log.wait_for(LIMIT, |line| line.contains("Peer Connection Initiated").then_some(()));
                    connected.unwrap_or_else(|log| panic!("{case}: {log}\n--- client\n{}", said.lines().join("\n")));
                    let who = format!("depth=0, O=Test Clients, CN={}", key.name());
                    assert!(
                        server.log.lines().iter().any(|line| line.contains("VERIFY OK") && line.contains(&who)),
                        "{case}"
                    );
                } else {
                    let refused = said.wait_for(LIMIT, |line| line.contains("TLS handshake failed").then_some(()));
                    refused.unwrap_or_else(|log| panic!("{case}: {log}"));
                    assert!(
                        !server.log.lines().iter().any(|line| line.contains("Peer Connection Initiated")),
                        "{case}"
                    );
                }
                let _ = client.kill();
                let _ = client.wait();
            }
        }
    }
}

/// A server that authenticates one connection. It lets in the user who runs the tests, whoever the keys are of.
#[test]
fn ssh_has_digests_signed() {
    for permission in [Permission::Any, Permission::Tls] {
        let person = Person::ordinary().with_every_key(permission);
        let mut keys = person.program("ssh-keygen");
        let keys = output(keys.arg("-D").arg(&person.module), "openssh-client");
        let keys = String::from_utf8(keys.stdout).unwrap();
        let host_key = person.scene.machine.dir().join("host");
        let made =
            person.program("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&host_key).status().unwrap();
        assert!(made.success());
        for name in ["rsa-2048", "ec-p256"] {
            let wanted = keys.lines().find(|line| line.ends_with(name)).unwrap_or_else(|| panic!("{keys}"));
            let authorized = person.file("authorized_keys", format!("{wanted}\n"));
            let free = TcpListener::bind("127.0.0.1:0").unwrap();
            let port = free.local_addr().unwrap().port().to_string();
            drop(free);
            let is_root = rustix::process::geteuid().is_root();
            if is_root {
                // Where systemd would make it
                std::fs::create_dir_all("/run/sshd").unwrap();
            }
            let configuration = format!(
                "ListenAddress 127.0.0.1\nPort {port}\nHostKey {}\nAuthorizedKeysFile {}\nStrictModes no\nMaxAuthTries 20\n\
                 PidFile none\nPermitRootLogin yes\nUsePAM {}\n",
                host_key.display(),
                authorized.display(),
                if is_root { "yes" } else { "no" }
            );
            let configuration = person.file("sshd.conf", configuration);
            let mut command = program::named("/usr/sbin/sshd");
            command.args(["-d", "-e", "-f"]).arg(configuration).stderr(Stdio::piped());
            let mut server =
                command.spawn().unwrap_or_else(|error| panic!("{}", missing("sshd", "openssh-server", &error)));
            let log = Log::default();
            log.follow(server.stderr.take().unwrap());
            let listens = log.wait_for(LIMIT, |line| line.contains("Server listening").then_some(()));
            listens.unwrap_or_else(|said| panic!("sshd did not start:\n{said}"));
            let mut client = person.program("ssh");
            client.arg("-o").arg(format!("PKCS11Provider={}", person.module.display()));
            client.args(
                "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o BatchMode=yes -F none".split(' '),
            );
            let user = output(program::named("id").arg("-un"), "coreutils");
            let user = String::from_utf8(user.stdout).unwrap();
            client.args(["-p", &port, "-l", user.trim(), "127.0.0.1", "true"]);
            let said = output(&mut client, "openssh-client");
            let _ = server.wait();
            let said = String::from_utf8_lossy(&said.stderr).into_owned();
            let accepted = log.lines().iter().any(|line| line.contains("Accepted publickey for"));
            assert_eq!(
                accepted,
                permission == Permission::Any,
                "{permission} {name}: {said}\n{}",
                log.lines().join("\n")
            );
        }
    }
}

#[test]
fn p11tool_and_pkcs11_tool_list_and_sign() {
    let person = Person::ordinary().with_every_key(Permission::Any);
    // By the configuration of p11-kit
    let listed = output(person.program("p11tool").args(["--list-all", "pkcs11:token=cardcase"]), "gnutls-bin");
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    for name in ["rsa-2048", "ec-p256", "ec-p384", "ec-p521"] {
        assert_eq!(listed.matches(&format!("object={name};type=private")).count(), 1, "{listed}");
    }
    assert!(!listed.contains("ed25519"), "{listed}");
    let directory = person.scene.machine.dir();
    let message = person.file("message", "I owe you");
    for (name, mechanism) in [("ec-p256", "ECDSA-SHA256"), ("ec-p384", "ECDSA-SHA384"), ("rsa-2048", "SHA256-RSA-PKCS")]
    {
        let signature = directory.join(format!("{name}.sig"));
        let mut command = person.program("pkcs11-tool");
        command.arg("--module").arg(&person.module).args([
            "--sign",
            "-m",
            mechanism,
            "--id",
            &person.fingerprint(name),
        ]);
        command.arg("-i").arg(&message).arg("-o").arg(&signature).args(["-f", "openssl"]);
        let said = output(&mut command, "opensc");
        assert!(said.status.success(), "{name}: {}", String::from_utf8_lossy(&said.stderr));
        let key = directory.join(format!("{name}.pub"));
        let pem = person.file("leaf.pem", person.cardcase(&format!("show {name} --pem")));
        let mut extract = person.program("openssl");
        let extract = output(extract.args(["x509", "-pubkey", "-noout", "-in"]).arg(pem), "openssl");
        let key = person.file(key.file_name().unwrap().to_str().unwrap(), extract.stdout);
        let digest = if name == "ec-p384" { "-sha384" } else { "-sha256" };
        let mut verify = person.program("openssl");
        verify.args(["dgst", digest, "-verify"]).arg(key).arg("-signature").arg(signature).arg(&message);
        assert!(output(&mut verify, "openssl").status.success(), "{name}");
    }
    // A test of everything that a token can do. It fails on none that the token says it has
    let mut test = person.program("pkcs11-tool");
    let tested = output(test.arg("--module").arg(&person.module).arg("--test"), "opensc");
    let tested = [tested.stdout, tested.stderr].concat();
    let tested = String::from_utf8_lossy(&tested);
    assert!(tested.contains("No errors"), "{tested}");
}

/// The memory of a program that has signed has the certificate in it, and nothing of the private key.
#[test]
fn no_key_is_in_the_memory_of_a_program_that_signed() {
    let person = Person::ordinary();
    let issued = KEYS.map(|key| person.scene.employee(key.name()).key(key).issue());
    person.receive(&issued, Permission::Any, Confirmation::Never);
    for (key, issued) in KEYS.iter().zip(&issued).filter(|(key, _)| **key != Key::P521) {
        // It never answers, so that the program waits
        let server = Stalling::start(&person);
        let mut command = person.program("wget");
        let url = format!("https://localhost:{}/", server.port);
        command.args(["-q", "-O", "-", "--tries=1", &format!("--ca-certificate={}", root(&person))]);
        command.arg(format!("--certificate={};type=cert", uri(*key)));
        command.arg(format!("--private-key={};type=private", uri(*key))).arg(url);
        let mut wget = command.spawn().unwrap();
        let asked = server.log.wait_for(LIMIT, |line| line.starts_with("GET / ").then_some(()));
        asked.unwrap_or_else(|said| panic!("{}: {said}", key.name()));
        let image = dump(&person, wget.id());
        let _ = wget.kill();
        let _ = wget.wait();
        let contains = |bytes: &[u8]| image.windows(bytes.len()).any(|window| window == bytes);
        assert!(contains(issued.der()), "{}: the certificate is not in it", key.name());
        let secrets = secrets(&issued.key_der(), *key);
        assert!(!secrets.is_empty());
        for secret in secrets {
            let reversed: Vec<u8> = secret.iter().rev().copied().collect();
            assert!(!contains(&secret) && !contains(&reversed), "{}: a key is in it", key.name());
        }
    }
}

/// The numbers that make a private key: those of PKCS #8 that are not in the certificate.
fn secrets(pkcs8: &[u8], key: Key) -> Vec<Vec<u8>> {
    let parsed = openssl_numbers(pkcs8);
    match key {
        Key::Rsa2048 => parsed.into_iter().filter(|number| number.len() >= 127 && number.len() <= 129).collect(),
        _ => parsed.into_iter().filter(|number| number.len() >= 31).take(1).collect(),
    }
}

/// Every INTEGER and OCTET STRING in a private key, without leading zeros.
fn openssl_numbers(der: &[u8]) -> Vec<Vec<u8>> {
    let (mut found, mut rest) = (Vec::new(), der);
    while let [tag, length, ..] = *rest {
        let (header, length) = match length {
            0x81 => (3, usize::from(rest[2])),
            0x82 => (4, usize::from(rest[2]) << 8 | usize::from(rest[3])),
            short => (2, usize::from(short)),
        };
        let Some(body) = rest.get(header..header + length) else { break };
        match tag {
            0x30 => found.extend(openssl_numbers(body)),
            0x04 if matches!(body.first(), Some(0x30 | 0x04)) && body.len() != 32 => {
                found.extend(openssl_numbers(body))
            }
            0x02 | 0x04 => found.push(body.iter().copied().skip_while(|byte| *byte == 0).collect()),
            _ => {}
        }
        rest = &rest[header + length..];
    }
    found
}

/// The memory image of a process.
fn dump(person: &Person, process: u32) -> Vec<u8> {
    let prefix = person.scene.machine.dir().join("core");
    let mut gcore = program::named("gcore");
    let dumped = output(gcore.arg("-a").arg("-o").arg(&prefix).arg(process.to_string()), "gdb");
    let file = prefix.with_extension(process.to_string());
    std::fs::read(&file).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&dumped.stderr)))
}

/// A TLS server that requires a certificate, shows the request, and never answers.
struct Stalling {
    child: Child,
    log: Log,
    port: u16,
}

impl Stalling {
    fn start(person: &Person) -> Self {
        let (scene, directory) = (&person.scene, tempfile::tempdir().unwrap());
        let mut command = program::named("openssl");
        command.args(["s_server", "-accept", "127.0.0.1:0", "-Verify", "5", "-verify_return_error", "-CAfile"]);
        command.arg(scene.staff_root.file(directory.path()));
        command.arg("-cert").arg(scene.server_certificate.certificate_file(directory.path()));
        command.arg("-key").arg(scene.server_certificate.key_file(directory.path()));
        // It reads what it would send
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{}", missing("openssl", "openssl", &error)));
        let log = Log::default();
        log.follow(child.stdout.take().unwrap());
        log.follow(child.stderr.take().unwrap());
        let port = log.wait_for(LIMIT, |line| line.strip_prefix("ACCEPT ")?.rsplit(':').next()?.parse().ok());
        Self { port: port.unwrap_or_else(|said| panic!("s_server did not start:\n{said}")), child, log }
    }
}

impl Drop for Stalling {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// curl looks at every object, and Firefox searches seven times for each certificate.
#[test]
fn two_thousand_identities_are_not_too_many() {
    let person = Person::ordinary();
    let issued: Vec<_> = (0..2000).map(|number| person.scene.employee(&format!("person {number}")).issue()).collect();
    person.receive(&issued, Permission::Any, Confirmation::Never);
    let server = person.scene.server(Kind::Nginx).authorities(&[&person.scene.staff_root, &person.scene.staff]).start();
    for (connect, uri) in [("curl", "--cert"), ("wget", "--certificate")] {
        let identity = "pkcs11:token=cardcase;object=person%201234";
        let mut command = person.program(connect);
        match connect {
            "curl" => command.args(["--silent", "--cacert", &root(&person), uri, identity, &server.url()]),
            _ => command.args(["-q", "-O", "-", &format!("--ca-certificate={}", root(&person))]).args([
                &format!("{uri}={identity};type=cert"),
                &format!("--private-key={identity};type=private"),
                &server.url(),
            ]),
        };
        // The first starts the agent
        for _ in 0..2 {
            let begun = Instant::now();
            output(&mut command, connect);
            let elapsed = begun.elapsed();
            eprintln!("{connect}: {elapsed:?}");
            // Twice what it takes on an idle machine would be a second; a scan takes a minute
            assert!(elapsed < Duration::from_secs(10), "{connect} took {elapsed:?}");
        }
    }
    let chains = server.chains();
    assert_eq!(chains, vec![vec![issued[1234].fingerprint()]; 4]);
}
