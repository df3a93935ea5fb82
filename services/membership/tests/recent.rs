//! What is answered without the database: never older than promised, whoever changes what. Two instances of the
//! service over one database, as two replicas are.

#![allow(clippy::unwrap_used)]

mod house;

use std::{
    sync::LazyLock,
    time::{Duration, Instant},
};

use chassis::telemetry::{self, LogFormat, Telemetry};
use house::{BPJS, House, key, person, reason};
use proto::membership::v1::{
    self as pb, check_eligibility_request::Known, membership_service_server::MembershipService,
};
use sqlx::{Executor, PgConnection};

/// How old an answer may be, as config.default.toml promises.
const BOUND: Duration = Duration::from_millis(500);
const TODAY: &str = "2026-11-22";

static TELEMETRY: LazyLock<Telemetry> =
    LazyLock::new(|| telemetry::start("test", LogFormat::Human, "error").unwrap());

/// Lookups of one outcome since the process began.
fn lookups(outcome: &str) -> u64 {
    let page = TELEMETRY.page().unwrap();
    let label = format!("outcome=\"{outcome}\"");
    let line =
        page.lines().find(|line| line.starts_with("membership_cache_lookups_total") && line.contains(&label));
    line.and_then(|line| line.rsplit(' ').next()).map_or(0, |figure| figure.parse::<f64>().unwrap() as u64)
}

async fn ask(house: &House, known: Known) -> Result<pb::CheckEligibilityResponse, tonic::Status> {
    let message = pb::CheckEligibilityRequest {
        known: Some(known),
        service_date: TODAY.into(),
        care_type: pb::CareType::Outpatient.into(),
    };
    let answer = house.service.check_eligibility(house.call("service:claims", message)).await;
    answer.map(tonic::Response::into_inner)
}

async fn eligible(house: &House, member: &pb::Member) -> bool {
    ask(house, Known::MemberId(member.member_id.clone())).await.unwrap().eligible
}

async fn name(house: &House, member: &pb::Member) -> String {
    ask(house, Known::MemberId(member.member_id.clone())).await.unwrap().member_name
}

/// Waits until lookups of a member are answered from what was read before.
async fn remembered(house: &House, member: &pb::Member) {
    for _ in 0..1000 {
        let before = lookups("hit");
        eligible(house, member).await;
        if lookups("hit") > before {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("nothing was remembered");
}

/// Asks until the answer is new. An old one is only right for a question that came within the bound.
async fn within_the_bound<F: Future<Output = bool>>(since: Instant, mut is_new: impl FnMut() -> F) {
    loop {
        let asked = since.elapsed();
        if is_new().await {
            return;
        }
        assert!(asked < BOUND, "an old answer {asked:?} after the change");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Changes a name as somebody with a console would.
async fn rename(connection: &mut PgConnection, member: &pb::Member, name: &str) {
    sqlx::query("update member set name = $2 where member_id = $1::uuid")
        .bind(&member.member_id)
        .bind(name)
        .execute(connection)
        .await
        .unwrap();
}

/// Changes a name without a trace: the triggers are told to sleep.
async fn rename_unseen(house: &House, member: &pb::Member, name: &str) {
    let mut console = house.db.pool.begin().await.unwrap();
    console.execute("set local session_replication_role = replica").await.unwrap();
    rename(&mut console, member, name).await;
    console.commit().await.unwrap();
}

// One test after the other: they count what the process as a whole has looked up.
#[tokio::test]
async fn answers_from_memory_are_never_older_than_promised() {
    LazyLock::force(&TELEMETRY);
    a_payment_through_one_replica_is_seen_by_the_other().await;
    a_write_is_seen_at_once_where_it_was_made().await;
    a_transaction_that_commits_late_is_not_missed().await;
    a_person_registered_anew_is_found_anew().await;
    whatever_is_written_of_a_family_is_told().await;
    nothing_is_used_while_the_database_does_not_tell_what_changed().await;
    without_a_cache_every_question_reads_the_database().await;
}

async fn a_payment_through_one_replica_is_seen_by_the_other() {
    let here = House::new("replicas").await;
    let there = here.beside(1000).await;
    let family = here.family(pb::Segment::Pbpu, "2026-11-01").await;
    assert!(!eligible(&there, &family[0]).await);
    remembered(&there, &family[0]).await;
    let posting = here.pay(&family[0].family_id, "BNI-1", 3 * 35_000, TODAY).await.unwrap();
    assert_eq!(posting.family_id, family[0].family_id);
    within_the_bound(Instant::now(), || eligible(&there, &family[0])).await;
    // The other members of the family as well.
    assert!(eligible(&there, &family[1]).await);
}

async fn a_write_is_seen_at_once_where_it_was_made() {
    let mut house = House::new("own").await;
    let family = house.family(pb::Segment::Pbpu, "2026-11-01").await;
    remembered(&house, &family[0]).await;
    remembered(&house, &family[1]).await;
    house.pay(&family[0].family_id, "BNI-1", 3 * 35_000, TODAY).await.unwrap();
    assert!(eligible(&house, &family[0]).await && eligible(&house, &family[1]).await);
    for new in ["Siti Aminah binti Ahmad", "Siti Aminah Santoso"] {
        remembered(&house, &family[0]).await;
        house.at += jiff::SignedDuration::from_secs(1);
        let change = pb::UpdateMemberRequest {
            request_id: key(),
            member_id: family[0].member_id.clone(),
            change: Some(pb::MemberChange { name: new.into(), ..Default::default() }),
            update_mask: Some(prost_types::FieldMask { paths: vec!["name".into()] }),
        };
        house.service.update_member(house.call(BPJS, change)).await.unwrap();
        assert_eq!(name(&house, &family[0]).await, new);
    }
}

async fn a_transaction_that_commits_late_is_not_missed() {
    let here = House::new("late").await;
    let there = here.beside(1000).await;
    let family = here.family(pb::Segment::Pbi, "").await;
    let mut others = Vec::new();
    for number in 0..20 {
        let nik = format!("327301450590{:04}", 100 + number);
        let message = pb::RegisterFamilyRequest {
            members: vec![person(&nik, "Warga Lain", "1990-05-05", pb::Sex::Female, pb::Relation::Head)],
            ..house::register(pb::Segment::Pbi)
        };
        let answer = here.service.register_family(here.call(BPJS, message)).await.unwrap();
        others.extend(answer.into_inner().members);
    }
    remembered(&there, &family[0]).await;

    // It takes its number first, and many others are seen to commit before it does.
    let mut late = here.db.pool.begin().await.unwrap();
    rename(&mut late, &family[0], "Late").await;
    for (number, other) in others.iter().enumerate() {
        let new = format!("Warga {number}");
        rename(&mut here.db.pool.acquire().await.unwrap(), other, &new).await;
        within_the_bound(Instant::now(), async || name(&there, other).await == new).await;
    }
    assert_eq!(name(&there, &family[0]).await, "Siti Aminah");
    remembered(&there, &family[0]).await;
    late.commit().await.unwrap();
    within_the_bound(Instant::now(), async || name(&there, &family[0]).await == "Late").await;
}

async fn a_person_registered_anew_is_found_anew() {
    let here = House::new("anew").await;
    let there = here.beside(1000).await;
    let family = here.family(pb::Segment::Pbi, "2026-01-01").await;
    let end = pb::UpdateMemberRequest {
        request_id: key(),
        member_id: family[1].member_id.clone(),
        change: Some(pb::MemberChange {
            status: pb::MembershipStatus::Abroad.into(),
            ended_on: "2026-03-01".into(),
            ..Default::default()
        }),
        update_mask: Some(prost_types::FieldMask { paths: vec!["status".into(), "ended_on".into()] }),
    };
    here.service.update_member(here.call(BPJS, end)).await.unwrap();
    let by_nik = async |house: &House| ask(house, Known::Nik(family[1].nik.clone())).await.unwrap();
    within_the_bound(Instant::now(), async || !by_nik(&there).await.eligible).await;
    for house in [&here, &there] {
        let before = lookups("hit");
        while lookups("hit") == before {
            assert_eq!(by_nik(house).await.member_id, family[1].member_id);
        }
    }
    let again = pb::RegisterFamilyRequest {
        members: vec![person(
            &family[1].nik,
            "Budi Santoso",
            "1988-01-01",
            pb::Sex::Male,
            pb::Relation::Head,
        )],
        covered_from: "2026-06-01".into(),
        ..house::register(pb::Segment::Pbi)
    };
    let new = here.service.register_family(here.call(BPJS, again)).await.unwrap().into_inner();
    let committed = Instant::now();
    assert_eq!(by_nik(&here).await.member_id, new.members[0].member_id);
    within_the_bound(committed, async || by_nik(&there).await.member_id == new.members[0].member_id).await;

    // Who was not found is looked for again each time.
    let stranger = Known::Nik("3273014505900777".into());
    assert_eq!(reason(&ask(&here, stranger.clone()).await.unwrap_err()), "NOT_FOUND");
    let first = pb::RegisterFamilyRequest {
        members: vec![person(
            "3273014505900777",
            "Warga Baru",
            "1990-05-05",
            pb::Sex::Female,
            pb::Relation::Head,
        )],
        ..house::register(pb::Segment::Pbi)
    };
    assert_eq!(reason(&ask(&there, stranger.clone()).await.unwrap_err()), "NOT_FOUND");
    here.service.register_family(here.call(BPJS, first)).await.unwrap();
    assert!(ask(&here, stranger.clone()).await.unwrap().eligible);
    assert!(ask(&there, stranger).await.unwrap().eligible);
}

/// Each table that a record is read from, each kind of statement, by a console.
async fn whatever_is_written_of_a_family_is_told() {
    let house = House::new("tables").await;
    let family = house.family(pb::Segment::Pbpu, "2026-11-01").await;
    let other = {
        let message = pb::RegisterFamilyRequest {
            members: vec![person(
                "3273014505900088",
                "Warga Lain",
                "1990-05-05",
                pb::Sex::Female,
                pb::Relation::Head,
            )],
            ..house::register(pb::Segment::Pbi)
        };
        let answer = house.service.register_family(house.call(BPJS, message)).await.unwrap();
        answer.into_inner().members.remove(0)
    };
    let (of, to) = (family[0].family_id.clone(), other.family_id.clone());
    let changed = async || -> (bool, bool) {
        let families: Vec<String> = sqlx::query_scalar(
            "select family_id::text from family where changed_xid >= (select max(xid) from look)",
        )
        .fetch_all(&house.db.pool)
        .await
        .unwrap();
        (families.contains(&of), families.contains(&to))
    };
    let console = &house.db.pool;
    console.execute("create table look (xid xid8)").await.unwrap();
    let (own, both) = ((true, false), (true, true));
    for (statement, expected) in [
        ("update family_terms set care_class = 2 where family_id = $1::uuid and $2 <> ''", own),
        (
            "insert into family_terms select family_id, '2020-01-01', '2020-02-01', segment, 3, 0 from family_terms where family_id = $1::uuid and $2 <> ''",
            own,
        ),
        ("delete from family_terms where family_id = $1::uuid and valid_to = '2020-02-01' and $2 <> ''", own),
        (
            "insert into contribution_posting (posting_id, family_id, amount_rupiah, paid_on, first_month, last_month, reactivated) select gen_random_uuid(), $1::uuid, 1, '2026-11-01', '2026-11-01', '2026-11-01', false where $2 <> ''",
            own,
        ),
        ("update contribution_posting set family_id = $2::uuid where family_id = $1::uuid", both),
        ("update contribution_posting set family_id = $1::uuid where family_id = $2::uuid", both),
        ("delete from contribution_posting where family_id = $1::uuid and $2 <> ''", own),
        (
            "update member set address = 'Jalan Baru 2' where family_id = $1::uuid and relation = 'HEAD' and $2 <> ''",
            own,
        ),
        ("update member set family_id = $2::uuid where family_id = $1::uuid and relation = 'CHILD'", both),
        (
            "update fktp_choice set proof_reference = 'x' where member_id in (select member_id from member where family_id = $1::uuid) and $2 <> ''",
            own,
        ),
        (
            "insert into fktp_choice select member_id, '2020-01-01', '2020-02-01', fktp_code, ground, '' from fktp_choice where member_id in (select member_id from member where family_id = $1::uuid and relation = 'HEAD') and $2 <> ''",
            own,
        ),
        (
            "delete from fktp_choice where member_id in (select member_id from member where family_id = $1::uuid and relation = 'SPOUSE') and $2 <> ''",
            own,
        ),
        ("delete from member where family_id = $1::uuid and relation = 'SPOUSE' and $2 <> ''", own),
    ] {
        console.execute("insert into look values (pg_current_xact_id())").await.unwrap();
        let done = sqlx::query(statement).bind(&of).bind(&to).execute(console).await.unwrap();
        assert!(done.rows_affected() > 0, "{statement}");
        assert_eq!(changed().await, expected, "{statement}");
    }
    // What reads only, or writes what no record is read from, is no change.
    console.execute("insert into look values (pg_current_xact_id())").await.unwrap();
    console
        .execute("insert into nik_answer select member_id, now(), 'MATCHED', '{}' from member")
        .await
        .unwrap();
    assert_eq!(changed().await, (false, false));
    // A family that is gone could tell nobody.
    console.execute("insert into family (family_id) values (gen_random_uuid())").await.unwrap();
    let refused = console
        .execute("delete from family f where not exists (select from member where family_id = f.family_id)");
    assert!(refused.await.is_err());
}

async fn nothing_is_used_while_the_database_does_not_tell_what_changed() {
    let here = House::new("cut").await;
    let member = here.family(pb::Segment::Pbi, "").await.remove(0);
    // What nobody tells is not known. It may still be told of the registration: then it is read again, and remembered.
    let mut known = String::new();
    for number in 0.. {
        assert!(number < 20, "nothing is answered from what was read before");
        remembered(&here, &member).await;
        known = name(&here, &member).await;
        rename_unseen(&here, &member, &format!("Unseen {number}")).await;
        if name(&here, &member).await == known {
            break;
        }
    }
    let unseen = async || name(&here, &member).await != known;

    // The watch waits for a lock now; lookups do not need that table.
    let mut held = here.db.pool.begin().await.unwrap();
    held.execute("lock table family").await.unwrap();
    within_the_bound(Instant::now(), &unseen).await;
    let before = (lookups("hit"), lookups("unwatched"));
    for _ in 0..10 {
        assert!(unseen().await);
    }
    assert_eq!((lookups("hit"), lookups("unwatched")), (before.0, before.1 + 10));
    held.rollback().await.unwrap();

    // On a new connection nothing is used that was read before: it may lead to another server.
    remembered(&here, &member).await;
    rename_unseen(&here, &member, "Unseen again").await;
    let cut = "select count(pg_terminate_backend(pid)) from pg_stat_activity
                where datname = current_database() and pid <> pg_backend_pid() and query like '%pg_visible_in_snapshot%'";
    let watches: i64 = sqlx::query_scalar(cut).fetch_one(&here.db.pool).await.unwrap();
    assert!(watches >= 1);
    within_the_bound(Instant::now(), async || name(&here, &member).await == "Unseen again").await;
    remembered(&here, &member).await;
    assert_eq!(name(&here, &member).await, "Unseen again");
}

async fn without_a_cache_every_question_reads_the_database() {
    let house = House::new("nocache").await;
    let bare = house.beside(0).await;
    let member = house.family(pb::Segment::Pbi, "").await.remove(0);
    assert!(eligible(&bare, &member).await);
    rename_unseen(&house, &member, "Unseen").await;
    assert_eq!(name(&bare, &member).await, "Unseen");
}
