//! SEPs that are issued together: one statement takes their numbers, one writes them with their evidence.

use std::collections::HashSet;

use jiff::{Timestamp, civil::Date};
use jiff_sqlx::ToSqlx;
use sqlx::PgConnection;

use super::sep::Evidence;
use crate::sep::Patient;

/// A SEP to be written.
#[derive(Debug)]
pub struct New {
    /// Facility.
    pub facility_code: String,
    /// Whom it is for.
    pub patient: Patient,
    /// Day of service.
    pub service_date: Date,
    /// Kind of care, its number in the contract.
    pub care_type: i16,
    /// Clinic, empty for in-patient care.
    pub clinic: String,
    /// Whether it is an emergency.
    pub emergency: bool,
    /// Doctor, empty when none is named.
    pub doctor_code: String,
    /// When it is issued.
    pub issued_at: Timestamp,
    /// Day of the accident it follows from.
    pub accident_on: Option<Date>,
    /// The letter, encoded.
    pub letter: Vec<u8>,
    /// The answers it rests on.
    pub evidence: Vec<Evidence>,
}

impl New {
    fn counter(&self) -> (String, Date) {
        (self.facility_code.clone(), self.service_date.first_of_month())
    }
}

/// What became of a SEP.
#[derive(Debug)]
pub enum Issued {
    /// It is written under this number.
    As(String),
    /// The patient has an open SEP for this facility, day and clinic: its number. Nothing was written.
    Open(String),
    /// Another transaction holds the numbers of its facility and month, or what the SEP cites. Nothing was written.
    Held,
}

/// How long another transaction is waited for.
#[derive(Debug, Clone, Copy)]
pub enum Wait {
    /// As long as one may take that is well: others wait in this one.
    Briefly,
    /// Longer: nobody else waits in this one.
    Alone,
}

/// Whether a statement failed because another transaction holds what it needs.
#[must_use]
pub fn is_held(error: &sqlx::Error) -> bool {
    const LOCK_NOT_AVAILABLE: &str = "55P03";
    error.as_database_error().and_then(|error| error.code()).is_some_and(|code| code == LOCK_NOT_AVAILABLE)
}

/// Gives SEPs their numbers and writes them with their evidence; tells of each what became of it. Of one patient, facility,
/// day and clinic there may be only one among them.
pub async fn issue(
    connection: &mut PgConnection,
    new: &[&New],
    wait: Wait,
) -> Result<Vec<Issued>, sqlx::Error> {
    if new.is_empty() {
        return Ok(Vec::new());
    }
    sqlx::raw_sql(match wait {
        Wait::Briefly => "savepoint counting; set local lock_timeout = '200ms'",
        Wait::Alone => "savepoint counting; set local lock_timeout = '1s'",
    })
    .execute(&mut *connection)
    .await?;
    let free = match count(connection, new).await {
        Ok(()) => return write(connection, new).await,
        Err(error) if is_held(&error) => {
            let begin_again = "rollback to savepoint counting; set local lock_timeout = '200ms'";
            sqlx::raw_sql(begin_again).execute(&mut *connection).await?;
            free(connection, new).await?
        }
        Err(error) => return Err(error),
    };
    // What is held here already is not waited for.
    let ready: Vec<_> = new.iter().copied().filter(|new| free.contains(&new.counter())).collect();
    let written = if ready.is_empty() {
        Vec::new()
    } else {
        count(connection, &ready).await?;
        write(connection, &ready).await?
    };
    let mut written = written.into_iter();
    let mut outcome = |new: &&New| free.contains(&new.counter()).then(|| written.next()).flatten();
    Ok(new.iter().map(|new| outcome(new).unwrap_or(Issued::Held)).collect())
}

/// Takes a number for each. The counters are held until the transaction ends, so that nobody else issues a SEP of these
/// facilities and months meanwhile; they are taken in an order in which no two transactions can wait for each other.
async fn count(connection: &mut PgConnection, new: &[&New]) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into sep_counter as c (facility_code, month, last)
         select facility_code, date_trunc('month', service_date)::date, count(*)::integer
         from unnest($1::text[], $2::date[]) as asked (facility_code, service_date)
         group by 1, 2 order by 1, 2
         on conflict (facility_code, month) do update set last = c.last + excluded.last",
        &new.iter().map(|new| new.facility_code.clone()).collect::<Vec<_>>(),
        &new.iter().map(|new| new.service_date.to_sqlx()).collect::<Vec<_>>() as &[jiff_sqlx::Date],
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The counters that no other transaction holds; held by this one now. One that does not exist yet may be another's.
async fn free(connection: &mut PgConnection, new: &[&New]) -> Result<HashSet<(String, Date)>, sqlx::Error> {
    let free = sqlx::query!(
        "select c.facility_code, c.month
         from (select distinct facility_code, date_trunc('month', service_date)::date as month
               from unnest($1::text[], $2::date[]) as given (facility_code, service_date)) as asked
         join sep_counter c on c.facility_code = asked.facility_code and c.month = asked.month
         order by 1, 2 for update of c skip locked",
        &new.iter().map(|new| new.facility_code.clone()).collect::<Vec<_>>(),
        &new.iter().map(|new| new.service_date.to_sqlx()).collect::<Vec<_>>() as &[jiff_sqlx::Date],
    )
    .fetch_all(connection)
    .await?;
    Ok(free.into_iter().map(|row| (row.facility_code, row.month.to_jiff())).collect())
}

/// Writes SEPs for which numbers were taken, but for those of which there is an open one; their numbers are given back.
async fn write(connection: &mut PgConnection, new: &[&New]) -> Result<Vec<Issued>, sqlx::Error> {
    let evidence = || {
        // Places in an array of the database begin with 1.
        (1_i32..).zip(new).flat_map(|(place, new)| new.evidence.iter().map(move |kept| (place, kept)))
    };
    let rows = sqlx::query!(
        r#"with asked as materialized (
               select given.*, date_trunc('month', given.service_date)::date as month,
                      (select sep.sep_number from sep
                       where sep.member_id = given.member_id and sep.facility_code = given.facility_code
                         and sep.service_date = given.service_date and sep.clinic = given.clinic
                         and sep.newborn_order = given.newborn_order and sep.cancelled_at is null) as open
               from unnest($1::text[], $2::uuid[], $3::date[], $4::smallint[], $5::text[], $6::boolean[],
                           $7::timestamptz[], $8::date[], $9::bytea[], $17::smallint[], $18::text[]) with ordinality
                    as given (facility_code, member_id, service_date, care_type, clinic, emergency, issued_at,
                              accident_on, letter, newborn_order, doctor_code, place)
           ), numbered as materialized (
               select asked.*,
                      case when open is null then
                          asked.facility_code || to_char(service_date, 'MMYY') || 'V' || lpad(
                              (c.last - count(*) over counter
                                      + row_number() over (counter order by open is not null, place))::text, 6, '0')
                      end as sep_number
               from asked join sep_counter c on c.facility_code = asked.facility_code and c.month = asked.month
               window counter as (partition by asked.facility_code, asked.month)
           ), given_back as (
               update sep_counter c set last = c.last - unused.numbers
               from (select facility_code, month, count(*)::integer as numbers
                     from numbered where open is not null group by 1, 2) as unused
               where c.facility_code = unused.facility_code and c.month = unused.month
           ), issued as (
               insert into sep (sep_number, facility_code, member_id, service_date, care_type, clinic, emergency,
                                issued_at, accident_on, letter, newborn_order, doctor_code)
               select sep_number, facility_code, member_id, service_date, care_type, clinic, emergency, issued_at,
                      accident_on, letter, newborn_order, doctor_code
               from numbered where open is null
           ), kept as (
               insert into sep_evidence (sep_number, edge, answer_id, number, answered_at, answer_type, answer)
               select sep_numbers[of], edge, answer_id, number, answered_at, answer_type, answer
               from (select array_agg(sep_number order by place) as sep_numbers from numbered) as issued,
                    unnest($10::integer[], $11::text[], $12::text[], $13::text[], $14::timestamptz[], $15::text[],
                           $16::bytea[])
                    as kept (of, edge, answer_id, number, answered_at, answer_type, answer)
               where sep_numbers[of] is not null
           )
           select sep_number, open from numbered order by place"#,
        &new.iter().map(|new| new.facility_code.clone()).collect::<Vec<_>>(),
        &new.iter().map(|new| new.patient.member_id).collect::<Vec<_>>(),
        &new.iter().map(|new| new.service_date.to_sqlx()).collect::<Vec<_>>() as &[jiff_sqlx::Date],
        &new.iter().map(|new| new.care_type).collect::<Vec<_>>(),
        &new.iter().map(|new| new.clinic.clone()).collect::<Vec<_>>(),
        &new.iter().map(|new| new.emergency).collect::<Vec<_>>(),
        &new.iter().map(|new| new.issued_at.to_sqlx()).collect::<Vec<_>>() as &[jiff_sqlx::Timestamp],
        &new.iter().map(|new| new.accident_on.map(ToSqlx::to_sqlx)).collect::<Vec<_>>()
            as &[Option<jiff_sqlx::Date>],
        &new.iter().map(|new| new.letter.clone()).collect::<Vec<_>>(),
        &evidence().map(|(place, _)| place).collect::<Vec<_>>(),
        &evidence().map(|(_, kept)| kept.edge.clone()).collect::<Vec<_>>(),
        &evidence().map(|(_, kept)| kept.answer_id.clone()).collect::<Vec<_>>(),
        &evidence().map(|(_, kept)| kept.number.clone()).collect::<Vec<_>>(),
        &evidence().map(|(_, kept)| kept.answered_at.to_sqlx()).collect::<Vec<_>>() as &[jiff_sqlx::Timestamp],
        &evidence().map(|(_, kept)| kept.answer_type.clone()).collect::<Vec<_>>(),
        &evidence().map(|(_, kept)| kept.answer.clone()).collect::<Vec<_>>(),
        &new.iter().map(|new| new.patient.newborn_order).collect::<Vec<_>>(),
        &new.iter().map(|new| new.doctor_code.as_str()).collect::<Vec<_>>() as &[&str],
    )
    .fetch_all(connection)
    .await?;
    let issued = rows.into_iter().map(|row| match (row.sep_number, row.open) {
        (Some(number), _) => Issued::As(number),
        (None, open) => Issued::Open(open.unwrap_or_default()),
    });
    Ok(issued.collect())
}
