//! What primary payers state that they bear of an accident.

use jiff::{Timestamp, civil::Date};
use jiff_sqlx::ToSqlx;
use sqlx::{PgConnection, PgExecutor};

/// A statement as it is stored.
#[derive(Debug, Clone)]
pub struct Row {
    /// Payer, its number in the contract.
    pub payer: i16,
    /// What it bears.
    pub amount_rupiah: i64,
    /// Number of its letter.
    pub letter_number: String,
    /// Day of the letter.
    pub stated_on: Date,
    /// When it was recorded.
    pub recorded_at: Timestamp,
    /// By whom.
    pub recorded_by: String,
}

/// Writes the statement of a payer, in place of an earlier one.
pub async fn record(connection: &mut PgConnection, sep_number: &str, row: &Row) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into primary_payment (sep_number, payer, amount_rupiah, letter_number, stated_on, recorded_at, recorded_by)
         values ($1, $2, $3, $4, $5, $6, $7)
         on conflict (sep_number, payer) do update
             set amount_rupiah = excluded.amount_rupiah, letter_number = excluded.letter_number,
                 stated_on = excluded.stated_on, recorded_at = excluded.recorded_at, recorded_by = excluded.recorded_by",
        sep_number,
        row.payer,
        row.amount_rupiah,
        row.letter_number,
        row.stated_on.to_sqlx(),
        row.recorded_at.to_sqlx(),
        row.recorded_by,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The statements on a SEP, by payer.
pub async fn of_sep(executor: impl PgExecutor<'_>, sep_number: &str) -> Result<Vec<Row>, sqlx::Error> {
    let rows = sqlx::query!(
        "select payer, amount_rupiah, letter_number, stated_on, recorded_at, recorded_by
         from primary_payment where sep_number = $1 order by payer",
        sep_number,
    )
    .fetch_all(executor)
    .await?;
    let statements = rows.into_iter().map(|row| Row {
        payer: row.payer,
        amount_rupiah: row.amount_rupiah,
        letter_number: row.letter_number,
        stated_on: row.stated_on.to_jiff(),
        recorded_at: row.recorded_at.to_jiff(),
        recorded_by: row.recorded_by,
    });
    Ok(statements.collect())
}
