//! The newest reports of the vehicles asked for lately, so that a report that is read often is not read from disk each time.
//!
//! It is in this process and not in Redis: the unit waits for Redis for nothing, and only this process writes reports, so that
//! what is in here is never older than what is in the store.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::metrics::Metrics;
use crate::record::Report;

/// Vehicles; the one whose report was put in first goes first.
const VEHICLES_MAX: usize = 256;
/// As long as the copy at the central site.
const AGE_MAX: Duration = Duration::from_hours(1);
/// Label of the metrics.
const NAME: &str = "report";

pub struct ReportCache {
    kept: Mutex<Kept>,
    metrics: Arc<Metrics>,
}

#[derive(Default)]
struct Kept {
    reports: HashMap<String, (Instant, Report)>,
    /// Reports written since the start.
    writes: u64,
}

impl ReportCache {
    pub fn new(metrics: &Arc<Metrics>) -> Self {
        metrics.cache_hits.with_label_values(&[NAME]);
        metrics.cache_misses.with_label_values(&[NAME]);
        Self { kept: Mutex::default(), metrics: metrics.clone() }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The newest report of the vehicle, or else what [`ReportCache::read`] wants to know.
    pub fn find(&self, vehicle_id: &str) -> Result<Report, u64> {
        let kept = self.kept();
        let found = kept.reports.get(vehicle_id).filter(|(since, _)| since.elapsed() < AGE_MAX);
        let counter = if found.is_some() { &self.metrics.cache_hits } else { &self.metrics.cache_misses };
        counter.with_label_values(&[NAME]).inc();
        found.map(|(_, report)| report.clone()).ok_or(kept.writes)
    }

    /// Keeps what the store answered, unless a report was written since the miss: it may be newer.
    pub fn read(&self, report: &Report, writes_at_miss: u64) {
        let mut kept = self.kept();
        if kept.writes == writes_at_miss {
            kept.put(report);
        }
    }

    /// Forgets what a report that was just stored has overtaken. Which of two reports is the newest only the store knows: the
    /// clock may have been set between them, and their writers may come here in another order than they were stored in.
    pub fn written(&self, vehicle_id: &str) {
        let mut kept = self.kept();
        kept.writes += 1;
        kept.reports.remove(vehicle_id);
    }
}

impl Kept {
    fn put(&mut self, report: &Report) {
        if self.reports.len() >= VEHICLES_MAX && !self.reports.contains_key(&report.vehicle_id) {
            let oldest = self.reports.iter().min_by_key(|(_, (since, _))| *since).map(|(id, _)| id.clone());
            if let Some(oldest) = oldest {
                self.reports.remove(&oldest);
            }
        }
        self.reports.insert(report.vehicle_id.clone(), (Instant::now(), report.clone()));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::clock::{Clock, SystemClock};

    fn report(vehicle_id: &str, id: &str) -> Report {
        Report {
            id: id.into(),
            vehicle_id: vehicle_id.into(),
            user: "ann".into(),
            class: "bus".into(),
            confidence: 0.9,
            body: json!({}),
            created: SystemClock::new().now(),
        }
    }

    fn cache() -> ReportCache {
        ReportCache::new(&Arc::new(Metrics::new().unwrap()))
    }

    fn read(cache: &ReportCache, report: &Report) {
        let miss = cache.find(&report.vehicle_id).unwrap_err();
        cache.read(report, miss);
    }

    #[test]
    fn a_report_is_found_after_it_was_read_until_another_is_written() {
        let cache = cache();
        read(&cache, &report("v", "1"));
        assert_eq!(cache.find("v").unwrap().id, "1");
        cache.written("w");
        assert_eq!(cache.find("v").unwrap().id, "1");
        cache.written("v");
        read(&cache, &report("v", "2"));
        assert_eq!(cache.find("v").unwrap().id, "2");
        let count = |series: &prometheus::IntCounterVec| series.with_label_values(&[NAME]).get();
        assert_eq!((count(&cache.metrics.cache_hits), count(&cache.metrics.cache_misses)), (3, 2));
    }

    #[test]
    fn an_answer_of_the_store_that_a_write_overtook_is_not_kept() {
        let cache = cache();
        let miss = cache.find("v").unwrap_err();
        cache.written("v");
        cache.read(&report("v", "1"), miss);
        assert!(cache.find("v").is_err());
    }

    #[test]
    fn only_so_many_vehicles_are_kept() {
        let cache = cache();
        for number in 0..=VEHICLES_MAX {
            read(&cache, &report(&number.to_string(), "r"));
        }
        assert!(cache.find("0").is_err());
        assert!(cache.find("1").is_ok());
        assert_eq!(cache.kept().reports.len(), VEHICLES_MAX);
    }
}
