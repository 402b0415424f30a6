//! A file that is encrypted under a password of its own: the container of a backup. docs/backup.md describes it.
//!
//! A random data key encrypts the contents, and is itself encrypted under the password, as that of a store is. So a wrong password
//! differs from damage. Whether the file is whole is known before anybody types the password.

use zeroize::Zeroizing;

use super::data_key::{DataKey, Message};
use super::password::{Cost, Wrapped};
use crate::error::Error;

/// The first bytes of a file.
const MAGIC: &[u8; 16] = b"cardcase backup\n";

/// The version of the container and of what is in it.
const VERSION: u8 = 1;

/// Bytes of an encrypted data key: nonce, key, tag.
const WRAPPED: usize = 12 + 32 + 16;

/// The largest file, in bytes: an identity takes about four thousand.
pub(crate) const MAX_SIZE: usize = 512 << 20;

/// What stands before the encrypted contents.
struct Header<'a> {
    wrapped: Wrapped,
    /// The header itself, which the contents are bound to.
    bytes: &'a [u8],
    contents: &'a [u8],
}

/// Encrypts contents under a password.
///
/// # Errors
/// [`Error::BackupTooLarge`], [`Error::Sealing`].
pub(crate) fn seal(contents: &[u8], password: &str) -> Result<Vec<u8>, Error> {
    seal_at(Cost::calibrated()?, contents, password)
}

fn seal_at(cost: Cost, contents: &[u8], password: &str) -> Result<Vec<u8>, Error> {
    let data_key = DataKey::random()?;
    let Wrapped { cost, salt, data_key: wrapped } = Wrapped::new(&data_key, password, cost)?;
    let mut file = MAGIC.to_vec();
    file.push(VERSION);
    file.extend(cost.memory.to_be_bytes());
    file.extend(cost.passes.to_be_bytes());
    file.extend(salt);
    file.extend(wrapped);
    file.extend((DataKey::sealed_length(contents.len()) as u64).to_be_bytes());
    file.extend(data_key.seal_file(&covered(&file), contents)?);
    match file.len() > MAX_SIZE {
        true => Err(Error::BackupTooLarge { size: file.len() as u64, limit: MAX_SIZE as u64 }),
        false => Ok(file),
    }
}

/// Decrypts the contents of a file.
///
/// # Errors
/// [`Error::NotABackup`]; [`Error::NewerBackup`]; [`Error::BackupDamaged`] when bytes are missing, are too many or were changed, or
/// when deriving the key would cost too much; [`Error::WrongBackupPassword`], also when a part of the header was changed.
pub(crate) fn open(file: &[u8], password: &str) -> Result<Zeroizing<Vec<u8>>, Error> {
    let Header { wrapped, bytes, contents } = header(file)?;
    let data_key = wrapped.unwrap_with(password)?.ok_or(Error::WrongBackupPassword)?;
    open_with(&data_key, bytes, contents)
}

/// Checks everything that needs no password.
///
/// # Errors
/// Those of [`open`], without [`Error::WrongBackupPassword`].
pub(crate) fn check(file: &[u8]) -> Result<(), Error> {
    header(file).map(drop)
}

fn open_with(data_key: &DataKey, header: &[u8], contents: &[u8]) -> Result<Zeroizing<Vec<u8>>, Error> {
    data_key.open_file(&covered(header), contents).ok_or_else(|| damaged("it was changed after it was made"))
}

/// Reads the header.
fn header(file: &[u8]) -> Result<Header<'_>, Error> {
    let mut rest = file;
    let magic = rest.split_off(..MAGIC.len().min(file.len())).unwrap_or_default();
    if magic != MAGIC {
        // A part of a backup is one that was cut short, unless there is nothing at all
        let is_part = !magic.is_empty() && MAGIC.starts_with(magic);
        return Err(if is_part { cut_short() } else { Error::NotABackup });
    }
    let [version] = take(&mut rest)?;
    if version > VERSION {
        return Err(Error::NewerBackup { found: version, known: VERSION });
    }
    if version == 0 {
        return Err(damaged("its version is 0"));
    }
    let cost = Cost { memory: u32::from_be_bytes(take(&mut rest)?), passes: u32::from_be_bytes(take(&mut rest)?) };
    if !cost.is_acceptable() {
        return Err(damaged(&format!(
            "its password is to be derived with {} KiB of memory and {} passes, which cardcase never writes",
            cost.memory, cost.passes
        )));
    }
    let (salt, data_key) = (take(&mut rest)?, take::<WRAPPED>(&mut rest)?.to_vec());
    let length = u64::from_be_bytes(take(&mut rest)?);
    match (rest.len() as u64).checked_sub(length) {
        None => return Err(cut_short()),
        Some(0) => {}
        Some(more) => return Err(damaged(&format!("{more} bytes follow its end"))),
    }
    let bytes = file.get(..file.len() - rest.len()).unwrap_or_default();
    Ok(Header { wrapped: Wrapped { cost, salt, data_key }, bytes, contents: rest })
}

/// The next bytes of the header.
fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], Error> {
    let (taken, after) = rest.split_first_chunk::<N>().ok_or_else(cut_short)?;
    *rest = after;
    Ok(*taken)
}

fn covered(header: &[u8]) -> Message {
    Message::new("backup").field(header)
}

fn cut_short() -> Error {
    damaged("it is cut short; get a whole copy of it")
}

fn damaged(detail: &str) -> Error {
    Error::BackupDamaged { detail: detail.to_owned() }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    const CONTENTS: &[u8] = b"{\"a private key\": true}";

    /// Where the contents begin.
    const CONTENTS_AT: usize = 109;

    /// A file that takes as little time as possible.
    fn seal(contents: &[u8], password: &str) -> Result<Vec<u8>, Error> {
        seal_at(Cost { memory: 64 << 10, passes: 3 }, contents, password)
    }

    #[test]
    fn a_file_opens_at_the_cost_that_was_measured_here() {
        assert_eq!(open(&super::seal(CONTENTS, "password").unwrap(), "password").unwrap().as_slice(), CONTENTS);
    }

    #[test]
    fn only_the_password_opens_a_file() {
        for password in ["correct horse", "", "пароль 😀"] {
            let file = seal(CONTENTS, password).unwrap();
            assert_eq!(open(&file, password).unwrap().as_slice(), CONTENTS);
            assert!(matches!(open(&file, "another"), Err(Error::WrongBackupPassword)));
            assert!(!file.windows(7).any(|window| window == b"private"));
            assert_eq!(file.len(), CONTENTS_AT + 12 + CONTENTS.len() + 16);
        }
        assert_ne!(seal(CONTENTS, "").unwrap(), seal(CONTENTS, "").unwrap());
    }

    #[test]
    fn a_file_that_was_cut_short_or_continued_is_refused_before_the_password() {
        let file = seal(CONTENTS, "").unwrap();
        let start = Instant::now();
        assert!(matches!(open(&[], ""), Err(Error::NotABackup)));
        for length in 1..file.len() {
            assert!(matches!(open(&file[..length], ""), Err(Error::BackupDamaged { .. })), "{length}");
        }
        let longer = [file.as_slice(), b"\n"].concat();
        assert!(matches!(open(&longer, ""), Err(Error::BackupDamaged { .. })));
        assert!(matches!(open(&[0; 200], ""), Err(Error::NotABackup)));
        assert!(start.elapsed() < Duration::from_millis(200), "{:?}", start.elapsed());
    }

    #[test]
    fn a_changed_byte_anywhere_is_refused() {
        let file = seal(CONTENTS, "").unwrap();
        let data_key = header(&file).unwrap().wrapped.unwrap_with("").unwrap().unwrap();
        for at in 0..file.len() {
            // Deriving a key, which finds a change of the salt or of the data key, takes a tenth of a second
            let bits: &[u8] = if (25..101).contains(&at) { &[0x10] } else { &[0x01, 0x80] };
            for bit in bits {
                let mut changed = file.clone();
                changed[at] ^= bit;
                let opened = match header(&changed) {
                    Err(error) => Err(error),
                    Ok(header) if at < CONTENTS_AT - 8 => match header.wrapped.unwrap_with("").unwrap() {
                        None => Err(Error::WrongBackupPassword),
                        Some(data_key) => open_with(&data_key, header.bytes, header.contents),
                    },
                    Ok(header) => open_with(&data_key, header.bytes, header.contents),
                };
                let expected = match at {
                    0..16 => matches!(opened, Err(Error::NotABackup)),
                    16 => matches!(opened, Err(Error::NewerBackup { .. } | Error::BackupDamaged { .. })),
                    17..25 => matches!(opened, Err(Error::BackupDamaged { .. } | Error::WrongBackupPassword)),
                    25..101 => matches!(opened, Err(Error::WrongBackupPassword)),
                    _ => matches!(opened, Err(Error::BackupDamaged { .. })),
                };
                assert!(expected, "{at}: {:?}", opened.err());
            }
        }
    }

    #[test]
    fn a_costly_derivation_is_refused_before_the_work() {
        let file = seal(CONTENTS, "").unwrap();
        for (memory, passes) in [(u32::MAX, 3), (64 << 10, u32::MAX), (1 << 20, 7), (8, 1)] {
            let mut costly = file.clone();
            costly[17..21].copy_from_slice(&u32::to_be_bytes(memory));
            costly[21..25].copy_from_slice(&u32::to_be_bytes(passes));
            let start = Instant::now();
            assert!(matches!(open(&costly, ""), Err(Error::BackupDamaged { .. })), "{memory} {passes}");
            assert!(start.elapsed() < Duration::from_millis(10), "{memory} {passes}");
        }
    }
}
