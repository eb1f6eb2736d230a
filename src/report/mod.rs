//! Vehicle reports: what they say, and their page. Pure: nothing is stored or sent here.

use serde_json::Value;

use crate::error::{Error, Result};
use crate::record::{Classification, ConfidenceLevel, Prediction};

mod wire;

pub use wire::{Image, Metadata, ReportBody, Summary};

/// Below this shorter side in pixels a picture says little (crops under about 80 px are classified with false certainty).
const SHORT_SIDE_GOOD: u32 = 80;
/// Above this normalised entropy the model hesitates between several labels.
const UNCERTAINTY_HIGH: f32 = 0.5;

/// Who issues the report.
#[derive(Clone, Copy, Debug)]
pub struct Issuer<'a> {
    pub unit: &'a str,
    pub site: &'a str,
    pub location: &'a str,
}

impl ReportBody {
    /// The report of one classification; `predictions` as they go out, by attribute.
    #[must_use]
    pub fn new(vehicle_id: &str, record: &Classification, issuer: &Issuer<'_>, predictions: Value) -> Self {
        let of_type = record.predictions.iter().find(|prediction| prediction.attribute == "type");
        Self {
            report_id: uuid::Uuid::new_v4().to_string(),
            vehicle_id: vehicle_id.to_owned(),
            report_date: record.created.at,
            summary: summary(of_type),
            predictions,
            overall_confidence: record.confidence,
            processing_time_ms: record.processing_time_ms,
            model: record.model.clone(),
            model_version: record.model_version.clone(),
            classification_id: record.id.clone(),
            image: Image {
                width: record.picture.width,
                height: record.picture.height,
                format: record.picture.format.clone(),
                sha256: record.picture.sha256.clone(),
            },
            recommendations: recommendations(record, of_type),
            metadata: Metadata {
                unit: issuer.unit.to_owned(),
                site: issuer.site.to_owned(),
                location: issuer.location.to_owned(),
                clock_synced: record.created.synced,
            },
        }
    }

    /// The report as a page that stands alone; every value is escaped.
    ///
    /// # Errors
    /// Internal when the template cannot be filled in.
    pub fn html(&self) -> Result<String> {
        let page = Page { report: self, candidates: candidates(&self.predictions) };
        askama::Template::render(&page).map_err(|cause| Error::internal("The report cannot be written.").because(cause))
    }
}

#[derive(askama::Template)]
#[template(path = "report.html")]
struct Page<'a> {
    report: &'a ReportBody,
    /// Attribute, label, percent.
    candidates: Vec<(String, String, String)>,
}

fn percent(probability: f64) -> String {
    format!("{:.1}", probability * 100.0)
}

fn candidates(predictions: &Value) -> Vec<(String, String, String)> {
    let attributes = predictions.as_object().into_iter().flatten();
    let rows = attributes.flat_map(|(attribute, prediction)| {
        let top = prediction["top"].as_array().cloned().unwrap_or_default();
        top.into_iter().map(move |entry| {
            let label = entry["label"].as_str().unwrap_or_default().to_owned();
            (attribute.clone(), label, percent(entry["probability"].as_f64().unwrap_or_default()))
        })
    });
    rows.collect()
}

fn level_name(level: ConfidenceLevel) -> &'static str {
    match level {
        ConfidenceLevel::High => "HIGH",
        ConfidenceLevel::Medium => "MEDIUM",
        ConfidenceLevel::Low => "LOW",
    }
}

fn summary(of_type: Option<&Prediction>) -> Summary {
    let (value, confidence, level) = of_type.map_or(("unknown", 0.0, ConfidenceLevel::Low), |prediction| {
        (prediction.value.as_str(), prediction.confidence, prediction.level)
    });
    let level = level_name(level).to_owned();
    let text = format!("{value} with {} confidence ({}%)", level.to_lowercase(), percent(f64::from(confidence)));
    Summary { vehicle_type: value.to_owned(), confidence, level, text }
}

fn recommendations(record: &Classification, of_type: Option<&Prediction>) -> Vec<String> {
    let mut advice = Vec::new();
    if of_type.is_some_and(|prediction| prediction.value == "background") {
        advice.push("No vehicle was recognised: check that the picture shows one.".to_owned());
    }
    if of_type.is_some_and(|prediction| prediction.level == ConfidenceLevel::Low) {
        advice.push("The confidence is low: have a person look at the picture.".to_owned());
    }
    if let Some(prediction) =
        of_type.filter(|prediction| prediction.uncertainty > UNCERTAINTY_HIGH && prediction.top.len() > 1)
    {
        let (first, second) = (&prediction.top[0].label, &prediction.top[1].label);
        advice
            .push(format!("The model hesitates between {first} and {second}: a closer or sharper picture would help."));
    }
    if record.picture.width.min(record.picture.height) < SHORT_SIDE_GOOD {
        advice.push(format!("The picture is small: use one with a shorter side of at least {SHORT_SIDE_GOOD} pixels."));
    }
    if !record.created.synced {
        advice.push("The unit's clock was not synchronised: the date of this report is uncertain.".to_owned());
    }
    advice
}

#[cfg(test)]
mod tests;
