//! PEM (RFC 7468) of certificates and private keys.

use pem_rfc7468::{LineEnding, encode, encoded_len};
use zeroize::Zeroizing;

use crate::ui::failure::{Code, Failure};

/// Encodes DER as PEM. It may be a private key, so no copy of it is left in memory.
///
/// # Errors
/// Only for a label or a length that PEM cannot hold.
pub(crate) fn pem(label: &str, der: &[u8]) -> Result<Zeroizing<String>, Failure> {
    let failed = |error: pem_rfc7468::Error| Failure::new(Code::Failed, error);
    let mut buffer = Zeroizing::new(vec![0; encoded_len(label, LineEnding::LF, der).map_err(failed)?]);
    encode(label, LineEnding::LF, der, &mut buffer).map(|text| Zeroizing::new(text.to_owned())).map_err(failed)
}
