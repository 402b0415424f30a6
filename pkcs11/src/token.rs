//! What the module shows of the store: two slots, their objects, and an index of them.

use std::collections::{HashMap, HashSet};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cardcase::manage::{Fingerprint, Permission};
use cardcase::{Error, Store};
use cryptoki_sys::*;
use sha2::{Digest, Sha256};

use super::code::Result;
use super::fork;
use super::object::{Class, Object, Shown};
use super::slot::Slot;

/// The tokens.
#[derive(Debug)]
pub(crate) struct Token {
    path: Option<PathBuf>,
    opened: Option<Opened>,
    objects: HashMap<CK_OBJECT_HANDLE, Object>,
    handles: HashMap<Key, CK_OBJECT_HANDLE>,
    index: HashMap<(CK_ATTRIBUTE_TYPE, Vec<u8>), Vec<CK_OBJECT_HANDLE>>,
    /// Whether there was an identity with such a key: the slot stays then, because programs keep its number.
    has_ed25519: bool,
}

/// What makes an object the same in another state of the store.
type Key = (Slot, Class, Fingerprint);

/// The store, and which state of it is shown.
#[derive(Debug)]
struct Opened {
    store: Arc<Store>,
    inode: (u64, u64),
    generation: Option<i64>,
}

/// By what objects are found without looking at each: the attribute that fewest of them share comes first. Firefox searches seven times
/// for each certificate.
const INDEXED: [CK_ATTRIBUTE_TYPE; 6] = [CKA_SERIAL_NUMBER, CKA_ID, CKA_VALUE, CKA_LABEL, CKA_SUBJECT, CKA_CLASS];

/// The next handle. None is used twice in a process: a program may still have one of an object that is gone.
static NEXT: AtomicU64 = AtomicU64::new(1);

impl Token {
    /// That of the user's store, which is not read yet.
    pub(crate) fn new() -> Self {
        let named = std::env::var_os("CARDCASE_STORE").filter(|path| !path.is_empty()).map(PathBuf::from);
        Self {
            // The program may change its directory
            path: named.or_else(|| Store::default_path().ok()).and_then(|path| std::path::absolute(path).ok()),
            opened: None,
            objects: HashMap::new(),
            handles: HashMap::new(),
            index: HashMap::new(),
            has_ed25519: false,
        }
    }

    /// 16 digits that stay the same while the store stays where it is. Configurations of OpenVPN have it.
    pub(crate) fn serial_number(&self) -> String {
        let path = self.path.as_deref().unwrap_or("".as_ref()).as_os_str().as_encoded_bytes();
        Sha256::digest(path).iter().take(8).map(|byte| format!("{byte:02X}")).collect()
    }

    /// The slots that there are.
    pub(crate) fn slots(&self) -> Vec<Slot> {
        if self.has_ed25519 { vec![Slot::Common, Slot::Ed25519] } else { vec![Slot::Common] }
    }

    pub(crate) fn store(&self) -> Option<&Arc<Store>> {
        self.opened.as_ref().map(|opened| &opened.store)
    }

    pub(crate) fn object(&self, slot: Slot, handle: CK_OBJECT_HANDLE) -> Option<&Object> {
        self.objects.get(&handle).filter(|object| object.shown.slot == slot)
    }

    /// The objects of a slot that have all of these attributes.
    pub(crate) fn find(&self, slot: Slot, template: &[(CK_ATTRIBUTE_TYPE, Vec<u8>)]) -> Vec<CK_OBJECT_HANDLE> {
        let fits = |handle: &CK_OBJECT_HANDLE| {
            self.object(slot, *handle).is_some_and(|object| {
                template.iter().all(|(kind, value)| object.attribute(*kind).is_some_and(|own| *own == **value))
            })
        };
        let best = INDEXED.iter().find_map(|kind| template.iter().find(|(wanted, _)| wanted == kind));
        let mut found: Vec<_> = match best {
            Some(wanted) => self.index.get(wanted).into_iter().flatten().copied().filter(fits).collect(),
            None => self.objects.keys().copied().filter(fits).collect(),
        };
        found.sort_unstable();
        found
    }

    /// Reads the store if that was not done yet.
    pub(crate) fn read(&mut self) {
        if self.opened.is_none() {
            // Without a store, or with one that cannot be read, there is an empty token; a search says more
            let _ = self.refresh();
        }
    }

    /// Reads the store if it has changed.
    ///
    /// # Errors
    /// `CKR_DEVICE_ERROR` when it cannot be read. Then what was read before is still shown.
    pub(crate) fn refresh(&mut self) -> Result<()> {
        fork::apart(|| self.read_changes()).map_err(|_| CKR_DEVICE_ERROR)
    }

    fn read_changes(&mut self) -> std::result::Result<(), Error> {
        let inode = self.path.as_ref().and_then(|path| path.metadata().ok()).map(|file| (file.dev(), file.ino()));
        let (Some(path), Some(inode)) = (&self.path, inode) else {
            self.opened = None;
            self.show(Vec::new());
            return Ok(());
        };
        if self.opened.as_ref().is_none_or(|opened| opened.inode != inode) {
            let store = Arc::new(Store::open_existing(path)?);
            self.opened = Some(Opened { store, inode, generation: None });
        }
        let Some(opened) = &mut self.opened else { return Ok(()) };
        // Before the rest: a change meanwhile is seen the next time
        let generation = opened.store.generation()?;
        if opened.generation != Some(generation) {
            let shown = permitted(&opened.store)?;
            opened.generation = Some(generation);
            self.show(shown);
        }
        Ok(())
    }

    /// Shows these objects, and no others. Those that were shown before keep their handles.
    fn show(&mut self, objects: Vec<Object>) {
        let mut old = std::mem::take(&mut self.handles);
        self.objects.clear();
        self.index.clear();
        for object in objects {
            let key = (object.shown.slot, object.class, object.shown.fingerprint());
            let handle = old.remove(&key).unwrap_or_else(|| NEXT.fetch_add(1, Ordering::Relaxed));
            for kind in INDEXED {
                if let Some(value) = object.attribute(kind) {
                    self.index.entry((kind, value.into_owned())).or_default().push(handle);
                }
            }
            self.has_ed25519 |= object.shown.slot == Slot::Ed25519;
            self.handles.insert(key, handle);
            self.objects.insert(handle, object);
        }
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        fork::apart(|| self.opened = None);
    }
}

/// The identities that programs may use, and the CA certificates in their chains.
fn permitted(store: &Store) -> std::result::Result<Vec<Object>, Error> {
    let (mut shown, mut chains) = (Vec::new(), Vec::new());
    for identity in store.identities()? {
        let is_usable = identity.permission() != Permission::Off && identity.is_usable_by_rustls();
        if is_usable && let Some(identity) = Shown::identity(Arc::new(identity)) {
            shown.push(identity);
        }
    }
    let mut known: HashSet<_> = shown.iter().map(|each| (each.slot, each.fingerprint())).collect();
    for each in &shown {
        for authority in store.chain(each.certificate())? {
            if known.insert((each.slot, authority.certificate.fingerprint())) {
                chains.extend(Shown::authority(authority, each.slot));
            }
        }
    }
    Ok(shown.into_iter().chain(chains).flat_map(Shown::objects).collect())
}
