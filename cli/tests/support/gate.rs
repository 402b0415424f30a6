//! Forwards connections to a server, under a test's control.

use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use super::server::Server;

/// Holds the first connection to a server until `open`.
pub struct Gate {
    pub port: u16,
    arrived: mpsc::Receiver<()>,
    opener: mpsc::Sender<()>,
}

impl Gate {
    pub fn before(server: &Server) -> Gate {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (port, to) = (listener.local_addr().unwrap().port(), server.address());
        let (arrival, arrived) = mpsc::channel();
        let (opener, opened) = mpsc::channel();
        std::thread::spawn(move || {
            let client = listener.accept().unwrap().0;
            arrival.send(()).unwrap();
            // Without `open`, the test has failed
            if opened.recv().is_ok() {
                let server = TcpStream::connect(to).unwrap();
                carry(client.try_clone().unwrap(), server.try_clone().unwrap());
                carry(server, client);
            }
        });
        Gate { port, arrived, opener }
    }

    pub fn wait_for_the_client(&self) {
        self.arrived.recv_timeout(Duration::from_secs(30)).expect("no client connected");
    }

    pub fn open(&self) {
        self.opener.send(()).unwrap();
    }
}

/// Forwards connections and closes each after this time. Returns the port.
pub fn hanging_up_after(patience: Duration, server: &Server) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (port, to) = (listener.local_addr().unwrap().port(), server.address());
    std::thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let Ok(server) = TcpStream::connect(to) else { return };
            carry(client.try_clone().unwrap(), server.try_clone().unwrap());
            carry(server.try_clone().unwrap(), client.try_clone().unwrap());
            std::thread::spawn(move || {
                std::thread::sleep(patience);
                // It has usually ended already
                let _ = client.shutdown(Shutdown::Both);
                let _ = server.shutdown(Shutdown::Both);
            });
        }
    });
    port
}

/// A proxy of HTTP without TLS, that opens tunnels (RFC 9110 section 9.3.6).
pub struct PlainProxy {
    pub port: u16,
    heads: Arc<Mutex<Vec<String>>>,
}

impl PlainProxy {
    pub fn start() -> PlainProxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let heads = Arc::<Mutex<Vec<String>>>::default();
        let seen = heads.clone();
        std::thread::spawn(move || {
            for mut client in listener.incoming().map_while(Result::ok) {
                let mut head = String::new();
                // The client says nothing more before it has the answer
                let mut reader = BufReader::new(&client);
                while !head.ends_with("\r\n\r\n") && reader.read_line(&mut head).is_ok_and(|length| length > 0) {}
                let to = head.split(' ').nth(1).unwrap_or_default().to_owned();
                seen.lock().unwrap().push(head);
                let Ok(server) = TcpStream::connect(to) else { continue };
                client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").unwrap();
                carry(client.try_clone().unwrap(), server.try_clone().unwrap());
                carry(server, client);
            }
        });
        PlainProxy { port, heads }
    }

    /// The head of every request.
    pub fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

fn carry(mut from: TcpStream, mut to: TcpStream) {
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Write);
    });
}
