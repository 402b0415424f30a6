//! How much work and memory a file may need, and how much it has used.

use crate::error::file::Error;

/// The largest file that is read, in bytes: a thousand identities with their chains take about half of it.
pub const MAX_SIZE: usize = 16 << 20;

/// The most that a file may need. Each limit is checked before the work begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Limits {
    /// Size of the file, in bytes.
    pub(super) file_size: usize,
    /// The number of certificates, keys and other entries. A real file of 16 MiB has fewer than 65,536, but an entry may be as
    /// short as two bytes, and millions of them take fifty times as much memory.
    pub(super) entries: usize,
    /// Rounds of one key derivation. Some programs write files with a million.
    pub(super) iterations: u64,
    /// Rounds of all derivations together, counting each output block and each encoding of the password. Two hundred million
    /// take about half a minute.
    pub(super) total_iterations: u64,
    /// Computing with the numbers of all RSA keys, as the rounds of a key derivation that take as long. Real keys need tens of
    /// thousands if they have all their numbers, and a million without their primes.
    pub(super) rsa_work: u64,
    /// Memory of one scrypt derivation, in bytes: for its table, and again for the blocks that are mixed into it.
    pub(super) scrypt_memory: u64,
}

impl Default for Limits {
    #[cfg(fuzzing)]
    fn default() -> Self {
        // So that fuzzing tries the parsers and not the key derivations
        Self {
            file_size: 1 << 20,
            entries: 1 << 16,
            iterations: 16,
            total_iterations: 1000,
            rsa_work: 1 << 17,
            scrypt_memory: 1 << 16,
        }
    }

    #[cfg(not(fuzzing))]
    fn default() -> Self {
        Self {
            file_size: MAX_SIZE,
            entries: 1 << 16,
            iterations: 10_000_000,
            total_iterations: 200_000_000,
            rsa_work: 200_000_000,
            scrypt_memory: 1 << 30,
        }
    }
}

/// Key derivations in one file, counting each encoding of the password.
const DERIVATIONS: u64 = 20;

impl Limits {
    /// The default, or with another limit for the rounds of one key derivation.
    pub(super) fn with_iterations(iterations: Option<u64>) -> Self {
        let mut limits = Self::default();
        if let Some(iterations) = iterations {
            limits.iterations = iterations;
            // Whoever allows more rounds for one derivation allows more in all, since each derivation of a file has as many
            limits.total_iterations = limits.total_iterations.max(iterations.saturating_mul(DERIVATIONS));
        }
        limits
    }

    pub(super) fn check_file_size(&self, size: usize) -> Result<(), Error> {
        within("bytes", size as u64, self.file_size as u64)
    }

    pub(super) fn check_entries(&self, count: usize) -> Result<(), Error> {
        within("certificates, keys and other entries", count as u64, self.entries as u64)
    }

    pub(super) fn check_iterations(&self, iterations: u64) -> Result<(), Error> {
        if iterations == 0 {
            return Err(Error::Damaged { what: "a key derivation of no rounds" });
        }
        within("rounds of key derivation", iterations, self.iterations)
    }

    pub(super) fn check_scrypt_memory(&self, bytes: u64) -> Result<(), Error> {
        within("bytes of memory for scrypt", bytes, self.scrypt_memory)
    }

    pub(super) fn check_rsa_work(&self, rounds: u64) -> Result<(), Error> {
        within("steps of computing with the numbers of RSA keys", rounds, self.rsa_work)
    }

    pub(super) fn check_total(&self, rounds: u64) -> Result<(), Error> {
        within("rounds of key derivation in all", rounds, self.total_iterations)
    }
}

fn within(what: &'static str, value: u64, limit: u64) -> Result<(), Error> {
    if value > limit { Err(Error::TooCostly { what, value, limit }) } else { Ok(()) }
}

/// Counts the rounds of one call.
#[derive(Debug)]
pub(super) struct Budget<'a> {
    pub(super) limits: &'a Limits,
    spent: u64,
}

impl<'a> Budget<'a> {
    pub(super) fn new(limits: &'a Limits) -> Self {
        Self { limits, spent: 0 }
    }

    /// Checks that `rounds` more are allowed.
    pub(super) fn check(&self, rounds: u64) -> Result<(), Error> {
        self.limits.check_total(self.spent.saturating_add(rounds))
    }

    /// Counts `rounds` before they are done.
    pub(super) fn spend(&mut self, rounds: u64) -> Result<(), Error> {
        self.spent = self.spent.saturating_add(rounds);
        self.limits.check_total(self.spent)
    }
}
