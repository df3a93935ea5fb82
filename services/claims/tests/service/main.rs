//! The claims service as its callers meet it, over gRPC and on a real Postgres: a file for each subject. What they share:
//! [`served`] starts the service for each test, beside the [`others`] that it asks; [`clients`], [`wishes`] and [`steps`]
//! call it; [`refusal`] reads what it refuses with.

#![allow(clippy::unwrap_used)]

mod accidents;
mod audit_frames;
mod audits;
mod clients;
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
mod others;
mod refusal;
mod rule_sets;
mod rules;
mod sep_approvals;
mod sep_life;
mod served;
mod settlement;
mod stands;
mod stays;
mod steps;
mod streamed;
mod visits;
mod wishes;
mod work;
