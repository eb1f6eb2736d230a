//! The pipeline's thread: it owns the detector's and a classifier's interpreter and runs the analyser.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::classifier::{LoadedDetector, LoadedModel, with_classifier, with_detector};
use crate::error::{Error, Result};
use crate::frame::Frame;
use crate::inference::prove_detector;
use crate::metrics::Metrics;
use crate::pipeline::analyser::{Analyser, Analysis, Followed, Judge, Settings};
use crate::pipeline::mailbox::{Mailbox, Offered, Waiting};
use crate::record::Passage;

/// Without frames for so long, what was counted is handed over: nobody knows when the next one comes.
const SILENCE: Duration = Duration::from_secs(3);

/// What the pipeline is made of.
pub struct Parts {
    pub settings: Settings,
    /// None: by motion alone.
    pub detector: Option<LoadedDetector>,
    pub model: Arc<LoadedModel>,
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
pub struct Live {
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
    live: Mutex<Option<Live>>,
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
    pub fn live(&self) -> Option<Live> {
        self.shared.live.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Pipeline {
    /// Starts the thread and returns once its interpreters are built and the detector has passed its golden test.
    ///
    /// # Errors
    /// What building an interpreter or the golden test said.
    pub fn start(parts: Parts, sink: PassageSink) -> Result<Self> {
        let shared = Arc::new(Shared {
            mailbox: Mailbox::default(),
            live: Mutex::new(None),
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
    parts: Parts,
    shared: Arc<Shared>,
    sink: PassageSink,
}

type Started = std::sync::mpsc::Sender<Result<()>>;

impl Run {
    fn run(self, started: &Started) {
        let threads = self.parts.threads;
        let built = with_classifier(&self.parts.model, threads, |classifier| {
            let manifest = &self.parts.model.manifest;
            let Some(detector) = &self.parts.detector else {
                let judge = Judge { classifier, manifest };
                self.serve(Analyser::new(self.parts.settings.clone(), None, judge), started);
                return Ok(());
            };
            with_detector(detector, threads, |interpreter| {
                prove_detector(interpreter, detector)?;
                let judge = Judge { classifier, manifest };
                let eye = crate::pipeline::eye(interpreter, detector);
                self.serve(Analyser::new(self.parts.settings.clone(), Some(eye), judge), started);
                Ok(())
            })?
        });
        if let Err(error) = built.and_then(|served| served) {
            // Nobody listens any more when this comes after the start.
            let _ = started.send(Err(error));
        }
    }

    fn serve(&self, mut analyser: Analyser<'_>, started: &Started) {
        if started.send(Ok(())).is_err() {
            return;
        }
        let mut watching = false;
        loop {
            let (waiting, ended) = self.shared.mailbox.next(SILENCE);
            let depth = i64::try_from(self.shared.mailbox.depth()).unwrap_or(i64::MAX);
            self.parts.metrics.queue_depth.with_label_values(&["camera"]).set(depth);
            match waiting {
                Some(waiting) => {
                    watching = true;
                    self.frame(&mut analyser, waiting);
                }
                None => {
                    if std::mem::take(&mut watching) {
                        self.hand_over(guarded(|| analyser.finish()));
                    }
                    if ended {
                        return;
                    }
                }
            }
        }
    }

    fn frame(&self, analyser: &mut Analyser<'_>, Waiting { frame, arrived }: Waiting) {
        let metrics = &self.parts.metrics;
        let age = arrived.elapsed();
        metrics.frame_age.set(age.as_secs_f64());
        if age > self.parts.frame_age_max && !self.parts.lossless {
            metrics.frames.with_label_values(&["stale"]).inc();
            return;
        }
        match guarded(|| analyser.look(&frame)) {
            Ok(Analysis { passages, followed, analysed, stages }) => {
                metrics.frames.with_label_values(&[if analysed { "analysed" } else { "still" }]).inc();
                for (stage, took) in stages.named().into_iter().filter(|(_, took)| !took.is_zero()) {
                    metrics.pipeline_duration.with_label_values(&[stage]).observe(took.as_secs_f64());
                }
                *self.shared.live.lock().unwrap_or_else(PoisonError::into_inner) = Some(Live { frame, followed });
                self.hand_over(Ok(passages));
            }
            Err(error) => {
                metrics.frames.with_label_values(&["invalid"]).inc();
                tracing::warn!("camera: {}", error.chain());
            }
        }
    }

    fn hand_over(&self, passages: Result<Vec<Passage>>) {
        match passages {
            Ok(passages) => {
                for passage in passages {
                    let direction = passage.direction.as_deref().unwrap_or_default();
                    self.parts.metrics.passages.with_label_values(&[passage.class.as_str(), direction]).inc();
                    (self.sink)(passage);
                }
            }
            Err(error) => tracing::error!("camera: a passage is lost: {}", error.chain()),
        }
    }
}

/// A panic in a decoder or a model must cost one frame, not the thread.
fn guarded<T>(look: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(look))
        .unwrap_or_else(|_| Err(Error::internal("This frame made the pipeline fail; the log of the unit says more.")))
}
