//! The file of the store: whether it is there, whose it is, whether it can be read and written, and whether it is whole.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use cardcase::{Error, Store};
use rustix::fs::{Access, access};

use super::finding::{Findings, Kind};
use crate::app::App;
use crate::ui::remedy;
use crate::ui::text::{absolute, quoted};

/// Opens the store as far as that is possible, without a change to it.
pub(super) fn examine(app: &App, findings: &mut Findings) -> Option<Store> {
    let path = match app.store_path() {
        Ok(path) => absolute(path),
        Err(error) => {
            findings.add(Kind::NoDataDirectory, error, "cardcase --store FILE doctor");
            return None;
        }
    };
    examine_permissions(&path, findings);
    match Store::examine(&path) {
        Ok(store) => {
            examine_whole(&store, findings);
            Some(store)
        }
        Err(Error::NoStore { .. }) => {
            let (kind, text) = match app.names_store() {
                true => (Kind::StoreNotFound, format!("there is no store {}", path.display())),
                false => (Kind::NoStore, format!("there is no store yet: {} does not exist", path.display())),
            };
            findings.add(kind, text, "cardcase import FILE.p12");
            None
        }
        Err(error) => {
            cannot_open(&path, &error, findings);
            None
        }
    }
}

/// The findings about single rows, once they were read.
pub(super) fn examine_rows(store: &Store, findings: &mut Findings) {
    for damage in store.damage() {
        findings.add(Kind::RowDamaged, &damage, remedy::repair(&damage));
    }
}

/// What an error of reading the store means: every part of it may be damaged, and the others are still examined.
pub(super) fn unreadable(store: &Store, error: &Error, findings: &mut Findings) {
    cannot_open(store.path(), error, findings);
}

fn cannot_open(path: &Path, error: &Error, findings: &mut Findings) {
    let at = quoted(path);
    let restore = "restore the file from a backup, or use another store: cardcase --store FILE";
    match error {
        Error::NotYours { path, .. } => findings.add(Kind::StoreRefused, error, format!("ls -l {}", quoted(path))),
        Error::SharedDirectory { directory, .. } => {
            findings.add(Kind::SharedDirectory, error, format!("chmod go-w {}", quoted(directory)));
        }
        Error::NotAStore { .. } => findings.add(Kind::NotAStore, error, format!("file {at}")),
        Error::NewerStore { .. } => findings.add(Kind::NewerStore, error, "cargo install cardcase-cli"),
        Error::StoreBusy { .. } => findings.add(Kind::StoreLocked, error, format!("fuser -v {at}")),
        Error::StoreReadOnly { .. } if path.metadata().is_ok_and(|found| found.len() == 0) => {
            let text = format!("the store {at} is an empty file; the next command makes a store of it");
            findings.add(Kind::NotAStore, text, "cardcase import FILE.p12");
        }
        Error::StoreReadOnly { .. } => {
            let text =
                format!("a process died while it wrote to the store {at}; the next command undoes what it wrote");
            findings.add(Kind::InterruptedWrite, text, "cardcase list");
        }
        Error::StoreDamaged { .. } | Error::VaultDamaged { .. } => findings.add(Kind::StoreDamaged, error, restore),
        Error::RowDamaged(damage) => findings.add(Kind::RowDamaged, damage, remedy::repair(damage)),
        _ => findings.add(Kind::StoreUnusable, error, format!("ls -ld {at} {}", quoted(directory_of(path)))),
    }
}

fn examine_permissions(path: &Path, findings: &mut Findings) {
    // What is missing is found when the store is opened
    let Ok(found) = path.symlink_metadata() else { return };
    if !found.is_file() {
        return;
    }
    let at = quoted(path);
    let mode = found.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        let text =
            format!("other users may use the store {at}: its mode is {mode:03o}; the next command corrects that");
        findings.add(Kind::OpenToOthers, text, format!("chmod 600 {at}"));
    }
    let directory = directory_of(path);
    for (place, needed) in [(path, Access::WRITE_OK), (directory, Access::WRITE_OK | Access::EXEC_OK)] {
        if access(place, needed).is_err() {
            let text = format!("the store cannot be changed: {} is read-only for you", place.display());
            findings.add(Kind::ReadOnly, text, format!("chmod u+w {}", quoted(place)));
        }
    }
}

fn directory_of(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("/"))
}

fn examine_whole(store: &Store, findings: &mut Findings) {
    if let Some(kind) = store.network_file_system() {
        let text = format!("the store is on {kind}, where two commands at the same time can damage it");
        findings.add(Kind::NetworkFileSystem, text, "keep it on a local disk: cardcase --store FILE");
    }
    match store.check_file() {
        Ok(faults) => {
            for fault in faults {
                let text = format!("the store is damaged: {fault}");
                findings.add(
                    Kind::StoreDamaged,
                    text,
                    "restore the file from a backup, or use another store: --store FILE",
                );
            }
        }
        Err(error) => unreadable(store, &error, findings),
    }
}
