//! `classify FILE… [--json]`: the classifier without the daemon.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use crate::classifier::{PictureAnswer, PictureClassifier, with_classifier};
use crate::cli::table::table;
use crate::cli::{Context, complain, read_bounded, say, say_json};
use crate::daemon::{inference_settings, load_model};
use crate::error::{Error, Result};
use crate::imaging::{Declared, Limits};

/// Fewer files than this are done before a progress bar could be read.
const PROGRESS_FILES_MIN: usize = 20;

#[derive(clap::Args)]
pub struct ClassifyArguments {
    /// Pictures: JPEG, PNG, BMP, GIF, WebP
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// One JSON object a line instead of a table
    #[arg(long)]
    json: bool,
}

pub fn run(arguments: &ClassifyArguments, context: &Context) -> Result<ExitCode> {
    let model = load_model(&context.loaded, &context.state_directory()?)?;
    let settings = inference_settings(&context.loaded);
    let limits = Limits { pixels_max: settings.picture_pixels_max };
    let bytes_max = context.loaded.config.api.upload_bytes_max;
    let progress = progress(arguments.files.len());
    let mut rows = Vec::new();
    let mut failed = false;
    with_classifier(&model, settings.threads, |classifier| {
        let mut classifier = PictureClassifier::new(classifier, &model.manifest, limits);
        for path in &arguments.files {
            match classify(&mut classifier, path, bytes_max) {
                Ok(answer) if arguments.json => progress.suspend(|| say_json(&line(path, &answer)))?,
                Ok(answer) => rows.push(row(path, &answer)),
                Err(error) => {
                    failed = true;
                    progress.suspend(|| complain(&error));
                }
            }
            progress.inc(1);
        }
        Ok::<(), Error>(())
    })??;
    progress.finish_and_clear();
    if !rows.is_empty() {
        say(&table(&["FILE", "TYPE", "CONFIDENCE", "LEVEL", "SIZE", "MS"], &rows))?;
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn progress(files: usize) -> ProgressBar {
    if files < PROGRESS_FILES_MIN || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} pictures, {eta} left");
    ProgressBar::new(files as u64).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

fn classify(classifier: &mut PictureClassifier<'_>, path: &Path, bytes_max: u64) -> Result<PictureAnswer> {
    let bytes = read_bounded(path, bytes_max)?;
    let file_name = path.file_name().map(|name| name.to_string_lossy().into_owned());
    let declared = Declared { file_name: file_name.as_deref(), media_type: None };
    classifier.classify_declared(&bytes, &declared)
}

fn row(path: &Path, answer: &PictureAnswer) -> Vec<String> {
    let (value, level) = answer
        .of_type()
        .map_or(("", String::new()), |found| (found.value.as_str(), format!("{:?}", found.level).to_uppercase()));
    vec![
        path.display().to_string(),
        value.to_owned(),
        format!("{:.3}", answer.confidence()),
        level,
        format!("{}x{}", answer.picture.width, answer.picture.height),
        format!("{:.1}", answer.timings.total().as_secs_f64() * 1e3),
    ]
}

fn line(path: &Path, answer: &PictureAnswer) -> serde_json::Value {
    let candidates = answer.of_type().map(|found| found.top.clone()).unwrap_or_default();
    json!({
        "file": path.display().to_string(),
        "type": answer.of_type().map(|found| &found.value),
        "confidence": answer.confidence(),
        "top": candidates,
        "uncertainty": answer.of_type().map(|found| found.uncertainty),
        "image": answer.picture,
        "processing_time_ms": answer.timings.total().as_secs_f64() * 1e3,
    })
}
