//! The claims service as its callers meet it, over gRPC and on a real Postgres: a file for each subject. [`served`] starts
//! it for each test.

#![allow(clippy::unwrap_used)]

mod accidents;
mod audit;
mod coders;
mod dispute;
mod eklaim;
mod follow_ups;
mod frame_work;
mod grouping;
mod issuance;
mod journey;
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
