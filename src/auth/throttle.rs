//! The brake on password guessing: after a few failures each further try must wait, twice as long each time.
//!
//! Three counts are kept. An account from one address is held strictly, as that is what guessing looks like. An address
//! over all accounts (one trying many names) and an account over all addresses (many machines trying one name) get a higher
//! allowance and shorter waits, because people share them: a depot behind one NAT, or a user and whoever attacks the
//! user's account. So that the attack cannot lock that user out, these two do not bind an address that has already logged in as the
//! account (the idea of OWASP's device cookies, without the cookie); a user from a new address waits at most a minute.
//! There is no hard lock: the technician in front of the unit must get in.
//!
//! An address may be shared with the attacker: behind one NAT, or when the attacker's page runs in the user's own browser. So
//! a browser that has logged in as the account keeps a cookie that says so (OWASP's device cookies), and is held by the
//! count of that cookie alone. Whoever changes the own password is held by the count of the token that he presents.
//!
//! An account that does not exist is counted like one that does. Names are kept as keyed hashes only, so that neither long
//! ones nor a password typed into the wrong field stay in memory. Time is the monotonic clock's: setting the wall clock opens
//! nothing. A restart forgets everything, which an attacker from the network cannot bring about.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};

/// Longest wait of one account from one address.
const PAIR_WAIT_MAX: Duration = Duration::from_secs(15 * 60);
/// Longest wait of an address over all accounts, and of an account over all addresses.
const SHARED_WAIT_MAX: Duration = Duration::from_secs(60);
/// Failures of an address over all accounts, in multiples of one account's.
const ADDRESS_ALLOWANCE: u32 = 4;
/// Failures of an account over all addresses, in multiples of one address's.
const ACCOUNT_ALLOWANCE: u32 = 10;
/// A count is forgotten this long after its last failure.
const COUNT_LIFETIME: Duration = Duration::from_secs(60 * 60);
/// A successful login makes its address known for the account this long.
const KNOWN_LIFETIME: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// Counts kept; the one whose last failure is the oldest goes first.
const COUNT_ENTRIES_MAX: usize = 10_000;
/// Known addresses kept; the one that logged in the longest ago goes first. Only successes fill this.
const KNOWN_ENTRIES_MAX: usize = 1_000;

/// Where a login comes from.
#[derive(Clone, Copy, Debug)]
pub struct LoginSource<'a> {
    pub address: IpAddr,
    /// Id of a proof that this device has logged in as the account: its cookie, or a token in force.
    pub device: Option<&'a str>,
}

/// An admitted try, for the bound on the passwords that are checked side by side.
#[derive(Clone, Copy, Debug)]
pub struct Admission {
    /// Whether the device or the address has logged in as the account before.
    pub known: bool,
    /// What the try counts for: the account, by how it is known; for strangers also the network.
    pub(super) shared: [Option<u64>; 2],
}

/// Counts failed logins and says who must wait.
#[derive(Debug)]
pub struct LoginThrottle {
    failures_max: u32,
    hasher: RandomState,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    counts: HashMap<u64, Count>,
    /// Pairs that logged in, and when last.
    known: HashMap<u64, Duration>,
}

#[derive(Debug)]
struct Count {
    failures: u32,
    failed_at: Duration,
    /// No try before this moment.
    open_at: Duration,
}

/// One of the three counts a login moves: its key, the failures it allows and its longest wait.
#[derive(Clone, Copy)]
struct Limit {
    key: u64,
    failures_max: u32,
    wait_max: Duration,
}

impl Limit {
    /// 1, 2, 4, … seconds from the failure that used up the allowance on; none before.
    fn wait(&self, failures: u32) -> Duration {
        match failures.checked_sub(self.failures_max) {
            None => Duration::ZERO,
            Some(doublings) => Duration::from_secs(1).saturating_mul(1 << doublings.min(30)).min(self.wait_max),
        }
    }
}

impl LoginThrottle {
    /// `failures_max`: `auth.login_failures_max`, failures of one account from one address without a wait.
    #[must_use]
    pub fn new(failures_max: u32) -> Self {
        Self { failures_max, hasher: RandomState::new(), state: Mutex::default() }
    }

    /// Whether a login may be tried now; ask before the password is looked at. Once waits are due, an admitted try uses up
    /// its opening: tries that run side by side must wait for the next one.
    ///
    /// `now`: the process's monotonic clock, here and below.
    ///
    /// # Errors
    /// RateLimit, with the time to wait.
    pub fn check(&self, account: &str, source: LoginSource<'_>, now: Duration) -> Result<Admission> {
        let limits = self.limits(account, source);
        let mut state = self.lock();
        state.forget(now);
        let known = source.device.is_some() || state.known.contains_key(&limits[0].key);
        let binding = if known { &limits[..1] } else { &limits[..] };
        let counts = binding.iter().filter_map(|limit| state.counts.get(&limit.key));
        let wait = counts.map(|count| count.open_at.saturating_sub(now)).max().unwrap_or_default();
        if !wait.is_zero() {
            // Whole seconds, upwards: Retry-After has no fractions.
            let wait = Duration::from_secs(wait.as_secs() + u64::from(wait.subsec_nanos() > 0));
            let message = format!("Too many failed logins; try again in {} s.", wait.as_secs());
            return Err(Error::new(ErrorKind::RateLimit, message).retry_after(wait));
        }
        for limit in binding {
            if let Some(count) = state.counts.get_mut(&limit.key) {
                count.open_at = now + limit.wait(count.failures);
            }
        }
        let [_, network, stranger] = limits.map(|limit| Some(limit.key));
        // Only the account's own devices count together: whoever guesses behind a known address has none of them.
        let own = self.hasher.hash_one((source.device.is_some(), account.to_lowercase()));
        Ok(Admission { known, shared: if known { [Some(own), None] } else { [stranger, network] } })
    }

    /// For somebody who is logged in and needs a password hashed.
    #[must_use]
    pub fn insider(&self, name: &str) -> Admission {
        Admission { known: true, shared: [Some(self.hasher.hash_one(("insider", name))), None] }
    }

    /// Counts a failed login.
    pub fn failed(&self, account: &str, source: LoginSource<'_>, now: Duration) {
        let mut state = self.lock();
        state.forget(now);
        let limits = self.limits(account, source);
        // Not even a known device's failures count for others: it would be the attacker's way to them.
        for limit in if source.device.is_some() { &limits[..1] } else { &limits[..] } {
            if state.counts.len() >= COUNT_ENTRIES_MAX && !state.counts.contains_key(&limit.key) {
                drop_oldest(&mut state.counts, |count| count.failed_at);
            }
            let count =
                state.counts.entry(limit.key).or_insert(Count { failures: 0, failed_at: now, open_at: Duration::ZERO });
            count.failures = count.failures.saturating_add(1);
            count.failed_at = now;
            count.open_at = now + limit.wait(count.failures);
        }
    }

    /// Forgets the account's failures and makes the address known for it. The address's failures stay: an attacker with an
    /// account of his own could wipe them at will.
    pub fn succeeded(&self, account: &str, source: LoginSource<'_>, now: Duration) {
        let [pair, _, all_addresses] = self.limits(account, source);
        let mut state = self.lock();
        state.counts.remove(&pair.key);
        if source.device.is_some() {
            return;
        }
        state.counts.remove(&all_addresses.key);
        if state.known.len() >= KNOWN_ENTRIES_MAX && !state.known.contains_key(&pair.key) {
            drop_oldest(&mut state.known, |at| *at);
        }
        state.known.insert(pair.key, now);
    }

    /// The account from the device or the address, the address over all accounts, the account over all addresses.
    fn limits(&self, account: &str, source: LoginSource<'_>) -> [Limit; 3] {
        let (account, address) = (account.to_lowercase(), network(source.address));
        let pair = match source.device {
            Some(device) => self.hasher.hash_one((&account, device)),
            None => self.hasher.hash_one((&account, address)),
        };
        let limit =
            |key, times, wait_max| Limit { key, failures_max: self.failures_max.saturating_mul(times), wait_max };
        [
            limit(pair, 1, PAIR_WAIT_MAX),
            limit(self.hasher.hash_one(address), ADDRESS_ALLOWANCE, SHARED_WAIT_MAX),
            limit(self.hasher.hash_one(&account), ACCOUNT_ALLOWANCE, SHARED_WAIT_MAX),
        ]
    }

    /// Counts are whole after each step, so a panic elsewhere under the lock leaves nothing to repair.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn forget(&mut self, now: Duration) {
        self.counts.retain(|_, count| now.saturating_sub(count.failed_at) < COUNT_LIFETIME);
        self.known.retain(|_, at| now.saturating_sub(*at) < KNOWN_LIFETIME);
    }
}

/// What one attacker controls: an IPv4 address, or the /64 that every IPv6 host has to itself.
#[must_use]
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64))),
        v4 => v4,
    }
}

fn drop_oldest<V>(entries: &mut HashMap<u64, V>, age: impl Fn(&V) -> Duration) {
    let oldest = entries.iter().min_by_key(|(_, value)| age(value)).map(|(key, _)| *key);
    if let Some(key) = oldest {
        entries.remove(&key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAILURES_MAX: u32 = 5;

    fn second(s: u64) -> Duration {
        Duration::from_secs(s)
    }

    fn at(address: &str) -> LoginSource<'static> {
        LoginSource { address: address.parse().unwrap(), device: None }
    }

    fn address(last: u16) -> LoginSource<'static> {
        let [high, low] = last.to_be_bytes();
        LoginSource { address: IpAddr::from([192, 0, high, low]), device: None }
    }

    /// Fails as soon as allowed, `times` times; returns when the last failure was.
    fn guess(throttle: &LoginThrottle, account: &str, from: LoginSource<'_>, start: Duration, times: u32) -> Duration {
        let mut now = start;
        for _ in 0..times {
            while let Err(error) = throttle.check(account, from, now) {
                now += error.retry_after_hint().unwrap();
            }
            throttle.failed(account, from, now);
        }
        now
    }

    fn wait(throttle: &LoginThrottle, account: &str, from: LoginSource<'_>, now: Duration) -> u64 {
        throttle.check(account, from, now).err().map_or(0, |error| error.retry_after_hint().unwrap().as_secs())
    }

    #[test]
    fn after_the_allowance_each_try_waits_twice_as_long_up_to_a_quarter_of_an_hour() {
        let throttle = LoginThrottle::new(FAILURES_MAX);
        let mut now = guess(&throttle, "ada", address(1), second(0), FAILURES_MAX);
        assert_eq!(now, second(0), "the allowance has no waits");
        for expected in [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900] {
            let error = throttle.check("ada", address(1), now).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::RateLimit);
            assert_eq!(error.retry_after_hint(), Some(second(expected)));
            now = guess(&throttle, "ada", address(1), now, 1);
        }
    }

    #[test]
    fn success_clears_the_account_and_time_forgets_it() {
        let throttle = LoginThrottle::new(FAILURES_MAX);
        let now = guess(&throttle, "ada", address(1), second(0), 8);
        assert_eq!(wait(&throttle, "ada", address(1), now), 8);
        throttle.succeeded("ada", address(1), now);
        assert_eq!(wait(&throttle, "ada", address(1), now), 0);
        assert_eq!(guess(&throttle, "ada", address(1), now, FAILURES_MAX), now, "a whole allowance again");

        let now = guess(&throttle, "bob", address(2), second(0), 12);
        assert!(wait(&throttle, "bob", address(2), now) > 0);
        assert_eq!(wait(&throttle, "bob", address(2), now + COUNT_LIFETIME), 0);
    }

    #[test]
    fn tries_side_by_side_get_one_opening_together() {
        let throttle = LoginThrottle::new(FAILURES_MAX);
        let now = guess(&throttle, "ada", address(1), second(0), FAILURES_MAX + 2) + second(4);
        let admitted = (0..10).filter(|_| throttle.check("ada", address(1), now).is_ok()).count();
        assert_eq!(admitted, 1);
    }

    #[test]
    fn names_in_other_letters_and_mapped_addresses_share_a_count() {
        let throttle = LoginThrottle::new(FAILURES_MAX);
        guess(&throttle, "ada", address(1), second(0), FAILURES_MAX);
        assert_eq!(wait(&throttle, "ADA", at("::ffff:192.0.0.1"), second(0)), 1);
        guess(&throttle, "ada", at("2001:db8:1:2::1"), second(0), FAILURES_MAX);
        assert_eq!(wait(&throttle, "ada", at("2001:db8:1:2:ffff::9"), second(0)), 1);
        assert_eq!(wait(&throttle, "ada", at("2001:db8:1:3::1"), second(0)), 0);
    }

    #[test]
    fn one_address_cannot_try_one_password_on_every_account() {
        let throttle = LoginThrottle::new(FAILURES_MAX);
        for account in 0..FAILURES_MAX * ADDRESS_ALLOWANCE {
            assert_eq!(wait(&throttle, &format!("user{account}"), address(1), second(0)), 0);
            throttle.failed(&format!("user{account}"), address(1), second(0));
        }
        assert_eq!(wait(&throttle, "fresh", address(1), second(0)), 1);
        assert_eq!(wait(&throttle, "fresh", address(2), second(0)), 0);
        // Logging in with an account of one's own does not wipe the address's count.
        throttle.succeeded("own", address(1), second(0));
        assert_eq!(wait(&throttle, "fresh", address(1), second(0)), 1);
        assert_eq!(wait(&throttle, "own", address(1), second(0)), 0);
    }

    #[test]
    fn an_attack_from_many_addresses_slows_itself_but_not_the_user() {
        let throttle = LoginThrottle::new(FAILURES_MAX);
        let home = address(1);
        throttle.succeeded("ada", home, second(0));
        let mut now = second(1);
        for attacker in 100..300 {
            now = guess(&throttle, "ada", address(attacker), now, 1);
        }
        assert!(now > second(100 * 60), "150 tries beyond the allowance, most of them a minute apart");
        assert_eq!(wait(&throttle, "ada", home, now), 0, "a known address is not held");
        assert!((1..=60).contains(&wait(&throttle, "ada", address(2), now)), "a new one waits a minute at most");
    }

    #[test]
    fn a_device_that_logged_in_is_held_by_its_own_failures_only() {
        let throttle = LoginThrottle::new(FAILURES_MAX);
        let device = LoginSource { device: Some("cookie-1"), ..address(1) };
        let now = guess(&throttle, "ada", address(1), second(0), 20);
        assert!(wait(&throttle, "ada", address(1), now) > 0);
        assert_eq!(wait(&throttle, "ada", device, now), 0, "behind the attacker's address");
        throttle.succeeded("ada", device, now);
        assert!(wait(&throttle, "ada", address(1), now) > 0, "the neighbour gained nothing");
        guess(&throttle, "ada", device, now, FAILURES_MAX);
        assert_eq!(wait(&throttle, "ada", device, now), 1, "a stolen cookie guesses no faster");
        assert_eq!(wait(&throttle, "ada", LoginSource { device: Some("cookie-2"), ..device }, now), 0);
    }

    #[test]
    fn an_unknown_account_is_braked_exactly_like_a_known_one() {
        let throttle = LoginThrottle::new(FAILURES_MAX);
        let known = guess(&throttle, "ada", address(1), second(0), 9);
        let unknown = guess(&throttle, "no such user", address(2), second(0), 9);
        assert_eq!(known, unknown);
        assert_eq!(wait(&throttle, "ada", address(1), known), wait(&throttle, "no such user", address(2), known));
    }

    #[test]
    fn memory_stays_bounded_and_the_oldest_goes_first() {
        let throttle = LoginThrottle::new(FAILURES_MAX);
        // Each address adds itself and its pair with the account.
        let addresses = u16::try_from(COUNT_ENTRIES_MAX / 2 + 10).unwrap();
        for n in 0..addresses {
            throttle.failed("ada", address(n), Duration::from_millis(n.into()));
        }
        assert_eq!(throttle.lock().counts.len(), COUNT_ENTRIES_MAX);
        let recent = throttle.limits("ada", address(addresses - 1))[0].key;
        let old = throttle.limits("ada", address(0))[0].key;
        let state = throttle.lock();
        assert!(state.counts.contains_key(&recent) && !state.counts.contains_key(&old));
        drop(state);

        for n in 0..=u16::try_from(KNOWN_ENTRIES_MAX).unwrap() {
            throttle.succeeded("ada", address(n), second(20 + u64::from(n)));
        }
        assert_eq!(throttle.lock().known.len(), KNOWN_ENTRIES_MAX);
    }
}
