//! The newest picture with tracks drawn in: made once, shared by all clients.

use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::Mutex;

use crate::error::Result;

/// The last picture with tracks drawn in, which all clients share, and when the next one may be made.
#[derive(Default)]
pub struct Overlays(Mutex<Option<Overlay>>);

struct Overlay {
    made: Instant,
    sequence: u64,
    jpeg: Bytes,
}

impl Overlays {
    /// The last picture while it shows frame `sequence` or is younger than `rest`, and younger than `age_max` in any case;
    /// else the one that `make` gives. One is made at a time, and all who want it get the same.
    ///
    /// # Errors
    /// Whatever `make` fails with.
    pub async fn newest(
        &self,
        sequence: u64,
        rest: Duration,
        age_max: Duration,
        make: impl Future<Output = Result<Bytes>>,
    ) -> Result<Bytes> {
        let mut last = self.0.lock().await;
        if let Some(last) = last.as_ref()
            && (last.sequence == sequence || last.made.elapsed() < rest)
            && last.made.elapsed() < age_max
        {
            return Ok(last.jpeg.clone());
        }
        let jpeg = make.await?;
        *last = Some(Overlay { made: Instant::now(), sequence, jpeg: jpeg.clone() });
        Ok(jpeg)
    }
}
