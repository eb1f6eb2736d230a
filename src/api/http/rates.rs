//! Requests a minute that one address may send to one endpoint: a token bucket each, in bounded memory.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::auth::network;
use crate::error::{Error, ErrorKind, Result};

/// Buckets kept. When they are all in use, full buckets are forgotten first, because a new bucket is full as well; then those that
/// were used longest ago. An address that floods uses its bucket all the time, so other addresses never make it forgotten.
const BUCKETS_MAX: usize = 10_000;
/// How many buckets are forgotten at once: looking through all of them at every request would cost more than the requests.
const FORGOTTEN_AT_ONCE: usize = BUCKETS_MAX / 10;
/// A bucket holds this share of a minute's requests, for bursts.
const BURST_SHARE: f64 = 0.1;

/// The buckets of all callers.
pub struct Rates {
    per_second: f64,
    burst: f64,
    buckets: Mutex<HashMap<(IpAddr, String), Bucket>>,
}

struct Bucket {
    tokens: f64,
    at: Instant,
}

impl Rates {
    /// `per_minute`: 0 switches the limit off.
    #[must_use]
    pub fn new(per_minute: u32) -> Self {
        let per_minute = f64::from(per_minute);
        Self { per_second: per_minute / 60.0, burst: (per_minute * BURST_SHARE).max(1.0), buckets: Mutex::default() }
    }

    /// Takes one request of `address` to `endpoint`.
    ///
    /// # Errors
    /// Rate limit, with the time until the next one is free.
    pub fn take(&self, address: IpAddr, endpoint: &str, now: Instant) -> Result<()> {
        if self.per_second == 0.0 {
            return Ok(());
        }
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= BUCKETS_MAX {
            self.make_room(&mut buckets, now);
        }
        let bucket =
            buckets.entry((network(address), endpoint.to_owned())).or_insert(Bucket { tokens: self.burst, at: now });
        bucket.tokens = self.level(bucket, now);
        bucket.at = now;
        if bucket.tokens >= 1.0 {
            bucket.tokens -= 1.0;
            return Ok(());
        }
        let wait = Duration::from_secs_f64((1.0 - bucket.tokens) / self.per_second);
        let message = "Too many requests from this address to this endpoint; wait as Retry-After says.";
        Err(Error::new(ErrorKind::RateLimit, message).retry_after(wait))
    }

    fn make_room(&self, buckets: &mut HashMap<(IpAddr, String), Bucket>, now: Instant) {
        buckets.retain(|_, bucket| self.level(bucket, now) < self.burst);
        let surplus = (buckets.len() + FORGOTTEN_AT_ONCE).saturating_sub(BUCKETS_MAX);
        if surplus == 0 {
            return;
        }
        let mut used: Vec<Instant> = buckets.values().map(|bucket| bucket.at).collect();
        let (_, &mut oldest_kept, _) = used.select_nth_unstable(surplus - 1);
        let mut left = surplus;
        buckets.retain(|_, bucket| {
            let forgotten = left > 0 && bucket.at <= oldest_kept;
            left -= usize::from(forgotten);
            !forgotten
        });
    }

    fn level(&self, bucket: &Bucket, now: Instant) -> f64 {
        let refill = now.saturating_duration_since(bucket.at).as_secs_f64() * self.per_second;
        (bucket.tokens + refill).min(self.burst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOME: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    #[test]
    fn a_burst_passes_then_the_rate_holds_for_each_endpoint_apart() {
        let rates = Rates::new(60);
        let now = Instant::now();
        for _ in 0..6 {
            rates.take(HOME, "a", now).unwrap();
        }
        let error = rates.take(HOME, "a", now).unwrap_err();
        assert_eq!((error.kind(), error.retry_after_hint()), (ErrorKind::RateLimit, Some(Duration::from_secs(1))));
        rates.take(HOME, "b", now).unwrap();
        // Whoever has an IPv6 address has a whole network of them.
        let neighbours = |last: u16| IpAddr::from([0x2001, 0xdb8, 0, 1, 0, 0, 0, last]);
        (0..6).for_each(|last| rates.take(neighbours(last), "a", now).unwrap());
        assert!(rates.take(neighbours(6), "a", now).is_err());
        rates.take(HOME, "a", now + Duration::from_secs(1)).unwrap();
    }

    #[test]
    fn other_addresses_never_free_one_that_floods() {
        let rates = Rates::new(60);
        let begun = Instant::now();
        (0..6).for_each(|_| rates.take(HOME, "a", begun).unwrap());
        for number in 0..3 * BUCKETS_MAX as u32 {
            let now = begun + Duration::from_micros(u64::from(number));
            rates.take(IpAddr::from((0x0a00_0000 + number).to_be_bytes()), "a", now).unwrap();
            if number % 1_000 == 0 {
                assert!(rates.take(HOME, "a", now).is_err(), "forgotten after {number} addresses");
            }
        }
    }

    #[test]
    fn memory_is_bounded_and_zero_means_off() {
        let rates = Rates::new(60);
        let now = Instant::now();
        for endpoint in 0..2 * BUCKETS_MAX {
            rates.take(HOME, &endpoint.to_string(), now).unwrap();
        }
        assert!(rates.buckets.lock().unwrap().len() <= BUCKETS_MAX);
        let off = Rates::new(0);
        assert!((0..1_000).all(|_| off.take(HOME, "a", now).is_ok()));
    }
}
