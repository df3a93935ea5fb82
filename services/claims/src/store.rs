//! All SQL of the service, and nothing else.

pub mod claim;
pub mod coder;
pub mod eklaim;
pub mod sep;
pub mod submission;
