//! The journey through real processes: each edge succeeds and refuses, whatever is away that may be.
#![allow(clippy::unwrap_used, reason = "a test that meets the unexpected should stop there")]

use integration_tests::{Mesh, program};
use serde_json::Value;
use tokio::process::Command;

const EDGES: [&str; 5] =
    ["eklaim-vklaim", "pcare-vklaim", "membership-vklaim", "vklaim-sisrute", "vklaim-siaf"];
/// The refusals that the edges show, each by its documented reason.
const REFUSALS: [&str; 5] = [
    "MEMBER_NOT_ELIGIBLE",
    "REFERRAL_NOT_USABLE",
    "FACILITY_NOT_CERTIFIED",
    "CLAIM_NOT_GROUPED",
    "SEP_ALREADY_CLAIMED",
];

async fn walk(mesh: &Mesh, more: &[&str]) -> std::process::Output {
    Command::new(program().unwrap())
        .args(["--data", &mesh.folder().display().to_string(), "journey"])
        .args(["--gateway", &mesh.gateway(), "--civil-registry", &mesh.civil_registry()])
        .args(more)
        .output()
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn all_five_edges_are_live_with_evidence_and_each_shows_its_refusal() {
    let mesh = Mesh::start().await.unwrap();
    let walked = walk(&mesh, &["--json"]).await;
    assert!(walked.status.success(), "{}", String::from_utf8_lossy(&walked.stderr));
    let report: Value = serde_json::from_slice(&walked.stdout).unwrap();
    let edges = report["edges"].as_array().unwrap();
    let mut names: Vec<_> = edges.iter().map(|edge| edge["edge"].as_str().unwrap()).collect();
    names.sort_unstable();
    let mut expected = EDGES;
    expected.sort_unstable();
    assert_eq!(names, expected);
    for edge in edges {
        assert_eq!(edge["state"], "live", "{edge}");
        assert!(!edge["evidence"].as_array().unwrap().is_empty(), "{edge}");
    }

    // A second family, told to a person.
    let walked = walk(&mesh, &[]).await;
    let told = String::from_utf8_lossy(&walked.stdout);
    assert!(walked.status.success(), "{told}");
    for reason in REFUSALS {
        assert!(
            told.lines().any(|line| line.contains("refused") && line.contains(reason)),
            "{reason} in\n{told}"
        );
    }
    assert_eq!(integration_tests::leak::search(&told), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_redis_the_mesh_is_still_right() {
    let mut mesh = Mesh::start().await.unwrap();
    mesh.stop_redis().await.unwrap();
    let walked = walk(&mesh, &["--json"]).await;
    assert!(walked.status.success(), "{}", String::from_utf8_lossy(&walked.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_edge_is_told_by_report_and_exit_status() {
    let mut mesh = Mesh::start().await.unwrap();
    mesh.kill("referral").await.unwrap();
    let walked = walk(&mesh, &["--json"]).await;
    assert!(!walked.status.success());
    let report: Value = serde_json::from_slice(&walked.stdout).unwrap();
    let states: Vec<_> = report["edges"]
        .as_array()
        .unwrap()
        .iter()
        .map(|edge| (edge["edge"].clone(), edge["state"].clone()))
        .collect();
    assert!(states.contains(&("vklaim-sisrute".into(), "broken".into())), "{states:?}");
}
