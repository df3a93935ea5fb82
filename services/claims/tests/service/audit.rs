//! Audits as their callers meet them: frames and draws that a second process derives again, the work on drawn claims, and
//! the assessment of coding.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    process::Output,
};

use crate::served::{
    BPJS, HOSPITAL, OTHER, Served, coding, day, fact, key, reason, today, visit, wrong_fields,
};
use claims::{frame::sha256, quarter::Quarter};
use futures::{StreamExt, TryStreamExt, future::join_all, stream};
use jiff::{SignedDuration, Timestamp, ToSpan};
use jiff_sqlx::ToSqlx;
use prost::{Message, Name};
use proto::claims::v1 as pb;
use tonic::{Code, Status};
use uuid::Uuid;

const MINISTRY: &str = "ministry:yankes";
const DJSN: &str = "djsn:djsn";
const PROTOCOL: &str = "dlr-4.1-revised";
const OLD_PROTOCOL: &str = "before-dlr-4.1";

/// A quarter that is over for long enough on every day of the year.
pub(crate) fn past(quarters: i32) -> Quarter {
    let ended = Quarter::of(Quarter::of(today()).first() - 1.day());
    (0..quarters).fold(ended, |quarter, _| Quarter::of(quarter.first() - 1.day()))
}

fn middle(quarter: Quarter) -> Timestamp {
    chassis::time::start_of(quarter.first() + 40.days()).unwrap()
}

/// A claim that became paid, as the service would have written it.
#[derive(Clone)]
pub(crate) struct Paid {
    pub(crate) claim_id: Uuid,
    facility: String,
    class: &'static str,
    province: &'static str,
    care: pb::CareType,
    primary: &'static str,
    secondary: Vec<&'static str>,
    procedures: Vec<&'static str>,
    severity: i32,
    cbg: &'static str,
    tariff: i64,
    at: Timestamp,
}

impl Paid {
    fn visit(facility: &str, at: Timestamp) -> Self {
        Self {
            claim_id: Uuid::now_v7(),
            facility: facility.to_owned(),
            class: "B",
            province: "32",
            care: pb::CareType::Outpatient,
            primary: "E11.9",
            secondary: Vec::new(),
            procedures: Vec::new(),
            severity: 0,
            cbg: "Q-5-44-0",
            tariff: 207_000,
            at,
        }
    }
}

/// Writes claims past the service, which would take a call for each of seven steps.
pub(crate) async fn write(served: &Served, claims: &[Paid]) {
    let on = |claim: &Paid| chassis::time::today_at(claim.at);
    for (claim, n) in claims.iter().zip(1..) {
        let number = format!("{}{}V{n:06}", claim.facility, on(claim).strftime("%m%y"));
        let letter = pb::Sep {
            province_code: claim.province.into(),
            hospital_class: claim.class.into(),
            government_owned: true,
            entitled_class: 3,
            care_type: claim.care.into(),
            facility_code: claim.facility.clone(),
            ..Default::default()
        };
        let data = pb::ClaimData {
            secondary_diagnoses: claim.secondary.iter().map(|code| (*code).into()).collect(),
            procedures: claim.procedures.iter().map(|code| (*code).into()).collect(),
            ..coding(on(claim), claim.primary)
        };
        let grouping = pb::Grouping {
            cbg_code: claim.cbg.into(),
            severity: claim.severity,
            tariff_rupiah: claim.tariff,
            ..Default::default()
        };
        sqlx::query(
            "with letter as (
                 insert into sep (sep_number, facility_code, member_id, service_date, care_type, clinic, emergency, issued_at, letter)
                 values ($2, $3, $4, $5, $6, 'INT', false, $7, $8)
             ), step as (
                 insert into claim_step (claim_id, step, state, taken_at, taken_by) values ($1, 1, 9, $7, 'bpjs:headquarters')
             )
             insert into claim (claim_id, sep_number, facility_code, member_id, care_type, service_date, state, steps,
                                created_at, data, grouping, tariff_rupiah, discharged_on, submitted_at, approved_rupiah,
                                approved_on, payment_reference, paid_rupiah, paid_on)
             values ($1, $2, $3, $4, $6, $5, 9, 1, $7, $9, $10, $11, $5, $7, $11, $5, $2, $11, $5)",
        )
        .bind(claim.claim_id)
        .bind(number)
        .bind(&claim.facility)
        .bind(Uuid::now_v7())
        .bind(on(claim).to_sqlx())
        .bind(claim.care as i16)
        .bind(claim.at.to_sqlx())
        .bind(letter.encode_to_vec())
        .bind(data.encode_to_vec())
        .bind(grouping.encode_to_vec())
        .bind(claim.tariff)
        .execute(&served.database.pool)
        .await
        .unwrap();
    }
}

/// Claims of very unequal strata: three quarters are out-patient visits of class B on Java.
pub(crate) fn nation(quarter: Quarter, count: usize) -> Vec<Paid> {
    let places = [("A", "31"), ("C", "12"), ("", "73"), ("D", "94")];
    let stays = [
        ("O82.9", 1, "O-6-10-I"),
        ("A41.9", 2, "A-4-10-II"),
        ("S72.0", 3, "M-1-04-III"),
        ("I10", 1, "I-4-17-I"),
    ];
    (0..count)
        .map(|n| {
            let visit = Paid::visit(&format!("0301R{:03}", n % 40), middle(quarter));
            if n % 4 > 0 {
                return visit;
            }
            let (class, province) = places[n / 4 % 4];
            let (primary, severity, cbg) = stays[n / 16 % 4];
            let care = pb::CareType::Inpatient;
            Paid { class, province, primary, severity, cbg, care, tariff: 3_000_000, ..visit }
        })
        .collect()
}

fn soon() -> Timestamp {
    let now = Timestamp::from_second(Timestamp::now().as_second()).unwrap();
    now + SignedDuration::from_mins(70)
}

pub(crate) fn wish(kind: pb::AuditFrameKind, quarter: Quarter) -> pb::PublishFrameRequest {
    pb::PublishFrameRequest {
        request_id: key(),
        kind: kind.into(),
        quarter: quarter.to_string(),
        seed_source: "drand-quicknet".into(),
        seed_at: Some(chassis::time::to_proto(soon())),
    }
}

/// Asks for a frame and waits until it is published.
async fn publish(served: &Served, wish: pb::PublishFrameRequest) -> Result<pb::AuditFrame, Status> {
    let frame = served.audits(BPJS).publish_frame(wish).await?.into_inner().frame.unwrap();
    assert_eq!((frame.frame_hash.as_str(), frame.rows), ("", 0), "it is built after the answer");
    Ok(ready(served, &frame).await)
}

/// The frame when nothing is being done for it any more.
pub(crate) async fn ready(served: &Served, frame: &pb::AuditFrame) -> pb::AuditFrame {
    let begun = std::time::Instant::now();
    loop {
        let frame = read(served, frame).await;
        if frame.work.is_none_or(|work| work.stopped() != pb::AuditFrameStop::Unspecified) {
            return frame;
        }
        assert!(begun.elapsed().as_secs() < 60, "{frame:?}");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

pub(crate) async fn read(served: &Served, frame: &pb::AuditFrame) -> pb::AuditFrame {
    let request = pb::GetFrameRequest { frame_id: frame.frame_id.clone() };
    served.audits(DJSN).get_frame(request).await.unwrap().into_inner().frame.unwrap()
}

/// Lets three hours pass for a frame: the instant of its seed lies behind then.
pub(crate) async fn wait_for_seed(served: &Served, frame: &pb::AuditFrame) -> pb::AuditFrame {
    sqlx::query(
        "update audit_frame set published_at = published_at - interval '3 hours', seed_at = seed_at - interval '3 hours'
         where frame_id = $1",
    )
    .bind(Uuid::try_parse(&frame.frame_id).unwrap())
    .execute(&served.database.pool)
    .await
    .unwrap();
    read(served, frame).await
}

fn seed(text: &str) -> String {
    sha256(text)
}

pub(crate) fn draw(frame: &pb::AuditFrame, seed: &str) -> pb::DrawSampleRequest {
    pb::DrawSampleRequest {
        request_id: key(),
        frame_id: frame.frame_id.clone(),
        seed: seed.into(),
        seed_published_at: frame.seed_at,
    }
}

async fn drawn(served: &Served, frame: &pb::AuditFrame, seed: &str) -> pb::AuditFrame {
    let frame = wait_for_seed(served, frame).await;
    let asked =
        served.audits(BPJS).draw_sample(draw(&frame, seed)).await.unwrap().into_inner().frame.unwrap();
    assert!(asked.draw.is_none() && asked.work.is_some(), "it is drawn after the answer");
    ready(served, &asked).await
}

pub(crate) async fn export(served: &Served, frame: &pb::AuditFrame) -> String {
    let request = pb::ExportFrameRequest { frame_id: frame.frame_id.clone() };
    let parts = served.audits(DJSN).export_frame(request).await.unwrap().into_inner();
    parts.map_ok(|part| part.text).try_collect().await.unwrap()
}

pub(crate) async fn sample(served: &Served, frame: &pb::AuditFrame) -> pb::GetSampleResponse {
    let request = pb::GetSampleRequest { frame_id: frame.frame_id.clone() };
    served.audits(DJSN).get_sample(request).await.unwrap().into_inner()
}

async fn audits(served: &Served, caller: &'static str, filter: pb::ListAuditsRequest) -> Vec<pb::Audit> {
    let filter = pb::ListAuditsRequest { page_size: 500, ..filter };
    let answer = served.audits(caller).list_audits(filter).await.unwrap().into_inner();
    assert!(answer.next_page_token.is_empty());
    answer.audits
}

async fn count(served: &Served, table: &'static str) -> i64 {
    let statement = match table {
        "audit" => "select count(*) from audit",
        "audit_frame_row" => "select count(*) from audit_frame_row",
        "coding_review" => "select count(*) from coding_review",
        "recovery" => "select count(*) from recovery",
        _ => "select count(*) from audit_frame",
    };
    sqlx::query_scalar(statement).fetch_one(&served.database.pool).await.unwrap()
}

/// The program of the mesh, which lies beside the tests or above them.
fn program() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let found = own.ancestors().skip(1).take(2).map(|folder| folder.join("jkn")).find(|path| path.exists());
    found.expect("no jkn beside the test; run `cargo build --workspace` first, as `make test` does")
}

async fn redraw(file: &Path, arguments: &[&str]) -> Output {
    tokio::process::Command::new(program())
        .args(["audit", "redraw", "--frame"])
        .arg(file)
        .args(arguments)
        .env_remove("JKN_CONFIG")
        .output()
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_draws_the_same_sample_from_what_was_published() {
    let served = Served::start().await;
    let quarter = past(1);
    let claims = nation(quarter, 700);
    write(&served, &claims).await;

    let frame = publish(&served, wish(pb::AuditFrameKind::Claims, quarter)).await.unwrap();
    assert_eq!((frame.rows, frame.sample_size, frame.stratum_minimum), (700, 250, 1));
    assert_eq!(frame.strata.iter().map(|stratum| stratum.size).sum::<i64>(), 700);
    assert!(frame.strata.len() > 10 && frame.strata.iter().all(|stratum| stratum.drawn == 0));
    let text = export(&served, &frame).await;
    assert_eq!(sha256(&text), frame.frame_hash, "what is exported has the published hash");
    for claim in &claims {
        assert!(!text.contains(&claim.claim_id.to_string()) && !text.contains(&claim.facility));
        assert!(!text.contains(claim.primary));
    }

    let early = served.audits(MINISTRY).draw_sample(draw(&frame, &seed("1"))).await.unwrap_err();
    assert_eq!(reason(&early), "AUDIT_SEED_NOT_YET");
    let missing = pb::GetSampleRequest { frame_id: frame.frame_id.clone() };
    let missing = served.audits(DJSN).get_sample(missing).await.unwrap_err();
    assert_eq!(reason(&missing), "AUDIT_SAMPLE_MISSING");

    let frame = wait_for_seed(&served, &frame).await;
    let mut wrong = draw(&frame, &seed("1").to_uppercase());
    wrong.seed_published_at.as_mut().unwrap().seconds += 3;
    let refused = served.audits(BPJS).draw_sample(wrong).await.unwrap_err();
    assert_eq!(
        wrong_fields(&refused),
        ["seed", "seed_published_at"],
        "the value after the first is another one"
    );
    assert_eq!(count(&served, "audit").await, 0);

    // Several draw at once; one does.
    let seed = seed("the value of the round");
    let at_once = join_all((0..4).map(|_| {
        let (mut client, request) = (served.audits(BPJS), draw(&frame, &seed));
        async move { client.draw_sample(request).await }
    }))
    .await;
    let (done, refused): (Vec<_>, Vec<_>) = at_once.into_iter().partition(Result::is_ok);
    assert_eq!(done.len(), 1);
    for refused in refused.into_iter().map(|refused| reason(&refused.unwrap_err())) {
        assert!(["AUDIT_SAMPLE_EXISTS", "AUDIT_FRAME_UNDER_WAY"].contains(&refused.as_str()), "{refused}");
    }
    let frame = ready(&served, &done.into_iter().next().unwrap().unwrap().into_inner().frame.unwrap()).await;
    let again = served.audits(BPJS).draw_sample(draw(&frame, &seed)).await.unwrap_err();
    assert_eq!(reason(&again), "AUDIT_SAMPLE_EXISTS");
    assert_eq!(frame.draw.as_ref().unwrap().drawn, 250);
    assert!(frame.strata.iter().all(|stratum| (1..=stratum.size).contains(&stratum.drawn)));
    assert_eq!(frame.strata.iter().map(|stratum| stratum.drawn).sum::<i64>(), 250);

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("frame.txt");
    std::fs::write(&file, &text).unwrap();
    let policy = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../policy/claims/audit.toml");
    let arguments: [&str; 6] =
        ["--seed", &seed, "--hash", &frame.frame_hash, "--policy", policy.to_str().unwrap()];
    let output = redraw(&file, &arguments).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let printed = String::from_utf8(output.stdout).unwrap();
    let sample = sample(&served, &frame).await;
    let own: Vec<_> = sample
        .rows
        .iter()
        .map(|row| format!("{},{},{},{}", row.key, row.stratum, row.stratum_size, row.stratum_drawn))
        .collect();
    assert_eq!(printed.lines().skip(5).collect::<Vec<_>>(), own, "the same rows in the same order");
    assert_eq!(sha256(&printed), sample.sample_hash);
    let stood_for: f64 = sample.rows.iter().map(|row| row.weight).sum();
    assert!((stood_for - 700.0).abs() < 1e-6, "{stood_for}");
    let another = redraw(&file, &["--seed", &sha256("another value")]).await;
    assert!(another.status.success() && String::from_utf8(another.stdout).unwrap() != printed);

    // One changed row is another frame: refused when the hash is given, as is a row that is missing.
    let changed = text.replacen(",outpatient,", ",severity-1,", 1);
    assert_ne!(sha256(&changed), frame.frame_hash);
    std::fs::write(&file, &changed).unwrap();
    let refused = redraw(&file, &arguments).await;
    assert!(!refused.status.success() && refused.stdout.is_empty());
    assert!(String::from_utf8_lossy(&refused.stderr).contains("not the published frame"));
    let short: String = text.split_inclusive('\n').take(300).collect();
    std::fs::write(&file, &short).unwrap();
    assert!(String::from_utf8_lossy(&redraw(&file, &arguments).await.stderr).contains("line 300"));

    // Each drawn claim has an audit, and the list says which came first.
    let registered = audits(&served, MINISTRY, pb::ListAuditsRequest::default()).await;
    let drawn: BTreeSet<_> = registered.iter().map(|audit| audit.claim_id.clone()).collect();
    let known: BTreeSet<_> = claims.iter().map(|claim| claim.claim_id.to_string()).collect();
    assert!(drawn.len() == 250 && drawn.is_subset(&known));
    let events = served.events(2).await;
    assert_eq!(events[0].r#type, pb::AuditFramePublished::full_name());
    let event = pb::AuditSampleDrawn::decode(events[1].body.clone()).unwrap();
    assert_eq!((event.frame_hash, event.sample_hash), (frame.frame_hash, sample.sample_hash));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frame_holds_every_claim_of_its_quarter_and_no_other_and_is_published_once() {
    let served = Served::start().await;
    let quarter = past(1);
    let start = |day| chassis::time::start_of(day).unwrap();
    let microsecond = SignedDuration::from_micros(1);
    // Jakarta is seven hours ahead: the quarter begins at five in the afternoon UTC of the day before.
    let within = [start(quarter.first()), start(quarter.end()) - microsecond];
    let outside = [start(quarter.first()) - microsecond, start(quarter.end())];
    let claims: Vec<_> = within.iter().chain(&outside).map(|at| Paid::visit("0301R011", *at)).collect();
    write(&served, &claims).await;

    // A claim that goes all its way through the service is in a frame as well.
    let sep = served.issue(visit(today())).await.unwrap();
    let claim = served.submitted(&served.coded(&sep, coding(today(), "I10")).await).await.unwrap();
    let claim = served.approved(&served.verified(&claim).await.unwrap()).await.unwrap();
    served.settled(&claim, "BNI-1", claim.approved_rupiah).await.unwrap();
    sqlx::query("update claim_step set taken_at = $1 where claim_id = $2 and state = 9")
        .bind(middle(quarter).to_sqlx())
        .bind(Uuid::try_parse(&claim.claim_id).unwrap())
        .execute(&served.database.pool)
        .await
        .unwrap();

    let running = publish(&served, wish(pb::AuditFrameKind::Claims, Quarter::of(today()))).await.unwrap_err();
    let earliest = (Quarter::of(today()).end() + 1.day()).to_string();
    assert_eq!((reason(&running).as_str(), fact(&running, "earliest")), ("AUDIT_QUARTER_NOT_OVER", earliest));
    let empty = publish(&served, wish(pb::AuditFrameKind::Claims, past(4))).await.unwrap_err();
    assert_eq!(reason(&empty), "AUDIT_FRAME_EMPTY");
    let unknown =
        publish(&served, wish(pb::AuditFrameKind::Claims, Quarter::parse("2020-Q1").unwrap())).await;
    assert_eq!(wrong_fields(&unknown.clone().unwrap_err()), Vec::<String>::new());
    assert_eq!(reason(&unknown.unwrap_err()), "NO_POLICY_FOR_DATE");
    let known = pb::PublishFrameRequest {
        seed_source: "my-own-dice".into(),
        seed_at: Some(chassis::time::to_proto(Timestamp::now())),
        kind: 7,
        request_id: String::new(),
        ..wish(pb::AuditFrameKind::Claims, quarter)
    };
    let refused = publish(&served, known).await.unwrap_err();
    assert_eq!(wrong_fields(&refused), ["request_id", "kind", "seed_at", "seed_source"]);
    // A seed that exists already, or that comes when nobody waits for it any more.
    for minutes in [0, 59, 15 * 24 * 60] {
        let now = Timestamp::from_second(Timestamp::now().as_second()).unwrap();
        let at = now + SignedDuration::from_mins(minutes);
        let wish = pb::PublishFrameRequest {
            seed_at: Some(chassis::time::to_proto(at)),
            ..wish(pb::AuditFrameKind::Claims, quarter)
        };
        assert_eq!(wrong_fields(&publish(&served, wish).await.unwrap_err()), ["seed_at"], "{minutes}");
    }
    let forbidden = served.audits(HOSPITAL).publish_frame(wish(pb::AuditFrameKind::Claims, quarter)).await;
    assert_eq!(reason(&forbidden.unwrap_err()), "CALLER_NOT_ALLOWED");
    let forbidden = served.audits(DJSN).publish_frame(wish(pb::AuditFrameKind::Claims, quarter)).await;
    assert_eq!(reason(&forbidden.unwrap_err()), "CALLER_NOT_ALLOWED");
    assert_eq!((count(&served, "audit_frame").await, count(&served, "audit_frame_row").await), (0, 0));

    let at_once = join_all((0..3).map(|_| publish(&served, wish(pb::AuditFrameKind::Claims, quarter)))).await;
    let (done, refused): (Vec<_>, Vec<_>) = at_once.into_iter().partition(Result::is_ok);
    assert_eq!(done.len(), 1);
    assert!(refused.into_iter().all(|refused| reason(&refused.unwrap_err()) == "AUDIT_FRAME_EXISTS"));
    let frame = done.into_iter().next().unwrap().unwrap();
    let held: BTreeSet<Uuid> = sqlx::query_scalar("select claim_id from audit_frame_row")
        .fetch_all(&served.database.pool)
        .await
        .unwrap()
        .into_iter()
        .collect();
    let through_the_service = Uuid::try_parse(&claim.claim_id).unwrap();
    assert_eq!(held, BTreeSet::from([claims[0].claim_id, claims[1].claim_id, through_the_service]));
    let again = publish(&served, wish(pb::AuditFrameKind::Claims, quarter)).await.unwrap_err();
    assert_eq!(fact(&again, "frame_id"), frame.frame_id);
    let listed = pb::ListFramesRequest { quarter: quarter.to_string(), ..Default::default() };
    let listed = served.audits(DJSN).list_frames(listed).await.unwrap().into_inner().frames;
    assert_eq!(listed, [pb::AuditFrame { strata: Vec::new(), ..frame.clone() }]);

    // Fewer claims than the sample is to have: all of them are drawn.
    let frame = drawn(&served, &frame, &seed("all")).await;
    assert_eq!(frame.draw.unwrap().drawn, 3);
}

async fn assert_altered(served: &Served, frame: &pb::AuditFrame) {
    served.audits(BPJS).draw_sample(draw(frame, &seed("1"))).await.unwrap();
    let stopped = ready(served, frame).await;
    assert_eq!(stopped.work.unwrap().stopped(), pb::AuditFrameStop::Altered);
    assert!(stopped.draw.is_none());
    let request = pb::GetSampleRequest { frame_id: frame.frame_id.clone() };
    let refused = served.audits(DJSN).get_sample(request).await.unwrap_err();
    assert_eq!(reason(&refused), "AUDIT_FRAME_ALTERED");
}

#[tokio::test(flavor = "multi_thread")]
async fn from_a_frame_that_was_altered_nothing_is_drawn() {
    let served = Served::start().await;
    let quarter = past(1);
    write(&served, &nation(quarter, 12)).await;
    let frame = publish(&served, wish(pb::AuditFrameKind::Claims, quarter)).await.unwrap();
    let frame = wait_for_seed(&served, &frame).await;
    sqlx::query("update audit_frame_row set stratum = 'A,sumatra,outpatient,other' where key = (select min(key) from audit_frame_row)")
        .execute(&served.database.pool)
        .await
        .unwrap();
    assert_altered(&served, &frame).await;
    sqlx::query("delete from audit_frame_row where key = (select min(key) from audit_frame_row)")
        .execute(&served.database.pool)
        .await
        .unwrap();
    assert_altered(&served, &frame).await;
    assert_eq!(count(&served, "audit").await, 0);
}

async fn begin(served: &Served, audit: &pb::Audit) -> Result<pb::Audit, Status> {
    let request = pb::BeginAuditReviewRequest { request_id: key(), audit_id: audit.audit_id.clone() };
    Ok(served.audits(BPJS).begin_audit_review(request).await?.into_inner().audit.unwrap())
}

async fn find(served: &Served, audit: &pb::Audit) -> Result<pb::Audit, Status> {
    let request = pb::RecordAuditFindingRequest {
        request_id: key(),
        audit_id: audit.audit_id.clone(),
        kind: pb::AuditFindingKind::Upcoding.into(),
        detail: "the record shows a smaller procedure".into(),
        amount_rupiah: 50_000,
    };
    Ok(served.audits(BPJS).record_audit_finding(request).await?.into_inner().audit.unwrap())
}

fn closing(audit: &pb::Audit, verdict: pb::AuditVerdict, recovery: i64) -> pb::CloseAuditRequest {
    pb::CloseAuditRequest {
        request_id: key(),
        audit_id: audit.audit_id.clone(),
        verdict: verdict.into(),
        conclusion: "records and claim were compared".into(),
        protocol_version: PROTOCOL.into(),
        recovery_rupiah: recovery,
    }
}

async fn close(served: &Served, request: pb::CloseAuditRequest) -> Result<pb::Audit, Status> {
    Ok(served.audits(BPJS).close_audit(request).await?.into_inner().audit.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_audit_is_registered_reviewed_and_done_and_its_recovery_is_kept() {
    let served = Served::start().await;
    let quarter = past(1);
    let at = middle(quarter);
    let claims = [Paid::visit("0301R011", at), Paid { primary: "I10", ..Paid::visit("0301R012", at) }];
    write(&served, &claims).await;
    let frame = publish(&served, wish(pb::AuditFrameKind::Claims, quarter)).await.unwrap();
    let frame = drawn(&served, &frame, &seed("1")).await;
    let of = |facility: &str| pb::ListAuditsRequest { facility_code: facility.into(), ..Default::default() };
    let audit = audits(&served, BPJS, of("0301R011")).await.pop().unwrap();
    assert_eq!(
        (audit.state(), audit.claim_id.clone()),
        (pb::AuditState::Registered, claims[0].claim_id.to_string())
    );
    assert_eq!((audit.paid_rupiah, &audit.frame_id), (207_000, &frame.frame_id));

    // Step by step, and no other way.
    let early = find(&served, &audit).await.unwrap_err();
    assert_eq!((fact(&early, "state"), fact(&early, "allowed")), ("REGISTERED".into(), "REVIEW".into()));
    let early = close(&served, closing(&audit, pb::AuditVerdict::Conform, 0)).await.unwrap_err();
    assert_eq!(reason(&early), "AUDIT_STATE_WRONG");
    let begun = begin(&served, &audit).await.unwrap();
    assert_eq!((begun.state(), begun.reviewed_by.as_str()), (pb::AuditState::Review, BPJS));
    assert_eq!(reason(&begin(&served, &audit).await.unwrap_err()), "AUDIT_STATE_WRONG");
    let unfounded = close(&served, closing(&audit, pb::AuditVerdict::NotConform, 207_001)).await.unwrap_err();
    assert_eq!(reason(&unfounded), "AUDIT_VERDICT_UNFOUNDED");
    assert_eq!(wrong_fields(&unfounded), ["verdict", "recovery_rupiah"]);
    let generous = close(&served, closing(&audit, pb::AuditVerdict::Conform, 1)).await.unwrap_err();
    assert_eq!(wrong_fields(&generous), ["recovery_rupiah"]);
    let found = find(&served, &find(&served, &audit).await.unwrap()).await.unwrap();
    assert_eq!(found.findings.iter().map(|finding| finding.number).collect::<Vec<_>>(), [1, 2]);
    let mut request = closing(&audit, pb::AuditVerdict::NotConform, 100_000);
    request.protocol_version = "home-made".into();
    assert_eq!(wrong_fields(&close(&served, request.clone()).await.unwrap_err()), ["protocol_version"]);
    request.protocol_version = PROTOCOL.into();
    let done = close(&served, request.clone()).await.unwrap();
    assert_eq!((done.state(), done.verdict()), (pb::AuditState::Done, pb::AuditVerdict::NotConform));
    assert_eq!((done.findings.len(), done.closed_on.clone()), (2, today().to_string()));
    assert_eq!(
        close(&served, request.clone()).await.unwrap(),
        done,
        "the same request again is the same answer"
    );
    assert_eq!(reason(&find(&served, &audit).await.unwrap_err()), "AUDIT_STATE_WRONG");
    request.request_id = key();
    assert_eq!(reason(&close(&served, request).await.unwrap_err()), "AUDIT_STATE_WRONG");

    // The other one conforms: nothing is recovered. The claims stay as they were.
    let other = audits(&served, BPJS, of("0301R012")).await.pop().unwrap();
    begin(&served, &other).await.unwrap();
    close(&served, closing(&other, pb::AuditVerdict::Conform, 0)).await.unwrap();
    let states: Vec<i16> =
        sqlx::query_scalar("select state from claim").fetch_all(&served.database.pool).await.unwrap();
    assert_eq!(states, [9, 9]);
    let kinds: Vec<_> = served.events(5).await.into_iter().map(|event| event.r#type).collect();
    let names =
        ["AuditFramePublished", "AuditSampleDrawn", "AuditClosed", "AuditRecoveryRecorded", "AuditClosed"];
    assert_eq!(kinds, names.map(|name| format!("jkn.claims.v1.{name}")));
    let recoveries = pb::ListAuditRecoveriesRequest::default();
    let kept = served.audits(MINISTRY).list_audit_recoveries(recoveries.clone()).await.unwrap().into_inner();
    let expected = pb::AuditRecovery {
        audit_id: audit.audit_id.clone(),
        claim_id: audit.claim_id.clone(),
        facility_code: "0301R011".into(),
        verdict: pb::AuditVerdict::NotConform.into(),
        amount_rupiah: 100_000,
        recorded_on: today().to_string(),
        settlement: None,
    };
    assert_eq!(kept.recoveries, [expected]);
    let stored =
        claims::store::audit::recoveries(&served.database.pool, Some("0301R011"), None, 10).await.unwrap();
    assert_eq!(stored.iter().map(|recovery| recovery.amount_rupiah).sum::<i64>(), 100_000);

    // A hospital sees what concerns its own claims, and may not audit itself.
    let get = |audit: &pb::Audit| pb::GetAuditRequest { audit_id: audit.audit_id.clone() };
    assert_eq!(
        served.audits(HOSPITAL).get_audit(get(&audit)).await.unwrap().into_inner().audit.unwrap(),
        done
    );
    assert_eq!(served.audits(OTHER).get_audit(get(&audit)).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(audits(&served, OTHER, pb::ListAuditsRequest::default()).await.len(), 1);
    let asked = served.audits(OTHER).list_audits(of("0301R011")).await.unwrap_err();
    assert_eq!(wrong_fields(&asked), ["facility_code"]);
    let own = served.audits(OTHER).list_audit_recoveries(recoveries).await.unwrap().into_inner();
    assert!(own.recoveries.is_empty());
    let request = pb::BeginAuditReviewRequest { request_id: key(), audit_id: audit.audit_id };
    let refused = served.audits(HOSPITAL).begin_audit_review(request).await.unwrap_err();
    assert_eq!(reason(&refused), "CALLER_NOT_ALLOWED");
}

async fn recover(
    served: &Served,
    audit: &pb::Audit,
    claim_id: &str,
    amount: i64,
) -> Result<pb::Recovery, Status> {
    let request = pb::RecordRecoveryRequest {
        request_id: key(),
        claim_id: claim_id.into(),
        amount_rupiah: amount,
        decided_on: today().to_string(),
        audit_id: audit.audit_id.clone(),
        ..Default::default()
    };
    Ok(served.settlement(BPJS).record_recovery(request).await?.into_inner().recovery.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_audit_found_is_recovered_once_and_the_audit_tells_of_it() {
    let served = Served::start().await;
    let (quarter, at) = (past(1), middle(past(1)));
    let claims = [Paid::visit("0301R011", at), Paid { primary: "I10", ..Paid::visit("0301R011", at) }];
    write(&served, &claims).await;
    let frame = publish(&served, wish(pb::AuditFrameKind::Claims, quarter)).await.unwrap();
    drawn(&served, &frame, &seed("1")).await;
    let drawn = audits(&served, BPJS, pb::ListAuditsRequest::default()).await;
    let [audit, other] = drawn.as_slice() else { panic!("{drawn:?}") };
    let get = async |audit: &pb::Audit| {
        let request = pb::GetAuditRequest { audit_id: audit.audit_id.clone() };
        served.audits(HOSPITAL).get_audit(request).await.unwrap().into_inner().audit.unwrap()
    };

    // Not before it is closed, not of another claim, not above what it found, not before its closing.
    let early = recover(&served, audit, &audit.claim_id, 1).await.unwrap_err();
    assert_eq!(
        (reason(&early), fact(&early, "allowed")),
        ("AUDIT_STATE_WRONG".to_owned(), "DONE".to_owned())
    );
    begin(&served, audit).await.unwrap();
    find(&served, audit).await.unwrap();
    close(&served, closing(audit, pb::AuditVerdict::NotConform, 50_000)).await.unwrap();
    let foreign = recover(&served, audit, &other.claim_id, 1).await.unwrap_err();
    assert_eq!(
        (reason(&foreign), fact(&foreign, "claim_id")),
        ("AUDIT_OF_ANOTHER_CLAIM".to_owned(), audit.claim_id.clone())
    );
    let high = recover(&served, audit, &audit.claim_id, 50_001).await.unwrap_err();
    assert_eq!(
        (reason(&high), fact(&high, "found_rupiah")),
        ("RECOVERY_ABOVE_AUDIT".to_owned(), "50000".to_owned())
    );
    let request = pb::RecordRecoveryRequest {
        request_id: key(),
        claim_id: audit.claim_id.clone(),
        amount_rupiah: 50_000,
        decided_on: day(-1).to_string(),
        audit_id: audit.audit_id.clone(),
        ..Default::default()
    };
    let before = served.settlement(BPJS).record_recovery(request.clone()).await.unwrap_err();
    assert_eq!(wrong_fields(&before), ["decided_on"]);
    let unknown = pb::RecordRecoveryRequest { audit_id: Uuid::now_v7().to_string(), ..request.clone() };
    let unknown = served.settlement(BPJS).record_recovery(unknown).await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);
    let garbled = pb::RecordRecoveryRequest { audit_id: "A".into(), amount_rupiah: 0, ..request };
    let garbled = served.settlement(BPJS).record_recovery(garbled).await.unwrap_err();
    assert_eq!(wrong_fields(&garbled), ["audit_id", "amount_rupiah"]);
    assert_eq!(get(audit).await.settlement, None);
    assert_eq!(count(&served, "recovery").await, 0, "nothing that was refused left anything");

    // Once, by however many at once.
    let asked = (0..4).map(|_| recover(&served, audit, &audit.claim_id, 50_000));
    let answers = join_all(asked).await;
    let recoveries: BTreeSet<_> = answers.into_iter().map(|answer| answer.unwrap().recovery_id).collect();
    assert_eq!(recoveries.len(), 1, "the id of the audit is a second key");
    let again = pb::RecordRecoveryRequest {
        request_id: key(),
        claim_id: audit.claim_id.clone(),
        audit_reference: "AAK-2".into(),
        amount_rupiah: 1,
        decided_on: today().to_string(),
        audit_id: audit.audit_id.clone(),
    };
    let again = served.settlement(BPJS).record_recovery(again).await.unwrap_err();
    assert_eq!(
        (reason(&again), fact(&again, "recovery_id")),
        ("AUDIT_RECOVERED".to_owned(), recoveries.first().unwrap().clone())
    );
    let expected = pb::AuditSettlement {
        recovery_id: recoveries.first().unwrap().clone(),
        amount_rupiah: 50_000,
        recovered_rupiah: 0,
        recorded_on: today().to_string(),
        recovered_on: String::new(),
    };
    assert_eq!(get(audit).await.settlement.unwrap(), expected);

    // Nothing is recovered of one that conforms; another verdict needs no audit.
    begin(&served, other).await.unwrap();
    close(&served, closing(other, pb::AuditVerdict::Conform, 0)).await.unwrap();
    let nothing = recover(&served, other, &other.claim_id, 1).await.unwrap_err();
    assert_eq!(reason(&nothing), "AUDIT_FOUND_NOTHING");
    let outside = pb::RecordRecoveryRequest {
        request_id: key(),
        claim_id: other.claim_id.clone(),
        audit_reference: "VPK-7".into(),
        amount_rupiah: 1_000,
        decided_on: today().to_string(),
        audit_id: String::new(),
    };
    let outside = served.settlement(BPJS).record_recovery(outside).await.unwrap().into_inner();
    assert_eq!(outside.recovery.unwrap().audit_id, "");
    assert_eq!(get(other).await.settlement, None);

    // The next batch takes it, and the audit says when.
    let next = served.payable(today()).await;
    crate::settlement::closed(&served, &[&next]).await;
    let done =
        pb::AuditSettlement { recovered_rupiah: 50_000, recovered_on: today().to_string(), ..expected };
    assert_eq!(get(audit).await.settlement.as_ref(), Some(&done));
    let listed = audits(&served, BPJS, pb::ListAuditsRequest::default()).await;
    let told: Vec<_> = listed.into_iter().filter_map(|one| one.settlement).collect();
    assert_eq!(told, std::slice::from_ref(&done));
    let owed = pb::ListAuditRecoveriesRequest::default();
    let owed = served.audits(MINISTRY).list_audit_recoveries(owed).await.unwrap().into_inner();
    assert_eq!(owed.recoveries[0].settlement, Some(done));
}

async fn quarter_now(served: &Served) -> pb::AuditQuarter {
    let request = pb::GetAuditQuarterRequest { quarter: Quarter::of(today()).to_string() };
    served.audits(DJSN).get_audit_quarter(request).await.unwrap().into_inner().quarter.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_and_forty_nine_audits_do_not_meet_the_quarter_and_two_hundred_and_fifty_do() {
    let served = Served::start().await;
    write(&served, &nation(past(1), 260)).await;
    let at = middle(past(2));
    write(&served, &[Paid::visit("0901R001", at), Paid::visit("0901R002", at)]).await;
    for quarter in [past(1), past(2)] {
        let frame = publish(&served, wish(pb::AuditFrameKind::Claims, quarter)).await.unwrap();
        drawn(&served, &frame, &seed("1")).await;
    }
    let all = audits(&served, BPJS, pb::ListAuditsRequest::default()).await;
    assert_eq!(all.len(), 252);
    let (few, many): (Vec<_>, Vec<_>) =
        all.into_iter().partition(|audit| audit.quarter == past(2).to_string());
    let whole = &served;
    let closed = stream::iter(&many[1..]).map(|audit| async move {
        begin(whole, audit).await.unwrap();
        close(whole, closing(audit, pb::AuditVerdict::Conform, 0)).await.unwrap();
    });
    closed.buffer_unordered(16).collect::<Vec<()>>().await;
    let result = quarter_now(&served).await;
    assert_eq!((result.audited, result.target, result.met), (249, 250, false));

    // An audit under another protocol does not count, one that is not closed neither.
    begin(&served, &many[0]).await.unwrap();
    begin(&served, &few[0]).await.unwrap();
    let old = pb::CloseAuditRequest {
        protocol_version: OLD_PROTOCOL.into(),
        ..closing(&few[0], pb::AuditVerdict::Conform, 0)
    };
    close(&served, old).await.unwrap();
    let result = quarter_now(&served).await;
    assert_eq!((result.audited, result.other_protocols, result.met), (249, 1, false));
    find(&served, &many[0]).await.unwrap();
    close(&served, closing(&many[0], pb::AuditVerdict::Corrected, 7)).await.unwrap();
    let result = quarter_now(&served).await;
    assert_eq!((result.audited, result.met), (250, true));
    assert_eq!(
        (result.conform, result.not_conform, result.corrected, result.recovery_rupiah),
        (249, 0, 1, 7)
    );
    assert_eq!(result.protocol_version, PROTOCOL);
    let before = pb::GetAuditQuarterRequest { quarter: past(1).to_string() };
    let before = served.audits(DJSN).get_audit_quarter(before).await.unwrap().into_inner().quarter.unwrap();
    assert_eq!((before.audited, before.met), (0, false), "it counts in the quarter of its closing");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_coding_of_drawn_hospitals_is_assessed() {
    let served = Served::start().await;
    let quarter = past(1);
    // 24 hospitals of two strata with 2 claims each, and one with 40, so that its claims are drawn as well.
    let mut claims = Vec::new();
    for n in 0..25 {
        let facility = format!("0301R{n:03}");
        let place = if n % 3 == 0 { ("A", "12") } else { ("B", "32") };
        let many = if n == 0 { 40 } else { 2 };
        for _ in 0..many {
            let claim = Paid {
                class: place.0,
                province: place.1,
                care: pb::CareType::Inpatient,
                primary: "A41.9",
                secondary: vec!["J96.0", "E11.9"],
                procedures: vec!["96.71", "99.18"],
                severity: 3,
                cbg: "A-4-10-III",
                tariff: 4_000_000,
                ..Paid::visit(&facility, middle(quarter))
            };
            claims.push(claim);
        }
    }
    write(&served, &claims).await;
    let frame = publish(&served, wish(pb::AuditFrameKind::Hospitals, quarter)).await.unwrap();
    assert_eq!((frame.rows, frame.sample_size), (25, 20));
    let names: Vec<_> = frame.strata.iter().map(|stratum| stratum.name.as_str()).collect();
    assert_eq!(names, ["A,sumatra", "B,java-bali"]);
    let text = export(&served, &frame).await;
    let accuracy = pb::GetCodingAccuracyRequest { frame_id: frame.frame_id.clone() };
    let early = served.audits(MINISTRY).get_coding_accuracy(accuracy.clone()).await.unwrap_err();
    assert_eq!(reason(&early), "AUDIT_SAMPLE_MISSING");
    let seed = seed("hospitals");
    let frame = drawn(&served, &frame, &seed).await;
    assert_eq!(frame.strata.iter().map(|stratum| stratum.drawn).collect::<Vec<_>>(), [7, 13]);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("hospitals.txt");
    std::fs::write(&file, &text).unwrap();
    let printed = redraw(&file, &["--seed", &seed, "--hash", &frame.frame_hash]).await;
    assert_eq!(sha256(&String::from_utf8(printed.stdout).unwrap()), frame.draw.as_ref().unwrap().sample_hash);
    assert_eq!(count(&served, "audit").await, 0, "hospitals are assessed, not audited");

    // Of each drawn hospital as many claims as it has, at most 30, by the same rank.
    let list = pb::ListCodingReviewsRequest {
        frame_id: frame.frame_id.clone(),
        page_size: 13,
        ..Default::default()
    };
    let mut wanted = Vec::new();
    let mut page = list.clone();
    loop {
        let answer = served.audits(MINISTRY).list_coding_reviews(page).await.unwrap().into_inner();
        wanted.extend(answer.reviews);
        if answer.next_page_token.is_empty() {
            break;
        }
        page = pb::ListCodingReviewsRequest { page_token: answer.next_page_token, ..list.clone() };
    }
    let mut of: BTreeMap<String, Vec<pb::CodingReview>> = BTreeMap::new();
    for review in &wanted {
        of.entry(review.facility_code.clone()).or_default().push(review.clone());
    }
    assert_eq!(of.len(), 20);
    let sampled: BTreeSet<_> = sample(&served, &frame).await.rows.into_iter().map(|row| row.key).collect();
    assert_eq!(of.keys().cloned().collect::<BTreeSet<_>>(), sampled);
    for (facility, drawn) in &of {
        let mut own: Vec<_> = claims
            .iter()
            .filter(|claim| claim.facility == *facility)
            .map(|claim| claim.claim_id.to_string())
            .collect();
        own.sort_by_key(|claim| claims::draw::rank(&seed, claim));
        own.truncate(30);
        assert_eq!(drawn.iter().map(|review| review.claim_id.clone()).collect::<Vec<_>>(), own);
        assert_eq!(
            drawn.iter().map(|review| review.place).collect::<Vec<_>>(),
            (1..=own.len() as i32).collect::<Vec<_>>()
        );
    }

    // One review agrees, one takes a code out that made the case heavier, one finds codes that cannot be grouped.
    let codes = |primary: &str, secondary: &[&str], procedures: &[&str]| pb::EpisodeCodes {
        primary_diagnosis: primary.into(),
        secondary_diagnoses: secondary.iter().map(|code| (*code).into()).collect(),
        procedures: procedures.iter().map(|code| (*code).into()).collect(),
    };
    let review = |drawn: &pb::CodingReview, codes: pb::EpisodeCodes| pb::RecordCodingReviewRequest {
        request_id: key(),
        frame_id: frame.frame_id.clone(),
        claim_id: drawn.claim_id.clone(),
        protocol_version: PROTOCOL.into(),
        codes: Some(codes),
    };
    let record = |request: pb::RecordCodingReviewRequest| {
        let mut client = served.audits(MINISTRY);
        async move { client.record_coding_review(request).await.map(|answer| answer.into_inner().review.unwrap()) }
    };
    let (first, second) = {
        let mut hospitals = of.values();
        (hospitals.next().unwrap().clone(), hospitals.next().unwrap().clone())
    };
    let same = codes("A41.9", &["E11.9", "J96.0"], &["99.18", "96.71"]);
    let agreed = record(review(&first[0], same.clone())).await.unwrap();
    let score = agreed.score.unwrap();
    assert_eq!((score.diagnoses_agreed, score.diagnoses_reviewed), (3, 3));
    assert_eq!(
        (score.diagnosis_accuracy_basis_points, score.procedure_accuracy_basis_points),
        (Some(10_000), Some(10_000))
    );
    assert_eq!((agreed.cbg_changed, agreed.reviewed_cbg_code.as_str()), (false, "A-4-10-III"));
    let lighter = record(review(&first[1], codes("A41.9", &["E11.9"], &["99.18"]))).await.unwrap();
    let score = lighter.score.unwrap();
    assert_eq!((score.diagnoses_agreed, score.diagnoses_reviewed), (2, 3));
    assert_eq!((score.procedures_agreed, score.procedures_reviewed), (1, 2));
    assert_eq!((lighter.cbg_changed, lighter.reviewed_cbg_code.as_str()), (true, "A-4-10-II"));
    let effect = lighter.effect_rupiah.unwrap();
    assert_eq!(effect, agreed.effect_rupiah.unwrap() + tariff_of(&first[1], 2) - tariff_of(&first[1], 3));
    let ungroupable = record(review(&second[0], codes("W19", &[], &[]))).await.unwrap();
    assert_eq!((ungroupable.reviewed_cbg_code.as_str(), ungroupable.effect_rupiah), ("X-0-13-X", None));

    // Once, only what was drawn, and only whole.
    assert_eq!(reason(&record(review(&first[0], same.clone())).await.unwrap_err()), "CODING_REVIEW_EXISTS");
    let stranger = claims.iter().find(|claim| !sampled.contains(&claim.facility)).unwrap();
    let stranger = pb::CodingReview { claim_id: stranger.claim_id.to_string(), ..Default::default() };
    assert_eq!(record(review(&stranger, same.clone())).await.unwrap_err().code(), Code::NotFound);
    let wild = pb::RecordCodingReviewRequest {
        request_id: "?".into(),
        claim_id: "?".into(),
        codes: Some(codes("?", &["E11.9"; 40], &["12.3", "?"])),
        ..review(&first[2 % first.len()], same)
    };
    let wrong = wrong_fields(&record(wild).await.unwrap_err());
    for field in [
        "request_id",
        "claim_id",
        "codes.primary_diagnosis",
        "codes.secondary_diagnoses",
        "codes.procedures[1]",
    ] {
        assert!(wrong.iter().any(|name| name == field), "{field}: {wrong:?}");
    }

    let whole = served.audits(MINISTRY).get_coding_accuracy(accuracy.clone()).await.unwrap().into_inner();
    assert_eq!(whole.hospitals.len(), 20);
    let own =
        whole.hospitals.iter().find(|hospital| hospital.facility_code == first[0].facility_code).unwrap();
    let score = own.score.unwrap();
    assert_eq!((own.reviewed, own.cbg_changed, own.effect_unknown), (2, 1, 0));
    assert_eq!(own.effect_rupiah, agreed.effect_rupiah.unwrap() + effect);
    assert_eq!(
        (score.diagnosis_accuracy_basis_points, score.procedure_accuracy_basis_points),
        (Some(8333), Some(7500))
    );
    let overall = whole.overall.unwrap();
    assert_eq!((overall.drawn, overall.reviewed), (wanted.len() as i64, 3));
    assert_eq!((overall.cbg_changed, overall.effect_unknown), (2, 1));
    let score = overall.score.unwrap();
    // 5 of 6, and of the third the primary diagnosis and two others that are not agreed.
    assert_eq!((score.diagnoses_agreed, score.diagnoses_reviewed), (5, 9));
    assert_eq!((score.procedures_agreed, score.procedures_reviewed), (3, 6));
    let unreviewed = whole.hospitals.iter().find(|hospital| hospital.reviewed == 0).unwrap();
    assert_eq!(unreviewed.score.unwrap().diagnosis_accuracy_basis_points, None);

    // A hospital sees its own; one that was not drawn sees nothing.
    let listed = served.audits(HOSPITAL).list_coding_reviews(list).await.unwrap().into_inner().reviews;
    assert!(listed.iter().all(|review| review.facility_code == "0301R011"));
    assert_eq!(listed.len(), of.get("0301R011").map_or(0, Vec::len));
    let narrow = served.audits(HOSPITAL).get_coding_accuracy(accuracy).await.unwrap().into_inner();
    assert!(narrow.hospitals.iter().all(|hospital| hospital.facility_code == "0301R011"));
    let events = served.events(5).await;
    assert_eq!(events.iter().filter(|event| event.r#type == pb::CodingReviewed::full_name()).count(), 3);
    assert!(events.iter().all(|event| !String::from_utf8_lossy(&event.body).contains("A41")));
}

/// The tariff of septicaemia at the hospital of a review, for class 3, by the table the service uses.
fn tariff_of(review: &pb::CodingReview, severity: u8) -> i64 {
    let table = include_str!("../../../../policy/claims/tariff.toml");
    let table = chassis::policy::parse::<claims::tariff::Table>("claims/tariff.toml", table).unwrap();
    let number: u32 = review.facility_code[5..].parse().unwrap();
    let (class, province) = if number.is_multiple_of(3) { ("A", "12") } else { ("B", "32") };
    let roman = ["I", "II", "III"][usize::from(severity) - 1];
    let package = claims::grouper::Package {
        cbg: vocabulary::Cbg::parse(&format!("A-4-10-{roman}")).unwrap(),
        title: String::new(),
        group: "A-4-10".into(),
        case_type: 4,
        severity,
    };
    let hospital =
        claims::tariff::Hospital { province: province.into(), class: class.into(), government_owned: true };
    let class = vocabulary::CareClass::Three;
    table.versions()[0].of(&package, &hospital, class).unwrap().amount.get()
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_input_names_every_wrong_field_and_writes_nothing() {
    let served = Served::start().await;
    let published = served.audits(BPJS).publish_frame(pb::PublishFrameRequest::default()).await.unwrap_err();
    assert_eq!(wrong_fields(&published), ["request_id", "kind", "quarter", "seed_at"]);
    let drawn = served.audits(BPJS).draw_sample(pb::DrawSampleRequest::default()).await.unwrap_err();
    assert_eq!(wrong_fields(&drawn), ["request_id", "frame_id", "seed", "seed_published_at"]);
    let found = pb::RecordAuditFindingRequest {
        detail: "x".repeat(100_000),
        amount_rupiah: i64::MIN,
        kind: 99,
        ..Default::default()
    };
    let found = served.audits(BPJS).record_audit_finding(found).await.unwrap_err();
    assert_eq!(wrong_fields(&found), ["request_id", "audit_id", "kind", "detail", "amount_rupiah"]);
    let closed = pb::CloseAuditRequest { recovery_rupiah: -1, ..Default::default() };
    let closed = served.audits(BPJS).close_audit(closed).await.unwrap_err();
    let expected = ["request_id", "audit_id", "verdict", "conclusion", "protocol_version", "recovery_rupiah"];
    assert_eq!(wrong_fields(&closed), expected);
    let listed = pb::ListAuditsRequest {
        facility_code: "?".into(),
        frame_id: "?".into(),
        claim_id: "?".into(),
        state: 9,
        verdict: 9,
        page_size: 501,
        page_token: "?".into(),
    };
    assert_eq!(wrong_fields(&served.audits(BPJS).list_audits(listed).await.unwrap_err()).len(), 7);
    let reviewed = pb::RecordCodingReviewRequest::default();
    let reviewed = served.audits(BPJS).record_coding_review(reviewed).await.unwrap_err();
    assert_eq!(wrong_fields(&reviewed), ["request_id", "frame_id", "claim_id", "protocol_version", "codes"]);
    let quarter = pb::GetAuditQuarterRequest { quarter: "2026-Q7".into() };
    let quarter = served.audits(DJSN).get_audit_quarter(quarter).await.unwrap_err();
    assert_eq!(wrong_fields(&quarter), ["quarter"]);
    for missing in [key(), day(0).to_string()] {
        let missing = pb::GetFrameRequest { frame_id: missing };
        assert!(served.audits(BPJS).get_frame(missing).await.is_err());
    }
    assert_eq!(served.rows().await, 0);
}
