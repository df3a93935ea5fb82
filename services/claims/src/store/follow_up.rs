//! Control letters, in-patient orders and internal referrals.

use jiff::{Timestamp, civil::Date};
use jiff_sqlx::ToSqlx;
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

/// A letter.
#[derive(Debug, Clone)]
pub struct Row {
    /// Number; empty before it has one.
    pub follow_up_number: String,
    /// Kind, its number in the contract.
    pub kind: i16,
    /// Facility.
    pub facility_code: String,
    /// Member.
    pub member_id: Uuid,
    /// 0 for the member, else which newborn on its card.
    pub newborn_order: i16,
    /// The SEP that led to it.
    pub based_on: String,
    /// Clinic.
    pub clinic: String,
    /// Doctor.
    pub doctor_code: String,
    /// Planned day.
    pub planned_on: Date,
    /// The referral that the chain began with; empty without one.
    pub referral_number: String,
    /// The clinic that referral is for.
    pub referral_clinic: String,
    /// Last day.
    pub usable_through: Date,
    /// Its version, from 1.
    pub version: i32,
    /// When it was issued.
    pub issued_at: Timestamp,
    /// The SEP that cites it.
    pub used_by: Option<String>,
    /// When it was cancelled.
    pub cancelled_at: Option<Timestamp>,
    /// Why.
    pub cancel_note: String,
}

/// A row of `follow_up` as a query of this module reads it.
macro_rules! row {
    ($row:ident) => {
        Row {
            follow_up_number: $row.follow_up_number,
            kind: $row.kind,
            facility_code: $row.facility_code,
            member_id: $row.member_id,
            newborn_order: $row.newborn_order,
            based_on: $row.based_on,
            clinic: $row.clinic,
            doctor_code: $row.doctor_code,
            planned_on: $row.planned_on.to_jiff(),
            referral_number: $row.referral_number,
            referral_clinic: $row.referral_clinic,
            usable_through: $row.usable_through.to_jiff(),
            version: $row.version,
            issued_at: $row.issued_at.to_jiff(),
            used_by: $row.used_by,
            cancelled_at: $row.cancelled_at.map(|at| at.to_jiff()),
            cancel_note: $row.cancel_note,
        }
    };
}

/// Gives a letter a number and writes it. `None` when its SEP led to an open one of this kind for this clinic; the
/// transaction is then to be dropped, for the number is spent in it.
pub async fn issue(
    connection: &mut PgConnection,
    new: &Row,
    letter: &str,
    issued_on: Date,
) -> Result<Option<String>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"with counter as (
               insert into follow_up_counter as c (facility_code, month, letter, last)
               values ($2, date_trunc('month', $13::date)::date, $12, 1)
               on conflict (facility_code, month, letter) do update set last = c.last + 1
               returning last
           )
           insert into follow_up (follow_up_number, kind, facility_code, member_id, based_on, clinic, doctor_code,
                                  planned_on, referral_number, referral_clinic, usable_through, issued_at,
                                  newborn_order)
           select $2 || to_char($13::date, 'MMYY') || $12 || lpad(last::text, 6, '0'),
                  $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $14
           from counter
           on conflict (based_on, kind, clinic) where used_by is null and cancelled_at is null do nothing
           returning follow_up_number"#,
        new.kind,
        new.facility_code,
        new.member_id,
        new.based_on,
        new.clinic,
        new.doctor_code,
        new.planned_on.to_sqlx(),
        new.referral_number,
        new.referral_clinic,
        new.usable_through.to_sqlx(),
        new.issued_at.to_sqlx(),
        letter,
        issued_on.to_sqlx(),
        new.newborn_order,
    )
    .fetch_optional(connection)
    .await
}

/// The number of the open letter of a kind that a SEP led to for a clinic.
pub async fn open(
    executor: impl PgExecutor<'_>,
    based_on: &str,
    kind: i16,
    clinic: &str,
) -> Result<Option<String>, sqlx::Error> {
    sqlx::query_scalar!(
        "select follow_up_number from follow_up
         where based_on = $1 and kind = $2 and clinic = $3 and used_by is null and cancelled_at is null",
        based_on,
        kind,
        clinic,
    )
    .fetch_optional(executor)
    .await
}

/// A letter; of one facility only when one is given.
pub async fn get(
    executor: impl PgExecutor<'_>,
    follow_up_number: &str,
    facility_code: Option<&str>,
) -> Result<Option<Row>, sqlx::Error> {
    let row = sqlx::query!(
        "select follow_up_number, kind, facility_code, member_id, newborn_order, based_on, clinic, doctor_code,
                planned_on, referral_number, referral_clinic, usable_through, version, issued_at, used_by,
                cancelled_at, cancel_note
         from follow_up where follow_up_number = $1 and ($2::text is null or facility_code = $2)",
        follow_up_number,
        facility_code,
    )
    .fetch_optional(executor)
    .await?;
    Ok(row.map(|row| row!(row)))
}

/// A letter, held against changes until the transaction ends.
pub async fn lock(
    connection: &mut PgConnection,
    follow_up_number: &str,
    facility_code: Option<&str>,
) -> Result<Option<Row>, sqlx::Error> {
    sqlx::query!(
        "select 1 as one from follow_up
         where follow_up_number = $1 and ($2::text is null or facility_code = $2) for update",
        follow_up_number,
        facility_code,
    )
    .fetch_optional(&mut *connection)
    .await?;
    get(connection, follow_up_number, facility_code).await
}

/// Writes what may be changed of a letter that is locked. False when its SEP led to another open one for that clinic.
pub async fn change(connection: &mut PgConnection, row: &Row) -> Result<bool, sqlx::Error> {
    let changed = sqlx::query!(
        "update follow_up f set clinic = $2, doctor_code = $3, planned_on = $4, usable_through = $5, version = $6
         where f.follow_up_number = $1
           and not exists (select from follow_up o
                           where o.based_on = f.based_on and o.kind = f.kind and o.clinic = $2
                             and o.used_by is null and o.cancelled_at is null
                             and o.follow_up_number <> f.follow_up_number)",
        row.follow_up_number,
        row.clinic,
        row.doctor_code,
        row.planned_on.to_sqlx(),
        row.usable_through.to_sqlx(),
        row.version,
    )
    .execute(connection)
    .await?;
    Ok(changed.rows_affected() == 1)
}

/// Marks a letter that is locked as cancelled.
pub async fn cancel(
    connection: &mut PgConnection,
    follow_up_number: &str,
    at: Timestamp,
    note: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update follow_up set cancelled_at = $2, cancel_note = $3 where follow_up_number = $1",
        follow_up_number,
        at.to_sqlx(),
        note,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Marks a letter as used by a SEP. False when it is no longer open, or another version than the one that was read.
pub async fn take(
    connection: &mut PgConnection,
    follow_up_number: &str,
    version: i32,
    sep_number: &str,
) -> Result<bool, sqlx::Error> {
    let taken = sqlx::query!(
        "update follow_up set used_by = $3
         where follow_up_number = $1 and version = $2 and used_by is null and cancelled_at is null",
        follow_up_number,
        version,
        sep_number,
    )
    .execute(connection)
    .await?;
    Ok(taken.rows_affected() == 1)
}

/// Frees the letter that a SEP cites. Where another was issued in its place meanwhile it is cancelled instead.
pub async fn release(
    connection: &mut PgConnection,
    sep_number: &str,
    at: Timestamp,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update follow_up f
         set used_by = null,
             cancelled_at = case when replaced then $2::timestamptz end,
             cancel_note = case when replaced then 'replaced' else '' end
         from (select u.follow_up_number,
                      exists (select from follow_up o
                              where o.based_on = u.based_on and o.kind = u.kind and o.clinic = u.clinic
                                and o.used_by is null and o.cancelled_at is null) as replaced
               from follow_up u where u.used_by = $1) as used
         where f.follow_up_number = used.follow_up_number",
        sep_number,
        at.to_sqlx(),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The numbers of the letters that a SEP led to and that are open or used.
pub async fn of_sep(connection: &mut PgConnection, sep_number: &str) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar!(
        "select follow_up_number from follow_up where based_on = $1 and cancelled_at is null order by follow_up_number",
        sep_number,
    )
    .fetch_all(connection)
    .await
}

/// What a list of letters is narrowed to.
#[derive(Debug, Default)]
pub struct Filter {
    /// Facility.
    pub facility_code: Option<String>,
    /// Member.
    pub member_id: Option<Uuid>,
    /// First planned day.
    pub from: Option<Date>,
    /// Last planned day.
    pub to: Option<Date>,
    /// Kind.
    pub kind: Option<i16>,
    /// State, its number in the contract.
    pub state: Option<i16>,
    /// The SEP that led to it.
    pub based_on: Option<String>,
    /// Number of the last row of the page before.
    pub after: Option<String>,
    /// Most rows.
    pub limit: i64,
}

/// Letters by number.
pub async fn list(executor: impl PgExecutor<'_>, filter: &Filter) -> Result<Vec<Row>, sqlx::Error> {
    let rows = sqlx::query!(
        "select follow_up_number, kind, facility_code, member_id, newborn_order, based_on, clinic, doctor_code,
                planned_on, referral_number, referral_clinic, usable_through, version, issued_at, used_by,
                cancelled_at, cancel_note
         from follow_up
         where ($1::text is null or facility_code = $1)
           and ($2::uuid is null or member_id = $2)
           and ($3::date is null or planned_on >= $3)
           and ($4::date is null or planned_on <= $4)
           and ($5::smallint is null or kind = $5)
           and ($6::smallint is null
                or $6 = case when cancelled_at is not null then 3 when used_by is not null then 2 else 1 end)
           and ($7::text is null or based_on = $7)
           and ($8::text is null or follow_up_number > $8)
         order by follow_up_number limit $9",
        filter.facility_code,
        filter.member_id,
        filter.from.map(ToSqlx::to_sqlx) as Option<jiff_sqlx::Date>,
        filter.to.map(ToSqlx::to_sqlx) as Option<jiff_sqlx::Date>,
        filter.kind,
        filter.state,
        filter.based_on,
        filter.after,
        filter.limit,
    )
    .fetch_all(executor)
    .await?;
    Ok(rows.into_iter().map(|row| row!(row)).collect())
}
