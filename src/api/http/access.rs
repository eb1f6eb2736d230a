//! Who is asking, and whether they may: one gate a route group, answered from the store at each request.

use std::sync::Arc;
use std::time::Instant;

use salvo::http::header::AUTHORIZATION;
use salvo::prelude::*;

use crate::api::http::error::write_error;
use crate::api::http::query;
use crate::api::state::AppState;
use crate::auth::{Claims, Identity, Permission, Warrant};
use crate::error::{Error, ErrorKind, Result};
use crate::record::Authority;

/// The query parameter that carries a ticket.
pub const TICKET: &str = "ticket";

/// Lets only callers with the permission pass.
#[derive(Clone, Copy, Debug)]
pub struct Gate(pub Permission);

/// The caller of an admitted request, kept in the depot.
#[derive(Clone, Debug)]
pub struct Caller {
    pub identity: Identity,
    pub claims: Claims,
}

impl Caller {
    /// The caller of the request that `depot` belongs to.
    ///
    /// # Errors
    /// Internal when the route has no gate, which is a fault of the router.
    pub fn of(depot: &Depot) -> Result<&Self> {
        depot.get_typed::<Self>().map_err(|_| Error::internal("This route has no gate."))
    }

    /// Name for records and the audit trail.
    #[must_use]
    pub fn name(&self) -> &str {
        self.identity.name()
    }
}

#[async_trait]
impl Handler for Gate {
    async fn handle(&self, req: &mut Request, depot: &mut Depot, res: &mut Response, ctrl: &mut FlowCtrl) {
        let claims = AppState::of(depot).and_then(|api| by_token(&api, req));
        admit(self.0, claims, req, depot, res, ctrl).await;
    }
}

/// Lets readers pass, also with a ticket of `POST /api/events/ticket` in the query.
#[derive(Clone, Copy, Debug)]
pub struct StreamGate;

#[async_trait]
impl Handler for StreamGate {
    async fn handle(&self, req: &mut Request, depot: &mut Depot, res: &mut Response, ctrl: &mut FlowCtrl) {
        let claims = AppState::of(depot).and_then(|api| match query::text(req, TICKET) {
            Some(ticket) => api.tickets.redeem(ticket, Instant::now()).ok_or_else(|| {
                let text = "The ticket is unknown, used or older than 30 s; ask for another (POST /api/events/ticket).";
                Error::new(ErrorKind::Authentication, text)
            }),
            None => by_token(&api, req),
        });
        admit(Permission::Read, claims, req, depot, res, ctrl).await;
    }
}

fn by_token(api: &AppState, req: &Request) -> Result<Claims> {
    api.accounts.signer.verify(presented(req)?, api.clock.wall())
}

async fn admit(
    permission: Permission,
    claims: Result<Claims>,
    req: &mut Request,
    depot: &mut Depot,
    res: &mut Response,
    ctrl: &mut FlowCtrl,
) {
    let admitted = match (claims, AppState::of(depot)) {
        (Ok(claims), Ok(api)) => admitted(permission, &api, claims, req).await,
        (Err(error), _) | (_, Err(error)) => Err(error),
    };
    match admitted {
        Ok(caller) => {
            depot.insert_typed(caller);
        }
        Err(error) => {
            write_error(&error, req, depot, res);
            ctrl.skip_rest();
        }
    }
}

async fn admitted(permission: Permission, api: &AppState, claims: Claims, req: &mut Request) -> Result<Caller> {
    let identity = still(permission, api, &claims).await?;
    req.extensions_mut().insert(Arc::new(Warrant { claims: claims.clone(), permission }));
    Ok(Caller { identity, claims })
}

/// Who a verified token speaks for now, if they may do it; for a long answer also asked in the middle of it.
///
/// # Errors
/// Authentication, authorization; whatever the store answers.
pub async fn still(permission: Permission, api: &AppState, claims: &Claims) -> Result<Identity> {
    let now = api.clock.wall();
    if claims.expires_at <= now {
        return Err(Error::new(ErrorKind::Authentication, "The token has expired; log in again."));
    }
    let warrant = Warrant { claims: claims.clone(), permission };
    warrant.identity(&api.store.standing(warrant.principal()).await?, now)
}

fn presented(req: &Request) -> Result<&str> {
    let missing = || {
        let message =
            "A token is needed: get one with POST /auth/token, then send the header Authorization: Bearer <token>.";
        Error::new(ErrorKind::Authentication, message)
    };
    let value = req.headers().get(AUTHORIZATION).ok_or_else(missing)?;
    let (scheme, token) = value.to_str().ok().and_then(|value| value.split_once(' ')).ok_or_else(missing)?;
    if scheme.eq_ignore_ascii_case("bearer") { Ok(token.trim()) } else { Err(missing()) }
}
