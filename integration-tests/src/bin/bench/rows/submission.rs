//! A hospital submits claims: `jkn serve claims`, called by 64 at once, each answered after its own commit. Beside it
//! pgbench with as many clients, which writes the same rows of the same tables, one claim in one statement: the best
//! that a service without a batcher could do, and without the work of one: no gRPC, no rules, no answer.

use std::{path::Path, time::Duration};

use chassis::{Caller, Service, identity::Purpose, time};
use claims::Claims;
use futures::{FutureExt, future::LocalBoxFuture};
use jiff::{Timestamp, ToSpan, civil::Date};
use prost::Message;
use proto::claims::v1 as pb;
use serde_json::json;
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

use super::Rows;
use crate::{
    Bench,
    databases::Databases,
    load::{Call, Choice, Header, Pace, Spec},
    pgbench::{self, Script},
    row::{Goal, Measured, Row},
    serve::{self, Authority, Served},
    trial::{self, Side},
};

pub(super) const ROWS: Rows =
    Rows { names: &["submission", "submission-p50", "submission-postgres"], measure };

/// Callers at once, of both sides.
const CONNECTIONS: usize = 8;
const IN_FLIGHT: usize = 8;
const CLIENTS: u32 = 64;

/// Claims that one repetition may submit: more than it can. A load that runs out of them is over earlier.
const CLAIMS: u64 = 80_000;
/// A second of warm-up, of both sides.
const WARM_UP: Duration = Duration::from_secs(1);

const HOSPITAL: &str = "9901R001";
/// How long the gateway's word is good for.
const ASSERTION_LIFETIME: Duration = Duration::from_secs(60);
/// A caller of production gives a deadline.
const TIMEOUT: &str = "9950000u";

/// The three whom a SEP is asked of. No claim is.
const UPSTREAMS: [&str; 3] = ["MEMBERSHIP", "REFERRAL", "ACCREDITATION"];

fn measure(bench: &Bench) -> LocalBoxFuture<'_, anyhow::Result<Vec<Row>>> {
    run(bench).boxed_local()
}

/// One repetition of ours.
#[derive(Debug, Clone, Copy, serde::Serialize)]
struct Ours {
    /// Claims a second.
    rate: f64,
    /// Median time from call to answer, in microseconds.
    p50: u64,
    /// Processor time for a claim, in microseconds.
    service_micros: f64,
    postgres_micros: f64,
    generator_micros: f64,
    /// Processors that others kept busy meanwhile.
    foreign_processors: f64,
}

async fn run(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    let authority = Authority::open(bench)?;
    let databases = Databases::start(bench, "submission").await?;
    databases.run(bench, &[Claims::NAME], &["migrate", Claims::NAME]).await?;
    let claims = start(bench, &authority, &databases).await?;
    let script = script()?;

    let mut pairs = Vec::new();
    for number in 1..=bench.repetitions {
        let first = u64::from(number - 1) * 2 * CLAIMS + 1;
        bench.tell(&format!("  {number}/{}  making {} claims final", bench.repetitions, 2 * CLAIMS));
        make_final(&databases, first, 2 * CLAIMS).await?;
        let ours = ours(bench, &authority, &databases, &claims, first).await?;
        relayed(&databases).await?;
        let peer = peer(bench, &databases, &script, first + CLAIMS).await?;
        bench.tell(&format!("  {number}/{}  {ours:.1?}  |  {peer:.1?}", bench.repetitions));
        pairs.push((ours, peer));
    }
    claims.process.end().await?;
    databases.stop().await?;

    let row = |name, what, unit, goal, of: fn(&(Ours, pgbench::Report)) -> (f64, f64)| Row {
        name,
        what,
        unit,
        goal,
        measured: Measured::Beside(pairs.iter().map(of).collect()),
        details: json!(pairs),
    };
    Ok(vec![
        row(
            "submission",
            "jkn serve claims, 64 callers, beside pgbench, 64 clients, one statement for the same rows",
            "claims/s",
            Goal::AtLeast { goal: 1.5, aim: Some(2.5) },
            |(ours, peer)| (ours.rate, peer.rate),
        ),
        row(
            "submission-p50",
            "the same, median time of a caller",
            "µs",
            Goal::AtMost { goal: 1.0, aim: None },
            |(ours, peer)| (ours.p50 as f64, peer.p50 as f64),
        ),
        row(
            "submission-postgres",
            "the same, PostgreSQL with the relay of the events",
            "µs of CPU a claim",
            Goal::AtMost { goal: 0.35, aim: None },
            |(ours, peer)| (ours.postgres_micros, peer.postgres_micros),
        ),
    ])
}

async fn start(bench: &Bench, authority: &Authority, databases: &Databases) -> anyhow::Result<Served> {
    let mut settings = authority.settings(Claims::NAME)?;
    settings.push(databases.setting(Claims::NAME).await?);
    for upstream in UPSTREAMS {
        settings.push((format!("UPSTREAM__{upstream}"), "https://127.0.0.1:1".to_owned()));
    }
    serve::start(bench, Claims::NAME, Some(bench.processors.server), &settings).await
}

/// The claim of a number: ids that follow one another, as those that are made in turn do.
fn claim_id(number: u64) -> Uuid {
    Uuid::from_u128(0x0193_1f3e_0000_7000_8000_0000_0000_0000 | u128::from(number))
}

/// An in-patient episode of yesterday to which no rule objects, and its package.
fn episode(today: Date) -> anyhow::Result<(Date, pb::Sep, pb::ClaimData, pb::Grouping)> {
    let service_date = today.checked_sub(4.days())?;
    let at = |day: Date| -> anyhow::Result<_> {
        let noon = day.at(12, 0, 0, 0).to_zoned(jiff::tz::TimeZone::UTC)?.timestamp();
        Ok(Some(time::to_proto(noon)))
    };
    let letter = pb::Sep {
        state: pb::SepState::Issued.into(),
        facility_code: HOSPITAL.to_owned(),
        service_date: service_date.to_string(),
        care_type: pb::CareType::Inpatient.into(),
        entry: pb::Entry::Emergency.into(),
        initial_diagnosis: "J18.9".to_owned(),
        medical_record_number: "RM-000001".to_owned(),
        admitted_at: at(service_date)?,
        entitled_class: 2,
        segment: "PPU_BU".to_owned(),
        province_code: "99".to_owned(),
        hospital_class: "B".to_owned(),
        government_owned: true,
        ..pb::Sep::default()
    };
    let data = pb::ClaimData {
        admitted_at: at(service_date)?,
        discharged_at: at(today.checked_sub(1.day())?)?,
        admission_route: pb::AdmissionRoute::Emergency.into(),
        discharge_status: pb::DischargeStatus::Approved.into(),
        sex: pb::Sex::Female.into(),
        birth_date: "1980-05-17".to_owned(),
        primary_diagnosis: "J18.9".to_owned(),
        charges: Some(pb::HospitalCharges {
            room_rupiah: 1_500_000,
            drug_rupiah: 900_000,
            ..pb::HospitalCharges::default()
        }),
        doctor_name: "dr. Contoh".to_owned(),
        documents: [pb::DocumentKind::MedicalSummary, pb::DocumentKind::Radiology]
            .map(|kind| pb::Document { kind: kind.into(), reference: "ARSIP-1".to_owned() })
            .to_vec(),
        ..pb::ClaimData::default()
    };
    let grouping = pb::Grouping {
        cbg_code: "J-4-16-I".to_owned(),
        title: "Simple pneumonia, light".to_owned(),
        case_type: 4,
        severity: 1,
        tariff_rupiah: 4_200_000,
        care_class: 2,
        tariff_class: "BP".to_owned(),
        regional: 1,
        table_version: "2023-01-09".to_owned(),
        ..pb::Grouping::default()
    };
    Ok((service_date, letter, data, grouping))
}

/// Claims that are final, with their SEPs, as the service would have written them.
async fn make_final(databases: &Databases, first: u64, many: u64) -> anyhow::Result<()> {
    let (service_date, letter, data, grouping) = episode(time::today_at(Timestamp::now()))?;
    let mut database = PgConnection::connect(&databases.url(Claims::NAME).await?).await?;
    sqlx::query(
        "with numbered as (
             select number, $1::text || lpad((1 + number / 1000000)::text, 2, '0') || '26V'
                        || lpad((number % 1000000)::text, 6, '0') as sep_number,
                    ('01931f3e-0000-7000-8000-' || lpad(to_hex(number), 12, '0'))::uuid as claim_id,
                    gen_random_uuid() as member_id
             from generate_series($2::bigint, $3::bigint) as number
         ), issued as (
             insert into sep (sep_number, facility_code, member_id, service_date, care_type, clinic, emergency,
                              issued_at, letter)
             select sep_number, $1, member_id, $4::date, 1, '', true, now(), $5 from numbered
         )
         insert into claim (claim_id, sep_number, facility_code, member_id, care_type, service_date, state, steps,
                            created_at, data, grouping, tariff_rupiah, discharged_on)
         select claim_id, sep_number, $1, member_id, 1, $4::date, 3, 4, now(), $6, $7, $8, $4::date + 3
         from numbered",
    )
    .bind(HOSPITAL)
    .bind(i64::try_from(first)?)
    .bind(i64::try_from(first + many - 1)?)
    .bind(jiff_sqlx::ToSqlx::to_sqlx(service_date))
    .bind(letter.encode_to_vec())
    .bind(data.encode_to_vec())
    .bind(grouping.encode_to_vec())
    .bind(grouping.tariff_rupiah)
    .execute(&mut database)
    .await?;
    sqlx::raw_sql("vacuum analyze; checkpoint").execute(&mut database).await?;
    Ok(())
}

/// A request for each claim, each with a key of its own.
fn write_messages(file: &Path, first: u64) -> anyhow::Result<()> {
    let messages: Vec<_> = (first..first + CLAIMS)
        .map(|number| pb::SubmitClaimRequest {
            request_id: Uuid::now_v7().to_string(),
            claim_id: claim_id(number).to_string(),
        })
        .collect();
    trial::write_messages(file, &messages)
}

async fn ours(
    bench: &Bench,
    authority: &Authority,
    databases: &Databases,
    claims: &Served,
    first: u64,
) -> anyhow::Result<Ours> {
    let messages = bench.folder().join("submit-claim");
    write_messages(&messages, first)?;
    let caller: Caller = format!("hospital:{HOSPITAL}").parse()?;
    let signer = authority.signer(Purpose::Assertion)?;
    let assertion = signer.sign(&caller, Timestamp::now(), ASSERTION_LIFETIME)?;
    let call = Call {
        address: claims.grpc,
        tls: Some(authority.client("gateway", Claims::NAME)?),
        path: "/jkn.claims.v1.ClaimService/SubmitClaim".to_owned(),
        headers: vec![
            Header::plain(chassis::call::TIMEOUT, TIMEOUT),
            Header { name: chassis::call::ASSERTION.to_owned(), value: assertion, sensitive: true },
        ],
        sampled_in_thousand: None,
        messages,
        choice: Choice::EachOnce,
    };
    let side = Side {
        name: Claims::NAME,
        watched: vec![("service", claims.process.pid()?), ("postgres", databases.pid()?)],
        paced: 0,
        call: Box::new(move || Ok(call.clone())),
    };
    let spec = Spec {
        call: (side.call)()?,
        connections: CONNECTIONS,
        pace: Pace::Saturated { in_flight: IN_FLIGHT },
        warm_up: WARM_UP,
        duration: bench.duration,
    };
    let (report, used) = side.load(bench, &spec).await?;
    let micros = |name: &str| {
        used.by_name.get(name).map_or(0.0, |time| time.as_secs_f64() * 1e6 / report.answered as f64)
    };
    Ok(Ours {
        rate: report.answered as f64 / report.seconds,
        p50: report.latency.p50,
        service_micros: micros("service"),
        postgres_micros: micros("postgres"),
        generator_micros: micros(trial::GENERATOR),
        foreign_processors: used.foreign_processors,
    })
}

/// Waits until the events of the submissions are in the feed: that work is not to fall on the other side.
async fn relayed(databases: &Databases) -> anyhow::Result<()> {
    let mut database = PgConnection::connect(&databases.url(Claims::NAME).await?).await?;
    while sqlx::query_scalar::<_, bool>("select exists (select from outbox)").fetch_one(&mut database).await?
    {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

/// The rows of a submission in one statement: what the service writes, of the same length.
fn script() -> anyhow::Result<Script> {
    let (_, letter, data, grouping) = episode(time::today_at(Timestamp::now()))?;
    let answer = data.encoded_len() + grouping.encoded_len() + 300;
    let event = 200 + letter.segment.len();
    let text = format!(
        "\\set number :first + :turn * {CLIENTS} + :client_id
\\set turn :turn + 1
with changed as (
    update claim set state = 4, steps = steps + 1, submitted_at = now(), round = 0, pending_reason = null,
           asked_of = null, asked_at = null
    where claim_id = ('01931f3e-0000-7000-8000-' || lpad(to_hex(:number::bigint), 12, '0'))::uuid and state = 3
    returning claim_id, steps, state
), taken as (
    insert into claim_step (claim_id, step, state, taken_at, taken_by)
    select claim_id, steps, state, now(), 'hospital:{HOSPITAL}' from changed
), keyed as (
    insert into idempotency (caller, request_id, method, request_hash, response)
    select 'hospital:{HOSPITAL}', gen_random_uuid()::text, '/jkn.claims.v1.ClaimService/SubmitClaim',
           decode(repeat('5a', 32), 'hex'), decode(repeat('5a', {answer}), 'hex')
    from changed
)
insert into outbox (event_id, kind, subject, traceparent, body)
select gen_random_uuid(), 'jkn.claims.v1.ClaimSubmitted', claim_id::text,
       '00-5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a-5a5a5a5a5a5a5a5a-00', decode(repeat('5a', {event}), 'hex')
from changed;
"
    );
    Ok(Script { text, clients: CLIENTS, database: Claims::NAME.to_owned() })
}

async fn peer(
    bench: &Bench,
    databases: &Databases,
    script: &Script,
    first: u64,
) -> anyhow::Result<pgbench::Report> {
    let half = CLAIMS / 2;
    let warm = script.run(bench, databases, WARM_UP, first).await?;
    let report = script.run(bench, databases, bench.duration, first + half).await?;
    // The service would relay them as its own.
    let mut database = PgConnection::connect(&databases.url(Claims::NAME).await?).await?;
    let told = sqlx::query("delete from outbox").execute(&mut database).await?.rows_affected();
    let done = warm.transactions + report.transactions;
    anyhow::ensure!(told as f64 == done, "pgbench submitted {told} claims in {done} transactions");
    Ok(report)
}
