//! The store's health, and the damaged databases that were set aside.

use std::path::Path;

use crate::error::Result;
use crate::store::{Pending, Store, damage, database};

/// Whether the store can do its work.
#[derive(Clone, Copy, Debug)]
pub struct StoreHealth {
    /// It answers reads, its writer runs, and the last write did not fail for want of disk.
    pub ok: bool,
    /// Database and log on disk.
    pub bytes: u64,
    /// Damaged databases that were set aside and that nobody has acknowledged yet.
    pub damaged: usize,
    /// Records kept in memory until the disk takes them.
    pub held: u64,
}

impl Store {
    /// Asks a reader; cheap enough for every health check.
    pub fn health(&self) -> Pending<StoreHealth> {
        let store = self.clone();
        self.read(move |connection| {
            connection.prepare_cached("SELECT id FROM audit_head")?.query_row([], |_| Ok(()))?;
            let ok = store.progress().alive && !store.0.heartbeat.failing();
            Ok(StoreHealth {
                ok,
                bytes: database::size(store.path()).total(),
                damaged: damage::damaged(store.path()).len(),
                held: store.0.heartbeat.held(),
            })
        })
    }

    /// Names of damaged files that were set aside and that nobody has acknowledged yet, oldest first.
    #[must_use]
    pub fn damaged_files(&self) -> Vec<String> {
        damage::damaged(self.path())
    }
}

/// Damaged files of a state directory that were set aside and not acknowledged, oldest first.
#[must_use]
pub fn damaged_files(directory: &Path) -> Vec<String> {
    damage::damaged(&directory.join(database::FILE_NAME))
}

/// Renames damaged files from `….damaged-…` to `….kept-…`, so that they are no longer complained of; how many.
///
/// # Errors
/// Internal when the file system refuses.
pub fn acknowledge_damage(directory: &Path) -> Result<usize> {
    damage::acknowledge(&directory.join(database::FILE_NAME))
}
