//! Forwards connections to a server, under a test's control.

use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc;
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

fn carry(mut from: TcpStream, mut to: TcpStream) {
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Write);
    });
}
