//! A stand-in for the civil registry (Dukcapil), for development and tests: it speaks the wire format of
//! `docs/civil-registry.md` and knows only the synthetic residents it was told of.
//!
//! A resident is told by file at the start, or by `PUT /admin/residents`, a path that only this simulator has.
//! Whoever it was not told of is not found, always.

#![warn(missing_docs)]

mod resident;
mod server;

pub use resident::{Resident, Sex};
pub use server::{Residents, serve};
