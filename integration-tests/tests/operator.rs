//! What an operator meets: settings that are refused before a port is bound, policies that stop the start, secrets
//! that are not shown.
#![allow(clippy::unwrap_used, reason = "a test that meets the unexpected should stop there")]

use std::{fs, path::Path, process::Output};

use integration_tests::program;
use tokio::process::Command;

/// EX_USAGE: arguments or settings that cannot be used.
const USAGE: i32 = 64;

async fn jkn(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    Command::new(program().unwrap())
        .args(arguments)
        .envs(environment.iter().copied())
        .env_remove("JKN_CONFIG")
        .output()
        .await
        .unwrap()
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[tokio::test]
async fn a_service_without_certificates_refuses_to_start_unless_it_is_told_to_and_stays_on_the_loopback() {
    let refused = jkn(&["serve", "claims"], &[]).await;
    assert_eq!(refused.status.code(), Some(USAGE));
    assert!(said(&refused).contains("--insecure-loopback"), "{}", said(&refused));

    let exposed =
        jkn(&["serve", "claims", "--insecure-loopback"], &[("JKN_CLAIMS__LISTEN", "0.0.0.0:0")]).await;
    assert_eq!(exposed.status.code(), Some(USAGE));
    assert!(said(&exposed).contains("loopback"), "{}", said(&exposed));
}

#[tokio::test]
async fn an_unknown_setting_is_named_wherever_it_stands() {
    let key = jkn(&["serve", "claims", "--insecure-loopback"], &[("JKN_CLAIMS__DATABSE__URL", "x")]).await;
    assert!(key.status.code() == Some(USAGE) && said(&key).contains("databse"), "{}", said(&key));
    let process = jkn(&["config", "claims"], &[("JKN_CLIAMS__LISTEN", "x")]).await;
    assert!(!process.status.success() && said(&process).contains("JKN_CLIAMS__LISTEN"), "{}", said(&process));
    let name = jkn(&["serve", "clams"], &[]).await;
    assert!(!name.status.success() && said(&name).contains("primary-care"), "{}", said(&name));
}

#[tokio::test]
async fn every_setting_is_printed_with_origin_and_meaning_and_secrets_are_masked() {
    let shown =
        jkn(&["config", "claims"], &[("JKN_CLAIMS__DATABASE__URL", "postgres://jkn:hunter2@db/claims")])
            .await;
    let page = said(&shown);
    assert!(shown.status.success(), "{page}");
    assert!(!page.contains("hunter2"), "{page}");
    assert!(page.contains("database.url = postgres://********@db/claims    [environment]"), "{page}");
    assert!(page.contains("deadline-milliseconds = 10000    [default]"), "{page}");
    for process in ["membership", "primary-care", "referral", "accreditation", "sismonev", "gateway"] {
        assert!(jkn(&["config", process], &[]).await.status.success(), "{process}");
    }
}

#[tokio::test]
async fn a_wrong_policy_file_stops_the_start_and_names_line_and_field() {
    let policies = tempfile::tempdir().unwrap();
    copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../policy"), policies.path());
    let clock = policies.path().join("referral/clock.toml");
    let right = fs::read_to_string(&clock).unwrap();
    let (line, field) = right
        .lines()
        .enumerate()
        .find(|(_, line)| line.starts_with("validity-days"))
        .map(|(n, line)| (n + 1, line.to_owned()))
        .unwrap();
    fs::write(&clock, right.replace(&field, "validity-days = \"ninety\"")).unwrap();
    let policies = policies.path().display().to_string();
    let database = "postgres://nobody@127.0.0.1:1/none";
    let stopped = jkn(
        &["serve", "referral", "--insecure-loopback"],
        &[
            ("JKN_REFERRAL__POLICY_FOLDER", &policies),
            ("JKN_REFERRAL__DATABASE__URL", database),
            ("JKN_REFERRAL__UPSTREAM__ACCREDITATION", "http://127.0.0.1:1"),
        ],
    )
    .await;
    assert!(!stopped.status.success());
    let told = said(&stopped);
    assert!(told.contains(&format!("policy/referral/clock.toml line {line}")), "{told}");
    assert!(told.contains("validity-days") || told.contains("ninety"), "{told}");
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() { copy(&path, &target) } else { fs::copy(&path, &target).map(drop).unwrap() }
    }
}

#[tokio::test]
async fn a_token_names_an_institution_and_never_a_service() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().display().to_string();
    let token = jkn(&["--data", &data, "token", "--as", "hospital:0301R011"], &[]).await;
    assert!(token.status.success());
    // Standard output is the token and nothing else: it is meant for a variable.
    assert_eq!(String::from_utf8_lossy(&token.stdout).trim().split('.').count(), 3, "{}", said(&token));
    assert!(!jkn(&["--data", &data, "token", "--as", "service:claims"], &[]).await.status.success());
    let wrong = jkn(&["--data", &data, "token", "--as", "hospital"], &[]).await;
    assert!(!wrong.status.success() && said(&wrong).contains("KIND:ID"), "{}", said(&wrong));
}
