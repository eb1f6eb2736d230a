//! A bounded queue of jobs for threads that own a connection.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TrySendError, bounded};
use prometheus::IntGauge;
use rusqlite::Connection;
use tokio::sync::oneshot;

use crate::error::{Error, ErrorKind, Result};
use crate::metrics::{Limit, Metrics};
use crate::store::condition::{Condition, READ_TIME_MAX, Reader};
use crate::store::failure::{RETRY_SOON, is_damage, no_database, stopping};
use crate::store::pending::Pending;

/// How a job went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ran {
    Well,
    /// It failed, and what it wrote must be undone.
    Failed,
    /// It failed because the database is damaged.
    MetDamage,
}

/// Something to do with a connection, and somebody who waits for the answer.
pub(super) trait Job: Send {
    /// Does it. A panic is a failure.
    fn run(&mut self, connection: &Connection) -> Ran;

    /// Answers. `failure` is one of everything around the job, such as its commit; the job's own failure goes first.
    fn answer(self: Box<Self>, failure: Option<Error>);

    /// Whether anybody still waits for the answer.
    fn wanted(&self) -> bool;

    /// Whether the job can and should be tried again once the disk takes writes again, and then how many bytes of memory
    /// it holds meanwhile. `failure` as for [`Job::answer`].
    fn worth_keeping(&self, failure: Option<&Error>) -> Option<usize>;
}

/// Work that is done once, whatever comes of it.
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
    fn run(&mut self, connection: &Connection) -> Ran {
        let Some(work) = self.work.take() else { return Ran::Failed };
        ran(self.result.insert(caught(|| work(connection))))
    }

    fn answer(self: Box<Self>, failure: Option<Error>) {
        answer(self.sender, self.result, failure);
    }

    fn wanted(&self) -> bool {
        !self.sender.is_closed()
    }

    fn worth_keeping(&self, _failure: Option<&Error>) -> Option<usize> {
        None
    }
}

/// Work that is tried again until the disk takes it.
struct Steadfast<W, T> {
    work: W,
    bytes: usize,
    result: Option<Result<T>>,
    sender: oneshot::Sender<Result<T>>,
}

impl<W, T> Job for Steadfast<W, T>
where
    W: Fn(&Connection) -> Result<T> + Send,
    T: Send,
{
    fn run(&mut self, connection: &Connection) -> Ran {
        ran(self.result.insert(caught(|| (self.work)(connection))))
    }

    fn answer(self: Box<Self>, failure: Option<Error>) {
        answer(self.sender, self.result, failure);
    }

    fn wanted(&self) -> bool {
        !self.sender.is_closed()
    }

    fn worth_keeping(&self, failure: Option<&Error>) -> Option<usize> {
        let failed = self.result.as_ref().and_then(|result| result.as_ref().err()).or(failure);
        failed.is_some_and(|failure| failure.kind() == ErrorKind::Unavailable).then_some(self.bytes)
    }
}

fn caught<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|_| Err(Error::internal("The store failed; the log of the unit says more.")))
}

fn ran<T>(result: &Result<T>) -> Ran {
    match result {
        Ok(_) => Ran::Well,
        Err(error) if is_damage(error) => Ran::MetDamage,
        Err(_) => Ran::Failed,
    }
}

fn answer<T>(sender: oneshot::Sender<Result<T>>, result: Option<Result<T>>, failure: Option<Error>) {
    let answer = match (result, failure) {
        (Some(Err(own)), _) => Err(own),
        (_, Some(failure)) => Err(failure),
        (Some(result), None) => result,
        (None, None) => Err(stopping()),
    };
    // Whoever asked may have gone; the job is done all the same.
    let _ = sender.send(answer);
}

/// The near end of the queue.
pub(super) struct Queue {
    /// Label of the queue's depth.
    queue: &'static str,
    /// Label of the limit that a full queue hits.
    limit: Limit,
    /// None once closed, which lets the threads finish the queue and end.
    jobs: Mutex<Option<Sender<Box<dyn Job>>>>,
    metrics: Arc<Metrics>,
}

/// What a wait for a job brought.
pub(super) enum Next {
    Job(Box<dyn Job>),
    Nothing,
    /// The queue is closed and empty.
    Closed,
}

/// The far end of the queue.
pub(super) struct Jobs {
    receiver: Receiver<Box<dyn Job>>,
    depth: IntGauge,
}

impl Queue {
    pub(super) fn new(queue: &'static str, limit: Limit, depth_max: usize, metrics: &Arc<Metrics>) -> (Self, Jobs) {
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
        self.queue(Box::new(Task { work: Some(work), result: None, sender }));
        pending
    }

    /// Queues work that is kept in memory and tried again while the disk refuses it; `bytes` is what it holds there.
    pub(super) fn submit_steadfast<T, W>(&self, bytes: usize, work: W) -> Pending<T>
    where
        T: Send + 'static,
        W: Fn(&Connection) -> Result<T> + Send + 'static,
    {
        let (sender, pending) = Pending::new();
        self.queue(Box::new(Steadfast { work, bytes, result: None, sender }));
        pending
    }

    fn queue(&self, job: Box<dyn Job>) {
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(jobs) = jobs else {
            return job.answer(Some(stopping()));
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
    }

    pub(super) fn close(&self) {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

impl Jobs {
    /// Waits for a job; none once the queue is closed and empty.
    pub(super) fn next(&self) -> Option<Box<dyn Job>> {
        let job = self.receiver.recv().ok();
        self.depth.set(depth(self.receiver.len()));
        job
    }

    /// Waits for a job as long as `patience`.
    pub(super) fn next_within(&self, patience: Duration) -> Next {
        let next = match self.receiver.recv_timeout(patience) {
            Ok(job) => Next::Job(job),
            Err(RecvTimeoutError::Timeout) => Next::Nothing,
            Err(RecvTimeoutError::Disconnected) => Next::Closed,
        };
        self.depth.set(depth(self.receiver.len()));
        next
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

/// A reading thread: one job after the other until the queue is closed.
pub(super) fn read(mut reader: Reader, condition: &Condition, jobs: &Jobs, metrics: &Metrics) {
    while let Some(mut job) = jobs.next() {
        if !job.wanted() {
            continue;
        }
        let Some(connection) = reader.connection(condition, READ_TIME_MAX) else {
            job.answer(Some(no_database()));
            continue;
        };
        match job.run(connection) {
            Ran::Well => {}
            Ran::MetDamage => condition.report_damage(reader.generation()),
            Ran::Failed if reader.ran_out_of_time() => metrics.count_limit(Limit::StoreReadTime),
            Ran::Failed => {}
        }
        job.answer(None);
    }
}

fn depth(jobs: usize) -> i64 {
    i64::try_from(jobs).unwrap_or(i64::MAX)
}
