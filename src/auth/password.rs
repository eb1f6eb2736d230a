//! Password hashes: argon2id as PHC strings, at the parameters of OWASP's Password Storage Cheat Sheet.
//!
//! [`hash`], [`verify`] and [`generate`] block for as long as one computation takes (tens of milliseconds on a desktop,
//! several hundred on a small ARM core) and hold 19 MiB meanwhile. Async code goes through [`PasswordGate`], which bounds how
//! many run and how many wait.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use argon2::password_hash::phc::PasswordHash;
use argon2::{Algorithm, Argon2, Params, PasswordHasher, PasswordVerifier, Version};
use rand::rngs::{StdRng, SysRng};
use rand::{RngExt, SeedableRng};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::rules::normalised;
use super::throttle::Admission;
use crate::error::{Error, ErrorKind, Result};

/// m = 19 MiB, t = 2, p = 1 (OWASP Password Storage Cheat Sheet, argon2id).
const MEMORY_KIB: u32 = 19 * 1024;
const ITERATIONS: u32 = 2;
const LANES: u32 = 1;
/// A stored hash that asks for more is not computed: it could not have been made here, and would break the memory bound.
const MEMORY_KIB_MAX: u32 = 64 * 1024;
const ITERATIONS_MAX: u32 = 8;

/// Checks that may wait for their turn before the next one is refused.
const PASSWORD_CHECK_WAITERS_MAX: usize = 16;
/// Of them, of one account: its devices, its known addresses and its strangers apart.
const OF_ONE_MAX: usize = 4;
/// Of them, of one network's strangers.
const OF_NETWORK_MAX: usize = 8;
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// Lower-case letters and digits that nobody mistakes for another: no `0`/`o`, no `1`/`i`/`l`.
const READABLE: &[u8; 31] = b"abcdefghjkmnpqrstuvwxyz23456789";
/// 28 characters of 31 are 138 bits.
const GENERATED_GROUPS: usize = 7;
const GENERATED_GROUP_CHARS: usize = 4;

/// A hash of nothing, from random bytes, at today's parameters.
const DECOY: &str = "$argon2id$v=19$m=19456,t=2,p=1$7SFCAOcqarepnsgNY4jv3Q$RQK5Cj+g48anVHEzZSJerQeVO/Z7+ioBDGoHsZVjRPM";

fn argon2id() -> Result<Argon2<'static>> {
    let params = Params::new(MEMORY_KIB, ITERATIONS, LANES, None).map_err(failed)?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

fn failed(cause: impl fmt::Display) -> Error {
    Error::internal("The password could not be hashed.").because(cause.to_string())
}

/// Hashes a password with a new random salt into a PHC string. Blocks.
///
/// # Errors
/// Internal: no memory, or no randomness.
pub fn hash(password: &str) -> Result<String> {
    let hash: PasswordHash = argon2id()?.hash_password(normalised(password).as_bytes()).map_err(failed)?;
    Ok(hash.to_string())
}

/// Whether `password` is the one behind the PHC string; false for a string that is none. Blocks.
#[must_use]
pub fn verify(password: &str, phc: &str) -> bool {
    let Ok(stored) = PasswordHash::new(phc) else { return false };
    let Ok(params) = Params::try_from(&stored) else { return false };
    if params.m_cost() > MEMORY_KIB_MAX || params.t_cost() > ITERATIONS_MAX {
        return false;
    }
    argon2id().is_ok_and(|argon2| argon2.verify_password(normalised(password).as_bytes(), &stored).is_ok())
}

/// Whether the hash was made with other parameters than today's, so that it should be made anew at the next login.
#[must_use]
pub fn needs_rehash(phc: &str) -> bool {
    let Ok(stored) = PasswordHash::new(phc) else { return true };
    let Ok(params) = Params::try_from(&stored) else { return true };
    stored.algorithm.as_str() != Algorithm::Argon2id.as_str()
        || stored.version != Some(Version::V0x13.into())
        || (params.m_cost(), params.t_cost(), params.p_cost()) != (MEMORY_KIB, ITERATIONS, LANES)
}

/// A PHC string no password opens: checked in place of an unknown or disabled user's, it makes the answer as slow as a
/// known one's.
#[must_use]
pub fn decoy() -> &'static str {
    DECOY
}

/// A random password of 138 bits for the first start, such as `k7mp-x2vd-…`: seven groups of four.
///
/// # Errors
/// Internal: the system has no randomness.
pub fn generate() -> Result<String> {
    let mut random = StdRng::try_from_rng(&mut SysRng)
        .map_err(|cause| Error::internal("The system gave no randomness for a password.").because(cause))?;
    let mut password = String::new();
    for group in 0..GENERATED_GROUPS {
        if group > 0 {
            password.push('-');
        }
        password
            .extend((0..GENERATED_GROUP_CHARS).map(|_| char::from(READABLE[random.random_range(0..READABLE.len())])));
    }
    Ok(password)
}

/// The way from async code to the functions above: at most `checks_max` run at once, on tokio's blocking threads, and at
/// most 16 wait. Strangers never hold all of them, and nobody alone: who has logged in before gets in while others flood.
/// Clones share the bounds.
#[derive(Clone, Debug)]
pub struct PasswordGate {
    /// One permit for each computation, running or waiting.
    places: Arc<Semaphore>,
    /// One permit for each computation that runs.
    checks: Arc<Semaphore>,
    /// The same two for strangers, fewer.
    stranger_places: Arc<Semaphore>,
    stranger_checks: Arc<Semaphore>,
    /// Computations by what they count for.
    held: Arc<Mutex<HashMap<u64, usize>>>,
}

/// The places that one try takes, until its computation ends.
struct Held {
    gate: PasswordGate,
    keys: [Option<u64>; 2],
    permits: Vec<OwnedSemaphorePermit>,
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut held = self.gate.lock();
        for key in self.keys.into_iter().flatten() {
            if let Some(count) = held.get_mut(&key) {
                *count -= 1;
                if *count == 0 {
                    held.remove(&key);
                }
            }
        }
    }
}

impl PasswordGate {
    /// `checks_max`: `auth.password_checks_max`; each takes 19 MiB.
    #[must_use]
    pub fn new(checks_max: usize) -> Self {
        let semaphore = |permits| Arc::new(Semaphore::new(permits));
        Self {
            places: semaphore(checks_max + PASSWORD_CHECK_WAITERS_MAX),
            checks: semaphore(checks_max),
            stranger_places: semaphore(checks_max + PASSWORD_CHECK_WAITERS_MAX / 2),
            stranger_checks: semaphore(checks_max.saturating_sub(1).max(1)),
            held: Arc::default(),
        }
    }

    /// [`verify`] against the stored hash; without one (no such user) against [`decoy`], in the same time.
    ///
    /// # Errors
    /// Unavailable, with a time to retry after, when too many wait already; rate limit when too many of the same account or
    /// network do.
    pub async fn verify(&self, admission: Admission, password: String, phc: Option<String>) -> Result<bool> {
        self.run(admission, move || verify(&password, phc.as_deref().unwrap_or(decoy()))).await
    }

    /// [`hash`].
    ///
    /// # Errors
    /// As [`Self::verify`]; those of [`hash`].
    pub async fn hash(&self, admission: Admission, password: String) -> Result<String> {
        self.run(admission, move || hash(&password)).await?
    }

    async fn run<T: Send + 'static>(
        &self,
        admission: Admission,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T> {
        let mut held = self.take(admission)?;
        if !admission.known {
            held.permits.push(Arc::clone(&self.stranger_checks).acquire_owned().await.map_err(failed)?);
        }
        held.permits.push(Arc::clone(&self.checks).acquire_owned().await.map_err(failed)?);
        let task = tokio::task::spawn_blocking(move || {
            let result = work();
            // Held by the computation, not by the caller: one who hangs up does not free memory still in use.
            drop(held);
            result
        });
        task.await.map_err(failed)
    }

    /// A place to wait, or a refusal at once.
    fn take(&self, admission: Admission) -> Result<Held> {
        let full = |_| {
            Error::unavailable("Too many logins at once; try again in a few seconds.", RETRY_AFTER)
                .detail("limit", "password_check_waiters_max")
        };
        let mut permits = Vec::with_capacity(4);
        if !admission.known {
            permits.push(Arc::clone(&self.stranger_places).try_acquire_owned().map_err(full)?);
        }
        permits.push(Arc::clone(&self.places).try_acquire_owned().map_err(full)?);
        let mut held = self.lock();
        let limits = admission.shared.into_iter().zip([OF_ONE_MAX, OF_NETWORK_MAX]);
        if limits.filter_map(|(key, most)| Some((key?, most))).any(|(key, most)| held.get(&key) >= Some(&most)) {
            let text = "Too many logins of this account or network at once; try again in a second.";
            return Err(Error::new(ErrorKind::RateLimit, text).retry_after(Duration::from_secs(1)));
        }
        for key in admission.shared.into_iter().flatten() {
            *held.entry(key).or_default() += 1;
        }
        drop(held);
        Ok(Held { gate: self.clone(), keys: admission.shared, permits })
    }

    /// The counts are whole after each step, so a panic elsewhere under the lock leaves nothing to repair.
    fn lock(&self) -> MutexGuard<'_, HashMap<u64, usize>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::PasswordRules;
    use crate::error::ErrorKind;
    use std::collections::HashSet;
    use std::sync::mpsc;

    #[test]
    fn a_hash_opens_to_its_password_only() {
        let phc = hash("correct horse battery staple").unwrap();
        assert!(phc.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{phc}");
        assert!(verify("correct horse battery staple", &phc));
        for wrong in
            ["", "Correct horse battery staple", "correct horse battery staple ", "correct horse battery stapl"]
        {
            assert!(!verify(wrong, &phc), "{wrong:?}");
        }
        assert_ne!(phc, hash("correct horse battery staple").unwrap(), "salted");
        assert!(!needs_rehash(&phc));
    }

    #[test]
    fn the_same_characters_are_the_same_password_however_composed() {
        let phc = hash("grüner bus fährt").unwrap();
        assert!(verify("gru\u{308}ner bus fa\u{308}hrt", &phc));
    }

    /// From the reference implementation's test.c (phc-winner-argon2): argon2id, v=19, t=2, m=2^16, p=1.
    #[test]
    fn the_reference_vector_verifies_and_is_due_for_renewal() {
        let phc = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc";
        assert!(verify("password", phc));
        assert!(!verify("passwore", phc));
        assert!(needs_rehash(phc));
    }

    #[test]
    fn a_broken_or_outsized_hash_opens_to_nothing() {
        for phc in [
            "",
            "plain text",
            "$2b$12$R9h/cIPz0gi.URNNX3kh2OPST9/PgBkqquzi.Ss7KIUgO2t0jWMUW",
            "$argon2id$v=19$m=19456,t=2,p=1",
            "$argon2id$v=19$m=4194304,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
            "$argon2id$v=19$m=64,t=4294967295,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
        ] {
            assert!(!verify("", phc) && !verify("password", phc), "{phc:?}");
        }
        assert!(needs_rehash("plain text"));
    }

    #[test]
    fn the_decoy_costs_what_a_real_hash_costs_and_opens_to_nothing() {
        assert!(!needs_rehash(decoy()), "it must have the parameters of the day");
        let real = hash("correct horse battery staple").unwrap();
        let (real, fake) = (PasswordHash::new(&real).unwrap(), PasswordHash::new(decoy()).unwrap());
        assert_eq!(real.salt.unwrap().len(), fake.salt.unwrap().len());
        assert_eq!(real.hash.unwrap().len(), fake.hash.unwrap().len());
        assert!(!verify("", decoy()));
    }

    #[test]
    fn generated_passwords_are_long_readable_and_never_the_same() {
        let bits = (GENERATED_GROUPS * GENERATED_GROUP_CHARS) as f64 * (READABLE.len() as f64).log2();
        assert!(bits >= 128.0);
        let passwords: HashSet<String> = (0..100).map(|_| generate().unwrap()).collect();
        assert_eq!(passwords.len(), 100);
        for password in &passwords {
            assert_eq!(password.len(), 34);
            assert!(!password.contains(['0', 'o', '1', 'i', 'l']) && password.is_ascii());
            assert!(PasswordRules { length_min: 15 }.check(password, "admin").is_ok());
        }
    }

    const KNOWN: Admission = Admission { known: true, shared: [None, None] };

    #[tokio::test]
    async fn strangers_leave_places_to_whoever_is_known_and_nobody_takes_them_alone() {
        let gate = PasswordGate::new(2);
        let (release, held) = mpsc::channel::<()>();
        let held = Arc::new(Mutex::new(held));
        let blocked = |admission| {
            let held = held.clone();
            Box::pin(gate.run(admission, move || held.lock().unwrap().recv().is_ok()))
        };
        let stranger = |account| Admission { known: false, shared: [Some(account), Some(u64::MAX)] };
        let mut strangers = Vec::new();
        let refused = async |waiting: &mut Vec<_>, admission| {
            let mut next = blocked(admission);
            let answer = futures_poll_once(next.as_mut()).await;
            waiting.push(next);
            answer.map(|answer| answer.unwrap_err().kind())
        };
        for _ in 0..OF_ONE_MAX {
            assert_eq!(refused(&mut strangers, stranger(1)).await, None);
        }
        assert_eq!(refused(&mut strangers, stranger(1)).await, Some(ErrorKind::RateLimit), "one account");
        for account in 2..=(OF_NETWORK_MAX - OF_ONE_MAX + 1) as u64 {
            assert_eq!(refused(&mut strangers, stranger(account)).await, None);
        }
        assert_eq!(refused(&mut strangers, stranger(99)).await, Some(ErrorKind::RateLimit), "one network");
        assert_eq!(gate.checks.available_permits(), 1, "a turn is kept free");
        assert!(gate.run(KNOWN, || true).await.unwrap(), "while strangers hold what they may");
        drop(release);
    }

    #[tokio::test]
    async fn the_gate_answers_like_the_functions_behind_it() {
        let gate = PasswordGate::new(2);
        let phc = gate.hash(KNOWN, "correct horse battery staple".into()).await.unwrap();
        assert!(gate.verify(KNOWN, "correct horse battery staple".into(), Some(phc.clone())).await.unwrap());
        assert!(!gate.verify(KNOWN, "wrong".into(), Some(phc)).await.unwrap());
        assert!(!gate.verify(KNOWN, "correct horse battery staple".into(), None).await.unwrap());
    }

    #[tokio::test]
    async fn a_full_gate_refuses_at_once_and_recovers() {
        let gate = PasswordGate::new(1);
        let (release, held) = mpsc::channel::<()>();
        let running = gate.run(KNOWN, move || held.recv().is_ok());
        let mut waiting: Vec<_> = (0..PASSWORD_CHECK_WAITERS_MAX).map(|_| Box::pin(gate.run(KNOWN, || ()))).collect();
        let mut running = Box::pin(running);
        // Polling once gives the first its turn and each other one its place in the queue.
        assert!(futures_poll_once(running.as_mut()).await.is_none());
        for place in &mut waiting {
            assert!(futures_poll_once(place.as_mut()).await.is_none());
        }

        let error = gate.run(KNOWN, || ()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert_eq!(error.retry_after_hint(), Some(RETRY_AFTER));

        // A waiter who hangs up gives its place back; a runner who hangs up does not, its computation still runs.
        waiting.pop();
        drop(running);
        assert_eq!((gate.places.available_permits(), gate.checks.available_permits()), (1, 0));
        release.send(()).unwrap();
        for place in waiting {
            place.await.unwrap();
        }
        assert!(gate.run(KNOWN, || true).await.unwrap());
    }

    async fn futures_poll_once<T>(future: std::pin::Pin<&mut impl Future<Output = T>>) -> Option<T> {
        let mut future = Some(future);
        std::future::poll_fn(move |context| {
            std::task::Poll::Ready(future.take().and_then(|future| match future.poll(context) {
                std::task::Poll::Ready(value) => Some(value),
                std::task::Poll::Pending => None,
            }))
        })
        .await
    }
}
