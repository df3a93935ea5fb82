//! All SQL of the service.

use jiff::{Timestamp, civil::Date};
use jiff_sqlx::ToSqlx;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;
use vocabulary::{
    AtcCode, DocumentNumber, FacilityCode, Icd10, MemberId, Poli, ReferralNumber, RegionCode, VisitNumber,
};

use crate::{
    diagnosis::Diagnoses,
    drug::Drug,
    error::Error,
    laboratory::LaboratoryResults,
    referral::{Tacc, TaccReason},
    visit::{Discharge, Evidence, Kind, Pending, Referred, State, Visit},
    vital_signs::{Consciousness, VitalSigns},
};

/// Most contacts of a member that are looked at for a referral.
const MOST_CONTACTS: i64 = 500;

struct Row {
    visit_number: String,
    facility_code: String,
    member_id: Uuid,
    kind: String,
    state: String,
    visit_date: jiff_sqlx::Date,
    registered_at: jiff_sqlx::Timestamp,
    emergency: bool,
    complaint: String,
    eligibility_answer_id: String,
    eligibility_answered_at: jiff_sqlx::Timestamp,
    segment: String,
    registered_fktp_code: String,
    region_code: String,
    systolic_mmhg: Option<i32>,
    diastolic_mmhg: Option<i32>,
    heart_rate: Option<i32>,
    respiratory_rate: Option<i32>,
    temperature_decicelsius: Option<i32>,
    weight_grams: Option<i32>,
    height_millimetres: Option<i32>,
    waist_millimetres: Option<i32>,
    consciousness: Option<String>,
    fasting_glucose_mg_dl: Option<i32>,
    random_glucose_mg_dl: Option<i32>,
    postprandial_glucose_mg_dl: Option<i32>,
    hba1c_permille: Option<i32>,
    haemoglobin_decigrams_dl: Option<i32>,
    diagnosis_codes: Vec<String>,
    drug_atc_codes: Vec<String>,
    drug_quantities: Vec<i32>,
    discharge_status: Option<String>,
    discharge_date: Option<jiff_sqlx::Date>,
    cancel_note: String,
    pending_request_id: Option<String>,
    pending_request: Option<Vec<u8>>,
    referral_number: Option<String>,
    destination_facility_code: Option<String>,
    poli_code: Option<String>,
    non_specialist: Option<bool>,
    tacc: Option<String>,
    tacc_note: Option<String>,
}

/// The visits for which the rest of a statement asks. The columns are named: a statement that says `*` breaks in a
/// running process when a later version adds one.
macro_rules! visits {
    ($rest:literal $(, $argument:expr)* $(,)?) => {
        sqlx::query_as!(
            Row,
            "select visit_number, facility_code, member_id, kind, state, visit_date, registered_at, emergency, complaint,
                    eligibility_answer_id, eligibility_answered_at, segment, registered_fktp_code, region_code,
                    systolic_mmhg, diastolic_mmhg, heart_rate, respiratory_rate, temperature_decicelsius,
                    weight_grams, height_millimetres, waist_millimetres, consciousness,
                    fasting_glucose_mg_dl, random_glucose_mg_dl, postprandial_glucose_mg_dl, hba1c_permille,
                    haemoglobin_decigrams_dl, diagnosis_codes, drug_atc_codes, drug_quantities,
                    discharge_status, discharge_date, cancel_note, pending_request_id, pending_request,
                    referral_number, destination_facility_code, poli_code, non_specialist, tacc, tacc_note
             from visit " + $rest
            $(, $argument)*
        )
    };
}

fn read<T>(value: Option<T>, column: &'static str) -> Result<T, Error> {
    value.ok_or(Error::Unreadable(column))
}

impl Row {
    fn visit(self) -> Result<Visit, Error> {
        let diagnoses = match self.diagnosis_codes.as_slice() {
            [] => None,
            codes => {
                let codes: Result<Vec<_>, _> = codes.iter().map(|code| Icd10::parse(code)).collect();
                Some(read(codes.ok().and_then(|codes| Diagnoses::new(codes).ok()), "diagnosis_codes")?)
            }
        };
        let consciousness = match self.consciousness.as_deref() {
            None => None,
            Some(code) => Some(read(Consciousness::of_code(code), "consciousness")?),
        };
        let drugs = self.drug_atc_codes.iter().zip(self.drug_quantities).map(|(code, quantity)| {
            Ok(Drug { code: read(AtcCode::parse(code).ok(), "drug_atc_codes")?, quantity })
        });
        let drugs = drugs.collect::<Result<_, Error>>()?;
        let discharge = match (self.discharge_status.as_deref(), self.discharge_date) {
            (Some(status), Some(date)) => {
                Some((read(Discharge::of_code(status), "discharge_status")?, date.to_jiff()))
            }
            _ => None,
        };
        let tacc = match (self.tacc.as_deref(), self.tacc_note) {
            (Some(reason), Some(note)) => {
                Some(Tacc { reason: read(TaccReason::of_code(reason), "tacc")?, note })
            }
            _ => None,
        };
        let referred =
            match (self.referral_number, self.destination_facility_code, self.poli_code, self.non_specialist)
            {
                (Some(number), Some(destination), Some(poli), Some(non_specialist)) => Some(Referred {
                    number: read(ReferralNumber::parse(&number).ok(), "referral_number")?,
                    destination: read(FacilityCode::parse(&destination).ok(), "destination_facility_code")?,
                    poli: read(Poli::parse(&poli).ok(), "poli_code")?,
                    non_specialist,
                    tacc,
                }),
                _ => None,
            };
        let region = match self.region_code.as_str() {
            "" => None,
            code => Some(read(RegionCode::parse(code).ok(), "region_code")?),
        };
        Ok(Visit {
            number: read(VisitNumber::parse(&self.visit_number).ok(), "visit_number")?,
            facility: read(FacilityCode::parse(&self.facility_code).ok(), "facility_code")?,
            member: read(MemberId::try_from(self.member_id).ok(), "member_id")?,
            kind: read(Kind::of_code(&self.kind), "kind")?,
            state: read(State::of_code(&self.state), "state")?,
            date: self.visit_date.to_jiff(),
            registered_at: self.registered_at.to_jiff(),
            emergency: self.emergency,
            complaint: self.complaint,
            evidence: Evidence {
                answer_id: self.eligibility_answer_id,
                answered_at: self.eligibility_answered_at.to_jiff(),
                segment: self.segment,
                registered_fktp: read(
                    FacilityCode::parse(&self.registered_fktp_code).ok(),
                    "registered_fktp_code",
                )?,
                region,
            },
            vital_signs: VitalSigns {
                systolic_mmhg: self.systolic_mmhg,
                diastolic_mmhg: self.diastolic_mmhg,
                heart_rate: self.heart_rate,
                respiratory_rate: self.respiratory_rate,
                temperature_decicelsius: self.temperature_decicelsius,
                weight_grams: self.weight_grams,
                height_millimetres: self.height_millimetres,
                waist_millimetres: self.waist_millimetres,
                consciousness,
            },
            laboratory: LaboratoryResults {
                fasting_glucose_mg_dl: self.fasting_glucose_mg_dl,
                random_glucose_mg_dl: self.random_glucose_mg_dl,
                postprandial_glucose_mg_dl: self.postprandial_glucose_mg_dl,
                hba1c_permille: self.hba1c_permille,
                haemoglobin_decigrams_dl: self.haemoglobin_decigrams_dl,
            },
            diagnoses,
            drugs,
            discharge,
            cancel_note: self.cancel_note,
            pending: self
                .pending_request_id
                .zip(self.pending_request)
                .map(|(request_id, request)| Pending { request_id, request }),
            referred,
        })
    }
}

pub(crate) async fn visit(pool: &PgPool, number: &VisitNumber) -> Result<Option<Visit>, Error> {
    visits!("where visit_number = $1", number.as_str())
        .fetch_optional(pool)
        .await?
        .map(Row::visit)
        .transpose()
}

/// The visit, held until the end of the transaction.
pub(crate) async fn lock_visit(
    connection: &mut PgConnection,
    number: &VisitNumber,
) -> Result<Option<Visit>, Error> {
    visits!("where visit_number = $1 for update", number.as_str())
        .fetch_optional(connection)
        .await?
        .map(Row::visit)
        .transpose()
}

/// What a list of visits is asked for.
pub(crate) struct Wanted<'a> {
    pub(crate) facility: &'a FacilityCode,
    pub(crate) from: Option<Date>,
    pub(crate) to: Option<Date>,
    pub(crate) member: Option<MemberId>,
    /// The last visit of the page before.
    pub(crate) after: Option<(Date, VisitNumber)>,
    pub(crate) most: i64,
}

pub(crate) async fn visits(pool: &PgPool, wanted: Wanted<'_>) -> Result<Vec<Visit>, Error> {
    let (after_date, after_number) = wanted.after.unzip();
    visits!(
        "where facility_code = $1
           and ($2::date is null or visit_date >= $2)
           and ($3::date is null or visit_date <= $3)
           and ($4::uuid is null or member_id = $4)
           and ($5::date is null or (visit_date, visit_number) < ($5, $6))
         order by visit_date desc, visit_number desc limit $7",
        wanted.facility.as_str(),
        wanted.from.map(ToSqlx::to_sqlx) as Option<jiff_sqlx::Date>,
        wanted.to.map(ToSqlx::to_sqlx) as Option<jiff_sqlx::Date>,
        wanted.member.map(|member| member.uuid()),
        after_date.map(ToSqlx::to_sqlx) as Option<jiff_sqlx::Date>,
        after_number.as_ref().map(VisitNumber::as_str),
        wanted.most,
    )
    .fetch_all(pool)
    .await?
    .into_iter()
    .map(Row::visit)
    .collect()
}

/// The contacts of a member with first-level facilities between two days, the latest first; at most `MOST_CONTACTS`.
pub(crate) async fn contacts(
    connection: &mut PgConnection,
    member: MemberId,
    from: Date,
    to: Date,
) -> Result<Vec<Visit>, Error> {
    visits!(
        "where member_id = $1 and visit_date between $2 and $3 and state in ('examined', 'discharged', 'referred')
         order by visit_date desc, registered_at desc limit $4",
        member.uuid(),
        from.to_sqlx() as jiff_sqlx::Date,
        to.to_sqlx() as jiff_sqlx::Date,
        MOST_CONTACTS,
    )
    .fetch_all(connection)
    .await?
    .into_iter()
    .map(Row::visit)
    .collect()
}

/// Lets registrations of one member happen one after the other until the end of the transaction: what the rules count
/// must not change between the count and the write.
pub(crate) async fn hold_member(connection: &mut PgConnection, member: MemberId) -> Result<(), Error> {
    sqlx::query!("select pg_advisory_xact_lock(hashtextextended($1::text, 0))", format!("member {member}"))
        .execute(connection)
        .await?;
    Ok(())
}

/// The unfinished visit of a member on a day at a facility.
pub(crate) async fn open_visit(
    connection: &mut PgConnection,
    facility: &FacilityCode,
    member: MemberId,
    day: Date,
) -> Result<Option<String>, Error> {
    Ok(sqlx::query_scalar!(
        "select visit_number from visit
         where facility_code = $1 and member_id = $2 and visit_date = $3 and state in ('registered', 'examined')",
        facility.as_str(),
        member.uuid(),
        day.to_sqlx() as jiff_sqlx::Date,
    )
    .fetch_optional(connection)
    .await?)
}

/// How many visits a member had in the calendar month of a day at facilities in other areas than that of the registered one.
pub(crate) async fn visits_out_of_area(
    connection: &mut PgConnection,
    member: MemberId,
    day: Date,
) -> Result<i64, Error> {
    Ok(sqlx::query_scalar!(
        r#"select count(*) as "count!" from visit
           where member_id = $1 and visit_date between $2 and $3 and state <> 'cancelled' and not emergency
             and left(facility_code, 4) <> left(registered_fktp_code, 4)"#,
        member.uuid(),
        day.first_of_month().to_sqlx() as jiff_sqlx::Date,
        day.last_of_month().to_sqlx() as jiff_sqlx::Date,
    )
    .fetch_one(connection)
    .await?)
}

/// The next visit number of a facility in the month of a day.
pub(crate) async fn next_number(
    connection: &mut PgConnection,
    facility: &FacilityCode,
    day: Date,
) -> Result<VisitNumber, Error> {
    let serial = sqlx::query_scalar!(
        "insert into document_counter (facility_code, month, letter, last_serial) values ($1, $2, 'Y', 1)
         on conflict (facility_code, month, letter) do update set last_serial = document_counter.last_serial + 1
         where document_counter.last_serial < 999999
         returning last_serial",
        facility.as_str(),
        day.first_of_month().to_sqlx() as jiff_sqlx::Date,
    )
    .fetch_optional(connection)
    .await?
    .ok_or(Error::NumbersExhausted)?;
    let serial = read(u32::try_from(serial).ok(), "last_serial")?;
    let number = DocumentNumber::compose(facility, day, 'Y', serial).and_then(VisitNumber::try_from);
    number.map_err(|_| Error::Unreadable("last_serial"))
}

pub(crate) async fn insert(connection: &mut PgConnection, visit: &Visit) -> Result<(), Error> {
    sqlx::query!(
        "insert into visit (visit_number, facility_code, member_id, kind, state, visit_date, registered_at, emergency, complaint,
                            eligibility_answer_id, eligibility_answered_at, segment, registered_fktp_code, region_code)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)",
        visit.number.as_str(),
        visit.facility.as_str(),
        visit.member.uuid(),
        visit.kind.code(),
        visit.state.code(),
        visit.date.to_sqlx() as jiff_sqlx::Date,
        visit.registered_at.to_sqlx() as jiff_sqlx::Timestamp,
        visit.emergency,
        visit.complaint,
        visit.evidence.answer_id,
        visit.evidence.answered_at.to_sqlx() as jiff_sqlx::Timestamp,
        visit.evidence.segment,
        visit.evidence.registered_fktp.as_str(),
        visit.evidence.region.as_ref().map_or("", |region| region.as_str()),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Writes what was recorded of an open visit.
pub(crate) async fn update_examination(connection: &mut PgConnection, visit: &Visit) -> Result<(), Error> {
    let signs = &visit.vital_signs;
    let laboratory = &visit.laboratory;
    let diagnoses: Vec<String> =
        visit.diagnoses.iter().flat_map(Diagnoses::codes).map(|code| code.as_str().to_owned()).collect();
    let (drugs, quantities): (Vec<String>, Vec<i32>) =
        visit.drugs.iter().map(|drug| (drug.code.as_str().to_owned(), drug.quantity)).unzip();
    sqlx::query!(
        "update visit set state = $2, systolic_mmhg = $3, diastolic_mmhg = $4, heart_rate = $5, respiratory_rate = $6,
                          temperature_decicelsius = $7, weight_grams = $8, height_millimetres = $9, waist_millimetres = $10,
                          consciousness = $11, fasting_glucose_mg_dl = $12, random_glucose_mg_dl = $13,
                          postprandial_glucose_mg_dl = $14, hba1c_permille = $15, haemoglobin_decigrams_dl = $16,
                          diagnosis_codes = $17, drug_atc_codes = $18, drug_quantities = $19
         where visit_number = $1",
        visit.number.as_str(),
        visit.state.code(),
        signs.systolic_mmhg,
        signs.diastolic_mmhg,
        signs.heart_rate,
        signs.respiratory_rate,
        signs.temperature_decicelsius,
        signs.weight_grams,
        signs.height_millimetres,
        signs.waist_millimetres,
        signs.consciousness.map(Consciousness::code),
        laboratory.fasting_glucose_mg_dl,
        laboratory.random_glucose_mg_dl,
        laboratory.postprandial_glucose_mg_dl,
        laboratory.hba1c_permille,
        laboratory.haemoglobin_decigrams_dl,
        &diagnoses,
        &drugs,
        &quantities,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Writes how the visit ended: discharged, referred or cancelled. A referral under way is none any more.
pub(crate) async fn update_end(connection: &mut PgConnection, visit: &Visit) -> Result<(), Error> {
    let (status, date) = visit.discharge.unzip();
    let referred = visit.referred.as_ref();
    let tacc = referred.and_then(|referred| referred.tacc.as_ref());
    sqlx::query!(
        "update visit set state = $2, discharge_status = $3, discharge_date = $4, cancel_note = $5,
                          pending_request_id = null, pending_request = null,
                          referral_number = $6, destination_facility_code = $7, poli_code = $8, non_specialist = $9,
                          tacc = $10, tacc_note = $11
         where visit_number = $1",
        visit.number.as_str(),
        visit.state.code(),
        status.map(Discharge::code),
        date.map(ToSqlx::to_sqlx) as Option<jiff_sqlx::Date>,
        visit.cancel_note,
        referred.map(|referred| referred.number.as_str()),
        referred.map(|referred| referred.destination.as_str()),
        referred.map(|referred| referred.poli.as_str()),
        referred.map(|referred| referred.non_specialist),
        tacc.map(|tacc| tacc.reason.code()),
        tacc.map(|tacc| tacc.note.as_str()),
    )
    .execute(connection)
    .await?;
    Ok(())
}

pub(crate) async fn set_pending(
    connection: &mut PgConnection,
    number: &VisitNumber,
    pending: &Pending,
) -> Result<(), Error> {
    sqlx::query!(
        "update visit set pending_request_id = $2, pending_request = $3 where visit_number = $1",
        number.as_str(),
        pending.request_id,
        pending.request,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Forgets a referral that was refused: nothing was written over there.
pub(crate) async fn forget_pending(
    pool: &PgPool,
    number: &VisitNumber,
    pending: &Pending,
) -> Result<(), Error> {
    sqlx::query!(
        "update visit set pending_request_id = null, pending_request = null
         where visit_number = $1 and pending_request_id = $2",
        number.as_str(),
        pending.request_id,
    )
    .execute(pool)
    .await?;
    Ok(())
}

/// Contacts and referrals of a month.
#[derive(Debug)]
pub(crate) struct Counts {
    pub(crate) persons: i64,
    pub(crate) sick_persons: i64,
    pub(crate) healthy_persons: i64,
    pub(crate) home_persons: i64,
    pub(crate) visiting_persons: i64,
    pub(crate) visits: i64,
    pub(crate) sick_visits: i64,
    pub(crate) referrals: i64,
    pub(crate) non_specialist_referrals: i64,
    pub(crate) tacc_referrals: i64,
}

pub(crate) async fn counts(pool: &PgPool, facility: &FacilityCode, month: Date) -> Result<Counts, Error> {
    Ok(sqlx::query_as!(
        Counts,
        r#"select count(distinct member_id) filter (where registered_fktp_code = facility_code) as "persons!",
                  count(distinct member_id) filter (where registered_fktp_code = facility_code and kind = 'sick') as "sick_persons!",
                  count(distinct member_id) filter (where registered_fktp_code = facility_code and kind = 'healthy') as "healthy_persons!",
                  count(distinct member_id) filter (where registered_fktp_code = facility_code and kind = 'home') as "home_persons!",
                  count(distinct member_id) filter (where registered_fktp_code <> facility_code) as "visiting_persons!",
                  count(*) as "visits!",
                  count(*) filter (where kind = 'sick') as "sick_visits!",
                  count(*) filter (where state = 'referred') as "referrals!",
                  count(*) filter (where non_specialist) as "non_specialist_referrals!",
                  count(*) filter (where non_specialist and tacc is not null) as "tacc_referrals!"
           from visit
           where facility_code = $1 and visit_date between $2 and $3 and state in ('examined', 'discharged', 'referred')"#,
        facility.as_str(),
        month.first_of_month().to_sqlx() as jiff_sqlx::Date,
        month.last_of_month().to_sqlx() as jiff_sqlx::Date,
    )
    .fetch_one(pool)
    .await?)
}

/// The instant, as exactly as the database keeps it.
pub(crate) fn stored_instant(instant: Timestamp) -> Timestamp {
    Timestamp::from_microsecond(instant.as_microsecond()).unwrap_or(instant)
}
