//! Certificates of coders.

use jiff::{Timestamp, civil::Date};
use jiff_sqlx::ToSqlx;
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;
use vocabulary::Masked;

use crate::coder::Certificate;

/// A certificate as it is stored.
#[derive(Debug, Clone)]
pub struct Row {
    /// Id.
    pub certificate_id: Uuid,
    /// Number on the certificate.
    pub certificate_number: Masked<String>,
    /// NIK of the coder.
    pub coder_nik: Masked<String>,
    /// When it was registered.
    pub registered_at: Timestamp,
    /// Why it was revoked.
    pub revoke_note: Masked<String>,
    /// Facility and days.
    pub certificate: Certificate,
}

macro_rules! row {
    ($row:expr) => {{
        let row = $row;
        Row {
            certificate_id: row.certificate_id,
            certificate_number: Masked::new(row.certificate_number),
            coder_nik: Masked::new(row.coder_nik),
            registered_at: row.registered_at.to_jiff(),
            revoke_note: Masked::new(row.revoke_note),
            certificate: Certificate {
                facility_code: row.facility_code,
                valid_from: row.valid_from.to_jiff(),
                valid_to: row.valid_to.to_jiff(),
                revoked_on: row.revoked_on.map(|day| day.to_jiff()),
            },
        }
    }};
}

/// Writes a new certificate.
pub async fn register(connection: &mut PgConnection, row: &Row) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into coder_certificate
                (certificate_id, certificate_number, coder_nik, facility_code, valid_from, valid_to, registered_at)
         values ($1, $2, $3, $4, $5, $6, $7)",
        row.certificate_id,
        row.certificate_number.expose(),
        row.coder_nik.expose(),
        row.certificate.facility_code,
        row.certificate.valid_from.to_sqlx(),
        row.certificate.valid_to.to_sqlx(),
        row.registered_at.to_sqlx(),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// A certificate, held against changes until the transaction ends.
pub async fn lock(connection: &mut PgConnection, certificate_id: Uuid) -> Result<Option<Row>, sqlx::Error> {
    let row = sqlx::query!(
        "select certificate_id, certificate_number, coder_nik, facility_code, valid_from, valid_to, registered_at,
                revoked_on, revoke_note
         from coder_certificate where certificate_id = $1 for update",
        certificate_id,
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|row| row!(row)))
}

/// Revokes a certificate.
pub async fn revoke(
    connection: &mut PgConnection,
    certificate_id: Uuid,
    from: Date,
    note: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update coder_certificate set revoked_on = $2, revoke_note = $3 where certificate_id = $1",
        certificate_id,
        from.to_sqlx(),
        note,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// What a list of certificates is narrowed to.
#[derive(Debug, Default)]
pub struct Filter {
    /// Facility.
    pub facility_code: Option<String>,
    /// Those that hold on this day.
    pub valid_on: Option<Date>,
    /// Id of the last row of the page before.
    pub after: Option<Uuid>,
    /// Most rows.
    pub limit: i64,
}

/// Certificates by id.
pub async fn list(executor: impl PgExecutor<'_>, filter: &Filter) -> Result<Vec<Row>, sqlx::Error> {
    let rows = sqlx::query!(
        "select certificate_id, certificate_number, coder_nik, facility_code, valid_from, valid_to, registered_at,
                revoked_on, revoke_note
         from coder_certificate
         where ($1::text is null or facility_code = $1)
           and ($2::date is null
                or (valid_from <= $2 and $2 <= valid_to and (revoked_on is null or $2 < revoked_on)))
           and ($3::uuid is null or certificate_id > $3)
         order by certificate_id limit $4",
        filter.facility_code,
        filter.valid_on.map(ToSqlx::to_sqlx) as Option<jiff_sqlx::Date>,
        filter.after,
        filter.limit,
    )
    .fetch_all(executor)
    .await?;
    Ok(rows.into_iter().map(|row| row!(row)).collect())
}

/// Every certificate of a coder.
pub async fn of_coder(
    executor: impl PgExecutor<'_>,
    coder_nik: &str,
) -> Result<Vec<Certificate>, sqlx::Error> {
    let rows = sqlx::query!(
        "select facility_code, valid_from, valid_to, revoked_on from coder_certificate where coder_nik = $1",
        coder_nik,
    )
    .fetch_all(executor)
    .await?;
    let certificates = rows.into_iter().map(|row| Certificate {
        facility_code: row.facility_code,
        valid_from: row.valid_from.to_jiff(),
        valid_to: row.valid_to.to_jiff(),
        revoked_on: row.revoked_on.map(|day| day.to_jiff()),
    });
    Ok(certificates.collect())
}

/// Facilities with a certificate that holds on a day, and those certificates.
pub async fn count(executor: impl PgExecutor<'_>, on: Date) -> Result<(i64, i64), sqlx::Error> {
    let row = sqlx::query!(
        r#"select count(distinct facility_code) as "facilities!", count(*) as "certificates!"
           from coder_certificate
           where valid_from <= $1 and $1 <= valid_to and (revoked_on is null or $1 < revoked_on)"#,
        on.to_sqlx(),
    )
    .fetch_one(executor)
    .await?;
    Ok((row.facilities, row.certificates))
}
