//! OpenAPI and Swagger UI, generated from the endpoints themselves.

use salvo::http::header::{CONTENT_SECURITY_POLICY, HeaderValue};
use salvo::oapi::security::{Flow, Http, HttpAuthScheme, OAuth2, Password, Scopes};
use salvo::oapi::swagger_ui::SwaggerUi;
use salvo::oapi::{Info, License, OpenApi, SecurityScheme};
use salvo::prelude::*;

/// Swagger UI styles its elements inline and carries small pictures as data; its scripts come from the unit alone.
const PAGE_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'",
);
const INDEX: &str = include_str!("page/docs.html");
const START: &str = include_str!("page/docs.js");
pub const OPENAPI_PATH: &str = "/api/openapi.json";

/// `router` with its description and Swagger UI beside it.
pub fn with_docs(router: Router) -> Router {
    let description = description(&router);
    let assets = SwaggerUi::new(OPENAPI_PATH);
    router.push(description.into_router(OPENAPI_PATH)).push(
        Router::with_path("docs")
            .hoop(page_policy)
            .get(index)
            .push(Router::with_path("start.js").get(start))
            .push(Router::with_path("{**asset}").get(assets)),
    )
}

/// The OpenAPI description of all routes of `router`.
#[must_use]
pub fn description(router: &Router) -> OpenApi {
    let info = Info::new("vehicle-classifierd", env!("CARGO_PKG_VERSION"))
        .description("The vehicle-classifying roadside camera unit. Log in with POST /auth/token; errors have one shape everywhere.")
        .license(License::new("MIT OR Apache-2.0"));
    let bearer = Http::new(HttpAuthScheme::Bearer)
        .bearer_format("JWT")
        .description("A token of POST /auth/token or of `token issue`.");
    let login = OAuth2::new([Flow::Password(Password::new("/auth/token", Scopes::new()))]);
    OpenApi::with_info(info)
        .add_security_scheme("bearer", SecurityScheme::Http(bearer))
        .add_security_scheme("login", SecurityScheme::OAuth2(login))
        .merge_router(router)
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
