//! Reads the contents in two steps: first everything that is readable without a password, checking its cost; then the encrypted
//! parts are decrypted one by one, in file order.

use super::attributes::Attributes;
use super::cipher::{Plaintext, Scheme};
use super::mac::FileMac;
use super::names;
use super::password::Candidates;
use super::structure::{self, BagValue, Content, Encrypted};
use crate::error::file::{Error, damaged};
use crate::file::contents::{CertificateBag, Contents, KeyBag, PassedOver};
use crate::file::limits::{Budget, Limits};

/// The maximum depth of SafeContents nested in bags. Real files nest one or two.
const MAX_NESTING: usize = 8;

/// How many encrypted parts may fail to open before any other opens: then the password is wrong, because trying it with a
/// thousand keys would take long. One is not enough, because that part may have another password.
const MOST_UNPROVEN: usize = 3;

/// An entry of the file, in file order.
enum Item {
    Certificate(CertificateBag),
    Key(KeyBag),
    PassedOver(PassedOver),
    LockedKey(Lock, Attributes),
    LockedSafe(Lock),
}

/// A ciphertext, and the scheme to decrypt it.
struct Lock {
    scheme: Scheme,
    ciphertext: Vec<u8>,
}

impl Lock {
    fn read(encrypted: Encrypted, limits: &Limits) -> Result<Self, Error> {
        let scheme = Scheme::read(encrypted.algorithm, limits)?;
        Ok(Self { scheme, ciphertext: encrypted.ciphertext })
    }
}

/// The contents of an AuthenticatedSafe before decryption.
pub(super) struct Closed {
    items: Vec<Item>,
}

impl Closed {
    /// Reads what is not encrypted. Fails if any part of the file is too costly or unsupported.
    pub(super) fn read(authenticated_safe: &[u8], limits: &Limits) -> Result<Self, Error> {
        let mut items = Vec::new();
        for content in structure::contents(authenticated_safe, limits)? {
            match content {
                Content::Plain(safe) => {
                    let safe = structure::safe_contents(&safe).ok_or_else(|| damaged("a safe is no list of bags"))?;
                    read_bags(&safe, limits, 0, &mut items)?;
                }
                Content::Encrypted(encrypted) => items.push(Item::LockedSafe(Lock::read(encrypted, limits)?)),
                Content::Other(oid) => items.push(Item::PassedOver(PassedOver::UnknownContent(oid))),
            }
        }
        Ok(Self { items })
    }

    /// The work to open all of it with the right password, in rounds of a digest.
    pub(super) fn rounds(&self) -> u64 {
        let rounds = self.items.iter().map(|item| match item {
            Item::LockedKey(lock, _) | Item::LockedSafe(lock) => lock.scheme.rounds(),
            Item::Certificate(_) | Item::Key(_) | Item::PassedOver(_) => 0,
        });
        rounds.fold(0, u64::saturating_add)
    }

    /// Decrypts everything. `mac` is the MAC of the file, if it has one, and the bytes that it covers.
    pub(super) fn open(
        self,
        mac: Option<(&FileMac, &[u8])>,
        candidates: &mut Candidates,
        budget: &mut Budget<'_>,
    ) -> Result<Contents, Error> {
        if let Some((mac, content)) = mac {
            mac.verify(content, candidates, budget)?;
        }
        let contents = Contents::default();
        let mut opener = Opener { candidates, budget, is_proven: mac.is_some(), locked: 0, contents };
        for item in self.items {
            opener.add(item)?;
        }
        opener.finish()
    }

    /// Decrypts the private keys, each of which may have a password of its own. `is_proven` if the password is right for
    /// something else.
    pub(super) fn open_keys(
        self,
        candidates: &mut Candidates,
        budget: &mut Budget<'_>,
        is_proven: bool,
    ) -> Result<Vec<Option<Plaintext>>, Error> {
        let mut opener = Opener { candidates, budget, is_proven, locked: 0, contents: Contents::default() };
        let locks = self.items.iter().filter_map(|item| match item {
            Item::LockedKey(lock, _) => Some(lock),
            _ => None,
        });
        let open = |lock| {
            let opened = opener.unlock(lock, structure::private_key)?;
            if opened.is_none() {
                opener.count_locked()?;
            }
            Ok(opened)
        };
        locks.map(open).collect()
    }
}

fn read_bags(safe: &[u8], limits: &Limits, depth: usize, items: &mut Vec<Item>) -> Result<(), Error> {
    if depth > MAX_NESTING {
        return Err(damaged("safes are nested too deep"));
    }
    for bag in structure::bags(safe)? {
        let bag = bag?;
        let Attributes { friendly_name, local_key_id } = bag.attributes;
        let item = match bag.value {
            BagValue::Certificate(der) => Item::Certificate(CertificateBag { der, friendly_name, local_key_id }),
            BagValue::Key(key) => {
                let pkcs8 = structure::private_key(&key).ok_or_else(|| damaged("a private key"))?;
                Item::Key(KeyBag { pkcs8, friendly_name, local_key_id })
            }
            BagValue::ShroudedKey(encrypted) => {
                Item::LockedKey(Lock::read(encrypted, limits)?, Attributes { friendly_name, local_key_id })
            }
            BagValue::Nested(safe) => {
                read_bags(&safe, limits, depth + 1, items)?;
                continue;
            }
            BagValue::PassedOver(passed_over) => Item::PassedOver(passed_over),
        };
        limits.check_entries(items.len() + 1)?;
        items.push(item);
    }
    Ok(())
}

struct Opener<'a, 'b> {
    candidates: &'a mut Candidates,
    budget: &'a mut Budget<'b>,
    /// The password is right for at least one part of the file.
    is_proven: bool,
    /// How many parts could not be decrypted.
    locked: usize,
    contents: Contents,
}

impl Opener<'_, '_> {
    fn add(&mut self, item: Item) -> Result<(), Error> {
        self.budget.limits.check_entries(self.contents.len() + 1)?;
        match item {
            Item::Certificate(certificate) => self.contents.certificates.push(certificate),
            Item::Key(key) => self.contents.keys.push(key),
            Item::PassedOver(passed_over) => self.contents.passed_over.push(passed_over),
            Item::LockedKey(lock, attributes) => self.open_key(&lock, attributes)?,
            Item::LockedSafe(lock) => self.open_safe(&lock)?,
        }
        Ok(())
    }

    fn open_key(&mut self, lock: &Lock, attributes: Attributes) -> Result<(), Error> {
        let Attributes { friendly_name, local_key_id } = attributes;
        match self.unlock(lock, structure::private_key)? {
            Some(pkcs8) => self.contents.keys.push(KeyBag { pkcs8, friendly_name, local_key_id }),
            None => self.leave(PassedOver::LockedKey { friendly_name, local_key_id })?,
        }
        Ok(())
    }

    fn open_safe(&mut self, lock: &Lock) -> Result<(), Error> {
        let Some(safe) = self.unlock(lock, structure::safe_contents)? else {
            return self.leave(PassedOver::LockedSafe);
        };
        let mut items = Vec::new();
        read_bags(&safe, self.budget.limits, 0, &mut items)?;
        // A safe holds encrypted keys but no encrypted safes, so this recursion ends
        items.into_iter().try_for_each(|item| self.add(item))
    }

    /// Tries every encoding of the passwords until `plausible` accepts the plaintext.
    fn unlock(
        &mut self,
        lock: &Lock,
        plausible: impl Fn(&[u8]) -> Option<Plaintext>,
    ) -> Result<Option<Plaintext>, Error> {
        let form = lock.scheme.form();
        let mut fitted = None;
        for (index, password) in self.candidates.of(form).enumerate() {
            self.budget.spend(lock.scheme.rounds())?;
            let plaintexts = lock.scheme.decrypt(&lock.ciphertext, password)?;
            fitted = plaintexts.iter().find_map(|plaintext| plausible(plaintext)).map(|found| (index, found));
            if fitted.is_some() {
                break;
            }
        }
        Ok(fitted.map(|(index, found)| {
            self.candidates.prefer(form, index);
            self.is_proven = true;
            found
        }))
    }

    /// Notes a part that cannot be decrypted: it has another password than the rest, if any other part is decrypted.
    fn leave(&mut self, what: PassedOver) -> Result<(), Error> {
        self.count_locked()?;
        self.contents.passed_over.push(what);
        Ok(())
    }

    fn count_locked(&mut self) -> Result<(), Error> {
        self.locked += 1;
        if !self.is_proven && self.locked == MOST_UNPROVEN { Err(Error::WrongPassword) } else { Ok(()) }
    }

    /// Fails if nothing could be decrypted, or if there is neither a certificate nor a key, and says why.
    fn finish(self) -> Result<Contents, Error> {
        if self.locked > 0 && !self.is_proven {
            return Err(Error::WrongPassword);
        }
        let contents = self.contents;
        if !contents.certificates.is_empty() || !contents.keys.is_empty() {
            return Ok(contents);
        }
        if self.locked > 0 {
            return Err(Error::ContentPassword);
        }
        for passed_over in &contents.passed_over {
            if let PassedOver::UnknownContent(oid) = passed_over {
                return Err(names::unsupported("content", oid.clone()));
            }
        }
        Ok(contents)
    }
}
