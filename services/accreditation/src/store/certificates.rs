//! Certificates.

use jiff::{Timestamp, civil::Date};
use jiff_sqlx::ToSqlx;
use sqlx::PgConnection;
use uuid::Uuid;

use super::stored;
use crate::{certificate::Certificate, error::Error, grading::Grade};

/// Which certificates ListExpiringCertificates asks for.
#[derive(Debug, Clone)]
pub struct Expiring {
    /// Those that count on this day.
    pub today: Date,
    /// Those whose last day is at most this one.
    pub until: Date,
    /// Only of this facility.
    pub facility_code: Option<String>,
    /// Only in this province or regency.
    pub region: Option<String>,
    /// Only after this expiry and number.
    pub after: Option<(Date, String)>,
    /// At most so many.
    pub limit: i64,
}

struct Row {
    certificate_number: String,
    facility_code: String,
    grade: String,
    valid_from: jiff_sqlx::Date,
    valid_to: jiff_sqlx::Date,
    apply_by: jiff_sqlx::Date,
    survey_id: Option<Uuid>,
    grading_source: String,
    revoked_on: Option<jiff_sqlx::Date>,
    revocation_note: String,
}

/// The certificates of a facility, oldest first.
///
/// # Errors
/// When the database fails.
pub async fn of(connection: &mut PgConnection, facility_code: &str) -> Result<Vec<Certificate>, Error> {
    let rows = sqlx::query_as!(
        Row,
        "select certificate_number, facility_code, grade, valid_from, valid_to, apply_by, survey_id, grading_source,
                revoked_on, revocation_note
         from certificate where facility_code = $1 order by valid_from, certificate_number",
        facility_code,
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(Row::read).collect()
}

/// One certificate.
///
/// # Errors
/// When there is none.
pub async fn get(connection: &mut PgConnection, number: &str) -> Result<Certificate, Error> {
    sqlx::query_as!(
        Row,
        "select certificate_number, facility_code, grade, valid_from, valid_to, apply_by, survey_id, grading_source,
                revoked_on, revocation_note
         from certificate where certificate_number = $1",
        number,
    )
    .fetch_optional(connection)
    .await?
    .ok_or(Error::NoCertificate)?
    .read()
}

/// One certificate, held until the end of the transaction.
///
/// # Errors
/// When there is none.
pub async fn lock(connection: &mut PgConnection, number: &str) -> Result<Certificate, Error> {
    sqlx::query_scalar!(
        "select certificate_number from certificate where certificate_number = $1 for update",
        number
    )
    .fetch_optional(&mut *connection)
    .await?
    .ok_or(Error::NoCertificate)?;
    get(connection, number).await
}

/// Adds a certificate.
///
/// # Errors
/// When the number is taken.
pub async fn insert(
    connection: &mut PgConnection,
    certificate: &Certificate,
    at: Timestamp,
) -> Result<(), Error> {
    sqlx::query!(
        "insert into certificate (certificate_number, facility_code, grade, valid_from, valid_to, apply_by,
                                  survey_id, grading_source, recorded_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        certificate.number,
        certificate.facility_code,
        certificate.grade.as_str(),
        certificate.valid_from.to_sqlx() as _,
        certificate.valid_to.to_sqlx() as _,
        certificate.apply_by.to_sqlx() as _,
        certificate.survey_id,
        certificate.grading_source,
        at.to_sqlx() as _,
    )
    .execute(connection)
    .await
    .map_err(|error| match error.as_database_error().and_then(|database| database.constraint()) {
        Some("certificate_pkey") => Error::CertificateExists,
        _ => error.into(),
    })?;
    Ok(())
}

/// Ends a certificate from a day on.
///
/// # Errors
/// When the database fails.
pub async fn revoke(connection: &mut PgConnection, number: &str, on: Date, note: &str) -> Result<(), Error> {
    sqlx::query!(
        "update certificate set revoked_on = $2, revocation_note = $3 where certificate_number = $1",
        number,
        on.to_sqlx() as _,
        note,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The certificates that count today, expire soon and have no successor, the soonest first; and whether their
/// facility has applied for its next survey.
///
/// # Errors
/// When the database fails.
pub async fn expiring(
    connection: &mut PgConnection,
    asked: &Expiring,
) -> Result<Vec<(Certificate, bool)>, Error> {
    let (after_day, after_number) = asked.after.clone().unzip();
    let rows = sqlx::query!(
        r#"select c.certificate_number, c.facility_code, c.grade, c.valid_from, c.valid_to, c.apply_by, c.survey_id,
                  c.grading_source, c.revoked_on, c.revocation_note,
                  exists (select 1 from survey s where s.facility_code = c.facility_code
                          and s.state <> 'decided') as "applied!"
           from certificate c join facility f using (facility_code)
           where c.valid_from <= $1 and c.valid_to >= $1 and c.valid_to <= $2
             and coalesce(c.revoked_on > $1, true)
             and ($3::text is null or c.facility_code = $3)
             and ($4::text is null or left(f.region_code, length($4)) = $4)
             and ($5::date is null or (c.valid_to, c.certificate_number) > ($5, $6::text))
             and not exists (select 1 from certificate n where n.facility_code = c.facility_code
                             and n.valid_from <= $1
                             and (n.valid_from, n.certificate_number) > (c.valid_from, c.certificate_number)
                             and coalesce(n.revoked_on > n.valid_from, true))
           order by c.valid_to, c.certificate_number limit $7"#,
        asked.today.to_sqlx() as _,
        asked.until.to_sqlx() as _,
        asked.facility_code,
        asked.region,
        after_day.map(|day| day.to_sqlx()) as _,
        after_number,
        asked.limit,
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            let certificate = Row {
                certificate_number: row.certificate_number,
                facility_code: row.facility_code,
                grade: row.grade,
                valid_from: row.valid_from,
                valid_to: row.valid_to,
                apply_by: row.apply_by,
                survey_id: row.survey_id,
                grading_source: row.grading_source,
                revoked_on: row.revoked_on,
                revocation_note: row.revocation_note,
            };
            Ok((certificate.read()?, row.applied))
        })
        .collect()
}

impl Row {
    fn read(self) -> Result<Certificate, Error> {
        Ok(Certificate {
            number: self.certificate_number,
            facility_code: self.facility_code,
            grade: stored(Grade::parse(&self.grade), "certificate.grade")?,
            valid_from: self.valid_from.to_jiff(),
            valid_to: self.valid_to.to_jiff(),
            apply_by: self.apply_by.to_jiff(),
            survey_id: self.survey_id,
            grading_source: self.grading_source,
            revoked_on: self.revoked_on.map(jiff_sqlx::Date::to_jiff),
            revocation_note: self.revocation_note,
        })
    }
}
