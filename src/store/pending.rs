//! The answer to an operation that a thread of the store carries out.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::sync::oneshot;
use tokio::sync::oneshot::error::TryRecvError;

use crate::error::{Error, Result};

/// An operation under way: `.await` it in async code, [`Pending::wait`] for it in threads and on the command line.
/// Dropping it forgets the answer; the operation itself is carried out all the same.
#[must_use = "the answer says whether the operation succeeded"]
pub struct Pending<T>(oneshot::Receiver<Result<T>>);

impl<T> Pending<T> {
    pub(super) fn new() -> (oneshot::Sender<Result<T>>, Self) {
        let (sender, receiver) = oneshot::channel();
        (sender, Self(receiver))
    }

    /// Blocks until the answer is there. Not for async code: there it would block (and tokio panics to say so).
    ///
    /// # Errors
    /// Whatever the operation answers.
    pub fn wait(self) -> Result<T> {
        self.0.blocking_recv().unwrap_or_else(|_| Err(gone()))
    }

    /// The answer if it is there already; asked again after it was given, it is an error. Does not block.
    pub fn answer(&mut self) -> Option<Result<T>> {
        match self.0.try_recv() {
            Ok(answer) => Some(answer),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Closed) => Some(Err(gone())),
        }
    }
}

impl<T> Future for Pending<T> {
    type Output = Result<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context).map(|answer| answer.unwrap_or_else(|_| Err(gone())))
    }
}

/// A thread of the store ended without an answer, which only a fault of this module can cause.
fn gone() -> Error {
    Error::internal("The store gave no answer; the log of the unit says more.")
}
