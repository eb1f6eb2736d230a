//! `bench`: what this device does in how much time, stage by stage and end to end.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::classifier::PictureClassifier;
use crate::classifier::with_classifier;
use crate::classifier::{GoldenPattern, LoadedModel};
use crate::cli::table::table;
use crate::cli::{Context, progress, read_file, say, say_json};
use crate::daemon::{inference_settings, load_model};
use crate::error::{Error, Result};
use crate::imaging::{self, Limits};

mod end_to_end;
mod figures;
mod python;

use figures::{Figures, timed};

/// A stage is measured at least this often, however short the time.
const ROUNDS_MIN: usize = 10;

#[derive(clap::Args)]
pub struct BenchArguments {
    /// Picture to measure with [default: the model's golden picture]
    #[arg(long, value_name = "F")]
    image: Option<PathBuf>,
    /// Seconds to measure in all
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    seconds: u64,
    /// One JSON object a line instead of a table
    #[arg(long)]
    json: bool,
    /// A Python that has `ai-edge-litert`: also runs the model there, in turn with this runtime, one thread each
    #[arg(long, value_name = "PYTHON")]
    python: Option<PathBuf>,
}

pub fn run(arguments: &BenchArguments, context: &Context) -> Result<ExitCode> {
    let model = load_model(&context.loaded, &context.state_directory()?)?;
    let (bytes, name) = match &arguments.image {
        Some(path) => (read_file(path)?, path.display().to_string()),
        None => (model.golden_picture.clone(), model.manifest.golden.picture.file.clone()),
    };
    let format = imaging::sniff(&bytes)
        .ok_or_else(|| Error::validation(format!("{name}: this is no picture in a supported format.")))?;
    // Decode, resize and invoke come from the same rounds; then the store, and the way through HTTP.
    let share = Duration::from_secs(arguments.seconds) / 3;
    let progress = progress::spinner("{spinner} {msg}, {elapsed}");
    progress.set_message("measuring the stages");
    let mut figures = stages(&model, context, &bytes, &name, share)?;
    let comparison = arguments.python.as_ref().map(|python| python::compare(python, &model, share)).transpose()?;
    progress.set_message("measuring the store and the way through HTTP");
    let run = end_to_end::measure(context, &bytes, format, share)?;
    progress.finish_and_clear();
    figures.push(run.store);
    figures.push(run.http);
    report(arguments, &figures, run.ready, comparison.as_ref())?;
    Ok(ExitCode::SUCCESS)
}

fn stages(model: &LoadedModel, context: &Context, bytes: &[u8], name: &str, share: Duration) -> Result<Vec<Figures>> {
    let settings = inference_settings(&context.loaded);
    let limits = Limits { pixels_max: settings.picture_pixels_max };
    with_classifier(model, settings.threads, |classifier| {
        let mut classifier = PictureClassifier::new(classifier, &model.manifest, limits);
        let mut times: [Vec<Duration>; 3] = Default::default();
        let end = Instant::now() + share;
        while times[0].len() < ROUNDS_MIN || Instant::now() < end {
            let answer = classifier.classify(bytes, name)?;
            for (times, (_, took)) in times.iter_mut().zip(answer.timings.stages()) {
                times.push(took);
            }
        }
        let names = ["decode", "resize", "invoke"];
        Ok(names.into_iter().zip(times).map(|(name, times)| Figures::new(name, None, times)).collect())
    })?
}

fn report(
    arguments: &BenchArguments,
    figures: &[Figures],
    ready: Duration,
    comparison: Option<&python::Comparison>,
) -> Result<()> {
    if arguments.json {
        for figure in figures {
            say_json(&figure.json())?;
        }
        say_json(&json!({ "stage": "ready", "ms": milliseconds(ready) }))?;
        return comparison.map_or(Ok(()), |comparison| say_json(&comparison.json()));
    }
    let rows: Vec<_> = figures.iter().map(Figures::row).collect();
    say(&table(&["STAGE", "P50 MS", "P95 MS", "P99 MS", "PER SECOND", "ROUNDS", "THRESHOLD"], &rows))?;
    say(&format!("ready after {:.0} ms", milliseconds(ready)))?;
    comparison.map_or(Ok(()), |comparison| say(&comparison.text()))
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// One batch of invocations of this runtime on the golden pattern, for [`python`].
fn invoke_batch(classifier: &mut PictureClassifier<'_>, model: &LoadedModel, rounds: usize) -> Result<Vec<Duration>> {
    let tensor = GoldenPattern::tensor(model.manifest.input.elements());
    (0..rounds).map(|_| timed(|| classifier.invoke(&tensor).map(drop))).collect()
}
