//! The statements that change a member, a choice, terms or an account.

use chassis::{Problem, Write};
use jiff::{Timestamp, civil::Date};
use jiff_sqlx::ToSqlx;
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;
use vocabulary::FacilityCode;

use super::Record;
use crate::{
    family::{Ended, Terms},
    fktp_choice::Ground,
};

/// A posting as it is kept.
pub(crate) struct Posting {
    pub(crate) posting_id: Uuid,
    pub(crate) family_id: Uuid,
    pub(crate) bank: String,
    pub(crate) bank_reference: String,
    pub(crate) amount_rupiah: i64,
    pub(crate) paid_on: Date,
    pub(crate) first_month: Date,
    pub(crate) last_month: Date,
    pub(crate) reactivated: bool,
}

/// The posting that a bank made under a reference.
pub(crate) async fn posting(
    executor: impl PgExecutor<'_>,
    bank: &str,
    bank_reference: &str,
) -> sqlx::Result<Option<Posting>> {
    let row = sqlx::query!(
        "select posting_id, family_id, amount_rupiah, paid_on, first_month, last_month, reactivated
           from contribution_posting where bank = $1 and bank_reference = $2",
        bank,
        bank_reference,
    )
    .fetch_optional(executor)
    .await?;
    Ok(row.map(|row| Posting {
        posting_id: row.posting_id,
        family_id: row.family_id,
        bank: bank.to_owned(),
        bank_reference: bank_reference.to_owned(),
        amount_rupiah: row.amount_rupiah,
        paid_on: row.paid_on.to_jiff(),
        first_month: row.first_month.to_jiff(),
        last_month: row.last_month.to_jiff(),
        reactivated: row.reactivated,
    }))
}

/// Writes a posting.
pub(crate) async fn insert_posting(connection: &mut PgConnection, posting: &Posting) -> sqlx::Result<()> {
    sqlx::query!(
        "insert into contribution_posting
            (posting_id, family_id, bank, bank_reference, amount_rupiah, paid_on, first_month, last_month, reactivated)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        posting.posting_id,
        posting.family_id,
        posting.bank,
        posting.bank_reference,
        posting.amount_rupiah,
        posting.paid_on.to_sqlx() as _,
        posting.first_month.to_sqlx() as _,
        posting.last_month.to_sqlx() as _,
        posting.reactivated,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Ends the open choice of a member on a day and begins another.
pub(crate) async fn change_fktp(
    connection: &mut PgConnection,
    member_id: Uuid,
    fktp: &FacilityCode,
    from: Date,
    ground: Ground,
    proof_reference: &str,
) -> sqlx::Result<()> {
    sqlx::query!(
        "update fktp_choice set valid_to = $2 where member_id = $1 and valid_to is null",
        member_id,
        from.to_sqlx() as _
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!(
        "insert into fktp_choice (member_id, valid_from, fktp_code, ground, proof_reference) values ($1, $2, $3, $4, $5)",
        member_id,
        from.to_sqlx() as _,
        fktp.as_str(),
        ground.as_str(),
        proof_reference,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Ends the open terms of a family and begins others.
pub(crate) async fn change_terms(
    connection: &mut PgConnection,
    family_id: Uuid,
    new: &Terms,
) -> sqlx::Result<()> {
    sqlx::query!(
        "update family_terms set valid_to = $2 where family_id = $1 and valid_to is null",
        family_id,
        new.from.to_sqlx() as _
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!(
        "insert into family_terms (family_id, valid_from, segment, care_class, monthly_wage_rupiah)
         values ($1, $2, $3, $4, $5)",
        family_id,
        new.from.to_sqlx() as _,
        new.segment.as_str(),
        i16::from(new.class.number()),
        new.wage.get(),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// What a record says that may be amended.
pub(crate) struct Amendment<'a> {
    pub(crate) name: &'a str,
    pub(crate) region_code: &'a str,
    pub(crate) address: &'a str,
    pub(crate) phone: &'a str,
}

/// Keeps what a record says, then writes what it says now.
pub(crate) async fn amend(
    connection: &mut PgConnection,
    before: &Record,
    now: &Amendment<'_>,
    by: &str,
    at: Timestamp,
) -> sqlx::Result<()> {
    sqlx::query!(
        "insert into member_revision (member_id, replaced_at, replaced_by, name, region_code, address, phone)
         values ($1, $2, $3, $4, $5, $6, $7)",
        before.member_id,
        at.to_sqlx() as _,
        by,
        before.name.expose(),
        before.region_code,
        before.address.expose(),
        before.phone.expose(),
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!(
        "update member set name = $2, region_code = $3, address = $4, phone = $5, updated_at = $6 where member_id = $1",
        before.member_id,
        now.name,
        now.region_code,
        now.address,
        now.phone,
        at.to_sqlx() as _,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Ends a membership.
pub(crate) async fn end(
    connection: &mut PgConnection,
    member_id: Uuid,
    why: Ended,
    ended_on: Date,
    at: Timestamp,
) -> sqlx::Result<()> {
    sqlx::query!(
        "update member set ended_on = $2, ended_why = $3, updated_at = $4 where member_id = $1",
        member_id,
        ended_on.to_sqlx() as _,
        why.as_str(),
        at.to_sqlx() as _,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Keeps an answer of the civil registry.
pub(crate) async fn keep_nik_answer(
    write: &mut Write,
    member_id: Uuid,
    result: &str,
    discrepancies: &[String],
    checked_at: Timestamp,
) -> Result<(), Problem> {
    sqlx::query!(
        "insert into nik_answer (member_id, checked_at, result, discrepancies) values ($1, $2, $3, $4)",
        member_id,
        checked_at.to_sqlx() as _,
        result,
        discrepancies,
    )
    .execute(&mut *write.connection())
    .await?;
    sqlx::query!(
        "update member set nik_result = $2, nik_discrepancies = $3, nik_checked_at = $4, updated_at = $4
          where member_id = $1",
        member_id,
        result,
        discrepancies,
        checked_at.to_sqlx() as _,
    )
    .execute(write.connection())
    .await?;
    Ok(())
}
