//! Law 2, 3 and 4 against a real Postgres: a mutation happens once, and its event is told once, in commit order.
#![allow(clippy::unwrap_used, reason = "a test that meets the unexpected should stop there")]

use std::{
    sync::{Arc, LazyLock, Mutex},
    time::Duration,
};

use chassis::{
    Begun, Call, Db, Mutation, Parts, Problem, RequestId, Service, Settings, Start,
    config::{Layers, NoSettings},
    host::{self, Ports},
    telemetry::{self, LogFormat, Telemetry},
};
use embedded::testing::{self, TestDatabase};
use jiff::Timestamp;
use proto::feed::v1::{
    Event, FollowEventsRequest, ReadEventsRequest as Request, ReadEventsResponse as Answer,
    feed_service_client::FeedServiceClient,
};
use redis::AsyncCommands;
use sqlx::{PgConnection, migrate::Migrator};
use tokio_util::sync::CancellationToken;
use tonic::Code;

async fn database() -> (TestDatabase, Db) {
    let database = testing::database("chassis", &[&chassis::db::MIGRATOR]).await.unwrap();
    let db = Db::new(database.pool.clone(), CancellationToken::new());
    (database, db)
}

fn mutation(request: &Request, key: &str) -> Mutation {
    let call =
        Call::local("bank:bni".parse().unwrap(), "/test/Write", Timestamp::now(), Duration::from_secs(10));
    Mutation::new(&call, request, RequestId::parse(key).unwrap())
}

/// A mutation with one event, whose effect can be counted by its events.
async fn write(db: &Db, request: &Request, key: &str) -> Result<Answer, Problem> {
    match mutation(request, key).begin(db).await? {
        Begun::Replayed(answer) => Ok(answer),
        Begun::Fresh(mut write) => {
            write.emit("subject", request).await?;
            let answer = Answer {
                head_position: request.after_position,
                feed_id: uuid::Uuid::new_v4().to_string(),
                ..Answer::default()
            };
            write.commit(answer).await
        }
    }
}

async fn count(db: &Db, table: &'static str) -> i64 {
    let statement = match table {
        "outbox" => "select count(*) from outbox",
        "feed" => "select count(*) from feed",
        _ => "select count(*) from idempotency",
    };
    sqlx::query_scalar(statement).fetch_one(&db.pool).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_key_sixty_four_times_at_once_has_one_effect_and_one_answer() {
    let (_database, db) = database().await;
    let request = Request { after_position: 7, limit: 1 };
    let all: Vec<_> = (0..64)
        .map(|_| {
            let (db, request) = (db.clone(), request);
            tokio::spawn(async move { write(&db, &request, "one-and-the-same").await.unwrap() })
        })
        .collect();
    let mut answers = Vec::new();
    for one in all {
        answers.push(one.await.unwrap());
    }
    assert!(answers.iter().all(|answer| *answer == answers[0]), "every caller has the same answer");
    assert_eq!(count(&db, "outbox").await, 1);
}

#[tokio::test]
async fn the_same_key_with_another_request_is_refused_and_names_the_field() {
    let (_database, db) = database().await;
    write(&db, &Request { after_position: 1, limit: 1 }, "key-of-one").await.unwrap();
    let problem = write(&db, &Request { after_position: 2, limit: 1 }, "key-of-one").await.unwrap_err();
    assert_eq!((problem.code(), problem.reason()), (Code::AlreadyExists, "REQUEST_ID_REUSED"));
    let status = tonic::Status::from(problem);
    assert_eq!(
        tonic_types::StatusExt::get_details_bad_request(&status).unwrap().field_violations[0].field,
        "request_id"
    );
    assert_eq!(count(&db, "outbox").await, 1);
}

#[tokio::test]
async fn a_write_that_is_given_up_leaves_nothing_and_its_key_is_free() {
    let (_database, db) = database().await;
    let request = Request { after_position: 1, limit: 1 };
    let Begun::Fresh(mut given_up) = mutation(&request, "given-up").begin::<Answer>(&db).await.unwrap()
    else {
        panic!("new")
    };
    given_up.emit("subject", &request).await.unwrap();
    drop(given_up);
    assert!(mutation(&request, "given-up").replayed::<Answer>(&db).await.unwrap().is_none());
    write(&db, &request, "given-up").await.unwrap();
    assert_eq!((count(&db, "outbox").await, count(&db, "idempotency").await), (1, 1));
}

/// A caller may go away at any moment, also between the question and the answer of a BEGIN.
#[tokio::test]
async fn a_call_that_is_given_up_at_any_moment_leaves_no_transaction_open() {
    let (database, _) = database().await;
    let one = sqlx::postgres::PgPoolOptions::new().max_connections(1).connect(&database.url).await.unwrap();
    let db = Db::new(one, CancellationToken::new());
    for polls in 1..40 {
        let mut begin = Box::pin(db.begin());
        for _ in 0..polls {
            if futures::poll!(&mut begin).is_ready() {
                break;
            }
            tokio::task::yield_now().await;
        }
        drop(begin);
        // The only connection comes back, and nothing is open on it.
        let _back = db.pool.acquire().await.unwrap();
        let open: i64 = sqlx::query_scalar(
            "select count(*) from pg_stat_activity where datname = current_database() and state like 'idle in transaction%'",
        )
        .fetch_one(&database.pool)
        .await
        .unwrap();
        assert_eq!(open, 0, "given up after {polls} polls");
    }
}

/// A service that serves nothing but its feed.
struct Teller;

impl Service for Teller {
    const NAME: &'static str = "teller";
    const DEFAULTS: &'static str = "";
    type Settings = NoSettings;

    fn migrations() -> Option<&'static Migrator> {
        None
    }

    async fn build(_: Start<NoSettings>) -> anyhow::Result<Parts> {
        Ok(Parts::new())
    }
}

/// Notes every event it folds, in its own database and in memory.
#[derive(Clone, Default)]
struct Listener(Arc<Mutex<Vec<i64>>>);

static HEARD: Mutex<Option<Listener>> = Mutex::new(None);

impl chassis::Fold for Listener {
    async fn fold(&self, connection: &mut PgConnection, events: &[Event]) -> anyhow::Result<()> {
        for event in events {
            sqlx::query("insert into heard (position) values ($1)")
                .bind(event.position)
                .execute(&mut *connection)
                .await?;
        }
        self.0.lock().unwrap().extend(events.iter().map(|event| event.position));
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
        let listener = HEARD.lock().unwrap().clone().unwrap();
        let following = start.follow("teller", listener)?;
        Ok(Parts::new().task("follow", following))
    }
}

fn settings(name: &'static str, database: &str, more: &[(&str, String)]) -> Settings<NoSettings> {
    let mut layers = Layers { processes: vec![name], ..Layers::default() };
    layers.computed = [
        ("insecure-loopback".to_owned(), "true".to_owned()),
        ("database.url".to_owned(), database.to_owned()),
    ]
    .into();
    layers.computed.extend(more.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
    layers.load(name, "").unwrap()
}

/// Of all tests: a process has one.
fn telemetry() -> Telemetry {
    static STARTED: LazyLock<Telemetry> =
        LazyLock::new(|| telemetry::start("test", LogFormat::Human, "warn").unwrap());
    STARTED.clone()
}

async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, mut ask: impl FnMut() -> F) -> T {
    for _ in 0..600 {
        if let Some(found) = ask().await {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("{what} did not come about");
}

/// The feed skips nothing, tells nothing twice, and a follower that is killed and started again folds each event once,
/// whether it listens to Redis or not.
#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_commits_late_is_not_skipped_and_every_event_is_folded_once() {
    chassis::tls::install_provider();
    let (database, db) = database().await;
    let hearers = testing::database("hearer", &[&chassis::db::MIGRATOR]).await.unwrap();
    sqlx::query("create table heard (position bigint primary key)").execute(&hearers.pool).await.unwrap();
    let redis = testing::redis().await.unwrap();
    let redis_url = ("redis.url", redis.url());
    let stop = CancellationToken::new();

    let ports = Ports::bind("127.0.0.1:0".parse().unwrap(), "127.0.0.1:0".parse().unwrap()).unwrap();
    let address = format!("http://{}", ports.addresses().unwrap().grpc);
    let teller = tokio::spawn(host::run::<Teller>(
        settings("teller", &database.url, std::slice::from_ref(&redis_url)),
        ports,
        telemetry(),
        stop.clone(),
    ));

    // The late one takes its number first and commits last.
    let late_request = Request { after_position: 1000, limit: 1 };
    let Begun::Fresh(mut late) = mutation(&late_request, "the-late-one").begin::<Answer>(&db).await.unwrap()
    else {
        panic!("new")
    };
    late.emit("late", &late_request).await.unwrap();
    for n in 0..20 {
        write(&db, &Request { after_position: n, limit: 1 }, &format!("early-{n:04}")).await.unwrap();
    }
    let head = |db: Db| async move {
        sqlx::query_scalar::<_, Option<i64>>("select max(position) from feed")
            .fetch_one(&db.pool)
            .await
            .unwrap()
    };
    eventually("twenty events in the feed", || {
        let db = db.clone();
        async move { (head(db).await == Some(20)).then_some(()) }
    })
    .await;
    late.commit(Answer::default()).await.unwrap();

    let mut client = FeedServiceClient::with_interceptor(
        tonic::transport::Endpoint::from_shared(address.clone()).unwrap().connect_lazy(),
        |mut request: tonic::Request<()>| {
            request.metadata_mut().insert("jkn-peer", "service:hearer".parse().unwrap());
            Ok(request)
        },
    );
    let mut stream =
        client.follow_events(FollowEventsRequest { after_position: 0 }).await.unwrap().into_inner();
    let mut told = Vec::new();
    while told.len() < 21 {
        told.extend(stream.message().await.unwrap().unwrap().events);
    }
    let positions: Vec<_> = told.iter().map(|event| event.position).collect();
    assert_eq!(positions, (1..=21).collect::<Vec<_>>(), "gapless, from 1");
    assert_eq!(told.last().unwrap().subject, "late");

    let listener = Listener::default();
    *HEARD.lock().unwrap() = Some(listener.clone());
    for round in 1..=3_i64 {
        // The second follower has no Redis; each begins where the one before was stopped.
        let mut more = vec![("upstream.teller", address.clone())];
        if round != 2 {
            more.push(redis_url.clone());
        }
        if round == 3 {
            // What is no event of the feed must not hold the follower up.
            let _: String = xadd(&redis_url.1, &key_of(&db).await, "9000-0", "junk").await;
        }
        let hearing = CancellationToken::new();
        let ports = Ports::bind("127.0.0.1:0".parse().unwrap(), "127.0.0.1:0".parse().unwrap()).unwrap();
        let hearer = tokio::spawn(host::run::<Hearer>(
            settings("hearer", &hearers.url, &more),
            ports,
            telemetry(),
            hearing.clone(),
        ));
        for n in 0..50 {
            write(&db, &Request { after_position: n, limit: 1 }, &format!("round-{round}-{n:04}"))
                .await
                .unwrap();
        }
        let expected = 21 + 50 * round;
        eventually("every event folded", || {
            let pool = hearers.pool.clone();
            async move {
                let heard: i64 =
                    sqlx::query_scalar("select count(*) from heard").fetch_one(&pool).await.unwrap();
                (heard == expected).then_some(())
            }
        })
        .await;
        hearing.cancel();
        hearer.await.unwrap().unwrap();
    }
    let heard = listener.0.lock().unwrap().clone();
    assert_eq!(heard, (1..=171).collect::<Vec<_>>(), "each once, in order");

    // A feed that was made anew has other events under the same positions: none of them may be taken for the old ones.
    sqlx::query("update consumer_position set feed_id = gen_random_uuid()")
        .execute(&hearers.pool)
        .await
        .unwrap();
    let hearing = CancellationToken::new();
    let ports = Ports::bind("127.0.0.1:0".parse().unwrap(), "127.0.0.1:0".parse().unwrap()).unwrap();
    let more = [("upstream.teller", address.clone()), redis_url.clone()];
    let of_another = settings("hearer", &hearers.url, &more);
    let hearer = tokio::spawn(host::run::<Hearer>(of_another, ports, telemetry(), hearing.clone()));
    write(&db, &Request { after_position: 1, limit: 1 }, "after-the-end").await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(listener.0.lock().unwrap().len(), 171);
    hearing.cancel();
    hearer.await.unwrap().unwrap();

    stop.cancel();
    teller.await.unwrap().unwrap();
}

/// However many replicas tell Redis, its stream has each event of the feed once, in order; and all of them again when it
/// has lost them.
#[tokio::test(flavor = "multi_thread")]
async fn what_several_replicas_tell_redis_is_the_feed_also_after_redis_lost_it() {
    chassis::tls::install_provider();
    let (database, db) = database().await;
    let redis = testing::redis().await.unwrap();
    let stop = CancellationToken::new();
    let replicas: Vec<_> = (0..3)
        .map(|_| {
            let ports = Ports::bind("127.0.0.1:0".parse().unwrap(), "127.0.0.1:0".parse().unwrap()).unwrap();
            let settings = settings("teller", &database.url, &[("redis.url", redis.url())]);
            tokio::spawn(host::run::<Teller>(settings, ports, telemetry(), stop.clone()))
        })
        .collect();
    let key = key_of(&db).await;
    let client = redis::Client::open(redis.url()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    for round in 1..=3_i64 {
        let requests = (0..100).map(|n| Request { after_position: n, limit: 1 });
        for (n, request) in requests.enumerate() {
            write(&db, &request, &format!("round-{round}-{n:04}")).await.unwrap();
        }
        let expected: Vec<_> = (1..=100 * round).map(|position| format!("{position}-0")).collect();
        eventually("each event in the stream", || {
            let (mut connection, key, expected) = (connection.clone(), key.clone(), expected.clone());
            async move {
                let told: redis::streams::StreamRangeReply = connection.xrange_all(&key).await.unwrap();
                let told: Vec<_> = told.ids.into_iter().map(|entry| entry.id).collect();
                (told == expected).then_some(())
            }
        })
        .await;
        let () = connection.del(&key).await.unwrap();
    }
    stop.cancel();
    for replica in replicas {
        replica.await.unwrap().unwrap();
    }
}

async fn key_of(db: &Db) -> String {
    let id: uuid::Uuid =
        sqlx::query_scalar("select feed_id from feed_identity").fetch_one(&db.pool).await.unwrap();
    format!("jkn:feed:teller:{id}")
}

async fn xadd(url: &str, key: &str, id: &str, field: &str) -> String {
    let mut redis = redis::Client::open(url).unwrap().get_multiplexed_async_connection().await.unwrap();
    redis::cmd("XADD").arg(key).arg(id).arg(field).arg("-").query_async(&mut redis).await.unwrap()
}
