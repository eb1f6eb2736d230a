//! What the store does by itself while the unit runs: backups, and letting the daemon know of a fresh database.

use std::sync::Arc;
use std::sync::Weak;
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use crate::error::{ErrorKind, Result};
use crate::store::{BackupPlan, Inner, PoisonError, Store, automatic, damage, spawn};

/// How often it is looked whether something is due.
const TICK: Duration = Duration::from_secs(1);
/// How often figures are taken.
const FIGURES_PERIOD: Duration = Duration::from_secs(10);
/// How long after the start the first backup may be made, and how long after one that failed the next.
const BACKUP_PAUSE: Duration = Duration::from_secs(120);

/// What is to be done by itself.
#[derive(Clone, Copy, Debug)]
pub struct UpkeepPlan {
    pub backup: BackupPlan,
}

/// The running thread.
pub(super) struct Upkeep {
    thread: JoinHandle<()>,
    stop: Sender<()>,
}

impl Upkeep {
    pub(super) fn stop(self) {
        drop(self.stop);
        super::ended(self.thread);
    }
}

impl Store {
    /// Starts the upkeep. `on_fresh` is called when a fresh database has taken the place of a damaged one, so that its
    /// first account can be made if none could be saved.
    ///
    /// # Errors
    /// Internal when no thread can be started.
    pub fn keep_up(&self, plan: UpkeepPlan, on_fresh: impl Fn(&Self) + Send + 'static) -> Result<()> {
        let (stop, stopped) = bounded(0);
        let mut round = Round {
            plan,
            store: Arc::downgrade(&self.0),
            replacements: self.0.condition.replacements(),
            next_figures: Instant::now(),
            next_backup: Instant::now() + BACKUP_PAUSE,
            backup_complained: false,
        };
        let thread = spawn("store-upkeep".into(), move || round.run(&stopped, &on_fresh))?;
        self.0.threads.lock().unwrap_or_else(PoisonError::into_inner).upkeep = Some(Upkeep { thread, stop });
        Ok(())
    }
}

struct Round {
    plan: UpkeepPlan,
    /// Weak: the upkeep does not keep alive what it keeps up.
    store: Weak<Inner>,
    replacements: u64,
    next_figures: Instant,
    next_backup: Instant,
    /// A failure that lasts is logged once.
    backup_complained: bool,
}

impl Round {
    fn run(&mut self, stopped: &Receiver<()>, on_fresh: &dyn Fn(&Store)) {
        while stopped.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
            let Some(store) = self.store.upgrade().map(Store) else { return };
            if store.0.condition.replacements() != self.replacements {
                self.replacements = store.0.condition.replacements();
                on_fresh(&store);
            }
            if Instant::now() >= self.next_figures {
                self.next_figures = Instant::now() + FIGURES_PERIOD;
                figures(&store);
            }
            self.back_up(&store);
        }
    }

    fn back_up(&mut self, store: &Store) {
        let Some(every) = self.plan.backup.every else { return };
        if Instant::now() < self.next_backup || !is_due(store, every) {
            return;
        }
        match store.back_up_automatically(self.plan.backup.bytes_max) {
            Ok(path) => {
                tracing::info!(path = %path.display(), "the database was backed up");
                self.backup_complained = false;
            }
            Err(error) => {
                store.0.metrics.store.backup_failures.inc();
                if !self.backup_complained && error.kind() != ErrorKind::Unavailable {
                    tracing::warn!("no automatic backup: {}", error.chain());
                    self.backup_complained = true;
                }
            }
        }
        self.next_backup = Instant::now() + BACKUP_PAUSE;
    }
}

/// By the age of the newest backup's file, so that restarts do not put it off; a clock that was set back makes it due.
fn is_due(store: &Store, every: Duration) -> bool {
    let newest = store.backups().pop();
    newest.is_none_or(|newest| SystemTime::now().duration_since(newest.made).map_or(true, |age| age >= every))
}

fn figures(store: &Store) {
    let metrics = &store.0.metrics;
    let count = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
    metrics.store.damaged.set(count(damage::damaged(store.path()).len()));
    let backups = automatic::backups(store.path());
    metrics.store.backups.set(count(backups.len()));
    let age = backups.last().and_then(|newest| SystemTime::now().duration_since(newest.made).ok());
    metrics.store.backup_age.set(age.map_or(f64::NAN, |age| age.as_secs_f64()));
}
