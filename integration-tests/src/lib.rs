//! The mesh under test as its users see it: real processes of the real program, with certificates, on ports of their
//! own, a real PostgreSQL with a fresh database for each service, a real Redis.
//!
//! - [`Mesh`]: starts the processes, and kills, freezes or restarts one of them
//! - [`campaign`]: many callers and a killer against the mesh, and the judgement
//! - [`calls`]: calls through the gateway as an institution would make them
//! - [`hostile`]: what a broken or wicked client may send to a method, made from its descriptor
//! - [`leak`]: looks for NIK, card numbers and diagnoses where they must not be

pub mod calls;
pub mod campaign;
pub mod hostile;
pub mod leak;
pub mod mesh;

pub use mesh::{Mesh, eventually, program};
