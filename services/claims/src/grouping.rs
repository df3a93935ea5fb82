//! Grouping, behind one interface: the table of `policy/claims`, or an e-Klaim web service outside of the mesh. Which one
//! is a setting of the service; a grouping says which it was.

pub mod eklaim;
pub mod envelope;
pub mod table;
mod wire;

use chassis::Call;
use proto::claims::v1 as pb;

use crate::{episode::Episode, error::Error, store::claim::Row};

/// An episode that is to be grouped, with all that a grouper may ask for.
pub(crate) struct Asked<'a> {
    /// The claim.
    pub(crate) row: &'a Row,
    /// The SEP it cites.
    pub(crate) letter: &'a pb::Sep,
    /// Its data as it was given.
    pub(crate) data: &'a pb::ClaimData,
    /// The same, read.
    pub(crate) episode: &'a Episode,
    /// The call that asks.
    pub(crate) call: &'a Call,
}

/// What groups episodes.
#[tonic::async_trait]
pub(crate) trait Grouper: Send + Sync {
    /// The package of an episode with its special CMGs, or why there is none.
    async fn group(&self, asked: &Asked<'_>) -> Result<pb::Grouping, Error>;

    /// Tells that the claim on a SEP is final, coded by this coder.
    async fn finalise(&self, sep_number: &str, coder_nik: &str) -> Result<(), Error>;

    /// Tells that the claim on a SEP is final no more.
    async fn reedit(&self, sep_number: &str) -> Result<(), Error>;
}

/// A grouping that says why there is no package.
fn ungroupable(reason: pb::UngroupableReason, asked: &Asked<'_>) -> pb::Grouping {
    pb::Grouping {
        ungroupable_reason: reason.into(),
        grouped_at: Some(chassis::time::to_proto(asked.call.received_at)),
        ..pb::Grouping::default()
    }
}
