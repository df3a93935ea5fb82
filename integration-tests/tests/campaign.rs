//! The campaign (docs/campaign.md): a short one that must find nothing, and faults that are planted for it to find. They
//! are planted from outside, in PostgreSQL: the program under test is the one that is delivered.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test tells its summary and stops at the unexpected"
)]

use std::{io::Write as _, ops::Range, time::Duration};

use embedded::postgres::Options;
use integration_tests::{
    Mesh,
    campaign::{
        self, DOUBLED, Kind, LOST, MISSING_EVENTS, OTHER_LEDGER, OTHER_RECORD, OTHER_STEPS, REFUSED,
        Settings, Summary, UNRECONCILED, Until, Work,
    },
    mesh::{End, Way},
};

/// Of the short run: another one proves no more, the same one can be repeated.
const SEED: u64 = 20;

fn milliseconds(range: Range<u64>) -> Range<Duration> {
    Duration::from_millis(range.start)..Duration::from_millis(range.end)
}

async fn planted(mesh: &mut Mesh, work: Work, kinds: &[Kind], pause: Range<u64>, kills: usize) -> Summary {
    let settings = Settings {
        seed: SEED,
        callers: 16,
        work,
        // Until a claim is there to be sent, a good deal has to be written.
        until: Until {
            kills,
            acknowledged: if work == Work::Claims { 500 } else { 200 },
            ..Until::default()
        },
        kinds: kinds.to_vec(),
        pause: milliseconds(pause),
    };
    let summary = campaign::run(mesh, &settings).await.unwrap();
    println!("{summary}");
    assert!(!summary.is_clean(), "the fault was not found");
    summary
}

/// Printed also when the test passes: past the harness, which keeps what tests print to itself.
fn show(summary: &Summary) {
    let _no_reader = write!(std::io::stderr().lock(), "\n{summary}");
}

async fn plant(mesh: &Mesh, service: &str, statement: &'static str) {
    sqlx::raw_sql(statement).execute(mesh.database(service)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_killed_nothing_is_lost_and_nothing_happens_twice() {
    let mut mesh = Mesh::start_breakable(Options::crash_testing()).await.unwrap();
    let settings = Settings {
        seed: SEED,
        callers: 24,
        work: Work::All,
        until: Until { kills: 60, acknowledged: 500, ..Until::default() },
        kinds: Kind::ALL.to_vec(),
        pause: milliseconds(150..750),
    };
    let summary = campaign::run(&mut mesh, &settings).await.unwrap();
    show(&summary);
    assert!(
        summary.is_clean(),
        "seed {SEED}; to repeat it: cargo test --workspace --test campaign whatever_is_killed"
    );
    assert!(summary.killed() >= 60);
    mesh.end().await.unwrap();
}

/// Acknowledged before the commit is in the log: PostgreSQL is told not to wait for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_write_acknowledged_before_its_commit_is_found_as_lost() {
    let mut mesh = Mesh::start_breakable(Options::crash_testing()).await.unwrap();
    plant(
        &mesh,
        "claims",
        "alter role jkn set synchronous_commit = off;
         select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid() and usename = 'jkn'",
    )
    .await;
    for setting in ["alter system set wal_writer_delay = '10s'", "select pg_reload_conf()"] {
        plant(&mesh, "claims", setting).await;
    }
    let summary = planted(&mut mesh, Work::All, &[Kind::KillPostgres], 1_500..2_500, 3).await;
    assert!(summary.found(LOST) > 0);
    mesh.end().await.unwrap();
}

/// A relay that reads `outbox_id > last`: what commits late, under a number that was passed already, is never told.
/// Every tenth event of membership commits late.
#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_is_skipped_because_it_commits_late_is_found_as_missing() {
    let mut mesh = Mesh::start_breakable(Options::crash_testing()).await.unwrap();
    plant(
        &mesh,
        "membership",
        "create table passed (outbox_id bigint not null);
         insert into passed values (0);
         create function pass() returns trigger language plpgsql as $$ begin
             update passed set outbox_id = greatest(outbox_id, old.outbox_id);
             return old;
         end $$;
         create trigger pass after delete on outbox for each row execute function pass();
         create function skip() returns trigger language plpgsql as $$ begin
             if new.outbox_id % 10 = 0 then perform pg_sleep(0.5); end if;
             delete from outbox where outbox_id = new.outbox_id and outbox_id < (select outbox_id from passed);
             return null;
         end $$;
         create constraint trigger skip after insert on outbox deferrable initially deferred
             for each row execute function skip()",
    )
    .await;
    let summary = planted(&mut mesh, Work::All, &[Kind::KillProcess], 1_000..2_000, 2).await;
    assert!(summary.found(MISSING_EVENTS) > 0);
    mesh.end().await.unwrap();
}

/// The record of the idempotency is gone when the write is committed: whoever repeats it does it again.
#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_is_dropped_is_found_as_done_twice_or_refused() {
    let mut mesh = Mesh::start_breakable(Options::crash_testing()).await.unwrap();
    for service in ["membership", "primary-care", "claims"] {
        plant(
            &mesh,
            service,
            "create function forget() returns trigger language plpgsql as $$ begin
                 delete from idempotency where caller = new.caller and request_id = new.request_id;
                 return null;
             end $$;
             create constraint trigger forget after insert on idempotency deferrable initially deferred
                 for each row execute function forget()",
        )
        .await;
    }
    let summary = planted(&mut mesh, Work::All, &[Kind::ResetLink, Kind::KillProcess], 100..300, 10).await;
    assert!(summary.found(LOST) > 0, "there are no records");
    assert!(summary.found(DOUBLED) > 0, "an answer of the civil registry was kept twice");
    assert!(summary.found(REFUSED) > 0, "a family, a visit or a claim that was there already was refused");
    mesh.end().await.unwrap();
}

/// Whether all that was found of a check and is shown names the batched write, of a single claim or of a stream.
fn only_submissions(summary: &Summary, check: &str) -> bool {
    let shown = summary.checks.iter().filter(|one| one.name == check).flat_map(|one| &one.examples);
    shown.clone().count() > 0 && shown.into_iter().all(|example| example.contains("SubmitClaim"))
}

/// The batcher answers before its commit: between claims and PostgreSQL the answer to the statement of a batch comes before
/// its commit. Which statements are of the batcher is told by the method of the records that they keep.
#[tokio::test(flavor = "multi_thread")]
async fn a_batch_answered_before_its_commit_is_found_as_lost() {
    let mut mesh = Mesh::start_breakable(Options::crash_testing()).await.unwrap();
    plant(
        &mesh,
        "claims",
        "create function tell() returns trigger language plpgsql as $$ begin
             raise notice 'a batch';
             return new;
         end $$;
         create trigger tell before insert on idempotency
             for each row when (new.method like '%/SubmitClaim%') execute function tell()",
    )
    .await;
    for name in mesh.link_names() {
        if matches!((name.from, name.to), (End::Process(from), End::Postgres) if from.service == "claims") {
            mesh.set_link(name, Way::Hasty(Duration::from_secs(1))).unwrap();
            mesh.reset_link(name).unwrap();
        }
    }
    let summary = planted(&mut mesh, Work::Claims, &[Kind::KillPostgres], 3_000..4_000, 6).await;
    assert!(only_submissions(&summary, LOST), "other writes wait for their commit");
    assert!(summary.found(OTHER_STEPS) > 0, "the claim was never submitted");
    mesh.end().await.unwrap();
}

/// The batcher keeps no record of what it has written: whoever repeats it does it again.
#[tokio::test(flavor = "multi_thread")]
async fn a_batch_without_its_records_is_found_as_lost_and_refused() {
    let mut mesh = Mesh::start_breakable(Options::crash_testing()).await.unwrap();
    plant(
        &mesh,
        "claims",
        "create function forget() returns trigger language plpgsql as $$ begin
             delete from idempotency where caller = new.caller and request_id = new.request_id;
             return null;
         end $$;
         create constraint trigger forget after insert on idempotency deferrable initially deferred
             for each row when (new.method like '%/SubmitClaim%') execute function forget()",
    )
    .await;
    let summary = planted(&mut mesh, Work::Claims, &[Kind::ResetLink, Kind::KillProcess], 300..700, 10).await;
    assert!(only_submissions(&summary, LOST), "other writes have their records");
    assert!(summary.found(REFUSED) > 0, "a claim that is submitted already was refused");
    mesh.end().await.unwrap();
}

/// What leaves the bank is booked on another account, so that each entry still balances; in each line of a batch, and of a
/// filing, a rupiah is too much; and referrals lose what P-Care recorded.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_booked_or_carried_otherwise_is_found() {
    let mut mesh = Mesh::start_breakable(Options::crash_testing()).await.unwrap();
    plant(
        &mesh,
        "claims",
        "create function book() returns trigger language plpgsql as $$ begin
             new.account = 5;
             return new;
         end $$;
         create trigger book before insert on ledger_line
             for each row when (new.account = 3) execute function book();
         create function add() returns trigger language plpgsql as $$ begin
             new.amount_rupiah = new.amount_rupiah + 1;
             return new;
         end $$;
         create trigger add before insert on payment_line for each row execute function add();
         create trigger add before insert on filing_claim for each row execute function add()",
    )
    .await;
    plant(
        &mesh,
        "referral",
        "create function lose() returns trigger language plpgsql as $$ begin
             new.first_level_record = null;
             return new;
         end $$;
         create trigger lose before insert on referral for each row execute function lose()",
    )
    .await;
    let summary =
        planted(&mut mesh, Work::Claims, &[Kind::ResetLink, Kind::KillProcess], 500..1_000, 2).await;
    assert!(summary.found(OTHER_RECORD) > 0, "no referral tells what was recorded");
    assert!(summary.found(OTHER_LEDGER) > 0, "the bank holds another sum than was told");
    assert!(summary.found(UNRECONCILED) > 0, "a claim and its line differ");
    assert!(summary.found(LOST) > 0, "the claims of a filing come to another sum than was told");
    mesh.end().await.unwrap();
}
