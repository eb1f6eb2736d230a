//! The writer: grouping, failures inside and around a group, full queues, the end.

use std::thread;

use super::{Fixture, classification, event, reopen};
use crate::error::{Error, ErrorKind};
use crate::store::{NewUser, database};

#[test]
fn writes_that_wait_share_one_commit_and_are_all_there() {
    let fixture = Fixture::new();
    let (gate, held) = fixture.hold_writer();
    let waiting: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = (0..10)
            .map(|_| {
                let store = &fixture.store;
                scope.spawn(move || (0..10).map(|n| store.record_audit(event("test", n))).collect::<Vec<_>>())
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    drop(gate);
    held.wait().unwrap();
    let commits = fixture.metrics.store_commits.get();
    for pending in waiting {
        pending.wait().unwrap();
    }
    assert!(fixture.metrics.store_commits.get() - commits <= 1, "{commits}");
    assert_eq!(fixture.count("audit_log"), 100);
    assert_eq!(fixture.store.progress().jobs_done, 101);
}

#[test]
fn a_failing_job_is_undone_alone() {
    let fixture = Fixture::new();
    let (gate, _held) = fixture.hold_writer();
    let before = fixture.store.record_audit(event("before", 0));
    let failing = fixture.store.write::<(), _>(|connection| {
        connection.execute("INSERT INTO revoked_tokens (jti, expires_at) VALUES ('a', 1)", [])?;
        Err(Error::new(ErrorKind::Conflict, "No."))
    });
    let panicking = fixture.store.write::<(), _>(|connection| {
        connection.execute("INSERT INTO revoked_tokens (jti, expires_at) VALUES ('b', 1)", [])?;
        panic!("a fault of the test's own");
    });
    let after = fixture.store.record_audit(event("after", 0));
    drop(gate);
    before.wait().unwrap();
    assert_eq!(failing.wait().unwrap_err().kind(), ErrorKind::Conflict);
    assert_eq!(panicking.wait().unwrap_err().kind(), ErrorKind::Internal);
    after.wait().unwrap();
    assert_eq!((fixture.count("audit_log"), fixture.count("revoked_tokens")), (2, 0));
    assert!(fixture.store.progress().alive);
}

#[test]
fn a_change_that_fails_leaves_no_audit_row() {
    let fixture = Fixture::new();
    let new = NewUser {
        name: "bob".into(),
        role: crate::record::Role::User,
        password_hash: "$hash".into(),
        must_change_password: false,
        created_at: super::at(0),
    };
    fixture.store.add_user(new.clone(), event("user.add", 0)).wait().unwrap();
    fixture.store.add_user(new, event("user.add", 0)).wait().unwrap_err();
    assert_eq!(fixture.count("audit_log"), 1);
}

#[test]
fn a_full_queue_refuses_at_once_and_says_when_to_come_back() {
    let fixture = Fixture::with(|settings| settings.queue_depth_max = 3);
    let (gate, held) = fixture.hold_writer();
    assert!(fixture.store.progress().busy_for.is_some());
    let waiting: Vec<_> = (0..3).map(|n| fixture.store.record_audit(event("fits", n))).collect();
    assert_eq!(fixture.metrics.queue_depth.with_label_values(&["store"]).get(), 3);
    let refused = fixture.store.record_audit(event("too many", 0)).wait().unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unavailable);
    assert_eq!(refused.retry_after_hint().unwrap().as_secs(), 1);
    assert_eq!(fixture.metrics.limit_hits.with_label_values(&["store_queue"]).get(), 1);
    drop(gate);
    held.wait().unwrap();
    for pending in waiting {
        pending.wait().unwrap();
    }
    assert_eq!(fixture.count("audit_log"), 3);
}

#[test]
fn a_full_disk_fails_the_group_and_passes_once_there_is_room() {
    let fixture = Fixture::new();
    let limit = |pages: &'static str| {
        fixture.store.write(move |connection| {
            Ok(connection.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(()))?)
        })
    };
    // SQLite raises a limit below the present size to that size, so the disk is as good as full.
    limit("1").wait().unwrap();
    let (gate, _held) = fixture.hold_writer();
    let small = fixture.store.record_audit(event("small", 0));
    let mut large = classification("large");
    large.file_name = Some("x".repeat(1 << 20));
    let large = fixture.store.record_classifications(vec![large], event("large", 0));
    drop(gate);
    let error = large.wait().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.message().contains("disk is full"), "{}", error.chain());
    assert_eq!(small.wait().unwrap_err().kind(), ErrorKind::Unavailable);
    assert!(!fixture.store.health().wait().unwrap().ok);
    // What finds nothing to do has not seen the disk work.
    fixture.store.write(|_| Ok(())).wait().unwrap();
    assert!(!fixture.store.health().wait().unwrap().ok);

    limit("1000000").wait().unwrap();
    fixture.store.record_audit(event("again", 0)).wait().unwrap();
    assert!(fixture.store.health().wait().unwrap().ok);
    assert_eq!(fixture.count("audit_log"), 1);
}

#[test]
fn what_must_not_be_lost_is_kept_in_memory_until_the_disk_takes_it() {
    let fixture = Fixture::with(|settings| settings.held_bytes_max = 3 * 1_000);
    let limit = |pages: &'static str| {
        fixture.store.write(move |connection| {
            Ok(connection.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(()))?)
        })
    };
    limit("1").wait().unwrap();
    let keep = |name: &'static str| {
        fixture.store.write_steadfast(1_000, move |connection| {
            let sql = "INSERT INTO revoked_tokens (jti, expires_at) VALUES (?1, length(?2))";
            Ok(connection.execute(sql, rusqlite::params![name.repeat(20_000), name])?)
        })
    };
    let kept: Vec<_> = ["a", "b", "c"].map(keep).into();
    // No room for a fourth one; and an ordinary write is refused at once.
    assert_eq!(keep("d").wait().unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(fixture.metrics.limit_hits.with_label_values(&["store_held"]).get(), 1);
    let mut large = event("large", 0);
    large.resource = "x".repeat(100_000);
    assert_eq!(fixture.store.record_audit(large).wait().unwrap_err().kind(), ErrorKind::Unavailable);
    let health = fixture.store.health().wait().unwrap();
    assert!(!health.ok && health.held == 3, "{health:?}");

    limit("1000000").wait().unwrap();
    for pending in kept {
        pending.wait().unwrap();
    }
    assert_eq!(fixture.count("revoked_tokens"), 3);
    assert_eq!(fixture.store.health().wait().unwrap().held, 0);
}

#[test]
fn dropping_the_answer_does_not_cancel_the_write_and_async_code_can_await_it() {
    let fixture = Fixture::new();
    drop(fixture.store.record_audit(event("forgotten", 0)));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(fixture.store.record_audit(event("awaited", 0))).unwrap();
    assert_eq!(fixture.count("audit_log"), 2);
}

#[test]
fn closing_finishes_what_waits_empties_the_log_and_refuses_the_rest() {
    let fixture = Fixture::new();
    let (gate, held) = fixture.hold_writer();
    let waiting: Vec<_> = (0..20).map(|n| fixture.store.record_audit(event("late", n))).collect();
    thread::scope(|scope| {
        let closing = scope.spawn(|| fixture.store.close());
        drop(gate);
        closing.join().unwrap();
    });
    held.wait().unwrap();
    for pending in waiting {
        pending.wait().unwrap();
    }
    assert_eq!(database::size(&fixture.directory.path().join(database::FILE_NAME)).log, 0);
    assert_eq!(fixture.store.record_audit(event("no", 0)).wait().unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(fixture.store.users().wait().unwrap_err().kind(), ErrorKind::Unavailable);
    assert!(!fixture.store.progress().alive);
    fixture.store.close();
    let again = reopen(&fixture.directory);
    assert_eq!(again.verify_audit().wait().unwrap().rows, 20);
}

#[test]
fn a_second_store_on_the_same_directory_writes_too() {
    let fixture = Fixture::new();
    let beside = reopen(&fixture.directory);
    thread::scope(|scope| {
        for store in [&fixture.store, &beside] {
            scope.spawn(move || {
                for n in 0..50 {
                    store.record_audit(event("test", n)).wait().unwrap();
                }
            });
        }
    });
    beside.close();
    let check = fixture.store.verify_audit().wait().unwrap();
    assert_eq!((check.rows, check.first_broken), (100, None));
}

#[test]
fn a_log_grown_large_is_emptied_without_waiting_for_the_end() {
    let fixture = Fixture::new();
    let mut large = classification("large");
    large.file_name = Some("x".repeat(17 << 20));
    fixture.store.record_camera(large).wait().unwrap();
    // The writer sees to its log before it takes the next job.
    fixture.store.record_audit(event("next", 0)).wait().unwrap();
    let size = database::size(&fixture.directory.path().join(database::FILE_NAME));
    assert!(size.database > 17 << 20 && size.log < 1 << 20, "{size:?}");
}
