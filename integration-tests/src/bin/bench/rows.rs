//! The rows. To add one: a file here that measures it, and a line in [`ROWS`].

mod eligibility;
mod footprint;
mod gateway;
mod skeleton;
mod submission;
mod verification;

use futures::future::LocalBoxFuture;

use crate::{Bench, row::Row};

/// Rows that come of one measurement.
pub(crate) struct Rows {
    /// Their names, in the order in which they are returned.
    pub(crate) names: &'static [&'static str],
    /// Measures them.
    pub(crate) measure: fn(&Bench) -> LocalBoxFuture<'_, anyhow::Result<Vec<Row>>>,
}

/// Every row.
pub(crate) const ROWS: &[Rows] = &[
    skeleton::ROWS,
    eligibility::ROWS,
    gateway::ROWS,
    footprint::ROWS,
    submission::ROWS,
    verification::ROWS,
];
