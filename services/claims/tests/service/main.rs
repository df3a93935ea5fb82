//! The claims service as its callers meet it, over gRPC and on a real Postgres: a file for each subject. [`served`] starts
//! it for each test.

#![allow(clippy::unwrap_used)]

mod accidents;
mod audit_frames;
mod audits;
mod coders;
mod coding_reviews;
mod dispute;
mod eklaim;
mod filings;
mod follow_ups;
mod frame_work;
mod grouping;
mod issuance;
mod journey;
mod newborns;
mod rule_sets;
mod rules;
mod sep_approvals;
mod sep_life;
mod served;
mod settlement;
mod stands;
mod stays;
mod streamed;
mod visits;
mod work;
