//! A kind of write that holds nothing before the one statement that writes all.

use chassis::{Concluded, Kept};

use super::*;

/// Adds one to counters; each answer is what the counter came to.
struct Counters;

/// A counter as it was read, and as it shall be.
struct Counted {
    counter: i64,
    version: String,
    value: i64,
}

impl Batched for Counters {
    type Work = i64;
    type Answer = Answer;
    type Error = Refusal;
    type Subject = i64;
    type Changes = Vec<Counted>;

    const NAME: &'static str = "count";
    const FIRST: Turn = Turn::Hopeful;

    fn subject(counter: &i64) -> i64 {
        *counter
    }

    async fn write(
        &self,
        connection: &mut PgConnection,
        turn: Turn,
        asked: &[(&Call, &i64)],
    ) -> sqlx::Result<(Vec<Outcome<Answer, Refusal>>, Vec<Counted>)> {
        let statement = match turn {
            Turn::Hopeful => "select counter, xmin::text, value from counter where counter = any($1)",
            Turn::Shared => {
                "select counter, xmin::text, value from counter where counter = any($1) for update skip locked"
            }
            Turn::Alone => {
                "select counter, xmin::text, value from counter where counter = any($1) for update"
            }
        };
        let counters: Vec<_> = asked.iter().map(|(_, counter)| **counter).collect();
        let read: Vec<(i64, String, i64)> =
            sqlx::query_as(statement).bind(counters).fetch_all(&mut *connection).await?;
        let (mut outcomes, mut changes) = (Vec::new(), Vec::new());
        for (_, asked) in asked {
            outcomes.push(match read.iter().find(|(counter, ..)| counter == *asked) {
                Some((counter, version, value)) => {
                    let value = value + 1;
                    changes.push(Counted { counter: *counter, version: version.clone(), value });
                    let event = Request { after_position: value, limit: 1 };
                    let answer = Answer { head_position: value, ..Answer::default() };
                    Outcome::Written(answer, vec![Event::new(&counter.to_string(), &event)])
                }
                None => Outcome::Alone,
            });
        }
        changes.sort_unstable_by_key(|one| one.counter);
        Ok((outcomes, changes))
    }

    async fn conclude(
        &self,
        connection: &mut PgConnection,
        changes: &Vec<Counted>,
        kept: &Kept<'_>,
    ) -> sqlx::Result<Concluded> {
        let (head, moved, waits) = sqlx::query_as(
            "with changed as (
                 update counter set value = new.value
                 from unnest($1::bigint[], $2::text[], $3::bigint[]) as new (counter, version, value)
                 where counter.counter = new.counter and counter.xmin = new.version::xid
                 returning 1
             )
             select concluded.*
             from (select count(*) = cardinality($1) as unchanged from changed) as all_changed,
                  conclude($4, $5, $6, unchanged, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16) as concluded",
        )
        .bind(changes.iter().map(|one| one.counter).collect::<Vec<_>>())
        .bind(changes.iter().map(|one| one.version.as_str()).collect::<Vec<_>>())
        .bind(changes.iter().map(|one| one.value).collect::<Vec<_>>())
        .bind(Kept::LOCK)
        .bind(kept.patient)
        .bind(Kept::MOST)
        .bind(&kept.callers)
        .bind(&kept.request_ids)
        .bind(&kept.methods)
        .bind(&kept.request_hashes)
        .bind(&kept.responses)
        .bind(&kept.event_ids)
        .bind(&kept.kinds)
        .bind(&kept.subjects)
        .bind(&kept.traceparents)
        .bind(&kept.bodies)
        .fetch_one(connection)
        .await?;
        Ok(Concluded { head, moved, waits })
    }
}

/// Ten counters at 0.
async fn house() -> House<Counters> {
    House::of(
        Counters,
        "create table counter (counter bigint primary key, value bigint not null);
                         insert into counter select generate_series(0, 9), 0",
    )
    .await
}

impl House<Counters> {
    async fn values(&self) -> Vec<i64> {
        sqlx::query_scalar("select value from counter order by counter")
            .fetch_all(&self.db.pool)
            .await
            .unwrap()
    }

    /// Until so many statements wait for what another transaction holds. Asked in no transaction: that would not see
    /// connections that were opened after its first look.
    async fn until_held(&self, statements: i64) {
        let held = "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'";
        while sqlx::query_scalar::<_, i64>(held).fetch_one(&self.db.pool).await.unwrap() < statements {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

#[tokio::test]
async fn what_many_ask_for_at_once_is_one_statement_and_one_transaction() {
    let house = house().await;
    let keys: Vec<_> = (0..10).map(|counter| format!("key-number-{counter}")).collect();
    let answers = join_all(keys.iter().zip(0..).map(|(key, counter)| house.write(key, counter))).await;
    assert!(answers.into_iter().all(|answer| answer.unwrap().head_position == 1));
    let of = async |table: &str| {
        let transactions = format!("select distinct xmin::text from {table}");
        sqlx::query_scalar::<_, String>(sqlx::AssertSqlSafe(transactions))
            .fetch_all(&house.db.pool)
            .await
            .unwrap()
    };
    let transaction = of("counter").await;
    assert_eq!(transaction.len(), 1);
    assert_eq!((of("idempotency").await, of("feed").await), (transaction.clone(), transaction));
}

#[tokio::test]
async fn of_writes_about_one_thing_each_rests_on_the_one_before() {
    let house = Arc::new(house().await);
    let stop = CancellationToken::new();
    // Of two processes, so that they meet.
    let (others, writing) = Batcher::new(Db::new(house.db.pool.clone(), stop.clone()), Counters, stop);
    tokio::spawn(writing);
    let writes = (0..200).map(|number| {
        let (call, mutation) = asked(&format!("key-number-{number}"), number % 10);
        let batcher = if number % 2 == 0 { others.clone() } else { house.writes.clone() };
        tokio::spawn(async move { batcher.write(call, mutation, number % 10).await.unwrap().head_position })
    });
    let mut answers: Vec<_> = join_all(writes).await.into_iter().map(Result::unwrap).collect();
    answers.sort_unstable();
    let each: Vec<i64> = (1..=20).flat_map(|value| [value; 10]).collect();
    assert_eq!(
        (answers, house.values().await),
        (each, vec![20; 10]),
        "none is lost, none rests on an old value"
    );
}

#[tokio::test]
async fn what_changed_since_it_was_read_is_read_again() {
    let house = Arc::new(house().await);
    let mut other = house.db.pool.begin().await.unwrap();
    sqlx::query("update counter set value = 40 where counter = 3").execute(&mut *other).await.unwrap();
    let write = tokio::spawn({
        let house = Arc::clone(&house);
        async move { house.write("key-number-3", 3).await.unwrap() }
    });
    house.until_held(1).await;
    other.commit().await.unwrap();
    assert_eq!(write.await.unwrap().head_position, 41);
    assert_eq!((house.values().await[3], house.written().await), (41, 1));
}

#[tokio::test]
async fn what_another_transaction_holds_holds_up_nobody_else() {
    let house = Arc::new(house().await);
    let mut other = house.db.pool.begin().await.unwrap();
    sqlx::query("select from counter where counter = 3 for update").execute(&mut *other).await.unwrap();
    let write = |counter: i64| {
        let house = Arc::clone(&house);
        tokio::spawn(async move { house.write(&format!("key-number-{counter}"), counter).await.unwrap() })
    };
    let held = write(3);
    for neighbour in (0..10).filter(|counter| *counter != 3).map(write).collect::<Vec<_>>() {
        assert_eq!(neighbour.await.unwrap().head_position, 1);
    }
    assert!(!held.is_finished());
    other.rollback().await.unwrap();
    assert_eq!(held.await.unwrap().head_position, 1);
    assert_eq!((house.values().await, house.written().await), (vec![1; 10], 10));
}

#[tokio::test]
async fn while_somebody_else_gives_positions_for_long_events_wait() {
    let house = house().await;
    let other = house.hold_positions().await;
    house.write("key-number-1", 1).await.unwrap();
    assert_eq!((house.told().await.len(), house.waiting().await), (0, 1));
    other.let_go().await;
    house.write("key-number-2", 2).await.unwrap();
    assert_eq!((house.told().await, house.waiting().await), (vec!["1".into(), "2".into()], 0));
}

#[tokio::test]
async fn a_key_that_is_repeated_has_one_effect() {
    let house = house().await;
    let at_once = join_all((0..20).map(|_| house.write("one-and-the-same", 7))).await;
    assert!(at_once.into_iter().all(|answer| answer.unwrap().head_position == 1));
    assert_eq!(house.write("one-and-the-same", 7).await.unwrap().head_position, 1);
    assert_eq!(house.write("one-and-the-same", 8).await.unwrap_err().0, Code::AlreadyExists);
    assert_eq!((house.values().await[7..9].to_vec(), house.written().await), (vec![1, 0], 1));
}

/// PostgreSQL says of a statement that it is done before it commits it, and of the commit that it is ready again.
#[tokio::test]
async fn a_commit_that_fails_is_not_taken_for_done_and_leaves_no_gap() {
    let house = house().await;
    sqlx::raw_sql(
        "create function refuse() returns trigger language plpgsql as $$ begin raise exception 'no'; end $$;
         create constraint trigger refuse after update on counter deferrable initially deferred
         for each row when (new.counter = 7) execute function refuse()",
    )
    .execute(&house.db.pool)
    .await
    .unwrap();
    house.write("key-number-1", 1).await.unwrap();
    assert_eq!(house.write("key-number-7", 7).await.unwrap_err().0, Code::Internal);
    house.until_positions_are_free().await;
    house.write("key-number-2", 2).await.unwrap();
    assert_eq!((house.told().await, house.values().await[7]), (vec!["1".into(), "2".into()], 0));
}
