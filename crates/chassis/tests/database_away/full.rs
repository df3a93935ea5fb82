//! The disk is full: the kernel says so, in the midst of a transaction.

use chassis::{Parts, Service, Settings, Start, config::NoSettings};
use proto::feed::v1::Event;
use sqlx::{Connection, Executor, PgConnection, migrate::Migrator};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::{
    RECOVERY,
    house::{self, House, write},
    server::Server,
};

async fn count(server: &Server, database: &str, statement: &'static str) -> i64 {
    sqlx::query_scalar(statement).fetch_one(&mut server.console(database).await).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_without_room_is_unavailable_and_leaves_nothing() {
    let server = Server::start(&["teller"]).await;
    let full = server.fill("teller", "outbox").await;
    let house = House::over(&server.url("teller")).await;
    for _ in 0..3 {
        let refused = Status::from(write(&house.db, "without-room").await.unwrap_err());
        assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
        let details = refused.get_error_details();
        assert_eq!(details.error_info().unwrap().metadata["what"], "database");
        assert!(details.retry_info().unwrap().retry_delay.is_some());
    }
    // The idempotency record was written first, in the same transaction.
    assert_eq!(count(&server, "teller", "select count(*) from idempotency").await, 0);

    full.make_room();
    server.disconnect("teller").await;
    house.recovers(RECOVERY).await;
    write(&house.db, "without-room").await.unwrap();
    write(&house.db, "without-room").await.unwrap();
    house.told(2).await;
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_without_room_loses_no_event() {
    let server = Server::start(&["teller"]).await;
    let full = server.fill("teller", "feed").await;
    let house = House::over(&server.url("teller")).await;
    for number in 0..5 {
        write(&house.db, &format!("waiting-{number}")).await.unwrap();
    }
    let failed = "select count(*) from pg_stat_activity where datname = 'teller' and query like '%moved%'";
    while count(&server, "teller", failed).await == 0 {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(count(&server, "teller", "select count(*) from outbox").await, 5);

    full.make_room();
    server.disconnect("teller").await;
    house.recovers(RECOVERY).await;
    house.told(6).await;
    assert_eq!(count(&server, "teller", "select count(*) from outbox").await, 0);
    house.stop().await;
}

/// Notes the position of every event.
struct Noting;

impl chassis::Fold for Noting {
    async fn fold(&self, connection: &mut PgConnection, events: &[Event]) -> anyhow::Result<()> {
        for event in events {
            sqlx::query("insert into heard (position) values ($1)")
                .bind(event.position)
                .execute(&mut *connection)
                .await?;
        }
        Ok(())
    }
}

/// A service that follows the teller.
struct Hearer;

impl Service for Hearer {
    const NAME: &'static str = "hearer";
    const DEFAULTS: &'static str = "";
    type Settings = NoSettings;

    fn migrations() -> Option<&'static Migrator> {
        None
    }

    async fn build(start: Start<NoSettings>) -> anyhow::Result<Parts> {
        let following = start.follow("teller", Noting)?;
        Ok(Parts::new().task("follow", following))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_without_room_folds_each_event_once_when_there_is_room() {
    let server = Server::start(&["teller", "hearer"]).await;
    let house = House::over(&server.url("teller")).await;
    for number in 0..5 {
        write(&house.db, &format!("to-be-heard-{number}")).await.unwrap();
    }
    house.told(5).await;
    let mut console = server.console("hearer").await;
    console.execute("create table heard (position bigint)").await.unwrap();
    console.close().await.unwrap();
    let full = server.fill("hearer", "heard").await;

    let settings: Settings<NoSettings> =
        house::settings("hearer", &server.url("hearer"), &[("upstream.teller", &house.address)]);
    let stop = CancellationToken::new();
    let hearer = tokio::spawn(house::serve::<Hearer>(settings, stop.clone()));
    let failed =
        "select count(*) from pg_stat_activity where datname = 'hearer' and query like '%consumer_position%'";
    while count(&server, "hearer", failed).await == 0 {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(count(&server, "hearer", "select coalesce(max(position), 0) from consumer_position").await, 0);

    full.make_room();
    server.disconnect("hearer").await;
    write(&house.db, "heard-at-last").await.unwrap();
    let heard = "select count(distinct position) * 1000 + count(*) from heard";
    let begun = std::time::Instant::now();
    while count(&server, "hearer", heard).await != 6006 {
        assert!(begun.elapsed().as_secs() < 15, "{}", count(&server, "hearer", heard).await);
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    stop.cancel();
    hearer.await.unwrap().unwrap();
    house.stop().await;
}
