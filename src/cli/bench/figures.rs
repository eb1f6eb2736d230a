//! Percentiles of measured times.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::cli::bench::milliseconds;
use crate::error::Result;

/// The times of one stage, sorted.
pub struct Figures {
    name: &'static str,
    /// The contract's threshold for the 99th percentile.
    threshold: Option<Duration>,
    times: Vec<Duration>,
}

impl Figures {
    /// `times`: not empty.
    pub fn new(name: &'static str, threshold: Option<Duration>, mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        Self { name, threshold, times }
    }

    /// The smallest time that `percent` of all are not above (nearest rank).
    pub fn percentile(&self, percent: usize) -> Duration {
        let rank = (self.times.len() * percent).div_ceil(100).max(1);
        self.times.get(rank - 1).copied().unwrap_or_default()
    }

    fn per_second(&self) -> f64 {
        let total: Duration = self.times.iter().sum();
        self.times.len() as f64 / total.as_secs_f64().max(f64::MIN_POSITIVE)
    }

    fn verdict(&self) -> Option<&'static str> {
        self.threshold.map(|threshold| if self.percentile(99) <= threshold { "within" } else { "OVER" })
    }

    pub fn row(&self) -> Vec<String> {
        let time = |percent| format!("{:.2}", milliseconds(self.percentile(percent)));
        let threshold = self.threshold.zip(self.verdict());
        vec![
            self.name.to_owned(),
            time(50),
            time(95),
            time(99),
            format!("{:.0}", self.per_second()),
            self.times.len().to_string(),
            threshold.map_or(String::new(), |(limit, verdict)| format!("{verdict} {:.0} ms", milliseconds(limit))),
        ]
    }

    pub fn json(&self) -> Value {
        json!({
            "stage": self.name,
            "p50_ms": milliseconds(self.percentile(50)),
            "p95_ms": milliseconds(self.percentile(95)),
            "p99_ms": milliseconds(self.percentile(99)),
            "per_second": self.per_second(),
            "rounds": self.times.len(),
            "threshold_ms": self.threshold.map(milliseconds),
            "verdict": self.verdict(),
        })
    }
}

/// How long `work` took.
///
/// # Errors
/// Those of `work`.
pub fn timed(work: impl FnOnce() -> Result<()>) -> Result<Duration> {
    let begun = Instant::now();
    work()?;
    Ok(begun.elapsed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_nearest_ranks() {
        let figures =
            Figures::new("x", Some(Duration::from_millis(99)), (1..=100).rev().map(Duration::from_millis).collect());
        for percent in [50, 95, 99] {
            assert_eq!(figures.percentile(percent), Duration::from_millis(percent as u64));
        }
        assert_eq!(figures.verdict(), Some("within"));
        assert_eq!(Figures::new("y", None, vec![Duration::from_secs(1)]).percentile(50), Duration::from_secs(1));
    }
}
