//! nginx in the foreground with a prefix directory of its own. Its access log, in JSON, is its
//! report. It cannot pick a free port itself.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::Child;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde_json::Value;
use tempfile::TempDir;

use super::{Ask, Handshake, LIMIT, Server, Setup, Tls, spawn};
use crate::support::ca;
use crate::support::fingerprint;
use crate::support::log::Log;
use crate::support::program;

/// Another process may take the port before nginx listens on it.
const ATTEMPTS: usize = 5;

pub(super) fn start(setup: &Setup<'_>, dir: TempDir) -> Server {
    for _ in 0..ATTEMPTS {
        let free = TcpListener::bind(SocketAddr::new(setup.listen, 0)).unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        if let Some((child, log)) = listen(setup, dir.path(), address) {
            return Server { kind: setup.kind, child, log, address, dir };
        }
    }
    panic!("nginx found every port in use, {ATTEMPTS} times")
}

/// A running nginx, or None when the port is in use.
fn listen(setup: &Setup<'_>, dir: &Path, address: SocketAddr) -> Option<(Child, Log)> {
    let file = ca::write(dir, "nginx", "conf", configuration(setup, dir, address));
    let mut command = program::named("nginx");
    command.arg("-p").arg(dir).arg("-c").arg(file).args(["-e", "stderr"]);
    let (mut child, log) = spawn(command, "nginx");
    let started = log.wait_for(LIMIT, |line| {
        if line.contains("Address already in use") {
            return Some(false);
        }
        // The first notice after it has opened its sockets
        line.contains("OS: Linux").then_some(true)
    });
    match started {
        Ok(true) => Some((child, log)),
        Ok(false) => {
            let _ = child.kill();
            let _ = child.wait();
            None
        }
        Err(said) => panic!("nginx did not start:\n{said}"),
    }
}

fn configuration(setup: &Setup<'_>, dir: &Path, address: SocketAddr) -> String {
    let certificate = setup.certificate_file(dir);
    let key = setup.key_file(dir);
    let verify = match setup.ask {
        Ask::Require => "on",
        Ask::Optional => "optional",
        Ask::Unchecked => "optional_no_ca",
        Ask::Never => "off",
    };
    assert!(setup.hints, "nginx always names the authorities");
    let protocols = match setup.tls {
        Some(Tls::V1_2) => "TLSv1.2",
        Some(Tls::V1_3) => "TLSv1.3",
        None => "TLSv1.2 TLSv1.3",
    };
    let authorities = setup
        .authorities_file(dir)
        .map(|file| format!("ssl_client_certificate {};", file.display()))
        .unwrap_or_default();
    let http2 = if setup.http1 { "" } else { "http2" };
    format!(
        r#"daemon off;
master_process off;
pid {dir}/pid;
error_log stderr notice;
events {{ worker_connections 64; }}
http {{
    log_format seen escape=json '{{"event":"seen","request":"$request","status":"$status",'
        '"verify":"$ssl_client_verify","certificate":"$ssl_client_escaped_cert","subject":"$ssl_client_s_dn",'
        '"tls":"$ssl_protocol","resumed":"$ssl_session_reused","proto":"$server_protocol"}}';
    access_log /dev/stdout seen;
    client_body_temp_path {dir};
    proxy_temp_path {dir};
    fastcgi_temp_path {dir};
    uwsgi_temp_path {dir};
    scgi_temp_path {dir};
    ssl_session_cache shared:s:1m;
    {forwarded}
    server {{
        listen {address} ssl {http2};
        ssl_certificate {certificate};
        ssl_certificate_key {key};
        ssl_protocols {protocols};
        {authorities}
        ssl_verify_client {verify};
        ssl_verify_depth 5;
        location / {{
            {answer}
        }}
    }}
}}
"#,
        dir = dir.display(),
        certificate = certificate.display(),
        key = key.display(),
        forwarded = setup.backend.map(|_| forwarded()).unwrap_or_default(),
        answer = answer(setup),
    )
}

fn answer(setup: &Setup<'_>) -> String {
    match setup.backend {
        Some(backend) if setup.grpc => format!("grpc_pass grpc://{backend};"),
        // Always set: an empty value removes the header, also one that the client sent
        Some(backend) => format!("proxy_set_header X-ARR-ClientCert $forwarded; proxy_pass http://{backend};"),
        None => r#"default_type text/plain;
            return 200 "$ssl_client_verify $ssl_client_s_dn $ssl_client_fingerprint\n";"#
            .to_owned(),
    }
}

/// The client's certificate as base64 in one line, as Azure App Service has it in X-ARR-ClientCert. nginx cannot
/// replace every newline, so the lines between the armour are captured one by one, up to a limit.
fn forwarded() -> String {
    const LINES: usize = 60;
    let lines: String = (1..=LINES).map(|line| format!(r"(?:(?<l{line}>[^\n-]+)\n)?")).collect();
    let joined: String = (1..=LINES).map(|line| format!("${{l{line}}}")).collect();
    format!(
        r#"variables_hash_max_size 2048;
    map $ssl_client_raw_cert $forwarded {{
        "~^-----BEGIN CERTIFICATE-----\n{lines}-----END CERTIFICATE-----\n?$" "{joined}";
    }}"#
    )
}

/// A request without TLS, which nginx refuses and logs, after everything it answered before.
pub(super) fn barrier(mark: u32) -> (Vec<u8>, String) {
    let line = format!("GET /barrier-{mark}. HTTP/1.0");
    (format!("{line}\r\n\r\n").into_bytes(), line)
}

pub(super) fn handshakes(lines: &[String]) -> Vec<Handshake> {
    let seen = super::events(lines, "seen");
    seen.iter().filter(|seen| seen["tls"] != "").map(described).collect()
}

pub(super) fn subjects(lines: &[String]) -> Vec<String> {
    let answered = super::events(lines, "seen").into_iter().filter(|seen| seen["status"] == "200");
    answered.filter_map(|seen| seen["subject"].as_str().map(str::to_owned)).collect()
}

fn described(seen: &Value) -> Handshake {
    let text = |key: &str| seen[key].as_str().unwrap_or_default();
    let verify = text("verify");
    let refused = text("status") == "400";
    Handshake {
        complete: !refused,
        error: if refused { verify.to_owned() } else { String::new() },
        tls: text("tls").trim_start_matches("TLSv").to_owned(),
        resumed: text("resumed") == "r",
        chain: leaf(text("certificate")).into_iter().collect(),
    }
}

/// The fingerprint of a percent-encoded PEM certificate.
fn leaf(escaped: &str) -> Option<String> {
    // Every character that is special to this decoder is escaped, '=' and '+' too
    let (pem, _) = url::form_urlencoded::parse(escaped.as_bytes()).next()?;
    let base64: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    Some(fingerprint(&BASE64_STANDARD.decode(base64).ok()?))
}
