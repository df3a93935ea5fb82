//! Work on a frame that takes longer than a call. A national quarter has tens of millions of rows: they are gathered, hashed
//! and drawn from piece by piece, and between two pieces a [`Place`] says where the work stands.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::frame::Mark;

/// What is being done. The numbers are those of the contract and of the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i16)]
pub enum Stage {
    /// The rows of a frame are gathered.
    Gathering = 1,
    /// Its file is hashed.
    Hashing = 2,
    /// A sample is drawn from it, and its file hashed again.
    Drawing = 3,
    /// Claims of drawn hospitals are drawn for a review of their coding.
    Reviewing = 4,
}

impl Stage {
    /// The stage of a number.
    #[must_use]
    pub fn of(number: i16) -> Option<Self> {
        [Self::Gathering, Self::Hashing, Self::Drawing, Self::Reviewing]
            .into_iter()
            .find(|stage| *stage as i16 == number)
    }
}

/// Why work stopped. The numbers are those of the contract and of the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i16)]
pub enum Stopped {
    /// The instant of the seed passed before the frame was ready: its publisher could have known the seed.
    SeedPassed = 1,
    /// A row cannot be read.
    Unreadable = 2,
    /// The stored rows are not those that were published.
    Altered = 3,
}

/// A row that was drawn so far: its stratum and its key.
pub type Kept = (String, String);

/// Where a stage stands.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Place {
    /// Gathering: the last claim that was passed.
    pub after: Option<(Timestamp, Uuid)>,
    /// Hashing and drawing: the file so far.
    pub reading: Option<Mark>,
    /// Drawing: the rows with the lowest ranks so far. Reviewing: the claims.
    pub kept: Vec<Kept>,
    /// Reviewing: the hospitals that were drawn.
    pub sample: Vec<Kept>,
    /// Reviewing: the hospital whose claims are passed, and the last of them.
    pub after_claim: (usize, Uuid),
    /// Whether everything was passed, so that it can be written.
    pub complete: bool,
}
