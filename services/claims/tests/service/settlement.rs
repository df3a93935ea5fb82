//! Settlement: batches, recoveries, penalties and the ledger, on a real Postgres.

use std::{borrow::Cow, collections::BTreeMap};

use crate::{
    filings::{filed, filing},
    refusal::{fact, reason, wrong_fields},
    served::Served,
    wishes::{BPJS, HOSPITAL, OTHER, day, key, today},
};
use prost::Message;
use proto::claims::v1 as pb;
use sqlx::migrate::Migrator;
use tonic::{Code, Status};

const FACILITY: &str = "0301R011";

pub(crate) async fn open_batch(served: &Served) -> Result<pb::Batch, Status> {
    let request = pb::OpenBatchRequest { request_id: key(), facility_code: FACILITY.into() };
    Ok(served.settlement(BPJS).open_batch(request).await?.into_inner().batch.unwrap())
}

pub(crate) async fn post(
    served: &Served,
    batch: &pb::Batch,
    claims: &[&pb::Claim],
) -> Result<pb::PostClaimsResponse, Status> {
    let request = pb::PostClaimsRequest {
        request_id: key(),
        batch_id: batch.batch_id.clone(),
        claim_ids: claims.iter().map(|claim| claim.claim_id.clone()).collect(),
    };
    Ok(served.settlement(BPJS).post_claims(request).await?.into_inner())
}

async fn close(served: &Served, batch: &pb::Batch) -> Result<pb::Batch, Status> {
    let request = pb::CloseBatchRequest { request_id: key(), batch_id: batch.batch_id.clone() };
    Ok(served.settlement(BPJS).close_batch(request).await?.into_inner().batch.unwrap())
}

async fn pay(
    served: &Served,
    batch: &pb::Batch,
    reference: &str,
    amount: i64,
) -> Result<pb::RecordPaymentResponse, Status> {
    let request = pb::RecordPaymentRequest {
        request_id: key(),
        batch_id: batch.batch_id.clone(),
        payment_reference: reference.into(),
        amount_rupiah: amount,
        paid_on: today().to_string(),
    };
    Ok(served.settlement(BPJS).record_payment(request).await?.into_inner())
}

/// A batch of these claims, closed.
pub(crate) async fn closed(served: &Served, claims: &[&pb::Claim]) -> pb::Batch {
    let batch = open_batch(served).await.unwrap();
    post(served, &batch, claims).await.unwrap();
    close(served, &batch).await.unwrap()
}

async fn recover(
    served: &Served,
    claim: &pb::Claim,
    reference: &str,
    amount: i64,
) -> Result<pb::Recovery, Status> {
    let request = pb::RecordRecoveryRequest {
        request_id: key(),
        claim_id: claim.claim_id.clone(),
        audit_reference: reference.into(),
        amount_rupiah: amount,
        decided_on: today().to_string(),
        audit_id: String::new(),
    };
    Ok(served.settlement(BPJS).record_recovery(request).await?.into_inner().recovery.unwrap())
}

async fn balances(served: &Served) -> BTreeMap<pb::LedgerAccount, i64> {
    let request = pb::GetAccountsRequest { facility_code: FACILITY.into() };
    let accounts = served.settlement(HOSPITAL).get_accounts(request).await.unwrap().into_inner();
    assert_eq!(accounts.sum_rupiah, 0, "the ledger balances");
    let balances = accounts.balances.into_iter().map(|one| (one.account(), one.balance_rupiah));
    balances.filter(|(_, balance)| *balance != 0).collect()
}

async fn reconciled(served: &Served) -> pb::ReconcileSettlementResponse {
    let request = pb::ReconcileSettlementRequest {
        closed_from: day(-30).to_string(),
        closed_to: today().to_string(),
        facility_code: FACILITY.into(),
    };
    served.settlement(BPJS).reconcile_settlement(request).await.unwrap().into_inner()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_pays_its_claims_once_and_reconciles_to_zero() {
    let served = Served::start().await;
    let claims =
        [served.payable(today()).await, served.payable(today()).await, served.payable(today()).await];
    let [first, second, third] = &claims;
    let sum: i64 = claims.iter().map(|claim| claim.approved_rupiah).sum();
    let unready = served.sent(today()).await;

    let batch = open_batch(&served).await.unwrap();
    let second_open = open_batch(&served).await.unwrap_err();
    assert_eq!(
        (reason(&second_open).as_str(), fact(&second_open, "batch_id")),
        ("BATCH_IS_OPEN", batch.batch_id.clone())
    );
    assert_eq!(reason(&close(&served, &batch).await.unwrap_err()), "BATCH_EMPTY");

    // All or none: what cannot be posted is named, each.
    let nobody = pb::Claim { claim_id: crate::wishes::member(), ..Default::default() };
    let refused = post(&served, &batch, &[first, &unready, &nobody]).await.unwrap_err();
    assert_eq!(reason(&refused), "CLAIMS_NOT_POSTABLE");
    assert_eq!(wrong_fields(&refused), ["claim_ids[1]", "claim_ids[2]"]);
    let posted = post(&served, &batch, &[first, second]).await.unwrap();
    assert_eq!((posted.posted, posted.batch.unwrap().claims), (2, 2));
    let posted = post(&served, &batch, &[second, third]).await.unwrap();
    let held = posted.batch.unwrap();
    assert_eq!((posted.posted, held.claims, held.claims_rupiah), (1, 3, sum), "posted twice is posted once");
    let single = served.settled(first, "BNI-9", first.approved_rupiah).await.unwrap_err();
    assert_eq!(
        (reason(&single).as_str(), fact(&single, "batch_id")),
        ("CLAIM_IN_BATCH", batch.batch_id.clone())
    );

    assert_eq!(reason(&pay(&served, &batch, "BNI-1", sum).await.unwrap_err()), "BATCH_STATE_WRONG");
    let batch = close(&served, &batch).await.unwrap();
    assert_eq!((batch.state(), batch.claims, batch.due_rupiah), (pb::BatchState::Closed, 3, sum));
    let other = served.payable(today()).await;
    assert_eq!(reason(&post(&served, &batch, &[&other]).await.unwrap_err()), "BATCH_STATE_WRONG");
    let less = pay(&served, &batch, "BNI-1", sum - 1).await.unwrap_err();
    assert_eq!((reason(&less).as_str(), fact(&less, "due_rupiah")), ("PAYMENT_NOT_DUE", sum.to_string()));
    assert_eq!(balances(&served).await[&pb::LedgerAccount::HospitalPayable], -sum);
    assert_eq!(
        (reconciled(&served).await.unpaid_rupiah, reconciled(&served).await.differences),
        (sum, vec![])
    );

    let paid = pay(&served, &batch, "BNI-1", sum).await.unwrap();
    assert_eq!(pay(&served, &batch, "BNI-1", sum).await.unwrap(), paid, "recorded again, no second effect");
    assert_eq!(reason(&pay(&served, &batch, "BNI-2", sum).await.unwrap_err()), "PAYMENT_REFERENCE_USED");
    for claim in &claims {
        let read = served.read(claim).await;
        assert_eq!(read.state(), pb::ClaimState::Paid);
        let payment = read.payment.unwrap();
        assert_eq!(
            (payment.payment_reference.as_str(), payment.amount_rupiah),
            ("BNI-1", claim.approved_rupiah)
        );
        assert_eq!(read.steps.last().unwrap().taken_by, BPJS);
    }
    // A reference pays once, whichever way.
    let used = served.settled(&other, "BNI-1", other.approved_rupiah).await.unwrap_err();
    assert_eq!(reason(&used), "PAYMENT_REFERENCE_USED");
    served.settled(&other, "BNI-3", other.approved_rupiah).await.unwrap();

    let all = sum + other.approved_rupiah;
    let expected = BTreeMap::from([(pb::LedgerAccount::ClaimsExpense, all), (pb::LedgerAccount::Bank, -all)]);
    assert_eq!(balances(&served).await, expected);
    let report = reconciled(&served).await;
    assert_eq!((report.batches, report.claims_rupiah, report.paid_rupiah), (2, all, all));
    assert_eq!((report.unpaid_rupiah, report.differences, report.more), (0, vec![], false));

    let kinds = served.kinds(29).await;
    let count = |kind: &str| kinds.iter().filter(|one| *one == kind).count();
    assert_eq!((count("ClaimPaid"), count("BatchClosed"), count("BatchPaid")), (4, 1, 1));

    let lines = pb::ListBatchClaimsRequest { batch_id: batch.batch_id.clone(), ..Default::default() };
    let lines = served.settlement(HOSPITAL).list_batch_claims(lines).await.unwrap().into_inner().claims;
    assert_eq!(lines.len(), 3);
    assert!(lines.iter().all(|line| line.due_on == day(25).to_string() && line.penalty_rupiah == 0));
    let get = pb::GetBatchRequest { batch_id: batch.batch_id.clone() };
    assert_eq!(served.settlement(OTHER).get_batch(get).await.unwrap_err().code(), Code::NotFound);
    let list = pb::ListBatchesRequest { state: pb::BatchState::Paid.into(), ..Default::default() };
    let listed = served.settlement(HOSPITAL).list_batches(list).await.unwrap().into_inner().batches;
    assert_eq!(listed.iter().map(|batch| batch.single).collect::<Vec<_>>(), [false, true]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_audit_recovers_is_taken_from_the_next_batches_and_never_below_zero() {
    let served = Served::start().await;
    let audited = served.payable(day(-1)).await;
    let early = recover(&served, &audited, "VPK-1", 1).await.unwrap_err();
    assert_eq!((reason(&early).as_str(), fact(&early, "state").as_str()), ("CLAIM_STATE_WRONG", "APPROVED"));
    served.settled(&audited, "BNI-1", audited.approved_rupiah).await.unwrap();
    let amount = audited.approved_rupiah;
    let recovery = recover(&served, &audited, "VPK-1", amount - 10).await.unwrap();
    assert_eq!(recovery.left_rupiah, amount - 10);
    let again = recover(&served, &audited, "VPK-1", amount - 10).await.unwrap();
    assert_eq!(again.recovery_id, recovery.recovery_id, "recorded again, no second effect");
    assert_eq!(reason(&recover(&served, &audited, "VPK-1", 5).await.unwrap_err()), "AUDIT_REFERENCE_USED");
    let high = recover(&served, &audited, "VPK-2", 11).await.unwrap_err();
    assert_eq!((reason(&high).as_str(), fact(&high, "left_rupiah").as_str()), ("RECOVERY_TOO_HIGH", "10"));
    assert_eq!(served.read(&audited).await.state(), pb::ClaimState::Paid, "it stays paid");
    let more = served.payable(day(-2)).await;
    served.settled(&more, "BNI-2", more.approved_rupiah).await.unwrap();
    let second = recover(&served, &more, "VPK-3", 25).await.unwrap();
    assert_eq!(balances(&served).await[&pb::LedgerAccount::RecoveryReceivable], amount + 15);

    // The claims of visits like these all have the same tariff, so the first batch cannot bear it all.
    let next = served.payable(today()).await;
    assert_eq!(next.approved_rupiah, amount);
    let batch = closed(&served, &[&next]).await;
    assert_eq!((batch.claims_rupiah, batch.offset_rupiah, batch.due_rupiah), (amount, amount, 0));
    let paid = pay(&served, &batch, "JOURNAL-1", 0).await.unwrap().batch.unwrap();
    assert_eq!(paid.state(), pb::BatchState::Paid);
    assert_eq!(served.read(&next).await.payment.unwrap().amount_rupiah, amount, "paid, by what was owed");
    let open = pb::ListRecoveriesRequest { only_open: true, ..Default::default() };
    let left = served.settlement(HOSPITAL).list_recoveries(open.clone()).await.unwrap().into_inner();
    let left: Vec<_> = left.recoveries.into_iter().map(|one| (one.recovery_id, one.left_rupiah)).collect();
    assert_eq!(left, [(second.recovery_id, 15)], "oldest first; the rest is carried");

    let third = served.payable(today()).await;
    let batch = closed(&served, &[&third]).await;
    assert_eq!((batch.offset_rupiah, batch.due_rupiah), (15, amount - 15));
    pay(&served, &batch, "BNI-4", amount - 15).await.unwrap();
    assert!(
        served.settlement(HOSPITAL).list_recoveries(open).await.unwrap().into_inner().recoveries.is_empty()
    );
    let ends = balances(&served).await;
    assert_eq!(ends.get(&pb::LedgerAccount::RecoveryReceivable), None);
    assert_eq!(ends[&pb::LedgerAccount::ClaimsRecovered], -(amount + 15));
    assert_eq!(ends[&pb::LedgerAccount::Bank], -(4 * amount - (amount + 15)));
    assert_eq!(reconciled(&served).await.differences, []);
    let kinds = served.kinds(30).await;
    assert_eq!(kinds.iter().filter(|kind| *kind == "RecoveryRecorded").count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn late_payment_earns_a_penalty_that_the_next_batch_pays() {
    let served = Served::start().await;
    let late = served.payable(today()).await;
    // Due 25 days after submission: so it is more than two months late, and less than three.
    served.submitted_earlier(&late, 25 + 70).await;
    let in_time = served.payable(today()).await;
    served.submitted_earlier(&in_time, 25).await;
    let batch = closed(&served, &[&late, &in_time]).await;
    let paid = pay(&served, &batch, "BNI-1", batch.due_rupiah).await.unwrap();
    let penalty = (late.approved_rupiah * 200 + 5_000) / 10_000;
    assert_eq!(paid.penalties_earned_rupiah, penalty);
    let again = pay(&served, &batch, "BNI-1", batch.due_rupiah).await.unwrap();
    assert_eq!(again.penalties_earned_rupiah, penalty);
    assert_eq!(balances(&served).await[&pb::LedgerAccount::PenaltyPayable], -penalty);

    // A single payment that is late earns as well.
    let single = served.payable(today()).await;
    served.submitted_earlier(&single, 25 + 40).await;
    served.settled(&single, "BNI-2", single.approved_rupiah).await.unwrap();
    let more = (single.approved_rupiah * 100 + 5_000) / 10_000;
    assert_eq!(balances(&served).await[&pb::LedgerAccount::PenaltyPayable], -(penalty + more));

    let next = served.payable(today()).await;
    let batch = closed(&served, &[&next]).await;
    assert_eq!(batch.penalties_rupiah, penalty + more);
    assert_eq!(batch.due_rupiah, next.approved_rupiah + penalty + more);
    pay(&served, &batch, "BNI-3", batch.due_rupiah).await.unwrap();
    let ends = balances(&served).await;
    assert_eq!(ends.get(&pb::LedgerAccount::PenaltyPayable), None);
    assert_eq!(ends[&pb::LedgerAccount::PenaltyExpense], penalty + more);
    assert_eq!(reconciled(&served).await.differences, []);
    let events = served.events(30).await;
    let earned: Vec<_> = events
        .iter()
        .filter(|event| event.r#type == "jkn.claims.v1.LatePenaltyEarned")
        .map(|event| pb::LatePenaltyEarned::decode(event.body.clone()).unwrap())
        .map(|event| (event.claims, event.penalty_rupiah))
        .collect();
    assert_eq!(earned, [(1, penalty), (1, more)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_hospital_answered_late_earns_no_penalty() {
    let served = Served::start().await;
    let pending = served.pending(today()).await;
    served.submitted_earlier(&pending, 100).await;
    let answer = pb::AnswerPendingRequest {
        request_id: key(),
        claim_id: pending.claim_id.clone(),
        round: 1,
        answer: "see the summary".into(),
        documents: vec![],
    };
    let back = served.claims(HOSPITAL).answer_pending(answer).await.unwrap().into_inner().claim.unwrap();
    let approved = served.approved(&served.verified(&back).await.unwrap()).await.unwrap();
    served.settled(&approved, "BNI-1", approved.approved_rupiah).await.unwrap();
    assert_eq!(balances(&served).await.get(&pb::LedgerAccount::PenaltyPayable), None);
    let due_on: String = sqlx::query_scalar("select due_on::text from payment_line")
        .fetch_one(&served.database.pool)
        .await
        .unwrap();
    assert_eq!(due_on, day(15).to_string(), "fifteen days from the answer");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_single_payment_and_a_batch_never_pay_the_same_claim() {
    let served = Served::start().await;
    for round in 0..8 {
        let claim = served.payable(today()).await;
        let batch = open_batch(&served).await.unwrap();
        let reference = format!("BNI-{round}");
        let claims = [&claim];
        let (posted, settled) = tokio::join!(
            post(&served, &batch, &claims),
            served.settled(&claim, &reference, claim.approved_rupiah),
        );
        assert!(posted.is_ok() != settled.is_ok(), "{posted:?} {settled:?}");
        if posted.is_err() {
            let filler = served.payable(today()).await;
            post(&served, &batch, &[&filler]).await.unwrap();
        }
        let batch = close(&served, &batch).await.unwrap();
        // The bank's answer was lost, and the payment is recorded by two clerks at once.
        let twice = format!("BNI-B{round}");
        let (one, other) = tokio::join!(
            pay(&served, &batch, &twice, batch.due_rupiah),
            pay(&served, &batch, &twice, batch.due_rupiah),
        );
        assert_eq!(one.unwrap(), other.unwrap());
    }
    let report = reconciled(&served).await;
    assert_eq!((report.differences, report.unpaid_rupiah), (vec![], 0));
    assert_eq!(balances(&served).await[&pb::LedgerAccount::Bank], -report.paid_rupiah);
    let paid: i64 = sqlx::query_scalar("select sum(paid_rupiah)::bigint from claim where state = 9")
        .fetch_one(&served.database.pool)
        .await
        .unwrap();
    assert_eq!(paid, report.paid_rupiah);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_database_refuses_an_entry_that_does_not_balance_and_keeps_what_was_posted() {
    let served = Served::start().await;
    let claim = served.payable(today()).await;
    served.settled(&claim, "BNI-1", claim.approved_rupiah).await.unwrap();
    let pool = &served.database.pool;
    let constraint = |error: sqlx::Error| match error {
        sqlx::Error::Database(error) => error.constraint().unwrap_or_default().to_owned(),
        other => panic!("{other}"),
    };
    let mut transaction = pool.begin().await.unwrap();
    sqlx::query(
        "with entry as (
             insert into ledger_entry (entry_id, facility_code, kind, posted_on, posted_at, posted_by)
             values (gen_random_uuid(), 'x', 1, current_date, now(), 'test') returning entry_id
         )
         insert into ledger_line select entry_id, account, amount from entry cross join (values (1, 100), (2, -99)) l (account, amount)",
    )
    .execute(&mut *transaction)
    .await
    .unwrap();
    assert_eq!(constraint(transaction.commit().await.unwrap_err()), "ledger_entry_balances");
    for statement in
        ["update ledger_line set amount_rupiah = 1", "delete from ledger_line", "delete from ledger_entry"]
    {
        let refused = sqlx::query(statement).execute(pool).await.unwrap_err();
        assert_eq!(constraint(refused), "ledger_stands", "{statement}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn reconciliation_lists_every_difference() {
    let served = Served::start().await;
    let claims = [served.payable(today()).await, served.payable(today()).await];
    let batch = closed(&served, &[&claims[0], &claims[1]]).await;
    pay(&served, &batch, "BNI-1", batch.due_rupiah).await.unwrap();
    let alone = served.payable(today()).await;
    let pool = &served.database.pool;
    // A line that was changed by hand, a claim that was paid past the batches, a payment of the batch taken back.
    sqlx::raw_sql("update payment_line set amount_rupiah = amount_rupiah + 7 where claim_id = (select min(claim_id::text)::uuid from payment_line)")
        .execute(pool)
        .await
        .unwrap();
    sqlx::query(
        "update claim set state = 9, payment_reference = 'CASH', paid_rupiah = approved_rupiah, paid_on = $2::date
         where claim_id = $1::uuid",
    )
    .bind(&alone.claim_id)
    .bind(today().to_string())
    .execute(pool)
    .await
    .unwrap();
    let report = reconciled(&served).await;
    let mut kinds: Vec<_> =
        report.differences.iter().map(|one| (one.kind(), one.found_rupiah - one.expected_rupiah)).collect();
    kinds.sort_unstable();
    assert_eq!(
        kinds,
        [
            (pb::DifferenceKind::ClaimAndLine, -7),
            (pb::DifferenceKind::LinesAndBatch, -7),
            (pb::DifferenceKind::ClaimWithoutBatch, alone.approved_rupiah),
        ]
    );
    sqlx::raw_sql("update payment_batch set payment_reference = null, paid_on = null, paid_rupiah = null")
        .execute(pool)
        .await
        .unwrap();
    let report = reconciled(&served).await;
    let kinds: Vec<_> = report.differences.iter().map(pb::Difference::kind).collect();
    assert!(kinds.contains(&pb::DifferenceKind::BatchAndLedger), "{kinds:?}");
    assert_eq!(kinds.iter().filter(|kind| **kind == pb::DifferenceKind::ClaimAndLine).count(), 2);
    let elsewhere = pb::ReconcileSettlementRequest {
        closed_from: day(-30).to_string(),
        closed_to: today().to_string(),
        facility_code: "0301R012".into(),
    };
    assert!(kinds.contains(&pb::DifferenceKind::Account), "{kinds:?}");
    let none = served.settlement(BPJS).reconcile_settlement(elsewhere).await.unwrap().into_inner();
    assert_eq!((none.batches, none.differences), (0, vec![]));
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_input_names_every_field_and_leaves_nothing() {
    let served = Served::start().await;
    let wild = pb::FileMonthRequest { month: "2026-13".into(), ..Default::default() };
    let wrong = wrong_fields(&served.settlement(HOSPITAL).file_month(wild).await.unwrap_err());
    assert_eq!(wrong, ["request_id", "month", "claims", "claims_rupiah", "documents"]);
    let future = filing(day(40), 1, 1);
    assert_eq!(wrong_fields(&filed(&served, future).await.unwrap_err()), ["month"]);
    let wild = pb::PostClaimsRequest { claim_ids: vec!["?".into(); 3], ..Default::default() };
    let wrong = wrong_fields(&served.settlement(BPJS).post_claims(wild).await.unwrap_err());
    assert_eq!(wrong, ["request_id", "batch_id", "claim_ids[0]", "claim_ids[1]", "claim_ids[2]"]);
    let wild = pb::PostClaimsRequest { claim_ids: vec![key(); 501], ..Default::default() };
    let wrong = wrong_fields(&served.settlement(BPJS).post_claims(wild).await.unwrap_err());
    assert!(wrong.contains(&"claim_ids".to_owned()));
    let wild = pb::RecordPaymentRequest { amount_rupiah: -1, ..Default::default() };
    let wrong = wrong_fields(&served.settlement(BPJS).record_payment(wild).await.unwrap_err());
    assert_eq!(wrong, ["request_id", "batch_id", "payment_reference", "amount_rupiah", "paid_on"]);
    let wild = pb::RecordRecoveryRequest { decided_on: day(1).to_string(), ..Default::default() };
    let wrong = wrong_fields(&served.settlement(BPJS).record_recovery(wild).await.unwrap_err());
    assert_eq!(wrong, ["request_id", "claim_id", "audit_reference", "amount_rupiah", "decided_on"]);
    let wild = pb::ReconcileSettlementRequest {
        closed_from: "2026-01-01".into(),
        closed_to: "2025-01-01".into(),
        facility_code: "x".into(),
    };
    let wrong = wrong_fields(&served.settlement(BPJS).reconcile_settlement(wild).await.unwrap_err());
    assert_eq!(wrong, ["facility_code", "closed_to"]);
    let refused = served.settlement(HOSPITAL).open_batch(pb::OpenBatchRequest::default()).await.unwrap_err();
    assert_eq!(reason(&refused), "CALLER_NOT_ALLOWED");
    let other = pb::GetAccountsRequest { facility_code: "0301R012".into() };
    assert_eq!(
        wrong_fields(&served.settlement(HOSPITAL).get_accounts(other).await.unwrap_err()),
        ["facility_code"]
    );
    assert_eq!(served.rows().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn claims_paid_before_there_were_batches_are_in_the_ledger() {
    let own = claims::MIGRATOR.migrations.iter();
    let before: Vec<_> = own.filter(|migration| migration.version < 1009).cloned().collect();
    let earlier = Migrator { migrations: Cow::Owned(before), ..Migrator::DEFAULT };
    let database = embedded::testing::database("before", &[&chassis::db::MIGRATOR]).await.unwrap();
    let run = |migrator: Migrator| {
        let pool = database.pool.clone();
        async move { Migrator { ignore_missing: true, ..migrator }.run(&pool).await.unwrap() }
    };
    run(earlier).await;
    sqlx::raw_sql(
        "insert into sep (sep_number, facility_code, member_id, service_date, care_type, clinic, emergency, issued_at, letter)
         select 'S' || n, '0301R011', gen_random_uuid(), date '2026-01-01', 2, 'INT', false, now(), '' from generate_series(1, 3) n;
         insert into claim (claim_id, sep_number, facility_code, member_id, care_type, service_date, state, steps, created_at,
                            tariff_rupiah, submitted_at, approved_rupiah, payment_reference, paid_rupiah, paid_on)
         select gen_random_uuid(), sep_number, facility_code, member_id, 2, service_date, case sep_number when 'S3' then 8 else 9 end,
                7, now(), 100, now(), 100, nullif(sep_number, 'S3'), case sep_number when 'S3' then null else 100 end,
                case sep_number when 'S3' then null else date '2026-02-01' end
         from sep;
         insert into claim_step select claim_id, 7, state, timestamptz '2026-02-02 03:00Z', 'bpjs:headquarters' from claim;",
    )
    .execute(&database.pool)
    .await
    .unwrap();
    run(Migrator { migrations: claims::MIGRATOR.migrations.clone(), ..Migrator::DEFAULT }).await;
    let (batches, lines, entries, sum): (i64, i64, i64, i64) = sqlx::query_as(
        "select (select count(*) from payment_batch where single and paid_rupiah = 100), (select count(*) from payment_line),
                (select count(*) from ledger_entry), (select sum(amount_rupiah)::bigint from ledger_line)",
    )
    .fetch_one(&database.pool)
    .await
    .unwrap();
    assert_eq!((batches, lines, entries, sum), (2, 2, 4, 0));
    let bank: i64 =
        sqlx::query_scalar("select sum(amount_rupiah)::bigint from ledger_line where account = 3")
            .fetch_one(&database.pool)
            .await
            .unwrap();
    assert_eq!(bank, -200);
}
