//! A private Redis server as its owner sees it.

use embedded::redis::Server;

#[tokio::test]
async fn starts_stops_and_takes_over() {
    let root = tempfile::tempdir().unwrap();
    let first = Server::start(root.path()).await.unwrap().expect("redis-server is installed");
    assert!(first.url().starts_with("redis+unix:///"));
    assert!(Server::start(root.path()).await.is_err(), "another process owns it");
    first.stop().await.unwrap();
    let second = Server::start(root.path()).await.unwrap().expect("redis-server is installed");
    // An owner that is killed runs no destructor; its lock is released by the system.
    std::mem::forget(second);
    std::fs::remove_file(root.path().join("redis/owner")).unwrap();
    let third = Server::start(root.path()).await.unwrap().expect("redis-server is installed");
    third.stop().await.unwrap();
}

#[tokio::test]
async fn a_killed_server_starts_again() {
    let root = tempfile::tempdir().unwrap();
    let mut server = Server::start(root.path()).await.unwrap().expect("redis-server is installed");
    let before = server.pid();
    server.kill().await.unwrap();
    assert_eq!(server.pid(), None);
    server.start_again().unwrap();
    server.until_ready().await.unwrap();
    assert!(server.pid().is_some() && server.pid() != before);
    server.stop().await.unwrap();
}
