//! `openssl s_server -msg`, which dumps every handshake message. The client's Certificate and the
//! alerts are parsed from the dump.

use std::net::SocketAddr;

use tempfile::TempDir;

use super::{Ask, Handshake, Server, Setup, Tls, listening, spawn};
use crate::support::fingerprint;
use crate::support::program;

pub(super) fn start(setup: &Setup<'_>, dir: TempDir) -> Server {
    let mut command = program::named("openssl");
    command.args(["s_server", "-www", "-msg", "-accept"]);
    command.arg(SocketAddr::new(setup.listen, 0).to_string());
    command.arg("-key").arg(setup.key_file(dir.path()));
    let certificate = setup.certificate_file(dir.path());
    command.arg("-cert").arg(&certificate).arg("-cert_chain").arg(&certificate);
    command.args(setup.tls.map(|tls| if tls == Tls::V1_2 { "-tls1_2" } else { "-tls1_3" }));
    match setup.ask {
        Ask::Require => command.args(["-Verify", "5", "-verify_return_error"]),
        Ask::Optional => command.args(["-verify", "5", "-verify_return_error"]),
        Ask::Unchecked => command.args(["-verify", "5"]),
        Ask::Never => &mut command,
    };
    if let Some(schemes) = &setup.schemes {
        command.args(["-client_sigalgs", schemes]);
    }
    if let Some(file) = setup.authorities_file(dir.path()) {
        // -CAfile names them in the request as well
        command.arg(if setup.hints { "-CAfile" } else { "-verifyCAfile" }).arg(file);
    }
    command.args(&setup.more);
    let running = spawn(command, "openssl");
    listening(setup, dir, running, accept_line)
}

/// `ACCEPT 127.0.0.1:41234`
fn accept_line(line: &str) -> Option<u16> {
    line.strip_prefix("ACCEPT ")?.rsplit(':').next()?.parse().ok()
}

/// A record with an invalid ClientHello, which the dump shows before it is refused. The server
/// handles one connection at a time, so all earlier ones are complete.
pub(super) fn barrier(mark: u32) -> (Vec<u8>, String) {
    let mut body = vec![1, 0, 0, 8, 0xca, 0xfe, 0xca, 0xfe];
    body.extend(mark.to_be_bytes());
    let trace: Vec<String> = body.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut bytes = vec![0x16, 3, 1, 0, body.len() as u8];
    bytes.extend(body);
    (bytes, trace.join(" "))
}

pub(super) fn handshakes(lines: &[String]) -> Vec<Handshake> {
    let mut all: Vec<Handshake> = Vec::new();
    for message in messages(lines) {
        let Message { ours, ref title, ref bytes } = message;
        match (ours, title.as_str()) {
            (false, "ClientHello") if !bytes.starts_with(BARRIER) => all.push(started()),
            (false, "ClientHello") => all.push(Handshake { error: "barrier".into(), ..started() }),
            _ => {
                if let Some(last) = all.last_mut() {
                    note(last, &message);
                }
            }
        }
    }
    all.retain(|handshake| handshake.error != "barrier");
    all
}

/// The number of Certificate messages that clients sent, including empty ones.
pub(super) fn certificate_messages(lines: &[String]) -> usize {
    messages(lines).iter().filter(|message| !message.ours && message.title == "Certificate").count()
}

const BARRIER: &[u8] = &[1, 0, 0, 8, 0xca, 0xfe, 0xca, 0xfe];

fn started() -> Handshake {
    let error = "the client went away".to_owned();
    Handshake { complete: false, error, tls: String::new(), resumed: false, chain: Vec::new() }
}

/// Adds a message to the handshake.
fn note(handshake: &mut Handshake, message: &Message) {
    if handshake.error == "barrier" {
        return;
    }
    match (message.ours, message.title.as_str()) {
        (true, "ServerHello") => handshake.tls = version(&message.bytes),
        (false, "Certificate") => handshake.chain = chain(&message.bytes, &handshake.tls),
        (false, "Finished") => {
            handshake.complete = true;
            handshake.error.clear();
        }
        // In TLS 1.3 the server refuses after the client's Certificate, before it reads Finished
        (true, alert) if alert.starts_with("fatal ") => {
            handshake.complete = false;
            handshake.error = alert["fatal ".len()..].to_owned();
        }
        _ => {}
    }
}

/// One handshake message or alert of the dump.
struct Message {
    /// Sent by the server.
    ours: bool,
    /// `Certificate`, `Finished`, `fatal unknown_ca`
    title: String,
    bytes: Vec<u8>,
}

fn messages(lines: &[String]) -> Vec<Message> {
    let mut all: Vec<Message> = Vec::new();
    for line in lines {
        if let Some((ours, title)) = title(line) {
            all.push(Message { ours, title, bytes: Vec::new() });
        } else if let (Some(last), Some(bytes)) = (all.last_mut(), hex(line)) {
            last.bytes.extend(bytes);
        }
    }
    all
}

/// `<<< TLS 1.3, Handshake [length 0200], ClientHello`
fn title(line: &str) -> Option<(bool, String)> {
    let ours = line.starts_with(">>> ");
    if !ours && !line.starts_with("<<< ") {
        return None;
    }
    let title = line.split_once("], ").map_or("", |(_, title)| title);
    Some((ours, title.to_owned()))
}

/// `    0b 00 01 87`
fn hex(line: &str) -> Option<Vec<u8>> {
    let digits = line.strip_prefix("    ")?;
    digits.split(' ').map(|byte| u8::from_str_radix(byte, 16).ok()).collect()
}

/// A TLS 1.3 ServerHello has the extension supported_versions with 03 04.
fn version(hello: &[u8]) -> String {
    let newest = hello.windows(6).any(|bytes| bytes == [0, 0x2b, 0, 2, 3, 4]);
    if newest { "1.3" } else { "1.2" }.to_owned()
}

/// The certificates in a Certificate message. In TLS 1.3 a context precedes them, and extensions
/// follow each.
fn chain(message: &[u8], tls: &str) -> Vec<String> {
    let newest = tls == "1.3";
    let mut rest = &message[if newest { 4 + 1 + 3 } else { 4 + 3 }..];
    let mut chain = Vec::new();
    while rest.len() > 3 {
        let length = length(&rest[..3]);
        chain.push(fingerprint(&rest[3..3 + length]));
        rest = &rest[3 + length..];
        if newest {
            rest = &rest[2 + self::length(&rest[..2])..];
        }
    }
    chain
}

fn length(bytes: &[u8]) -> usize {
    bytes.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte))
}
