//! `count CLIP [--fps N] [--json]`: the vehicles that pass in a recording, with the configured lines, without a running unit.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use crate::capture::{FrameSource, Replay, ReplaySpec};
use crate::classifier::{with_classifier, with_detector};
use crate::cli::table::table;
use crate::cli::{Context, complain, progress, say, say_json};
use crate::clock::{Stamp, SystemClock};
use crate::daemon::{inference_settings, load_detector, load_model};
use crate::error::{Error, Result};
use crate::pipeline::{Analyser, AnalyserSettings, CropClassifier, Followed, Stages, frame_detector};
use crate::record::Passage;

#[derive(clap::Args)]
pub struct CountArguments {
    /// A `.mjpeg` file of concatenated JPEGs
    clip: PathBuf,
    /// Frames a second the clip was recorded with [default: traffic.clip_fps]
    #[arg(long, value_parser = frames_a_second)]
    fps: Option<f64>,
    /// One JSON object a line instead of a table
    #[arg(long)]
    json: bool,
    /// Tell afterwards how long the stages of a frame took
    #[arg(long)]
    timings: bool,
    /// Show where every followed vehicle is in every frame, one JSON object a line
    #[arg(long, hide = true)]
    trace: bool,
}

fn frames_a_second(text: &str) -> Result<f64, &'static str> {
    let fps = text.parse().ok().filter(|fps| *fps > 0.0 && *fps <= 240.0);
    fps.ok_or("it must be above 0 and at most 240")
}

/// What was seen in the whole clip.
#[derive(Default)]
struct Seen {
    frames: u64,
    analysed: u64,
    unreadable: u64,
    passages: Vec<Passage>,
    stages: [Duration; 5],
}

pub fn run(arguments: &CountArguments, context: &Context) -> Result<ExitCode> {
    let config = &context.loaded.config;
    let fps = arguments.fps.unwrap_or(config.traffic.clip_fps);
    if arguments.clip.is_dir() {
        return Err(Error::validation(format!("{} is a directory; name a .mjpeg file.", arguments.clip.display())));
    }
    let model = load_model(&context.loaded, &context.state_directory()?)?;
    let detector = load_detector(&context.loaded)?;
    let threads = inference_settings(&context.loaded).threads;
    let picture_pixels_max = config.classifier.picture_pixels_max;
    let settings = AnalyserSettings { traffic: config.traffic.clone(), picture_pixels_max, clip_fps: Some(fps) };
    let manifest = &model.manifest;
    let seen = with_classifier(&model, threads, |classifier| {
        let Some(detector) = &detector else {
            return seen(arguments, fps, Analyser::new(settings, None, CropClassifier { classifier, manifest }));
        };
        with_detector(detector, threads, |interpreter| {
            let classifier = CropClassifier { classifier, manifest };
            seen(arguments, fps, Analyser::new(settings, Some(frame_detector(interpreter, detector)), classifier))
        })?
    })??;
    tell(arguments, &seen)?;
    Ok(ExitCode::SUCCESS)
}

fn seen(arguments: &CountArguments, fps: f64, mut analyser: Analyser<'_>) -> Result<Seen> {
    let spec = ReplaySpec { path: arguments.clip.clone(), fps: Some(0.0), repeat: false };
    let mut source = Replay::open(spec, fps, Arc::new(SystemClock::new()), Box::new(|_| true))?;
    let mut seen = Seen::default();
    let progress = progress::spinner("{spinner} {pos} frames, {per_sec}");
    let mut cut = None;
    while let Some(mut frame) = source.next()? {
        if let Some(error) = cut.take() {
            progress.suspend(|| complain(&error));
        }
        // The clip's own time begins at zero.
        frame.captured.monotonic = Duration::ZERO;
        seen.frames += 1;
        progress.inc(1);
        match analyser.observe(&frame) {
            Ok(analysis) => {
                seen.analysed += u64::from(analysis.analysed);
                seen.passages.extend(analysis.passages);
                seen.time(&analysis.stages);
                if arguments.trace {
                    trace(frame.sequence, &analysis.followed)?;
                }
            }
            Err(error) => {
                seen.unreadable += 1;
                // Whether it is the last frame shows with the next one.
                if source.ends_cut() {
                    cut = Some(error);
                } else {
                    progress.suspend(|| complain(&error));
                }
            }
        }
    }
    progress.finish_and_clear();
    if cut.is_some() {
        let clip = arguments.clip.display();
        complain(&Error::validation(format!("{clip} ends within its last frame; that frame is not counted.")));
    }
    seen.passages.extend(analyser.finish()?);
    if seen.frames == 0 {
        return Err(Error::validation(format!("{} holds no JPEG pictures.", arguments.clip.display())));
    }
    Ok(seen)
}

fn trace(frame: u64, followed: &[Followed]) -> Result<()> {
    let boxes = followed.iter().map(|one| {
        let rect = [one.rect.left, one.rect.top, one.rect.right, one.rect.bottom].map(f32::round);
        json!({ "track": one.track, "rect": rect, "counted": one.counted, "detected": one.detected })
    });
    say_json(&json!({ "frame": frame, "followed": boxes.collect::<Vec<_>>() }))
}

impl Seen {
    fn time(&mut self, stages: &Stages) {
        for (sum, (_, took)) in self.stages.iter_mut().zip(stages.named()) {
            *sum += took;
        }
    }
}

/// Since the clip's beginning.
fn seconds(stamp: &Stamp) -> f64 {
    stamp.monotonic.as_secs_f64()
}

fn tell(arguments: &CountArguments, seen: &Seen) -> Result<()> {
    if arguments.json {
        for passage in &seen.passages {
            say_json(&json!({
                "started_at_seconds": seconds(&passage.started), "counted_at_seconds": seconds(&passage.counted),
                "ended_at_seconds": seconds(&passage.ended), "class": passage.class, "confidence": passage.confidence,
                "crops": passage.crops, "line": passage.line, "direction": passage.direction, "lane": passage.lane,
                "speed_kmh": passage.speed_kmh,
            }))?;
        }
    } else {
        let row = |passage: &Passage| {
            let text = |value: &Option<String>| value.clone().unwrap_or_default();
            vec![
                format!("{:.1}", seconds(&passage.counted)),
                passage.class.clone(),
                format!("{:.2}", passage.confidence),
                passage.crops.to_string(),
                text(&passage.line),
                text(&passage.direction),
                text(&passage.lane),
                passage.speed_kmh.map_or_else(String::new, |speed| format!("{speed:.0}")),
            ]
        };
        let rows: Vec<_> = seen.passages.iter().map(row).collect();
        say(&table(&["SECONDS", "CLASS", "CONFIDENCE", "PICTURES", "LINE", "DIRECTION", "LANE", "KM/H"], &rows))?;
        let Seen { frames, analysed, unreadable, .. } = seen;
        say(&format!(
            "{} passages in {frames} frames; in {analysed} of them something moved, {unreadable} could not be read.",
            rows.len()
        ))?;
    }
    if arguments.timings {
        for ((stage, _), sum) in Stages::default().named().into_iter().zip(seen.stages) {
            say(&format!("{stage}: {:.2} ms a frame", sum.as_secs_f64() * 1e3 / seen.frames.max(1) as f64))?;
        }
    }
    Ok(())
}
