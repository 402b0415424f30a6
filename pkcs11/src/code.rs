//! The codes by which programs are told what went wrong.

use cardcase::Error;
use cryptoki_sys::*;

/// A code of PKCS#11 is the error.
pub(crate) type Result<T> = std::result::Result<T, CK_RV>;

/// What a program is told that wanted a signature.
pub(crate) fn of_signing(error: &Error) -> CK_RV {
    match error {
        Error::NotPermitted { .. } => CKR_KEY_FUNCTION_NOT_PERMITTED,
        Error::NotConfirmed { .. } | Error::VaultLocked => CKR_FUNCTION_CANCELED,
        Error::UnknownIdentity { .. } | Error::Renamed { .. } => CKR_KEY_HANDLE_INVALID,
        Error::UnusableKey { .. } | Error::SealedKey { .. } | Error::KeyMismatch { .. } => CKR_FUNCTION_FAILED,
        _ => CKR_DEVICE_ERROR,
    }
}
