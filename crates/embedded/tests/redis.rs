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
