//! A plain HTTP server in this process, behind a proxy that terminates TLS. It keeps the headers it gets.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// The lines of the headers of each request.
type Seen = Arc<Mutex<Vec<Vec<String>>>>;

/// The server; it ends with the process.
pub struct Backend {
    address: SocketAddr,
    seen: Seen,
}

impl Backend {
    pub fn start() -> Backend {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Seen::default();
        let ours = seen.clone();
        std::thread::spawn(move || {
            for connection in listener.incoming().map_while(Result::ok) {
                serve(connection, &ours);
            }
        });
        Backend { address, seen }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The values of this header in every request so far; a request may have none, or more than one.
    pub fn values(&self, header: &str) -> Vec<Vec<String>> {
        let value = |line: &String| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case(header).then(|| value.trim().to_owned())
        };
        self.seen.lock().unwrap().iter().map(|lines| lines.iter().filter_map(value).collect()).collect()
    }
}

fn serve(mut connection: TcpStream, seen: &Seen) {
    let lines = BufReader::new(&connection).lines().map_while(Result::ok);
    let head = lines.skip(1).take_while(|line| !line.is_empty()).collect();
    seen.lock().unwrap().push(head);
    // The proxy may have ended
    let _ = connection.write_all(b"HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nok\n");
}
