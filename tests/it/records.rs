//! What is recorded can be looked up by its id, listed, exported and summed up.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::traffic::passage;
use crate::unit::{Part, Unit, golden};

#[test]
fn a_classification_is_looked_up_by_its_id_listed_in_pages_and_exported() {
    let unit = Unit::start();
    let (ann, ben) = (unit.account("ann", "user"), unit.account("ben", "user"));
    let picture = golden();
    let mut answers: Vec<Value> =
        ["=a.jpg", "b.jpg"].iter().map(|name| unit.classify(&ann, name, &picture).json()["data"].clone()).collect();
    answers.push(unit.classify(&ben, "c.jpg", &picture).json()["data"].clone());
    let id = |answer: &Value| answer["classification_id"].as_str().unwrap().to_owned();

    let found = unit.get(&format!("/api/vehicle/classifications/{}", id(&answers[0])), &ben);
    assert_eq!(found.status, 200, "{}", found.text());
    let found = found.json()["data"].clone();
    for (field, value) in answers[0].as_object().unwrap() {
        assert_eq!(&found[field], value, "{field}");
    }
    assert_eq!(
        (&found["origin"], &found["user"], &found["file_name"]),
        (&json!("upload"), &json!("ann"), &json!("=a.jpg"))
    );
    assert!(found["created_at"].is_string() && found["clock_synced"].is_boolean() && found["boot_id"].is_string());
    assert_eq!(unit.get("/api/vehicle/classifications/nothing", &ann).error_code(), "NOT_FOUND");

    let listed = |query: &str| {
        let page = unit.get(&format!("/api/vehicle/classifications?{query}"), &ann);
        assert_eq!(page.status, 200, "{query}: {}", page.text());
        page.json()["data"].clone()
    };
    let ids = |page: &Value| page["classifications"].as_array().unwrap().iter().map(id).collect::<Vec<_>>();
    let newest_first: Vec<_> = answers.iter().rev().map(id).collect();
    assert_eq!(ids(&listed("")), newest_first);
    assert_eq!(ids(&listed("user=ann")), newest_first[1..]);
    assert_eq!(ids(&listed("origin=camera")).len(), 0);
    assert_eq!(ids(&listed("to=2020-01-01T00:00:00Z")).len(), 0);
    let class = found["predictions"]["type"]["value"].as_str().unwrap();
    assert_eq!(ids(&listed(&format!("class={class}&min_confidence=0&origin=upload"))).len(), 3);
    let first = listed("limit=2");
    let rest = listed(&format!("limit=2&cursor={}", first["next_cursor"].as_str().unwrap()));
    assert_eq!([ids(&first), ids(&rest)].concat(), newest_first);
    assert!(rest["next_cursor"].is_null());
    // A class of an earlier model, which nothing but a kept classification has.
    let outside = rusqlite::Connection::open(unit.state_directory().join("unit.db")).unwrap();
    outside.execute("UPDATE classifications SET class = 'tram' WHERE id = 1", []).unwrap();
    assert_eq!(ids(&listed("class=tram")).len(), 1);
    assert_eq!(unit.get("/api/vehicle/classifications?class=trm", &ann).error_code(), "VALIDATION_ERROR");
    for bad in ["origin=elsewhere", "limit=1001", "cursor=x", "sort=id"] {
        let refused = unit.get(&format!("/api/vehicle/classifications?{bad}"), &ann);
        assert_eq!(refused.error_code(), "VALIDATION_ERROR", "{bad}");
    }

    let table = unit.get("/api/vehicle/classifications?format=csv", &ann);
    assert!(table.header("content-type").unwrap().starts_with("text/csv"));
    assert!(table.text().lines().last().unwrap().contains(",'=a.jpg,"), "{}", table.text());
    let range = ["--from", "2020-01-01", "--to", "2100-01-01"];
    let exported = |format: &str| {
        let arguments = [&["export", "classifications", "--format", format][..], &range].concat();
        let output = unit.command(&arguments, "");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(exported("csv"), table.text());
    let lines: Vec<Value> = exported("json").lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(json!(lines), listed("")["classifications"]);
}

#[test]
fn a_passage_is_looked_up_by_its_id() {
    let unit = Unit::start();
    let token = unit.account("ann", "user");
    unit.store().record_passage(passage("p-1", 10, "bus", "north")).wait().unwrap();
    let listed = unit.get("/api/traffic/passages", &token).json()["data"]["passages"][0].clone();
    let found = unit.get("/api/traffic/passages/p-1", &token).json()["data"].clone();
    assert_eq!((&found["class"], &found), (&json!("bus"), &listed));
    assert_eq!(unit.get("/api/traffic/passages/p-2", &token).error_code(), "NOT_FOUND");
}

#[test]
fn statistics_sum_up_what_is_kept() {
    let unit = Unit::start();
    let token = unit.account("ann", "user");
    let empty = unit.get("/api/statistics", &token).json()["data"].clone();
    assert_eq!((&empty["classifications"]["rows"], &empty["average_confidence"]), (&json!(0), &Value::Null));
    let picture = golden();
    let answer = unit.classify(&token, "a.jpg", &picture).json()["data"].clone();
    let parts = [Part::file("file", "b.jpg", &picture), Part::text("vehicle_id", "V-1")];
    assert_eq!(unit.upload("/api/vehicle/report", &token, &parts).status, 201);
    for (id, class) in [("a", "car"), ("b", "bus"), ("c", "car")] {
        unit.store().record_passage(passage(id, 10, class, "north")).wait().unwrap();
    }
    let found = unit.get("/api/statistics", &token).json()["data"].clone();
    let rows: Vec<_> =
        ["reports", "classifications", "passages"].iter().map(|kind| found[kind]["rows"].as_u64().unwrap()).collect();
    assert_eq!(rows, [1, 2, 3], "{found}");
    assert_eq!(found["passages"]["by_class"], json!({ "bus": 1, "car": 2 }));
    assert_eq!(found["passages"]["newest"], "2026-05-04T12:00:10Z");
    // `admin` and `ann`.
    assert_eq!(found["users"], 2);
    assert!(found["audit_rows"].as_u64() > empty["audit_rows"].as_u64() && found["store_bytes"].as_u64() > Some(0));
    let mean = found["average_confidence"].as_f64().unwrap();
    assert!((mean - answer["overall_confidence"].as_f64().unwrap()).abs() < 1e-6, "{found}");
    assert!(found["average_processing_time_ms"].as_f64().unwrap() > 0.0);
    let kinds: BTreeSet<_> = found.as_object().unwrap().keys().map(String::as_str).collect();
    assert!(kinds.is_superset(&["users", "validations", "audit_rows", "store_bytes"].into()), "{kinds:?}");
}
