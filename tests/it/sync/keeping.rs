//! How much is kept, there and here, and what a stop still delivers.

use std::time::Duration;

use vehicle_classifierd::sync::SyncSettings;

use super::server::Server;
use super::{Outbox, PATIENCE, redis_settings, runtime, settings, until};

#[test]
fn the_stream_is_trimmed_to_about_so_many_events() {
    let server = Server::start(&[]);
    let (mut outbox, runtime) = (Outbox::new(), runtime());
    let keep = SyncSettings { stream_events_max: 300, ..settings() };
    let sync = outbox.deliver_as(&runtime, redis_settings(&server.url()), keep);
    outbox.record(2_000);
    outbox.settle(PATIENCE);
    runtime.block_on(sync.stop(PATIENCE));
    // Redis trims whole nodes of 100 entries, and before the last batch is added.
    assert!((300..=600).contains(&server.length()), "{}", server.length());
    let newest = outbox.bodies().split_off(2_000 - server.length());
    assert!(server.bodies() == newest, "not the newest ones");
}

#[test]
fn events_that_are_too_old_leave_the_stream() {
    let server = Server::start(&[]);
    let (mut outbox, runtime) = (Outbox::new(), runtime());
    let keep = SyncSettings { stream_age_max: Some(Duration::from_hours(1)), ..settings() };
    let sync = outbox.deliver_as(&runtime, redis_settings(&server.url()), keep);
    outbox.record_old(350, Duration::from_hours(2));
    outbox.settle(PATIENCE);
    outbox.record(10);
    outbox.settle(PATIENCE);
    runtime.block_on(sync.stop(PATIENCE));
    assert!((10..=110).contains(&server.length()), "{}", server.length());
}

#[test]
fn what_is_kept_for_a_server_that_loses_data_is_bounded_and_sent_as_far_as_it_goes() {
    let server = Server::start(&[]);
    let (mut outbox, runtime) = (Outbox::new(), runtime());
    let keep = SyncSettings { resend_events_max: 50, ..settings() };
    let sync = outbox.deliver_as(&runtime, redis_settings(&server.url()), keep);
    outbox.record(400);
    outbox.settle(PATIENCE);
    assert_eq!(outbox.bodies().len(), 50);
    let _: () = server.ask(&["FLUSHALL"]);
    until("the kept ones are there again", || server.length() == 50);
    outbox.record(5);
    outbox.settle(PATIENCE);
    runtime.block_on(sync.stop(PATIENCE));
    assert_eq!(server.length(), 55);
    assert!(server.bodies().ends_with(&outbox.bodies()), "other events, or another order");
}

#[test]
fn a_stop_delivers_what_still_waits() {
    let server = Server::start(&[]);
    let (mut outbox, runtime) = (Outbox::new(), runtime());
    let keep = SyncSettings { linger: Duration::from_hours(1), health_interval: Duration::from_hours(1), ..settings() };
    outbox.record(1);
    let sync = outbox.deliver_as(&runtime, redis_settings(&server.url()), keep);
    outbox.settle(PATIENCE);
    outbox.record(250);
    runtime.block_on(sync.stop(PATIENCE));
    assert_eq!((server.length(), outbox.waiting()), (251, 0));
}
