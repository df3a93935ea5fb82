//! All SQL of the service, and nothing else.

pub mod claim;
pub mod follow_up;
pub mod sep;
pub mod sep_approval;
pub mod sep_life;
