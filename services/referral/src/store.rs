//! All SQL of the service: referral letters here, posted room in [`capacity`].

pub(crate) mod capacity;

use jiff::{Timestamp, civil::Date};
use jiff_sqlx::ToSqlx;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;
use vocabulary::{
    DocumentNumber, FacilityCode, Icd9Procedure, Icd10, Masked, MemberId, Poli, ReferralNumber, RegionCode,
};

use crate::{
    course::Times,
    error::Error,
    letter::{
        BackReferral, CareType, Criterion, LadderExemption, Letter, OriginKind, Outcome, ReferralType,
        RefusalReason, Tacc,
    },
};

struct Row {
    referral_number: String,
    member_id: Uuid,
    origin_facility_code: String,
    origin_kind: String,
    origin_region_code: String,
    origin_visit_number: Option<String>,
    destination_facility_code: String,
    poli_code: String,
    care_type: String,
    referral_type: String,
    referral_date: jiff_sqlx::Date,
    planned_visit_date: jiff_sqlx::Date,
    diagnosis_code: String,
    criterion_kind: String,
    criterion: String,
    tacc: Option<String>,
    clinical_summary: String,
    first_level_record: Option<Vec<u8>>,
    ladder_exemption: Option<String>,
    special_programme: Option<String>,
    sent_at: jiff_sqlx::Timestamp,
    accepted_at: Option<jiff_sqlx::Timestamp>,
    refused_at: Option<jiff_sqlx::Timestamp>,
    refusal_reason: Option<String>,
    refusal_note: String,
    cancelled_at: Option<jiff_sqlx::Timestamp>,
    cancel_note: String,
    arrived_at: Option<jiff_sqlx::Timestamp>,
    completed_at: Option<jiff_sqlx::Timestamp>,
    outcome: Option<String>,
    outcome_diagnosis_code: Option<String>,
    advice: String,
}

/// The letters for which the rest of a statement asks. The columns are named: a statement that says `*` breaks in a
/// running process when a later version adds one.
macro_rules! letters {
    ($rest:literal $(, $argument:expr)* $(,)?) => {
        sqlx::query_as!(
            Row,
            "select referral_number, member_id, origin_facility_code, origin_kind, origin_region_code,
                    origin_visit_number, destination_facility_code, poli_code, care_type, referral_type, referral_date,
                    planned_visit_date, diagnosis_code, criterion_kind, criterion, tacc, clinical_summary,
                    first_level_record, ladder_exemption, special_programme, sent_at, accepted_at, refused_at,
                    refusal_reason, refusal_note, cancelled_at, cancel_note, arrived_at, completed_at, outcome, outcome_diagnosis_code, advice
             from referral " + $rest
            $(, $argument)*
        )
    };
}

impl TryFrom<Row> for Letter {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self, Error> {
        read(row).ok_or(Error::Unreadable)
    }
}

fn read(row: Row) -> Option<Letter> {
    let optional = |text: Option<String>| text.filter(|text| !text.is_empty());
    let instant = |at: Option<jiff_sqlx::Timestamp>| at.map(jiff_sqlx::Timestamp::to_jiff);
    let criterion = match row.criterion_kind.as_str() {
        "therapy" => Criterion::Therapy(Masked::new(row.criterion)),
        "procedure" => Criterion::Procedure(Masked::new(Icd9Procedure::parse(&row.criterion).ok()?)),
        "diagnostic_effort" => Criterion::DiagnosticEffort(Masked::new(row.criterion)),
        _ => return None,
    };
    let back = match row.outcome {
        None => None,
        Some(outcome) => Some(BackReferral {
            outcome: Outcome::parse(&outcome).ok()?,
            diagnosis: optional(row.outcome_diagnosis_code)
                .map(|code| Icd10::parse(&code))
                .transpose()
                .ok()?,
            advice: Masked::new(row.advice),
        }),
    };
    Some(Letter {
        number: ReferralNumber::parse(&row.referral_number).ok()?,
        member_id: MemberId::try_from(row.member_id).ok()?,
        origin: FacilityCode::parse(&row.origin_facility_code).ok()?,
        origin_kind: OriginKind::parse(&row.origin_kind).ok()?,
        origin_region: RegionCode::parse(&row.origin_region_code).ok(),
        origin_visit: optional(row.origin_visit_number),
        destination: FacilityCode::parse(&row.destination_facility_code).ok()?,
        poli: Poli::parse(&row.poli_code).ok()?,
        care_type: CareType::parse(&row.care_type).ok()?,
        referral_type: ReferralType::parse(&row.referral_type).ok()?,
        referral_date: row.referral_date.to_jiff(),
        planned_visit: row.planned_visit_date.to_jiff(),
        diagnosis: Icd10::parse(&row.diagnosis_code).ok()?,
        criterion,
        tacc: row.tacc.map(|text| Tacc::parse(&text)).transpose().ok()?,
        summary: Masked::new(row.clinical_summary),
        first_level_record: row.first_level_record.map(Masked::new),
        exemption: row.ladder_exemption.map(|text| LadderExemption::parse(&text)).transpose().ok()?,
        programme: optional(row.special_programme),
        times: Times {
            sent_at: row.sent_at.to_jiff(),
            accepted_at: instant(row.accepted_at),
            refused_at: instant(row.refused_at),
            cancelled_at: instant(row.cancelled_at),
            arrived_at: instant(row.arrived_at),
            completed_at: instant(row.completed_at),
        },
        refusal: row.refusal_reason.map(|text| RefusalReason::parse(&text)).transpose().ok()?,
        refusal_note: Masked::new(row.refusal_note),
        cancel_note: Masked::new(row.cancel_note),
        back,
    })
}

/// The next serial of a facility in a month for a letter. The row stays locked until the transaction ends, so that
/// no number is given twice and none is left out.
pub(crate) async fn next_serial(
    connection: &mut PgConnection,
    facility: &FacilityCode,
    month: Date,
    letter: char,
) -> Result<u32, Error> {
    let last = sqlx::query_scalar!(
        "insert into referral_serial (facility_code, month, letter, last) values ($1, $2, $3, 1)
         on conflict (facility_code, month, letter) do update set last = referral_serial.last + 1
         where referral_serial.last < $4
         returning last",
        facility.as_str(),
        month.first_of_month().to_sqlx() as _,
        letter.to_string(),
        i32::try_from(DocumentNumber::MAX_SERIAL).unwrap_or(i32::MAX),
    )
    .fetch_optional(connection)
    .await?
    .ok_or(Error::NumbersExhausted)?;
    u32::try_from(last).map_err(|_| Error::Unreadable)
}

pub(crate) async fn insert(connection: &mut PgConnection, letter: &Letter) -> Result<(), Error> {
    let (criterion_kind, criterion) = match &letter.criterion {
        Criterion::Therapy(text) => ("therapy", text.expose().as_str()),
        Criterion::Procedure(code) => ("procedure", code.expose().as_str()),
        Criterion::DiagnosticEffort(text) => ("diagnostic_effort", text.expose().as_str()),
    };
    sqlx::query!(
        "insert into referral (referral_number, member_id, origin_facility_code, origin_kind, origin_region_code,
             origin_visit_number, destination_facility_code, poli_code, care_type, referral_type, referral_date,
             planned_visit_date, diagnosis_code, criterion_kind, criterion, tacc, clinical_summary, ladder_exemption,
             special_programme, sent_at, first_level_record)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21)",
        letter.number.as_str(),
        letter.member_id.uuid(),
        letter.origin.as_str(),
        letter.origin_kind.as_str(),
        letter.origin_region.map_or("", |region| region.as_str()),
        letter.origin_visit.as_deref(),
        letter.destination.as_str(),
        letter.poli.as_str(),
        letter.care_type.as_str(),
        letter.referral_type.as_str(),
        letter.referral_date.to_sqlx() as _,
        letter.planned_visit.to_sqlx() as _,
        letter.diagnosis.as_str(),
        criterion_kind,
        criterion,
        letter.tacc.map(Tacc::as_str),
        letter.summary.expose(),
        letter.exemption.map(LadderExemption::as_str),
        letter.programme.as_deref(),
        letter.times.sent_at.to_sqlx() as _,
        letter.first_level_record.as_ref().map(|record| record.expose().as_slice()),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The first referral of this facility for this member that names the visit, and the record it carries.
pub(crate) async fn first_of_visit(
    connection: &mut PgConnection,
    origin: &FacilityCode,
    member: MemberId,
    visit: &str,
) -> Result<Option<FirstOfVisit>, Error> {
    Ok(sqlx::query_as!(
        FirstOfVisit,
        "select first_level_record from referral
         where member_id = $1 and origin_facility_code = $2 and origin_visit_number = $3
         order by sent_at limit 1",
        member.uuid(),
        origin.as_str(),
        visit,
    )
    .fetch_optional(connection)
    .await?)
}

/// What a further referral of a visit takes from the first.
pub(crate) struct FirstOfVisit {
    /// What first-level facilities recorded of the patient.
    pub(crate) first_level_record: Option<Vec<u8>>,
}

/// A letter, locked until the transaction ends.
pub(crate) async fn lock(
    connection: &mut PgConnection,
    number: &ReferralNumber,
) -> Result<Option<Letter>, Error> {
    letters!("where referral_number = $1 for update", number.as_str())
        .fetch_optional(connection)
        .await?
        .map(Letter::try_from)
        .transpose()
}

/// Writes what a step has changed.
pub(crate) async fn record_step(connection: &mut PgConnection, letter: &Letter) -> Result<(), Error> {
    let instant = |at: Option<Timestamp>| at.map(ToSqlx::to_sqlx);
    let back = letter.back.as_ref();
    sqlx::query!(
        "update referral
         set accepted_at = $2, refused_at = $3, cancelled_at = $4, arrived_at = $5, completed_at = $6,
             refusal_reason = $7, refusal_note = $8, cancel_note = $9, outcome = $10, outcome_diagnosis_code = $11,
             advice = $12
         where referral_number = $1",
        letter.number.as_str(),
        instant(letter.times.accepted_at) as _,
        instant(letter.times.refused_at) as _,
        instant(letter.times.cancelled_at) as _,
        instant(letter.times.arrived_at) as _,
        instant(letter.times.completed_at) as _,
        letter.refusal.map(RefusalReason::as_str),
        letter.refusal_note.expose(),
        letter.cancel_note.expose(),
        back.map(|back| back.outcome.as_str()),
        back.and_then(|back| back.diagnosis.as_ref()).map(Icd10::as_str),
        back.map_or("", |back| back.advice.expose()),
    )
    .execute(connection)
    .await?;
    Ok(())
}

pub(crate) async fn get(pool: &PgPool, number: &ReferralNumber) -> Result<Option<Letter>, Error> {
    letters!("where referral_number = $1", number.as_str())
        .fetch_optional(pool)
        .await?
        .map(Letter::try_from)
        .transpose()
}

/// Which letters a list holds.
pub(crate) struct Filter {
    /// Of this facility.
    pub(crate) facility: Option<FacilityCode>,
    /// Those it sent.
    pub(crate) sent: bool,
    /// Those it received.
    pub(crate) received: bool,
    pub(crate) from: Option<Date>,
    pub(crate) to: Option<Date>,
    pub(crate) poli: Option<Poli>,
    pub(crate) member_id: Option<MemberId>,
    /// Sent before this letter: its instant and number.
    pub(crate) before: Option<(Timestamp, String)>,
    pub(crate) limit: i64,
}

pub(crate) async fn list(pool: &PgPool, filter: &Filter) -> Result<Vec<Letter>, Error> {
    let before = filter.before.as_ref();
    letters!(
        "where ($1::text is null or ($2 and origin_facility_code = $1) or ($3 and destination_facility_code = $1))
           and ($4::date is null or referral_date >= $4)
           and ($5::date is null or referral_date <= $5)
           and ($6::text is null or poli_code = $6)
           and ($7::uuid is null or member_id = $7)
           and ($8::timestamptz is null or (sent_at, referral_number) < ($8, $9::text))
         order by sent_at desc, referral_number desc
         limit $10",
        filter.facility.as_ref().map(FacilityCode::as_str),
        filter.sent,
        filter.received,
        filter.from.map(ToSqlx::to_sqlx) as _,
        filter.to.map(ToSqlx::to_sqlx) as _,
        filter.poli.map(|poli| poli.as_str()),
        filter.member_id.map(|id| id.uuid()),
        before.map(|(at, _)| at.to_sqlx()) as _,
        before.map(|(_, number)| number.as_str()),
        filter.limit,
    )
    .fetch_all(pool)
    .await?
    .into_iter()
    .map(Letter::try_from)
    .collect()
}
