//! Encrypting the data key under the primary password: Argon2id (RFC 9106) and AES-256-GCM.

use std::time::{Duration, Instant};

use argon2::{Algorithm, Argon2, Block, Params, Version};
use zeroize::{Zeroize, Zeroizing};

use super::data_key::{DataKey, Message, decrypt, encrypt, random_bytes};
use crate::error::Error;

/// How long unlocking should take on the machine that sets the password.
const AIM: Duration = Duration::from_millis(500);

/// Memory for a new password, in KiB: what RFC 9106 section 4 recommends when 2 GiB are too much.
const MEMORY: u32 = 64 << 10;

/// The fewest passes for a new password, from the same recommendation.
const MIN_PASSES: u32 = 3;

/// The most passes for a new password, however fast this machine is: a slower one must be able to unlock the store too.
const MAX_PASSES: u32 = 32;

/// The most memory accepted from a store, in KiB: 1 GiB. A larger number is damage or malice.
const MAX_MEMORY: u32 = 1 << 20;

/// The most work accepted from a store, as KiB times passes: a hundred passes over the memory of a new password.
const MAX_WORK: u64 = 100 * MEMORY as u64;

/// The cost of Argon2id, with one lane: more processors do not make it faster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cost {
    /// KiB.
    pub(crate) memory: u32,
    pub(crate) passes: u32,
}

/// A data key, encrypted under the primary password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wrapped {
    pub(crate) cost: Cost,
    pub(crate) salt: [u8; 16],
    pub(crate) data_key: Vec<u8>,
}

impl Cost {
    /// A cost of about half a second on this machine.
    pub(super) fn calibrated() -> Result<Self, Error> {
        let least = Self { memory: MEMORY, passes: MIN_PASSES };
        let start = Instant::now();
        least.derive("", &[0; 16])?;
        let one_pass = start.elapsed().as_secs_f64() / f64::from(MIN_PASSES);
        let passes = (AIM.as_secs_f64() / one_pass).round() as u32;
        Ok(Self { passes: passes.clamp(MIN_PASSES, MAX_PASSES), ..least })
    }

    /// The cost that a store has.
    ///
    /// # Errors
    /// [`Error::VaultDamaged`] when the numbers are out of range.
    pub(crate) fn read(memory: i64, passes: i64) -> Result<Self, Error> {
        match (memory.try_into(), passes.try_into()) {
            (Ok(memory), Ok(passes)) => Ok(Self { memory, passes }),
            _ => Err(unacceptable(memory, passes)),
        }
    }

    /// Whether cardcase would write such a cost, or one that is reasonable on a larger machine. Checked before any work is done.
    pub(super) fn is_acceptable(self) -> bool {
        (MEMORY..=MAX_MEMORY).contains(&self.memory)
            && self.passes >= MIN_PASSES
            && u64::from(self.memory) * u64::from(self.passes) <= MAX_WORK
    }

    fn derive(self, password: &str, salt: &[u8; 16]) -> Result<Zeroizing<[u8; 32]>, Error> {
        let failed = |error: argon2::Error| Error::Sealing { detail: error.to_string() };
        let parameters = Params::new(self.memory, self.passes, 1, None).map_err(failed)?;
        let mut blocks = Memory::new(parameters.block_count())?;
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, parameters);
        let mut key = Zeroizing::new([0; 32]);
        argon2.hash_password_into_with_memory(password.as_bytes(), salt, &mut *key, &mut blocks.0).map_err(failed)?;
        Ok(key)
    }
}

fn unacceptable(memory: i64, passes: i64) -> Error {
    let detail = format!(
        "the primary password is to be derived with {memory} KiB of memory and {passes} passes; cardcase accepts \
         {MEMORY} to {MAX_MEMORY} KiB and at least {MIN_PASSES} passes, with a product of at most {MAX_WORK}"
    );
    Error::VaultDamaged { detail }
}

/// The memory of a derivation. Its content reveals something about the password, so it is wiped.
struct Memory(Vec<Block>);

impl Memory {
    /// Reports too little memory as an error.
    fn new(blocks: usize) -> Result<Self, Error> {
        let mut memory = Vec::new();
        memory.try_reserve_exact(blocks).map_err(|error| Error::Sealing { detail: error.to_string() })?;
        memory.resize(blocks, Block::new());
        Ok(Self(memory))
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.0.iter_mut().for_each(Zeroize::zeroize);
    }
}

impl Wrapped {
    pub(super) fn new(data_key: &DataKey, password: &str, cost: Cost) -> Result<Self, Error> {
        let salt = random_bytes()?;
        let key = cost.derive(password, &salt)?;
        Ok(Self { cost, salt, data_key: encrypt(&key, &covered(cost, &salt), data_key.as_bytes())? })
    }

    /// `None`: the password is wrong.
    ///
    /// # Errors
    /// [`Error::VaultDamaged`] when the cost is not acceptable.
    pub(super) fn unwrap_with(&self, password: &str) -> Result<Option<DataKey>, Error> {
        if !self.cost.is_acceptable() {
            return Err(unacceptable(self.cost.memory.into(), self.cost.passes.into()));
        }
        let key = self.cost.derive(password, &self.salt)?;
        let data_key = decrypt(&key, &covered(self.cost, &self.salt), &self.data_key);
        Ok(data_key.and_then(|bytes| DataKey::from_slice(&bytes)))
    }
}

fn covered(cost: Cost, salt: &[u8; 16]) -> Message {
    Message::new("data key").number(cost.memory.into()).number(cost.passes.into()).field(salt)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAST: Cost = Cost { memory: MEMORY, passes: MIN_PASSES };

    #[test]
    fn only_the_password_unwraps() {
        let data_key = DataKey::random().unwrap();
        let wrapped = Wrapped::new(&data_key, "correct horse", LEAST).unwrap();
        assert_eq!(wrapped.unwrap_with("correct horse").unwrap(), Some(data_key));
        assert_eq!(wrapped.unwrap_with("correct horsE").unwrap(), None);
        let moved = Wrapped { salt: [1; 16], ..wrapped.clone() };
        assert_eq!(moved.unwrap_with("correct horse").unwrap(), None);
        let cheaper = Wrapped { cost: Cost { passes: MIN_PASSES + 1, ..LEAST }, ..wrapped };
        assert_eq!(cheaper.unwrap_with("correct horse").unwrap(), None);
    }

    #[test]
    fn a_cost_outside_the_bounds_is_refused_before_the_work() {
        let (salt, data_key) = ([0; 16], vec![0; 60]);
        for cost in [
            Cost { memory: MEMORY - 1, ..LEAST },
            Cost { memory: u32::MAX, ..LEAST },
            Cost { memory: MAX_MEMORY, passes: 7 },
            Cost { passes: MIN_PASSES - 1, ..LEAST },
            Cost { passes: u32::MAX, ..LEAST },
        ] {
            let start = Instant::now();
            let wrapped = Wrapped { cost, salt, data_key: data_key.clone() };
            assert!(matches!(wrapped.unwrap_with(""), Err(Error::VaultDamaged { .. })), "{cost:?}");
            assert!(start.elapsed() < Duration::from_millis(10), "{cost:?}");
        }
    }

    #[test]
    fn a_calibrated_cost_is_accepted() {
        let cost = Cost::calibrated().unwrap();
        assert!(cost.is_acceptable(), "{cost:?}");
    }

    /// RFC 9106 section 5.3 has no vector without secret and associated data; this one is from the reference
    /// implementation's test.c (version 0x13, t = 2, m = 64 MiB, p = 1).
    #[test]
    fn the_derivation_is_argon2id() {
        let cost = Cost { memory: 65_536, passes: 2 };
        let parameters = Params::new(cost.memory, cost.passes, 1, None).unwrap();
        let mut key = [0; 32];
        Argon2::new(Algorithm::Argon2id, Version::V0x13, parameters)
            .hash_password_into(b"password", b"somesalt", &mut key)
            .unwrap();
        let hex = data_encoding::HEXLOWER.encode(&key[..]);
        assert_eq!(hex, "09316115d5cf24ed5a15a31a3ba326e5cf32edc24702987c02b6566f61913cf7");
    }
}
