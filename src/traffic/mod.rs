//! From what single pictures show to vehicles that passed: pure, without pictures, clocks or threads.
//!
//! [`Motion`] tells where a small luma picture differs from its background; [`Tracker`] takes the detector's boxes and those
//! blobs, follows vehicles, and counts each once; [`consensus`] makes one class of several opinions. Times are those of the
//! frames, so a recording gives the same passages every time.

mod blobs;
mod consensus;
mod kalman;
mod layout;
mod measurement;
mod motion;
#[cfg(test)]
mod tests;
mod track;
mod tracker;

pub use blobs::Blob;
pub use consensus::{Consensus, CropVote, consensus};
pub use kalman::Seen;
pub use layout::RoadLayout;
pub use measurement::Detection;
pub use motion::{Cells, Foreground, Motion};
pub use track::{Counted, Moment, Track};
pub use tracker::{FinishedTrack, Observation, Tracker};
