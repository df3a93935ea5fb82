//! A private PostgreSQL and a private Redis, for a person who just wants the mesh to run, and for tests.
//!
//! Both use the programs that the distribution installed; nothing is fetched. Both listen on a unix socket in a
//! folder that only their owner can enter, and on no network port. Each is owned by one process at a time, by a
//! lock file; whoever finds what a killed owner left behind stops it and starts afresh on the same data.
//!
//! - [`postgres`]: a cluster with its data in a folder;
//! - [`redis`]: a server without data worth keeping;
//! - [`testing`]: one cluster for a whole test run, a fresh migrated database per test.

#![warn(missing_docs)]

mod account;
mod place;
pub mod postgres;
mod program;
pub mod redis;
pub mod testing;
