//! What models said of pictures.

use jiff::Timestamp;
use rusqlite::types::Value;
use rusqlite::{Connection, Row, params, params_from_iter};

use crate::error::{Error, Result};
use crate::record::{AuditEvent, Classification, Event, Origin, PictureFacts};
use crate::store::columns::{Json, Micros, Named, monotonic_us, nullable_text, stamp, text};
use crate::store::failure::optional;
use crate::store::{Pending, Store, outbox};

/// Most rows of one page.
pub const CLASSIFICATION_PAGE_ROWS_MAX: u32 = 1_000;

/// Which classifications; every condition that is given must hold.
#[derive(Clone, Debug, Default)]
pub struct ClassificationFilter {
    /// From this moment on.
    pub from: Option<Timestamp>,
    /// Before this moment.
    pub to: Option<Timestamp>,
    pub class: Option<String>,
    pub origin: Option<Origin>,
    pub user: Option<String>,
    /// 0…1.
    pub confidence_min: Option<f32>,
}

/// A place in the order of classifications: by time, then by when they were stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClassificationPlace {
    /// Microseconds since 1970 UTC.
    pub created_us: i64,
    pub row: i64,
}

/// The oldest rows beyond the limit that each new row removes. More than one, so that a lowered limit is reached in time;
/// not many more, so that no write takes long.
const TRIMMED_PER_ROW: i64 = 2;

impl Store {
    /// Stores the classifications of one request and its audit row: all or nothing, durable once answered.
    pub fn record_classifications(&self, classifications: Vec<Classification>, event: AuditEvent) -> Pending<()> {
        let (keep, events) = (self.0.classifications_max, self.0.events.clone());
        let deleted = self.rows_deleted("classifications");
        self.record(event, move |connection, _| {
            for classification in &classifications {
                deleted.inc_by(insert(connection, classification, keep)?);
                outbox::append(connection, events.as_ref(), Event::Classification(classification))?;
            }
            Ok(())
        })
    }

    /// Classifications newest first, at most `limit` and one more than [`CLASSIFICATION_PAGE_ROWS_MAX`]; the next page comes
    /// after the place of this one's last row.
    pub fn classifications_page(
        &self,
        filter: ClassificationFilter,
        after: Option<ClassificationPlace>,
        limit: u32,
    ) -> Pending<Vec<(ClassificationPlace, Classification)>> {
        self.list(move |connection| {
            let (sql, values) = page_query(&filter, after, limit);
            let mut statement = connection.prepare_cached(&sql)?;
            Ok(statement.query_map(params_from_iter(values), placed)?.collect::<rusqlite::Result<_>>()?)
        })
    }

    /// The classification with that id (a UUID).
    pub fn classification(&self, id: &str) -> Pending<Option<Classification>> {
        let id = id.to_owned();
        self.read(move |connection| {
            let sql = "SELECT * FROM classifications WHERE uuid = ?1";
            optional(connection.prepare_cached(sql)?.query_row([id], classification))
        })
    }

    /// Stores the classification of a camera frame, which nobody has to account for.
    pub fn record_camera(&self, classification: Classification) -> Pending<()> {
        let (keep, deleted) = (self.0.classifications_max, self.rows_deleted("classifications"));
        self.write(move |connection| {
            deleted.inc_by(insert(connection, &classification, keep)?);
            Ok(())
        })
    }
}

/// Adds the row and removes the oldest ones beyond `keep`; how many.
pub(super) fn insert(connection: &Connection, classification: &Classification, keep: i64) -> Result<u64> {
    let sql = "INSERT INTO classifications (uuid, origin, image_path, width, height, format, sha256, predictions, class,
            confidence, processing_time_ms, model, model_version, user_id, created_at, clock_synced, boot_id, monotonic_us)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18)";
    let predictions = serde_json::to_string(&classification.predictions)
        .map_err(|cause| Error::internal("A prediction cannot be stored.").because(cause))?;
    let class = classification.predictions.iter().find(|prediction| prediction.attribute == "type");
    let stamp = &classification.created;
    connection.prepare_cached(sql)?.execute(params![
        classification.id,
        classification.origin.name(),
        classification.file_name,
        classification.picture.width,
        classification.picture.height,
        classification.picture.format,
        classification.picture.sha256,
        predictions,
        class.map(|prediction| &prediction.value),
        classification.confidence,
        classification.processing_time_ms,
        classification.model,
        classification.model_version,
        classification.user,
        Micros(stamp.at),
        stamp.synced,
        &*stamp.boot_id,
        monotonic_us(stamp),
    ])?;
    // Ids are dense, so the newest one less the limit is the newest one to go: no counting.
    let sql = "DELETE FROM classifications WHERE id IN
        (SELECT id FROM classifications WHERE id <= ?1 ORDER BY id LIMIT ?2)";
    let newest_to_go = connection.last_insert_rowid().saturating_sub(keep);
    Ok(connection.prepare_cached(sql)?.execute([newest_to_go, TRIMMED_PER_ROW])? as u64)
}

pub(super) fn page_query(
    filter: &ClassificationFilter,
    after: Option<ClassificationPlace>,
    limit: u32,
) -> (String, Vec<Value>) {
    let mut conditions = vec!["TRUE"];
    let mut values: Vec<Value> = Vec::new();
    let mut add = |condition, value| {
        conditions.push(condition);
        values.push(value);
    };
    if let Some(class) = &filter.class {
        add("class = ?", class.clone().into());
    }
    if let Some(origin) = filter.origin {
        add("origin = ?", origin.name().to_owned().into());
    }
    if let Some(user) = &filter.user {
        add("user_id = ?", user.clone().into());
    }
    if let Some(confidence_min) = filter.confidence_min {
        add("confidence >= ?", f64::from(confidence_min).into());
    }
    if let Some(from) = filter.from {
        add("created_at >= ?", from.as_microsecond().into());
    }
    if let Some(to) = filter.to {
        add("created_at < ?", to.as_microsecond().into());
    }
    if let Some(place) = after {
        conditions.push("(created_at, id) < (?, ?)");
        values.extend([Value::from(place.created_us), Value::from(place.row)]);
    }
    // One more than a page tells whether another follows.
    values.push(i64::from(limit.min(CLASSIFICATION_PAGE_ROWS_MAX + 1)).into());
    let sql = format!(
        "SELECT * FROM classifications WHERE {} ORDER BY created_at DESC, id DESC LIMIT ?",
        conditions.join(" AND ")
    );
    (sql, values)
}

fn placed(row: &Row<'_>) -> rusqlite::Result<(ClassificationPlace, Classification)> {
    Ok((ClassificationPlace { created_us: row.get("created_at")?, row: row.get("id")? }, classification(row)?))
}

fn classification(row: &Row<'_>) -> rusqlite::Result<Classification> {
    Ok(Classification {
        id: text(row, "uuid")?,
        origin: row.get::<_, Named<Origin>>("origin")?.0,
        user: nullable_text(row, "user_id")?,
        file_name: nullable_text(row, "image_path")?,
        picture: PictureFacts {
            width: row.get("width")?,
            height: row.get("height")?,
            format: text(row, "format")?,
            sha256: text(row, "sha256")?,
        },
        // Predictions of a shape that this version does not know are no reason to lose the row.
        predictions: serde_json::from_value(row.get::<_, Json>("predictions")?.0).unwrap_or_default(),
        confidence: row.get("confidence")?,
        processing_time_ms: row.get("processing_time_ms")?,
        model: text(row, "model")?,
        model_version: text(row, "model_version")?,
        created: stamp(row)?,
    })
}
