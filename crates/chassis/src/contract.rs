//! The methods of the mesh and their policies, read from the descriptor set.

use std::{
    collections::{HashMap, HashSet},
    sync::LazyLock,
};

use prost_reflect::{DescriptorPool, DynamicMessage, MethodDescriptor, ReflectMessage};
use proto::options::v1::{Effect, InstitutionKind};

use crate::Caller;

/// The package that every service of the mesh serves for itself.
pub const FEED: &str = "feed";

/// A method of the mesh.
#[derive(Debug, Clone)]
pub struct Method {
    /// Path of the request, e.g. `/jkn.claims.v1.SepService/IssueSep`.
    pub path: String,
    /// Full name of its gRPC service, e.g. `jkn.claims.v1.SepService`.
    pub service: String,
    /// Name of the process that serves it, e.g. `primary-care`; `feed` for the contract that each serves.
    pub system: String,
    /// Kinds of institution that may call it.
    pub callers: HashSet<InstitutionKind>,
    /// Whether it changes state.
    pub writes: bool,
    /// Whether it may be sent again after an unknown outcome.
    pub idempotent: bool,
    /// Whether the answer is a stream.
    pub server_streaming: bool,
    /// Whether the request is a stream.
    pub client_streaming: bool,
}

impl Method {
    /// Whether the policy names the caller's kind.
    #[must_use]
    pub fn allows(&self, caller: &Caller) -> bool {
        self.callers.contains(&caller.kind)
    }
}

/// The method with this path.
#[must_use]
pub fn method(path: &str) -> Option<&'static Method> {
    METHODS.get(path)
}

/// Every method of the mesh.
pub fn methods() -> impl Iterator<Item = &'static Method> {
    METHODS.values()
}

static METHODS: LazyLock<HashMap<String, Method>> = LazyLock::new(|| {
    // Read once and let go: descriptors of every contract take megabytes, and a process serves one of them.
    let pool = DescriptorPool::decode(proto::DESCRIPTOR_SET).expect("the build decoded these bytes");
    let ours = pool.services().filter(|s| s.package_name().starts_with("jkn."));
    ours.flat_map(|s| s.methods().filter_map(|m| read(&pool, &m)).collect::<Vec<_>>())
        .map(|m| (m.path.clone(), m))
        .collect()
});

fn read(pool: &DescriptorPool, method: &MethodDescriptor) -> Option<Method> {
    let service = method.parent_service();
    let extension = pool.get_extension_by_name("jkn.options.v1.policy")?;
    let options = method.options();
    let policy = options.get_extension(&extension);
    let policy: &DynamicMessage = policy.as_message()?;
    let number = |name: &str| policy.get_field_by_name(name).and_then(|value| value.as_enum_number());
    let callers = policy.get_field_by_name("callers")?;
    let callers = callers
        .as_list()?
        .iter()
        .filter_map(|v| InstitutionKind::try_from(v.as_enum_number()?).ok())
        .collect();
    debug_assert_eq!(policy.descriptor().full_name(), "jkn.options.v1.MethodPolicy");
    Some(Method {
        path: format!("/{}/{}", service.full_name(), method.name()),
        service: service.full_name().to_owned(),
        system: service.package_name().split('.').nth(1)?.replace('_', "-"),
        callers,
        writes: number("effect") == Some(Effect::Write as i32),
        idempotent: policy.get_field_by_name("idempotent").and_then(|v| v.as_bool()).unwrap_or(false),
        server_streaming: method.is_server_streaming(),
        client_streaming: method.is_client_streaming(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_is_read_from_the_descriptor_set() {
        let read = method("/jkn.feed.v1.FeedService/ReadEvents").unwrap();
        assert_eq!((read.system.as_str(), read.writes, read.idempotent), ("feed", false, true));
        assert!(read.allows(&Caller::service("sismonev")));
        assert!(!read.allows(&"bank:bni".parse().unwrap()));
        assert!(method("/jkn.feed.v1.FeedService/Nothing").is_none());
    }
}
