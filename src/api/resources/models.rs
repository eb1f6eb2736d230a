//! What model answers here.

use salvo::prelude::*;
use serde_json::Value;

use crate::api::http::access::Caller;
use crate::api::http::error::Answer;
use crate::api::resources::wire::{ModelInput, ModelMetadata, Reply};
use crate::api::state::AppState;
use crate::classifier::{Manifest, RUNTIME};
use crate::frame::Fit;
use crate::record::Outcome;

/// The active model
#[endpoint(tags("models"), security(["bearer" = []]))]
pub async fn metadata(req: &mut Request, depot: &mut Depot) -> Answer<Reply<ModelMetadata>> {
    let api = AppState::of(depot)?;
    crate::api::http::query::only(req, &[])?;
    let caller = Caller::of(depot)?;
    let model = api.model.get();
    let event = api.audit(req, Some(caller.name()), "models.metadata", &model.title(), Outcome::Success, Value::Null);
    api.store.record_audit(event).await?;
    Ok(Reply(described(&model.manifest, api.config.classifier.threads, api.uploads.workers)))
}

fn described(manifest: &Manifest, threads: usize, workers: usize) -> ModelMetadata {
    let labels = manifest.attributes.iter().find(|attribute| attribute.name == Manifest::TYPE);
    ModelMetadata {
        name: manifest.name.clone(),
        version: manifest.version.clone(),
        description: manifest.description.clone(),
        licence: manifest.licence.clone(),
        sha256: manifest.sha256.clone(),
        input: ModelInput {
            width: manifest.input.width,
            height: manifest.input.height,
            layout: manifest.input.layout.clone(),
            colour: manifest.input.colour.clone(),
            dtype: manifest.input.dtype.clone(),
            scale: manifest.input.scale,
            zero_point: manifest.input.zero_point,
            fit: match manifest.input.fit {
                Fit::Stretch => "stretch",
                Fit::CentreCrop => "centre_crop",
                Fit::Pad => "pad",
            }
            .to_owned(),
        },
        labels: labels.map(|attribute| attribute.labels.clone()).unwrap_or_default(),
        attributes: manifest
            .attributes
            .iter()
            .map(|attribute| (attribute.name.clone(), attribute.labels.clone()))
            .collect(),
        accuracy: manifest.accuracy.clone(),
        runtime: RUNTIME,
        threads,
        workers,
    }
}
