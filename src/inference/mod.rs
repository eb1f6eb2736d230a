//! The bounded queues between those who have pictures and the threads that classify them.
//!
//! Two queues share the workers: uploads wait in a queue of fixed depth (a full one answers 503), the camera has one place in
//! which the newest frame wins. When both wait, workers take them in turn, so neither starves the other. Every worker
//! thread owns its interpreter.

use std::fmt::Debug;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::classifier::{
    ActiveModel, Classifier, GoldenResult, LoadedModel, PictureAnswer, PictureClassifier, golden_test, with_classifier,
};
use crate::error::{Error, Result};
use crate::frame::Frame;
use crate::imaging;
use crate::metrics::{Limit, Metrics};

mod queues;
#[cfg(test)]
mod tests;

use queues::{Queues, WaitingFrame, Work};

/// How many workers, and what bounds their work.
#[derive(Clone, Debug)]
pub struct InferenceSettings {
    /// 0: one a core, at most [`WORKERS_DEFAULT_MAX`].
    pub workers: usize,
    /// Threads of one interpreter.
    pub threads: usize,
    pub queue_depth_max: usize,
    pub picture_pixels_max: u64,
    /// Memory for the uploads that are decoded at the same time, in bytes.
    pub decode_bytes_max: u64,
    /// A camera frame older than this when its turn comes is dropped.
    pub frame_age_max: Duration,
}

const WORKERS_DEFAULT_MAX: usize = 4;

impl InferenceSettings {
    /// The number of worker threads these settings mean on this machine.
    #[must_use]
    pub fn worker_count(&self) -> usize {
        match self.workers {
            0 => std::thread::available_parallelism().map_or(1, usize::from).min(WORKERS_DEFAULT_MAX),
            named => named,
        }
    }
}

/// One upload to classify.
#[derive(Clone, Debug)]
pub struct Upload {
    pub bytes: Arc<[u8]>,
    /// The client's file name, cleaned for messages.
    pub file_name: Option<String>,
    /// The media type the client declared for it.
    pub media_type: Option<String>,
    /// Work not begun by then is given up.
    pub deadline: Instant,
    /// Lives as long as the bytes, whoever still waits for the answer: what the caller counts them by.
    pub held: Option<Arc<dyn Debug + Send + Sync>>,
}

/// Called on a worker thread with what became of a camera frame.
pub type FrameSink = Box<dyn Fn(Frame, Result<PictureAnswer>) + Send + Sync>;

/// The worker threads and their queues.
pub struct Inference {
    queues: Arc<Queues>,
    workers: Vec<JoinHandle<()>>,
    golden_result: GoldenResult,
}

impl Inference {
    /// Starts the workers and returns once each has its interpreter and the first has passed the golden test.
    ///
    /// # Errors
    /// What building an interpreter or the golden test said; nothing is left running then.
    pub fn start(
        settings: &InferenceSettings,
        model: &ActiveModel,
        sink: FrameSink,
        metrics: &Arc<Metrics>,
    ) -> Result<Self> {
        let queues = Arc::new(Queues::new(settings, metrics.clone()));
        let sink = Arc::new(sink);
        let (started, starts) = std::sync::mpsc::channel();
        let mut workers = Vec::new();
        for number in 0..settings.worker_count() {
            let worker = Worker {
                number,
                settings: settings.clone(),
                model: model.clone(),
                queues: queues.clone(),
                sink: sink.clone(),
                metrics: metrics.clone(),
            };
            let started = started.clone();
            let thread = std::thread::Builder::new().name(format!("inference-{number}"));
            let spawned = thread.spawn(move || worker.run(&started));
            workers
                .push(spawned.map_err(|cause| Error::internal("A worker thread cannot be started.").because(cause))?);
        }
        drop(started);
        // One message a worker: the channel itself stays open as long as they run.
        let golden_results: Result<Vec<GoldenResult>> = starts.iter().take(settings.worker_count()).collect();
        match golden_results.and_then(|golden_results| {
            golden_results.into_iter().next().ok_or_else(|| Error::internal("No worker started."))
        }) {
            Ok(golden_result) => Ok(Self { queues, workers, golden_result }),
            Err(error) => {
                queues.close();
                join(workers);
                Err(error)
            }
        }
    }

    /// What the golden test measured at the start.
    #[must_use]
    pub fn golden_result(&self) -> &GoldenResult {
        &self.golden_result
    }

    /// A handle for those who bring work.
    #[must_use]
    pub fn queue(&self) -> UploadQueue {
        UploadQueue { queues: self.queues.clone() }
    }

    /// Finishes the uploads that were accepted, drops a waiting frame, and joins the workers.
    pub fn stop(self) {
        self.queues.close();
        join(self.workers);
    }
}

fn join(workers: Vec<JoinHandle<()>>) {
    for worker in workers {
        if worker.join().is_err() {
            tracing::error!("an inference worker had panicked");
        }
    }
}

/// Where pictures are handed in.
#[derive(Clone)]
pub struct UploadQueue {
    queues: Arc<Queues>,
}

impl UploadQueue {
    /// Queues an upload of `account`; accounts take turns.
    ///
    /// # Errors
    /// Unavailable when the queue is full or the unit is stopping; payload too large when decoding takes more memory than there
    /// is for it; else what the classification said.
    pub async fn submit(&self, account: &str, upload: Upload) -> Result<PictureAnswer> {
        let (reply, answer) = oneshot::channel();
        self.queues.push_upload(account, upload, reply)?;
        answer.await.unwrap_or_else(|_| Err(Error::internal("The worker gave no answer.")))
    }

    /// Puts a camera frame in its one place; a frame already waiting there is dropped.
    pub fn offer(&self, frame: Frame) {
        self.queues.put_frame(WaitingFrame { frame, arrived: Instant::now() });
    }

    /// How long the longest-running classification has been running: the sign of a hung worker.
    #[must_use]
    pub fn busiest(&self) -> Option<Duration> {
        self.queues.busiest()
    }
}

struct Worker {
    number: usize,
    settings: InferenceSettings,
    model: ActiveModel,
    queues: Arc<Queues>,
    sink: Arc<FrameSink>,
    metrics: Arc<Metrics>,
}

impl Worker {
    fn run(self, started: &std::sync::mpsc::Sender<Result<GoldenResult>>) {
        let mut waiting = None;
        let mut started = Some(started);
        let served = self.model.serve("an inference worker", |model, wanted| {
            with_classifier(model, self.settings.threads, |classifier| {
                let mut classifier = self.picture_classifier(classifier, model);
                if let Some(started) = started.take() {
                    let golden_result = golden_test(&mut classifier, model);
                    let sound = golden_result.is_ok();
                    // The receiver leaves as soon as another worker has failed.
                    if started.send(golden_result).is_err() || !sound {
                        return false;
                    }
                }
                self.serve(&mut classifier, wanted, &mut waiting)
            })
        });
        if let Err(error) = served {
            match started.take() {
                Some(started) => {
                    let _ = started.send(Err(error));
                }
                None => tracing::error!("an inference worker ends: {}", error.chain()),
            }
        }
    }

    fn picture_classifier<'a>(
        &self,
        classifier: &'a mut dyn Classifier,
        model: &'a LoadedModel,
    ) -> PictureClassifier<'a> {
        PictureClassifier::new(
            classifier,
            &model.manifest,
            imaging::Limits { pixels_max: self.settings.picture_pixels_max },
        )
    }

    /// Works until the queues are closed, or (true) until another model than `wanted` is to answer; `waiting` is the work that is
    /// for that one.
    fn serve(
        &self,
        classifier: &mut PictureClassifier<'_>,
        wanted: &Arc<LoadedModel>,
        waiting: &mut Option<Work>,
    ) -> bool {
        loop {
            let Some(work) = waiting.take().or_else(|| self.queues.next(self.number)) else { return false };
            if !self.model.is(wanted) {
                *waiting = Some(work);
                return true;
            }
            match work {
                Work::Upload(upload, reply, span) => {
                    if reply.is_closed() {
                        self.metrics.count_limit(Limit::ClientGone);
                    } else {
                        // Nobody listens when the client left meanwhile.
                        let _ = reply.send(span.in_scope(|| self.upload(classifier, &upload)));
                    }
                }
                Work::Frame(waiting) => self.frame(classifier, waiting),
            }
            self.queues.done(self.number);
        }
    }

    fn upload(&self, classifier: &mut PictureClassifier<'_>, upload: &Upload) -> Result<PictureAnswer> {
        if Instant::now() >= upload.deadline {
            self.metrics.count_limit(Limit::RequestTimeout);
            return Err(Error::unavailable(
                "The picture waited too long for a worker; try again later.",
                Duration::from_secs(1),
            ));
        }
        let declared =
            imaging::Declared { file_name: upload.file_name.as_deref(), media_type: upload.media_type.as_deref() };
        let answer =
            classifier.classify_declared(&upload.bytes, &declared).inspect_err(|error| self.count_refused(error))?;
        self.observe(&answer);
        Ok(answer)
    }

    fn frame(&self, classifier: &mut PictureClassifier<'_>, waiting: WaitingFrame) {
        let age = waiting.arrived.elapsed();
        if age > self.settings.frame_age_max {
            self.metrics.frames.with_label_values(&["stale"]).inc();
            return;
        }
        let _frame = tracing::debug_span!("frame", sequence = waiting.frame.sequence).entered();
        let answer = classifier.classify_frame(&waiting.frame);
        match &answer {
            Ok(answer) => self.observe(answer),
            Err(error) => {
                self.count_refused(error);
                self.metrics.frames.with_label_values(&["invalid"]).inc();
            }
        }
        (self.sink)(waiting.frame, answer);
    }

    fn count_refused(&self, error: &Error) {
        if imaging::has_too_many_pixels(error) {
            self.metrics.count_limit(Limit::PicturePixels);
        }
    }

    fn observe(&self, answer: &PictureAnswer) {
        for (stage, took) in answer.timings.stages() {
            self.metrics
                .classification_duration
                .with_label_values(&[answer.model.as_str(), stage])
                .observe(took.as_secs_f64());
        }
    }
}
