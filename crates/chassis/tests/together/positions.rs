//! The events of a batch: in the feed with its commit, in the order of the commits, without a gap.

use sqlx::PgConnection;

use super::*;

/// Whoever holds it gives the positions; nobody relays in these tests.
pub(super) struct Positions(PgConnection);

impl Positions {
    /// A connection that is closed has not let go yet: the server ends its session when it sees that.
    pub(super) async fn let_go(mut self) {
        let held: bool = sqlx::query_scalar("select pg_advisory_unlock($1)")
            .bind(chassis::Kept::LOCK)
            .fetch_one(&mut self.0)
            .await
            .unwrap();
        assert!(held);
    }
}

impl<B: Batched> House<B> {
    /// Subjects of the events in the feed, by position; fails when there is a gap.
    pub(super) async fn told(&self) -> Vec<String> {
        let told: Vec<(i64, String)> = sqlx::query_as("select position, subject from feed order by position")
            .fetch_all(&self.db.pool)
            .await
            .unwrap();
        assert!(told.iter().zip(1..).all(|((position, _), expected)| *position == expected), "{told:?}");
        told.into_iter().map(|(_, subject)| subject).collect()
    }

    pub(super) async fn waiting(&self) -> i64 {
        sqlx::query_scalar("select count(*) from outbox").fetch_one(&self.db.pool).await.unwrap()
    }

    pub(super) async fn hold_positions(&self) -> Positions {
        let mut connection = self.db.pool.acquire().await.unwrap().detach();
        sqlx::query("select pg_advisory_lock($1)")
            .bind(chassis::Kept::LOCK)
            .execute(&mut connection)
            .await
            .unwrap();
        Positions(connection)
    }

    /// PostgreSQL tells of an error before it lets go of what the transaction held.
    pub(super) async fn until_positions_are_free(&self) {
        self.hold_positions().await.let_go().await;
    }

    async fn leave_in_outbox(&self, events: i32) {
        sqlx::query(
            "insert into outbox (event_id, kind, subject, traceparent, body)
             select gen_random_uuid(), 'test', 'waits', '', '' from generate_series(1, $1)",
        )
        .bind(events)
        .execute(&self.db.pool)
        .await
        .unwrap();
    }
}

#[tokio::test]
async fn events_are_in_the_feed_when_their_callers_are_answered() {
    let house = house().await;
    for number in [1, 2, 3] {
        house.write(&format!("key-number-{number}"), number).await.unwrap();
        assert_eq!(house.told().await.len(), usize::try_from(number).unwrap());
    }
    assert_eq!((house.told().await, house.waiting().await), (vec!["1".into(), "2".into(), "3".into()], 0));
}

#[tokio::test]
async fn while_somebody_else_gives_positions_events_wait_and_come_before_those_that_follow() {
    let house = house().await;
    let other = house.hold_positions().await;
    house.write("key-number-1", 1).await.unwrap();
    house.write("key-number-2", 2).await.unwrap();
    assert_eq!((house.told().await.len(), house.waiting().await), (0, 2));
    other.let_go().await;
    house.write("key-number-3", 3).await.unwrap();
    assert_eq!((house.told().await, house.waiting().await), (vec!["1".into(), "2".into(), "3".into()], 0));
}

#[tokio::test]
async fn where_more_waits_than_is_moved_at_once_nothing_overtakes_it() {
    let house = house().await;
    house.leave_in_outbox(1500).await;
    house.write("key-number-1", 1).await.unwrap();
    assert_eq!((house.told().await.len(), house.waiting().await), (1000, 501));
    house.write("key-number-2", 2).await.unwrap();
    let told = house.told().await;
    assert_eq!((told.len(), house.waiting().await), (1502, 0));
    assert_eq!(told[1500..], ["1", "2"]);
}

#[tokio::test]
async fn a_commit_that_fails_leaves_no_gap() {
    let house = house().await;
    sqlx::raw_sql(
        "create function refuse() returns trigger language plpgsql as $$ begin raise exception 'no'; end $$;
         create constraint trigger refuse after insert on number deferrable initially deferred
         for each row when (new.number = 77) execute function refuse()",
    )
    .execute(&house.db.pool)
    .await
    .unwrap();
    house.write("key-number-1", 1).await.unwrap();
    assert_eq!(house.write("key-number-77", 77).await.unwrap_err().0, Code::Internal);
    assert_eq!(house.told().await, ["1"]);
    house.until_positions_are_free().await;
    house.write("key-number-2", 2).await.unwrap();
    assert_eq!(house.told().await, ["1", "2"]);
}

#[tokio::test]
async fn batches_of_several_processes_give_each_event_one_position() {
    let house = house().await;
    let stop = CancellationToken::new();
    let others: Vec<_> = (0..3)
        .map(|_| {
            let (writes, writing) =
                Batcher::new(Db::new(house.db.pool.clone(), stop.clone()), Numbers, stop.clone());
            tokio::spawn(writing);
            writes
        })
        .collect();
    let written = (0..600).filter(|number| *number != 13).map(|number| {
        let (call, mutation) = asked(&format!("key-number-{number}"), number);
        let writes = &others[usize::try_from(number % 3).unwrap()];
        async move { writes.write(call, mutation, number).await.unwrap() }
    });
    assert_eq!(join_all(written).await.len(), 599);
    // Those that met another one's commit wait; the next write takes them along.
    house.write("the-last-of-all", 999).await.unwrap();
    let told = house.told().await;
    assert_eq!((told.len(), house.waiting().await), (600, 0));
    assert_eq!(told.iter().collect::<HashSet<_>>().len(), 600, "each event once");
    assert_eq!(told.last().unwrap(), "999");
}
