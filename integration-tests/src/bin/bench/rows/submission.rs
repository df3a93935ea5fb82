//! A hospital submits claims: `jkn serve claims`, called by 64 at once, each answered after its own commit. Beside it
//! pgbench with as many clients, which writes the same rows of the same tables, one claim in one statement: the best
//! that a service without a batcher could do, and without the work of one: no gRPC, no rules, no answer.
//!
//! Then the same over two streams, beside two connections that do nothing but send the same rows, a thousand claims in
//! one statement of arrays.

use std::{
    collections::BTreeMap,
    fs,
    ops::Range,
    path::Path,
    time::{Duration, Instant},
};

use chassis::{Caller, Service as _, identity::Purpose, time};
use claims::Claims;
use futures::{
    FutureExt,
    future::{LocalBoxFuture, try_join_all},
};
use jiff::{Timestamp, ToSpan, civil::Date};
use prost::Message;
use proto::claims::v1::{self as pb, claim_service_client::ClaimServiceClient};
use serde_json::json;
use sqlx::{Connection, PgConnection};
use tonic::{
    Request,
    metadata::MetadataValue,
    transport::{Certificate, ClientTlsConfig, Endpoint, Identity},
};
use uuid::Uuid;

use super::Rows;
use crate::{
    Bench,
    databases::Databases,
    load::{Call, Choice, Header, Pace, Spec},
    pgbench::{self, Script},
    row::{Goal, Measured, Row},
    serve::{self, Authority, Served},
    trial,
    usage::Reading,
};

pub(super) const ROWS: Rows = Rows {
    names: &[
        "submission",
        "submission-p50",
        "submission-postgres",
        "submission-streamed",
        "submission-grown",
    ],
    measure,
};

/// Callers at once, of both sides.
const CONNECTIONS: usize = 8;
const IN_FLIGHT: usize = 8;
const CLIENTS: u32 = 64;

/// Claims that one repetition may submit: more than it can. A load that runs out of them is over earlier.
const CLAIMS: u64 = 80_000;
/// Those of a repetition: ours, the peer's, ours over streams, and the peer's a thousand at once, which are more.
const CLAIMS_OF_REPETITION: u64 = 5 * CLAIMS;
/// Of the same load on a tenth of the claims: those of a repetition, all of which it may submit.
const FEW: u64 = CLAIMS_OF_REPETITION / 10;
/// Streams at once, connections beside them, and claims of one statement of those.
const STREAMS: u64 = 2;
const BULK: usize = 1_000;
/// A second of warm-up, of both sides.
const WARM_UP: Duration = Duration::from_secs(1);

const HOSPITAL: &str = "9901R001";
/// What the peers write beside the lengths: texts as long as those of the service.
const METHOD: &str = "/jkn.claims.v1.ClaimService/SubmitClaim";
const KIND: &str = "jkn.claims.v1.ClaimSubmitted";
const TRACEPARENT: &str = "00-5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a-5a5a5a5a5a5a5a5a-00";
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

impl Ours {
    /// Of the service and its database together.
    fn all_micros(&self) -> f64 {
        self.service_micros + self.postgres_micros
    }
}

/// Claims that came together.
#[derive(Debug, serde::Serialize)]
struct Streamed {
    /// Claims a second.
    rate: f64,
    /// Processor time of each process for a claim, in microseconds.
    micros: BTreeMap<&'static str, f64>,
}

impl Streamed {
    /// What these processes use while claims are submitted; `submitted` tells how many.
    async fn measure(
        watched: &[(&'static str, i32)],
        submitted: impl Future<Output = anyhow::Result<u64>>,
    ) -> anyhow::Result<Self> {
        let (before, begun) = (Reading::take(watched)?, Instant::now());
        let claims = submitted.await? as f64;
        let rate = claims / begun.elapsed().as_secs_f64();
        let used = Reading::take(watched)?.since(&before).by_name;
        let micros = used.into_iter().map(|(name, time)| (name, time.as_secs_f64() * 1e6 / claims)).collect();
        Ok(Self { rate, micros })
    }
}

async fn run(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    let authority = Authority::open(bench)?;
    let (databases, few) = (database(bench, "submission").await?, database(bench, "submission-few").await?);
    let claims = start(bench, &authority, &databases).await?;
    let claims_of_few = start(bench, &authority, &few).await?;
    let one = script()?;

    let (mut pairs, mut streamed, mut grown) = (Vec::new(), Vec::new(), Vec::new());
    for number in 1..=bench.repetitions {
        let among_few = {
            let first = u64::from(number - 1) * FEW + 1;
            make_final(&few, first, FEW).await?;
            let service = Service { bench, authority: &authority, databases: &few, claims: &claims_of_few };
            let among_few = service.called(first..first + FEW).await?;
            relayed(&few).await?;
            among_few
        };
        let first = u64::from(number - 1) * CLAIMS_OF_REPETITION + 1;
        make_final(&databases, first, CLAIMS_OF_REPETITION).await?;
        let service = Service { bench, authority: &authority, databases: &databases, claims: &claims };
        let ours = service.called(first..first + CLAIMS).await?;
        relayed(&databases).await?;
        grown.push((ours.all_micros(), among_few.all_micros()));
        let peer = peer(bench, &databases, &one, (first + CLAIMS, CLAIMS)).await?;
        let watched = [("service", claims.process.pid()?), ("postgres", databases.pid()?)];
        let together = Streamed::measure(&watched, service.streamed(first + 2 * CLAIMS)).await?;
        relayed(&databases).await?;
        let bulk = peer_of_streams(bench, &databases, first + 3 * CLAIMS).await?;
        same_rows(&databases, first, first + CLAIMS).await?;
        same_rows(&databases, first + 2 * CLAIMS, first + 3 * CLAIMS).await?;
        bench.tell(&format!(
            "  {number}/{}  {ours:.1?}  |  {peer:.1?}\n       streamed {together:.1?}  |  {bulk:.1?}\n       \
             of ten times as many claims {:.1} µs  |  {:.1} µs",
            bench.repetitions,
            ours.all_micros(),
            among_few.all_micros(),
        ));
        pairs.push((ours, peer));
        streamed.push((together, bulk));
    }
    for (process, databases) in [(claims.process, databases), (claims_of_few.process, few)] {
        process.end().await?;
        databases.stop().await?;
    }

    let of = |sides: fn(&(Ours, pgbench::Report)) -> (f64, f64)| pairs.iter().map(sides).collect();
    let row = |name, what, unit, goal, sides, details| Row {
        name,
        what,
        unit,
        goal,
        measured: Measured::Beside(sides),
        details,
    };
    Ok(vec![
        row(
            "submission",
            "jkn serve claims, 64 callers, beside pgbench, 64 clients, one statement for the same rows",
            "claims/s",
            Goal::AtLeast { goal: 1.5, aim: Some(2.5) },
            of(|(ours, peer)| (ours.rate, peer.rate)),
            json!(pairs),
        ),
        row(
            "submission-p50",
            "the same, median time of a caller",
            "µs",
            Goal::AtMost { goal: 1.0, aim: None },
            of(|(ours, peer)| (ours.p50 as f64, peer.p50 as f64)),
            json!(pairs),
        ),
        row(
            "submission-postgres",
            "the same, PostgreSQL with the relay of the events",
            "µs of CPU a claim",
            Goal::AtMost { goal: 0.35, aim: None },
            of(|(ours, peer)| (ours.postgres_micros, peer.postgres_micros)),
            json!(pairs),
        ),
        row(
            "submission-streamed",
            "jkn serve claims, two streams, beside two connections with 1,000 claims in one statement of arrays",
            "claims/s",
            Goal::AtLeast { goal: 0.6, aim: None },
            streamed.iter().map(|(ours, peer)| (ours.rate, peer.rate)).collect(),
            json!(streamed),
        ),
        row(
            "submission-grown",
            "service and PostgreSQL together, beside the same load on a tenth of the claims",
            "µs of CPU a claim",
            Goal::AtMost { goal: 1.2, aim: None },
            grown.clone(),
            json!(grown),
        ),
    ])
}

/// A database of claims, empty.
async fn database(bench: &Bench, name: &'static str) -> anyhow::Result<Databases> {
    let databases = Databases::start(bench, name).await?;
    databases.run(bench, &[Claims::NAME], &["migrate", Claims::NAME]).await?;
    Ok(databases)
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
    sqlx::raw_sql("vacuum analyze").execute(&mut database).await?;
    sqlx::raw_sql("checkpoint").execute(&mut database).await?;
    Ok(())
}

/// A request for each claim, each with a key of its own.
fn write_messages(file: &Path, numbers: Range<u64>) -> anyhow::Result<()> {
    let messages: Vec<_> = numbers
        .map(|number| pb::SubmitClaimRequest {
            request_id: Uuid::now_v7().to_string(),
            claim_id: claim_id(number).to_string(),
        })
        .collect();
    trial::write_messages(file, &messages)
}

/// The service as its callers meet it.
struct Service<'a> {
    bench: &'a Bench,
    authority: &'a Authority,
    databases: &'a Databases,
    claims: &'a Served,
}

impl Service<'_> {
    fn assertion(&self) -> anyhow::Result<String> {
        let caller: Caller = format!("hospital:{HOSPITAL}").parse()?;
        self.authority.signer(Purpose::Assertion)?.sign(&caller, Timestamp::now(), ASSERTION_LIFETIME)
    }

    /// By many callers, each with one claim at a time.
    async fn called(&self, numbers: Range<u64>) -> anyhow::Result<Ours> {
        let messages = self.bench.folder().join("submit-claim");
        write_messages(&messages, numbers)?;
        let assertion = Header {
            name: chassis::call::ASSERTION.to_owned(),
            value: self.assertion()?,
            // The gateway asks HPACK not to remember it.
            sensitive: true,
        };
        let call = Call {
            address: self.claims.grpc,
            tls: Some(self.authority.client("gateway", Claims::NAME)?),
            path: METHOD.to_owned(),
            headers: vec![Header::plain(chassis::call::TIMEOUT, TIMEOUT), assertion],
            sampled_in_thousand: None,
            messages,
            choice: Choice::EachOnce,
        };
        let spec = Spec {
            call,
            connections: CONNECTIONS,
            pace: Pace::Saturated { in_flight: IN_FLIGHT },
            warm_up: WARM_UP,
            duration: self.bench.duration,
        };
        let watched = [("service", self.claims.process.pid()?), ("postgres", self.databases.pid()?)];
        let (report, used) = trial::load(self.bench, &watched, &spec).await?;
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

    /// Over streams, until their claims are all submitted; tells how many.
    async fn streamed(&self, first: u64) -> anyhow::Result<u64> {
        let tls = self.authority.client("gateway", Claims::NAME)?;
        let identity = Identity::from_pem(fs::read(&tls.certificate)?, fs::read(&tls.key)?);
        let tls = ClientTlsConfig::new()
            .identity(identity)
            .ca_certificate(Certificate::from_pem(fs::read(&tls.authority)?))
            .domain_name(tls.server);
        let endpoint = Endpoint::from_shared(format!("https://{}", self.claims.grpc))?.tls_config(tls)?;
        let assertion: MetadataValue<_> = self.assertion()?.parse()?;
        let of_stream = CLAIMS / STREAMS;
        let mut streams = Vec::new();
        for stream in 0..STREAMS {
            let rows = rows(first + stream * of_stream, of_stream);
            let mut request = Request::new(futures::stream::iter(rows));
            request.metadata_mut().insert(chassis::call::ASSERTION, assertion.clone());
            streams.push((endpoint.connect().await?, request));
        }
        let submitted = streams.into_iter().map(|(channel, request)| async {
            let mut client = ClaimServiceClient::new(channel);
            let mut answers = client.submit_claims(request).await?.into_inner();
            let mut submitted = 0_u64;
            while let Some(answer) = answers.message().await? {
                anyhow::ensure!(answer.state() == pb::ClaimState::Submitted, "{answer:?}");
                submitted += 1;
            }
            Ok(submitted)
        });
        let submitted: u64 = try_join_all(submitted).await?.into_iter().sum();
        anyhow::ensure!(submitted == CLAIMS, "{submitted} claims of {CLAIMS} were submitted");
        Ok(submitted)
    }
}

/// Rows of a stream, each with a key of its own.
fn rows(first: u64, many: u64) -> impl Iterator<Item = pb::SubmitClaimsRequest> + Send + 'static {
    (first..first + many).map(|number| pb::SubmitClaimsRequest {
        request_id: Uuid::now_v7().to_string(),
        claim_id: claim_id(number).to_string(),
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

/// How long an answer and an event of the service are, and how long the answer to a row of a stream is.
fn lengths() -> anyhow::Result<(usize, usize, usize)> {
    let (_, letter, data, grouping) = episode(time::today_at(Timestamp::now()))?;
    let of_row = pb::SubmitClaimResponse {
        claim: Some(Box::new(pb::Claim { state: pb::ClaimState::Submitted.into(), ..pb::Claim::default() })),
    };
    Ok((data.encoded_len() + grouping.encoded_len() + 300, 200 + letter.segment.len(), of_row.encoded_len()))
}

/// What the tracers say of an episode, each on the claims that were changed.
const TRACED: &str = "traced as (
    insert into claim_tracer (claim_id, rule_id, rule_version, outcome, assessed_at)
    select claim_id, rule_id, 1, 1, now()
    from changed, unnest(array['fkrtl-readmission', 'fkrtl-pneumonia-x-ray']) rule_id
)";

/// Whether both sides write as many rows for a claim.
async fn same_rows(databases: &Databases, ours: u64, peers: u64) -> anyhow::Result<()> {
    let mut database = PgConnection::connect(&databases.url(Claims::NAME).await?).await?;
    let mut rows = Vec::new();
    for number in [ours, peers] {
        let of: (i64, i64) = sqlx::query_as(
            "select (select count(*) from claim_step where claim_id = $1),
                    (select count(*) from claim_tracer where claim_id = $1)",
        )
        .bind(claim_id(number))
        .fetch_one(&mut database)
        .await?;
        rows.push(of);
    }
    anyhow::ensure!(rows[0] == rows[1], "the peer writes other rows than the service: {rows:?}");
    Ok(())
}

/// The rows of a submission in one statement: what the service writes, of the same length.
fn script() -> anyhow::Result<Script> {
    let (answer, event, _) = lengths()?;
    let text = format!(
        "\\set number :first + :turn * {CLIENTS} + :client_id
\\set turn :turn + 1
with changed as (
    update claim set state = 4, steps = steps + 1, submitted_at = now(), round = 0, pending_reason = null,
           asked_of = null, asked_at = null, sent_rupiah = tariff_rupiah
    where claim_id = ('01931f3e-0000-7000-8000-' || lpad(to_hex(:number::bigint), 12, '0'))::uuid and state = 3
    returning claim_id, steps, state
), taken as (
    insert into claim_step (claim_id, step, state, taken_at, taken_by)
    select claim_id, steps, state, now(), 'hospital:{HOSPITAL}' from changed
), keyed as (
    insert into idempotency (caller, request_id, method, request_hash, response)
    select 'hospital:{HOSPITAL}', gen_random_uuid()::text, '{METHOD}',
           decode(repeat('5a', 32), 'hex'), decode(repeat('5a', {answer}), 'hex')
    from changed
), {TRACED}
insert into outbox (event_id, kind, subject, traceparent, body)
select gen_random_uuid(), '{KIND}', claim_id::text,
       '{TRACEPARENT}', decode(repeat('5a', {event}), 'hex')
from changed;
"
    );
    Ok(Script { text, clients: CLIENTS, database: Claims::NAME.to_owned() })
}

/// The peer of calls, on so many claims from a first.
async fn peer(
    bench: &Bench,
    databases: &Databases,
    script: &Script,
    (first, claims): (u64, u64),
) -> anyhow::Result<pgbench::Report> {
    let held = Held::take(databases).await?;
    let warm = script.run(bench, databases, WARM_UP, first).await?;
    let report = script.run(bench, databases, bench.duration, first + claims / 4).await?;
    let told = held.clear().await? as f64;
    let done = warm.transactions + report.transactions;
    anyhow::ensure!(told == done, "pgbench submitted {told} claims in {done} transactions");
    Ok(report)
}

/// The peer of streams.
async fn peer_of_streams(bench: &Bench, databases: &Databases, first: u64) -> anyhow::Result<Streamed> {
    let held = Held::take(databases).await?;
    let of_connection = 2 * CLAIMS / STREAMS;
    let mut submitted = 0;
    let streamed = Streamed::measure(&[("postgres", databases.pid()?)], async {
        let end = Instant::now() + bench.duration;
        let starts = (0..STREAMS).map(|connection| first + connection * of_connection);
        let connections = starts.map(|first| sent(databases, first..first + of_connection, end));
        submitted = try_join_all(connections).await?.into_iter().sum();
        Ok(submitted)
    })
    .await?;
    let told = held.clear().await?;
    anyhow::ensure!(told == submitted, "{told} claims were submitted, not {submitted}");
    Ok(streamed)
}

/// Sends claims a thousand at once over a connection, until an end; tells how many.
async fn sent(databases: &Databases, mut numbers: Range<u64>, end: Instant) -> anyhow::Result<u64> {
    let (_, event, answer) = lengths()?;
    let mut database = PgConnection::connect(&databases.url(Claims::NAME).await?).await?;
    let statement = format!(
        "with given as (
             select * from unnest($1::uuid[], $2::text[], $3::bytea[], $4::bytea[], $5::uuid[], $6::text[], $7::text[],
                                  $8::bytea[])
                    as given (claim_id, request_id, request_hash, response, event_id, subject, traceparent, body)
         ), changed as (
             update claim set state = 4, steps = steps + 1, submitted_at = now(), round = 0, pending_reason = null,
                    asked_of = null, asked_at = null, sent_rupiah = tariff_rupiah
             from given where claim.claim_id = given.claim_id and state = 3
             returning claim.claim_id, steps, state
         ), taken as (
             insert into claim_step (claim_id, step, state, taken_at, taken_by)
             select claim_id, steps, state, now(), 'hospital:{HOSPITAL}' from changed
         ), keyed as (
             insert into idempotency (caller, request_id, method, request_hash, response)
             select 'hospital:{HOSPITAL}', request_id, '{METHOD}', request_hash, response from given
         ), {TRACED}
         insert into outbox (event_id, kind, subject, traceparent, body)
         select event_id, '{KIND}', subject, traceparent, body from given"
    );
    let mut sent = 0;
    while Instant::now() < end {
        let ids: Vec<_> = numbers.by_ref().take(BULK).map(claim_id).collect();
        anyhow::ensure!(ids.len() == BULK, "all claims are submitted: give it more");
        let done = sqlx::query(sqlx::AssertSqlSafe(statement.as_str()))
            .bind(&ids)
            .bind(ids.iter().map(|_| Uuid::now_v7().to_string()).collect::<Vec<_>>())
            .bind(vec![vec![0x5a_u8; 32]; BULK])
            .bind(vec![vec![0x5a_u8; answer]; BULK])
            .bind(ids.iter().map(|_| Uuid::now_v7()).collect::<Vec<_>>())
            .bind(ids.iter().map(Uuid::to_string).collect::<Vec<_>>())
            .bind(vec![TRACEPARENT; BULK])
            .bind(vec![vec![0x5a_u8; event]; BULK])
            .execute(&mut database)
            .await?;
        sent += done.rows_affected();
    }
    Ok(sent)
}

/// The relay, held: otherwise the service would relay the events of the peer, at the peer's cost.
struct Held(PgConnection);

impl Held {
    async fn take(databases: &Databases) -> anyhow::Result<Self> {
        let mut database = PgConnection::connect(&databases.url(Claims::NAME).await?).await?;
        sqlx::query("select pg_advisory_lock($1)").bind(chassis::Kept::LOCK).execute(&mut database).await?;
        Ok(Self(database))
    }

    /// Takes the events away and lets the relay go on; tells how many there were.
    async fn clear(mut self) -> anyhow::Result<u64> {
        let told = sqlx::query("delete from outbox").execute(&mut self.0).await?.rows_affected();
        self.0.close().await?;
        Ok(told)
    }
}
