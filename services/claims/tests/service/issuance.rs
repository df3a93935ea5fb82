//! SEPs that are asked for at the same time are written together: each once, each answered for itself, and none harms
//! another.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use crate::{
    clients::Seps,
    refusal::{fact, reason},
    served::Served,
    wishes::{HOSPITAL, OTHER, day, key, member, today, visit},
};
use claims::{
    sep::Patient,
    store::issuance::{Issued, New, Wait, issue},
};
use futures::future::join_all;
use proto::claims::v1 as pb;
use tonic::{Code, Status};

/// Asks for a SEP, and again with the same key where the answer says so, as a hospital does.
async fn asked(
    served: &Served,
    caller: &'static str,
    wish: pb::IssueSepRequest,
) -> Result<pb::IssueSepResponse, Status> {
    asked_of(served.seps(caller), wish).await
}

pub(crate) async fn asked_of(
    mut seps: Seps,
    wish: pb::IssueSepRequest,
) -> Result<pb::IssueSepResponse, Status> {
    let begun = Instant::now();
    loop {
        match seps.issue_sep(wish.clone()).await {
            Err(status)
                if status.code() == Code::Unavailable && begun.elapsed() < Duration::from_secs(60) => {}
            answer => return Ok(answer?.into_inner()),
        }
    }
}

async fn count(served: &Served, statement: &'static str) -> i64 {
    sqlx::query_scalar(statement).fetch_one(&served.database.pool).await.unwrap()
}

/// Numbers begin with 1 for each facility and month, none is left out, and the counter stands at the last.
async fn assert_no_gap(served: &Served) {
    let wrong: Vec<(String, i64, i32)> = sqlx::query_as(
        "select c.facility_code, count(s.sep_number), c.last
         from sep_counter c left join sep s on s.facility_code = c.facility_code
              and date_trunc('month', s.service_date)::date = c.month
         group by c.facility_code, c.month, c.last
         having count(s.sep_number) <> c.last or min(right(s.sep_number, 6)::integer) <> 1
             or max(right(s.sep_number, 6)::integer) <> c.last",
    )
    .fetch_all(&served.database.pool)
    .await
    .unwrap();
    assert_eq!(wrong, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_at_once_are_each_written_and_answered_in_fewer_transactions() {
    let served = Served::start().await;
    // Two that rest on an approval, which are written each for itself.
    let late = [visit(day(-3)), visit(day(-4))];
    for wish in &late {
        let approval = served.asked(wish, pb::SepApprovalKind::Backdate).await.unwrap();
        served.decided(&approval, pb::SepApprovalState::Approved).await.unwrap();
    }
    // One that is open already, and one of which five are asked for at once.
    let open = asked(&served, HOSPITAL, visit(today())).await.unwrap().sep.unwrap();
    let again = pb::IssueSepRequest { member_id: open.member_id.clone(), ..visit(today()) };
    let five = visit(today());
    let five = (0..5).map(|_| pb::IssueSepRequest { request_id: key(), ..five.clone() });
    let good = (0..100).map(|place| (if place % 3 == 0 { OTHER } else { HOSPITAL }, visit(today())));
    let of_hospital = five.chain(late).chain([again]).map(|wish| (HOSPITAL, wish));
    let wishes: Vec<_> = good.chain(of_hospital).collect();
    let answers = join_all(wishes.iter().map(|(caller, wish)| asked(&served, caller, wish.clone()))).await;

    let mut of_five = Vec::new();
    for (place, ((caller, wish), answer)) in wishes.iter().zip(answers).enumerate() {
        match place {
            100..105 => of_five.push(answer.map(|answer| answer.sep.unwrap().sep_number)),
            107 => {
                let refused = answer.unwrap_err();
                assert_eq!(reason(&refused), "SEP_EXISTS");
                assert_eq!(fact(&refused, "sep_number"), open.sep_number);
            }
            _ => {
                let sep = answer.unwrap().sep.unwrap();
                assert_eq!(sep.member_id, wish.member_id, "each caller gets its own answer");
                assert_eq!(format!("hospital:{}", sep.facility_code), *caller);
                assert_eq!(sep.approval_ids.is_empty(), place < 100);
                let read = served.sep(&sep.sep_number).await.sep.unwrap();
                let answers = |sep: &pb::Sep| {
                    let evidence =
                        sep.evidence.iter().map(|kept| (kept.edge.clone(), kept.answer_id.clone()));
                    evidence.collect::<BTreeMap<_, _>>()
                };
                assert_eq!(answers(&read), answers(&sep), "each has its own evidence");
                let without = |sep: &pb::Sep| pb::Sep { evidence: Vec::new(), ..sep.clone() };
                assert_eq!(without(&read), without(&sep), "what is stored is what was answered");
                assert_eq!(sep.evidence.len(), 4);
            }
        }
    }
    let issued: Vec<_> = of_five.iter().flatten().collect();
    assert_eq!(issued.len(), 1, "{of_five:?}");
    for refused in of_five.iter().filter_map(|answer| answer.as_ref().err()) {
        assert_eq!((reason(refused), fact(refused, "sep_number")), ("SEP_EXISTS".into(), issued[0].clone()));
    }
    assert_no_gap(&served).await;
    assert_eq!(count(&served, "select count(*) from sep").await, 104);
    assert_eq!(count(&served, "select count(*) from idempotency where response is null").await, 0);
    let told: BTreeSet<_> = served.kinds(108).await.into_iter().collect();
    assert_eq!(told, BTreeSet::from(["SepApprovalChanged".to_owned(), "SepIssued".to_owned()]));
    let subjects: BTreeSet<_> = served.events(108).await.into_iter().map(|event| event.subject).collect();
    assert_eq!(subjects.len(), 106, "an event for each SEP, two for each of two approvals");
    let transactions = count(&served, "select count(distinct xmin::text) from sep").await;
    assert!(transactions < 40, "{transactions} transactions for 104 SEPs");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_facility_without_numbers_harms_no_other() {
    let served = Served::start().await;
    asked(&served, OTHER, visit(today())).await.unwrap();
    sqlx::query("update sep_counter set last = 999998").execute(&served.database.pool).await.unwrap();
    let wishes = (0..40).map(|place| (if place % 4 == 0 { OTHER } else { HOSPITAL }, visit(today())));
    let answers = join_all(wishes.map(|(caller, wish)| {
        let served = &served;
        async move { (caller, asked(served, caller, wish).await) }
    }))
    .await;
    let mut outcomes = BTreeMap::new();
    for (caller, answer) in answers {
        let outcome = answer.map_or_else(|status| reason(&status), |_| "issued".to_owned());
        *outcomes.entry((caller, outcome)).or_insert(0) += 1;
    }
    let exhausted = (OTHER, "SEP_NUMBERS_EXHAUSTED".to_owned());
    let last = (OTHER, "issued".to_owned());
    let all = (HOSPITAL, "issued".to_owned());
    assert_eq!(outcomes, BTreeMap::from([(all, 30), (last, 1), (exhausted, 9)]));
    assert_eq!(count(&served, "select min(last)::bigint from sep_counter").await, 30);
    assert_eq!(count(&served, "select max(last)::bigint from sep_counter").await, 999_999);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_request_over_two_replicas_has_one_effect_and_one_answer() {
    let served = Served::start().await;
    let (twin, _stop) = served.twin(HOSPITAL);
    let wishes: Vec<_> = (0..40).map(|_| visit(today())).collect();
    let over_twin = |wish: &pb::IssueSepRequest| asked_of(twin.clone(), wish.clone());
    // The other one in reverse, so that the two meet each other's keys and members in opposite order.
    let (one, two) = tokio::join!(
        join_all(wishes.iter().map(|wish| asked(&served, HOSPITAL, wish.clone()))),
        join_all(wishes.iter().rev().map(over_twin)),
    );
    for ((wish, one), two) in wishes.iter().zip(one).zip(two.into_iter().rev()) {
        let one = one.unwrap();
        assert_eq!(one, two.unwrap());
        assert_eq!(one.sep.unwrap().member_id, wish.member_id);
    }
    assert_no_gap(&served).await;
    assert_eq!(count(&served, "select count(*) from sep").await, 40);
    assert_eq!(served.kinds(40).await.len(), 40);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_transaction_holds_stops_its_own_seps_only() {
    let served = Served::start().await;
    asked(&served, OTHER, visit(today())).await.unwrap();
    let mut slow = served.database.pool.begin().await.unwrap();
    sqlx::query("update sep_counter set last = last").execute(&mut *slow).await.unwrap();

    let stopped: Vec<_> = (0..3).map(|_| visit(today())).collect();
    let ask_stopped = join_all(stopped.iter().map(|wish| {
        let (mut seps, wish) = (served.seps(OTHER), wish.clone());
        async move { seps.issue_sep(wish).await }
    }));
    let ask_free = async {
        let mut free = Vec::new();
        // Rush after rush, so that each transaction has those of both facilities before it.
        for _ in 0..3 {
            let rush = (0..10).map(|_| asked(&served, HOSPITAL, visit(today())));
            free.extend(tokio::time::timeout(Duration::from_secs(30), join_all(rush)).await.unwrap());
        }
        let written = count(&served, "select count(*) from sep where facility_code = '0301R012'").await;
        assert_eq!(written, 1, "the lock is held until here");
        slow.rollback().await.unwrap();
        free
    };
    let (free, stopped_answers) = tokio::join!(ask_free, ask_stopped);
    for answer in free {
        answer.unwrap();
    }
    for (wish, answer) in stopped.iter().zip(stopped_answers) {
        // Issued after the lock, or told to repeat; then it is issued once.
        if let Err(status) = answer {
            assert_eq!(status.code(), Code::Unavailable, "{status:?}");
            asked(&served, OTHER, wish.clone()).await.unwrap();
        }
    }
    assert_no_gap(&served).await;
    assert_eq!(count(&served, "select count(*) from sep").await, 34);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sep_that_is_open_by_now_spends_no_number() {
    let served = Served::start().await;
    let new = |facility: &str, clinic: &str, member_id: uuid::Uuid| New {
        facility_code: facility.into(),
        patient: Patient { member_id, newborn_order: 0 },
        service_date: today(),
        care_type: 2,
        clinic: clinic.into(),
        emergency: false,
        doctor_code: String::new(),
        issued_at: jiff::Timestamp::now(),
        accident_on: None,
        letter: Vec::new(),
        evidence: Vec::new(),
    };
    let [one, two]: [uuid::Uuid; 2] = [member().parse().unwrap(), member().parse().unwrap()];
    let first = [new("0301R011", "INT", one), new("0301R012", "INT", one)];
    let second = [new("0301R011", "INT", one), new("0301R011", "MAT", one), new("0301R011", "INT", two)];
    let mut connection = served.database.pool.begin().await.unwrap();
    let issued = issue(&mut connection, &first.iter().collect::<Vec<_>>(), Wait::Briefly).await.unwrap();
    connection.commit().await.unwrap();
    let [Issued::As(first), Issued::As(_)] = issued.as_slice() else { panic!("{issued:?}") };

    let mut connection = served.database.pool.begin().await.unwrap();
    let issued = issue(&mut connection, &second.iter().collect::<Vec<_>>(), Wait::Briefly).await.unwrap();
    connection.commit().await.unwrap();
    let [Issued::Open(open), Issued::As(next), Issued::As(last)] = issued.as_slice() else {
        panic!("{issued:?}")
    };
    assert_eq!(open, first);
    assert!(next.ends_with("000002") && last.ends_with("000003"), "{next} {last}");
    assert_no_gap(&served).await;
}
