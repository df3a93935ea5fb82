//! Where a call goes: from its path, by the descriptor set, to one of the services behind the gateway.
//!
//! A new service or method needs no edit here; a service without an address stops the start.

use std::{collections::BTreeMap, sync::Arc};

use chassis::{
    Problem,
    contract::{self, Method},
    reload::Reloaded,
};
use http::HeaderMap;
use proto::mesh::v1::Reason;
use tonic::Code;

use crate::{config, upstream::Upstream};

/// Metadata that names the service meant by a method that each of them serves.
const SERVICE_NAME: &str = "jkn-service";

/// Answered here, not behind: health and reflection, for every service behind the gateway.
const LOCAL: [&str; 3] = [
    "/grpc.health.v1.Health/",
    "/grpc.reflection.v1.ServerReflection/",
    "/grpc.reflection.v1alpha.ServerReflection/",
];

/// Where a path leads.
#[derive(Debug)]
pub(crate) enum Route {
    /// To the gateway's own services.
    Local,
    /// To a method of a service behind it.
    Behind(&'static Method),
}

/// The route of a path.
pub(crate) fn of(path: &str) -> Result<Route, Problem> {
    if let Some(method) = contract::method(path) {
        return Ok(Route::Behind(method));
    }
    if LOCAL.iter().any(|service| path.starts_with(service)) {
        return Ok(Route::Local);
    }
    Err(Problem::new(
        Code::Unimplemented,
        Reason::MethodUnknown.as_str_name(),
        "no service of this mesh serves the method; list services and methods by reflection",
    ))
}

/// The services behind the gateway.
pub(crate) struct Services {
    by_name: BTreeMap<String, Arc<Upstream>>,
}

impl Services {
    /// Opens a service for each address.
    pub(crate) fn open(
        addresses: &BTreeMap<String, String>,
        tls: Option<&Reloaded<rustls::ClientConfig>>,
        settings: &config::Settings,
    ) -> anyhow::Result<Self> {
        let known = || contract::methods().map(|method| method.system).filter(|name| *name != contract::FEED);
        for name in known() {
            anyhow::ensure!(
                addresses.contains_key(name),
                "the gateway has no address of the service {name}; set it under [upstream]"
            );
        }
        if let Some(unknown) = addresses.keys().find(|name| !known().any(|known| known == name.as_str())) {
            anyhow::bail!("no contract names the service {unknown}, which stands under [upstream]");
        }
        let open = |(name, url): (&String, &String)| {
            anyhow::Ok((name.clone(), Arc::new(Upstream::open(name, url, tls, settings)?)))
        };
        Ok(Self { by_name: addresses.iter().map(open).collect::<Result<_, _>>()? })
    }

    /// The service that a call to the method goes to: its own, or, where each serves it, the one named.
    pub(crate) fn home(&self, method: &Method, headers: &HeaderMap) -> Result<&Arc<Upstream>, Problem> {
        if method.system != contract::FEED {
            // Held by `open`: each service of the contracts has an address.
            return self.by_name.get(method.system).ok_or_else(Problem::internal);
        }
        let named = headers.get(SERVICE_NAME).and_then(|value| value.to_str().ok());
        named.and_then(|name| self.by_name.get(name)).ok_or_else(|| {
            let names: Vec<_> = self.by_name.keys().map(String::as_str).collect();
            Problem::new(
                Code::InvalidArgument,
                Reason::ServiceNotNamed.as_str_name(),
                format!(
                    "each service serves this method; name one in the metadata {SERVICE_NAME}: {}",
                    names.join(", ")
                ),
            )
            .field(SERVICE_NAME, "must be the name of a service")
        })
    }

    /// Every service behind the gateway.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Upstream>> {
        self.by_name.values()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_descriptor_set_is_the_map() {
        for method in contract::methods() {
            assert!(matches!(of(method.path), Ok(Route::Behind(found)) if found.path == method.path));
        }
        for path in
            ["/grpc.health.v1.Health/Check", "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"]
        {
            assert!(matches!(of(path), Ok(Route::Local)), "{path}");
        }
        let nowhere = [
            "",
            "/",
            "/jkn.feed.v1.FeedService",
            "/jkn.feed.v1.FeedService/",
            "/jkn.feed.v1.FeedService/ReadEvents/",
        ];
        for path in nowhere {
            assert_eq!(of(path).expect_err(path).reason(), "METHOD_UNKNOWN");
        }
    }
}
