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
    /// What a damaged disk left of it, when that is no JSON any more: one bad value must not hide the rows around it.
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let text = Lossy::column_result(value)?.0;
        Ok(Self(serde_json::from_str(&text).unwrap_or(Value::String(text))))
    }
}

/// TEXT, with what is no UTF-8 in it replaced: as [`Json`], for the sake of the rows around it.
pub(super) struct Lossy(pub String);

impl FromSql for Lossy {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        Ok(Self(String::from_utf8_lossy(value.as_bytes()?).into_owned()))
    }
}

/// A TEXT column as [`Lossy`].
pub(super) fn text(row: &Row<'_>, column: &str) -> rusqlite::Result<String> {
    Ok(row.get::<_, Lossy>(column)?.0)
}

/// A TEXT column that may be null, as [`Lossy`].
pub(super) fn nullable_text(row: &Row<'_>, column: &str) -> rusqlite::Result<Option<String>> {
    Ok(row.get::<_, Option<Lossy>>(column)?.map(|found| found.0))
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
        boot_id: text(row, "boot_id")?.into(),
    })
}
