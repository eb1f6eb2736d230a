//! The way to the central site as the delivery sees it: one append-only stream with numbered entries.

use std::fmt;
use std::future::Future;

/// One event on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Place in the stream; see [`crate::sync::resume`].
    pub id: u64,
    pub kind: String,
    /// JSON, as it was recorded.
    pub body: String,
    /// A copy of a report, to be found by its vehicle for a while.
    pub cached: Option<CachedReport>,
}

/// A report that is also kept under the id of its vehicle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CachedReport {
    pub vehicle_id: String,
    pub body: String,
    pub seconds: u64,
}

/// The newest place the stream ever had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Top {
    pub id: u64,
    /// Body of the entry there; none when it was deleted since.
    pub body: Option<String>,
}

/// How much of the stream is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Trim {
    /// About this many of the newest entries; 0: all.
    pub entries_max: u64,
    /// Entries before this id may go too.
    pub before: Option<u64>,
}

/// What became of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Published {
    /// All of it is in the stream, in order.
    Added,
    /// Nothing was added: the stream is not as it was when it was last looked at. Look again.
    Changed,
    /// Redis refused at least one entry because the stream is there already, or further. Look again.
    Refused,
}

/// What the central site sees of the unit between two looks.
#[derive(Clone, Debug, Default)]
pub struct UplinkState {
    pub fields: Vec<(&'static str, String)>,
    pub seconds: u64,
    /// Tells this process from another that calls itself the same unit.
    pub process: String,
}

/// The central site's answer to a sign of life.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pulse {
    /// None: there is no stream.
    pub top: Option<Top>,
    /// The process that gave the last sign of life; none when there is none or it expired.
    pub last_process: Option<String>,
}

/// Where events go. Every call has a time limit of its own; after an error the connection is not used again.
pub trait Uplink: Send + Sync {
    /// Opens a connection, closing the one before, and looks at the stream; none: there is no stream.
    fn connect(&mut self) -> impl Future<Output = Result<Option<Top>, Problem>> + Send;

    /// Looks at the stream again.
    fn top(&mut self) -> impl Future<Output = Result<Option<Top>, Problem>> + Send;

    /// The body of one entry, where it still is.
    fn body(&mut self, id: u64) -> impl Future<Output = Result<Option<String>, Problem>> + Send;

    /// Appends entries, all or none, provided that nobody has touched the stream since it was last looked at.
    fn publish(&mut self, entries: &[Entry], trim: Trim) -> impl Future<Output = Result<Published, Problem>> + Send;

    /// Gives a sign of life.
    fn beat(&mut self, state: &UplinkState) -> impl Future<Output = Result<Pulse, Problem>> + Send;

    /// Closes the connection.
    fn close(&mut self);
}

/// Why nothing is delivered at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Trouble {
    /// Nobody answers: refused, unreachable, cut off, or too slow.
    Down,
    ReadOnly,
    OutOfMemory,
    /// Redis reads its data from disk.
    Loading,
    /// No master at the moment, in a Sentinel group or a Cluster.
    FailingOver,
    /// User or password are wrong, or the user may not do what is needed.
    Credentials,
    Tls,
    /// What answers does not speak Redis's protocol.
    Garbage,
    /// Redis refuses for another reason, such as a full disk.
    Refused,
    /// Another process writes to this unit's stream.
    Twin,
    /// Our own store does not answer.
    Store,
}

impl Trouble {
    pub const ALL: [Self; 11] = [
        Self::Down,
        Self::ReadOnly,
        Self::OutOfMemory,
        Self::Loading,
        Self::FailingOver,
        Self::Credentials,
        Self::Tls,
        Self::Garbage,
        Self::Refused,
        Self::Twin,
        Self::Store,
    ];

    /// Label of the metric.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Down => "down",
            Self::ReadOnly => "read_only",
            Self::OutOfMemory => "out_of_memory",
            Self::Loading => "loading",
            Self::FailingOver => "failing_over",
            Self::Credentials => "credentials",
            Self::Tls => "tls",
            Self::Garbage => "garbage",
            Self::Refused => "refused",
            Self::Twin => "twin",
            Self::Store => "store",
        }
    }

    /// For the public health page: no address, no detail.
    #[must_use]
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::Down => "Redis does not answer",
            Self::ReadOnly => "Redis is read-only",
            Self::OutOfMemory => "Redis is out of memory",
            Self::Loading => "Redis is loading its data",
            Self::FailingOver => "Redis is failing over",
            Self::Credentials => "Redis refuses the unit's user or password",
            Self::Tls => "the TLS connection to Redis fails",
            Self::Garbage => "what answers does not speak Redis's protocol",
            Self::Refused => "Redis refuses to store",
            Self::Twin => "another unit uses this unit's id",
            Self::Store => "the unit's own store does not answer",
        }
    }

    /// What to do about it.
    #[must_use]
    pub const fn remedy(self) -> &'static str {
        match self {
            Self::Down => "check sync.redis_url, the network and the server",
            Self::ReadOnly => "it is a replica: name the master, or the sentinels with sync.sentinel_master",
            Self::OutOfMemory => "give it more maxmemory, or keep less with sync.stream_events_max",
            Self::Loading | Self::FailingOver => "it should pass by itself",
            Self::Credentials => "check user and password (sync.redis_password) and the user's ACL (docs/CENTRAL.md)",
            Self::Tls => "check sync.ca_file, and that the certificate names the host of sync.redis_url",
            Self::Garbage => "check the port in sync.redis_url, and whether it wants TLS (rediss://)",
            Self::Refused => "look into the server's log",
            Self::Twin => "give every unit its own unit.id",
            Self::Store => "look for the store's messages in this log",
        }
    }
}

/// A trouble with its details, for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub trouble: Trouble,
    pub detail: String,
}

impl Problem {
    pub fn new(trouble: Trouble, detail: impl Into<String>) -> Self {
        Self { trouble, detail: detail.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}); {}", self.trouble.sentence(), self.detail, self.trouble.remedy())
    }
}

#[cfg(test)]
mod tests {
    use super::Trouble;
    use crate::metrics::TROUBLES;

    #[test]
    fn every_trouble_has_its_series_from_the_start() {
        assert_eq!(Trouble::ALL.map(Trouble::name), TROUBLES);
    }
}
