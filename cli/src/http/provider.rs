//! The cryptography of the command's connections: that of rustls on aws-lc-rs, with random bytes from the kernel.
//!
//! aws-lc-rs, unless it was built otherwise, measures the jitter of the CPU before the first random byte of a process. That takes
//! about 40 ms, and a whole `fetch` takes less. So nothing here asks its generator: ring makes the keys for ECDH, and `ml-kem` makes
//! those for ML-KEM from bytes of the kernel. Identities sign with ring too: see `crypto` in the library. aws-lc-rs encrypts and
//! verifies, which needs no random bytes.

use std::fmt;

use ml_kem::kem::{Decapsulate, KeyExport};
use ml_kem::ml_kem_768::DecapsulationKey;
use ml_kem::{Key, KeyInit};
use ring::agreement::{self, Algorithm, EphemeralPrivateKey, PublicKey, UnparsedPublicKey, agree_ephemeral};
use ring::rand::SystemRandom;
use rustls::crypto::{
    ActiveKeyExchange, CryptoProvider, GetRandomFailed, SecureRandom, SharedSecret, SupportedKxGroup, aws_lc_rs,
};
use rustls::ffdhe_groups::FfdheGroup;
use rustls::{Error, NamedGroup, PeerMisbehaved, ProtocolVersion};
use zeroize::Zeroizing;

/// The provider of every configuration of the command. It offers what the one of rustls on aws-lc-rs offers, in the same order.
pub(crate) fn provider() -> CryptoProvider {
    CryptoProvider {
        kx_groups: vec![&X25519, &SECP256R1, &SECP384R1, &X25519MLKEM768],
        secure_random: &Kernel,
        ..aws_lc_rs::default_provider()
    }
}

/// Random bytes from the kernel.
#[derive(Debug)]
struct Kernel;

impl SecureRandom for Kernel {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), GetRandomFailed> {
        getrandom::fill(bytes).map_err(|_| GetRandomFailed)
    }
}

static X25519: Ecdh = Ecdh { name: NamedGroup::X25519, algorithm: &agreement::X25519 };
static SECP256R1: Ecdh = Ecdh { name: NamedGroup::secp256r1, algorithm: &agreement::ECDH_P256 };
static SECP384R1: Ecdh = Ecdh { name: NamedGroup::secp384r1, algorithm: &agreement::ECDH_P384 };

const INVALID: Error = Error::PeerMisbehaved(PeerMisbehaved::InvalidKeyShare);

/// A group for ECDH.
struct Ecdh {
    name: NamedGroup,
    algorithm: &'static Algorithm,
}

impl Ecdh {
    fn key(&self) -> Result<EcdhKey, Error> {
        let private =
            EphemeralPrivateKey::generate(self.algorithm, &SystemRandom::new()).map_err(|_| GetRandomFailed)?;
        let public = private.compute_public_key().map_err(|_| GetRandomFailed)?;
        Ok(EcdhKey { name: self.name, private, public })
    }
}

impl SupportedKxGroup for Ecdh {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, Error> {
        Ok(Box::new(self.key()?))
    }

    fn ffdhe_group(&self) -> Option<FfdheGroup<'static>> {
        None
    }

    fn name(&self) -> NamedGroup {
        self.name
    }
}

impl fmt::Debug for Ecdh {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.name.fmt(f)
    }
}

/// A key for ECDH.
struct EcdhKey {
    name: NamedGroup,
    private: EphemeralPrivateKey,
    public: PublicKey,
}

impl ActiveKeyExchange for EcdhKey {
    /// ring reads only uncompressed points, which are the only ones in TLS 1.3 (RFC 8446 section 4.2.8.2), and checks them.
    fn complete(self: Box<Self>, peer: &[u8]) -> Result<SharedSecret, Error> {
        let peer = UnparsedPublicKey::new(self.private.algorithm(), peer);
        agree_ephemeral(self.private, &peer, |secret| SharedSecret::from(secret)).map_err(|_| INVALID)
    }

    fn ffdhe_group(&self) -> Option<FfdheGroup<'static>> {
        None
    }

    fn group(&self) -> NamedGroup {
        self.name
    }

    fn pub_key(&self) -> &[u8] {
        self.public.as_ref()
    }
}

/// ML-KEM-768 and X25519 together (draft-ietf-tls-ecdhe-mlkem): ML-KEM comes first in the shares and in the secret.
#[derive(Debug)]
struct X25519MLKEM768;

impl SupportedKxGroup for X25519MLKEM768 {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, Error> {
        let mut seed = Zeroizing::new(Key::<DecapsulationKey>::default());
        getrandom::fill(&mut seed).map_err(|_| GetRandomFailed)?;
        let (kem, ecdh) = (DecapsulationKey::new(&seed), X25519.key()?);
        let share = [&kem.encapsulation_key().to_bytes(), ecdh.pub_key()].concat();
        Ok(Box::new(HybridKey { kem, ecdh, share }))
    }

    fn ffdhe_group(&self) -> Option<FfdheGroup<'static>> {
        None
    }

    fn name(&self) -> NamedGroup {
        NamedGroup::X25519MLKEM768
    }

    fn usable_for_version(&self, version: ProtocolVersion) -> bool {
        version == ProtocolVersion::TLSv1_3
    }
}

/// A key for [`X25519MLKEM768`].
struct HybridKey {
    kem: DecapsulationKey,
    ecdh: EcdhKey,
    share: Vec<u8>,
}

impl ActiveKeyExchange for HybridKey {
    fn complete(self: Box<Self>, peer: &[u8]) -> Result<SharedSecret, Error> {
        let Self { kem, ecdh, .. } = *self;
        let (ciphertext, point) = peer.split_last_chunk::<32>().ok_or(INVALID)?;
        let first = Zeroizing::new(kem.decapsulate_slice(ciphertext).map_err(|_| INVALID)?);
        let second = Box::new(ecdh).complete(point)?;
        Ok(SharedSecret::from([&first, second.secret_bytes()].concat()))
    }

    fn ffdhe_group(&self) -> Option<FfdheGroup<'static>> {
        None
    }

    fn group(&self) -> NamedGroup {
        NamedGroup::X25519MLKEM768
    }

    fn pub_key(&self) -> &[u8] {
        &self.share
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(provider: &CryptoProvider) -> Vec<NamedGroup> {
        provider.kx_groups.iter().map(|group| group.name()).collect()
    }

    #[test]
    fn the_groups_are_those_of_rustls_and_agree_with_them() {
        let (ours, theirs) = (provider(), aws_lc_rs::default_provider());
        assert_eq!(names(&ours), names(&theirs));
        for (ours, theirs) in ours.kx_groups.iter().zip(&theirs.kx_groups) {
            for version in [ProtocolVersion::TLSv1_2, ProtocolVersion::TLSv1_3] {
                assert_eq!(ours.usable_for_version(version), theirs.usable_for_version(version), "{ours:?}");
            }
            let key = ours.start().unwrap();
            assert_eq!(key.group(), ours.name());
            let reply = theirs.start_and_complete(key.pub_key()).unwrap();
            let secret = key.complete(&reply.pub_key).unwrap();
            assert_eq!(secret.secret_bytes(), reply.secret.secret_bytes(), "{ours:?}");
        }
    }

    #[test]
    fn every_key_is_another() {
        for group in provider().kx_groups {
            assert_ne!(group.start().unwrap().pub_key(), group.start().unwrap().pub_key(), "{group:?}");
        }
    }

    #[test]
    fn what_is_no_share_of_a_server_is_refused() {
        for (ours, theirs) in provider().kx_groups.into_iter().zip(aws_lc_rs::default_provider().kx_groups) {
            let share = theirs.start_and_complete(ours.start().unwrap().pub_key()).unwrap().pub_key;
            let mut wrong = vec![vec![], vec![0; share.len()], share[1..].to_vec(), [&share, &[0][..]].concat()];
            if matches!(ours.name(), NamedGroup::secp256r1 | NamedGroup::secp384r1) {
                // Compressed, and not on the curve
                let half = share.len().div_ceil(2);
                wrong.extend([[&[2], &share[1..half]].concat(), [&share[..half], &share[1..half]].concat()]);
            }
            for wrong in wrong {
                let refused = ours.start().unwrap().complete(&wrong).err();
                assert_eq!(refused, Some(INVALID), "{ours:?} with {} bytes", wrong.len());
            }
        }
    }
}
