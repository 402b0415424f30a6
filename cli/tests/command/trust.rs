//! Which servers the trusted certificates verify, and the reason for each that is not verified, in the same words over both TLS
//! libraries.

use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa,
    KeyUsagePurpose, NameConstraints,
};

use crate::support::ca::{self, Authority, Issued, P12, PASSWORD, Validity, openssl, own_server};
use crate::support::command::{Cardcase, Outcome};
use crate::support::scene::Scene;
use crate::support::server::{Ask, Kind, Server, Setup};
use crate::support::terminal::{Terminal, key};

/// The TLS libraries that verify servers.
const LIBRARIES: [&str; 2] = ["rustls", "openssl"];

/// A certificate and its key in files.
struct Files {
    pem: PathBuf,
    key: PathBuf,
}

impl Files {
    fn of(issued: &Issued, dir: &Path) -> Files {
        Files { pem: issued.certificate_file(dir), key: issued.key_file(dir) }
    }

    fn name(&self) -> &str {
        self.pem.to_str().unwrap()
    }

    /// A server with this certificate that asks for none. It accepts what OpenSSL would call insecure.
    fn serve(&self, authorities: &Path) -> Server {
        let setup = Setup::with_files(Kind::OpenSsl, (self.pem.clone(), self.key.clone()), authorities.to_owned());
        setup.ask(Ask::Never).arguments(&["-cipher", "DEFAULT@SECLEVEL=0"]).start()
    }
}

fn fetch(machine: &Cardcase, url: &str, library: &str, more: &[&str]) -> Outcome {
    machine.command(["fetch", url, "--tls", library, "--batch"]).args(more).run()
}

/// Fails on names of Rust's types, byte arrays and object identifiers that stand alone.
#[track_caller]
fn assert_plain(text: &str) {
    let words = || text.split(|c: char| c.is_whitespace() || c == ',');
    let is_debug = |word: &str| {
        let name = word.trim_start_matches('(');
        name.starts_with(|c: char| c.is_ascii_uppercase())
            && (name.contains('(') || name.contains('{') || name.contains("::"))
    };
    if let Some(word) = words().find(|word| is_debug(word)) {
        panic!("{word:?} is Rust's debug text: {text}");
    }
    assert!(!text.contains('[') || !text.contains("0x") && !text.contains("[4"), "bytes: {text}");
}

/// A key and its certificate from `openssl req -x509`, with the additional options `how`.
fn by_openssl(dir: &Path, how: &str) -> Files {
    let [key, pem] = ["key", "pem"].map(|extension| ca::unused(dir, "made", extension));
    openssl(&format!("req -x509 -nodes -days 30 -keyout {} -out {} {how}", key.display(), pem.display()));
    Files { pem, key }
}

const EC: &str = "-newkey ec -pkeyopt ec_paramgen_curve:P-256";

#[test]
fn a_servers_own_certificate_can_be_trusted() {
    let machine = Cardcase::new();
    let dir = machine.dir();
    let names = "-subj /CN=localhost -addext subjectAltName=DNS:localhost";
    let cases = [
        ("as openssl makes it, CA:TRUE", by_openssl(dir, &format!("{EC} {names}"))),
        ("CA:FALSE", Files::of(&own_server(&["localhost"], |_| ()), dir)),
        ("RSA", by_openssl(dir, &format!("-newkey rsa:2048 {names}"))),
        ("signed with SHA-1", by_openssl(dir, &format!("-sha1 -newkey rsa:2048 {names}"))),
        (
            "keyEncipherment only",
            Files::of(
                &own_server(&["localhost"], |params| params.key_usages = vec![KeyUsagePurpose::KeyEncipherment]),
                dir,
            ),
        ),
        ("issued by a CA that nobody knows", Files::of(&Authority::root("Nobody").server(&["localhost"]), dir)),
    ];
    for (what, files) in cases {
        let server = files.serve(&files.pem);
        for library in LIBRARIES {
            fetch(&machine, &server.url(), library, &[]).expect(1);
            fetch(&machine, &server.url(), library, &["--cacert", files.name()]).expect(0);
        }
        machine.run(&format!("trust {}", files.name())).expect(0).says(&["localhost", "now trusted"]);
        for library in LIBRARIES {
            let outcome = fetch(&machine, &server.url(), library, &[]);
            assert_eq!(outcome.code(), Some(0), "{what}, {library}: {}", outcome.stderr);
            fetch(&machine, &server.url_at("127.0.0.1", "/"), library, &[])
                .expect(1)
                .says(&["another name: localhost"]);
        }
        let seen = machine.json(&format!("explain {}", server.destination()));
        assert_eq!(seen["server_verified"], true, "{what}");
        let id = ca::fingerprint_of_pem(&std::fs::read_to_string(&files.pem).unwrap());
        machine.run(&format!("trust --remove {id}")).expect(0);
        for library in LIBRARIES {
            fetch(&machine, &server.url(), library, &[]).expect(1);
        }
    }
}

#[test]
fn a_servers_own_certificate_verifies_no_other_server() {
    let machine = Cardcase::new();
    let dir = machine.dir();
    // An end-entity certificate whose key signs others as if it were a CA's
    let own = Authority::root_as("localhost", |params| {
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.subject_alt_names = CertificateParams::new(vec!["localhost".to_owned()]).unwrap().subject_alt_names;
    });
    let file = own.file(dir);
    let words = machine.run(&format!("trust {}", file.display())).expect(0);
    words.says(&["now trusted as the certificate of localhost", "no other server"]);
    assert!(machine.run("authorities").expect(0).text().contains("server"));
    let below = Files::of(&own.server(&["localhost"]), dir);
    let same_name = Files::of(&own_server(&["localhost"], |_| ()), dir);
    for files in [below, same_name] {
        let server = files.serve(&file);
        for library in LIBRARIES {
            fetch(&machine, &server.url(), library, &[]).expect(1).says(&["cannot be verified"]);
            fetch(&machine, &server.url(), library, &["--cacert", file.to_str().unwrap()]).expect(1);
        }
    }
}

/// Certificates that can verify no server, and what `trust` and `--cacert` say about each.
#[test]
fn a_certificate_that_can_verify_no_server_is_not_trusted() {
    let machine = Cardcase::new();
    let dir = machine.dir();
    let root = Authority::root("Good Root");
    let doubled = |params: &mut CertificateParams| {
        let critical = CustomExtension::from_oid_content(&[2, 5, 29, 19], vec![0x30, 3, 1, 1, 0xff]);
        params.custom_extensions.push(critical);
    };
    let repeated = Authority::root_as("Repeated", doubled);
    let v1 = by_openssl(dir, &format!("{EC} -subj /CN=localhost"));
    let request = ca::unused(dir, "request", "csr");
    openssl(&format!("req -new -key {} -subj /CN=localhost -out {}", v1.key.display(), request.display()));
    let v1_file = ca::unused(dir, "v1", "pem");
    let (root_file, root_key) = (root.file(dir), root.key_file(dir));
    openssl(&format!(
        "x509 -req -in {} -CA {} -CAkey {} -set_serial 5 -days 30 -out {}",
        request.display(),
        root_file.display(),
        root_key.display(),
        v1_file.display()
    ));
    let small = by_openssl(dir, "-newkey rsa:1024 -subj /CN=small");
    let write = |pem: String| ca::write(dir, "case", "pem", pem);
    let expired = |params: &mut CertificateParams| (params.not_before, params.not_after) = Validity::Expired.period();
    let not_yet = |params: &mut CertificateParams| (params.not_before, params.not_after) = Validity::NotYet.period();
    let usage = |usages: Vec<ExtendedKeyUsagePurpose>| {
        move |params: &mut CertificateParams| params.extended_key_usages = usages
    };
    let critical = |params: &mut CertificateParams| {
        let mut extension = CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![5, 0]);
        extension.set_criticality(true);
        params.custom_extensions.push(extension);
    };
    let client = root.client("alice").issue();
    let cases = [
        (write(repeated.pem()), "an extension that is damaged or repeated: basicConstraints (2.5.29.19)"),
        (write(Authority::root_as("Old", expired).pem()), "its certificate expired 1 day ago"),
        (write(Authority::root_as("New", not_yet).pem()), "its certificate is valid only from"),
        (small.pem, "RSA key of 1024 bits"),
        (v1_file, "of X.509 version 1"),
        (write(client.pem()), "it is not a CA certificate, and names no server"),
        (write(own_server(&["localhost"], expired).pem()), "its certificate expired 1 day ago"),
        (
            write(own_server(&["localhost"], usage(vec![ExtendedKeyUsagePurpose::ClientAuth])).pem()),
            "not for servers: its extended key usage is clientAuth",
        ),
        (
            write(Authority::root_as("Mail", usage(vec![ExtendedKeyUsagePurpose::EmailProtection])).pem()),
            "not for servers: its extended key usage is emailProtection",
        ),
        (write(own_server(&["localhost"], critical).pem()), "a critical extension that is not supported"),
        (
            write(
                Authority::root_as("Reader", |params| params.key_usages = vec![KeyUsagePurpose::DigitalSignature])
                    .pem(),
            ),
            "its key usage does not allow it to issue certificates",
        ),
    ];
    for (file, why) in &cases {
        let trusted =
            machine.run(&format!("trust {}", file.display())).expect(1).says(&["can verify a server", why, "hint"]);
        assert_plain(&trusted.stderr);
        fetch(&machine, "https://localhost:1/", "rustls", &["--cacert", file.to_str().unwrap()]).expect(1).says(&[why]);
        let both = write(std::fs::read_to_string(file).unwrap() + &root.pem());
        let left_out = machine.run(&format!("trust {}", both.display())).expect(0);
        left_out.says(&["Good Root", "now trusted", "is left out", why]);
        let server = Files::of(&root.server(&["localhost"]), dir).serve(&root_file);
        fetch(&machine, &server.url(), "rustls", &[]).expect(0);
        fetch(&machine, &server.url(), "openssl", &["--cacert", both.to_str().unwrap()]).expect(0);
        assert_eq!(machine.json("authorities")["authorities"].as_array().unwrap().len(), 1, "{why}");
        machine.run(&format!("trust --remove {}", root.fingerprint())).expect(0);
    }
}

/// A server that is not verified, with what the message and the hint say.
struct Case {
    what: &'static str,
    files: Files,
    why: String,
    hint: &'static str,
    libraries: &'static [&'static str],
}

#[test]
fn a_ca_certificate_that_came_with_an_import_is_named_with_the_command_that_trusts_it() {
    let machine = Cardcase::new();
    let dir = machine.dir();
    let root = Authority::root("Root");
    let root_file = root.file(dir);
    machine.command(["import"]).arg(&root_file).run().expect(0);
    let server = Files::of(&root.server(&["localhost"]), dir).serve(&root_file);
    let trust = format!("trust {}", &root.fingerprint()[..8]);
    let refused = fetch(&machine, &server.url(), "rustls", &[]).expect(1);
    refused.says(&["the store has its ca, cn=root", &format!("cardcase {trust}")]);
    machine.run(&trust).expect(0);
    fetch(&machine, &server.url(), "rustls", &[]).expect(0);
}

#[test]
fn what_cannot_be_trusted_is_named_as_what_it_is() {
    let scene = Scene::new();
    let machine = &scene.machine;
    scene.hire("alice");
    machine.run("trust alice").expect(3).says(&["\"alice\" is an identity", "cardcase trust "]);
    machine.run("trust deadbeef").expect(3).says(&["deadbeef", "cardcase authorities"]);
    machine.run("trust nosuch.pem").expect(1).says(&["nosuch.pem", "no such file", "cardcase authorities"]);
}

#[test]
fn a_file_with_a_password_is_asked_for_it() {
    let scene = Scene::new();
    let file = scene.employee("alice").issue().p12(scene.machine.dir(), P12::Default);
    let trust = ["trust", file.to_str().unwrap()];
    let without = scene.machine.command(["--batch"]).args(trust).run();
    without.expect(4).says(&["it has a password", "cardcase import"]);
    let mut terminal = Terminal::open(&scene.machine, trust);
    terminal.wait_for("Password of");
    terminal.send("wrong\r");
    terminal.wait_for("Wrong. Password of");
    // Nothing suspends the command meanwhile, and no key for that is a part of the password
    terminal.send(&format!("{}{PASSWORD}\r", key::CTRL_Z));
    assert_eq!(terminal.end().code(), Some(0), "{}", terminal.text());
    assert!(scene.machine.json("authorities").to_string().contains("\"trusted\":true"));
}

#[test]
fn every_server_that_is_not_verified_has_a_reason_and_a_next_step() {
    let machine = Cardcase::new();
    let dir = machine.dir();
    let root = Authority::root("Root");
    let root_file = root.file(dir);
    let period = |validity: Validity| {
        move |params: &mut CertificateParams| (params.not_before, params.not_after) = validity.period()
    };
    let usage =
        |usage: ExtendedKeyUsagePurpose| move |params: &mut CertificateParams| params.extended_key_usages = vec![usage];
    let mut cases = Vec::new();
    let mut case = |what, files: Files, why: &str, hint| {
        cases.push(Case { what, files, why: why.to_owned(), hint, libraries: &LIBRARIES });
    };
    let here = &["localhost"];
    let of = |issued: Issued| Files::of(&issued, dir);
    let clock = "check the clock of this machine: date";
    case(
        "expired",
        of(root.server_as(here, period(Validity::Expired))),
        "its certificate expired 1 day ago, on ",
        clock,
    );
    case("not yet", of(root.server_as(here, period(Validity::NotYet))), "its certificate is valid only from ", clock);
    case(
        "expired above",
        of(root.intermediate_as("Old", period(Validity::Expired)).server(here)),
        "the CA certificate of CN=Old,O=Test Authorities, above it, expired 1 day ago",
        clock,
    );
    case(
        "another name",
        of(root.server(&["other.example", "192.0.2.7"])),
        "its certificate is for another name: other.example, 192.0.2.7",
        "--connect-to other.example:",
    );
    case(
        "common name only",
        of(root.server_as(here, |params| params.subject_alt_names.clear())),
        "names no server: it has no subjectAltName with a host or an address; its common name \"localhost\" does not count",
        "the server needs a certificate with its name",
    );
    case(
        "an unknown CA",
        of(Authority::root("Elsewhere").server(here)),
        "was issued by an unknown authority, CN=Elsewhere,O=Test Authorities, whose certificate is neither trusted nor sent by the server",
        "cardcase trust CA.pem",
    );
    case(
        "below an unknown CA",
        of(Authority::root("Elsewhere").intermediate("Between").server(here)),
        "was issued under an unknown authority, CN=Elsewhere,O=Test Authorities, whose certificate is neither trusted nor sent by the server",
        "cardcase trust CA.pem",
    );
    case(
        "another key of the CA",
        of(Authority::root("Root").server(here)),
        "the signature of its certificate does not match the key of CN=Root,O=Test Authorities: that CA may have a new key",
        "trust its current certificate: cardcase trust CA.pem",
    );
    case(
        "for clients",
        of(root.server_as(here, usage(ExtendedKeyUsagePurpose::ClientAuth))),
        "its certificate is not for servers: its extended key usage is clientAuth",
        "the server needs another certificate",
    );
    case(
        "for a purpose without a name",
        of(root.server_as(here, usage(ExtendedKeyUsagePurpose::Other(vec![1, 2, 3, 4])))),
        "its extended key usage is one without a known name (1.2.3.4)",
        "the server needs another certificate",
    );
    case(
        "issued by no CA",
        of(root.intermediate_as("No CA", |params| params.is_ca = IsCa::ExplicitNoCa).server(here)),
        "was issued by CN=No CA,O=Test Authorities, whose certificate is not that of a CA",
        "cardcase trust server.pem",
    );
    let short = root.intermediate_as("Short", |params| params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0)));
    case(
        "a path too long",
        of(short.intermediate("Second").server(here)),
        "more CA certificates between it and its root than one of them allows",
        "cardcase trust server.pem",
    );
    let elsewhere = root.intermediate_as("Bound", |params| {
        let permitted_subtrees = vec![GeneralSubtree::DnsName("example.com".to_owned())];
        params.name_constraints = Some(NameConstraints { permitted_subtrees, excluded_subtrees: Vec::new() });
    });
    case(
        "name constraints",
        of(elsewhere.server(here)),
        "a CA above it may not issue certificates for its names",
        "cardcase trust server.pem",
    );
    case(
        "a critical extension",
        of(root.server_as(here, |params| {
            let mut extension = CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![5, 0]);
            extension.set_criticality(true);
            params.custom_extensions.push(extension);
        })),
        "has a critical extension that is not supported: one without a known name (1.2.3.4)",
        "the server needs another certificate",
    );
    case(
        "a self-signed one",
        of(own_server(here, |_| ())),
        "its certificate is self-signed, and is not trusted",
        "cardcase trust server.pem",
    );
    case(
        "a self-signed one with CA:TRUE",
        by_openssl(dir, &format!("{EC} -subj /CN=localhost -addext subjectAltName=DNS:localhost")),
        "its certificate is self-signed, and is not trusted",
        "cardcase trust server.pem",
    );
    let key = root.key_file(dir);
    let below_root = format!("-CA {} -CAkey {}", root_file.display(), key.display());
    let named = "-subj /CN=localhost -addext subjectAltName=DNS:localhost -addext basicConstraints=critical,CA:FALSE";
    case(
        "signed with SHA-1",
        by_openssl(dir, &format!("{EC} -config /dev/null -sha1 {named} {below_root}")),
        "its certificate is signed with SHA-1, which is no longer secure",
        "cardcase trust server.pem",
    );
    case(
        "a small RSA key",
        by_openssl(dir, &format!("-newkey rsa:1024 -config /dev/null {named} {below_root}")),
        "its certificate has an RSA key of 1024 bits",
        "the server needs another certificate",
    );
    let v1 = by_openssl(dir, &format!("{EC} -subj /CN=localhost"));
    let request = ca::unused(dir, "request", "csr");
    openssl(&format!("req -new -key {} -subj /CN=localhost -out {}", v1.key.display(), request.display()));
    openssl(&format!(
        "x509 -req -in {} {below_root} -set_serial 5 -days 30 -out {}",
        request.display(),
        v1.pem.display()
    ));
    case(
        "version 1",
        v1,
        "its certificate is of X.509 version 1, which has no subjectAltName to name a server",
        "the server needs a",
    );
    let as_server = |params: &mut CertificateParams| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    case(
        "a CA certificate",
        of(root.server_as(here, as_server)),
        "is that of a CA, not of a server",
        "the server needs",
    );
    cases.last_mut().unwrap().libraries = &["rustls"];

    for Case { what, files, why, hint, libraries } in cases {
        let server = files.serve(&root_file);
        for library in libraries {
            let outcome = fetch(&machine, &server.url(), library, &["--cacert", root_file.to_str().unwrap()]);
            assert_eq!(outcome.code(), Some(1), "{what}, {library}: {}", outcome.stderr);
            let said = format!("{} cannot be verified: ", server.destination());
            assert!(
                outcome.stderr.contains(&said) && outcome.stderr.contains(&why),
                "{what}, {library}: {}",
                outcome.stderr
            );
            assert!(
                outcome.stderr.contains("hint: ") && outcome.stderr.contains(hint),
                "{what}, {library}: {}",
                outcome.stderr
            );
            assert_plain(&outcome.stderr);
        }
        let seen = machine.run(&format!("explain {} --cacert {}", server.destination(), root_file.display()));
        seen.expect(0).says(&[&why, "no certificate would be sent to it"]);
    }
}
