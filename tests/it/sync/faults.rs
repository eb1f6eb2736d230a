//! Everything that can go wrong between a unit and its server, in an order that a seed decides.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::proxy::{Mode, Proxy};
use super::server::{Server, entries, key};
use super::{Outbox, PATIENCE, asked, impatient, redis_settings, runtime, until};

/// A consumer that reads on behind the last id it saw, as a central site does.
struct Consumer {
    seen: Arc<Mutex<Vec<String>>>,
    stop: Arc<AtomicBool>,
    reading: Option<std::thread::JoinHandle<()>>,
}

impl Consumer {
    fn of(port: u16) -> Self {
        let (seen, stop) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (kept, stopped) = (seen.clone(), stop.clone());
        let reading = std::thread::spawn(move || {
            let client = redis::Client::open(format!("redis://127.0.0.1:{port}")).unwrap();
            let mut last = "0-0".to_owned();
            while !stopped.load(Ordering::Relaxed) {
                let Ok(mut connection) = client.get_connection_with_timeout(Duration::from_secs(1)) else {
                    std::thread::park_timeout(Duration::from_millis(5));
                    continue;
                };
                connection.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
                let after = format!("({last}");
                let mut asked = redis::cmd("XRANGE");
                asked.arg(key("events")).arg(after).arg("+").arg("COUNT").arg(1_000);
                let Ok(found) = asked.query::<redis::Value>(&mut connection) else { continue };
                for (id, body) in entries(&found) {
                    last = id;
                    kept.lock().unwrap().push(body);
                }
                std::thread::park_timeout(Duration::from_millis(2));
            }
        });
        Self { seen, stop, reading: Some(reading) }
    }

    fn count(&self) -> usize {
        self.seen.lock().unwrap().len()
    }

    fn end(mut self) -> Vec<String> {
        self.stop.store(true, Ordering::Relaxed);
        self.reading.take().unwrap().join().unwrap();
        self.seen.lock().unwrap().clone()
    }
}

struct Scene {
    server: Server,
    proxy: Proxy,
    random: StdRng,
}

impl Scene {
    /// Waits a little, or until the consumer got on.
    fn pause(&self, consumer: &Consumer, most: Duration) {
        let (before, deadline) = (consumer.count(), std::time::Instant::now() + most);
        while consumer.count() < before + 50 && std::time::Instant::now() < deadline {
            std::thread::park_timeout(Duration::from_millis(2));
        }
    }

    fn fault(&mut self, consumer: &Consumer) -> &'static str {
        let short = Duration::from_millis(self.random.random_range(5..150));
        match self.random.random_range(0..9) {
            0 => {
                self.server.kill();
                self.pause(consumer, short);
                self.server.restart();
                "killed"
            }
            1 => {
                self.server.signal("STOP");
                // Longer than an answer may take.
                self.pause(consumer, Duration::from_millis(700));
                self.server.signal("CONT");
                "paused"
            }
            2 => {
                let bytes = self.random.random_range(0..400);
                self.proxy.set(Mode::CutAnswerAfter(bytes));
                "cut off in mid-answer"
            }
            3 => {
                let bytes = self.random.random_range(0..8_000);
                self.proxy.set(Mode::CutQuestionAfter(bytes));
                "cut off in mid-question"
            }
            4 => {
                self.proxy.cut();
                "cut"
            }
            5 => {
                self.proxy.set(Mode::Swallow);
                self.pause(consumer, Duration::from_millis(700));
                self.proxy.cut();
                self.proxy.set(Mode::Pass);
                "half open"
            }
            6 => {
                let _: () = self.server.ask(&["REPLICAOF", "127.0.0.1", "1"]);
                self.pause(consumer, short);
                let _: () = self.server.ask(&["REPLICAOF", "NO", "ONE"]);
                "read-only"
            }
            7 => {
                let _: () = self.server.ask(&["CONFIG", "SET", "maxmemory", "1"]);
                self.pause(consumer, short);
                let _: () = self.server.ask(&["CONFIG", "SET", "maxmemory", "0"]);
                "out of memory"
            }
            _ => {
                self.proxy.set(Mode::Garbage);
                self.pause(consumer, short);
                self.proxy.cut();
                self.proxy.set(Mode::Pass);
                "garbage"
            }
        }
    }
}

#[test]
fn each_event_arrives_once_and_in_order_whatever_happens_to_redis() {
    let (events, seeds) = (asked("SYNC_EVENTS", 3_000), asked("SYNC_SEEDS", 1));
    for seed in 0..seeds as u64 {
        let server = Server::start(&["--maxmemory-policy", "noeviction"]);
        let proxy = Proxy::to(server.port);
        let (mut outbox, runtime, consumer) = (Outbox::new(), runtime(), Consumer::of(server.port));
        let sync = outbox.deliver(&runtime, impatient(redis_settings(&proxy.url())));
        let mut scene = Scene { server, proxy, random: StdRng::seed_from_u64(seed) };
        let mut faults = std::collections::BTreeMap::new();
        let mut left = events;
        while left > 0 {
            let some = scene.random.random_range(1..events / 25).min(left);
            outbox.record(some);
            left -= some;
            *faults.entry(scene.fault(&consumer)).or_insert(0) += 1;
            scene.pause(&consumer, Duration::from_millis(30));
        }
        scene.proxy.set(Mode::Pass);
        outbox.settle(PATIENCE);
        until("the consumer is through", || consumer.count() >= events);
        runtime.block_on(sync.stop(PATIENCE));
        let (seen, expected) = (consumer.end(), outbox.bodies());
        assert_eq!(seen.len(), events, "seed {seed}");
        assert!(seen == expected, "seed {seed}: other events, or another order");
        assert!(scene.server.bodies() == expected, "seed {seed}: the stream itself");
        let failures: Vec<_> = ["down", "read_only", "out_of_memory", "garbage"]
            .map(|trouble| (trouble, outbox.metrics.sync.failures.with_label_values(&[trouble]).get()))
            .into();
        println!("seed {seed}: {events} events; faults {faults:?}; told apart {failures:?}");
    }
}
