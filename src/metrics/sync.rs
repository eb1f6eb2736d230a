//! The series of the delivery to the central site.

use prometheus::{Gauge, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry};

use super::{counter, counters, float_gauge, gauge, gauges};

/// The series; fields are named after them, without `sync_`.
pub struct SyncMetrics {
    pub outbox_rows: IntGauge,
    pub oldest_seconds: Gauge,
    pub events: IntCounter,
    pub failures: IntCounterVec,
    pub rewinds: IntCounter,
    pub forks: IntCounter,
    state: IntGaugeVec,
}

impl SyncMetrics {
    pub(super) fn register(r: &Registry) -> prometheus::Result<Self> {
        Ok(Self {
            outbox_rows: gauge(r, "sync_outbox_rows", "Events that wait for the central site.")?,
            oldest_seconds: float_gauge(r, "sync_oldest_seconds", "Age of the oldest event that waits.")?,
            events: counter(r, "sync_events_total", "Events delivered to the central site.")?,
            failures: counters(r, "sync_failures_total", "Failed connections by what was wrong.", &["trouble"])?,
            rewinds: counter(r, "sync_rewinds_total", "Times the central site had lost events, which were resent.")?,
            forks: counter(r, "sync_forks_total", "Times the stream had gone on without this unit's database.")?,
            state: gauges(r, "sync_state", "1 for the state the delivery is in; no series: off.", &["state"])?,
        })
    }

    /// Names the state of the delivery; an earlier one's series goes.
    pub fn set_state(&self, state: &str) {
        self.state.reset();
        self.state.with_label_values(&[state]).set(1);
    }
}
