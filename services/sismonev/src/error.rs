//! What SISMONEV refuses, and the status each refusal is sent as.

use proto::sismonev::v1::Reason;
use tonic::Code;

use crate::indicator::Dimension;

/// Why a question is not answered.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No indicator of that id is defined for the month.
    #[error(
        "no such indicator is defined for that month; list the indicators of a day in it and take an id from there"
    )]
    IndicatorUnknown,
    /// The definition does not offer the dimension.
    #[error("the indicator is not broken down by {0}; ask for dimensions that ListIndicators names for it")]
    DimensionNotOffered(Dimension),
    /// Refused before a rule of this service was asked.
    #[error(transparent)]
    Problem(#[from] chassis::Problem),
    /// The database did not answer.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

impl From<Error> for tonic::Status {
    fn from(error: Error) -> Self {
        let message = error.to_string();
        let problem = match error {
            Error::IndicatorUnknown => {
                chassis::Problem::new(Code::NotFound, Reason::IndicatorUnknown.as_str_name(), message)
            }
            Error::DimensionNotOffered(dimension) => chassis::Problem::new(
                Code::FailedPrecondition,
                Reason::DimensionNotOffered.as_str_name(),
                message,
            )
            .with("dimension", dimension),
            Error::Problem(problem) => problem,
            Error::Database(error) => error.into(),
        };
        problem.into()
    }
}
