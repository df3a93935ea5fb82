//! Writes of many callers in one transaction, against a real Postgres: each happens once, each is answered only after
//! its commit, and none harms another.
#![allow(clippy::unwrap_used, reason = "a test that meets the unexpected should stop there")]

mod hopeful;
mod positions;

use std::{collections::HashSet, sync::Arc, time::Duration};

use chassis::{Batched, Batcher, Call, Db, Event, Mutation, Outcome, Problem, RequestId, Turn};
use embedded::testing::{self, TestDatabase};
use futures::{future::join_all, poll};
use jiff::Timestamp;
use proto::feed::v1::{ReadEventsRequest as Request, ReadEventsResponse as Answer};
use sqlx::PgConnection;
use tokio::task::{JoinHandle, unconstrained};
use tokio_util::sync::CancellationToken;
use tonic::Code;

/// Inserts numbers into a table that knows only those from 0 to 999 and each once; refuses 13 itself.
struct Numbers;

#[derive(Debug)]
struct Refusal(Code);

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self(problem.code())
    }
}

impl From<sqlx::Error> for Refusal {
    fn from(error: sqlx::Error) -> Self {
        let of_a_row = error.as_database_error().and_then(|error| error.constraint().map(str::to_owned));
        of_a_row.map_or_else(|| Self(Problem::from(error).code()), |_| Self(Code::OutOfRange))
    }
}

impl Batched for Numbers {
    type Work = i64;
    type Answer = Answer;
    type Error = Refusal;
    type Subject = i64;
    type Changes = ();

    const NAME: &'static str = "number";

    fn subject(number: &i64) -> i64 {
        *number
    }

    async fn write(
        &self,
        connection: &mut PgConnection,
        _turn: Turn,
        asked: &[(&Call, &i64)],
    ) -> sqlx::Result<(Vec<Outcome<Answer, Refusal>>, ())> {
        let numbers: Vec<i64> = asked.iter().map(|(_, number)| **number).filter(|n| *n != 13).collect();
        sqlx::query("insert into number select unnest($1::bigint[])")
            .bind(&numbers)
            .execute(connection)
            .await?;
        let outcome = |number: i64| match number {
            13 => Outcome::Refused(Refusal(Code::FailedPrecondition)),
            _ => {
                let feed_id = uuid::Uuid::new_v4().to_string();
                let event = Request { after_position: number, limit: 1 };
                Outcome::Written(
                    Answer { head_position: number, feed_id, ..Answer::default() },
                    vec![Event::new(&number.to_string(), &event)],
                )
            }
        };
        Ok((asked.iter().map(|(_, number)| outcome(**number)).collect(), ()))
    }
}

struct House<B: Batched> {
    _database: TestDatabase,
    db: Db,
    writes: Batcher<B>,
    _writing: JoinHandle<anyhow::Result<()>>,
}

impl<B: Batched> House<B> {
    async fn of(kind: B, tables: &'static str) -> Self {
        let database = testing::database("chassis", &[&chassis::db::MIGRATOR]).await.unwrap();
        sqlx::raw_sql(tables).execute(&database.pool).await.unwrap();
        let stop = CancellationToken::new();
        let db = Db::new(database.pool.clone(), stop.clone());
        let (writes, writing) = Batcher::new(db.clone(), kind, stop);
        Self { _database: database, db, writes, _writing: tokio::spawn(writing) }
    }
}

async fn house() -> House<Numbers> {
    let table = "create table number (number bigint primary key check (number between 0 and 999))";
    House::of(Numbers, table).await
}

fn asked(key: &str, number: i64) -> (Call, Mutation) {
    let caller = "hospital:0301R011".parse().unwrap();
    let call = Call::local(caller, "/test/Write", Timestamp::now(), Duration::from_secs(10));
    let request = Request { after_position: number, limit: 1 };
    let mutation = Mutation::new(&call, &request, RequestId::parse(key).unwrap());
    (call, mutation)
}

impl<B: Batched<Work = i64>> House<B> {
    async fn write(&self, key: &str, number: i64) -> Result<B::Answer, B::Error> {
        let (call, mutation) = asked(key, number);
        self.writes.write(call, mutation, number).await
    }

    /// How many writes were made: each has its key and its event.
    async fn written(&self) -> i64 {
        let (keys, events): (i64, i64) = sqlx::query_as(
            "select (select count(*) from idempotency where response is not null),
                    (select count(*) from outbox) + (select count(*) from feed)",
        )
        .fetch_one(&self.db.pool)
        .await
        .unwrap();
        assert_eq!(keys, events);
        keys
    }
}

impl House<Numbers> {
    async fn write_in_turn(&self, key: &str, number: i64) -> Result<Answer, Refusal> {
        let (call, mutation) = asked(key, number);
        self.writes.write_in_turn(call, mutation, number).await
    }

    async fn kept(&self) -> (i64, i64, i64) {
        let row: (i64, i64, i64) = sqlx::query_as(
            "select (select count(*) from number),
                    (select count(*) from outbox) + (select count(*) from feed),
                    (select count(*) from idempotency where response is not null)",
        )
        .fetch_one(&self.db.pool)
        .await
        .unwrap();
        let keys: i64 =
            sqlx::query_scalar("select count(*) from idempotency").fetch_one(&self.db.pool).await.unwrap();
        assert_eq!(keys, row.2, "no key without its answer");
        row
    }
}

#[tokio::test]
async fn many_at_once_are_each_written_and_answered_in_fewer_transactions() {
    let house = house().await;
    let transactions = || async {
        sqlx::query_scalar::<_, i64>("select count(distinct xmin::text) from number")
            .fetch_one(&house.db.pool)
            .await
            .unwrap()
    };
    let keys: Vec<_> = (0..300).map(|number| format!("key-number-{number}")).collect();
    let numbers = (0..300).filter(|number| *number != 13);
    let answers = join_all(numbers.map(|n| house.write(&keys[usize::try_from(n).unwrap()], n))).await;
    for (answer, number) in answers.into_iter().zip((0..300).filter(|number| *number != 13)) {
        assert_eq!(answer.unwrap().head_position, number, "each caller gets its own answer");
    }
    assert_eq!(house.kept().await, (299, 299, 299));
    assert!(transactions().await < 30, "{} transactions for 299 writes", transactions().await);
}

#[tokio::test]
async fn one_that_is_refused_or_that_the_database_refuses_harms_no_other() {
    let house = house().await;
    house.write("the-first-of-all", 5).await.unwrap();
    // 13 is refused by its kind; 5 is there already and 1000 is not allowed, which only the database finds.
    let wanted: Vec<i64> = (0..20).chain([1000]).collect();
    let keys: Vec<_> = wanted.iter().map(|number| format!("key-number-{number}")).collect();
    let answers = join_all(wanted.iter().zip(&keys).map(|(number, key)| house.write(key, *number))).await;
    for (number, answer) in wanted.iter().zip(answers) {
        match number {
            13 => assert_eq!(answer.unwrap_err().0, Code::FailedPrecondition),
            5 | 1000 => assert_eq!(answer.unwrap_err().0, Code::OutOfRange),
            _ => assert_eq!(answer.unwrap().head_position, *number),
        }
    }
    assert_eq!(house.kept().await, (19, 19, 19));
}

#[tokio::test]
async fn a_key_that_is_repeated_at_once_or_later_has_one_effect_and_one_answer() {
    let house = house().await;
    let at_once = join_all((0..40).map(|_| house.write("one-and-the-same", 7))).await;
    let mut answers: HashSet<_> = at_once.into_iter().map(|answer| answer.unwrap().feed_id).collect();
    answers.insert(house.write("one-and-the-same", 7).await.unwrap().feed_id);
    assert_eq!(answers.len(), 1);
    assert_eq!(house.write("one-and-the-same", 8).await.unwrap_err().0, Code::AlreadyExists);
    assert_eq!(house.kept().await, (1, 1, 1));
}

#[tokio::test]
async fn a_key_of_another_request_does_not_take_its_neighbours_apart() {
    let house = house().await;
    house.write("used-before", 1).await.unwrap();
    let keys: Vec<_> = (20..40).map(|number| format!("key-number-{number}")).collect();
    let neighbours = join_all(keys.iter().zip(20..).map(|(key, number)| house.write(key, number)));
    let (reused, neighbours) = tokio::join!(house.write("used-before", 2), neighbours);
    assert_eq!(reused.unwrap_err().0, Code::AlreadyExists);
    assert!(neighbours.iter().all(Result::is_ok));
    let transactions: i64 =
        sqlx::query_scalar("select count(distinct xmin::text) from number where number >= 20")
            .fetch_one(&house.db.pool)
            .await
            .unwrap();
    assert_eq!((transactions, house.kept().await), (1, (21, 21, 21)));
}

#[tokio::test]
async fn two_batchers_of_two_processes_agree_on_who_was_first() {
    let house = house().await;
    let stop = CancellationToken::new();
    let other = Db::new(house.db.pool.clone(), stop.clone());
    let (writes, writing) = Batcher::new(other.clone(), Numbers, stop);
    let other = House { db: other, writes, _writing: tokio::spawn(writing), ..self::house().await };
    let keys: Vec<_> = (0..100).map(|number| format!("key-number-{number}")).collect();
    let numbers = || (0..100_i64).filter(|number| *number != 13).zip(&keys);
    // The other one in reverse, so that the two meet each other's keys in opposite order.
    let (one, two) = tokio::join!(
        join_all(numbers().map(|(number, key)| house.write(key, number))),
        join_all(
            numbers().collect::<Vec<_>>().into_iter().rev().map(|(number, key)| other.write(key, number))
        ),
    );
    for (one, two) in one.into_iter().zip(two.into_iter().rev()) {
        assert_eq!(one.unwrap().feed_id, two.unwrap().feed_id);
    }
    assert_eq!(house.kept().await, (99, 99, 99));
}

#[tokio::test]
async fn a_caller_that_goes_away_takes_nothing_with_it() {
    let house = house().await;
    let mut given_up = Box::pin(house.write("given-up-early", 1));
    assert!(futures::poll!(&mut given_up).is_pending());
    let others = join_all((2..10).map(|number| {
        let house = &house;
        async move { house.write(&format!("key-number-{number}"), number).await }
    }));
    drop(given_up);
    assert!(others.await.iter().all(Result::is_ok));
    // Whether it was written before its caller left is open; asked again with its key it is.
    house.write("given-up-early", 1).await.unwrap();
    assert_eq!(house.kept().await, (9, 9, 9));
}

#[tokio::test]
async fn streams_leave_places_for_calls() {
    let house = house().await;
    let keys: Vec<_> = (0..3000).map(|number| format!("part-of-a-stream-{number}")).collect();
    let parts =
        keys.iter().zip(0..).map(|(key, number)| Box::pin(unconstrained(house.write_in_turn(key, number))));
    let mut parts: Vec<_> = parts.collect();
    // Nothing else runs meanwhile, so nothing is written: all find a place or wait for one.
    for part in &mut parts {
        assert!(poll!(part).is_pending());
    }
    let mut call = Box::pin(unconstrained(house.write("call-beside-streams", 1)));
    assert!(poll!(&mut call).is_pending(), "a call is not refused because streams have much to write");
    drop(parts);
    assert_eq!(call.await.unwrap().head_position, 1);
}

#[tokio::test]
async fn a_third_transaction_begins_only_when_it_is_full() {
    let house = Arc::new(house().await);
    let mut holder = house.db.pool.acquire().await.unwrap().detach();
    sqlx::raw_sql("begin; lock table number in share row exclusive mode").execute(&mut holder).await.unwrap();
    let begun = async |transactions: i64| {
        const WAITING: &str = "select count(*) from pg_locks where not granted and locktype = 'relation'
                               and database = (select oid from pg_database where datname = current_database())";
        while sqlx::query_scalar::<_, i64>(WAITING).fetch_one(&house.db.pool).await.unwrap() < transactions {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let write = |number: i64| {
        let house = Arc::clone(&house);
        let number = if number < 13 { number } else { number + 1 };
        tokio::spawn(async move { house.write(&format!("key-number-{number}"), number).await.unwrap() })
    };
    let mut writes = vec![write(0)];
    begun(1).await;
    writes.push(write(1));
    begun(2).await;
    writes.extend((2..514).map(write));
    begun(3).await;
    sqlx::raw_sql("commit").execute(&mut holder).await.unwrap();
    for written in join_all(writes).await {
        written.unwrap();
    }
    let sizes: Vec<i64> = sqlx::query_scalar("select count(*) from number group by xmin::text order by 1")
        .fetch_all(&house.db.pool)
        .await
        .unwrap();
    assert_eq!(sizes, [1, 1, 512]);
}
