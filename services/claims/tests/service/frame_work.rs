//! Frames are built and drawn from beside the calls, piece by piece: whatever is cut off, the frame is the same, and is
//! published once.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use crate::{
    audit_frames::{draw, export, nation, past, read, ready, sample, wait_for_seed, wish, write},
    refusal::reason,
    served::Served,
    wishes::{BPJS, key},
};
use claims::{
    draw::{Counts, Draw, allocate, list},
    frame::{Reading, sha256},
};
use proto::claims::v1 as pb;
use sqlx::{Postgres, Transaction};
use uuid::Uuid;

const SMALL: &[(&str, &str)] = &[("service.audit-piece-rows", "1")];

/// The next piece waits with this value.
async fn held(served: &Served) -> Transaction<'static, Postgres> {
    let mut held = served.database.pool.begin().await.unwrap();
    sqlx::query("select from audit_frame_work for update").execute(&mut *held).await.unwrap();
    held
}

/// Waits until a stage has passed some rows, and holds the work there.
async fn held_in(
    served: &Served,
    frame: &pb::AuditFrame,
    stage: pb::AuditFrameStage,
) -> (Transaction<'static, Postgres>, i64) {
    let begun = Instant::now();
    let seen = async || {
        let work = read(served, frame).await.work.expect("there is work still");
        Some(work.rows_done).filter(|rows| work.stage() == stage && *rows > 0)
    };
    while seen().await.is_none() {
        assert!(begun.elapsed() < Duration::from_secs(60), "{stage:?} was never reached");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let held = held(served).await;
    let rows = seen().await.expect("it is in this stage still");
    (held, rows)
}

/// Cuts the service off in a stage, and goes on with another.
async fn cut_off_in(served: Served, frame: &pb::AuditFrame, stage: pb::AuditFrameStage, rows: i64) -> Served {
    let (held, done) = held_in(&served, frame, stage).await;
    assert!(done < rows, "{stage:?} has passed {done} of {rows} rows");
    let served = served.restarted(SMALL);
    held.rollback().await.unwrap();
    served
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frame_that_was_cut_off_is_the_same_and_so_is_its_sample() {
    let served = Served::start_with(SMALL).await;
    let quarter = past(1);
    let claims = nation(quarter, 400);
    write(&served, &claims).await;
    let asked = wish(pb::AuditFrameKind::Claims, quarter);
    let frame = served.audits(BPJS).publish_frame(asked.clone()).await.unwrap().into_inner().frame.unwrap();
    let stage = frame.work.unwrap().stage();
    assert_eq!((stage, frame.frame_hash.as_str()), (pb::AuditFrameStage::Gathering, ""));

    let served = cut_off_in(served, &frame, pb::AuditFrameStage::Gathering, 400).await;
    let request = pb::ExportFrameRequest { frame_id: frame.frame_id.clone() };
    let early = served.audits(BPJS).export_frame(request).await.unwrap_err();
    assert_eq!(reason(&early), "AUDIT_FRAME_UNDER_WAY");
    let early = served.audits(BPJS).draw_sample(draw(&frame, &sha256("early"))).await.unwrap_err();
    assert_eq!(reason(&early), "AUDIT_FRAME_UNDER_WAY");
    let again = served.audits(BPJS).publish_frame(wish(pb::AuditFrameKind::Claims, quarter)).await;
    assert_eq!(reason(&again.unwrap_err()), "AUDIT_FRAME_EXISTS");
    let served = cut_off_in(served, &frame, pb::AuditFrameStage::Hashing, 400).await;
    // Two replicas at once, from here.
    let _helper = served.helper(SMALL);
    let frame = ready(&served, &frame).await;
    assert!(frame.work.is_none(), "{frame:?}");
    assert_eq!(frame.rows, 400);
    let text = export(&served, &frame).await;
    assert_eq!(sha256(&text), frame.frame_hash);
    let held: BTreeSet<Uuid> = sqlx::query_scalar("select claim_id from audit_frame_row")
        .fetch_all(&served.database.pool)
        .await
        .unwrap()
        .into_iter()
        .collect();
    assert_eq!(held, claims.iter().map(|claim| claim.claim_id).collect(), "every claim, and each once");

    let frame = wait_for_seed(&served, &frame).await;
    let seed = sha256("the value of the round");
    served.audits(BPJS).draw_sample(draw(&frame, &seed)).await.unwrap();
    let served = cut_off_in(served, &frame, pb::AuditFrameStage::Drawing, 400).await;
    let request = pb::GetSampleRequest { frame_id: frame.frame_id.clone() };
    let early = served.audits(BPJS).get_sample(request).await.unwrap_err();
    assert_eq!(reason(&early), "AUDIT_FRAME_UNDER_WAY");
    let frame = ready(&served, &frame).await;
    assert_eq!(frame.draw.as_ref().map(|draw| draw.drawn), Some(250));

    // The same as whoever has file and seed draws in one go.
    let (mut reading, mut rows) = (Reading::begin(), Vec::new());
    for line in text.split_inclusive('\n') {
        rows.extend(reading.take(line).unwrap());
    }
    let mut sizes = Counts::new();
    rows.iter().for_each(|(_, stratum)| *sizes.entry((*stratum).to_owned()).or_default() += 1);
    let mut whole = Draw::begin(&seed, sizes.clone(), &allocate(&sizes, 250, 1));
    rows.iter().for_each(|(key, stratum)| whole.offer(stratum, key));
    let whole = sha256(&list(&frame.frame_hash, &seed, &whole.finish()));
    assert_eq!(sample(&served, &frame).await.sample_hash, whole);
    let events = served.events(2).await;
    let kinds: Vec<_> =
        events.iter().map(|event| event.r#type.trim_start_matches("jkn.claims.v1.")).collect();
    assert_eq!(kinds, ["AuditFramePublished", "AuditSampleDrawn"]);
    let left: i64 = sqlx::query_scalar("select count(*) from audit_frame_work")
        .fetch_one(&served.database.pool)
        .await
        .unwrap();
    assert_eq!(left, 0);
    // The key of the first call still has its answer, as it was.
    let first = served.audits(BPJS).publish_frame(asked).await.unwrap().into_inner().frame.unwrap();
    assert_eq!((first.frame_id, first.frame_hash.as_str()), (frame.frame_id, ""));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frame_of_hospitals_that_was_cut_off_chooses_the_same_claims() {
    let served = Served::start_with(SMALL).await;
    let quarter = past(1);
    write(&served, &nation(quarter, 200)).await;
    let asked = wish(pb::AuditFrameKind::Hospitals, quarter);
    let frame = served.audits(BPJS).publish_frame(asked).await.unwrap().into_inner().frame.unwrap();
    let served = cut_off_in(served, &frame, pb::AuditFrameStage::Gathering, 200).await;
    let frame = ready(&served, &frame).await;
    assert_eq!(frame.rows, 40, "a row for each hospital");
    let frame = wait_for_seed(&served, &frame).await;
    let seed = sha256("hospitals");
    served.audits(BPJS).draw_sample(draw(&frame, &seed)).await.unwrap();
    let served = cut_off_in(served, &frame, pb::AuditFrameStage::Reviewing, 200).await;
    let frame = ready(&served, &frame).await;
    assert_eq!(frame.draw.as_ref().map(|draw| draw.drawn), Some(20));
    let wrong: i64 = sqlx::query_scalar(
        "select (select count(*) from coding_review where facility_code not in (select key from audit_sample))
              + abs(20 - (select count(distinct facility_code) from coding_review))
              + abs((select count(*) from claim where facility_code in (select key from audit_sample))
                    - (select count(*) from coding_review))",
    )
    .fetch_one(&served.database.pool)
    .await
    .unwrap();
    assert_eq!(wrong, 0, "every claim of the drawn hospitals, for none has more than 30");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frame_whose_seed_came_before_it_was_ready_is_not_published() {
    let served = Served::start_with(SMALL).await;
    let quarter = past(1);
    write(&served, &nation(quarter, 40)).await;
    let asked = wish(pb::AuditFrameKind::Claims, quarter);
    let frame = served.audits(BPJS).publish_frame(asked).await.unwrap().into_inner().frame.unwrap();
    let (mut held, _) = held_in(&served, &frame, pb::AuditFrameStage::Gathering).await;
    sqlx::query("update audit_frame_work set seed_at = now()").execute(&mut *held).await.unwrap();
    held.commit().await.unwrap();
    let stopped = ready(&served, &frame).await;
    assert_eq!(stopped.work.unwrap().stopped(), pb::AuditFrameStop::SeedPassed);
    assert_eq!((stopped.frame_hash.as_str(), served.events(0).await.len()), ("", 0), "nobody saw the frame");

    // With a later instant it is published, and is the frame that was gathered.
    let later = pb::PublishFrameRequest { request_id: key(), ..wish(pb::AuditFrameKind::Claims, quarter) };
    let taken_up = served.audits(BPJS).publish_frame(later).await.unwrap().into_inner().frame.unwrap();
    assert_eq!(taken_up.frame_id, frame.frame_id);
    let frame = ready(&served, &frame).await;
    assert_eq!((frame.rows, sha256(&export(&served, &frame).await)), (40, frame.frame_hash.clone()));
    assert!(frame.seed_at.unwrap().seconds > frame.published_at.unwrap().seconds);
}
