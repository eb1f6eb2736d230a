//! How long to wait before the next try: exponential with full jitter, so that units that lost Redis at the same moment do
//! not come back at the same moment ("Exponential Backoff And Jitter", AWS Architecture Blog, 2015).

use std::time::Duration;

use rand::RngExt;

const FIRST: Duration = Duration::from_secs(1);

/// Anything from nothing to 1, 2, 4, … seconds for the first, second, third, … failure in a row, with a cap.
#[must_use]
pub fn delay(failures: u32, cap: Duration) -> Duration {
    let most = bound(failures, cap);
    most.mul_f64(rand::rng().random_range(0.0..=1.0))
}

fn bound(failures: u32, cap: Duration) -> Duration {
    FIRST.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1))).min(cap)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_doubles_up_to_the_cap() {
        let cap = Duration::from_mins(1);
        let bounds: Vec<_> = [1, 2, 3, 6, 7, 99].map(|failures| bound(failures, cap).as_secs()).into();
        assert_eq!(bounds, [1, 2, 4, 32, 60, 60]);
    }

    #[test]
    fn delays_are_spread_over_everything_below_the_bound() {
        let cap = Duration::from_mins(1);
        let delays: Vec<_> = (0..1_000).map(|_| delay(4, cap).as_secs_f64()).collect();
        assert!(delays.iter().all(|delay| (0.0..=8.0).contains(delay)));
        for quarter in 0..4 {
            let within = f64::from(quarter) * 2.0..f64::from(quarter + 1) * 2.0;
            assert!(delays.iter().filter(|delay| within.contains(delay)).count() > 150);
        }
    }
}
