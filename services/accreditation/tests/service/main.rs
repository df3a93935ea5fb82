//! The service as its callers see it, each test on a real database of its own.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod accreditation;
mod house;
mod registry;
