//! All SQL of the service, and nothing else.

pub mod claim;
pub mod rules;
pub mod sep;
