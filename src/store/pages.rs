//! Tables that are read while they are shown, page by page: a reader who stops in the middle, such as a pager, keeps no writer out.

use std::vec;

use rusqlite::Connection;

use super::handle::Store;
use crate::error::{Damage, Error};

/// Rows of a page. Beginning a transaction costs as much as reading a few of them.
pub(super) const PAGE: u32 = 256;

impl Store {
    /// Rows, page by page. `next` reads the next page in a transaction of its own and adds damaged rows to the list it is given; it
    /// returns `None` after the last page.
    pub(super) fn pages<'s, T: 's>(
        &'s self,
        mut next: impl FnMut(&Connection, &mut Vec<Damage>) -> rusqlite::Result<Option<Vec<T>>> + 's,
    ) -> impl Iterator<Item = Result<T, Error>> + 's {
        let mut has_ended = false;
        let mut page = Vec::new().into_iter();
        std::iter::from_fn(move || {
            loop {
                if let Some(row) = page.next() {
                    return Some(Ok(row));
                }
                if has_ended {
                    return None;
                }
                let read = self.reading(|db, damaged| next(db, damaged));
                match read {
                    Ok((Some(rows), _)) => page = rows.into_iter(),
                    Ok((None, _)) => has_ended = true,
                    Err(error) => {
                        has_ended = true;
                        return Some(Err(error));
                    }
                }
            }
        })
    }
}

/// Reads the rows with these numbers or fingerprints. Damaged ones are added to the list.
pub(super) type ReadRows<K, T> = fn(&Connection, &[K], &mut Vec<Damage>) -> rusqlite::Result<Vec<T>>;

/// The rows of a table with some numbers or fingerprints, page by page. Those that are passed over are not read.
pub(super) struct Pages<'s, K, T> {
    store: &'s Store,
    ids: vec::IntoIter<K>,
    page: vec::IntoIter<T>,
    read: ReadRows<K, T>,
}

impl<'s, K, T> Pages<'s, K, T> {
    pub(super) fn new(store: &'s Store, ids: Vec<K>, read: ReadRows<K, T>) -> Self {
        Self { store, ids: ids.into_iter(), page: Vec::new().into_iter(), read }
    }
}

impl<K, T> Iterator for Pages<'_, K, T> {
    type Item = Result<T, Error>;

    fn next(&mut self) -> Option<Result<T, Error>> {
        loop {
            if let Some(row) = self.page.next() {
                return Some(Ok(row));
            }
            let ids: Vec<K> = self.ids.by_ref().take(PAGE as usize).collect();
            if ids.is_empty() {
                return None;
            }
            let read = self.store.reading(|db, damaged| (self.read)(db, &ids, damaged));
            match read {
                Ok((rows, _)) => self.page = rows.into_iter(),
                Err(error) => {
                    self.ids = Vec::new().into_iter();
                    return Some(Err(error));
                }
            }
        }
    }

    fn nth(&mut self, n: usize) -> Option<Result<T, Error>> {
        let passed = n.min(self.page.len());
        self.page.by_ref().take(passed).for_each(drop);
        self.ids.by_ref().take(n - passed).for_each(drop);
        self.next()
    }
}
