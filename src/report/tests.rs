use std::sync::Arc;

use super::*;
use crate::clock::Stamp;
use crate::record::{LabelProbability, Origin, PictureFacts};

fn record(label: &str, probability: f32, uncertainty: f32) -> Classification {
    let top = [(label, probability), ("van", 1.0 - probability)];
    let top = top.map(|(label, probability)| LabelProbability { label: label.into(), probability }).to_vec();
    let level = if probability >= 0.8 { ConfidenceLevel::High } else { ConfidenceLevel::Low };
    let prediction = Prediction {
        attribute: "type".into(),
        value: label.into(),
        confidence: probability,
        top,
        uncertainty,
        is_confident: probability >= 0.6,
        level,
    };
    Classification {
        id: "c".into(),
        origin: Origin::Upload,
        user: Some("ann".into()),
        file_name: None,
        picture: PictureFacts { width: 640, height: 480, format: "jpeg".into(), sha256: "00".into() },
        predictions: vec![prediction],
        confidence: probability,
        processing_time_ms: 1.0,
        model: "m".into(),
        model_version: "1".into(),
        created: Stamp {
            at: "2026-05-01T12:00:00Z".parse().unwrap(),
            monotonic: std::time::Duration::ZERO,
            synced: true,
            boot_id: Arc::from(""),
        },
    }
}

fn report(record: &Classification, site: &str) -> ReportBody {
    let predictions = serde_json::json!({"type": {"top": [{"label": "<b>bus</b>", "probability": 0.93}]}});
    ReportBody::new("V-1", record, &Issuer { unit: "u", site, location: "" }, predictions)
}

#[test]
fn a_sure_report_needs_no_advice() {
    let body = report(&record("bus", 0.93, 0.1), "");
    assert_eq!(body.summary.text, "bus with high confidence (93.0%)");
    assert!(body.recommendations.is_empty(), "{:?}", body.recommendations);
}

#[test]
fn doubts_are_named() {
    let mut doubtful = record("background", 0.4, 0.9);
    doubtful.picture.height = 40;
    doubtful.created.synced = false;
    let body = report(&doubtful, "");
    let all = body.recommendations.join("\n");
    for part in ["No vehicle", "confidence is low", "between background and van", "at least 80", "not synchronised"] {
        assert!(all.contains(part), "{part}: {all}");
    }
}

#[test]
fn the_page_escapes_what_it_shows_and_survives_storage() {
    let body = report(&record("bus", 0.93, 0.1), "<script>alert(1)</script>");
    let stored: ReportBody = serde_json::from_value(serde_json::to_value(&body).unwrap()).unwrap();
    let page = stored.html().unwrap();
    assert!(!page.contains("<script>") && !page.contains("<b>bus"), "{page}");
    assert!(page.contains("&#60;script&#62;alert(1)") && page.contains("93.0 %"), "{page}");
}
