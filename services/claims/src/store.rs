//! All SQL of the service, and nothing else.

pub mod audit;
pub mod audit_frame;
pub mod claim;
pub mod coding_review;
pub mod sep;
pub mod submission;
