//! HEAD wherever GET is (RFC 9110, 9.3.2): the same handlers answer, and the HTTP server leaves the body out.

use salvo::http::Method;
use salvo::prelude::*;
use salvo::routing::{FilterInfo, filters};

/// `router` with a route for HEAD beside each for GET, at any depth.
pub fn with_heads(mut router: Router) -> Router {
    let children = std::mem::take(&mut router.routers);
    for child in children {
        let head = head_beside(&child);
        router.routers.push(with_heads(child));
        router.routers.extend(head);
    }
    router
}

fn head_beside(child: &Router) -> Option<Router> {
    let gets =
        child.filters.iter().any(|filter| matches!(filter.info(), FilterInfo::Method(method) if method == Method::GET));
    // `Router::get` makes routers of one filter and a goal.
    let goal = child.goal.clone().filter(|_| gets && child.filters.len() == 1)?;
    let mut head = Router::with_filter(filters::head());
    head.hoops.clone_from(&child.hoops);
    head.goal = Some(goal);
    Some(head)
}
