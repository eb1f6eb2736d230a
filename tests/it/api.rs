//! Answers, errors and headers as the contract has them.

use serde_json::{Value, json};

use crate::unit::{Part, Unit, golden};

#[test]
fn a_classification_answers_what_the_contract_lists() {
    let unit = Unit::start();
    let token = unit.account("ann", "user");
    let reply = unit.classify(&token, "golden.jpg", &golden());
    assert_eq!(reply.status, 201, "{}", reply.text());
    let body = reply.json();
    assert_eq!(body["status"], "success");
    let data = &body["data"];
    let prediction = &data["predictions"]["type"];
    assert_eq!(prediction["attribute"], "type");
    assert_eq!(prediction["value"], prediction["top"][0]["label"]);
    assert_eq!(prediction["confidence"], prediction["confidence_metrics"]["rank_1"]);
    assert_eq!(data["overall_confidence"], prediction["confidence"]);
    assert_eq!(prediction["top"].as_array().unwrap().len(), 5);
    let uncertainty = prediction["confidence_metrics"]["uncertainty"].as_f64().unwrap();
    assert!((0.0..=1.0).contains(&uncertainty));
    assert!(["HIGH", "MEDIUM", "LOW"].contains(&prediction["confidence_metrics"]["level"].as_str().unwrap()));
    assert_eq!(data["image"]["format"], "jpeg");
    assert_eq!(data["image"]["sha256"].as_str().unwrap().len(), 64);
    assert!(data["processing_time_ms"].as_f64().unwrap() > 0.0);
    let metadata = unit.get("/api/models/metadata", &token).json();
    assert_eq!(data["model"], metadata["data"]["name"]);
    assert_eq!(data["model_version"], metadata["data"]["version"]);
}

#[test]
fn a_picture_may_come_raw_and_must_be_what_it_says() {
    let unit = Unit::start();
    let token = unit.account("ann", "user");
    let raw = |media_type, body| unit.send("POST", "/api/vehicle/classify", &token, media_type, body);
    assert_eq!(raw("image/jpeg", golden()).status, 201);
    for (media_type, body, code) in [
        ("image/png", golden(), "UNSUPPORTED_MEDIA_TYPE"),
        ("image/jpeg", b"no picture".to_vec(), "UNSUPPORTED_MEDIA_TYPE"),
        ("text/plain", golden(), "UNSUPPORTED_MEDIA_TYPE"),
        ("image/jpeg", golden()[..2_000].to_vec(), "VALIDATION_ERROR"),
        ("image/jpeg", Vec::new(), "VALIDATION_ERROR"),
        ("multipart/form-data; boundary=XbX", b"--XbX--\r\n".to_vec(), "VALIDATION_ERROR"),
        ("multipart/form-data; boundary=XbX", b"nonsense".to_vec(), "VALIDATION_ERROR"),
        ("multipart/form-data", golden(), "UNSUPPORTED_MEDIA_TYPE"),
    ] {
        let reply = raw(media_type, body);
        assert_eq!(reply.error_code(), code, "{media_type}: {}", reply.text());
    }
    let named = unit.classify(&token, "golden.png", &golden());
    assert_eq!(named.error_code(), "UNSUPPORTED_MEDIA_TYPE", "{}", named.text());
    let typed = Part::file("file", "golden.jpg", b"GIF89a").typed("image/jpeg");
    assert_eq!(unit.upload("/api/vehicle/classify", &token, &[typed]).status, 415);
}

#[test]
fn in_a_batch_one_bad_file_fails_alone() {
    let unit = Unit::start();
    let token = unit.account("ann", "user");
    let picture = golden();
    let parts = [
        Part::file("files", "a.jpg", &picture),
        Part::file("files", "notes.jpg", b"just text"),
        Part::file("files", "b.jpg", &picture),
    ];
    let reply = unit.upload("/api/vehicle/classify-batch", &token, &parts);
    assert_eq!(reply.status, 201, "{}", reply.text());
    let data = &reply.json()["data"];
    assert_eq!(
        (&data["summary"]["total_files"], &data["summary"]["successful"], &data["summary"]["failed"]),
        (&json!(3), &json!(2), &json!(1))
    );
    assert!(data["summary"]["average_processing_time_ms"].as_f64().unwrap() > 0.0);
    let results = data["results"].as_array().unwrap();
    let seen: Vec<_> = results
        .iter()
        .map(|result| (result["file_name"].as_str().unwrap(), result["status"].as_str().unwrap()))
        .collect();
    assert_eq!(seen, [("a.jpg", "success"), ("notes.jpg", "error"), ("b.jpg", "success")]);
    assert_eq!(results[1]["error"]["error_code"], "UNSUPPORTED_MEDIA_TYPE");
    assert!(results[0]["data"]["classification_id"].is_string());
}

#[test]
fn a_report_is_stored_served_and_known_by_its_etag() {
    let unit = Unit::with(&[("UNIT__SITE", "North <b>gate</b>")]);
    let token = unit.account("ann", "user");
    let picture = golden();
    let file = || Part::file("file", "golden.jpg", &picture);
    let created = unit.upload("/api/vehicle/report", &token, &[file(), Part::text("vehicle_id", "V-1")]);
    assert_eq!(created.status, 201, "{}", created.text());
    let report = &created.json()["data"];
    for key in ["report_id", "vehicle_id", "report_date", "summary", "recommendations", "metadata", "predictions"] {
        assert!(!report[key].is_null(), "{key}: {report}");
    }
    let read = unit.get("/api/vehicle/report/V-1", &token);
    assert_eq!(read.json()["data"], *report);
    let etag = read.header("etag").unwrap().to_owned();
    let known = ureq::Agent::new_with_defaults()
        .get(unit.url("/api/vehicle/report/V-1"))
        .header("Authorization", format!("Bearer {token}"))
        .header("If-None-Match", &etag)
        .call()
        .unwrap();
    assert_eq!(known.status(), 304);
    let page = unit.get("/api/vehicle/report/V-1?format=html", &token);
    assert!(page.header("content-type").unwrap().starts_with("text/html"));
    assert!(page.text().contains("North &#60;b&#62;gate") && page.text().contains("V-1"), "{}", page.text());
    assert_ne!(page.header("etag").unwrap(), etag);

    let newer = unit.upload(
        "/api/vehicle/report",
        &token,
        &[file(), Part::text("vehicle_id", "V-1"), Part::text("format", "html")],
    );
    assert!(newer.status == 201 && newer.text().starts_with("<!DOCTYPE html>"), "{}", newer.text());
    assert_ne!(unit.get("/api/vehicle/report/V-1", &token).header("etag").unwrap(), etag);

    assert_eq!(unit.get("/api/vehicle/report/V-2", &token).error_code(), "NOT_FOUND");
    for bad in [
        "/api/vehicle/report/a%2F..%2Fb",
        "/api/vehicle/report/..",
        "/api/vehicle/report/V-1?format=pdf",
        "/api/vehicle/report/V-1?x=1",
    ] {
        let status = unit.get(bad, &token).status;
        assert!(status == 400 || status == 404, "{bad}: {status}");
    }
    let bad_id = unit.upload("/api/vehicle/report", &token, &[file(), Part::text("vehicle_id", "../etc")]);
    assert_eq!(bad_id.error_code(), "VALIDATION_ERROR");
}

#[test]
fn every_answer_carries_its_id_and_the_security_headers() {
    let unit = Unit::start();
    for path in ["/health", "/nowhere", "/api/audit", "/docs", "/"] {
        let reply = unit.get(path, "");
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
            ("x-xss-protection", "1; mode=block"),
            ("referrer-policy", "strict-origin-when-cross-origin"),
        ] {
            assert_eq!(reply.header(name), Some(value), "{path}");
        }
        assert!(reply.header("content-security-policy").unwrap().starts_with("default-src 'self'"), "{path}");
        assert!(
            reply.header("x-request-id").is_some() && reply.header("strict-transport-security").is_none(),
            "{path}"
        );
    }
    let agent = ureq::Agent::new_with_defaults();
    let with_id = |id: &str| {
        let reply = agent.get(unit.url("/health")).header("X-Request-Id", id).call().unwrap();
        reply.headers()["x-request-id"].to_str().unwrap().to_owned()
    };
    assert_eq!(with_id("trace-1.2:3"), "trace-1.2:3");
    for insane in ["a b", "\"quoted\"", &"x".repeat(65)] {
        assert_ne!(with_id(insane), insane);
    }
}

#[test]
fn errors_have_one_shape_everywhere() {
    let unit = Unit::start();
    let token = unit.account("ann", "user");
    for (method, path, status, code) in [
        ("GET", "/nowhere", 404, "NOT_FOUND"),
        ("GET", "/api/vehicle/report", 405, "METHOD_NOT_ALLOWED"),
        ("DELETE", "/health", 405, "METHOD_NOT_ALLOWED"),
        ("GET", "/api/audit", 403, "AUTHORIZATION_ERROR"),
        ("POST", "/auth/token", 415, "UNSUPPORTED_MEDIA_TYPE"),
    ] {
        let reply = unit.send(method, path, &token, "text/csv", Vec::new());
        assert_eq!((reply.status, reply.error_code().as_str()), (status, code), "{method} {path}");
    }
    let bare = unit.get("/api/audit", "");
    assert_eq!(bare.error_code(), "AUTHENTICATION_ERROR");
    assert!(bare.header("www-authenticate").unwrap().starts_with("Bearer"));
    let broken = unit.send("POST", "/auth/token", "", "application/json", b"{\"username\":1".to_vec());
    assert_eq!(broken.error_code(), "VALIDATION_ERROR");
}

#[test]
fn a_token_can_be_had_as_the_oauth2_password_form_too() {
    let unit = Unit::start();
    unit.account("ann", "user");
    let form = format!("grant_type=password&username=ann&password={}&scope=", crate::unit::PASSWORD.replace(' ', "+"));
    let reply = unit.send("POST", "/auth/token", "", "application/x-www-form-urlencoded", form.into_bytes());
    assert_eq!(reply.status, 200, "{}", reply.text());
    let token = reply.json();
    assert_eq!((&token["token_type"], &token["expires_in"]), (&json!("bearer"), &json!(1_800)));
    assert_eq!(unit.get("/api/models/metadata", token["access_token"].as_str().unwrap()).status, 200);
}

#[test]
fn the_audit_trail_tells_who_did_what_from_where() {
    let unit = Unit::start();
    let admin = unit.admin();
    let token = unit.account("ann", "user");
    assert_eq!(unit.classify(&token, "golden.jpg", &golden()).status, 201);
    assert_eq!(unit.log_in("ann", "wrong").status, 401);
    let page = unit.get("/api/audit?user=ann&limit=2", &admin).json();
    let events = page["data"]["events"].as_array().unwrap();
    let seen: Vec<_> =
        events.iter().map(|event| (event["action"].as_str().unwrap(), event["outcome"].as_str().unwrap())).collect();
    assert_eq!(seen, [("auth.token", "denied"), ("vehicle.classify", "success")]);
    assert_eq!(events[0]["ip_address"], "127.0.0.1");
    let cursor = page["data"]["next_cursor"].as_str().unwrap();
    let older = unit.get(&format!("/api/audit?user=ann&limit=2&cursor={cursor}"), &admin).json();
    assert_eq!(older["data"]["events"][0]["action"], "auth.token");
    let added = unit.get("/api/audit?action=user.add", &admin).json();
    assert!(added["data"]["events"].as_array().unwrap().iter().any(|event| event["resource"] == "ann"));
    for bad in ["limit=0", "limit=100000", "from=yesterday", "outcome=maybe", "cursor=x", "colour=red"] {
        assert_eq!(unit.get(&format!("/api/audit?{bad}"), &admin).error_code(), "VALIDATION_ERROR", "{bad}");
    }
    let verified = unit.command(&["audit", "verify"], "");
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));
}

#[test]
fn the_metrics_count_what_happened_by_route_pattern() {
    let unit = Unit::start();
    let token = unit.account("alma", "admin");
    assert_eq!(unit.classify(&token, "golden.jpg", &golden()).status, 201);
    unit.get("/api/vehicle/report/V-1", &token);
    let series = |labels: &str| format!("vehicle_classifier_requests_total{{{labels}}}");
    assert_eq!(unit.metric(&token, &series("endpoint=\"/api/vehicle/classify\",method=\"POST\",status=\"201\"")), 1.0);
    assert_eq!(
        unit.metric(&token, &series("endpoint=\"/api/vehicle/report/{vehicle_id}\",method=\"GET\",status=\"404\"")),
        1.0
    );
    let model = unit.get("/api/models/metadata", &token).json()["data"]["name"].as_str().unwrap().to_owned();
    let invokes =
        format!("vehicle_classifier_classification_duration_seconds_count{{model=\"{model}\",stage=\"invoke\"}}");
    assert_eq!(unit.metric(&token, &invokes), 1.0);
    assert_eq!(unit.metric(&token, "vehicle_classifier_errors_total{error_type=\"not_found\"}"), 1.0);
    assert!(unit.metric(&token, "vehicle_classifier_disk_free_bytes") > 0.0);
    assert!(unit.metric(&token, "vehicle_classifier_store_bytes") > 0.0);
}

#[test]
fn the_description_covers_every_route_and_matches_its_snapshot() {
    let unit = Unit::start();
    let description = unit.get("/api/openapi.json", "").json();
    assert!(description["openapi"].as_str().unwrap().starts_with("3.1"), "{}", description["openapi"]);
    let mut ids = std::collections::HashSet::new();
    for (path, operations) in description["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            assert!(ids.insert(operation["operationId"].as_str().unwrap()), "{method} {path} shares its id");
            let parameters = operation["parameters"].as_array().into_iter().flatten();
            let named = parameters.filter(|parameter| parameter["in"] == "path").map(|parameter| &parameter["name"]);
            let mut named: Vec<_> = named.map(|name| format!("{{{}}}", name.as_str().unwrap())).collect();
            let mut in_path: Vec<_> = path.split('/').filter(|part| part.starts_with('{')).collect();
            named.sort();
            in_path.sort();
            assert_eq!(named, in_path, "{method} {path}");
            let responses = operation["responses"].as_object().unwrap();
            assert!(responses.keys().any(|status| status.starts_with('2')), "{method} {path} documents no success");
            assert!(operation["summary"].is_string() && operation["tags"].is_array(), "{method} {path} says nothing");
        }
    }
    assert!(!unit.log.text().contains("salvo_oapi"), "its makers' warnings: {}", unit.log.text());
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/openapi.json");
    let found = serde_json::to_string_pretty(&description).unwrap() + "\n";
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        std::fs::write(&file, &found).unwrap();
    }
    let published = std::fs::read_to_string(&file).unwrap();
    let first = found.lines().zip(published.lines()).find(|(found, published)| found != published);
    assert!(found == published, "the API changed ({first:?}): run with UPDATE_SNAPSHOTS=1 and look at the difference");
}

#[test]
fn swagger_ui_is_served_from_the_unit_alone_and_can_be_switched_off() {
    let unit = Unit::start();
    let index = unit.get("/docs", "").text();
    for file in ["docs/swagger-ui.css", "docs/swagger-ui-bundle.js", "docs/start.js"] {
        assert!(index.contains(file), "{file}");
        assert_eq!(unit.get(&format!("/{file}"), "").status, 200, "{file}");
    }
    assert!(!index.contains("http://") && !index.contains("https://") && !index.contains("<script>"), "{index}");
    let quiet = Unit::with(&[("API__DOCS", "false")]);
    assert_eq!((quiet.get("/docs", "").status, quiet.get("/api/openapi.json", "").status), (404, 404));
}

#[test]
fn only_trusted_hosts_and_named_origins_are_served() {
    let unit =
        Unit::with(&[("API__TRUSTED_HOSTS", "127.0.0.1,unit.example"), ("API__CORS_ORIGINS", "https://dash.example")]);
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let host = |host: &str| agent.get(unit.url("/health")).header("Host", host).call().unwrap().status().as_u16();
    assert_eq!((host("unit.example:8000"), host("UNIT.example"), host("evil.example")), (200, 200, 400));
    let origin = |origin: &str| {
        let reply = agent.get(unit.url("/health")).header("Origin", origin).call().unwrap();
        reply.headers().get("access-control-allow-origin").map(|value| value.to_str().unwrap().to_owned())
    };
    assert_eq!(origin("https://dash.example").as_deref(), Some("https://dash.example"));
    assert_eq!(origin("https://evil.example"), None);
}

#[test]
fn health_says_what_is_degraded() {
    let unit = Unit::with(&[("CAPTURE__SOURCE", "replay:/nonexistent")]);
    let health = unit.get("/health", "").json();
    assert_eq!(health["status"], "degraded");
    assert_eq!((&health["camera_connected"], &health["redis_connected"]), (&json!(false), &Value::Null));
    assert_eq!((&health["database_healthy"], &health["models_loaded"]), (&json!(true), &json!(true)));
    assert!(health["reasons"].as_array().unwrap().iter().any(|reason| reason.as_str().unwrap().contains("camera")));
    let without = Unit::start().get("/health", "").json();
    assert_eq!(without["camera_connected"], Value::Null);
}
