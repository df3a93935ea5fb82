//! Work lists: who owes what for how long, on a real Postgres.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    refusal::{reason, wrong_fields},
    served::Served,
    wishes::{BPJS, HOSPITAL, OTHER, day, key, today},
};
use jiff::ToSpan;
use proto::claims::v1 as pb;

async fn list(served: &Served, caller: &'static str, request: pb::ListWorkRequest) -> Vec<pb::WorkItem> {
    served.work(caller).list_work(request).await.unwrap().into_inner().items
}

async fn of(served: &Served, party: pb::Party) -> Vec<String> {
    let request = pb::ListWorkRequest { waiting_for: party.into(), ..Default::default() };
    list(served, BPJS, request).await.into_iter().map(|item| item.claim_id).collect()
}

fn clock(item: &pb::WorkItem, which: pb::WorkClock) -> Option<(String, bool, i32)> {
    let found = item.clocks.iter().find(|reading| reading.clock() == which)?;
    Some((found.due_on.clone(), found.passed, found.days_left))
}

#[tokio::test(flavor = "multi_thread")]
async fn each_party_sees_what_it_owes_oldest_first_and_nobody_what_is_closed() {
    let served = Served::start().await;
    let draft = served.created(&served.issue(crate::wishes::visit(day(-3))).await.unwrap()).await;
    let sent = served.sent(today()).await;
    let older = served.sent(day(-1)).await;
    served.submitted_earlier(&older, 20).await;
    let pending = served.pending(today()).await;
    let disputed = served.pending(today()).await;
    let request = pb::OpenDisputeRequest {
        request_id: key(),
        claim_id: disputed.claim_id.clone(),
        round: 1,
        ground: pb::DisputeGround::CodingRule.into(),
        statement: "not so".into(),
        documents: vec![],
    };
    served.disputes(HOSPITAL).open_dispute(request).await.unwrap();
    let asked = served.sent(today()).await;
    let ask = pb::RecordVerificationRequest {
        request_id: key(),
        claim_id: asked.claim_id.clone(),
        outcome: pb::VerificationOutcome::Pending.into(),
        reason: pb::PendingReason::Other.into(),
        asked_of: pb::Party::Bpjs.into(),
        detail: "is it in the register".into(),
    };
    served.claims(BPJS).record_verification(ask).await.unwrap();
    let payable = served.payable(today()).await;
    let paid = served.payable(today()).await;
    served.settled(&paid, "BNI-1", paid.approved_rupiah).await.unwrap();

    assert_eq!(
        of(&served, pb::Party::Hospital).await,
        [&draft, &pending].map(|claim| claim.claim_id.clone())
    );
    let mut same_day = [&sent, &asked, &payable].map(|claim| claim.claim_id.clone());
    same_day.sort();
    let mut expected = vec![older.claim_id.clone()];
    expected.extend(same_day);
    assert_eq!(of(&served, pb::Party::Bpjs).await, expected);
    assert_eq!(of(&served, pb::Party::DisputeBody).await, std::slice::from_ref(&disputed.claim_id));
    let all = list(&served, BPJS, pb::ListWorkRequest::default()).await;
    assert_eq!(all.len(), 7);
    assert!(all.iter().all(|item| item.claim_id != paid.claim_id));
    assert!(all.windows(2).all(|pair| pair[0].begun_on <= pair[1].begun_on), "oldest first");
    assert!(list(&served, OTHER, pb::ListWorkRequest::default()).await.is_empty());
    assert_eq!(list(&served, HOSPITAL, pb::ListWorkRequest::default()).await, all);

    let coding = pb::ListWorkRequest { reason: pb::PendingReason::Coding.into(), ..Default::default() };
    assert_eq!(list(&served, BPJS, coding).await.len(), 2);
    let old = pb::ListWorkRequest { min_age_days: 20, ..Default::default() };
    let old: Vec<_> = list(&served, BPJS, old).await.into_iter().map(|item| item.claim_id).collect();
    assert_eq!(old, std::slice::from_ref(&older.claim_id));

    // Pages meet without gap or overlap.
    let mut paged = Vec::new();
    let mut request = pb::ListWorkRequest { page_size: 2, ..Default::default() };
    loop {
        let answer = served.work(BPJS).list_work(request.clone()).await.unwrap().into_inner();
        paged.extend(answer.items);
        if answer.next_page_token.is_empty() {
            break;
        }
        request.page_token = answer.next_page_token;
    }
    assert_eq!(paged, all);

    // The sums are those of the list.
    let sums =
        served.work(BPJS).summarise_work(pb::SummariseWorkRequest::default()).await.unwrap().into_inner();
    let mut counted = BTreeMap::<(i32, i32), (i64, i64)>::new();
    for sum in &sums.sums {
        let entry = counted.entry((sum.waiting_for, sum.from_days)).or_default();
        *entry = (entry.0 + sum.claims, entry.1 + sum.amount_rupiah);
    }
    let mut listed = BTreeMap::<(i32, i32), (i64, i64)>::new();
    for item in &all {
        let band = if item.age_days > 14 { 15 } else { 0 };
        let entry = listed.entry((item.waiting_for, band)).or_default();
        *entry = (entry.0 + 1, entry.1 + item.amount_rupiah);
    }
    assert_eq!(counted, listed);
    let with_reason: i64 =
        sums.sums.iter().filter(|sum| sum.reason() == pb::PendingReason::Coding).map(|sum| sum.claims).sum();
    assert_eq!(with_reason, 1, "only of rounds that are open");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_clocks_are_read_as_of_a_day_and_exactly_fourteen_days_is_not_late() {
    let served = Served::start().await;
    let claim = served.sent(today()).await;
    let at = |days: i64| pb::ListWorkRequest { as_of: day(days).to_string(), ..Default::default() };
    let read = async |days: i64| list(&served, HOSPITAL, at(days)).await.into_iter().next().unwrap();
    let indicator = day(14).to_string();
    let (fourteen, fifteen) = (read(14).await, read(15).await);
    assert_eq!(clock(&fourteen, pb::WorkClock::Indicator), Some((indicator.clone(), false, 0)));
    assert_eq!(clock(&fifteen, pb::WorkClock::Indicator), Some((indicator, true, -1)));
    assert_eq!((fourteen.age_days, fifteen.age_days, fifteen.idle_days), (14, 15, 15));
    assert_eq!(clock(&read(10).await, pb::WorkClock::Completeness), Some((day(10).to_string(), false, 0)));
    assert_eq!(clock(&read(11).await, pb::WorkClock::Completeness), None, "silence has answered");
    assert_eq!(clock(&read(25).await, pb::WorkClock::Payment), Some((day(25).to_string(), false, 0)));
    assert_eq!(clock(&read(26).await, pb::WorkClock::Payment), Some((day(25).to_string(), true, -1)));
    assert!(list(&served, HOSPITAL, at(-1)).await.is_empty(), "it had not begun");
    // A draft has six months.
    let draft = served
        .coded(
            &served.issue(crate::wishes::visit(day(-10))).await.unwrap(),
            crate::wishes::coding(day(-10), "E11.9"),
        )
        .await;
    let item = list(&served, HOSPITAL, at(0)).await.into_iter().find(|item| item.claim_id == draft.claim_id);
    let limit = day(-10) + 6.months();
    let item = item.unwrap();
    assert_eq!(clock(&item, pb::WorkClock::FilingLimit).unwrap().0, limit.to_string());
    assert_eq!((item.begun_on, item.age_days), (day(-10).to_string(), 10));
    assert_eq!(served.read(&claim).await.clocks.unwrap().age_days, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_day_of_a_claim_ends_at_midnight_in_jakarta() {
    let served = Served::start().await;
    let claim = served.sent(today()).await;
    for (submitted_at, begun_on, age) in
        [("2026-03-31T16:59:59.999Z", "2026-03-31", 15), ("2026-03-31T17:00:00Z", "2026-04-01", 14)]
    {
        sqlx::query("update claim set submitted_at = $1::timestamptz")
            .bind(submitted_at)
            .execute(&served.database.pool)
            .await
            .unwrap();
        let request = pb::ListWorkRequest { as_of: "2026-04-15".into(), ..Default::default() };
        let item = list(&served, BPJS, request).await.into_iter().next().unwrap();
        assert_eq!((item.begun_on.as_str(), item.age_days), (begun_on, age));
        assert_eq!(clock(&item, pb::WorkClock::Indicator).unwrap().1, age > 14);
        let sums = pb::SummariseWorkRequest { as_of: "2026-04-15".into(), ..Default::default() };
        let sums = served.work(BPJS).summarise_work(sums).await.unwrap().into_inner().sums;
        assert_eq!((sums.len(), sums[0].from_days), (1, if age > 14 { 15 } else { 8 }));
        // The database and the domain count the same days.
        assert_eq!(served.read(&claim).await.clocks.unwrap().age_days - age, days_between("2026-04-15"));
    }
}

fn days_between(day: &str) -> i32 {
    day.parse::<jiff::civil::Date>().unwrap().until(today()).unwrap().get_days()
}

#[tokio::test(flavor = "multi_thread")]
async fn closed_claims_cost_the_work_lists_nothing() {
    const CLOSED: i64 = 20_000;
    let served = Served::start().await;
    for _ in 0..3 {
        served.sent(today()).await;
    }
    // As many paid claims as a hospital has in half a year, on SEPs of their own.
    let pool = &served.database.pool;
    sqlx::raw_sql(
        "insert into sep (sep_number, facility_code, member_id, service_date, care_type, clinic, emergency, issued_at, letter)
         select 'X' || n, '0301R011', gen_random_uuid(), date '2026-01-01', 2, 'INT', false, now(), ''
         from generate_series(1, 20000) n;
         insert into claim (claim_id, sep_number, facility_code, member_id, care_type, service_date, state, steps, created_at,
                            tariff_rupiah, submitted_at, approved_rupiah, payment_reference, paid_rupiah, paid_on)
         select gen_random_uuid(), sep_number, facility_code, member_id, 2, service_date, 9, 1, now(), 100, now(), 100,
                sep_number, 100, date '2026-02-01'
         from sep where sep_number like 'X%';
         insert into claim_step select claim_id, 1, 9, now(), 'test' from claim where state = 9;
         analyze;
         select pg_stat_force_next_flush();",
    )
    .execute(pool)
    .await
    .unwrap();
    let reads = || async {
        let (index, sequential): (i64, i64) = sqlx::query_as(
            "select (select sum(idx_tup_read)::bigint from pg_stat_user_indexes where indexrelname like 'claim_work%'),
                    (select seq_tup_read from pg_stat_user_tables where relname = 'claim')",
        )
        .fetch_one(pool)
        .await
        .unwrap();
        (index, sequential)
    };
    let (_, sequential) = reads().await;
    // Often enough that the plan that serves every parameter is used as well.
    const TIMES: i64 = 8;
    for _ in 0..TIMES {
        assert_eq!(list(&served, BPJS, pb::ListWorkRequest::default()).await.len(), 3);
        assert_eq!(list(&served, HOSPITAL, pb::ListWorkRequest::default()).await.len(), 3);
        let sums = pb::SummariseWorkRequest::default();
        served.work(HOSPITAL).summarise_work(sums).await.unwrap();
    }
    // The server tells its statistics some time after it has gathered them.
    let begun = std::time::Instant::now();
    let (index, after) = loop {
        let (index, after) = reads().await;
        if index >= TIMES * 9 || begun.elapsed() > Duration::from_secs(60) {
            break (index, after);
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    assert!(index >= TIMES * 9, "the lists are read by their indexes: {index}");
    assert!(
        index < TIMES * 9 + 200 && after - sequential < CLOSED,
        "and read nothing that is closed: {index}, {}",
        after - sequential
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_input_names_every_field() {
    let served = Served::start().await;
    let wild = pb::ListWorkRequest {
        facility_code: "x".into(),
        waiting_for: 9,
        reason: 99,
        as_of: "2026-02-30".into(),
        min_age_days: -1,
        page_size: 501,
        page_token: "%".into(),
    };
    let wrong = wrong_fields(&served.work(BPJS).list_work(wild).await.unwrap_err());
    for field in
        ["facility_code", "waiting_for", "reason", "as_of", "min_age_days", "page_size", "page_token"]
    {
        assert!(wrong.iter().any(|name| name == field), "{field}: {wrong:?}");
    }
    let other = pb::ListWorkRequest { facility_code: "0301R012".into(), ..Default::default() };
    assert_eq!(wrong_fields(&served.work(HOSPITAL).list_work(other).await.unwrap_err()), ["facility_code"]);
    let early = pb::SummariseWorkRequest { as_of: "1999-01-01".into(), ..Default::default() };
    assert_eq!(reason(&served.work(BPJS).summarise_work(early).await.unwrap_err()), "NO_POLICY_FOR_DATE");
}
