//! The key that signs tokens: configured, or made once and kept in the state directory for its owner's eyes only.

use std::fmt;
use std::fs::File;
use std::io::{ErrorKind as IoErrorKind, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rand::TryRng;
use rand::rngs::SysRng;

use crate::config::Secret;
use crate::error::{Error, Result};
use crate::files::{obstacle, write_once};

/// Length of a generated key, and the least of a configured one: as long as the hash (RFC 7518, 3.2).
pub const KEY_BYTES: usize = 32;

/// A signing key. Nothing prints it.
#[derive(Clone)]
pub struct Key(Vec<u8>);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(***)")
    }
}

impl Key {
    /// The key from `auth.secret_key`: its UTF-8 bytes.
    ///
    /// # Errors
    /// Config, when it is shorter than [`KEY_BYTES`].
    pub fn from_secret(secret: &Secret) -> Result<Self> {
        let bytes = secret.reveal().as_bytes();
        if bytes.len() < KEY_BYTES {
            return Err(Error::config(format!(
                "auth.secret_key has {} bytes and needs at least {KEY_BYTES}; leave it empty for a generated one.",
                bytes.len()
            )));
        }
        Ok(Self(bytes.to_vec()))
    }

    /// For the signer only.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// The key kept at `path`, made of 32 random bytes (mode 0600) when there is none. A key is there either whole or not at
/// all, also after a power cut, and of two processes that start together both get the same one. Blocks on the disk.
///
/// # Errors
/// Config: others may read the file, it has a wrong length, or it cannot be made. Internal: it cannot be read.
pub fn load_or_create(path: &Path) -> Result<Key> {
    match File::open(path) {
        Ok(file) => load(path, file),
        Err(error) if error.kind() == IoErrorKind::NotFound => create(path),
        Err(error) => Err(unreadable(path, error)),
    }
}

fn load(path: &Path, file: File) -> Result<Key> {
    let mode = file.metadata().map_err(|error| unreadable(path, error))?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(Error::config(format!(
            "The key file {0} is open to other users (mode {mode:04o}), who could sign tokens of their own. Run: chmod 600 {0} \
             (or delete it, to make a new key and void all tokens).",
            path.display()
        )));
    }
    let mut bytes = Vec::with_capacity(KEY_BYTES + 1);
    file.take(KEY_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(|error| unreadable(path, error))?;
    if bytes.len() != KEY_BYTES {
        return Err(Error::config(format!(
            "The key file {} does not hold {KEY_BYTES} bytes. Restore it, or delete it to make a new key and void all tokens.",
            path.display()
        )));
    }
    Ok(Key(bytes))
}

fn create(path: &Path) -> Result<Key> {
    let mut key = [0; KEY_BYTES];
    let no_chance = |error| Error::internal("The system gives no random bytes for a key.").because(error);
    SysRng.try_fill_bytes(&mut key).map_err(no_chance)?;
    // Another process was faster: its key is the key.
    if !write_once(path, &key, 0o600)? {
        return File::open(path).map_err(|error| unreadable(path, error)).and_then(|file| load(path, file));
    }
    Ok(Key(key.to_vec()))
}

fn unreadable(path: &Path, error: std::io::Error) -> Error {
    let text = obstacle(path).unwrap_or_else(|| format!("The key file {} cannot be read.", path.display()));
    Error::internal(text).because(error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use std::fs::{self, Permissions};

    #[test]
    fn a_key_is_made_once_for_its_owner_only() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token.key");
        let made = load_or_create(&path).unwrap();
        assert_eq!(made.bytes().len(), KEY_BYTES);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(load_or_create(&path).unwrap().bytes(), made.bytes());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "no temporary file stays");
        assert_eq!(format!("{made:?}"), "Key(***)");

        let other = load_or_create(&directory.path().join("other.key")).unwrap();
        assert_ne!(other.bytes(), made.bytes());
    }

    #[test]
    fn processes_that_start_together_share_one_key() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token.key");
        let keys: Vec<_> = std::thread::scope(|scope| {
            let starts: Vec<_> = (0..8).map(|_| scope.spawn(|| load_or_create(&path).unwrap())).collect();
            starts.into_iter().map(|start| start.join().unwrap()).collect()
        });
        assert!(keys.iter().all(|key| key.bytes() == keys[0].bytes()));
    }

    #[test]
    fn a_key_that_others_may_read_is_refused_with_the_remedy() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token.key");
        load_or_create(&path).unwrap();
        for mode in [0o640, 0o604, 0o620, 0o666] {
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            let error = load_or_create(&path).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(error.message().contains("chmod 600"), "{error}");
        }
    }

    #[test]
    fn a_key_of_a_wrong_length_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        for length in [0, 31, 33, 4_096] {
            let path = directory.path().join(format!("{length}.key"));
            fs::write(&path, vec![1; length]).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
            assert_eq!(load_or_create(&path).unwrap_err().kind(), ErrorKind::Config, "{length} bytes");
        }
    }

    #[test]
    fn a_missing_directory_is_an_error_and_not_made() {
        let directory = tempfile::tempdir().unwrap();
        let error = load_or_create(&directory.path().join("absent/token.key")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.chain().contains("token.key"), "{}", error.chain());
    }

    #[test]
    fn a_configured_key_is_as_long_as_the_hash() {
        let secret = |length| serde_json::from_value(serde_json::Value::String("k".repeat(length))).unwrap();
        assert_eq!(Key::from_secret(&secret(31)).unwrap_err().kind(), ErrorKind::Config);
        assert_eq!(Key::from_secret(&secret(32)).unwrap().bytes(), [b'k'; 32]);
    }
}
