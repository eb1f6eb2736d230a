//! Where delivery goes on: compares the newest place of the stream with what the outbox knows.
//!
//! An entry's id is its row's `seq`, with the epoch above bit 40: 1, 2, 3, … in epoch 0. A new epoch begins when the stream
//! has gone on without this database (a unit restored from a backup), so that no id ever means two events, and every new id
//! is above every old one. Ids stay below 2^53, so that they are exact in JSON readers that know only doubles.

use crate::store::{Epoch, OutboxHead};

const SEQ_BITS: u32 = 40;
const SEQ_MASK: u64 = (1 << SEQ_BITS) - 1;
/// 2^53 / 2^40.
pub const EPOCH_MAX: i64 = 8_191;

/// The id of a row outside.
#[must_use]
pub fn id(epochs: &[Epoch], seq: i64) -> u64 {
    let epoch = epochs.iter().rev().find(|epoch| epoch.first <= seq).map_or(0, |epoch| epoch.number);
    (epoch.unsigned_abs() << SEQ_BITS) | (seq.unsigned_abs() & SEQ_MASK)
}

/// The epoch of an id.
#[must_use]
pub const fn epoch_of(id: u64) -> i64 {
    (id >> SEQ_BITS).cast_signed()
}

/// The row that an id means; it may belong to another life of this unit.
#[must_use]
pub const fn seq_of(id: u64) -> i64 {
    (id & SEQ_MASK).cast_signed()
}

/// The newest row whose id is not above `id`.
fn newest_row_up_to(head: &OutboxHead, top: u64) -> i64 {
    let (mut low, mut high) = (0, head.newest);
    while low < high {
        let middle = low + (high - low + 1) / 2;
        if id(&head.epochs, middle) <= top { low = middle } else { high = middle - 1 }
    }
    low
}

/// What is known of the stream's newest place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NewestEntry {
    /// There is no stream, or nothing was ever in it.
    Nothing,
    /// The entry there is the row of that id.
    Ours(u64),
    /// It is not.
    Foreign(u64),
    /// The entry or the row is gone, so that they cannot be compared.
    Unknown(u64),
}

/// How to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Everything up to this row is delivered, as far as the outbox knows too.
    Continue(i64),
    /// More is delivered than was acknowledged.
    Acknowledge(i64),
    /// The stream lost what was acknowledged: go back to this row.
    Rewind(i64),
    /// The stream went on without this database: find where they part, and begin the given epoch there.
    Fork { epoch: i64 },
}

/// Decides.
#[must_use]
pub fn decide(head: &OutboxHead, found: NewestEntry) -> Decision {
    let top = match found {
        NewestEntry::Nothing => return behind(head, 0),
        NewestEntry::Ours(id) => return known_row(head, newest_row_up_to(head, id)),
        NewestEntry::Foreign(id) | NewestEntry::Unknown(id) => id,
    };
    let current = head.epochs.last().map_or(0, |epoch| epoch.number);
    let row = newest_row_up_to(head, top);
    if epoch_of(top) < current {
        // A snapshot from before our last restoring: whatever it holds of those days, all of ours since is above it.
        return known_row(head, row);
    }
    let fork = Decision::Fork { epoch: epoch_of(top) + 1 };
    if id(&head.epochs, row) != top {
        return fork;
    }
    match found {
        NewestEntry::Unknown(_) => known_row(head, row),
        _ => fork,
    }
}

fn known_row(head: &OutboxHead, row: i64) -> Decision {
    match row.cmp(&head.acked) {
        std::cmp::Ordering::Greater => Decision::Acknowledge(row),
        std::cmp::Ordering::Equal => Decision::Continue(row),
        std::cmp::Ordering::Less => behind(head, row),
    }
}

/// The stream ends at `row`; rows that are not kept any more cannot be sent again.
fn behind(head: &OutboxHead, row: i64) -> Decision {
    let row = row.max(head.oldest - 1);
    if row >= head.acked { Decision::Continue(head.acked) } else { Decision::Rewind(row) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Epochs as `(first, number)`.
    fn head(oldest: i64, acked: i64, newest: i64, epochs: &[(i64, i64)]) -> OutboxHead {
        let epochs = epochs.iter().map(|&(first, number)| Epoch { first, number }).collect();
        OutboxHead { acked, newest, oldest, epochs, waiting_since: None }
    }

    const E1: u64 = 1 << SEQ_BITS;

    #[test]
    fn ids_grow_with_rows_and_tell_their_epoch() {
        let epochs = head(1, 0, 0, &[(1, 0), (121, 1), (300, 4)]).epochs;
        assert_eq!(id(&epochs, 120), 120);
        assert_eq!(id(&epochs, 121), E1 + 121);
        assert_eq!(id(&epochs, 300), 4 * E1 + 300);
        assert!((1..400).all(|seq| id(&epochs, seq) < id(&epochs, seq + 1)));
        assert_eq!((epoch_of(4 * E1 + 300), seq_of(4 * E1 + 300)), (4, 300));
        assert!(id(&[Epoch { first: 1, number: EPOCH_MAX }], SEQ_MASK.cast_signed()) < 1 << 53);
    }

    #[test]
    fn a_stream_that_is_as_we_left_it_goes_on() {
        assert_eq!(decide(&head(1, 0, 0, &[(1, 0)]), NewestEntry::Nothing), Decision::Continue(0));
        assert_eq!(decide(&head(1, 0, 9, &[(1, 0)]), NewestEntry::Nothing), Decision::Continue(0));
        assert_eq!(decide(&head(1, 7, 9, &[(1, 0)]), NewestEntry::Ours(7)), Decision::Continue(7));
        assert_eq!(decide(&head(8, 7, 9, &[(1, 0)]), NewestEntry::Unknown(7)), Decision::Continue(7));
    }

    #[test]
    fn what_was_delivered_without_our_knowing_is_acknowledged() {
        assert_eq!(decide(&head(1, 4, 9, &[(1, 0)]), NewestEntry::Ours(6)), Decision::Acknowledge(6));
        // The consumer deleted the entry.
        assert_eq!(decide(&head(1, 4, 9, &[(1, 0)]), NewestEntry::Unknown(6)), Decision::Acknowledge(6));
    }

    #[test]
    fn what_redis_lost_is_sent_again_as_far_as_it_is_kept() {
        assert_eq!(decide(&head(1, 7, 9, &[(1, 0)]), NewestEntry::Nothing), Decision::Rewind(0));
        assert_eq!(decide(&head(1, 7, 9, &[(1, 0)]), NewestEntry::Ours(3)), Decision::Rewind(3));
        assert_eq!(decide(&head(6, 7, 9, &[(1, 0)]), NewestEntry::Unknown(3)), Decision::Rewind(5));
        assert_eq!(decide(&head(8, 7, 9, &[(1, 0)]), NewestEntry::Nothing), Decision::Continue(7));
    }

    #[test]
    fn a_stream_that_went_on_without_us_begins_an_epoch() {
        let ours = head(1, 100, 120, &[(1, 0)]);
        assert_eq!(decide(&ours, NewestEntry::Foreign(200)), Decision::Fork { epoch: 1 });
        assert_eq!(decide(&ours, NewestEntry::Unknown(200)), Decision::Fork { epoch: 1 });
        assert_eq!(decide(&ours, NewestEntry::Foreign(110)), Decision::Fork { epoch: 1 });
        assert_eq!(decide(&ours, NewestEntry::Foreign(5 * E1 + 3)), Decision::Fork { epoch: 6 });
        // Also when somebody added an entry by hand, under a time.
        assert!(matches!(decide(&ours, NewestEntry::Foreign(1_767_225_600_000)), Decision::Fork { .. }));
    }

    #[test]
    fn after_a_fork_the_stream_of_the_former_life_is_no_riddle() {
        // Right after the fork: nothing of the new epoch is delivered.
        let forked = head(1, 120, 150, &[(1, 0), (121, 1)]);
        assert_eq!(decide(&forked, NewestEntry::Foreign(200)), Decision::Continue(120));
        assert_eq!(decide(&forked, NewestEntry::Ours(E1 + 130)), Decision::Acknowledge(130));
        // Redis was put back to a snapshot of the former life.
        let later = head(1, 140, 150, &[(1, 0), (121, 1)]);
        assert_eq!(decide(&later, NewestEntry::Foreign(180)), Decision::Rewind(120));
        assert_eq!(decide(&later, NewestEntry::Ours(90)), Decision::Rewind(90));
        // Restored once more, from the same backup: that life, too, had an epoch 1.
        assert_eq!(decide(&later, NewestEntry::Foreign(E1 + 130)), Decision::Fork { epoch: 2 });
    }
}
