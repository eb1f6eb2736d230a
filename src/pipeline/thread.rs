//! The pipeline's thread: it owns the detector's and a classifier's interpreter and runs the analyser.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::classifier::{
    ActiveModel, LoadedDetector, LoadedModel, run_detector_golden_test, with_classifier, with_detector,
};
use crate::error::{Error, Result};
use crate::frame::{self, Frame};
use crate::imaging::has_too_many_pixels;
use crate::metrics::{Limit, Metrics};
use crate::pipeline::analyser::{Analyser, AnalyserSettings, Analysis, CropClassifier, Followed};
use crate::pipeline::mailbox::{Mailbox, Offered, Waiting};
use crate::record::Passage;

/// Without frames for so long, what was counted is handed over: nobody knows when the next one comes.
const SILENCE: Duration = Duration::from_secs(3);

/// Another model waits until no vehicle is in sight, whose votes would be lost, but no longer than this.
const REPLACING_MAX: Duration = Duration::from_secs(60);

/// What the pipeline is made of.
pub struct PipelineParts {
    pub settings: AnalyserSettings,
    /// None: by motion alone.
    pub detector: Option<LoadedDetector>,
    pub model: ActiveModel,
    /// Threads of one interpreter.
    pub threads: usize,
    /// Frames wait for their turn instead of being dropped or going stale: a recording at full speed.
    pub lossless: bool,
    /// An older frame is dropped when its turn comes.
    pub frame_age_max: Duration,
    pub metrics: Arc<Metrics>,
}

/// Called on the pipeline's thread with every passage.
pub type PassageSink = Box<dyn Fn(Passage) + Send>;

/// The newest looked-at frame and the vehicles in it.
#[derive(Clone, Debug)]
pub struct NewestAnalysed {
    pub frame: Frame,
    pub followed: Vec<Followed>,
}

/// The running pipeline.
pub struct Pipeline {
    shared: Arc<Shared>,
    thread: JoinHandle<()>,
}

struct Shared {
    mailbox: Mailbox,
    newest: Mutex<Option<NewestAnalysed>>,
    lossless: bool,
    metrics: Arc<Metrics>,
}

/// Where frames are handed in, and what is seen of them.
#[derive(Clone)]
pub struct Intake {
    shared: Arc<Shared>,
}

impl Intake {
    /// Hands a frame over.
    pub fn offer(&self, frame: Frame) {
        let shared = &self.shared;
        if shared.mailbox.offer(frame, shared.lossless) == Offered::Displaced {
            shared.metrics.frames.with_label_values(&["dropped"]).inc();
        }
    }

    /// How long the present frame has been looked at: the sign of a hung thread.
    #[must_use]
    pub fn busy(&self) -> Option<Duration> {
        self.shared.mailbox.busy()
    }

    /// The newest looked-at frame; none before the first.
    #[must_use]
    pub fn newest(&self) -> Option<NewestAnalysed> {
        self.shared.newest.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Pipeline {
    /// Starts the thread and returns once its interpreters are built and the detector has passed its golden test.
    ///
    /// # Errors
    /// What building an interpreter or the golden test said.
    pub fn start(parts: PipelineParts, sink: PassageSink) -> Result<Self> {
        let shared = Arc::new(Shared {
            mailbox: Mailbox::default(),
            newest: Mutex::new(None),
            lossless: parts.lossless,
            metrics: parts.metrics.clone(),
        });
        let (started, starts) = std::sync::mpsc::channel();
        let run = Run { parts, shared: shared.clone(), sink };
        let thread = std::thread::Builder::new().name("pipeline".into()).spawn(move || run.run(&started));
        let thread =
            thread.map_err(|cause| Error::internal("The pipeline thread cannot be started.").because(cause))?;
        starts.recv().unwrap_or_else(|_| Err(Error::internal("The pipeline thread did not start.")))?;
        Ok(Self { shared, thread })
    }

    #[must_use]
    pub fn intake(&self) -> Intake {
        Intake { shared: self.shared.clone() }
    }

    /// Looks at the frames that still wait, hands over what was counted, and joins the thread.
    pub fn stop(self) {
        self.shared.mailbox.close();
        if self.thread.join().is_err() {
            tracing::error!("the pipeline thread had panicked");
        }
    }
}

struct Run {
    parts: PipelineParts,
    shared: Arc<Shared>,
    sink: PassageSink,
}

type Started = std::sync::mpsc::Sender<Result<()>>;

impl Run {
    fn run(self, started: &Started) {
        let mut started = Some(started);
        let served = self.parts.model.serve("the pipeline", |model, wanted| self.work(model, wanted, &mut started));
        if let Err(error) = served {
            match started.take() {
                // Nobody listens any more when the unit gave up meanwhile.
                Some(started) => drop(started.send(Err(error))),
                None => tracing::error!("the pipeline ends: {}", error.chain()),
            }
        }
    }

    /// Works with interpreters of `model` until the mailbox is closed, or (true) until another than `wanted` is to answer.
    fn work(&self, model: &LoadedModel, wanted: &Arc<LoadedModel>, started: &mut Option<&Started>) -> Result<bool> {
        let threads = self.parts.threads;
        with_classifier(model, threads, |classifier| {
            let (settings, manifest) = (self.parts.settings.clone(), &model.manifest);
            let Some(detector) = &self.parts.detector else {
                let classifier = CropClassifier { classifier, manifest };
                return Ok(self.serve(Analyser::new(settings, None, classifier), wanted, started));
            };
            with_detector(detector, threads, |interpreter| {
                run_detector_golden_test(interpreter, detector)?;
                let classifier = CropClassifier { classifier, manifest };
                let detector = crate::pipeline::frame_detector(interpreter, detector);
                Ok(self.serve(Analyser::new(settings, Some(detector), classifier), wanted, started))
            })?
        })?
    }

    fn serve(&self, mut analyser: Analyser<'_>, wanted: &Arc<LoadedModel>, started: &mut Option<&Started>) -> bool {
        if started.take().is_some_and(|started| started.send(Ok(())).is_err()) {
            return false;
        }
        let mut watching = false;
        let mut replaced = None;
        loop {
            let (waiting, ended) = self.shared.mailbox.next(SILENCE);
            let depth = i64::try_from(self.shared.mailbox.depth()).unwrap_or(i64::MAX);
            self.parts.metrics.queue_depth.with_label_values(&["camera"]).set(depth);
            let quiet = match waiting {
                Some(waiting) => {
                    watching = true;
                    self.frame(&mut analyser, waiting)
                }
                None => {
                    if std::mem::take(&mut watching) {
                        self.hand_over(guarded(|| analyser.finish()));
                    }
                    if ended {
                        return false;
                    }
                    true
                }
            };
            if !self.parts.model.is(wanted) {
                let since: &mut Instant = replaced.get_or_insert_with(Instant::now);
                if quiet || since.elapsed() > REPLACING_MAX {
                    self.hand_over(guarded(|| analyser.finish()));
                    return true;
                }
            }
        }
    }

    /// Looks at one frame; true when no vehicle is in sight.
    fn frame(&self, analyser: &mut Analyser<'_>, Waiting { frame, arrived }: Waiting) -> bool {
        let metrics = &self.parts.metrics;
        let age = arrived.elapsed();
        if age > self.parts.frame_age_max && !self.parts.lossless {
            metrics.frames.with_label_values(&["stale"]).inc();
            return false;
        }
        let _frame = tracing::debug_span!("frame", sequence = frame.sequence).entered();
        match guarded(|| analyser.observe(&frame)) {
            Ok(Analysis { passages, followed, analysed, stages }) => {
                metrics.frames.with_label_values(&[if analysed { "analysed" } else { "still" }]).inc();
                for (stage, took) in stages.named().into_iter().filter(|(_, took)| !took.is_zero()) {
                    metrics.pipeline_duration.with_label_values(&[stage]).observe(took.as_secs_f64());
                }
                let quiet = followed.is_empty();
                let took_ms = stages.named().iter().map(|(_, took)| took.as_secs_f64() * 1e3).sum::<f64>();
                tracing::debug!(
                    tracks = followed.len(),
                    passages = passages.len(),
                    analysed,
                    took_ms,
                    "frame observed"
                );
                *self.shared.newest.lock().unwrap_or_else(PoisonError::into_inner) =
                    Some(NewestAnalysed { frame, followed });
                self.hand_over(Ok(passages));
                quiet
            }
            Err(error) => {
                if has_too_many_pixels(&error) {
                    metrics.count_limit(Limit::PicturePixels);
                }
                metrics.frames.with_label_values(&["invalid"]).inc();
                tracing::warn!(target: frame::LOG_TARGET, "camera: {}", error.chain());
                false
            }
        }
    }

    fn hand_over(&self, passages: Result<Vec<Passage>>) {
        match passages {
            Ok(passages) => {
                for passage in passages {
                    let direction = passage.direction.as_deref().unwrap_or_default();
                    let line = passage.line.as_deref().unwrap_or_default();
                    let labels = [passage.class.as_str(), direction, line];
                    self.parts.metrics.passages.with_label_values(&labels).inc();
                    (self.sink)(passage);
                }
            }
            Err(error) => tracing::error!("camera: a passage is lost: {}", error.chain()),
        }
    }
}

/// A panic in a decoder or a model must cost one frame, not the thread.
fn guarded<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|_| Err(Error::internal("This frame made the pipeline fail; the log of the unit says more.")))
}
