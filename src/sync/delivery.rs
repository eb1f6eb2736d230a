//! The delivery: one batch after the other from the outbox into the stream, for as long as the unit runs.
//!
//! Each step may be cut off anywhere, also by a power cut. What keeps events from being lost, doubled or swapped: rows leave
//! the outbox only after the stream was seen to hold them; a batch is taken whole or not at all, and only by a stream that is
//! as it was last seen; and whenever there is doubt, the stream is compared with the outbox before anything is sent.

use std::sync::Arc;

use jiff::SignedDuration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};
use tracing::Instrument;

use crate::clock::Clock;
use crate::error::Error;
use crate::metrics::Metrics;
use crate::store::{OutboxHead, OutboxKeep, OutboxRow, Store};
use crate::sync::resume::{self, Decision, NewestEntry};
use crate::sync::uplink::{CachedReport, Entry, Problem, Published, Top, Trim, Trouble, Uplink, UplinkState};
use crate::sync::{SyncSettings, SyncStatus, backoff, wire};

/// Bodies of one batch.
const BATCH_BYTES_MAX: usize = 1 << 20;
/// Batches in a row that found a changed stream, before somebody else must be writing to it.
const CHANGED_MAX: u32 = 16;
/// How long a cached report lives after the report was made.
const REPORT_SECONDS: i64 = 3_600;
/// A state that is not renewed this many times is gone.
const STATE_BEATS: u32 = 3;

/// All that delivery works with.
pub(super) struct Delivery<U> {
    pub store: Store,
    pub uplink: U,
    pub settings: SyncSettings,
    /// Fields of the state that do not change.
    pub about: Vec<(&'static str, String)>,
    /// Of this run of the program.
    pub process: String,
    pub clock: Arc<dyn Clock>,
    pub metrics: Arc<Metrics>,
    pub status: watch::Sender<SyncStatus>,
    pub stop: watch::Receiver<bool>,
}

/// Where one connection's delivery stands.
struct Session {
    head: OutboxHead,
    next_beat: Instant,
    /// Signs of life given on this connection.
    beats: u32,
    changed: u32,
}

impl<U: Uplink> Delivery<U> {
    /// Until told to stop.
    pub async fn run(mut self) {
        let mut failures = 0;
        loop {
            match self.session(&mut failures).await {
                Ok(()) => break,
                Err(problem) => self.trouble(&problem),
            }
            self.uplink.close();
            failures += 1;
            let wait = backoff::delay(failures, self.settings.backoff_max);
            let stopped = tokio::select! {
                () = sleep(wait) => false,
                _ = self.stop.wait_for(|stop| *stop) => true,
            };
            if stopped {
                break;
            }
        }
        self.uplink.close();
    }

    /// One connection: until it fails, or the unit stops.
    async fn session(&mut self, failures: &mut u32) -> Result<(), Problem> {
        let top = self.uplink.connect().await?;
        let head = self.resume(top).await?;
        let mut stop = self.stop.clone();
        let mut session = Session { head, next_beat: Instant::now(), beats: 0, changed: 0 };
        loop {
            if Instant::now() >= session.next_beat {
                self.beat(&mut session).await?;
                *failures = 0;
                self.connected();
            }
            let (rows_max, after) = (self.settings.batch_events_max, session.head.acked);
            let rows = self.store.outbox_batch(after, rows_max, BATCH_BYTES_MAX).await.map_err(own)?;
            if !rows.is_empty() {
                let (first, last) = (rows.first().map(|row| row.seq), rows.last().map(|row| row.seq));
                let span = tracing::debug_span!("sync_batch", first, last, rows = rows.len());
                self.deliver(&rows, &mut session).instrument(span).await?;
                continue;
            }
            if *self.stop.borrow() {
                return Ok(());
            }
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => {}
                () = sleep_until(session.next_beat) => {}
                () = self.recorded() => {}
            }
        }
    }

    /// Something was recorded, and a little more had the time to be.
    async fn recorded(&self) {
        self.store.recorded().await;
        sleep(self.settings.linger).await;
    }

    async fn deliver(&mut self, rows: &[OutboxRow], session: &mut Session) -> Result<(), Problem> {
        let entries: Vec<_> = rows.iter().map(|row| self.entry(row, &session.head)).collect();
        let trim = self.trim(&session.head).await?;
        match self.uplink.publish(&entries, trim).await? {
            Published::Added => {
                session.changed = 0;
                tracing::debug!("batch published");
                self.metrics.sync.events.inc_by(rows.len() as u64);
                let last = rows.last().map_or(session.head.acked, |row| row.seq);
                self.acknowledge(last).await?;
                session.head.acked = last;
            }
            Published::Changed | Published::Refused => {
                session.changed += 1;
                if session.changed > CHANGED_MAX {
                    let detail = format!("the stream changed {CHANGED_MAX} times between looking and writing");
                    return Err(Problem::new(Trouble::Twin, detail));
                }
                let top = self.uplink.top().await?;
                session.head = self.resume(top).await?;
                // A server that lost the stream lost the state and the list of units too.
                session.next_beat = Instant::now();
            }
        }
        Ok(())
    }

    fn entry(&self, row: &OutboxRow, head: &OutboxHead) -> Entry {
        Entry {
            id: resume::id(&head.epochs, row.seq),
            kind: row.kind.clone(),
            body: row.body.clone(),
            cached: self.cached(row),
        }
    }

    /// A report is also kept under its vehicle, for an hour from when it was made.
    fn cached(&self, row: &OutboxRow) -> Option<CachedReport> {
        if row.kind != "report" {
            return None;
        }
        let age = self.clock.wall().duration_since(row.created).as_secs();
        let seconds = u64::try_from((REPORT_SECONDS - age.max(0)).max(0)).ok().filter(|left| *left > 0)?;
        let (vehicle_id, body) = wire::report_of(&row.body)?;
        Some(CachedReport { vehicle_id, body, seconds })
    }

    async fn trim(&self, head: &OutboxHead) -> Result<Trim, Problem> {
        let before = match self.settings.stream_age_max {
            None => None,
            Some(age) => {
                let oldest = self.clock.wall().checked_sub(age).unwrap_or(jiff::Timestamp::MIN);
                let row = self.store.outbox_before(oldest).await.map_err(own)?.min(head.acked);
                (row > 0).then(|| resume::id(&head.epochs, row + 1))
            }
        };
        Ok(Trim { entries_max: self.settings.stream_events_max, before })
    }

    /// Compares the stream with the outbox and puts the outbox right. What it gives is how the outbox stands then.
    async fn resume(&mut self, top: Option<Top>) -> Result<OutboxHead, Problem> {
        let head = self.store.outbox_head().await.map_err(own)?;
        let found = self.found(&head, top).await?;
        match resume::decide(&head, found) {
            Decision::Continue(_) => {}
            Decision::Acknowledge(row) => {
                tracing::info!(
                    events = row - head.acked,
                    "sync: delivered before the connection or the unit was cut off"
                );
                self.acknowledge(row).await?;
            }
            Decision::Rewind(row) => {
                let (events, lost) = (head.acked - row, matches!(found, NewestEntry::Nothing) && head.oldest > 1);
                tracing::warn!(events, "sync: Redis lost events it had; they are sent again from the kept ones");
                if lost {
                    tracing::warn!(
                        before = head.oldest,
                        "sync: older events are not kept any more and cannot be sent again"
                    );
                }
                self.metrics.sync.rewinds.inc();
                self.store.outbox_rewind(row).await.map_err(own)?;
            }
            Decision::Fork { epoch } => self.fork(&head, epoch).await?,
        }
        self.store.outbox_head().await.map_err(own)
    }

    async fn found(&self, head: &OutboxHead, top: Option<Top>) -> Result<NewestEntry, Problem> {
        let Some(Top { id, body }) = top.filter(|top| top.id > 0) else { return Ok(NewestEntry::Nothing) };
        let seq = resume::seq_of(id);
        if resume::id(&head.epochs, seq) != id {
            return Ok(NewestEntry::Foreign(id));
        }
        let row = self.store.outbox_row(seq).await.map_err(own)?;
        Ok(match (row, body) {
            (Some(row), Some(body)) if row.body == body => NewestEntry::Ours(id),
            (Some(_), Some(_)) => NewestEntry::Foreign(id),
            (None, _) if seq > head.newest => NewestEntry::Foreign(id),
            _ => NewestEntry::Unknown(id),
        })
    }

    /// Finds the last row that the stream has too, and begins the epoch behind it.
    async fn fork(&mut self, head: &OutboxHead, epoch: i64) -> Result<(), Problem> {
        if epoch > resume::EPOCH_MAX {
            let detail = "the stream's numbers are used up; delete the stream, or give the unit a new unit.id";
            return Err(Problem::new(Trouble::Refused, detail));
        }
        let (mut low, mut high) = (head.oldest - 1, head.newest);
        while low < high {
            let middle = low + (high - low + 1) / 2;
            if self.shared(head, middle).await? { low = middle } else { high = middle - 1 }
        }
        tracing::warn!(
            epoch,
            behind = low,
            "sync: the stream went on without this database (restored from a backup?); going on with new numbers"
        );
        self.metrics.sync.forks.inc();
        self.store.outbox_fork(low + 1, epoch).await.map_err(own)
    }

    /// Whether the stream has the row as we have it. What neither has any more is shared as far as it was acknowledged.
    async fn shared(&mut self, head: &OutboxHead, seq: i64) -> Result<bool, Problem> {
        let ours = self.store.outbox_row(seq).await.map_err(own)?;
        let theirs = self.uplink.body(resume::id(&head.epochs, seq)).await?;
        Ok(match (ours, theirs) {
            (Some(ours), Some(theirs)) => ours.body == theirs,
            _ => seq <= head.acked,
        })
    }

    async fn acknowledge(&self, row: i64) -> Result<(), Problem> {
        let age = SignedDuration::try_from(self.settings.resend_age_max).unwrap_or(SignedDuration::MAX);
        let since = self.clock.wall().checked_sub(age).unwrap_or(jiff::Timestamp::MIN);
        let rows_max = i64::try_from(self.settings.resend_events_max).unwrap_or(i64::MAX);
        self.store.outbox_ack(row, OutboxKeep { rows_max, since }).await.map_err(own)
    }

    /// Gives a sign of life, and looks whether the stream is as it should be.
    async fn beat(&mut self, session: &mut Session) -> Result<(), Problem> {
        let head = &session.head;
        let mut fields = self.about.clone();
        fields.push(("heartbeat", self.clock.wall().to_string()));
        fields.push(("delivered_id", format!("{}-0", resume::id(&head.epochs, head.acked))));
        fields.push(("epoch", head.epochs.last().map_or(0, |epoch| epoch.number).to_string()));
        let stored = self.store.outbox_head().await.map_err(own)?;
        fields.push(("waiting", stored.waiting().to_string()));
        let seconds = (self.settings.health_interval * STATE_BEATS).as_secs().max(1);
        let state = UplinkState { fields, seconds, process: self.process.clone() };
        let pulse = self.uplink.beat(&state).await?;
        if session.beats > 0 && pulse.last_process.is_some_and(|process| process != self.process) {
            return Err(Problem::new(Trouble::Twin, "somebody else gave a sign of life between two of ours"));
        }
        let expected = if head.acked == 0 { 0 } else { resume::id(&head.epochs, head.acked) };
        let seen = pulse.top.as_ref().map_or(0, |top| top.id);
        // Right after a fork, or when nothing could be sent again, the stream is not at our last row, and rightly so.
        let lost = session.beats > 0 && seen < expected;
        // A damaged database was set aside meanwhile, and a fresh one taken: nothing of it is known to be delivered.
        let replaced = stored.acked < head.acked;
        if lost || replaced {
            let top = self.uplink.top().await?;
            session.head = self.resume(top).await?;
        }
        session.beats += 1;
        session.next_beat = Instant::now() + self.settings.health_interval;
        Ok(())
    }

    fn connected(&self) {
        if *self.status.borrow() == SyncStatus::Connected {
            return;
        }
        // The figures first: who sees the status finds them right.
        self.metrics.sync.set_state("connected");
        self.status.send_replace(SyncStatus::Connected);
        tracing::info!("sync: connected to Redis");
    }

    /// Logs the first of many equal troubles.
    fn trouble(&self, problem: &Problem) {
        let now = SyncStatus::Trouble(problem.trouble);
        self.metrics.sync.failures.with_label_values(&[problem.trouble.name()]).inc();
        self.metrics.sync.set_state(problem.trouble.name());
        let before = self.status.send_replace(now);
        if before == now {
            tracing::debug!("sync: still {problem}");
        } else {
            tracing::warn!("sync: {problem}; events wait in the store");
        }
    }
}

/// A failure of our own store; what it says is for the log.
fn own(error: Error) -> Problem {
    Problem::new(Trouble::Store, error.chain())
}
