//! The MAC over the file: RFC 7292 section 5.1, and PBMAC1 (RFC 9579).

use der::{Decode, Sequence};
use pkcs8::AlgorithmIdentifierRef;

use super::hash::Hash;
use super::kdf::{self, Derivation, Purpose};
use super::names;
use super::password::{Candidates, Form};
use super::structure::MacData;
use crate::error::file::{Error, damaged};
use crate::file::limits::{Budget, Limits};

const PBMAC1: &str = "1.2.840.113549.1.5.14";

/// RFC 9579 section 4: shorter keys must not be accepted. In bytes.
const MIN_PBMAC1_KEY: u16 = 20;

/// A MAC, its parameters read and within the limits.
pub(super) struct FileMac {
    method: Method,
    expected: Vec<u8>,
}

enum Method {
    Pkcs12 { hash: Hash, salt: Vec<u8>, iterations: u64 },
    Pbmac1(Pbmac1),
}

/// The method of RFC 8018 section 7.1.
pub(in crate::file) struct Pbmac1 {
    derivation: Derivation,
    key_length: usize,
    hash: Hash,
}

/// RFC 8018 appendix A.5.
#[derive(Sequence)]
struct Pbmac1Params<'a> {
    derivation: AlgorithmIdentifierRef<'a>,
    scheme: AlgorithmIdentifierRef<'a>,
}

impl FileMac {
    /// Reads the parameters and checks their cost.
    pub(super) fn read(mac: MacData, limits: &Limits) -> Result<Self, Error> {
        let method = match mac.algorithm.as_str() {
            PBMAC1 => Method::Pbmac1(Pbmac1::read(&mac.parameters, limits)?),
            oid => {
                limits.check_iterations(mac.iterations)?;
                let hash = Hash::by_oid(oid).ok_or_else(|| names::unsupported("MAC digest", oid.to_owned()))?;
                Method::Pkcs12 { hash, salt: mac.salt, iterations: mac.iterations }
            }
        };
        Ok(Self { method, expected: mac.digest })
    }

    /// The work to try one candidate, in rounds of a digest.
    pub(super) fn rounds(&self) -> u64 {
        match &self.method {
            Method::Pkcs12 { hash, iterations, .. } => kdf::pkcs12_rounds(*hash, *iterations, hash.size()),
            Method::Pbmac1(pbmac1) => pbmac1.rounds(),
        }
    }

    /// Finds the candidate that fits, and puts it first; each candidate is derived once.
    pub(super) fn verify(
        &self,
        content: &[u8],
        candidates: &mut Candidates,
        budget: &mut Budget<'_>,
    ) -> Result<(), Error> {
        let form = match self.method {
            Method::Pkcs12 { .. } => Form::Pkcs12,
            Method::Pbmac1(_) => Form::Pkcs5,
        };
        let fitting = self.fitting(content, candidates.of(form), budget)?;
        candidates.prefer(form, fitting);
        Ok(())
    }

    fn fitting<'a>(
        &self,
        content: &[u8],
        passwords: impl Iterator<Item = &'a [u8]>,
        budget: &mut Budget<'_>,
    ) -> Result<usize, Error> {
        for (index, password) in passwords.enumerate() {
            budget.spend(self.rounds())?;
            if self.fits(content, password)? {
                return Ok(index);
            }
        }
        Err(Error::WrongPassword)
    }

    fn fits(&self, content: &[u8], password: &[u8]) -> Result<bool, Error> {
        match &self.method {
            Method::Pkcs12 { hash, salt, iterations } => {
                let key = kdf::pkcs12(*hash, password, salt, Purpose::Mac, *iterations, hash.size());
                Ok(kdf::hmac_fits(*hash, &key, content, &self.expected))
            }
            Method::Pbmac1(pbmac1) => pbmac1.fits(content, password, &self.expected),
        }
    }
}

impl Pbmac1 {
    /// Reads the parameters and checks their cost.
    pub(in crate::file) fn read(parameters: &[u8], limits: &Limits) -> Result<Self, Error> {
        let params = Pbmac1Params::from_der(parameters).map_err(|_| damaged("the parameters of PBMAC1"))?;
        let derivation = Derivation::read(params.derivation, limits)?;
        let oid = params.scheme.oid;
        let hash = Hash::by_hmac_oid(&oid).ok_or_else(|| names::unsupported("MAC", oid.to_string()))?;
        let key_length = match derivation.key_length() {
            None => return Err(damaged("PBMAC1 without the length of its key")),
            Some(length) if length < MIN_PBMAC1_KEY => return Err(damaged("PBMAC1 with too short a key")),
            Some(length) => usize::from(length),
        };
        Ok(Self { derivation, key_length, hash })
    }

    /// The work to try one password, in rounds of a digest.
    pub(in crate::file) fn rounds(&self) -> u64 {
        self.derivation.rounds(self.key_length)
    }

    pub(in crate::file) fn fits(&self, content: &[u8], password: &[u8], expected: &[u8]) -> Result<bool, Error> {
        let key = self.derivation.derive(password, self.key_length)?;
        Ok(kdf::hmac_fits(self.hash, &key, content, expected))
    }
}
