//! What is imported into a store: certificates and private keys, and how they are paired into identities.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::fmt;

use zeroize::Zeroizing;

use crate::certificate::name::NameKey;
use crate::certificate::permission::Permit;
use crate::certificate::private_key::PrivateKey;
use crate::certificate::tried::Tried;
use crate::certificate::{Certificate, Fingerprint};
use crate::error::{self, Error};

/// The certificates and private keys of one or several files, on their way into a [`Store`](crate::Store).
///
/// `file::read` makes one from the bytes of a file. [`Self::pair`] finds the certificate of each private
/// key. [`Store::import`](crate::Store::import) does so too, so call it only to see the identities beforehand.
///
/// It is not in the module [`file`](crate::file), because a program without the feature `files` also needs it: to add
/// identities and CA certificates that it has as DER.
///
/// # Example
///
/// ```
/// # #[cfg(feature = "files")] {
/// use cardcase::file;
///
/// # let bytes = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/identities/openssl.p12"));
/// let mut import = file::read(bytes, "cardcase")?;
/// import.pair()?;
/// let alice = import.identities().next().unwrap();
/// assert_eq!(alice.subject().common_name(), "Alice Example");
/// assert_eq!(import.authorities().len(), 2);
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Default)]
pub struct Import {
    /// Not yet paired.
    certificates: Vec<FoundCertificate>,
    /// Not yet paired.
    keys: Vec<FoundKey>,
    /// The number of files that were read.
    files: usize,
    is_pkcs12: bool,
    identities: Vec<NewIdentity>,
    authorities: Vec<Certificate>,
    left_out: Vec<LeftOut>,
    /// The files that hold an identity, a part of one or a CA certificate.
    useful: HashSet<usize>,
}

/// Something in a file that is not imported.
#[derive(Clone)]
pub(crate) struct LeftOut {
    what: String,
    why: Why,
    file: usize,
}

#[derive(Clone)]
enum Why {
    /// It is neither a CA certificate nor that of a private key. When a key for it is found later, it is not left out.
    NoKey(Box<FoundCertificate>),
    /// It is a certificate that cannot be read.
    #[cfg(any(feature = "files", test))]
    Damaged(error::file::Error),
    /// It is something else.
    #[cfg(any(feature = "files", test))]
    Other(&'static str),
}

/// A certificate of a file.
#[derive(Clone)]
pub(crate) struct FoundCertificate {
    pub(crate) certificate: Certificate,
    pub(crate) friendly_name: Option<String>,
    /// In PKCS#12, the same for a key and its certificate.
    pub(crate) local_key_id: Option<Vec<u8>>,
    /// Position of its file among those that were read, from 0.
    file: usize,
}

/// A private key of a file.
#[derive(Clone)]
pub(crate) struct FoundKey {
    key: PrivateKey,
    friendly_name: Option<String>,
    local_key_id: Option<Vec<u8>>,
    file: usize,
}

/// A certificate with its private key.
#[derive(Clone)]
pub(crate) struct NewIdentity {
    pub(crate) certificate: Certificate,
    pub(crate) key: PrivateKey,
    pub(crate) friendly_name: Option<String>,
    pub(crate) requires_tls13: bool,
    pub(crate) tried: Tried,
    pub(crate) permit: Permit,
}

impl NewIdentity {
    /// Tries what can sign with the key.
    pub(crate) fn new(certificate: Certificate, key: PrivateKey, friendly_name: Option<String>) -> Self {
        let tried = key.try_signing(&certificate);
        Self { certificate, key, friendly_name, requires_tls13: false, tried, permit: Permit::default() }
    }

    /// One whose key was lost.
    pub(crate) fn without_key(certificate: Certificate, friendly_name: Option<String>, requires_tls13: bool) -> Self {
        let (key, tried) = (PrivateKey::none(), Tried::NO_KEY);
        Self { certificate, key, friendly_name, requires_tls13, tried, permit: Permit::default() }
    }
}

impl LeftOut {
    /// A certificate that cannot be read.
    #[cfg(any(feature = "files", test))]
    pub(crate) fn damaged(what: String, error: error::file::Error) -> Self {
        Self { what, why: Why::Damaged(error), file: 0 }
    }

    /// Something that is no certificate.
    #[cfg(any(feature = "files", test))]
    pub(crate) fn other(what: String, why: &'static str) -> Self {
        Self { what, why: Why::Other(why), file: 0 }
    }

    fn without_key(found: FoundCertificate) -> Self {
        Self { what: found.certificate.subject().to_string(), file: found.file, why: Why::NoKey(Box::new(found)) }
    }

    fn has_no_key(&self) -> bool {
        matches!(self.why, Why::NoKey(_))
    }

    fn into_certificate(self) -> Option<FoundCertificate> {
        match self.why {
            Why::NoKey(found) => Some(*found),
            #[cfg(any(feature = "files", test))]
            Why::Damaged(_) | Why::Other(_) => None,
        }
    }
}

impl FoundCertificate {
    #[cfg(any(feature = "files", test))]
    pub(crate) fn new(certificate: Certificate, friendly_name: Option<String>, local_key_id: Option<Vec<u8>>) -> Self {
        Self { certificate, friendly_name, local_key_id, file: 0 }
    }
}

impl FoundKey {
    #[cfg(any(feature = "files", test))]
    pub(crate) fn new(key: PrivateKey, friendly_name: Option<String>, local_key_id: Option<Vec<u8>>) -> Self {
        Self { key, friendly_name, local_key_id, file: 0 }
    }
}

impl Import {
    /// What one file holds.
    #[cfg(any(feature = "files", test))]
    pub(crate) fn from_file(
        certificates: Vec<FoundCertificate>,
        keys: Vec<FoundKey>,
        left_out: Vec<LeftOut>,
        is_pkcs12: bool,
    ) -> Self {
        Self { certificates, keys, left_out, files: 1, is_pkcs12, ..Self::default() }
    }

    /// Adds a certificate with its private key, the DER of a PrivateKeyInfo (PKCS#8, RFC 5958). Without a friendly name the
    /// store names it by the certificate's subject.
    ///
    /// # Errors
    /// [`Error::KeyMismatch`] when it is another certificate's key, [`Error::UnusableKey`] when that cannot be known.
    pub fn add_identity(
        &mut self,
        certificate: Certificate,
        pkcs8: Zeroizing<Vec<u8>>,
        friendly_name: Option<&str>,
    ) -> Result<(), Error> {
        let key = PrivateKey::from_foreign(pkcs8);
        key.check_fits(&certificate)?;
        self.identities.push(NewIdentity::new(certificate, key, friendly_name.map(str::to_owned)));
        Ok(())
    }

    /// Adds a CA certificate.
    pub fn add_authority(&mut self, certificate: Certificate) {
        self.authorities.push(certificate);
    }

    /// Adds a private key that belongs to one of the certificates that are not paired yet.
    pub(crate) fn add_key(&mut self, key: PrivateKey) {
        self.keys.push(FoundKey { key, friendly_name: None, local_key_id: None, file: 0 });
    }

    /// Adds what another file holds, so that the keys of one file are paired with the certificates of another.
    pub fn extend(&mut self, other: Self) {
        let before = self.files;
        let certificates = other.certificates.into_iter();
        self.certificates.extend(certificates.map(|found| FoundCertificate { file: before + found.file, ..found }));
        self.keys.extend(other.keys.into_iter().map(|found| FoundKey { file: before + found.file, ..found }));
        self.files += other.files;
        self.is_pkcs12 |= other.is_pkcs12;
        self.identities.extend(other.identities);
        self.authorities.extend(other.authorities);
        self.left_out.extend(other.left_out.into_iter().map(|out| LeftOut { file: before + out.file, ..out }));
        self.useful.extend(other.useful.into_iter().map(|file| before + file));
    }

    /// Whether it was read from a PKCS#12 file, which holds both keys and certificates. Keys and certificates in PEM or DER
    /// are often in separate files, to be brought together with [`Self::extend`].
    pub fn is_pkcs12(&self) -> bool {
        self.is_pkcs12
    }

    /// Every certificate: those of identities, CA certificates, and those not paired yet.
    pub fn certificates(&self) -> impl Iterator<Item = &Certificate> {
        let found = self.certificates.iter().map(|found| &found.certificate);
        found.chain(self.identities()).chain(&self.authorities)
    }

    /// The certificates of the identities, once they are [paired](Self::pair).
    pub fn identities(&self) -> impl Iterator<Item = &Certificate> {
        self.identities.iter().map(|identity| &identity.certificate)
    }

    /// The CA certificates, once the others are [paired](Self::pair).
    pub fn authorities(&self) -> &[Certificate] {
        &self.authorities
    }

    /// What the files hold that is not imported, once the rest is [paired](Self::pair): for each, the position of its file
    /// among those brought together with [`Self::extend`], from 0, what it is, and why it is left out.
    pub fn left_out(&self) -> impl Iterator<Item = (usize, &str, String)> {
        self.left_out.iter().map(|out| {
            let why = match &out.why {
                Why::NoKey(_) => "it is not a CA certificate, and its private key is not there".to_owned(),
                #[cfg(any(feature = "files", test))]
                Why::Damaged(error) => error.to_string(),
                #[cfg(any(feature = "files", test))]
                Why::Other(why) => (*why).to_owned(),
            };
            (out.file, out.what.as_str(), why)
        })
    }

    /// The public keys of the certificates that are not paired yet, or left out because there is no key for them.
    pub(crate) fn unpaired_public_keys(&self) -> impl Iterator<Item = Cow<'_, [u8]>> {
        let left_out = self.left_out.iter().filter_map(|out| match &out.why {
            Why::NoKey(found) => Some(&**found),
            #[cfg(any(feature = "files", test))]
            Why::Damaged(_) | Why::Other(_) => None,
        });
        self.certificates.iter().chain(left_out).map(|found| found.certificate.canonical_public_key())
    }

    /// The names in the files of the certificates that are not paired yet.
    #[cfg(test)]
    pub(crate) fn found_names(&self) -> Vec<Option<&str>> {
        self.certificates.iter().map(|found| found.friendly_name.as_deref()).collect()
    }

    pub(crate) fn new_identities(&self) -> &[NewIdentity] {
        &self.identities
    }

    /// Pairs private keys with their certificates. CA certificates are kept; other certificates, and those that cannot be read, are
    /// [left out](Self::left_out). On an error nothing changes. When keys were added since, the certificates that were left out
    /// are tried again.
    ///
    /// A key belongs to the certificates with its public key. Where the public key cannot be computed, it belongs to those with
    /// the same localKeyId, or else to the only certificate that is not a CA certificate. Some files have wrong localKeyIds,
    /// so the public keys decide.
    ///
    /// # Errors
    /// [`Error::KeyWithoutCertificate`]: all identities of a file are imported, or none. [`Error::CertificateWithoutKey`] when a
    /// file holds nothing else, neither an identity nor a CA certificate; [`Error::InFile`] when a certificate that cannot be read
    /// may be the missing one, or when a file holds only other things; [`Error::EmptyFile`].
    pub fn pair(&mut self) -> Result<(), Error> {
        let mut paired = self.paired()?;
        match paired.useless.is_empty() {
            true => self.take(paired),
            false => return Err(paired.useless.swap_remove(0).1),
        }
        Ok(())
    }

    /// Pairs as [`Self::pair`] does. The files that hold nothing to import are no error: they are dropped, and the position of each
    /// among those brought together with [`Self::extend`], from 0, is returned with the error that it would have been.
    ///
    /// # Errors
    /// Those of [`Self::pair`] that are not about such a file.
    pub fn pair_useful(&mut self) -> Result<Vec<(usize, Error)>, Error> {
        let mut paired = self.paired()?;
        let useless = std::mem::take(&mut paired.useless);
        let dropped: HashSet<usize> = useless.iter().map(|(file, _)| *file).collect();
        paired.left_out.retain(|out| !dropped.contains(&out.file));
        paired.useful.extend(dropped);
        self.take(paired);
        Ok(useless)
    }

    fn paired(&self) -> Result<Paired, Error> {
        let (again, mut left_out) = self.left_out.iter().cloned().partition::<Vec<_>, _>(LeftOut::has_no_key);
        let again = again.into_iter().filter_map(LeftOut::into_certificate);
        let found: Vec<FoundCertificate> = self.certificates.iter().cloned().chain(again).collect();
        let certificates = distinct(&found);
        let identities = identities_among(&self.keys, &certificates)
            .map_err(|error| damaged(&left_out, |_| true).unwrap_or(error))?;
        let (authorities, others) = authorities_among(&certificates, &identities);

        let wanted = identities.iter().map(|identity| &identity.certificate).chain(&authorities);
        let wanted: HashSet<Fingerprint> = wanted.map(Certificate::fingerprint).collect();
        let mut useful = self.useful.clone();
        useful.extend(self.keys.iter().map(|found| found.file));
        let is_wanted = |found: &&FoundCertificate| wanted.contains(&found.certificate.fingerprint());
        useful.extend(found.iter().filter(is_wanted).map(|found| found.file));
        let useless = (0..self.files).filter(|file| !useful.contains(file)).map(|useless| {
            let error = damaged(&left_out, |file| file == useless)
                .or_else(|| without_key(&found, useless))
                .unwrap_or_else(|| nothing_useful(&left_out, useless));
            (useless, error)
        });
        let useless = useless.collect();
        left_out.extend(others.into_iter().cloned().map(LeftOut::without_key));
        Ok(Paired { identities, authorities, left_out, useful, useless })
    }

    fn take(&mut self, paired: Paired) {
        self.identities.extend(paired.identities);
        self.authorities.extend(paired.authorities);
        (self.left_out, self.useful) = (paired.left_out, paired.useful);
        self.certificates.clear();
        self.keys.clear();
    }
}

/// What pairing found.
struct Paired {
    identities: Vec<NewIdentity>,
    authorities: Vec<Certificate>,
    left_out: Vec<LeftOut>,
    useful: HashSet<usize>,
    /// The files that hold nothing to import, with the error for each; the first of them first.
    useless: Vec<(usize, Error)>,
}

/// The error for the first certificate that cannot be read, in the files for which `is_meant` holds.
fn damaged(left_out: &[LeftOut], is_meant: impl Fn(usize) -> bool) -> Option<Error> {
    left_out.iter().filter(|out| is_meant(out.file)).find_map(|out| match &out.why {
        #[cfg(any(feature = "files", test))]
        Why::Damaged(error) => Some(Error::InFile { error: error.clone(), file: out.file }),
        _ => None,
    })
}

/// The error for a file with no key for its certificates.
fn without_key(found: &[FoundCertificate], file: usize) -> Option<Error> {
    let first = found.iter().find(|found| found.file == file)?;
    Some(Error::CertificateWithoutKey { subject: first.certificate.subject().to_string(), file })
}

/// The error for a file that holds neither certificates nor keys.
fn nothing_useful(left_out: &[LeftOut], file: usize) -> Error {
    let found: Vec<&str> = left_out.iter().filter(|out| out.file == file).map(|out| out.what.as_str()).collect();
    if found.is_empty() {
        return Error::EmptyFile;
    }
    Error::InFile { error: error::file::Error::NothingUseful { found: found.join(", ") }, file }
}

/// Shows no secret.
impl fmt::Debug for Import {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Import")
            .field("certificates", &self.certificates().collect::<Vec<_>>())
            .field("unpaired_keys", &self.keys.len())
            .finish_non_exhaustive()
    }
}

/// Each certificate once.
fn distinct(all: &[FoundCertificate]) -> Vec<&FoundCertificate> {
    let mut seen = HashSet::new();
    all.iter().filter(|found| seen.insert(found.certificate.fingerprint())).collect()
}

fn identities_among(keys: &[FoundKey], certificates: &[&FoundCertificate]) -> Result<Vec<NewIdentity>, Error> {
    let mut identities = Vec::new();
    let mut paired = HashSet::new();
    let by_public_key = by_public_key(certificates);
    for found in keys {
        let fitting = match found.key.public_key() {
            Some(public) => by_public_key.get(public.as_slice()).cloned().unwrap_or_default(),
            None => fitting_without_public_key(found.local_key_id.as_deref(), certificates),
        };
        if fitting.is_empty() {
            return Err(Error::KeyWithoutCertificate { name: found.friendly_name.clone(), file: found.file });
        }
        // Each certificate of one key may have a name of its own
        let is_shared = fitting.len() > 1;
        for FoundCertificate { certificate, friendly_name, .. } in fitting {
            if paired.insert(certificate.fingerprint()) {
                let (key_name, own_name) = (found.friendly_name.clone(), friendly_name.clone());
                let name = if is_shared { own_name.or(key_name) } else { key_name.or(own_name) };
                identities.push(NewIdentity::new(certificate.clone(), found.key.clone(), name));
            }
        }
    }
    Ok(identities)
}

/// An index, since a file may hold thousands.
fn by_public_key<'a>(certificates: &[&'a FoundCertificate]) -> HashMap<Cow<'a, [u8]>, Vec<&'a FoundCertificate>> {
    let mut sorted: HashMap<Cow<'_, [u8]>, Vec<&FoundCertificate>> = HashMap::new();
    for found in certificates {
        sorted.entry(found.certificate.canonical_public_key()).or_default().push(found);
    }
    sorted
}

fn fitting_without_public_key<'a>(
    local_key_id: Option<&[u8]>,
    certificates: &[&'a FoundCertificate],
) -> Vec<&'a FoundCertificate> {
    let has_id = |found: &&&FoundCertificate| local_key_id.is_some() && found.local_key_id.as_deref() == local_key_id;
    let linked: Vec<&FoundCertificate> = certificates.iter().filter(has_id).copied().collect();
    if !linked.is_empty() {
        return linked;
    }
    let leaves: Vec<&FoundCertificate> =
        certificates.iter().filter(|found| !found.certificate.is_ca()).copied().collect();
    match (leaves.as_slice(), certificates) {
        ([only], _) => vec![*only],
        (_, [only]) => vec![*only],
        _ => Vec::new(),
    }
}

/// The CA certificates, and those that are neither that nor an identity's. A CA is one by basicConstraints or, as version 1 has no
/// extensions, because it issued another certificate.
fn authorities_among<'a>(
    certificates: &[&'a FoundCertificate],
    identities: &[NewIdentity],
) -> (Vec<Certificate>, Vec<&'a FoundCertificate>) {
    let paired: HashSet<Fingerprint> = identities.iter().map(|identity| identity.certificate.fingerprint()).collect();
    let issuers: HashSet<NameKey> = certificates
        .iter()
        .filter(|found| !found.certificate.is_self_issued())
        .map(|found| found.certificate.issuer_key())
        .collect();
    let (mut authorities, mut others) = (Vec::new(), Vec::new());
    for found in certificates {
        let certificate = &found.certificate;
        let is_identity = paired.contains(&certificate.fingerprint());
        if issuers.contains(&certificate.subject_key()) || certificate.is_ca() && !is_identity {
            authorities.push(certificate.clone());
        } else if !is_identity {
            others.push(*found);
        }
    }
    (authorities, others)
}

#[cfg(test)]
mod tests;
