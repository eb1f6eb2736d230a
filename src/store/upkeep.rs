//! What the store does by itself while the unit runs: retention, re-stamping once the clock is right, backups, figures, and
//! letting the daemon know of a fresh database.

use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use crate::clock::{Clock, Stamp};
use crate::error::{ErrorKind, Result};
use crate::store::columns::monotonic_us;
use crate::store::retention::{self, RecordKind, Retention};
use crate::store::wear::Wear;
use crate::store::{BackupPlan, Inner, PoisonError, Store, automatic, damage, restamp, spawn};

/// How often it is looked whether something is due.
const TICK: Duration = Duration::from_secs(1);
/// How often figures are taken.
const FIGURES_PERIOD: Duration = Duration::from_secs(10);
/// How long after the start the first backup may be made, and how long after one that failed the next.
const BACKUP_PAUSE: Duration = Duration::from_secs(120);

/// How often it is looked whether rows are to go.
const RETENTION_PERIOD: Duration = Duration::from_secs(60);
/// Steps of one kind in one go, so that a lowered limit does not keep the writer busy for long.
const RETENTION_STEPS_MAX: usize = 40;
/// How long the clock must have been right, without a jump, before anything is too old by it.
const CLOCK_SETTLED: Duration = Duration::from_secs(600);
/// Passages wait for at most a minute (`traffic.passage_delay_ms`), stretches of watching for less.
const RECORDED_LATE_MAX: Duration = Duration::from_secs(120);
/// A larger difference between wall clock and monotonic clock within a tick is a jump.
const CLOCK_JUMP_US: i64 = 5_000_000;

/// What is to be done by itself.
#[derive(Clone, Copy, Debug)]
pub struct UpkeepPlan {
    pub backup: BackupPlan,
    pub retention: Retention,
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
    pub fn keep_up(
        &self,
        plan: UpkeepPlan,
        clock: Arc<dyn Clock>,
        on_fresh: impl Fn(&Self) + Send + 'static,
    ) -> Result<()> {
        let (stop, stopped) = bounded(0);
        let mut round = Round {
            plan,
            store: Arc::downgrade(&self.0),
            clock,
            trusted: Trusted::default(),
            restamped: false,
            next_retention: Instant::now() + RETENTION_PERIOD,
            wear: Wear::new(),
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

/// Since when the clock has been right without a jump.
#[derive(Default)]
struct Trusted {
    offset_us: i64,
    since: Option<Duration>,
}

impl Trusted {
    /// For how long, as of this moment; none while the clock is not synchronised.
    fn at(&mut self, now: &Stamp) -> Option<Duration> {
        let offset_us = now.at.as_microsecond().saturating_sub(monotonic_us(now));
        let jumped = self.offset_us.abs_diff(offset_us) > CLOCK_JUMP_US.unsigned_abs();
        self.offset_us = offset_us;
        self.since = match self.since {
            _ if !now.synced => None,
            Some(since) if !jumped => Some(since),
            _ => Some(now.monotonic),
        };
        self.since.map(|since| now.monotonic.saturating_sub(since))
    }
}

impl Store {
    /// Re-stamps what was recorded in the boot of `now` before the clock was right; how many records. Blocks.
    fn restamp(&self, now: &Stamp) -> Result<u64> {
        let mut rows = 0;
        loop {
            let stamp = now.clone();
            let moved = self.write(move |connection| restamp::step(connection, &stamp)).wait()?;
            rows += moved;
            if moved == 0 {
                break;
            }
        }
        if rows > 0 {
            let stamp = now.clone();
            self.write(move |connection| restamp::note(connection, &stamp, rows)).wait()?;
        }
        Ok(rows)
    }

    /// Removes what is to go, step by step between other writes; `settled` says whether the clock may be believed. Blocks.
    fn apply_retention(&self, retention: &Retention, settled: bool, now: &Stamp) {
        let metrics = &self.0.metrics.store;
        for kind in RecordKind::ALL {
            let keep = kind.keep(retention);
            for _ in 0..RETENTION_STEPS_MAX {
                let at = now.clone();
                let step =
                    self.write(move |connection| retention::step(connection, kind, keep, settled.then_some(&at), &at));
                let step = match step.wait() {
                    Ok(step) => step,
                    Err(error) => {
                        tracing::debug!(table = kind.table(), "retention: {}", error.chain());
                        break;
                    }
                };
                metrics.rows_deleted.with_label_values(&[kind.table()]).inc_by(step.deleted);
                metrics.undelivered_deleted.inc_by(step.undelivered);
                metrics
                    .kind_bytes
                    .with_label_values(&[kind.table()])
                    .set(i64::try_from(step.bytes).unwrap_or(i64::MAX));
                if step.undelivered > 0 {
                    tracing::warn!(
                        rows = step.undelivered,
                        "the outbox is full: events went that the central site never got"
                    );
                }
                if !step.more {
                    break;
                }
            }
        }
    }
}

struct Round {
    plan: UpkeepPlan,
    clock: Arc<dyn Clock>,
    trusted: Trusted,
    /// Nothing of this boot waits for the clock any more.
    restamped: bool,
    next_retention: Instant,
    wear: Wear,
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
            let now = self.clock.now();
            let trusted_for = self.trusted.at(&now);
            // The second look: a clock that has just been set may be set once more.
            match trusted_for.filter(|trusted_for| !trusted_for.is_zero()) {
                Some(trusted_for) => self.restamp(&store, &now, trusted_for),
                None => self.restamped = false,
            }
            if Instant::now() >= self.next_retention {
                self.next_retention = Instant::now() + RETENTION_PERIOD;
                let settled = trusted_for.is_some_and(|trusted_for| trusted_for >= CLOCK_SETTLED);
                store.apply_retention(&self.plan.retention, settled, &now);
            }
            self.wear.note_now_and_then(&store, &now);
            if Instant::now() >= self.next_figures {
                self.next_figures = Instant::now() + FIGURES_PERIOD;
                figures(&store);
                self.wear.figures(&store, &now);
            }
            self.back_up(&store);
        }
        if let Some(store) = self.store.upgrade().map(Store) {
            self.wear.note(&store, &self.clock.now());
        }
    }

    fn restamp(&mut self, store: &Store, now: &Stamp, trusted_for: Duration) {
        if self.restamped {
            return;
        }
        let rows = store.restamp(now);
        // What was seen before the clock was right may be recorded a while after.
        self.restamped = rows.is_ok() && trusted_for >= RECORDED_LATE_MAX;
        match rows {
            Ok(0) => {}
            Ok(rows) => {
                store.0.metrics.store.restamped.inc_by(rows);
                tracing::info!(rows, "the clock is right: records of this boot got their right times");
            }
            Err(error) => tracing::warn!("records cannot be re-stamped: {}", error.chain()),
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
