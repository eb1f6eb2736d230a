//! Every list comes from an index and has an end, however many rows there are; and a read that finds too little among too much
//! is cut off.

use std::path::Path;
use std::time::Duration;

use super::{Fixture, at, plan};
use crate::error::ErrorKind;
use crate::store::condition::{Condition, Reader};
use crate::store::passages::{self, Page};
use crate::store::{
    AuditFilter, ClassificationFilter, ClassificationPlace, PassageFilter, PassagePlace, ReportFilter, ReportPlace,
    audit, classifications, counts, database, outbox, reports, restamp, tokens, trail, users, validations, wear,
};

/// Statements that give more than one row, by file: a new one has to be looked at below, or to say here why not.
const STATEMENTS: [(&str, usize); 19] = [
    ("audit.rs", 1),
    ("classifications.rs", 1),
    // Two pages, and the days put together anew when the unit moves to another time zone.
    ("counts.rs", 5),
    // Accounts of a damaged database, once.
    ("damage.rs", 1),
    // `store check` reads everything, on the thread for long work.
    ("check.rs", 3),
    ("outbox.rs", 2),
    ("passages.rs", 2),
    // The classes of all reports, on the thread for long work, where a filter names one that no model has.
    ("reports.rs", 2),
    ("restamp.rs", 2),
    // The schema itself.
    ("schema.rs", 1),
    // Counts of everything, on the thread for lists and cut off like them.
    ("statistics.rs", 1),
    ("tokens.rs", 1),
    ("trail.rs", 1),
    ("users.rs", 1),
    ("validations.rs", 1),
    // The schema itself.
    ("version.rs", 1),
    // As in counts.rs.
    ("coverage.rs", 1),
    ("coverage/told.rs", 0),
    ("wear.rs", 1),
];

fn statements(source: &str) -> usize {
    ["query_map(", "query_and_then(", ".query("].iter().map(|call| source.matches(call).count()).sum()
}

#[test]
fn no_list_has_been_forgotten() {
    let store = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/store");
    let mut found = Vec::new();
    for directory in ["", "coverage/"] {
        for entry in std::fs::read_dir(store.join(directory)).unwrap() {
            let name = format!("{directory}{}", entry.unwrap().file_name().into_string().unwrap());
            if name.ends_with(".rs") {
                let count = statements(&std::fs::read_to_string(store.join(&name)).unwrap());
                let expected = STATEMENTS.iter().find(|(known, _)| *known == name).map_or(0, |(_, count)| *count);
                if count != expected {
                    found.push(format!("{name}: {count} statements, {expected} were looked at"));
                }
            }
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn lists_of_one_shape_come_from_an_index_and_end() {
    let fixture = Fixture::new();
    let outside = fixture.outside();
    for (sql, expected) in [
        (counts::COUNTS, "SEARCH counts USING PRIMARY KEY (width_s=? AND slot>? AND slot<?)"),
        (counts::COVERAGE, "SEARCH coverage USING PRIMARY KEY (width_s=? AND slot>? AND slot<?)"),
        (
            counts::KINDS,
            "SEARCH counts USING PRIMARY KEY (width_s=? AND slot>? AND slot<?)\nUSE TEMP B-TREE FOR DISTINCT",
        ),
        (outbox::FOLLOWING, "SEARCH outbox USING INTEGER PRIMARY KEY (rowid>?)"),
        (passages::RECORDED_AFTER, "SEARCH passages USING INTEGER PRIMARY KEY (rowid>?)"),
        (reports::NEWEST, "SEARCH reports USING INDEX reports_vehicle_stored (vehicle_id=?)"),
        (restamp::PASSAGES, "SEARCH passages USING INDEX passages_unsynced (boot_id=?)"),
        (restamp::WATCHED, "SEARCH watch_unsynced USING INDEX watch_unsynced_boot (boot_id=?)"),
        (trail::FOLLOWING, "SEARCH audit_log USING INTEGER PRIMARY KEY (rowid>?)"),
        (validations::PAGE, "SEARCH validations USING INTEGER PRIMARY KEY (rowid<?)"),
        // As many as people make.
        (users::ALL, "SCAN users USING INDEX sqlite_autoindex_users_1"),
        (tokens::ALL, "SCAN service_tokens USING INDEX sqlite_autoindex_service_tokens_2"),
        (outbox::EPOCHS, "SCAN outbox_epochs"),
    ] {
        assert_eq!(plan(&outside, sql), expected, "{sql}");
        let short = ["FROM counts", "FROM coverage", "FROM users", "FROM service_tokens", "FROM outbox_epochs"];
        assert!(sql.contains("LIMIT") || short.iter().any(|table| sql.contains(table)), "{sql}");
    }
    let between = plan(&outside, passages::BETWEEN);
    assert!(between.starts_with("SEARCH passages USING INDEX passages_counted (counted_at>? AND counted_at<?)"));
    let days = plan(&outside, wear::NEWEST_DAYS);
    assert!(days.contains("SCAN write_volume") && !days.contains("write_volume USE TEMP"), "{days}");
}

/// All subsets.
fn subsets(count: u32) -> impl Iterator<Item = Vec<bool>> {
    (0..1_u32 << count).map(move |set| (0..count).map(|bit| set >> bit & 1 == 1).collect())
}

fn assert_paged(steps: &str, table: &str, what: &str) {
    assert!(!steps.contains("TEMP B-TREE"), "{what} sorts: {steps}");
    assert!(steps.contains(&format!("{table} USING INDEX")), "{what} reads the whole table: {steps}");
}

#[test]
fn no_page_of_passages_sorts_or_reads_the_table_whatever_is_asked() {
    let fixture = Fixture::new();
    let outside = fixture.outside();
    let place = Some(PassagePlace { counted_us: 1, id: 1 });
    for given in subsets(6) {
        let text = |given: bool| given.then(|| "x".to_owned());
        let filter = PassageFilter {
            from: given[0].then(|| at(0)),
            to: given[1].then(|| at(9)),
            class: text(given[2]),
            line: text(given[3]),
            direction: text(given[4]),
            confidence_min: given[5].then_some(0.5),
        };
        for page in [Page::Before(None), Page::Before(place), Page::After(None), Page::After(place)] {
            let steps = plan(&outside, &passages::page_query(&filter, page, 10).0);
            assert_paged(&steps, "passages", &format!("{filter:?}"));
            let index = if given[2] { "passages_class (class=?" } else { "passages_counted" };
            assert!(steps.contains(index), "{filter:?}: {steps}");
        }
    }
}

#[test]
fn no_page_of_reports_sorts_or_reads_the_table_whatever_is_asked() {
    let fixture = Fixture::new();
    let outside = fixture.outside();
    for given in subsets(5) {
        let filter = ReportFilter {
            from: given[0].then(|| at(0)),
            to: given[1].then(|| at(9)),
            vehicle_id: given[2].then(|| "v".to_owned()),
            class: given[3].then(|| "bus".to_owned()),
            confidence_min: given[4].then_some(0.5),
        };
        for after in [None, Some(ReportPlace { created_us: 1, row: 1 })] {
            let steps = plan(&outside, &reports::page_query(&filter, after, 10).0);
            assert_paged(&steps, "reports", &format!("{filter:?}"));
            let index = if given[2] { "reports_vehicle (vehicle_id=?" } else { "reports_created" };
            assert!(steps.contains(index), "{filter:?}: {steps}");
        }
    }
}

#[test]
fn no_page_of_classifications_sorts_or_reads_the_table_whatever_is_asked() {
    let fixture = Fixture::new();
    let outside = fixture.outside();
    for given in subsets(6) {
        let filter = ClassificationFilter {
            from: given[0].then(|| at(0)),
            to: given[1].then(|| at(9)),
            class: given[2].then(|| "bus".to_owned()),
            origin: given[3].then_some(crate::record::Origin::Upload),
            user: given[4].then(|| "ann".to_owned()),
            confidence_min: given[5].then_some(0.5),
        };
        for after in [None, Some(ClassificationPlace { created_us: 1, row: 1 })] {
            let steps = plan(&outside, &classifications::page_query(&filter, after, 10).0);
            assert_paged(&steps, "classifications", &format!("{filter:?}"));
        }
    }
}

#[test]
fn no_page_of_the_trail_sorts_or_reads_the_table_whatever_is_asked() {
    let fixture = Fixture::new();
    let outside = fixture.outside();
    for given in subsets(5) {
        let filter = AuditFilter {
            from: given[0].then(|| at(0)),
            to: given[1].then(|| at(9)),
            user: given[2].then(|| "ann".to_owned()),
            action: given[3].then(|| "auth.token".to_owned()),
            outcome: given[4].then_some(crate::record::Outcome::Denied),
        };
        for before in [None, Some(5)] {
            let steps = plan(&outside, &audit::page_query(&filter, before, 10).0);
            assert_paged(&steps, "audit_log", &format!("{filter:?}"));
        }
    }
}

#[test]
fn a_read_that_takes_too_long_is_cut_off_and_the_next_one_answered() {
    let fixture = Fixture::new();
    let condition = Condition::new(fixture.directory.path().join(database::FILE_NAME), false);
    let mut reader = Reader::open(&condition, false).unwrap();
    let endless = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n";
    let connection = reader.connection(&condition, Duration::from_millis(20)).unwrap();
    let cut = connection.query_row(endless, [], |row| row.get::<_, i64>(0)).unwrap_err();
    let error = crate::error::Error::from(cut);
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.message().contains("narrow"), "{error}");
    assert!(reader.ran_out_of_time());
    let connection = reader.connection(&condition, Duration::from_secs(60)).unwrap();
    assert_eq!(connection.query_row("SELECT count(*) FROM users", [], |row| row.get::<_, i64>(0)).unwrap(), 0);
    assert!(!reader.ran_out_of_time());
}
