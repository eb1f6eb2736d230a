//! `model list|show|verify|activate`.

use std::process::ExitCode;

use clap::Subcommand;
use serde_json::json;

use crate::classifier::{GoldenResult, PictureClassifier, golden_test, run_detector_golden_test};
use crate::classifier::{InstalledModel, LoadedDetector, LoadedModel, ModelsDirectory};
use crate::classifier::{with_classifier, with_detector};
use crate::cli::table::table;
use crate::cli::{Context, ListArguments, json_lines, say};
use crate::daemon::inference_settings;
use crate::error::Result;
use crate::imaging::Limits;
use crate::place;

#[derive(Subcommand)]
pub enum ModelCommand {
    /// Lists the installed models; `*` marks the active one
    List(ListArguments),
    /// Shows a model's manifest
    Show { model: Option<String> },
    /// Checks a model's hashes and runs its golden test
    Verify { model: Option<String> },
    /// Makes NAME or NAME@VERSION the model of the next start or reload, after its golden test
    Activate { model: String },
}

pub fn run(command: &ModelCommand, context: &Context) -> Result<ExitCode> {
    let models = ModelsDirectory::new(place::models_directory(&context.loaded.config.classifier)?);
    let directory = context.state_directory()?;
    let configured = &context.loaded.config.classifier.model;
    let active = if configured.is_empty() { place::active_model(&directory)? } else { configured.clone() };
    let chosen = |named: &Option<String>| models.find(named.as_deref().unwrap_or(&active));
    match command {
        ModelCommand::List(list) => {
            let active = models.load(&active).ok().map(|model| model.title());
            if list.json {
                let object = |model: InstalledModel| {
                    json!({
                        "name": model.name, "version": model.version, "active": Some(model.title()) == active,
                        "directory": model.directory,
                    })
                };
                say(&json_lines(models.list()?.into_iter().map(object))?)?;
                return Ok(ExitCode::SUCCESS);
            }
            let row = |model: InstalledModel| {
                let mark = if Some(model.title()) == active { "*" } else { "" };
                vec![mark.to_owned(), model.name, model.version, model.directory.display().to_string()]
            };
            let rows: Vec<_> = models.list()?.into_iter().map(row).collect();
            say(&table(&["", "NAME", "VERSION", "DIRECTORY"], &rows))?;
        }
        ModelCommand::Show { model } => {
            let found = chosen(model)?;
            if found.is_detector() {
                found.load_detector()?;
            } else {
                found.load()?;
            }
            let text = crate::cli::read_file(&found.directory.join("manifest.json"))?;
            say(String::from_utf8_lossy(&text).trim_end())?;
        }
        ModelCommand::Verify { model } => {
            let found = chosen(model)?;
            if found.is_detector() {
                say(&detector_proven(&found.load_detector()?, context)?)?;
            } else {
                let model = found.load()?;
                say(&proven(&model, &golden_result(&model, context)?))?;
            }
        }
        ModelCommand::Activate { model } => {
            let found = models.find(model)?;
            let loaded = found.load()?;
            let golden_result = golden_result(&loaded, context)?;
            place::set_active_model(&context.claimed_directory()?, &found.title())?;
            say(&proven(&loaded, &golden_result))?;
            let overruled =
                if configured.is_empty() { "" } else { " But classifier.model in the configuration overrules it." };
            say(&format!(
                "{} is active from the next start or reload (SIGHUP) of the unit.{overruled}",
                found.title()
            ))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs the golden test of `model` with the configured threads.
pub(super) fn golden_result(model: &LoadedModel, context: &Context) -> Result<GoldenResult> {
    let settings = inference_settings(&context.loaded);
    let limits = Limits { pixels_max: settings.picture_pixels_max };
    with_classifier(model, settings.threads, |classifier| {
        golden_test(&mut PictureClassifier::new(classifier, &model.manifest, limits), model)
    })?
}

/// Runs the golden test of a detector and tells of it.
pub(super) fn detector_proven(model: &LoadedDetector, context: &Context) -> Result<String> {
    let threads = inference_settings(&context.loaded).threads;
    let took = with_detector(model, threads, |detector| run_detector_golden_test(detector, model))??;
    let took = took.as_secs_f64() * 1e3;
    Ok(format!("{} is sound: it answers its generated pattern as recorded, in {took:.1} ms.", model.title()))
}

pub(super) fn proven(model: &LoadedModel, golden_result: &GoldenResult) -> String {
    let took = golden_result.took().as_secs_f64() * 1e3;
    format!(
        "{} is sound: its golden picture is a {} ({:.2}), in {took:.1} ms.",
        model.title(),
        golden_result.value,
        golden_result.confidence
    )
}
