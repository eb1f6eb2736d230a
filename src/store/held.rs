//! Records that the disk refused, kept in memory until it takes them: a vehicle that was counted must not be lost because the
//! disk was full when it passed.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::error::Error;
use crate::metrics::{Limit, Metrics};
use crate::store::queue::Job;

pub(super) struct Held {
    jobs: VecDeque<(usize, Box<dyn Job>)>,
    bytes: usize,
    bytes_max: usize,
    metrics: Arc<Metrics>,
}

impl Held {
    pub(super) fn new(bytes_max: usize, metrics: Arc<Metrics>) -> Self {
        Self { jobs: VecDeque::new(), bytes: 0, bytes_max, metrics }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.jobs.len()
    }

    /// Keeps the job if it failed for want of a disk and there is room; gives it back otherwise.
    pub(super) fn keep(&mut self, job: Box<dyn Job>, failure: Option<&Error>) -> Option<Box<dyn Job>> {
        let Some(bytes) = job.worth_keeping(failure) else { return Some(job) };
        if self.bytes + bytes > self.bytes_max {
            self.metrics.count_limit(Limit::StoreHeld);
            return Some(job);
        }
        self.bytes += bytes;
        self.jobs.push_back((bytes, job));
        None
    }

    /// The oldest ones, for another try.
    pub(super) fn take(&mut self, count_max: usize) -> Vec<Box<dyn Job>> {
        let taken: Vec<_> = self.jobs.drain(..count_max.min(self.jobs.len())).collect();
        self.bytes -= taken.iter().map(|(bytes, _)| bytes).sum::<usize>();
        taken.into_iter().map(|(_, job)| job).collect()
    }
}
