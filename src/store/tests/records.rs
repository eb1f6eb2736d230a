//! Classifications and reports.

use super::{Fixture, classification, event, report};
use crate::record::Origin;

#[test]
fn a_request_is_stored_whole_or_not_at_all() {
    let fixture = Fixture::new();
    let store = &fixture.store;
    let batch = vec![classification("a"), classification("b")];
    store.record_classifications(batch, event("vehicle.classify-batch", 0)).wait().unwrap();
    assert_eq!((fixture.count("classifications"), fixture.count("audit_log")), (2, 1));
    // The second id is taken.
    let batch = vec![classification("c"), classification("a")];
    store.record_classifications(batch, event("vehicle.classify-batch", 0)).wait().unwrap_err();
    store.record_report(report("r", "v", 0), classification("b"), event("vehicle.report", 0)).wait().unwrap_err();
    let counts = ["classifications", "audit_log", "reports"].map(|table| fixture.count(table));
    assert_eq!(counts, [2, 1, 0]);
}

#[test]
fn every_column_says_what_it_should() {
    let fixture = Fixture::new();
    let mut frame = classification("frame");
    (frame.origin, frame.user, frame.file_name) = (Origin::Camera, None, None);
    fixture.store.record_camera(frame).wait().unwrap();
    fixture.store.record_classifications(vec![classification("upload")], event("vehicle.classify", 0)).wait().unwrap();
    let text = "SELECT concat_ws('|', uuid, origin, ifnull(image_path, '-'), width, height, format, class,
            round(confidence, 2), json_extract(predictions, '$[0].value'), processing_time_ms, model, model_version,
            ifnull(user_id, '-'), created_at, clock_synced, boot_id, monotonic_us)
        FROM classifications ORDER BY id";
    let outside = fixture.outside();
    let mut statement = outside.prepare(text).unwrap();
    let rows: Vec<String> = statement.query_map([], |row| row.get(0)).unwrap().map(|row| row.unwrap()).collect();
    let tail = "1767225600000000|1|boot|7";
    assert_eq!(
        rows,
        [
            format!("frame|camera|-|640|480|jpeg|bus|0.93|bus|12.5|vehicle-type|1.0.0|-|{tail}"),
            format!("upload|upload|bus.jpg|640|480|jpeg|bus|0.93|bus|12.5|vehicle-type|1.0.0|alice|{tail}"),
        ]
    );
}

#[test]
fn the_oldest_classifications_go_in_small_steps() {
    let fixture = Fixture::with(|settings| settings.classifications_max = 10);
    for n in 0..25 {
        fixture.store.record_camera(classification(&n.to_string())).wait().unwrap();
    }
    let kept = || {
        let sql = "SELECT count(*), min(CAST(uuid AS INTEGER)) FROM classifications";
        fixture.outside().query_row(sql, [], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?))).unwrap()
    };
    assert_eq!(kept(), (10, 15));
    let deleted = fixture.metrics.store.rows_deleted.with_label_values(&["classifications"]).get();
    assert_eq!(deleted, 15, "what goes by the limit of rows is counted");

    // A lowered limit is reached step by step.
    let lowered = crate::store::Store::open(
        crate::store::StoreSettings { classifications_max: 5, ..super::settings(&fixture.directory) },
        fixture.metrics.clone(),
    )
    .unwrap();
    lowered.record_camera(classification("25")).wait().unwrap();
    assert_eq!(kept(), (9, 17));
    for n in 26..31 {
        lowered.record_camera(classification(&n.to_string())).wait().unwrap();
    }
    assert_eq!(kept(), (5, 26));
}

#[test]
fn the_newest_report_of_a_vehicle_is_the_one_stored_last_whatever_the_clock_said() {
    let fixture = Fixture::new();
    let store = &fixture.store;
    // The clock jumps back between the second report of v1 and the third.
    for (id, vehicle, seconds) in [("r1", "v1", 10), ("r2", "v1", 30), ("r3", "v1", 20), ("r4", "v2", 40)] {
        let stored = store.record_report(report(id, vehicle, seconds), classification(id), event("vehicle.report", 0));
        stored.wait().unwrap();
    }
    let newest = store.newest_report("v1").wait().unwrap().unwrap();
    let expected = report("r3", "v1", 20);
    assert_eq!(format!("{newest:?}"), format!("{expected:?}"));
    assert_eq!(store.report("r4").wait().unwrap().unwrap().vehicle_id, "v2");
    assert!(store.newest_report("v3").wait().unwrap().is_none());
    assert!(store.report("r9").wait().unwrap().is_none());
    assert_eq!(fixture.count("classifications"), 4);
}
