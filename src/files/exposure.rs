//! Files that every account of the machine may change.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// S_IWOTH.
const WRITABLE_BY_ALL: u32 = 0o002;

/// Those of the paths, and of the files right in those that are directories, that every account may write to.
#[must_use]
pub fn writable_by_all(paths: &[PathBuf]) -> Vec<PathBuf> {
    let entries = |path: &PathBuf| fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path());
    let all = paths.iter().flat_map(|path| std::iter::once(path.clone()).chain(entries(path)));
    all.filter(|path| is_writable_by_all(path)).collect()
}

/// The mode of a symbolic link says nothing.
fn is_writable_by_all(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|found| !found.is_symlink() && found.mode() & WRITABLE_BY_ALL != 0)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn what_everybody_may_write_to_is_found() {
        let directory = tempfile::tempdir().unwrap();
        let (open, closed) = (directory.path().join("open"), directory.path().join("closed"));
        fs::write(&open, "").unwrap();
        fs::write(&closed, "").unwrap();
        std::os::unix::fs::symlink(&closed, directory.path().join("link")).unwrap();
        fs::set_permissions(&open, fs::Permissions::from_mode(0o666)).unwrap();
        fs::set_permissions(&closed, fs::Permissions::from_mode(0o664)).unwrap();
        let paths = [directory.path().to_owned(), "/nowhere".into()];
        assert_eq!(writable_by_all(&paths), [open]);
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o1777)).unwrap();
        assert_eq!(writable_by_all(&paths)[0], directory.path());
    }
}
