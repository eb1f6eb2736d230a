//! What the central site is told of.

use crate::clock::Stamp;
use crate::record::{Classification, CoverageSpan, Passage, Report};

/// Something that was recorded, on its way into the outbox.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    Passage(&'a Passage),
    /// Of an upload; what the camera saw is told as passages.
    Classification(&'a Classification),
    Report(&'a Report),
    Coverage(&'a CoverageSpan),
}

impl Event<'_> {
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Passage(_) => "passage",
            Self::Classification(_) => "classification",
            Self::Report(_) => "report",
            Self::Coverage(_) => "watch",
        }
    }

    /// When it was complete.
    #[must_use]
    pub const fn at(&self) -> &Stamp {
        match self {
            Self::Passage(passage) => &passage.ended,
            Self::Classification(classification) => &classification.created,
            Self::Report(report) => &report.created,
            Self::Coverage(span) => &span.until,
        }
    }
}
