//! What generated clients call things: schema names, operation ids, and the values a parameter may have.

use std::any::TypeId;

use salvo::oapi::naming::{self, NameRule, Namer};
use serde_json::Value;

/// Names schemas after their types, without the path and without `Wire`: they become the class names of generated clients, and
/// OpenAPI allows only letters, digits, `.`, `-` and `_` in them. An answer in its envelope is called `…Response`.
#[derive(Debug)]
pub struct ShortNames;

impl Namer for ShortNames {
    fn assign_name(&self, type_id: TypeId, type_name: &'static str, rule: NameRule) -> String {
        let base = match rule {
            NameRule::Auto => short(type_name),
            NameRule::Force(name) => name.to_owned(),
        };
        let taken = |name: &String| naming::type_info_by_name(name).is_some_and(|(other, _)| other != type_id);
        let numbered = (2..).map(|number| format!("{base}{number}"));
        let name = std::iter::once(base.clone()).chain(numbered).find(|name| !taken(name)).unwrap_or(base);
        naming::set_name_type_info(name.clone(), type_id, type_name);
        name
    }
}

fn short(type_name: &str) -> String {
    match type_name.split_once('<') {
        Some((_, inner)) => format!("{}Response", short(inner.trim_end_matches('>'))),
        None => {
            let name = type_name.rsplit("::").next().unwrap_or(type_name);
            name.strip_suffix("Wire").unwrap_or(name).to_owned()
        }
    }
}

/// `get_traffic_counts`, `delete_users_by_name`: unique, because the pair of method and path is.
pub fn operation_id(method: &str, path: &str) -> String {
    let parts = path.strip_prefix("/api").unwrap_or(path).split('/').filter(|part| !part.is_empty());
    let word = |part: &str| match part.strip_prefix('{').and_then(|part| part.strip_suffix('}')) {
        Some(parameter) => format!("by_{parameter}"),
        None => part.replace(['-', '.'], "_"),
    };
    std::iter::once(method.to_lowercase()).chain(parts.map(word)).collect::<Vec<_>>().join("_")
}

/// Puts the values of patterns such as `^(json|csv)$` into `enum`, which generated clients offer by name, wherever they stand.
pub fn list_values(node: &mut Value) {
    match node {
        Value::Array(items) => items.iter_mut().for_each(list_values),
        Value::Object(fields) => {
            fields.values_mut().for_each(list_values);
            let Some(mut values) = fields.get("pattern").and_then(Value::as_str).and_then(alternatives) else { return };
            if fields.get("type").and_then(Value::as_array).is_some_and(|types| types.contains(&"null".into())) {
                values.push(Value::Null);
            }
            fields.remove("pattern");
            fields.insert("enum".to_owned(), values.into());
        }
        _ => {}
    }
}

fn alternatives(pattern: &str) -> Option<Vec<Value>> {
    let inner = pattern.strip_prefix("^(")?.strip_suffix(")$")?.replace('\\', "");
    let plain = |word: &str| {
        !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_+".contains(&byte))
    };
    inner.split('|').map(|word| plain(word).then(|| word.into())).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn schemas_and_operations_have_names_that_clients_can_use() {
        for (type_name, name) in [
            ("unit::api::wire::UserWire", "User"),
            ("unit::api::wire::Success<unit::ledger::wire::CountsWire>", "CountsResponse"),
            ("Probe", "Probe"),
        ] {
            assert_eq!(short(type_name), name);
        }
        assert_eq!(operation_id("GET", "/api/users/{name}"), "get_users_by_name");
        assert_eq!(operation_id("post", "/api/vehicle/classify-batch"), "post_vehicle_classify_batch");
        assert_eq!(operation_id("GET", "/v2"), "get_v2");
    }

    #[test]
    fn alternatives_become_enumerations_and_other_patterns_stay() {
        let mut schema = json!({
            "format": { "type": "string", "pattern": "^(json|csv)$" },
            "role": { "type": ["string", "null"], "pattern": "^(user|admin)$" },
            "scheme": { "type": "string", "pattern": "^(native|tls8\\+1)$" },
            "cursor": { "type": "string", "pattern": "^[0-9a-f]{1,16}$" },
            "id": { "type": "string", "pattern": "^([._:-]*[A-Za-z])?$" },
        });
        list_values(&mut schema);
        assert_eq!(schema["format"], json!({ "type": "string", "enum": ["json", "csv"] }));
        assert_eq!(schema["role"]["enum"], json!(["user", "admin", null]));
        assert_eq!(schema["scheme"]["enum"], json!(["native", "tls8+1"]));
        assert!(schema["cursor"]["pattern"].is_string() && schema["id"]["pattern"].is_string());
    }
}
