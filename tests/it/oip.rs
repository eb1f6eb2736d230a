//! The Open Inference Protocol as its standard clients speak it.

use serde_json::{Value, json};

use crate::unit::{Reply, Unit, golden};

/// The golden picture as pixels: shape and bytes.
fn pixels() -> ([u64; 4], Vec<u8>) {
    let picture = image::load_from_memory(&golden()).unwrap().to_rgb8();
    ([1, u64::from(picture.height()), u64::from(picture.width()), 3], picture.into_raw())
}

fn infer(unit: &Unit, token: &str, path: &str, head: &Value, binary: &[u8]) -> Reply {
    let mut body = head.to_string().into_bytes();
    let length = body.len().to_string();
    body.extend_from_slice(binary);
    let headers = [("Content-Type", "application/octet-stream"), ("Inference-Header-Content-Length", length.as_str())];
    unit.send_with("POST", path, token, &headers, body)
}

/// The class that an answer with the binary output `type` names.
fn binary_class(reply: &Reply) -> String {
    let head: usize = reply.header("inference-header-content-length").unwrap().parse().unwrap();
    let (head, binary) = reply.body.split_at(head);
    let head: Value = serde_json::from_slice(head).unwrap();
    assert_eq!(head["outputs"][0]["parameters"]["binary_data_size"], binary.len());
    String::from_utf8(binary[4..].to_vec()).unwrap()
}

#[test]
fn a_tensor_gets_the_class_of_its_picture_in_every_form() {
    let unit = Unit::start();
    let token = unit.account("ann", "user");
    let uploaded = unit.classify(&token, "golden.jpg", &golden()).json();
    let expected = uploaded["data"]["predictions"]["type"]["value"].as_str().unwrap().to_owned();
    let metadata = unit.get("/api/models/metadata", &token).json();
    let name = metadata["data"]["name"].as_str().unwrap();
    let version = metadata["data"]["version"].as_str().unwrap();
    let paths = [format!("/v2/models/{name}/infer"), format!("/v2/models/{name}/versions/{version}/infer")];
    let (shape, rgb) = pixels();

    let input = json!({ "name": "image", "datatype": "UINT8", "shape": shape, "data": rgb });
    let plain = unit.post_json(&paths[0], &token, &json!({ "id": "7", "inputs": [input] }));
    assert_eq!(plain.status, 200, "{}", plain.text());
    let answer = plain.json();
    assert_eq!(
        (&answer["id"], &answer["model_name"], &answer["model_version"]),
        (&json!("7"), &json!(name), &json!(version))
    );
    let output = |wanted: &str| {
        answer["outputs"].as_array().unwrap().iter().find(|output| output["name"] == wanted).unwrap().clone()
    };
    assert_eq!(output("type")["data"], json!([expected]));
    assert_eq!(output("type_labels")["shape"], json!([1, 5]));
    let confidence = output("type_confidence")["data"][0].as_f64().unwrap();
    let of_upload = uploaded["data"]["overall_confidence"].as_f64().unwrap();
    assert!((confidence - of_upload).abs() < 0.05, "{confidence} {of_upload}: another JPEG decoder, no more");

    let floats: Vec<u8> = rgb.iter().flat_map(|&level| f32::from(level).to_le_bytes()).collect();
    for (datatype, binary) in [("UINT8", &rgb), ("FP32", &floats)] {
        let parameters = json!({ "binary_data_size": binary.len() });
        let input = json!({ "name": "image", "datatype": datatype, "shape": shape, "parameters": parameters });
        let wanted = json!([{ "name": "type", "parameters": { "binary_data": true } }]);
        let reply = infer(&unit, &token, &paths[1], &json!({ "inputs": [input], "outputs": wanted }), binary);
        assert_eq!(reply.status, 200, "{}", reply.text());
        assert_eq!(binary_class(&reply), expected, "{datatype}");
    }
    let stored = rusqlite::Connection::open(unit.state_directory().join("unit.db")).unwrap();
    let rows: i64 = stored.query_row("SELECT count(*) FROM classifications", [], |row| row.get(0)).unwrap();
    assert_eq!(rows, 4, "an inference is stored like an upload");
}

#[test]
fn server_and_model_say_what_they_are_and_errors_where_clients_look() {
    let unit = Unit::start();
    let token = unit.account("ann", "user");
    assert_eq!(unit.get("/v2", &token).json()["extensions"], json!(["binary_tensor_data"]));
    assert_eq!(unit.get("/v2/health/live", &token).json(), json!({ "live": true }));
    assert_eq!(unit.get("/v2/health/ready", &token).json(), json!({ "ready": true }));
    let name = unit.get("/api/models/metadata", &token).json()["data"]["name"].as_str().unwrap().to_owned();
    let model = unit.get(&format!("/v2/models/{name}"), &token).json();
    assert_eq!(model["inputs"], json!([{ "name": "image", "datatype": "UINT8", "shape": [-1, -1, -1, 3] }]));
    assert_eq!(model["outputs"][0]["name"], "type");
    let version = model["versions"][0].as_str().unwrap();
    assert_eq!(unit.get(&format!("/v2/models/{name}/versions/{version}/ready"), &token).json()["ready"], true);
    let malformed = unit.post_json(&format!("/v2/models/{name}/infer"), &token, &json!({ "inputs": [] }));
    for (reply, status) in [
        (unit.get("/v2/models/none", &token), 404),
        (unit.get(&format!("/v2/models/{name}/versions/9/ready"), &token), 404),
        (unit.get("/v2/health/live", ""), 401),
        (malformed, 400),
    ] {
        let body = reply.json();
        assert_eq!((reply.status, &body["error"]), (status, &body["message"]), "{body}");
    }
    let service = unit.service_token("triton", "classify");
    assert_eq!(unit.get("/v2", &service).status, 403);
}
