//! What models said of pictures.

use rusqlite::{Connection, params};

use crate::error::{Error, Result};
use crate::record::{AuditEvent, Classification, Event};
use crate::store::columns::{Micros, monotonic_us};
use crate::store::{Pending, Store, outbox};

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
