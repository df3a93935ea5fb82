//! All SQL of the service, and nothing else.

pub mod audit;
pub mod audit_frame;
pub mod batch;
pub mod claim;
pub mod coder;
pub mod coding_review;
pub mod dispute;
pub mod eklaim;
pub mod filing;
pub mod follow_up;
pub mod frame_work;
pub mod issuance;
pub mod ledger;
pub mod primary_payment;
pub mod recovery;
pub mod rules;
pub mod seen;
pub mod sep;
pub mod sep_approval;
pub mod sep_life;
pub mod stay;
pub mod submission;
pub mod work;
