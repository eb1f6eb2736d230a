//! A bounded queue of jobs for threads that own a connection.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use prometheus::IntGauge;
use rusqlite::Connection;
use tokio::sync::oneshot;

use crate::error::{Error, Result};
use crate::metrics::Metrics;
use crate::store::failure::{RETRY_SOON, stopping};
use crate::store::pending::Pending;

/// Something to do with a connection, and somebody who waits for the answer.
pub(super) trait Job: Send {
    /// Does it; false when it failed and what it wrote must be undone. A panic is such a failure.
    fn run(&mut self, connection: &Connection) -> bool;

    /// Answers. `failure` is one of everything around the job, such as its commit; the job's own failure goes first.
    fn answer(self: Box<Self>, failure: Option<Error>);
}

struct Task<W, T> {
    work: Option<W>,
    result: Option<Result<T>>,
    sender: oneshot::Sender<Result<T>>,
}

impl<W, T> Job for Task<W, T>
where
    W: FnOnce(&Connection) -> Result<T> + Send,
    T: Send,
{
    fn run(&mut self, connection: &Connection) -> bool {
        let Some(work) = self.work.take() else { return false };
        let result = catch_unwind(AssertUnwindSafe(|| work(connection)))
            .unwrap_or_else(|_| Err(Error::internal("The store failed; the log of the unit says more.")));
        self.result.insert(result).is_ok()
    }

    fn answer(self: Box<Self>, failure: Option<Error>) {
        let answer = match (self.result, failure) {
            (Some(Err(own)), _) => Err(own),
            (_, Some(failure)) => Err(failure),
            (Some(result), None) => result,
            (None, None) => Err(stopping()),
        };
        // Whoever asked may have gone; the job is done all the same.
        let _ = self.sender.send(answer);
    }
}

/// The near end of the queue.
pub(super) struct Lane {
    /// Label of the queue's depth.
    queue: &'static str,
    /// Label of the limit that a full queue hits.
    limit: &'static str,
    /// None once closed, which lets the threads finish the queue and end.
    jobs: Mutex<Option<Sender<Box<dyn Job>>>>,
    metrics: Arc<Metrics>,
}

/// The far end of the queue.
pub(super) struct Jobs {
    receiver: Receiver<Box<dyn Job>>,
    depth: IntGauge,
}

impl Lane {
    pub(super) fn new(
        queue: &'static str,
        limit: &'static str,
        depth_max: usize,
        metrics: &Arc<Metrics>,
    ) -> (Self, Jobs) {
        let (sender, receiver) = bounded(depth_max.max(1));
        let depth = metrics.queue_depth.with_label_values(&[queue]);
        (Self { queue, limit, jobs: Mutex::new(Some(sender)), metrics: metrics.clone() }, Jobs { receiver, depth })
    }

    /// Queues the work, or answers at once that there is no room.
    pub(super) fn submit<T, W>(&self, work: W) -> Pending<T>
    where
        T: Send + 'static,
        W: FnOnce(&Connection) -> Result<T> + Send + 'static,
    {
        let (sender, pending) = Pending::new();
        let job: Box<dyn Job> = Box::new(Task { work: Some(work), result: None, sender });
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(jobs) = jobs else {
            job.answer(Some(stopping()));
            return pending;
        };
        match jobs.try_send(job) {
            Ok(()) => self.metrics.queue_depth.with_label_values(&[self.queue]).set(depth(jobs.len())),
            Err(TrySendError::Full(job)) => {
                self.metrics.count_limit(self.limit);
                job.answer(Some(Error::unavailable(
                    "The store has more work than it can take; try again.",
                    RETRY_SOON,
                )));
            }
            Err(TrySendError::Disconnected(job)) => job.answer(Some(stopping())),
        }
        pending
    }

    pub(super) fn close(&self) {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

impl Jobs {
    /// Waits for a job; none once the lane is closed and the queue is empty.
    pub(super) fn next(&self) -> Option<Box<dyn Job>> {
        let job = self.receiver.recv().ok();
        self.depth.set(depth(self.receiver.len()));
        job
    }

    /// The jobs that wait already, at most `count_max`; it does not wait for more.
    pub(super) fn waiting(&self, count_max: usize) -> Vec<Box<dyn Job>> {
        let jobs = self.receiver.try_iter().take(count_max).collect();
        self.depth.set(depth(self.receiver.len()));
        jobs
    }

    /// Another far end of the same queue, for one more thread.
    pub(super) fn shared(&self) -> Self {
        Self { receiver: self.receiver.clone(), depth: self.depth.clone() }
    }
}

/// A reading thread: one job after the other until the lane is closed.
pub(super) fn read(connection: &Connection, jobs: &Jobs) {
    while let Some(mut job) = jobs.next() {
        job.run(connection);
        job.answer(None);
    }
}

fn depth(jobs: usize) -> i64 {
    i64::try_from(jobs).unwrap_or(i64::MAX)
}
