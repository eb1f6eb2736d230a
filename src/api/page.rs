//! The technician's page: a public shell of static files; everything it shows comes from the API, behind the login.

use salvo::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue};
use salvo::prelude::*;

const INDEX: &str = include_str!("page/index.html");
const STYLE: &str = include_str!("page/page.css");
const SCRIPT: &str = include_str!("page/page.js");
const UNIT_SCRIPT: &str = include_str!("page/unit.js");
const ROAD_SCRIPT: &str = include_str!("page/road.js");
const ICON: &str = include_str!("page/icon.svg");
const SVG: HeaderValue = HeaderValue::from_static("image/svg+xml");

/// A report is shown in a frame and in a tab of its own, which both inherit this policy: the hash admits the one style of
/// the report's template, nothing else inline. Without scripts the login form could send itself: `form-action` forbids it.
pub const PAGE_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'self'; style-src 'self' 'sha256-z6uZkf/VjcMw73JGgPQ607qgYbKJY3X5LNov5PvLgTI='; \
     form-action 'none'; frame-ancestors 'none'; base-uri 'none'",
);

/// The page's own addresses are relative: under a path they need the slash behind it.
#[handler]
pub async fn index(req: &mut Request, res: &mut Response) {
    if !req.uri().path().ends_with('/') {
        let name = req.uri().path().rsplit('/').next().unwrap_or_default();
        return res.render(Redirect::permanent(format!("{name}/")));
    }
    res.headers_mut().insert(CONTENT_SECURITY_POLICY, PAGE_POLICY);
    res.render(Text::Html(INDEX));
}

#[handler]
pub async fn file(req: &mut Request, res: &mut Response) {
    match req.param::<&str>("file") {
        Some("page.css") => res.render(Text::Css(STYLE)),
        Some("page.js") => res.render(Text::Js(SCRIPT)),
        Some("unit.js") => res.render(Text::Js(UNIT_SCRIPT)),
        Some("road.js") => res.render(Text::Js(ROAD_SCRIPT)),
        Some("icon.svg") => res.render(Icon),
        _ => {
            res.status_code(StatusCode::NOT_FOUND);
            return;
        }
    }
    res.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
}

/// What browsers ask for by themselves, whatever the page says.
#[handler]
pub async fn icon(res: &mut Response) {
    res.render(Icon);
    res.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=86400"));
}

struct Icon;

impl Scribe for Icon {
    fn render(self, res: &mut Response) {
        res.headers_mut().insert(CONTENT_TYPE, SVG);
        res.render(ICON);
    }
}

#[cfg(test)]
mod tests {
    use base64::prelude::{BASE64_STANDARD, Engine};
    use sha2::{Digest, Sha256};

    use super::*;

    #[test]
    fn the_policy_admits_the_style_of_the_report_template() {
        let template = include_str!("../report/templates/report.html");
        let style = template.split("<style>").nth(1).unwrap().split("</style>").next().unwrap();
        let hash = format!("'sha256-{}'", BASE64_STANDARD.encode(Sha256::digest(style)));
        assert!(PAGE_POLICY.to_str().unwrap().contains(&hash), "the style changed: put {hash} into the policy");
    }
}
