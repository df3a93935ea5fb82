//! The contracts of the mesh, generated from the `.proto` files beside this crate, and the descriptor set
//! that reflection and documentation read.
//!
//! Nothing here decides anything: messages, clients, servers, methods, descriptors.

#[allow(dead_code, missing_docs, unreachable_pub, clippy::all, clippy::unwrap_used, clippy::large_futures)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/packages.rs"));
}

pub use generated::jkn::*;

mod method;

pub use method::{METHODS, Method};

/// The encoded `FileDescriptorSet` of every contract, with options and comments.
pub const DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptor_set.bin"));

/// The contracts as a pool of descriptors, decoded once per process.
///
/// # Panics
/// Never with the set this crate was built with: the build decoded the same bytes.
#[must_use]
pub fn pool() -> &'static prost_reflect::DescriptorPool {
    static POOL: std::sync::LazyLock<prost_reflect::DescriptorPool> = std::sync::LazyLock::new(|| {
        prost_reflect::DescriptorPool::decode(DESCRIPTOR_SET).expect("the build decoded these bytes")
    });
    &POOL
}
