//! The database goes away: killed, frozen, cut off, full. Calls fail in time and say what to do, nothing is
//! half-written, and all of it recovers by itself.
#![allow(clippy::unwrap_used, reason = "a test that meets the unexpected should stop there")]

mod full;
mod house;
mod link;
mod server;

use std::time::Duration;

use house::{House, WAIT, at_once, request, write};
use link::{Commit, Link};
use server::Server;
use tokio::time::{Instant, timeout};
use tonic::Code;

/// How long a caller waits for an answer in these tests.
const DEADLINE: Duration = Duration::from_secs(3);
/// Within this time all is well again, also beside other work: far less than the system takes to give up a connection on
/// which nothing arrives.
const RECOVERY: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_database_is_unavailable_at_once_and_found_again() {
    let mut server = Server::start(&["teller"]).await;
    let house = House::over(&server.url("teller")).await;
    for number in 0..3 {
        write(&house.db, &format!("before-{number}")).await.unwrap();
    }
    house.told(3).await;

    server.kill();
    // More callers than connections, and those that rested are no better than new ones.
    let asked = at_once(32, |number| {
        let house = &house;
        async move {
            let begun = Instant::now();
            let refused = if number % 2 == 0 {
                write(&house.db, &format!("while-{number:03}")).await.unwrap_err().into()
            } else {
                house.read(DEADLINE).await.unwrap_err()
            };
            assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
            let details = tonic_types::StatusExt::get_error_details(&refused);
            assert_eq!(details.error_info().unwrap().reason, "TEMPORARILY_UNAVAILABLE");
            assert!(details.retry_info().unwrap().retry_delay.is_some());
            begun.elapsed()
        }
    });
    let slowest = asked.await.into_iter().max().unwrap();
    assert!(slowest < WAIT * 2, "{slowest:?}");

    server.start_again().await;
    house.recovers(RECOVERY).await;
    for number in (0..32).step_by(2) {
        write(&house.db, &format!("while-{number:03}")).await.unwrap();
    }
    house.told(3 + 1 + 16).await;

    // Who asks for nothing meanwhile does not even notice: connections that rested are tried before they are relied on.
    house.writes_at_once("all-in-use").await;
    server.kill();
    server.start_again().await;
    house.writes_at_once("all-anew").await;
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_database_holds_no_call_beyond_its_deadline() {
    let server = Server::start(&["teller"]).await;
    let house = House::over(&server.url("teller")).await;
    write(&house.db, "before-the-frost").await.unwrap();
    house.told(1).await;

    // One has written and not committed; the others begin.
    let open = house::begin(&house.db, "under-way").await;
    server.freeze();
    let held = timeout(DEADLINE, open.commit(request())).await;
    assert!(held.is_err(), "a frozen server answers nothing");
    let asked = at_once(32, |number| {
        let house = &house;
        async move {
            let begun = Instant::now();
            let refused = if number % 2 == 0 {
                match timeout(DEADLINE, write(&house.db, &format!("frozen-{number:03}"))).await {
                    Ok(refused) => refused.unwrap_err().code(),
                    Err(_) => Code::DeadlineExceeded,
                }
            } else {
                house.read(DEADLINE).await.unwrap_err().code()
            };
            assert!(matches!(refused, Code::Unavailable | Code::DeadlineExceeded), "{refused:?}");
            begun.elapsed()
        }
    });
    let slowest = asked.await.into_iter().max().unwrap();
    assert!(slowest < DEADLINE + WAIT, "{slowest:?}");

    server.thaw();
    house.recovers(RECOVERY).await;
    // Whatever became of those that were given up: repeated, each is done once.
    write(&house.db, "under-way").await.unwrap();
    for number in (0..32).step_by(2) {
        write(&house.db, &format!("frozen-{number:03}")).await.unwrap();
    }
    house.told(1 + 1 + 16 + 1).await;
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_link_is_left_behind_when_it_heals_and_when_another_server_takes_over() {
    let server = Server::start(&["teller"]).await;
    let link = Link::to(server.socket()).await;
    let house = House::over(&link.url("teller")).await;
    let mut events = 1;
    write(&house.db, "before-the-cut").await.unwrap();
    house.told(events).await;

    for for_new_connections in [false, true, true] {
        // Every connection of the pool is in the midst of something.
        let round = format!("{events}-{for_new_connections}");
        let mut open = Vec::new();
        for number in 0..house.connections() - 1 {
            open.push(house::begin(&house.db, &format!("cut-{round}-{number}")).await);
        }
        link.cut();
        let asked = at_once(16, |_| {
            let house = &house;
            async move { house.read(DEADLINE).await.unwrap_err().code() }
        });
        let given_up =
            futures::future::join_all(open.into_iter().map(|open| timeout(DEADLINE, open.commit(request()))));
        let (asked, given_up) = tokio::join!(asked, given_up);
        assert!(
            asked.iter().all(|code| matches!(code, Code::Unavailable | Code::DeadlineExceeded)),
            "{asked:?}"
        );
        assert!(given_up.iter().all(Result::is_err), "nothing arrives");
        if for_new_connections {
            link.heal_for_new_connections();
        } else {
            link.heal();
        }
        house.recovers(RECOVERY).await;
        for number in 0..house.connections() - 1 {
            write(&house.db, &format!("cut-{round}-{number}")).await.unwrap();
        }
        events += 1 + i64::from(house.connections() - 1);
        house.told(events).await;
    }
    house.stop().await;
}

#[tokio::test]
async fn what_passes_is_unavailable_and_what_does_not_is_our_fault() {
    let database = embedded::testing::database("sqlstates", &[]).await.unwrap();
    let refuse = "create function refuse(code text) returns void language plpgsql as
                  $$ begin raise exception using errcode = code; end $$";
    sqlx::query(refuse).execute(&database.pool).await.unwrap();
    for (sqlstates, expected) in [
        // Disk full, out of memory, the disk fails, shut down, cut off, made read-only, ended when idle, deadlock.
        (&["53100", "53200", "58030", "57P01", "08006", "25006", "25P03", "40P01"][..], Code::Unavailable),
        (&["23505", "22012", "42P01", "XX000", "P0001"], Code::Internal),
    ] {
        for sqlstate in sqlstates {
            let error =
                sqlx::query("select refuse($1)").bind(sqlstate).execute(&database.pool).await.unwrap_err();
            assert_eq!(chassis::Problem::from(error).code(), expected, "{sqlstate}");
        }
    }
    for lost in [
        sqlx::Error::Protocol("unexpected message".into()),
        sqlx::Error::BeginFailed,
        sqlx::Error::PoolTimedOut,
    ] {
        assert_eq!(chassis::Problem::from(lost).code(), Code::Unavailable);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_whose_outcome_is_unknown_is_unavailable_and_done_once_when_repeated() {
    let server = Server::start(&["teller"]).await;
    let link = Link::to(server.socket()).await;
    let house = House::over(&link.url("teller")).await;
    let mut console = server.console("teller").await;
    for (commit, written) in [(Commit::LostOnTheWay, 0), (Commit::AnswerLost, 1)] {
        let key = format!("unknown-{commit:?}");
        let open = house::begin(&house.db, &key).await;
        link.on_commit(commit);
        let refused = open.commit(request()).await.unwrap_err();
        link.on_commit(Commit::Carried);
        assert_eq!((refused.code(), refused.reason()), (Code::Unavailable, "TEMPORARILY_UNAVAILABLE"));
        let mut records = async || -> i64 {
            let count = "select count(*) from idempotency where request_id = $1 and response is not null";
            sqlx::query_scalar(count).bind(&key).fetch_one(&mut console).await.unwrap()
        };
        assert_eq!(records().await, written);
        write(&house.db, &key).await.unwrap();
        assert_eq!(records().await, 1);
    }
    house.told(2).await;
    house.stop().await;
}
