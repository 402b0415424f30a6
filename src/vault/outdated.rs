//! Vaults of the first form, which are read but no longer written: private keys as encrypted PKCS#8 (RFC 5958, PBES2 of RFC
//! 8018), the data key under the primary password by scrypt with a digest behind it.

use der::Decode;
use pkcs8::EncryptedPrivateKeyInfoRef;
use pkcs8::pkcs5::pbes2::{Kdf, Parameters};
use pkcs8::pkcs5::{self, EncryptionScheme};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::data_key::DataKey;
use crate::error::Error;

/// Rounds of PBKDF2 between data key and private key.
const SEALING_ROUNDS: u32 = 1;

/// The largest cost accepted from the store, as log2 N of scrypt: 1 GiB. More is damage or malice.
const MAX_PASSWORD_LOG_N: u8 = 20;

/// `None` when this data key did not seal it.
pub(super) fn open(data_key: &DataKey, sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let info = EncryptedPrivateKeyInfoRef::from_der(sealed).ok()?;
    let ours = matches!(&info.encryption_algorithm, EncryptionScheme::Pbes2(Parameters { kdf: Kdf::Pbkdf2(kdf), .. })
        if kdf.iteration_count <= SEALING_ROUNDS);
    let key = ours.then(|| info.decrypt(data_key.as_bytes()).ok())??;
    Some(Zeroizing::new(key.as_bytes().to_vec()))
}

/// `None`: the password is wrong.
///
/// # Errors
/// [`Error::VaultDamaged`] when it is none, or would cost what nobody wants.
pub(super) fn unwrap_with(wrapped: &[u8], password: &str) -> Result<Option<DataKey>, Error> {
    let damaged = |detail: &str| Error::VaultDamaged { detail: detail.to_owned() };
    let wrapped = EncryptedPrivateKeyInfoRef::from_der(wrapped).map_err(|_| damaged("its data key is not PKCS#8"))?;
    let affordable = matches!(&wrapped.encryption_algorithm, EncryptionScheme::Pbes2(Parameters { kdf: Kdf::Scrypt(kdf), .. })
        if kdf.cost_parameter <= 1 << MAX_PASSWORD_LOG_N && kdf.block_size <= 8 && kdf.parallelization <= 4);
    if !affordable {
        return Err(damaged("its scrypt is of another kind, or costs more, than was ever written"));
    }
    match wrapped.encryption_algorithm.decrypt(password.as_bytes(), wrapped.encrypted_data.as_bytes()) {
        Ok(plain) => Ok(open_framed(&Zeroizing::new(plain))),
        Err(pkcs5::Error::DecryptFailed) => Ok(None),
        Err(error) => Err(damaged(&format!("its data key cannot be decrypted: {error}"))),
    }
}

fn open_framed(framed: &[u8]) -> Option<DataKey> {
    let (key, check) = framed.split_at_checked(32)?;
    let digest = Sha256::new().chain_update(b"cardcase data key").chain_update(key).finalize();
    (check == digest.as_slice()).then(|| DataKey::from_slice(key))?
}
