//! The gateway between real clients and real services, over real sockets.

#![allow(clippy::unwrap_used, reason = "a test ends where it goes wrong")]

mod behind;
mod certificates;
mod forwarding;
mod identities;
mod local;
mod place;
mod starting;
mod stopping;
