//! Files below the state directory: whose they are, what keeps them from being used, and the one way they are written.
//!
//! A file appears whole or not at all, durably, never through a symbolic link, and belongs to the account that its directory
//! belongs to, also when root writes it.

mod exposure;
mod owner;

use std::fs::{self, File, Metadata, OpenOptions, Permissions};
use std::io::{self, ErrorKind as IoErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use rustix::fs::{Access, OFlags};
use rustix::io::Errno;

use crate::error::{Error, Result};
pub use exposure::writable_by_all;
pub use owner::{act_as_owner, is_in_owners_hands};
use owner::{name_of, present_account};

/// Writes a small file whole or not at all, and durably; replaces what has the name, a symbolic link included.
///
/// # Errors
/// Config, naming the file.
pub fn write_new(path: &Path, content: &[u8], mode: u32) -> Result<()> {
    let written = part(path, content, mode).and_then(|part| part.persist(path).map_err(|lost| lost.error));
    written.and_then(|_| sync(directory_of(path))).map_err(|cause| not_written(path, &cause))
}

/// Like [`write_new`] for a file that must not be there yet. False: something has the name already and is left as it is.
///
/// # Errors
/// Config, naming the file.
pub fn write_once(path: &Path, content: &[u8], mode: u32) -> Result<bool> {
    let written = part(path, content, mode).and_then(|part| match part.persist_noclobber(path) {
        Ok(_) => Ok(true),
        Err(lost) if lost.error.kind() == IoErrorKind::AlreadyExists => Ok(false),
        Err(lost) => Err(lost.error),
    });
    let made = written.map_err(|cause| not_written(path, &cause))?;
    sync(directory_of(path)).map_err(|cause| not_written(path, &cause))?;
    Ok(made)
}

/// The content beside its place; gone again unless it is renamed.
fn part(path: &Path, content: &[u8], mode: u32) -> io::Result<tempfile::NamedTempFile> {
    let directory = directory_of(path);
    let mut builder = tempfile::Builder::new();
    let mut part = builder.prefix(".part-").permissions(Permissions::from_mode(mode)).tempfile_in(directory)?;
    hand_over(part.as_file(), directory)?;
    part.write_all(content)?;
    part.as_file().sync_all()?;
    Ok(part)
}

/// Makes an empty file (0600) that belongs to the owner of its directory. A name that is taken is an error, also by a symbolic
/// link.
///
/// # Errors
/// What the file system says.
pub fn create(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    hand_over(&file, directory_of(path)).inspect_err(|_| drop(fs::remove_file(path)))?;
    Ok(file)
}

/// Copies a file to a name that is not taken, with the rights of [`create`], durably.
///
/// # Errors
/// What the file system says.
pub fn copy_new(from: &mut File, to: &Path) -> io::Result<()> {
    let mut file = create(to)?;
    io::copy(from, &mut file)?;
    file.sync_all()
}

/// Opens a file for locking; makes it (0600) where there is none. A symbolic link is an error.
///
/// # Errors
/// What the file system says.
pub fn open_lock(path: &Path) -> io::Result<File> {
    let flags = i32::try_from(OFlags::NOFOLLOW.bits()).map_err(io::Error::other)?;
    let mut options = OpenOptions::new();
    let file = options.write(true).create(true).truncate(false).mode(0o600).custom_flags(flags).open(path)?;
    hand_over(&file, directory_of(path))?;
    Ok(file)
}

/// Root's file becomes the one of its directory's owner. Nobody else can give files away.
fn hand_over(file: &File, directory: &Path) -> io::Result<()> {
    if !present_account().is_root() {
        return Ok(());
    }
    let (wanted, present) = (fs::metadata(directory)?, file.metadata()?);
    if (wanted.uid(), wanted.gid()) == (present.uid(), present.gid()) {
        return Ok(());
    }
    std::os::unix::fs::fchown(file, Some(wanted.uid()), Some(wanted.gid()))
}

fn directory_of(path: &Path) -> &Path {
    // An empty parent is the working directory.
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn sync(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

fn not_written(path: &Path, cause: &io::Error) -> Error {
    let why = obstacle(directory_of(path)).unwrap_or_else(|| cause.to_string());
    Error::config(format!("Cannot write {}: {why}", path.display()))
}

/// What keeps this account from reading and writing a file or directory, with its owner and the remedy; none when nothing does
/// or when there is no such file. Opens nothing that SQLite may hold a lock on.
#[must_use]
pub fn obstacle(path: &Path) -> Option<String> {
    let named = path.display();
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(cause) if cause.kind() == IoErrorKind::NotFound => return None,
        Err(cause) => return Some(failing(path, &cause)),
    };
    if found.is_symlink() && !path.is_dir() {
        return Some(format!(
            "{named} is a symbolic link, which is not followed: move the file itself there, or name its directory as \
             store.state_directory."
        ));
    }
    let wanted = Access::READ_OK | Access::WRITE_OK;
    match rustix::fs::access(path, if found.is_file() { wanted } else { wanted | Access::EXEC_OK }) {
        Ok(()) => out_of_descriptors(directory_of(path)),
        Err(Errno::ROFS) => Some(format!(
            "{named} lies on a file system that is mounted read-only: check the disk, then mount it for writing."
        )),
        Err(Errno::ACCESS | Errno::PERM) => Some(closed(path, &found)),
        Err(cause) => Some(failing(path, &cause.into())),
    }
}

/// The text about a file that this account may not use.
fn closed(path: &Path, found: &Metadata) -> String {
    let (named, mode) = (path.display(), found.mode() & 0o7777);
    let (present, owner) = (present_account(), name_of(found.uid()));
    let text = format!("{named} belongs to {owner} (mode {mode:04o}) and is closed to {}", name_of(present.as_raw()));
    let rights = if found.is_dir() { "0700" } else { "0600" };
    match fs::metadata(directory_of(path)) {
        _ if found.uid() == present.as_raw() => format!("{text}: run `chmod {rights} {named}` as root."),
        Ok(directory) if found.is_file() && directory.uid() == present.as_raw() => {
            let rightful = name_of(present.as_raw());
            format!("{text}: run `chown {rightful}: {named}` as root; nothing was set aside or replaced.")
        }
        _ => format!("{text}: run this command as {owner} or as root."),
    }
}

/// Descriptors are used up: everything looks unreadable then.
fn out_of_descriptors(directory: &Path) -> Option<String> {
    let cause = File::open(directory).err()?;
    match Errno::from_io_error(&cause) {
        Some(Errno::MFILE | Errno::NFILE) => Some(format!(
            "{} cannot be used: there are no file descriptors left ({cause}). Raise the limit (LimitNOFILE=, ulimit -n).",
            directory.display()
        )),
        _ => None,
    }
}

fn failing(path: &Path, cause: &io::Error) -> String {
    format!("{} cannot be used ({cause}): check its file system and the kernel's log.", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_written_file_is_whole_and_leaves_nothing_beside_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("kept");
        write_new(&path, b"one", 0o600).unwrap();
        write_new(&path, b"two", 0o600).unwrap();
        assert!(!write_once(&path, b"three", 0o600).unwrap());
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn no_write_goes_through_a_symbolic_link() {
        let directory = tempfile::tempdir().unwrap();
        let (victim, link) = (directory.path().join("victim"), directory.path().join("link"));
        fs::write(&victim, "kept").unwrap();
        let plant = |target: &Path| {
            let _ = fs::remove_file(&link);
            std::os::unix::fs::symlink(target, &link).unwrap();
        };
        for target in [victim.clone(), directory.path().join("not-there")] {
            plant(&target);
            assert!(create(&link).is_err() && open_lock(&link).is_err());
            assert!(!write_once(&link, b"new", 0o600).unwrap());
            assert!(obstacle(&link).unwrap().contains("symbolic link"));
            write_new(&link, b"new", 0o600).unwrap();
            assert!(fs::symlink_metadata(&link).unwrap().is_file(), "the link itself is replaced");
        }
        assert_eq!(fs::read(&victim).unwrap(), b"kept");
        assert!(!directory.path().join("not-there").exists());
    }
}
