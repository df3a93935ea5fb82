//! The methods of the mesh and their policies, as the build read them.

use crate::options::v1::InstitutionKind;

/// A method of the mesh.
#[derive(Debug)]
pub struct Method {
    /// Path of the request, e.g. `/jkn.claims.v1.SepService/IssueSep`.
    pub path: &'static str,
    /// Full name of its gRPC service, e.g. `jkn.claims.v1.SepService`.
    pub service: &'static str,
    /// Name of the process that serves it, e.g. `primary-care`; `feed` for the contract that each serves.
    pub system: &'static str,
    /// Kinds of institution that may call it.
    pub callers: &'static [InstitutionKind],
    /// Whether it changes state.
    pub writes: bool,
    /// Whether it may be sent again after an unknown outcome.
    pub idempotent: bool,
    /// Whether the answer is a stream.
    pub server_streaming: bool,
    /// Whether the request is a stream.
    pub client_streaming: bool,
}

/// Every method, in the order of their paths. A table of the build, because a process that decodes the descriptors of
/// every contract for it needs ten megabytes more.
pub static METHODS: &[Method] = include!(concat!(env!("OUT_DIR"), "/methods.rs"));
