//! The promises of the house that no compiler keeps: what the contracts name exists everywhere else.
#![allow(clippy::unwrap_used, reason = "a test that meets the unexpected should stop there")]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use chassis::contract;
use prost_reflect::Kind;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The services that the contracts name, without the feed that each of them serves.
fn systems() -> BTreeSet<&'static str> {
    contract::methods().map(|method| method.system).filter(|system| *system != contract::FEED).collect()
}

#[test]
fn every_service_of_the_contracts_has_its_room_its_manifests_and_the_gateways_upstream() {
    let systems = systems();
    assert!(systems.len() >= 6, "{systems:?}");
    let gateway = fs::read_to_string(root().join("k8s/base/gateway/settings.env")).unwrap();
    for system in systems {
        assert!(root().join("services").join(system).join("src/lib.rs").exists(), "services/{system}");
        assert!(
            root().join("k8s/base").join(system).join("kustomization.yaml").exists(),
            "k8s/base/{system}"
        );
        let upstream = format!("JKN_GATEWAY__UPSTREAM__{}=", system.to_uppercase().replace('-', "_"));
        assert!(gateway.contains(&upstream), "{upstream} in k8s/base/gateway/settings.env");
    }
}

#[test]
fn a_service_has_the_same_files_as_every_other() {
    for system in systems() {
        let room = root().join("services").join(system);
        for file in ["lib.rs", "config.rs", "error.rs", "grpc.rs", "store.rs"] {
            assert!(room.join("src").join(file).exists(), "services/{system}/src/{file}");
        }
        assert!(
            room.join("migrations").exists() && room.join("config.default.toml").exists(),
            "services/{system}"
        );
    }
}

#[test]
fn rules_know_nothing_of_transport_storage_or_clock() {
    // Everything beside these is a subject of the domain: pure functions over plain types.
    const EDGES: [&str; 14] = [
        "lib.rs",
        "config.rs",
        "error.rs",
        "grpc",
        "store",
        "fold.rs",
        "watch.rs",
        "query.rs",
        "lookup",
        "registry.rs",
        "facility.rs",
        "recompute.rs",
        "closed.rs",
        "grouping",
    ];
    let mut rules = 0;
    for system in systems() {
        for entry in fs::read_dir(root().join("services").join(system).join("src")).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() || EDGES.iter().any(|edge| name.starts_with(edge)) {
                continue;
            }
            let text = fs::read_to_string(&path).unwrap();
            let code = text.split("#[cfg(test)]").next().unwrap_or_default();
            for outside in ["tonic::", "sqlx::", "tokio::", "Timestamp::now", "Zoned::now"] {
                assert!(!code.contains(outside), "{} uses {outside}", path.display());
            }
            rules += 1;
        }
    }
    assert!(rules >= 15, "{rules} files of rules");
}

#[test]
fn every_reason_has_a_page_and_every_mutation_a_request_id() {
    for reason in proto::pool().all_enums().filter(|e| e.name() == "Reason") {
        for value in reason.values().filter(|value| value.number() != 0) {
            let page =
                root().join("docs/errors").join(format!("{}.md", value.name().trim_start_matches("REASON_")));
            assert!(page.exists(), "{}", page.display());
        }
    }
    for service in proto::pool().services().filter(|s| s.package_name().starts_with("jkn.")) {
        for method in service.methods() {
            let path = format!("/{}/{}", service.full_name(), method.name());
            let read = contract::method(&path).unwrap();
            if read.writes && !read.client_streaming {
                let key = method.input().get_field_by_name("request_id");
                assert!(key.is_some_and(|field| field.kind() == Kind::String), "{path} has no request_id");
            }
        }
    }
}
