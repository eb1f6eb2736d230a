//! Tickets for streams: what a browser's `EventSource` and `img` send instead of a header, in the address. So a ticket opens
//! streams only, once, and soon expires; what logs and histories keep of an address opens nothing.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rand::TryRng;
use rand::rngs::SysRng;

use crate::auth::Claims;
use crate::error::{Error, Result};

/// How long a ticket can be used: a page asks for it right before.
pub const LIFETIME: Duration = Duration::from_secs(30);
/// Unused tickets of all callers, about 300 bytes each.
const ALL_MAX: usize = 1_024;
/// Unused tickets of one caller, so that none takes the places of the others; the oldest gives way.
const OF_ONE_MAX: usize = 64;

/// The tickets that were given out and not used yet.
#[derive(Default)]
pub struct Tickets(Mutex<HashMap<String, Ticket>>);

struct Ticket {
    claims: Claims,
    made: Instant,
}

impl Tickets {
    /// A ticket for the owner of a token.
    ///
    /// # Errors
    /// Unavailable when too many are out; internal without randomness.
    pub fn issue(&self, claims: Claims, now: Instant) -> Result<String> {
        let mut bytes = [0; 24];
        SysRng
            .try_fill_bytes(&mut bytes)
            .map_err(|cause| Error::internal("The system gave no randomness for a ticket.").because(cause))?;
        let name = hex::encode(bytes);
        let mut out = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        out.retain(|_, ticket| now.saturating_duration_since(ticket.made) < LIFETIME);
        let own = out.iter().filter(|(_, ticket)| ticket.claims.subject == claims.subject);
        let (count, oldest) = own.fold((0, None::<(&String, Instant)>), |(count, oldest), (name, ticket)| {
            let older = oldest.filter(|(_, made)| *made <= ticket.made).unwrap_or((name, ticket.made));
            (count + 1, Some(older))
        });
        if count >= OF_ONE_MAX {
            if let Some(oldest) = oldest.map(|(name, _)| name.clone()) {
                out.remove(&oldest);
            }
        } else if out.len() >= ALL_MAX {
            let text = "Too many tickets wait to be used; try again later.";
            return Err(Error::unavailable(text, LIFETIME).detail("limit", "tickets"));
        }
        out.insert(name.clone(), Ticket { claims, made: now });
        Ok(name)
    }

    /// Takes a ticket back: whose it is, once and in time.
    pub fn redeem(&self, name: &str, now: Instant) -> Option<Claims> {
        let ticket = self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(name)?;
        (now.saturating_duration_since(ticket.made) < LIFETIME).then_some(ticket.claims)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Grant;

    fn claims(subject: &str) -> Claims {
        let grant = Grant::Service { scopes: Vec::new() };
        Claims { id: "jti".into(), subject: subject.into(), expires_at: jiff::Timestamp::MAX, grant }
    }

    #[test]
    fn a_ticket_opens_once_and_in_time() {
        let tickets = Tickets::default();
        let now = Instant::now();
        let first = tickets.issue(claims("ann"), now).unwrap();
        assert_eq!(tickets.redeem(&first, now).unwrap().subject, "ann");
        assert!(tickets.redeem(&first, now).is_none());
        let late = tickets.issue(claims("ann"), now).unwrap();
        assert!(tickets.redeem(&late, now + LIFETIME).is_none());
        assert!(tickets.redeem("", now).is_none());
    }

    #[test]
    fn unused_tickets_are_bounded_and_one_caller_takes_no_others_place() {
        let tickets = Tickets::default();
        let now = Instant::now();
        let bob = tickets.issue(claims("bob"), now).unwrap();
        let first = tickets.issue(claims("ann"), now).unwrap();
        for later in 1..=OF_ONE_MAX as u64 {
            tickets.issue(claims("ann"), now + Duration::from_millis(later)).unwrap();
        }
        assert!(tickets.redeem(&first, now).is_none(), "the oldest gave way");
        assert!(tickets.redeem(&bob, now).is_some());
        for caller in 0..ALL_MAX {
            let _ = tickets.issue(claims(&caller.to_string()), now);
        }
        assert!(tickets.issue(claims("eve"), now).is_err());
        assert!(tickets.issue(claims("eve"), now + LIFETIME * 2).is_ok(), "what expired makes room");
    }
}
