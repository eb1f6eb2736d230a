//! Delivery over a stream in memory that fails in every way a network can, on a real store.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;
use tempfile::TempDir;

use crate::clock::{Clock, SystemClock};
use crate::metrics::Metrics;
use crate::record::{AuditEvent, Classification, CoverageSpan, Gap, Origin, Outcome, PictureFacts};
use crate::store::{Store, StoreSettings};
use crate::sync::uplink::{Entry, Problem, Published, Pulse, Top, Trim, Trouble, Uplink, UplinkState};
use crate::sync::{Sync, SyncParts, SyncSettings, SyncStatus, encoder, resume};

const PATIENCE: Duration = Duration::from_secs(180);

#[derive(Clone, Default)]
struct Stream {
    entries: BTreeMap<u64, String>,
    top: u64,
    exists: bool,
    /// Goes up with every change, as what a WATCH sees does.
    changes: u64,
}

/// What all connections to the stream share.
#[derive(Clone, Default)]
struct Site(Arc<Mutex<Stream>>);

impl Site {
    fn change<T>(&self, change: impl FnOnce(&mut Stream) -> T) -> T {
        let mut stream = self.0.lock().unwrap();
        stream.changes += 1;
        change(&mut stream)
    }

    fn bodies(&self) -> Vec<String> {
        self.0.lock().unwrap().entries.values().cloned().collect()
    }

    fn flush(&self) {
        self.change(|stream| *stream = Stream { changes: stream.changes, ..Stream::default() });
    }
}

struct Line {
    site: Site,
    random: StdRng,
    /// Of every call.
    fault_probability: f64,
    watched: u64,
    open: bool,
}

impl Line {
    fn new(site: &Site, seed: u64, fault_probability: f64) -> Self {
        Self { site: site.clone(), random: StdRng::seed_from_u64(seed), fault_probability, watched: 0, open: false }
    }

    fn fault(&mut self) -> Result<(), Problem> {
        if self.random.random_bool(self.fault_probability) {
            self.open = false;
            return Err(Problem::new(Trouble::Down, "cut"));
        }
        Ok(())
    }

    fn look(&mut self) -> Result<Option<Top>, Problem> {
        self.fault()?;
        assert!(self.open, "used after an error");
        let stream = self.site.0.lock().unwrap();
        self.watched = stream.changes;
        let body = stream.entries.get(&stream.top).cloned();
        Ok(stream.exists.then_some(Top { id: stream.top, body }))
    }
}

impl Uplink for Line {
    async fn connect(&mut self) -> Result<Option<Top>, Problem> {
        self.open = true;
        self.look()
    }

    async fn top(&mut self) -> Result<Option<Top>, Problem> {
        self.look()
    }

    async fn body(&mut self, id: u64) -> Result<Option<String>, Problem> {
        self.fault()?;
        Ok(self.site.0.lock().unwrap().entries.get(&id).cloned())
    }

    async fn publish(&mut self, entries: &[Entry], _trim: Trim) -> Result<Published, Problem> {
        // Cut off on the way there, or on the way back.
        self.fault()?;
        let mut published = Published::Added;
        {
            let mut stream = self.site.0.lock().unwrap();
            if stream.changes != self.watched {
                return Ok(Published::Changed);
            }
            stream.changes += 1;
            stream.exists = true;
            for entry in entries {
                if entry.id <= stream.top {
                    published = Published::Refused;
                    continue;
                }
                stream.top = entry.id;
                stream.entries.insert(entry.id, entry.body.clone());
            }
            self.watched = stream.changes;
        }
        self.fault()?;
        Ok(published)
    }

    async fn beat(&mut self, state: &UplinkState) -> Result<Pulse, Problem> {
        assert!(state.fields.iter().any(|(name, _)| *name == "waiting"));
        let watched = self.watched;
        let top = self.look();
        self.watched = watched;
        Ok(Pulse { top: top?, last_process: None })
    }

    fn close(&mut self) {
        self.open = false;
    }
}

struct Bench {
    directory: TempDir,
    store: Store,
    clock: Arc<SystemClock>,
    metrics: Arc<Metrics>,
    written: u64,
}

impl Bench {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let metrics = Arc::new(Metrics::new().unwrap());
        let store = open(&directory, &metrics);
        Self { directory, store, clock: Arc::new(SystemClock::new()), metrics, written: 0 }
    }

    /// Records events that differ from each other and from those of another bench.
    fn record(&mut self, count: usize) {
        let records = (0..count).map(|_| {
            self.written += 1;
            Classification {
                id: format!("{}-{}", self.directory.path().display(), self.written),
                origin: Origin::Upload,
                user: None,
                file_name: None,
                picture: PictureFacts { width: 1, height: 1, format: "jpeg".into(), sha256: String::new() },
                predictions: Vec::new(),
                confidence: 0.5,
                processing_time_ms: 1.0,
                model: "m".into(),
                model_version: "1".into(),
                created: self.clock.now(),
            }
        });
        let event = AuditEvent {
            user: None,
            action: "test".into(),
            resource: "test".into(),
            outcome: Outcome::Success,
            details: json!({}),
            ip_address: None,
            at: self.clock.now(),
            authority: None,
        };
        self.store.record_classifications(records.collect(), event).wait().unwrap();
    }

    fn bodies(&self) -> Vec<String> {
        self.store.outbox_batch(0, usize::MAX, usize::MAX).wait().unwrap().into_iter().map(|row| row.body).collect()
    }

    fn sync(&self, line: Line, batch_events_max: usize) -> Sync {
        let settings = SyncSettings {
            batch_events_max,
            linger: Duration::ZERO,
            health_interval: Duration::from_millis(20),
            backoff_max: Duration::from_millis(1),
            stream_events_max: 0,
            stream_age_max: None,
            resend_events_max: 1_000_000,
            resend_age_max: Duration::from_hours(1),
        };
        let parts = SyncParts {
            store: self.store.clone(),
            about: vec![("unit", "u1".into())],
            clock: self.clock.clone(),
            metrics: self.metrics.clone(),
        };
        Sync::over(parts, settings, line)
    }

    /// Delivers until nothing waits.
    fn deliver(&self, line: Line, batch_events_max: usize) {
        runtime().block_on(async {
            let sync = self.sync(line, batch_events_max);
            self.settled().await;
            sync.stop(PATIENCE).await;
        });
    }

    async fn settled(&self) {
        let delivered = async {
            // Not so often that looking is what keeps the store busy.
            let mut looks = tokio::time::interval(Duration::from_millis(2));
            while self.store.outbox_head().await.unwrap().waiting() > 0 {
                looks.tick().await;
            }
        };
        tokio::time::timeout(PATIENCE, delivered).await.unwrap();
    }
}

fn open(directory: &TempDir, metrics: &Arc<Metrics>) -> Store {
    let settings = StoreSettings {
        directory: directory.path().to_owned(),
        queue_depth_max: 1_024,
        readers: 1,
        classifications_max: 1_000,
        crop_bytes_max: 0,
        held_bytes_max: 1 << 20,
        events: Some(encoder("u1")),
    };
    Store::open(settings, metrics.clone()).unwrap()
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

#[test]
fn events_arrive_once_and_in_order_through_a_line_that_keeps_breaking() {
    for seed in 0..8 {
        let (site, mut bench) = (Site::default(), Bench::new());
        bench.record(700);
        let line = Line::new(&site, seed, 0.2);
        runtime().block_on(async {
            let sync = bench.sync(line, 1 + (seed as usize * 7) % 40);
            for _ in 0..20 {
                tokio::task::block_in_place(|| bench.record(15));
            }
            bench.settled().await;
            sync.stop(PATIENCE).await;
        });
        assert_eq!(site.bodies(), bench.bodies(), "seed {seed}");
    }
}

#[test]
fn a_flushed_stream_is_filled_again() {
    let (site, mut bench) = (Site::default(), Bench::new());
    bench.record(100);
    bench.deliver(Line::new(&site, 1, 0.0), 30);
    site.flush();
    bench.record(1);
    bench.deliver(Line::new(&site, 2, 0.0), 30);
    assert_eq!(site.bodies(), bench.bodies());
    assert_eq!(bench.metrics.sync.rewinds.get(), 1);
}

#[test]
fn a_stream_flushed_under_an_open_connection_is_filled_again() {
    let (site, mut bench) = (Site::default(), Bench::new());
    bench.record(10);
    runtime().block_on(async {
        let sync = bench.sync(Line::new(&site, 1, 0.0), 30);
        bench.settled().await;
        // A consumer makes the stream again before the unit notices.
        site.change(|stream| *stream = Stream { changes: stream.changes, exists: true, ..Stream::default() });
        let refilled = async {
            while site.bodies().len() < 10 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, refilled).await.unwrap();
        sync.stop(PATIENCE).await;
    });
    assert_eq!(site.bodies(), bench.bodies());
}

#[test]
fn a_stream_put_back_to_an_old_snapshot_gets_what_it_lost() {
    let (site, mut bench) = (Site::default(), Bench::new());
    bench.record(50);
    bench.deliver(Line::new(&site, 1, 0.0), 30);
    let snapshot = site.0.lock().unwrap().clone();
    bench.record(50);
    bench.deliver(Line::new(&site, 2, 0.0), 30);
    site.change(|stream| *stream = Stream { changes: stream.changes, ..snapshot });
    bench.record(1);
    bench.deliver(Line::new(&site, 3, 0.1), 30);
    assert_eq!(site.bodies(), bench.bodies());
}

/// A unit whose database is put back to a backup: what it records then is new, whatever its stream holds.
#[test]
fn a_restored_unit_never_uses_a_number_twice() {
    for (in_backup, delivered_in_backup, after_backup, after_restore) in
        [(100, true, 60, 10), (100, true, 10, 60), (100, false, 60, 10), (40, false, 0, 10), (0, true, 50, 50)]
    {
        let (site, mut bench) = (Site::default(), Bench::new());
        bench.record(in_backup);
        if delivered_in_backup {
            bench.deliver(Line::new(&site, 1, 0.0), 30);
        }
        let backup = bench.directory.path().join("backup");
        bench.store.backup(&backup).wait().unwrap();
        bench.record(after_backup);
        bench.deliver(Line::new(&site, 2, 0.0), 30);
        let mut expected = bench.bodies();
        bench.store.close();
        std::fs::rename(&backup, bench.directory.path().join("unit.db")).unwrap();
        bench.store = open(&bench.directory, &bench.metrics);
        bench.record(after_restore);
        expected.extend(bench.bodies().split_off(in_backup));
        bench.deliver(Line::new(&site, 3, 0.1), 30);
        assert_eq!(site.bodies(), expected, "{in_backup} {delivered_in_backup} {after_backup} {after_restore}");
        let forks = bench.metrics.sync.forks.get();
        assert_eq!(forks, u64::from(after_backup > 0), "one epoch for one restoring");
        // And the stream of both lives together is nothing strange.
        bench.record(5);
        expected.extend(bench.bodies().split_off(in_backup + after_restore));
        bench.deliver(Line::new(&site, 4, 0.1), 30);
        assert_eq!(site.bodies(), expected);
        assert_eq!(bench.metrics.sync.forks.get(), forks);
    }
}

#[test]
fn a_fresh_database_goes_on_behind_the_stream_of_the_lost_one() {
    let (site, mut first, mut second) = (Site::default(), Bench::new(), Bench::new());
    first.record(30);
    first.deliver(Line::new(&site, 1, 0.0), 30);
    second.record(40);
    second.deliver(Line::new(&site, 2, 0.0), 30);
    let mut expected = first.bodies();
    expected.extend(second.bodies());
    assert_eq!(site.bodies(), expected);
    let newest = site.0.lock().unwrap().top;
    assert_eq!((resume::epoch_of(newest), resume::seq_of(newest)), (1, 40));
}

#[test]
fn a_status_says_what_is_wrong_and_a_stop_does_not_wait_for_it() {
    let (site, bench) = (Site::default(), Bench::new());
    runtime().block_on(async {
        let sync = bench.sync(Line::new(&site, 1, 1.0), 30);
        let mut watch = sync.status_reader().0;
        watch.wait_for(|status| *status == SyncStatus::Trouble(Trouble::Down)).await.unwrap();
        tokio::time::timeout(PATIENCE, sync.stop(PATIENCE)).await.unwrap();
    });
    assert!(bench.metrics.sync.failures.with_label_values(&["down"]).get() > 0);
}

#[test]
fn bodies_follow_the_schema() {
    let bench = Bench::new();
    let until = bench.clock.now();
    let from = crate::clock::Stamp { at: until.at - Duration::from_millis(5), ..until.clone() };
    bench.store.record_coverage(vec![CoverageSpan { from, until, gap: Some(Gap::Off) }]).wait().unwrap();
    bench.store.end_coverage().wait().unwrap();
    let body: serde_json::Value = serde_json::from_str(&bench.bodies()[0]).unwrap();
    assert_eq!(body["v"], 1);
    assert_eq!(body["unit"], "u1");
    assert_eq!(body["kind"], "watch");
    assert_eq!(body["data"]["watching"], false);
    assert_eq!(body["data"]["gap"], "off");
    let keys: Vec<_> = body.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(keys, ["at", "boot_id", "clock_synced", "data", "kind", "monotonic_ms", "unit", "v"]);
    assert_eq!(super::wire::report_of(&json!({ "data": { "vehicle_id": "V1" } }).to_string()).unwrap().0, "V1");
}
