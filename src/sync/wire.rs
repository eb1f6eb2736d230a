//! Events as the central site reads them: versioned JSON. `docs/CENTRAL.md` describes every field; a change that breaks a
//! reader takes the next [`VERSION`].

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use crate::clock::Stamp;
use crate::record::{Event, LabelProbability, PictureFacts, Prediction};
use crate::store::EventEncoder;

/// Of the schema.
const VERSION: u32 = 1;

#[derive(Serialize)]
struct Envelope<'a> {
    v: u32,
    unit: &'a str,
    kind: &'a str,
    /// When it was complete, by the unit's clock.
    at: Timestamp,
    clock_synced: bool,
    boot_id: &'a str,
    /// Of `at`, since the unit's program started: with `boot_id` it puts events in order whose clock was wrong.
    monotonic_ms: u64,
    data: Data<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Data<'a> {
    Passage(Passage<'a>),
    Classification(Classification<'a>),
    Report(&'a Value),
    Coverage(Coverage),
}

#[derive(Serialize)]
struct Passage<'a> {
    id: &'a str,
    class: &'a str,
    confidence: f32,
    votes: &'a [LabelProbability],
    crops: u32,
    line: Option<&'a str>,
    direction: Option<&'a str>,
    lane: Option<&'a str>,
    speed_kmh: Option<f32>,
    started_at: Timestamp,
    ended_at: Timestamp,
    counted_at: Timestamp,
    model: &'a str,
    model_version: &'a str,
}

/// Without the uploader and the file name: they are nobody's business outside the unit.
#[derive(Serialize)]
struct Classification<'a> {
    id: &'a str,
    class: Option<&'a str>,
    confidence: f32,
    predictions: &'a [Prediction],
    image: &'a PictureFacts,
    processing_time_ms: f64,
    model: &'a str,
    model_version: &'a str,
}

#[derive(Serialize)]
struct Coverage {
    from: Timestamp,
    until: Timestamp,
    watching: bool,
    /// Why not, where it was not.
    gap: Option<&'static str>,
}

/// Writes this unit's events.
#[must_use]
pub fn encoder(unit: &str) -> EventEncoder {
    let unit = unit.to_owned();
    EventEncoder::new(move |event| serde_json::to_string(&envelope(&unit, event)))
}

/// An event as this unit would write it; empty for one that cannot be written.
#[must_use]
pub fn example(unit: &str, event: &Event<'_>) -> String {
    serde_json::to_string(&envelope(unit, event)).unwrap_or_default()
}

fn envelope<'a>(unit: &'a str, event: &'a Event<'_>) -> Envelope<'a> {
    let Stamp { at, monotonic, synced, boot_id } = event.at();
    Envelope {
        v: VERSION,
        unit,
        kind: event.kind(),
        at: *at,
        clock_synced: *synced,
        boot_id,
        monotonic_ms: u64::try_from(monotonic.as_millis()).unwrap_or(u64::MAX),
        data: data(event),
    }
}

fn data<'a>(event: &'a Event<'_>) -> Data<'a> {
    match event {
        Event::Passage(passage) => Data::Passage(Passage {
            id: &passage.id,
            class: &passage.class,
            confidence: passage.confidence,
            votes: &passage.votes,
            crops: passage.crops,
            line: passage.line.as_deref(),
            direction: passage.direction.as_deref(),
            lane: passage.lane.as_deref(),
            speed_kmh: passage.speed_kmh,
            started_at: passage.started.at,
            ended_at: passage.ended.at,
            counted_at: passage.counted.at,
            model: &passage.model,
            model_version: &passage.model_version,
        }),
        Event::Classification(found) => Data::Classification(Classification {
            id: &found.id,
            class: found.predictions.iter().find(|one| one.attribute == "type").map(|one| one.value.as_str()),
            confidence: found.confidence,
            predictions: &found.predictions,
            image: &found.picture,
            processing_time_ms: found.processing_time_ms,
            model: &found.model,
            model_version: &found.model_version,
        }),
        Event::Report(report) => Data::Report(&report.body),
        Event::Coverage(span) => Data::Coverage(Coverage {
            from: span.from.at,
            until: span.until.at,
            watching: span.gap.is_none(),
            gap: span.gap.map(crate::record::Gap::name),
        }),
    }
}

/// The vehicle and the report of an event's body, if it is a report.
#[must_use]
pub fn report_of(body: &str) -> Option<(String, String)> {
    let mut event: Value = serde_json::from_str(body).ok()?;
    let report = event.get_mut("data")?.take();
    Some((report.get("vehicle_id")?.as_str()?.to_owned(), report.to_string()))
}
