//! All SQL of the service, and nothing else.

pub mod batch;
pub mod claim;
pub mod dispute;
pub mod filing;
pub mod ledger;
pub mod recovery;
pub mod sep;
pub mod work;
