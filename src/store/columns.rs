//! How the record's types are kept in columns: times as INTEGER microseconds since 1970 UTC, names as TEXT.

use std::time::Duration;

use jiff::Timestamp;
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSqlOutput, ValueRef};
use rusqlite::{Row, ToSql};
use serde::Deserialize;
use serde::de::IntoDeserializer;
use serde::de::value::{Error as NameError, StrDeserializer};
use serde_json::Value;

use crate::clock::Stamp;

/// A moment: INTEGER microseconds since 1970 UTC.
pub(super) struct Micros(pub Timestamp);

impl ToSql for Micros {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.0.as_microsecond().into())
    }
}

impl FromSql for Micros {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        Timestamp::from_microsecond(value.as_i64()?).map(Self).map_err(|cause| FromSqlError::Other(cause.into()))
    }
}

/// One of the record's enumerations: TEXT, the name it has outside too.
pub(super) struct Named<T>(pub T);

impl<T: for<'de> Deserialize<'de>> FromSql for Named<T> {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let name: StrDeserializer<'_, NameError> = value.as_str()?.into_deserializer();
        T::deserialize(name).map(Self).map_err(|cause| FromSqlError::Other(cause.into()))
    }
}

/// TEXT: JSON.
pub(super) struct Json(pub Value);

impl FromSql for Json {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        serde_json::from_str(value.as_str()?).map(Self).map_err(|cause| FromSqlError::Other(cause.into()))
    }
}

/// Microseconds, for the column `monotonic_us`.
pub(super) fn monotonic_us(stamp: &Stamp) -> i64 {
    i64::try_from(stamp.monotonic.as_micros()).unwrap_or(i64::MAX)
}

/// From the columns `created_at`, `clock_synced`, `boot_id` and `monotonic_us`.
pub(super) fn stamp(row: &Row<'_>) -> rusqlite::Result<Stamp> {
    let monotonic_us: i64 = row.get("monotonic_us")?;
    Ok(Stamp {
        at: row.get::<_, Micros>("created_at")?.0,
        monotonic: Duration::from_micros(monotonic_us.unsigned_abs()),
        synced: row.get("clock_synced")?,
        boot_id: row.get::<_, String>("boot_id")?.into(),
    })
}
