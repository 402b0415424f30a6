//! An agent without a process and a socket file, for the fuzz target `agent`.

use std::io::Write;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use zeroize::Zeroizing;

use super::{Connection, Shared};
use crate::certificate::permission::Permit;
use crate::certificate::private_key::PrivateKey;
use crate::certificate::tried::Tried;
use crate::certificate::{Certificate, Fingerprint};
use crate::error::Error;
use crate::vault::agent::Owner;
use crate::vault::agent::frame::Frame;
use crate::vault::agent::lease::Lease;
use crate::vault::agent::protocol::{Reply, Request, Row, Work};
use crate::vault::{DataKey, KeyRow, SealedKey, ToSign, Vault};

/// An owner whom nobody can ask.
struct Nobody;

impl Owner for Nobody {}

/// An agent that serves a store with one private key.
#[allow(missing_debug_implementations, reason = "it has keys")]
pub struct Agent(Arc<Shared>);

impl Agent {
    /// # Errors
    /// Never: the data key has the right length.
    pub fn new() -> Result<Self, Error> {
        let data_key = DataKey::from_slice(&[7; 32]).ok_or(Error::VaultLocked)?;
        Ok(Self(Arc::new(Shared::new(
            Vault::open_with(data_key),
            [0; 32],
            Duration::from_secs(1 << 30),
            Arc::new(Nobody),
        ))))
    }

    /// A request of each kind that the agent fulfils, as bytes on the socket.
    ///
    /// # Errors
    /// Those of sealing the key.
    pub fn requests(&self, certificate: &[u8], pkcs8: &[u8], messages: &[&[u8]]) -> Result<Vec<Vec<u8>>, Error> {
        let fingerprint = Fingerprint::from_bytes(*Certificate::from_der(certificate)?.fingerprint().as_bytes());
        let (name, permit) = ("Alice".to_owned(), Permit::from_numbers(2, 0));
        let row = KeyRow { id: 1, fingerprint, name, requires_tls13: false, tried: Tried::from_number(1), permit };
        let key = PrivateKey::from_pkcs8(Zeroizing::new(pkcs8.to_vec()));
        let SealedKey { row, sealed } = SealedKey { sealed: self.0.vault.seal(&row, &key)?, row };
        let mut works = vec![
            Work::Authenticate { message: b"decision" },
            Work::Verify { message: b"decision", code: [1; 32] },
            Work::Seal { row: (&row).into(), pkcs8 },
            Work::Opens { row: (&row).into(), sealed: &sealed },
        ];
        for message in messages {
            works.push(Work::Sign { row: (&row).into(), sealed: &sealed, certificate, scheme: 0x0403, message });
            for what in [ToSign::Message(message), ToSign::Digest(&[5; 32])] {
                let row: Row<'_> = (&row).into();
                works.push(Work::SignForProgram { row, sealed: &sealed, certificate, scheme: 0x0403, what });
            }
        }
        let uses = works.into_iter().map(|work| Request::Use { vault: self.0.digest, work });
        let requests = [Request::End, Request::Status].into_iter().chain(uses);
        Ok(requests.filter_map(|request| Frame::encode(&request).ok()).map(|frame| bytes(&frame)).collect())
    }

    /// Serves a connection on which these bytes arrive, and returns the answer. Also reads the bytes as a reply, as clients do, and as a
    /// lease, as a new agent does.
    pub fn attend(&self, bytes: &[u8]) -> Vec<u8> {
        let body = || Zeroizing::new(bytes.to_vec());
        let _ = Lease::from_bytes(body());
        let _ = Frame { version: 1, body: body() }.decode::<Reply>();
        self.converse(bytes).unwrap_or_default()
    }

    fn converse(&self, bytes: &[u8]) -> std::io::Result<Vec<u8>> {
        let (mut near, far) = UnixStream::pair()?;
        near.write_all(bytes)?;
        near.shutdown(Shutdown::Write)?;
        let connection = Connection { shared: self.0.clone(), number: 0, process: None, stream: Arc::new(far) };
        let reply = connection.exchange()?;
        Ok(format!("{reply:?}").into_bytes())
    }
}

fn bytes(frame: &Frame) -> Vec<u8> {
    let length = (frame.body.len() as u32 + 1).to_be_bytes();
    [&length[..], &[frame.version], &frame.body].concat()
}
