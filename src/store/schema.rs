//! The whole schema of a database against the one of its version: what somebody put there, and what damage took or changed.
//!
//! A trigger, view or changed column makes the database do what this program never asked for, so nothing is served from it.

use std::collections::BTreeMap;

use rusqlite::Connection;

use crate::error::Result;
use crate::store::database::MIGRATIONS;

/// Differences named in a message; the rest is counted.
const NAMED_MAX: usize = 5;
/// Characters shown of a name that somebody else chose.
const NAME_CHARACTERS_MAX: usize = 60;
/// Tables that SQLite makes by itself when somebody has it analyse the database; this program never reads them.
const STATISTICS: [(&str, &str); 2] = [
    ("sqlite_stat1", "create table sqlite_stat1(tbl,idx,stat)"),
    ("sqlite_stat4", "create table sqlite_stat4(tbl,idx,neq,nlt,ndlt,sample)"),
];

/// How a schema differs from the one of its version.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Differences {
    /// What somebody added or altered.
    pub foreign: Vec<String>,
    /// What is missing, or differs in one byte: damage does that.
    pub damaged: Vec<String>,
}

/// One row of `sqlite_schema`.
#[derive(Debug, PartialEq, Eq)]
struct Entry {
    kind: String,
    name: String,
    table: String,
    sql: String,
}

impl Entry {
    fn key(&self) -> (String, String) {
        (self.kind.clone(), self.name.clone())
    }

    fn bytes(&self) -> Vec<u8> {
        [&self.kind, &self.name, &self.table, &self.sql].map(String::as_str).join("\0").into_bytes()
    }

    fn means_the_same(&self, other: &Self) -> bool {
        self.key() == other.key() && self.table == other.table && normalised(&self.sql) == normalised(&other.sql)
    }

    /// Whether one flipped bit can have made one of the other.
    fn is_a_flip_of(&self, other: &Self) -> bool {
        let (own, others) = (self.bytes(), other.bytes());
        own.len() == others.len() && own.iter().zip(&others).filter(|(a, b)| a != b).count() == 1
    }

    fn is_statistics(&self) -> bool {
        let known = STATISTICS.iter().any(|(name, sql)| self.name == *name && normalised(&self.sql) == *sql);
        self.kind == "table" && self.table == self.name && known
    }

    fn shown(&self, what: &str) -> String {
        let short = |name: &str| name.chars().take(NAME_CHARACTERS_MAX).collect::<String>().escape_debug().to_string();
        let on = if self.table == self.name { String::new() } else { format!(" on {}", short(&self.table)) };
        format!("{what}{} {}{on}", short(&self.kind), short(&self.name))
    }
}

/// Compares the schema with the one that a database of that version has. Call it in a transaction, so that another process's
/// migration does not come between.
///
/// # Errors
/// When the schema cannot be read.
pub(super) fn differences(connection: &Connection, version: i32) -> Result<Differences> {
    let mut expected: BTreeMap<_, _> = expected(version)?.into_iter().map(|entry| (entry.key(), entry)).collect();
    let (mut unlike, mut differences) = (Vec::new(), Differences::default());
    for found in entries(connection)? {
        if expected.get(&found.key()).is_some_and(|wanted| wanted.means_the_same(&found)) {
            expected.remove(&found.key());
        } else if !found.is_statistics() {
            unlike.push(found);
        }
    }
    for found in unlike {
        let flipped = expected.values().find(|wanted| wanted.is_a_flip_of(&found)).map(Entry::key);
        if let Some(wanted) = flipped.and_then(|key| expected.remove(&key)) {
            differences.damaged.push(wanted.shown("damaged "));
        } else if expected.remove(&found.key()).is_some() {
            differences.foreign.push(found.shown("altered "));
        } else {
            differences.foreign.push(found.shown(""));
        }
    }
    differences.damaged.extend(expected.values().map(|missing| missing.shown("missing ")));
    Ok(differences)
}

/// Some of the names, and how many more there are.
pub(super) fn listed(names: &[String]) -> String {
    let mut text = names.iter().take(NAMED_MAX).cloned().collect::<Vec<_>>().join(", ");
    if names.len() > NAMED_MAX {
        text.push_str(&format!(" and {} more", names.len() - NAMED_MAX));
    }
    text
}

fn expected(version: i32) -> Result<Vec<Entry>> {
    let fresh = Connection::open_in_memory()?;
    for step in MIGRATIONS.iter().take(usize::try_from(version).unwrap_or(0)) {
        fresh.execute_batch(step)?;
    }
    Ok(entries(&fresh)?)
}

fn entries(connection: &Connection) -> rusqlite::Result<Vec<Entry>> {
    let sql = "SELECT type, name, tbl_name, ifnull(sql, '') FROM sqlite_schema ORDER BY type, name";
    let entry = |row: &rusqlite::Row<'_>| {
        Ok(Entry { kind: row.get(0)?, name: row.get(1)?, table: row.get(2)?, sql: row.get(3)? })
    };
    connection.prepare(sql)?.query_map([], entry)?.collect()
}

/// The SQL without what does not count: white space, the case of letters and the quotes around names, which SQLite itself may
/// write otherwise when it alters a table. Texts in single quotes stay as they are.
fn normalised(sql: &str) -> String {
    let mut text = String::with_capacity(sql.len());
    let (mut in_text, mut gap) = (false, false);
    for character in sql.chars() {
        if in_text {
            text.push(character);
            in_text = character != '\'';
            continue;
        }
        match character {
            '"' | '`' => {}
            space if space.is_whitespace() => gap = true,
            other => {
                let joins = |character: char| character.is_alphanumeric() || character == '_';
                if gap && joins(other) && text.chars().next_back().is_some_and(joins) {
                    text.push(' ');
                }
                gap = false;
                in_text = other == '\'';
                text.extend(other.to_lowercase());
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_counts_is_compared() {
        assert_eq!(
            normalised("CREATE TABLE \"a\" (\n  b  TEXT , c INTEGER)"),
            normalised("create table a(b text,c integer)")
        );
        assert_ne!(normalised("CHECK (a = 'X')"), normalised("CHECK (a = 'x')"));
        assert_ne!(normalised("a b"), normalised("ab"));
        assert_ne!(normalised("CHECK (a = 'x  y')"), normalised("CHECK (a = 'x y')"));
    }

    #[test]
    fn each_version_has_the_schema_that_it_is_compared_with() {
        for version in 0..=MIGRATIONS.len() {
            let fresh = Connection::open_in_memory().unwrap();
            MIGRATIONS.iter().take(version).for_each(|step| fresh.execute_batch(step).unwrap());
            fresh.execute_batch("ANALYZE").unwrap();
            assert_eq!(differences(&fresh, version as i32).unwrap(), Differences::default(), "version {version}");
        }
    }

    #[test]
    fn what_somebody_added_is_told_from_what_damage_did() {
        let changed = |sql: &str| {
            let fresh = Connection::open_in_memory().unwrap();
            MIGRATIONS.iter().for_each(|step| fresh.execute_batch(step).unwrap());
            fresh.execute_batch(sql).unwrap();
            differences(&fresh, MIGRATIONS.len() as i32).unwrap()
        };
        for (sql, name) in [
            ("CREATE TRIGGER undo AFTER UPDATE ON users BEGIN SELECT 1; END", "trigger undo on users"),
            ("CREATE VIEW seen AS SELECT * FROM users", "view seen"),
            ("CREATE TABLE extra (a)", "table extra"),
            ("CREATE INDEX quick ON users (role, name)", "index quick on users"),
            ("ALTER TABLE users ADD COLUMN note TEXT", "altered table users"),
        ] {
            let found = changed(sql);
            assert_eq!(found, Differences { foreign: vec![name.to_owned()], damaged: Vec::new() });
        }
        let gone = changed("DROP INDEX audit_log_user");
        assert_eq!(
            gone,
            Differences { foreign: Vec::new(), damaged: vec!["missing index audit_log_user on audit_log".into()] }
        );
        let flipped = changed(
            "PRAGMA writable_schema = ON; UPDATE sqlite_schema SET name = 'audit_log_uses' WHERE name = 'audit_log_user'",
        );
        assert!(flipped.foreign.is_empty() && flipped.damaged.len() == 1, "{flipped:?}");
    }
}
