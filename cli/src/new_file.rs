//! Files that a command writes: complete or not at all, and never over an existing file without `--force`.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, IsTerminal, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, linkat, open};

use crate::ui::failure::{Code, Failure};

/// How often to try when another process writes the same file.
const TRIES: usize = 8;

/// [`check`] for a binary file, which a terminal must not show.
pub(crate) fn check_binary(path: &Path, force: bool) -> Result<(), Failure> {
    if path == Path::new("-") && io::stdout().is_terminal() {
        return Err(Failure::usage("stdout is a terminal, and the file is binary: name a file instead of '-'"));
    }
    check(path, force)
}

/// Checks whether the file can be written, as far as that is known before there is any content. '-' is stdout.
pub(crate) fn check(path: &Path, force: bool) -> Result<(), Failure> {
    if path == Path::new("-") {
        return Ok(());
    }
    match path.symlink_metadata() {
        Ok(found) if !found.is_file() => {
            Err(Failure::new(Code::Failed, "it exists and is not a regular file").in_file(path))
        }
        Ok(_) if !force => Err(exists(path)),
        _ => Ok(()),
    }
}

/// Refuses to write over the store, under any of its names.
pub(crate) fn check_is_not_store(path: &Path, store: &Path) -> Result<(), Failure> {
    let place = |path: &Path| path.metadata().map(|found| (found.dev(), found.ino())).ok();
    match place(path).is_some_and(|found| Some(found) == place(store)) {
        true => Err(Failure::new(Code::Failed, "it is the store").in_file(path).hint("name another file")),
        false => Ok(()),
    }
}

/// Fails if both the file and JSON would go to stdout.
pub(crate) fn check_stdout_is_free(path: &Path, json: bool) -> Result<(), Failure> {
    match path == Path::new("-") && json {
        true => Err(Failure::usage("stdout cannot take both the file and JSON: name a file instead of '-'")),
        false => Ok(()),
    }
}

/// Writes a file that only its owner can read, from the first byte on; '-' is stdout.
pub(crate) fn write(path: &Path, content: &[u8], force: bool) -> Result<(), Failure> {
    if path == Path::new("-") {
        return io::stdout().lock().write_all(content).map_err(|error| Failure::io(Path::new("stdout"), &error));
    }
    let mut draft = OsString::from(".");
    draft.push(path.file_name().unwrap_or_default());
    draft.push(".cardcase-new");
    match put(path, &path.with_file_name(draft), content, force) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Err(exists(path)),
        Err(error) => Err(Failure::io(path, &error)),
        Ok(()) => {
            sync_directory_of(path);
            Ok(())
        }
    }
}

/// Creates a file that only its owner can read, or replaces the one at `path`.
///
/// The file has no name until it is complete, so a process that is killed leaves nothing. It has the name `draft` for a moment if it
/// replaces another file, or if the file system does not support files without a name. The next call removes a draft that was left.
///
/// # Errors
/// `AlreadyExists` when the file exists and `replace` is false.
pub(crate) fn put(path: &Path, draft: &Path, content: &[u8], replace: bool) -> io::Result<()> {
    for _ in 1..TRIES {
        match put_once(path, draft, content, replace) {
            // Another process has removed the draft, or made one
            Err(error) if error.kind() == ErrorKind::NotFound && has_directory(path) => {}
            Err(error) if error.kind() == ErrorKind::AlreadyExists && replace => {}
            put => return put,
        }
    }
    put_once(path, draft, content, replace)
}

fn put_once(path: &Path, draft: &Path, content: &[u8], replace: bool) -> io::Result<()> {
    remove(draft)?;
    let Some(mut file) = without_name(path)? else {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(draft)?;
        let written = file.write_all(content).and_then(|()| file.sync_all());
        return written.and_then(|()| publish(draft, path, replace)).inspect_err(|_| drop(remove(draft)));
    };
    file.write_all(content)?;
    file.sync_all()?;
    match name(&file, path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists && replace => {
            name(&file, draft)?;
            publish(draft, path, replace).inspect_err(|_| drop(remove(draft)))
        }
        named => named,
    }
}

/// A new file without a name in the directory of this path; `None` if the file system does not support such files.
fn without_name(path: &Path) -> io::Result<Option<File>> {
    use rustix::io::Errno;
    let flags = OFlags::WRONLY | OFlags::TMPFILE | OFlags::CLOEXEC;
    match open(directory_of(path), flags, Mode::RUSR | Mode::WUSR) {
        Ok(file) => Ok(Some(file.into())),
        // File systems and kernels that do not support O_TMPFILE return one of these, or that the file does not exist
        Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL | Errno::NOSYS) => Ok(None),
        Err(Errno::NOENT) if has_directory(path) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Gives a name to a file without one.
fn name(file: &File, path: &Path) -> io::Result<()> {
    let own = format!("/proc/self/fd/{}", file.as_raw_fd());
    linkat(CWD, own, CWD, path, AtFlags::SYMLINK_FOLLOW).map_err(io::Error::from)
}

fn publish(draft: &Path, path: &Path, replace: bool) -> io::Result<()> {
    if !replace {
        return fs::hard_link(draft, path).and_then(|()| fs::remove_file(draft));
    }
    // The old file is overwritten when it has no name any more: there is a complete file at any time
    let old = open_to_overwrite(path)?;
    fs::rename(draft, path)?;
    // Until the name is on the disk, a power failure brings the old file back, which must then be whole
    sync_directory_of(path);
    old.map_or(Ok(()), |old| overwrite(&old, 0))
}

/// Overwrites a file and removes it. Returns whether there was one.
pub(crate) fn remove(path: &Path) -> io::Result<bool> {
    if let Some(file) = open_to_overwrite(path)? {
        overwrite(&file, 1)?;
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        removed => removed.map(|()| true),
    }
}

/// Opens a file in order to overwrite it; `None` if there is none, or if it cannot be written to.
fn open_to_overwrite(path: &Path) -> io::Result<Option<File>> {
    match path.symlink_metadata() {
        Ok(found) if found.is_file() => {}
        _ => return Ok(None),
    }
    let no_follow = OFlags::NOFOLLOW.bits().cast_signed();
    match OpenOptions::new().write(true).custom_flags(no_follow).open(path) {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::PermissionDenied) => Ok(None),
        opened => opened.map(Some),
    }
}

/// Overwrites a file, so that its content is no longer on the disk. A file with more names (hard links) than these is left as it is.
fn overwrite(mut file: &File, names: u64) -> io::Result<()> {
    let found = file.metadata()?;
    if found.nlink() > names {
        return Ok(());
    }
    io::copy(&mut io::repeat(0).take(found.len()), &mut file)?;
    file.sync_data()
}

fn directory_of(path: &Path) -> PathBuf {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_owned()
}

/// Writes the name of a file to the disk. Not every file system can do that, and the content is on the disk already.
fn sync_directory_of(path: &Path) {
    let _ = File::open(directory_of(path)).and_then(|directory| directory.sync_all());
}

fn has_directory(path: &Path) -> bool {
    directory_of(path).is_dir()
}

fn exists(path: &Path) -> Failure {
    Failure::new(Code::Failed, "it already exists").in_file(path).hint("overwrite it with --force, or use another name")
}
