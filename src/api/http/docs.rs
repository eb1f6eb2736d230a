//! OpenAPI and Swagger UI, generated from the endpoints themselves.

use bytes::Bytes;
use salvo::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue};
use salvo::oapi::security::{Flow, Http, HttpAuthScheme, OAuth2, Password, Scopes};
use salvo::oapi::swagger_ui::SwaggerUi;
use salvo::oapi::{
    BasicType, Content, Header, Info, KnownFormat, License, Object, OpenApi, Operation, Parameter, ParameterIn,
    PathItem, RefOr, Response as Described, Schema, SchemaFormat, SecurityRequirement, SecurityScheme, Server,
    ToSchema,
};
use salvo::prelude::*;
use serde_json::Value;

use crate::api::http::error::ErrorBody;
use crate::error::{Error, Result};

mod names;

/// Swagger UI styles its elements inline and carries small pictures as data; its scripts come from the unit alone.
const PAGE_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'",
);
const INDEX: &str = include_str!("../page/docs.html");
const START: &str = include_str!("../page/docs.js");
pub const OPENAPI_PATH: &str = "/api/openapi.json";
/// Bodies that are taken besides the one that an endpoint's attribute names: the end of the path, the media type, and whether
/// the schema is the same or just bytes.
const FURTHER_BODIES: [(&str, &str, bool); 5] = [
    ("/auth/token", "application/json", true),
    ("/vehicle/classify", "image/*", false),
    ("/vehicle/classify-batch", "image/*", false),
    ("/vehicle/report", "image/*", false),
    ("/infer", "application/octet-stream", false),
];

/// Below it, `versions/{version}` may stand before the rest of the path.
const OF_MODEL: &str = "/v2/models/{model}";

/// `router` with its description and Swagger UI beside it. A filter for a class lists `classes`.
///
/// # Errors
/// Internal when the description cannot be written.
pub fn with_docs(router: Router, classes: &[String]) -> Result<Router> {
    let description = finished(description(&router), classes)?;
    let assets = SwaggerUi::new(OPENAPI_PATH);
    Ok(router.push(Router::with_path(OPENAPI_PATH).get(Document(description.into()))).push(
        Router::with_path("docs")
            .hoop(page_policy)
            .get(index)
            .push(Router::with_path("start.js").get(start))
            .push(Router::with_path("{**asset}").get(assets)),
    ))
}

/// The description as it is served.
struct Document(Bytes);

#[async_trait]
impl Handler for Document {
    async fn handle(&self, _req: &mut Request, _depot: &mut Depot, res: &mut Response, _ctrl: &mut FlowCtrl) {
        res.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
        res.body(self.0.clone());
    }
}

/// Writes the description, with what salvo's types cannot say.
fn finished(description: OpenApi, classes: &[String]) -> Result<Vec<u8>> {
    let failed = |cause| Error::internal("The description of the API cannot be written.").because(cause);
    let mut description = serde_json::to_value(description).map_err(failed)?;
    names::list_values(&mut description);
    let operations = description["paths"].as_object_mut().into_iter().flat_map(|paths| paths.values_mut());
    for operation in operations.filter_map(Value::as_object_mut).flat_map(|item| item.values_mut()) {
        let parameters = operation.get_mut("parameters").and_then(Value::as_array_mut).into_iter().flatten();
        for parameter in parameters.filter(|parameter| parameter["name"] == "class") {
            parameter["schema"] = serde_json::json!({ "type": "string", "enum": classes });
        }
    }
    serde_json::to_vec(&description).map_err(failed)
}

/// The OpenAPI description of all routes of `router`.
#[must_use]
pub fn description(router: &Router) -> OpenApi {
    salvo::oapi::naming::set_namer(names::ShortNames);
    let info = Info::new("vehicle-classifierd", env!("CARGO_PKG_VERSION"))
        .description(
            "The vehicle-classifying roadside camera unit. Log in with POST /auth/token. HEAD is answered wherever GET is. \
             Errors have one shape everywhere; only what is not HTTP at all gets a bare 400, and a head of more than four \
             times `api.header_bytes_max` a bare 431.",
        )
        .license(License::new("MIT OR Apache-2.0"));
    let bearer = Http::new(HttpAuthScheme::Bearer)
        .bearer_format("JWT")
        .description("A token of POST /auth/token or of `token issue`.");
    // Relative to the server below.
    let login = OAuth2::new([Flow::Password(Password::new("auth/token", Scopes::new()))]);
    let mut description = OpenApi::with_info(info)
        // Relative to the description, so that it holds below any path that a proxy puts before the unit's.
        .add_server(Server::new("../"))
        .add_security_scheme("bearer", SecurityScheme::Http(bearer))
        .add_security_scheme("login", SecurityScheme::OAuth2(login))
        .merge_router(router);
    let schema = ErrorBody::to_schema(&mut description.components);
    for (path, item) in description.paths.iter_mut() {
        for (method, operation) in item.operations.iter_mut() {
            operation.operation_id = Some(names::operation_id(&format!("{method:?}"), path));
            add_login(operation);
            add_bodies(path, operation);
            add_errors(operation, &schema);
        }
    }
    add_versions(&mut description);
    description
}

/// The paths with a model's version: what those without it say, one parameter more, and an id of their own.
fn add_versions(description: &mut OpenApi) {
    let of_model = |(path, item): (&String, &PathItem)| Some((path.strip_prefix(OF_MODEL)?.to_owned(), item.clone()));
    let plain: Vec<_> = description.paths.iter().filter_map(of_model).collect();
    for (end, mut item) in plain {
        for operation in item.operations.values_mut() {
            operation.operation_id = operation.operation_id.as_ref().map(|id| format!("{id}_of_version"));
            let version = Parameter::new("version").location(ParameterIn::Path).description("Its version");
            operation.parameters.insert(version.schema(Object::with_type(BasicType::String)));
        }
        description.paths.insert(format!("{OF_MODEL}/versions/{{version}}{end}"), item);
    }
}

fn add_bodies(path: &str, operation: &mut Operation) {
    let Some(body) = operation.request_body.as_mut() else { return };
    for (_, media_type, same) in FURTHER_BODIES.iter().filter(|(end, _, _)| path.ends_with(end)) {
        let content = body.contents.values().next().filter(|_| *same).cloned().unwrap_or_else(bytes);
        body.contents.insert((*media_type).to_owned(), content);
    }
}

fn bytes() -> Content {
    Content::new(Object::with_type(BasicType::String).format(SchemaFormat::KnownFormat(KnownFormat::Binary)))
}

/// Where a token is needed, Swagger UI's own login gets one.
fn add_login(operation: &mut Operation) {
    let requirement = |name| SecurityRequirement::new(name, Vec::<String>::new());
    if let Some(needed) = operation.securities.as_mut().filter(|needed| needed.contains(&requirement("bearer"))) {
        needed.push(requirement("login"));
    }
}

/// The errors that can really happen to an operation follow from what it takes; conflicts it names itself.
fn add_errors(operation: &mut Operation, schema: &RefOr<Schema>) {
    let secured = operation.securities.iter().flatten().any(|needed| *needed != SecurityRequirement::default());
    let in_path =
        operation.parameters.0.iter().any(
            |parameter| matches!(parameter, RefOr::Type(parameter) if parameter.parameter_in == ParameterIn::Path),
        );
    let body = operation.request_body.is_some();
    let possible = [
        ("400", true, "VALIDATION_ERROR: the request cannot be used as it is"),
        ("401", secured, "AUTHENTICATION_ERROR: no valid token"),
        ("403", secured, "AUTHORIZATION_ERROR: the token's owner may not do this"),
        ("404", in_path, "NOT_FOUND"),
        ("413", body, "PAYLOAD_TOO_LARGE: the body, a file or a picture is over a limit; `details` names it"),
        ("415", body, "UNSUPPORTED_MEDIA_TYPE"),
        ("429", true, "RATE_LIMIT_ERROR: wait as Retry-After says"),
        ("500", true, "INTERNAL_ERROR: the unit's log says more under the request id"),
        ("503", true, "SERVICE_UNAVAILABLE: a bounded place is full or a part is down; wait as Retry-After says"),
    ];
    for (status, happens, when) in possible {
        if happens && !operation.responses.contains_key(status) {
            operation.responses.insert(status, Described::new(when));
        }
    }
    for (status, response) in operation.responses.iter_mut() {
        let RefOr::Type(response) = response else { continue };
        for (media_type, content) in response.contents.iter_mut() {
            if media_type == "text/event-stream" {
                *content = Content::new(event());
            } else if ["image/", "multipart/", "application/vnd."].iter().any(|kind| media_type.starts_with(kind)) {
                *content = bytes();
            }
        }
        if !status.starts_with(['4', '5']) {
            continue;
        }
        response.contents.entry("application/json".to_owned()).or_insert_with(|| Content::new(schema.clone()));
        let header = match status.as_str() {
            "401" => ("WWW-Authenticate", "Bearer"),
            "429" | "503" => ("Retry-After", "Seconds"),
            _ => continue,
        };
        let text = Header::new(Object::with_type(BasicType::String)).description(header.1);
        response.headers.insert(header.0.to_owned(), text);
    }
}

/// One event of a stream (WHATWG HTML, section 9.2), as readers of streams see it.
fn event() -> Object {
    let text = |what: &str| Object::with_type(BasicType::String).description(what);
    Object::new()
        .property("id", text("Number of a passage; `Last-Event-ID` resumes behind it"))
        .property("event", text("`passage`, `health`, `gap` or `reset`"))
        .property("data", text("JSON"))
        .property("retry", Object::with_type(BasicType::Integer).description("Milliseconds"))
}

#[handler]
async fn page_policy(res: &mut Response) {
    res.headers_mut().insert(CONTENT_SECURITY_POLICY, PAGE_POLICY);
}

#[handler]
async fn index(res: &mut Response) {
    res.render(Text::Html(INDEX));
}

#[handler]
async fn start(res: &mut Response) {
    res.render(Text::Js(START));
}
