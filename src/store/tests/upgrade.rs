//! Every old version becomes exactly what a fresh database is, with its data intact.
//!
//! `schema/NNNN.sql` holds a database of version NNNN as SQL: the schema as it was when that version was in use, and some rows.
//! It is written once, with the version, and never changed: `VEHICLE_CLASSIFIER_TEST_WRITE_SCHEMA=1` writes missing ones.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use rusqlite::Connection;
use rusqlite::types::ValueRef;

use super::{event, settings};
use crate::store::database::MIGRATIONS;
use crate::store::{Store, audit, database, trail, version};

const WRITE_VARIABLE: &str = "VEHICLE_CLASSIFIER_TEST_WRITE_SCHEMA";
const APPLICATION_ID: i32 = 0x5643_4C53;

/// Rows for the tables that a version has; tables that it does not have are passed over.
const ROWS: [(&str, &str); 10] = [
    ("users", "INSERT INTO users VALUES (7, 'ann', 'admin', 1, 0, '$argon2id$', 1767225600000000, 3, 'kept')"),
    ("service_tokens", "INSERT INTO service_tokens VALUES ('t1', 'prometheus', 'metrics', 1, 2, NULL)"),
    ("revoked_tokens", "INSERT INTO revoked_tokens VALUES ('j1', 99)"),
    (
        "classifications",
        "INSERT INTO classifications VALUES (5, 'c5', 'camera', NULL, 640, 480, 'jpeg', 'aa', '[]', 'bus', 0.5, 1.5, 'm', '1', NULL,
            10, 1, 'b', 11)",
    ),
    ("reports", "INSERT INTO reports VALUES ('r1', 'v1', '{\"a\":1}', 'completed', 'bus', 0.5, 'ann', 12, 0, 'b', 13)"),
    (
        "passages",
        "INSERT INTO passages VALUES (3, 'p3', 'car', 0.5, '[]', 2, 'gate', 'north', NULL, 50.5, 1, 1, 2, 2, 3, 'm', '1', 1, 'b', 3)",
    ),
    ("counts", "INSERT INTO counts VALUES (300, 0, 'gate', 'north', 'car', 1)"),
    ("coverage", "INSERT INTO coverage VALUES (300, 0, '', 1000)"),
    ("watch_head", "INSERT INTO watch_head VALUES (1, 'b', 1, 1, 2, 2, 1, 'frozen')"),
    ("outbox", "INSERT INTO outbox VALUES (4, 'passage', '{}', 5)"),
];

fn dump_path(version: usize) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("src/store/tests/schema/{version:04}.sql"))
}

fn tables(connection: &Connection) -> Vec<String> {
    let sql = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY rowid";
    connection.prepare(sql).unwrap().query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

fn literal(value: ValueRef<'_>) -> String {
    match value {
        ValueRef::Null => "NULL".into(),
        ValueRef::Integer(number) => number.to_string(),
        ValueRef::Real(number) => format!("{number:?}"),
        ValueRef::Text(text) => format!("'{}'", String::from_utf8_lossy(text).replace('\'', "''")),
        ValueRef::Blob(bytes) => format!("x'{}'", hex::encode(bytes)),
    }
}

/// Column names and rows of a table, as SQL literals.
fn content(connection: &Connection, table: &str) -> (Vec<String>, Vec<Vec<String>>) {
    let mut statement = connection.prepare(&format!("SELECT * FROM {table} ORDER BY 1, 2")).unwrap();
    let columns: Vec<String> = statement.column_names().map(str::to_owned).collect();
    let mut rows = statement.query([]).unwrap();
    let mut found = Vec::new();
    while let Some(row) = rows.next().unwrap() {
        found.push((0..columns.len()).map(|column| literal(row.get_ref(column).unwrap())).collect());
    }
    (columns, found)
}

/// A database of that version from its migrations, with rows, as SQL.
fn dump(version: usize) -> String {
    let old = Connection::open_in_memory().unwrap();
    MIGRATIONS.iter().take(version).for_each(|step| old.execute_batch(step).unwrap());
    let there = tables(&old);
    for (_, sql) in ROWS.iter().filter(|(table, _)| there.iter().any(|name| name == table)) {
        old.execute_batch(sql).unwrap();
    }
    for n in 0..3 {
        audit::append(&old, &event("test", n)).unwrap();
    }
    let mut statement = old
        .prepare("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%' ORDER BY rowid")
        .unwrap();
    let mut text: String =
        statement.query_map([], |row| row.get::<_, String>(0)).unwrap().map(|sql| sql.unwrap() + ";\n").collect();
    for table in there {
        for row in content(&old, &table).1 {
            text.push_str(&format!("INSERT INTO {table} VALUES ({});\n", row.join(", ")));
        }
    }
    text
}

fn schema(connection: &Connection) -> BTreeMap<String, String> {
    let sql = "SELECT type || ' ' || name, ifnull(sql, '') FROM sqlite_schema";
    connection
        .prepare(sql)
        .unwrap()
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap()
        .map(Result::unwrap)
        .collect()
}

#[test]
fn every_old_version_becomes_what_a_fresh_database_is_and_keeps_its_rows() {
    let fresh = Connection::open_in_memory().unwrap();
    MIGRATIONS.iter().for_each(|step| fresh.execute_batch(step).unwrap());
    for version in 1..=MIGRATIONS.len() {
        let path = dump_path(version);
        if !path.exists() && std::env::var_os(WRITE_VARIABLE).is_some() {
            std::fs::write(&path, dump(version)).unwrap();
        }
        let text = std::fs::read_to_string(&path)
            .unwrap_or_else(|_| panic!("no {}: run this test once with {WRITE_VARIABLE}=1", path.display()));
        let directory = tempfile::tempdir().unwrap();
        let old = Connection::open(directory.path().join(database::FILE_NAME)).unwrap();
        old.execute_batch(&text).unwrap();
        old.pragma_update(None, "application_id", APPLICATION_ID).unwrap();
        old.pragma_update(None, "user_version", version as i64).unwrap();
        let before: BTreeMap<_, _> =
            tables(&old).into_iter().map(|table| (table.clone(), content(&old, &table))).collect();
        drop(old);

        let store =
            Store::open(settings(&directory), std::sync::Arc::new(crate::metrics::Metrics::new().unwrap())).unwrap();
        assert_eq!(store.check().wait().unwrap(), Vec::<String>::new(), "version {version}");
        store.close();
        let upgraded = Connection::open(directory.path().join(database::FILE_NAME)).unwrap();
        assert_eq!(schema(&upgraded), schema(&fresh), "version {version}");
        assert_eq!(version::shape(&upgraded).unwrap(), version::shape(&fresh).unwrap(), "version {version}");
        for (table, (columns, rows)) in before.iter().filter(|(table, _)| *table != "store_head") {
            let names = columns.join(", ");
            let mut statement = upgraded.prepare(&format!("SELECT {names} FROM {table} ORDER BY 1, 2")).unwrap();
            let mut found = statement.query([]).unwrap();
            let mut kept = Vec::new();
            while let Some(row) = found.next().unwrap() {
                kept.push((0..columns.len()).map(|column| literal(row.get_ref(column).unwrap())).collect::<Vec<_>>());
            }
            assert_eq!(&kept, rows, "version {version}, {table}");
        }
        assert_eq!(trail::verify(&upgraded, &AtomicBool::new(false)).unwrap().first_broken, None, "version {version}");
    }
}
