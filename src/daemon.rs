//! The only wiring: builds the parts, says READY when all stand, watches them, and drains them in order.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::api::{self, ApiParts, AppState, Gaps};
use crate::auth::key::load_or_create;
use crate::auth::{Key, Signer};
use crate::capture::{self, CameraStatus, Pauses, RequestedMode, SourceSpec, Supervisor};
use crate::classifier::{ActiveModel, LoadedDetector, LoadedModel, ModelsDirectory, UnusableVersion};
use crate::clock::{Clock, SystemClock};
use crate::config::{Loaded, Sources};
use crate::coverage::CoverageKeeper;
use crate::error::{Error, Result};
use crate::files::{act_as_owner, writable_by_all};
use crate::frame::LiveView;
use crate::inference::{self, Inference, UploadQueue};
use crate::logging::LevelHandle;
use crate::metrics::Metrics;
use crate::pipeline::{Intake, Pipeline};
use crate::place::{self, Hold};
use crate::store::{BackupPlan, DATABASE_FILE, Keep, Retention, Store, StoreSettings, UpkeepPlan};
use crate::sync::{self, Sync};

mod camera;
mod central;
pub mod effective;
mod first_start;
mod listen;
mod memory;
mod notify;
mod reload;
pub mod startup;
pub mod tls;

use reload::Reload;
use startup::Startup;

pub use central::redis_settings;

/// In-flight requests get this long to finish; the rest of the ten seconds is for the flush.
const DRAIN_MAX: Duration = Duration::from_secs(8);
/// What waits for the central site gets this long at the end.
const SYNC_DRAIN_MAX: Duration = Duration::from_secs(1);
/// A worker or the writer that is busy longer than this with one job hangs.
const STUCK: Duration = Duration::from_secs(20);
/// How often progress is looked at.
const WATCH_PERIOD: Duration = Duration::from_secs(2);

/// The running parts, in the order in which they are drained.
struct Unit {
    api: Arc<AppState>,
    capture: Supervisor,
    pipeline: Option<Pipeline>,
    coverage: CoverageKeeper,
    inference: Inference,
    sync: Option<Sync>,
    store: Store,
    /// Of the state directory, until the last part has stopped.
    hold: Hold,
}

/// Runs the unit until a signal ends it.
///
/// # Errors
/// Whatever keeps the unit from starting.
pub fn serve(loaded: &Loaded, sources: &Sources) -> Result<()> {
    let level = crate::logging::install(&loaded.config.log)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("async")
        .enable_all()
        .build()
        .map_err(|cause| Error::internal("The async runtime cannot be started.").because(cause))?;
    let served = runtime.block_on(run(loaded, sources, &level));
    runtime.shutdown_timeout(Duration::from_secs(1));
    served
}

async fn run(loaded: &Loaded, sources: &Sources, level: &LevelHandle) -> Result<()> {
    // Signals that come while the parts are built are kept and end the unit right after.
    let mut signals = Signals::new()?;
    let config = &loaded.config;
    let state_directory = place::state_directory(&config.store)?;
    act_as_owner(&state_directory, DATABASE_FILE)?;
    let unit_id = place::unit_id(&config.unit, &state_directory)?;
    let mut bound = listen::bind(config, &state_directory, &unit_id).await?;
    let unit = tokio::task::block_in_place(|| build(loaded, &state_directory, &unit_id))?;
    effective::keep(&state_directory, effective::entries(loaded));
    let kept = state_directory.clone();
    let (url, renewal) = (bound.url(), bound.renewal.take());
    let mut reload = Reload {
        sources,
        level,
        api: unit.api.clone(),
        state_directory,
        renewal,
        model: unit.api.model.clone(),
        metrics: unit.api.metrics.clone(),
        started: loaded.clone(),
        last: loaded.clone(),
    };
    let (server, door) = bound.server(config, unit.api.metrics.clone());
    let handle = server.handle();
    let streams = unit.api.clone();
    let serving = tokio::spawn(server.try_serve(api::service(unit.api.clone())?));
    tracing::info!("ready: {url} (API documentation at {url}docs)");
    notify::ready(&format!("Serving on {url}"));
    let watchdog = tokio::spawn(notify::watchdog(Progress::of(&unit)));
    signals.until_stopped(&mut reload).await;
    notify::stopping();
    tracing::info!("stopping: finishing what was begun");
    tokio::spawn(async move {
        signals.stop.recv().await;
        tracing::warn!("second signal: stopping at once");
        std::process::exit(1);
    });
    streams.stop_streams();
    handle.stop_graceful(DRAIN_MAX);
    door.close();
    match serving.await {
        Ok(Ok(())) => {}
        Ok(Err(cause)) => tracing::error!("the server ended with an error: {cause}"),
        Err(cause) => tracing::error!("the server task failed: {cause}"),
    }
    watchdog.abort();
    effective::forget(&kept);
    tokio::task::block_in_place(|| drain(unit));
    tracing::info!("stopped");
    Ok(())
}

fn build(loaded: &Loaded, state_directory: &Path, unit_id: &str) -> Result<Unit> {
    let config = &loaded.config;
    let metrics = Arc::new(Metrics::new()?);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let hold = place::hold(state_directory)?;
    let Startup { capture: watching, model, detector } = Startup::read(loaded, state_directory)?;
    let model = ActiveModel::new(model);
    show_model(&metrics, &model);
    metrics.set_unit(unit_id, &config.unit.site);
    // Only this process records what the central site is told of.
    let events = (!config.sync.redis_url.is_empty()).then(|| sync::encoder(unit_id));
    let settings = StoreSettings { events, ..store_settings(loaded, state_directory.to_owned()) };
    let store = Store::open_or_set_aside(settings, metrics.clone())?;
    store.set_day_zone(&config.unit.timezone).wait()?;
    first_start::create_admin(&store, state_directory, clock.as_ref())?;
    warn_of_exposed(&guarded(loaded, state_directory));
    keep_up(&store, loaded, state_directory, &clock)?;
    let signer = Signer::new(&token_key(loaded, state_directory)?, unit_id);
    let settings = inference_settings(loaded);
    let sink = camera::camera_sink(store.clone());
    let inference = Inference::start(&settings, &model, sink, &metrics)?;
    let golden_result = inference.golden_result();
    tracing::info!(
        "model {}: the golden picture is a {} ({:.2}), as it must be; {} worker(s)",
        model.get().title(),
        golden_result.value,
        golden_result.confidence,
        settings.worker_count()
    );
    let queue = inference.queue();
    let live = LiveView::new();
    let (pipeline, detector_is_older) =
        camera::start_pipeline(loaded, &watching.source, detector, &model, &store, &metrics)?;
    let intake = pipeline.as_ref().map(Pipeline::intake);
    let take = camera::taker(intake.clone(), queue.clone(), live.clone());
    let capture = Supervisor::start(watching, clock.clone(), metrics.clone(), take)?;
    let (camera, own) = (capture.status(), clock.clone());
    let gap: Gaps =
        Arc::new(move || camera.state().gap().or_else(|| camera::unseen(&camera, intake.as_ref()?, own.as_ref())));
    let told = gap.clone();
    let coverage = CoverageKeeper::start(store.clone(), clock.clone(), metrics.clone(), move || told())?;
    let sync = central::start(config, unit_id, &store, &clock, &metrics)?;
    let api = AppState::new(ApiParts {
        config: config.clone(),
        state_directory: state_directory.to_owned(),
        unit_id: unit_id.to_owned(),
        guarded: guarded(loaded, state_directory),
        store: store.clone(),
        queue,
        sync: sync.as_ref().map(Sync::status_reader),
        camera: capture.status(),
        gap,
        view: live,
        model,
        detector_is_older,
        workers: settings.worker_count(),
        signer,
        metrics,
        clock,
    });
    Ok(Unit { api, capture, pipeline, coverage, inference, sync, store, hold })
}

/// What only the unit's account and root should be able to change.
#[must_use]
pub fn guarded(loaded: &Loaded, state_directory: &Path) -> Vec<PathBuf> {
    loaded.files.iter().cloned().chain([state_directory.to_owned()]).collect()
}

fn warn_of_exposed(guarded: &[PathBuf]) {
    for path in writable_by_all(guarded) {
        tracing::warn!("every account of this machine can write to {0}: chmod o-w {0}", path.display());
    }
}

/// A fresh database in the place of a damaged one gets its first account when none could be saved, as at the first start.
fn keep_up(store: &Store, loaded: &Loaded, state_directory: &Path, clock: &Arc<dyn Clock>) -> Result<()> {
    let (state_directory, own) = (state_directory.to_owned(), clock.clone());
    store.keep_up(upkeep_plan(loaded), clock.clone(), move |store| {
        if let Err(error) = first_start::create_admin(store, &state_directory, own.as_ref()) {
            tracing::error!("the first account of the fresh database cannot be made: {}", error.chain());
        }
    })
}

/// The model that the configuration names, or the activated one, or the built-in choice.
///
/// # Errors
/// Not found or validation, saying which model and why.
pub fn load_model(loaded: &Loaded, state_directory: &Path) -> Result<LoadedModel> {
    let classifier = &loaded.config.classifier;
    let models = ModelsDirectory::new(place::models_directory(classifier)?);
    let wanted =
        if classifier.model.is_empty() { place::active_model(state_directory)? } else { classifier.model.clone() };
    let model = models.load(&wanted)?;
    report_unusable(&model.unusable, &model.title());
    Ok(model)
}

/// The log's share of what health and `doctor` say too.
fn report_unusable(unusable: &[UnusableVersion], used: &str) {
    for UnusableVersion { title, why } in unusable {
        tracing::warn!(%title, used, "newer model version cannot be used: {why}");
    }
}

fn show_model(metrics: &Metrics, model: &ActiveModel) {
    let model = model.get();
    let manifest = &model.manifest;
    metrics.set_model(&manifest.name, &manifest.version, &manifest.sha256);
}

/// The model that finds vehicles; none where `traffic.detector` says so.
///
/// # Errors
/// Not found or validation, saying which model and why.
pub fn load_detector(loaded: &Loaded) -> Result<Option<LoadedDetector>> {
    let wanted = &loaded.config.traffic.detector;
    if wanted == "none" {
        return Ok(None);
    }
    let models = ModelsDirectory::new(place::models_directory(&loaded.config.classifier)?);
    let detector = models.load_detector(wanted)?;
    report_unusable(&detector.unusable, &detector.title());
    Ok(Some(detector))
}

/// The key that signs tokens: the configured one, or the one kept in the state directory.
///
/// # Errors
/// Config when it cannot be used; internal when it cannot be made.
pub fn token_key(loaded: &Loaded, state_directory: &Path) -> Result<Key> {
    let configured = &loaded.config.auth.secret_key;
    if configured.is_empty() {
        load_or_create(&state_directory.join("token.key"))
    } else {
        Key::from_secret(configured)
    }
}

/// The store's share of the configuration.
#[must_use]
pub fn store_settings(loaded: &Loaded, directory: PathBuf) -> StoreSettings {
    let store = &loaded.config.store;
    StoreSettings {
        directory,
        queue_depth_max: store.queue_depth_max,
        readers: store.readers,
        classifications_max: store.classifications_max,
        crop_bytes_max: store.crop_bytes_max,
        events: None,
        held_bytes_max: store.held_bytes_max,
    }
}

/// What the store does by itself while the unit runs.
fn upkeep_plan(loaded: &Loaded) -> UpkeepPlan {
    let store = &loaded.config.store;
    let every = Duration::from_secs(u64::from(store.backup_hours) * 3_600);
    UpkeepPlan {
        backup: BackupPlan { every: (!every.is_zero()).then_some(every), bytes_max: store.backup_bytes_max },
        retention: Retention {
            classifications: keep(store.classifications_days_max, store.classifications_bytes_max),
            passages: keep(store.passages_days_max, store.passages_bytes_max),
            reports: keep(store.reports_days_max, store.reports_bytes_max),
            audit: keep(store.audit_days_max, store.audit_bytes_max),
            crops: keep(store.crop_days_max, u64::MAX),
            outbox: keep(0, store.outbox_bytes_max),
        },
    }
}

/// No days: whatever their age.
fn keep(days_max: u32, bytes_max: u64) -> Keep {
    let age_max = Duration::from_secs(u64::from(days_max) * 86_400);
    Keep { age_max: (!age_max.is_zero()).then_some(age_max), bytes_max }
}

/// The inference side's share of the configuration.
#[must_use]
pub fn inference_settings(loaded: &Loaded) -> inference::InferenceSettings {
    let classifier = &loaded.config.classifier;
    inference::InferenceSettings {
        workers: classifier.workers,
        threads: classifier.threads,
        queue_depth_max: classifier.queue_depth_max,
        picture_pixels_max: classifier.picture_pixels_max,
        decode_bytes_max: memory::decode_bytes(classifier.decode_memory_bytes_max),
        frame_age_max: Duration::from_millis(loaded.config.capture.frame_age_max_ms),
    }
}

/// The capture side's share of the configuration.
///
/// # Errors
/// Config when the source cannot be read.
pub fn capture_settings(loaded: &Loaded) -> Result<capture::CaptureSettings> {
    let wanted = &loaded.config.capture;
    let size = (wanted.width > 0).then_some((wanted.width, wanted.height));
    let mut settings = capture::CaptureSettings {
        source: wanted.source.parse()?,
        requested: RequestedMode { size, fps: wanted.fps, format: wanted.format },
        frame_deadline: Duration::from_millis(wanted.frame_deadline_ms),
        frozen_after: Duration::from_millis(wanted.frozen_after_ms),
        frame_age_max: Duration::from_millis(wanted.frame_age_max_ms),
        picture_pixels_max: loaded.config.classifier.picture_pixels_max,
        pauses: Pauses::default(),
    };
    if let SourceSpec::Replay(replay) = &settings.source {
        // A recording of one picture in ten seconds is no blocked camera.
        let fps = replay.fps.unwrap_or(wanted.fps);
        let period = if fps > 0.0 { Duration::from_secs_f64(3.0 / fps) } else { Duration::ZERO };
        settings.frame_deadline = settings.frame_deadline.max(period);
    }
    Ok(settings)
}

/// Capture first, so that nothing new comes in; the store last, because everybody writes to it.
fn drain(unit: Unit) {
    unit.capture.stop();
    if let Some(pipeline) = unit.pipeline {
        pipeline.stop();
    }
    unit.coverage.stop();
    unit.inference.stop();
    if let Some(sync) = unit.sync {
        tokio::runtime::Handle::current().block_on(sync.stop(SYNC_DRAIN_MAX));
    }
    unit.store.close();
    drop(unit.hold);
}

/// What the watchdog looks at.
pub struct Progress {
    metrics: Arc<Metrics>,
    queue: UploadQueue,
    store: Store,
    camera: CameraStatus,
    pipeline: Option<Intake>,
}

impl Progress {
    fn of(unit: &Unit) -> Self {
        Self {
            metrics: unit.api.metrics.clone(),
            queue: unit.inference.queue(),
            store: unit.store.clone(),
            camera: unit.capture.status(),
            pipeline: unit.pipeline.as_ref().map(Pipeline::intake),
        }
    }

    /// None while every part makes progress or rests; else which one hangs.
    fn stuck(&self) -> Option<&'static str> {
        if self.queue.busiest().is_some_and(|busy| busy > STUCK) {
            return Some("an inference worker");
        }
        if self.pipeline.as_ref().and_then(Intake::busy).is_some_and(|busy| busy > STUCK) {
            return Some("the pipeline");
        }
        let store = self.store.progress();
        if !store.alive || store.busy_for.is_some_and(|busy| busy > STUCK) {
            return Some("the store's writer");
        }
        self.camera.stuck(STUCK).then_some("the capture thread")
    }
}

struct Signals {
    stop: tokio::sync::mpsc::Receiver<()>,
    reload: Signal,
}

impl Signals {
    fn new() -> Result<Self> {
        let listen = |kind| signal(kind).map_err(|cause| Error::internal("Signals cannot be received.").because(cause));
        let (mut terminate, mut interrupt) = (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
        let (send, stop) = tokio::sync::mpsc::channel(2);
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
                if send.send(()).await.is_err() {
                    return;
                }
            }
        });
        Ok(Self { stop, reload: listen(SignalKind::hangup())? })
    }

    /// Serves SIGHUP until SIGTERM or SIGINT comes.
    async fn until_stopped(&mut self, reload: &mut Reload<'_>) {
        loop {
            tokio::select! {
                _ = self.stop.recv() => return,
                _ = self.reload.recv() => tokio::task::block_in_place(|| reload.run()),
            }
        }
    }
}
