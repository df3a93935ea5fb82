//! Frames and samples of audits: what was published is derived again by a second process.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::Output,
};

use crate::{
    refusal::{fact, reason, wrong_fields},
    served::Served,
    wishes::{BPJS, HOSPITAL, coding, key, today, visit},
};
use claims::{frame::sha256, quarter::Quarter};
use futures::{TryStreamExt, future::join_all};
use jiff::{SignedDuration, Timestamp, ToSpan};
use jiff_sqlx::ToSqlx;
use prost::{Message, Name};
use proto::claims::v1 as pb;
use tonic::Status;
use uuid::Uuid;

pub(crate) const MINISTRY: &str = "ministry:yankes";
pub(crate) const DJSN: &str = "djsn:djsn";
pub(crate) const PROTOCOL: &str = "dlr-4.1-revised";
pub(crate) const OLD_PROTOCOL: &str = "before-dlr-4.1";

/// A quarter that is over for long enough on every day of the year.
pub(crate) fn past(quarters: i32) -> Quarter {
    let ended = Quarter::of(Quarter::of(today()).first() - 1.day());
    (0..quarters).fold(ended, |quarter, _| Quarter::of(quarter.first() - 1.day()))
}

pub(crate) fn middle(quarter: Quarter) -> Timestamp {
    chassis::time::start_of(quarter.first() + 40.days()).unwrap()
}

/// A claim that became paid, as the service would have written it.
#[derive(Clone)]
pub(crate) struct Paid {
    pub(crate) claim_id: Uuid,
    pub(crate) facility: String,
    pub(crate) class: &'static str,
    pub(crate) province: &'static str,
    pub(crate) care: pb::CareType,
    pub(crate) primary: &'static str,
    pub(crate) secondary: Vec<&'static str>,
    pub(crate) procedures: Vec<&'static str>,
    pub(crate) severity: i32,
    pub(crate) cbg: &'static str,
    pub(crate) tariff: i64,
    pub(crate) at: Timestamp,
}

impl Paid {
    pub(crate) fn visit(facility: &str, at: Timestamp) -> Self {
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
pub(crate) async fn publish(
    served: &Served,
    wish: pb::PublishFrameRequest,
) -> Result<pb::AuditFrame, Status> {
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

pub(crate) fn seed(text: &str) -> String {
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

pub(crate) async fn drawn(served: &Served, frame: &pb::AuditFrame, seed: &str) -> pb::AuditFrame {
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

pub(crate) async fn audits(
    served: &Served,
    caller: &'static str,
    filter: pb::ListAuditsRequest,
) -> Vec<pb::Audit> {
    let filter = pb::ListAuditsRequest { page_size: 500, ..filter };
    let answer = served.audits(caller).list_audits(filter).await.unwrap().into_inner();
    assert!(answer.next_page_token.is_empty());
    answer.audits
}

pub(crate) async fn count(served: &Served, table: &'static str) -> i64 {
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

pub(crate) async fn redraw(file: &Path, arguments: &[&str]) -> Output {
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
