//! A bounded amount that all accounts draw on: what is taken comes back by itself, and no account can take everything.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The amount, and who holds how much of it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Shares {
    all_max: u64,
    of_one_max: u64,
    held: Arc<Mutex<Held>>,
}

#[derive(Debug, Default)]
struct Held {
    all: u64,
    by_account: HashMap<String, u64>,
}

/// What one taker holds, until it is dropped.
#[derive(Debug)]
pub struct Share {
    shares: Shares,
    account: String,
    amount: u64,
}

impl Shares {
    /// An account may hold three quarters, and in any case `least`.
    #[must_use]
    pub fn new(all_max: u64, least: u64) -> Self {
        Self { all_max, of_one_max: (all_max - all_max / 4).max(least), held: Arc::default() }
    }

    /// An empty share of an account.
    #[must_use]
    pub fn of(&self, account: &str) -> Share {
        Share { shares: self.clone(), account: account.to_owned(), amount: 0 }
    }

    /// The numbers are whole after each step, so a panic elsewhere under the lock leaves nothing to repair.
    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Share {
    #[must_use]
    pub fn amount(&self) -> u64 {
        self.amount
    }

    /// Takes more, or nothing when there is no room for it.
    #[must_use]
    pub fn grow(&mut self, more: u64) -> bool {
        let mut held = self.shares.lock();
        let all = held.all.saturating_add(more);
        let of_one = held.by_account.get(&self.account).copied().unwrap_or_default().saturating_add(more);
        if all > self.shares.all_max || of_one > self.shares.of_one_max {
            return false;
        }
        held.all = all;
        held.by_account.insert(self.account.clone(), of_one);
        self.amount += more;
        true
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut held = self.shares.lock();
        held.all -= self.amount;
        if let Some(of_one) = held.by_account.get_mut(&self.account) {
            *of_one -= self.amount;
            if *of_one == 0 {
                held.by_account.remove(&self.account);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_account_takes_all_and_everything_comes_back() {
        let shares = Shares::new(16, 1);
        let (mut of_eve, mut more_of_eve, mut of_ann) = (shares.of("eve"), shares.of("eve"), shares.of("ann"));
        assert!(of_eve.grow(10) && more_of_eve.grow(2) && !more_of_eve.grow(1), "three quarters are 12");
        assert!(of_ann.grow(4) && !of_ann.grow(1), "the rest is for others, and no more than there is");
        drop(of_eve);
        assert!(of_ann.grow(8) && !of_ann.grow(1));
        assert_eq!((more_of_eve.amount(), of_ann.amount()), (2, 12));
        drop((more_of_eve, of_ann));
        let held = shares.lock();
        assert!(held.all == 0 && held.by_account.is_empty());
    }

    #[test]
    fn what_one_must_be_able_to_hold_it_may() {
        for (all, least) in [(1, 1), (2, 1), (3, 3), (100, 100)] {
            assert!(Shares::new(all, least).of("ann").grow(least.max(1)));
        }
        assert!(!Shares::new(0, 1).of("ann").grow(1), "a limit of 0 is one");
    }
}
