//! A private cluster as its owner sees it: data survives, a crash hinders nothing.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::Path,
    process::Command,
};

use embedded::postgres::{Cluster, Options};
use sqlx::{Connection as _, PgConnection};

async fn remember(cluster: &Cluster, what: i32) {
    cluster.ensure_database("membership").await.unwrap();
    let mut connection = PgConnection::connect(&cluster.url("membership")).await.unwrap();
    sqlx::query("create table if not exists remembered (what integer)")
        .execute(&mut connection)
        .await
        .unwrap();
    sqlx::query("insert into remembered values ($1)").bind(what).execute(&mut connection).await.unwrap();
}

async fn remembered(cluster: &Cluster) -> Vec<i32> {
    let mut connection = PgConnection::connect(&cluster.url("membership")).await.unwrap();
    sqlx::query_scalar("select what from remembered order by what").fetch_all(&mut connection).await.unwrap()
}

/// A folder that every account can enter.
fn open_folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    folder
}

fn postmaster(cluster_home: &Path) -> u32 {
    let file = fs::read_to_string(cluster_home.join("data/postmaster.pid")).unwrap();
    file.lines().next().unwrap().parse().unwrap()
}

fn kill_hard(pid: u32) {
    assert!(Command::new("sh").args(["-c", &format!("kill -9 {pid}")]).status().unwrap().success());
}

#[tokio::test]
async fn a_restart_finds_the_data_again() {
    let root = open_folder();
    let cluster = Cluster::start(root.path(), Options::default()).await.unwrap();
    remember(&cluster, 1).await;
    cluster.ensure_database("membership").await.unwrap();
    cluster.stop().await.unwrap();
    let cluster = Cluster::start(root.path(), Options::default()).await.unwrap();
    assert_eq!(remembered(&cluster).await, [1]);
    cluster.stop().await.unwrap();
    assert!(!root.path().join("postgres/data/postmaster.pid").exists(), "a clean stop leaves nothing");
}

#[tokio::test]
async fn a_folder_has_one_owner_at_a_time() {
    let root = open_folder();
    let cluster = Cluster::start(root.path(), Options::testing()).await.unwrap();
    let error = Cluster::start(root.path(), Options::testing()).await.unwrap_err().to_string();
    assert!(error.contains("in use by another running process"), "{error}");
    drop(cluster);
    let cluster = Cluster::start(root.path(), Options::testing()).await.unwrap();
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn a_server_killed_with_all_its_processes_starts_again_with_what_it_acknowledged() {
    let root = open_folder();
    let mut cluster = Cluster::start(root.path(), Options::crash_testing()).await.unwrap();
    remember(&cluster, 1).await;
    let _idle = PgConnection::connect(&cluster.url("membership")).await.unwrap();
    assert!(cluster.socket().exists() && cluster.processes().unwrap().len() > 1);
    cluster.kill().await.unwrap();
    assert_eq!(cluster.processes().unwrap(), Vec::<u32>::new());
    cluster.start_again().unwrap();
    cluster.until_ready().await.unwrap();
    assert_eq!(remembered(&cluster).await, [1]);
    cluster.ask_to_stop().unwrap();
    while !cluster.has_stopped().unwrap() {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    cluster.start_again().unwrap();
    cluster.until_ready().await.unwrap();
    assert_eq!(remembered(&cluster).await, [1]);
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn a_server_that_was_started_this_moment_is_killed_as_well() {
    let root = open_folder();
    let mut cluster = Cluster::start(root.path(), Options::crash_testing()).await.unwrap();
    remember(&cluster, 1).await;
    cluster.kill().await.unwrap();
    for _ in 0..20 {
        cluster.start_again().unwrap();
        let killed = tokio::time::timeout(std::time::Duration::from_secs(20), cluster.kill()).await;
        killed.expect("the server it waits for was not killed").unwrap();
    }
    cluster.start_again().unwrap();
    cluster.until_ready().await.unwrap();
    assert_eq!(remembered(&cluster).await, [1]);
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn a_killed_server_hinders_nothing() {
    let root = open_folder();
    let cluster = Cluster::start(root.path(), Options::default()).await.unwrap();
    remember(&cluster, 1).await;
    kill_hard(postmaster(cluster.home()));
    drop(cluster);
    let cluster = Cluster::start(root.path(), Options::default()).await.unwrap();
    assert_eq!(remembered(&cluster).await, [1]);
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn the_server_of_a_killed_owner_is_taken_over() {
    let root = open_folder();
    let cluster = Cluster::start(root.path(), Options::default()).await.unwrap();
    remember(&cluster, 1).await;
    let old = postmaster(cluster.home());
    // An owner that is killed runs no destructor; its lock is released by the system.
    let owner = cluster.home().join("owner");
    std::mem::forget(cluster);
    fs::remove_file(owner).unwrap();
    let cluster = Cluster::start(root.path(), Options::default()).await.unwrap();
    assert_ne!(postmaster(cluster.home()), old);
    assert_eq!(remembered(&cluster).await, [1]);
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn a_pid_that_now_belongs_to_another_process_is_not_believed() {
    let root = open_folder();
    let cluster = Cluster::start(root.path(), Options::default()).await.unwrap();
    remember(&cluster, 1).await;
    let pid_file = cluster.home().join("data/postmaster.pid");
    let stale = fs::read_to_string(&pid_file).unwrap();
    let old = postmaster(cluster.home());
    cluster.stop().await.unwrap();
    fs::write(&pid_file, stale.replacen(&old.to_string(), &std::process::id().to_string(), 1)).unwrap();
    let cluster = Cluster::start(root.path(), Options::default()).await.unwrap();
    assert_eq!(remembered(&cluster).await, [1]);
    cluster.stop().await.unwrap();
}

/// As root the server runs as another user, who cannot enter this folder; as anybody else it is simply one's own.
#[tokio::test]
async fn a_folder_that_only_the_owner_can_enter() {
    let root = tempfile::tempdir().unwrap();
    fs::set_permissions(root.path(), fs::Permissions::from_mode(0o700)).unwrap();
    let hidden = root.path().join("checkout/.jkn");
    let cluster = Cluster::start(&hidden, Options::default()).await.unwrap();
    remember(&cluster, 7).await;
    let home = cluster.home().to_owned();
    let as_root = fs::metadata(root.path()).unwrap().uid() == 0;
    assert_eq!(home.starts_with(root.path()), !as_root, "{}", home.display());
    cluster.stop().await.unwrap();
    let cluster = Cluster::start(&hidden, Options::default()).await.unwrap();
    assert_eq!(cluster.home(), home);
    assert_eq!(remembered(&cluster).await, [7]);
    cluster.stop().await.unwrap();
    fs::remove_dir_all(home).unwrap();
    // The link leads into nothing now: a new cluster takes its place.
    let cluster = Cluster::start(&hidden, Options::testing()).await.unwrap();
    let home = cluster.home().to_owned();
    cluster.stop().await.unwrap();
    fs::remove_dir_all(home).unwrap();
}

#[tokio::test]
async fn a_path_too_long_for_a_socket() {
    let root = open_folder();
    let deep = root.path().join("d".repeat(100)).join("e".repeat(60));
    fs::create_dir_all(&deep).unwrap();
    let cluster = Cluster::start(&deep, Options::testing()).await.unwrap();
    remember(&cluster, 1).await;
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn the_log_holds_no_values() {
    let root = open_folder();
    let cluster = Cluster::start(root.path(), Options::default()).await.unwrap();
    let mut connection = PgConnection::connect(&cluster.url("postgres")).await.unwrap();
    sqlx::query("create table card (number text primary key)").execute(&mut connection).await.unwrap();
    for again in [false, true] {
        let insert =
            sqlx::query("insert into card values ($1)").bind("0001105689835").execute(&mut connection).await;
        assert_eq!(insert.is_err(), again);
    }
    let log = fs::read_to_string(cluster.home().join("log")).unwrap();
    assert!(log.contains("duplicate key"), "{log}");
    assert!(!log.contains("0001105689835"), "{log}");
    cluster.stop().await.unwrap();
}
