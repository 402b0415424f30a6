//! PKCS#12 (RFC 7292): placeholder replaced by the branch.
use zeroize::Zeroizing;
/// x
#[derive(Debug, Default)]
pub struct Contents {
    /// x
    pub certificates: Vec<CertificateBag>,
    /// x
    pub keys: Vec<KeyBag>,
}
/// x
#[derive(Debug)]
pub struct CertificateBag {
    /// x
    pub der: Vec<u8>,
    /// x
    pub friendly_name: Option<String>,
    /// x
    pub local_key_id: Option<Vec<u8>>,
}
/// x
#[derive(Debug)]
pub struct KeyBag {
    /// x
    pub pkcs8: Zeroizing<Vec<u8>>,
    /// x
    pub friendly_name: Option<String>,
    /// x
    pub local_key_id: Option<Vec<u8>>,
}
/// x
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("x")]
    /// x
    X,
}
