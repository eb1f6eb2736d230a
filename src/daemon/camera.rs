//! Where a camera's frames go: video through the pipeline into the ledger, still pictures one by one to the classifier.

use std::sync::Arc;
use std::time::Duration;

use crate::capture::{CameraStatus, SourceSpec};
use crate::classifier::{ActiveModel, LoadedDetector};
use crate::clock::Clock;
use crate::config::Loaded;
use crate::daemon::inference_settings;
use crate::daemon::startup::is_video;
use crate::error::Result;
use crate::frame::{self, Frame, LiveView, TrackBox};
use crate::inference::{FrameSink, UploadQueue};
use crate::metrics::Metrics;
use crate::pipeline::{AnalyserSettings, Followed, Intake, Pipeline, PipelineParts};
use crate::record::{Classification, Gap, Origin, Passage, UNCLASSIFIED};
use crate::store::Store;

/// A vehicle that is not seen for longer than this is another one to the tracker (`traffic` keeps tracks about as long).
const LOOKED_AT_WITHIN: Duration = Duration::from_secs(2);

/// Starts the pipeline for a source of video; none for no camera, and for a directory of pictures, which shows no motion.
/// Also says whether a newer version of the detector cannot be used.
///
/// # Errors
/// When the detector fails its golden test.
pub(super) fn start_pipeline(
    loaded: &Loaded,
    source: &SourceSpec,
    detector: Option<LoadedDetector>,
    model: &ActiveModel,
    store: &Store,
    metrics: &Arc<Metrics>,
) -> Result<(Option<Pipeline>, bool)> {
    let config = &loaded.config;
    if !is_video(source) {
        return Ok((None, false));
    }
    let fastest = matches!(source, SourceSpec::Replay(replay) if replay.fps == Some(0.0));
    let named = detector.as_ref().map_or_else(|| "none: motion alone".to_owned(), |detector| detector.title());
    let is_older = detector.as_ref().is_some_and(|detector| !detector.unusable.is_empty());
    let parts = PipelineParts {
        settings: AnalyserSettings {
            traffic: config.traffic.clone(),
            picture_pixels_max: config.classifier.picture_pixels_max,
            clip_fps: fastest.then_some(config.traffic.clip_fps),
        },
        detector,
        model: model.clone(),
        threads: inference_settings(loaded).threads,
        lossless: fastest,
        frame_age_max: Duration::from_millis(config.capture.frame_age_max_ms),
        metrics: metrics.clone(),
    };
    expect_passages(loaded, model, metrics);
    let store = store.clone();
    let pipeline = Pipeline::start(parts, Box::new(move |passage| record(&store, passage)))?;
    let lines = config.traffic.lines.len();
    tracing::info!("traffic: {lines} counting line(s), detector {named}");
    Ok((Some(pipeline), is_older))
}

/// The lines are a closed set, and so are the model's labels.
fn expect_passages(loaded: &Loaded, model: &ActiveModel, metrics: &Metrics) {
    let lines = loaded.config.traffic.lines.iter();
    let mut ways: Vec<_> = lines
        .flat_map(|line| [(line.name.as_str(), line.forward.as_str()), (line.name.as_str(), line.backward.as_str())])
        .collect();
    if ways.is_empty() {
        ways.push(("", ""));
    }
    let model = model.get();
    metrics.expect_passages(&ways, model.manifest.type_labels().filter(|label| *label != "background"));
    metrics.expect_passages(&ways, [UNCLASSIFIED]);
}

fn record(store: &Store, passage: Passage) {
    tracing::debug!(
        "passage: {} ({:.2}) {}",
        passage.class,
        passage.confidence,
        passage.direction.as_deref().unwrap_or_default()
    );
    // Nobody waits: the writer says in the log what it could not keep.
    drop(store.record_passage(passage));
}

/// What capture hands its frames to. People who watch get each one, and the newest that was looked through with its tracks.
pub(super) fn taker(pipeline: Option<Intake>, queue: UploadQueue, live: LiveView) -> impl Fn(Frame) + Send + 'static {
    move |frame| {
        live.show(frame.clone());
        let Some(pipeline) = &pipeline else { return queue.offer(frame) };
        if let Some(seen) = pipeline.newest() {
            live.show_tracks(seen.frame, seen.followed.iter().map(track_box).collect());
        }
        pipeline.offer(frame);
    }
}

fn track_box(followed: &Followed) -> TrackBox {
    let label = if followed.detected { "" } else { "motion" };
    TrackBox { track: followed.track, rect: followed.rect, label: label.into(), counted: followed.counted }
}

/// Why frames are not looked at although the camera counts as connected: the newest one that was is older than tracking bridges, because the
/// camera has fallen silent (its deadline comes later), or because too many come.
pub(super) fn unseen(camera: &CameraStatus, pipeline: &Intake, clock: &dyn Clock) -> Option<Gap> {
    let seen = pipeline.newest()?.frame.captured.monotonic;
    cause(clock.now().monotonic.saturating_sub(seen), camera.since_frame())
}

/// Of frames not looked at for so long, when the camera's last one is so old (none: it never gave one).
fn cause(unseen: Duration, silent: Option<Duration>) -> Option<Gap> {
    if unseen <= LOOKED_AT_WITHIN {
        return None;
    }
    let silent = silent.is_some_and(|since| since > LOOKED_AT_WITHIN);
    Some(if silent { Gap::CameraDown } else { Gap::Overload })
}

/// Stores what the workers say of still pictures. Their rows share the uploads' commits; nobody waits for them.
pub(super) fn camera_sink(store: Store) -> FrameSink {
    Box::new(move |frame, answer| {
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => return tracing::warn!(target: frame::LOG_TARGET, "camera: {}", error.chain()),
        };
        tracing::debug!("camera: {} is {:?}", frame.label, answer.of_type().map(|found| &found.value));
        let record = Classification {
            id: uuid::Uuid::new_v4().to_string(),
            origin: Origin::Camera,
            user: None,
            file_name: Some(frame.label.to_string()),
            confidence: answer.confidence(),
            processing_time_ms: answer.timings.total().as_secs_f64() * 1e3,
            predictions: answer.predictions,
            picture: answer.picture,
            model: answer.model,
            model_version: answer.model_version,
            created: frame.captured,
        };
        drop(store.record_camera(record));
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silent_camera_is_down_and_one_whose_frames_wait_is_too_much() {
        let seconds = Duration::from_secs_f64;
        assert_eq!(cause(seconds(2.0), Some(seconds(2.0))), None, "tracking bridges this");
        assert_eq!(cause(seconds(2.1), Some(seconds(2.1))), Some(Gap::CameraDown));
        assert_eq!(cause(seconds(60.0), Some(seconds(0.1))), Some(Gap::Overload), "frames come");
        assert_eq!(cause(seconds(2.5), Some(seconds(1.9))), Some(Gap::Overload), "the last frame may yet be looked at");
        assert_eq!(cause(seconds(3.0), None), Some(Gap::Overload), "no frame yet is not a silence");
    }
}
