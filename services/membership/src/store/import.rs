//! New families and members, many at once: one statement for each table.

use jiff::civil::Date;
use jiff_sqlx::ToSqlx;
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;
use vocabulary::{CareClass, FacilityCode, Masked, Name, Nik, RegionCode, Rupiah, Segment};

use crate::{error::Error, family::Relation};

/// A family to be written.
pub(crate) struct NewFamily {
    pub(crate) family_id: Uuid,
    /// Sender and key, when it is imported.
    pub(crate) import: Option<(String, String)>,
    pub(crate) from: Date,
    pub(crate) segment: Segment,
    pub(crate) class: CareClass,
    pub(crate) wage: Rupiah,
    /// First and last month of what was paid before an import.
    pub(crate) paid: Option<(Date, Date)>,
}

/// A member to be written.
pub(crate) struct NewMember {
    pub(crate) member_id: Uuid,
    pub(crate) family_id: Uuid,
    pub(crate) import: Option<(String, String)>,
    pub(crate) nik: Nik,
    pub(crate) name: Name,
    pub(crate) birth_date: Date,
    pub(crate) sex: &'static str,
    pub(crate) relation: Relation,
    pub(crate) student: bool,
    pub(crate) region: RegionCode,
    pub(crate) address: Masked<String>,
    pub(crate) phone: Masked<String>,
    pub(crate) fktp: FacilityCode,
    pub(crate) covered_from: Date,
}

/// An event to be written with them.
pub(crate) struct NewEvent {
    pub(crate) kind: String,
    pub(crate) subject: String,
    pub(crate) body: Vec<u8>,
}

/// Writes families with their terms and what they had paid.
pub(crate) async fn insert_families(
    connection: &mut PgConnection,
    families: &[NewFamily],
) -> sqlx::Result<()> {
    let ids: Vec<_> = families.iter().map(|family| family.family_id).collect();
    let senders: Vec<_> =
        families.iter().map(|family| family.import.as_ref().map(|(sender, _)| sender.clone())).collect();
    let keys: Vec<_> =
        families.iter().map(|family| family.import.as_ref().map(|(_, key)| key.clone())).collect();
    sqlx::query!(
        "insert into family (family_id, import_sender, import_key)
         select * from unnest($1::uuid[], $2::text[], $3::text[])",
        &ids,
        &senders as _,
        &keys as _,
    )
    .execute(&mut *connection)
    .await?;
    let from: Vec<_> = families.iter().map(|family| family.from.to_sqlx()).collect();
    let segments: Vec<_> = families.iter().map(|family| family.segment.as_str().to_owned()).collect();
    let classes: Vec<_> = families.iter().map(|family| i16::from(family.class.number())).collect();
    let wages: Vec<_> = families.iter().map(|family| family.wage.get()).collect();
    sqlx::query!(
        "insert into family_terms (family_id, valid_from, segment, care_class, monthly_wage_rupiah)
         select * from unnest($1::uuid[], $2::date[], $3::text[], $4::smallint[], $5::bigint[])",
        &ids,
        &from as _,
        &segments,
        &classes,
        &wages,
    )
    .execute(&mut *connection)
    .await?;
    let paid: Vec<_> = families.iter().filter_map(|family| Some((family, family.paid?))).collect();
    if paid.is_empty() {
        return Ok(());
    }
    let postings: Vec<_> = paid.iter().map(|_| Uuid::now_v7()).collect();
    let payers: Vec<_> = paid.iter().map(|(family, _)| family.family_id).collect();
    // As if each month had been paid when it was due.
    let paid_on: Vec<_> = paid.iter().map(|(family, _)| family.from.to_sqlx()).collect();
    let first: Vec<_> = paid.iter().map(|(_, (first, _))| first.to_sqlx()).collect();
    let last: Vec<_> = paid.iter().map(|(_, (_, last))| last.to_sqlx()).collect();
    sqlx::query!(
        "insert into contribution_posting
            (posting_id, family_id, amount_rupiah, paid_on, first_month, last_month, reactivated)
         select posting_id, family_id, 0, paid_on, first_month, last_month, false
           from unnest($1::uuid[], $2::uuid[], $3::date[], $4::date[], $5::date[])
             as new (posting_id, family_id, paid_on, first_month, last_month)",
        &postings,
        &payers,
        &paid_on as _,
        &first as _,
        &last as _,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Writes members with their first choice of facility; card numbers are allocated.
pub(crate) async fn insert_members(connection: &mut PgConnection, members: &[NewMember]) -> sqlx::Result<()> {
    let ids: Vec<_> = members.iter().map(|one| one.member_id).collect();
    let families: Vec<_> = members.iter().map(|one| one.family_id).collect();
    let niks: Vec<_> = members.iter().map(|one| one.nik.expose().to_owned()).collect();
    let names: Vec<_> = members.iter().map(|one| one.name.expose().to_owned()).collect();
    let births: Vec<_> = members.iter().map(|one| one.birth_date.to_sqlx()).collect();
    let sexes: Vec<_> = members.iter().map(|one| one.sex.to_owned()).collect();
    let relations: Vec<_> = members.iter().map(|one| one.relation.as_str().to_owned()).collect();
    let students: Vec<_> = members.iter().map(|one| one.student).collect();
    let regions: Vec<_> = members.iter().map(|one| one.region.as_str().to_owned()).collect();
    let addresses: Vec<_> = members.iter().map(|one| one.address.expose().clone()).collect();
    let phones: Vec<_> = members.iter().map(|one| one.phone.expose().clone()).collect();
    let covered: Vec<_> = members.iter().map(|one| one.covered_from.to_sqlx()).collect();
    let senders: Vec<_> =
        members.iter().map(|one| one.import.as_ref().map(|(sender, _)| sender.clone())).collect();
    let rows: Vec<_> = members.iter().map(|one| one.import.as_ref().map(|(_, row)| row.clone())).collect();
    sqlx::query!(
        "insert into member (member_id, family_id, nik, name, birth_date, sex, relation, student, region_code, address,
                             phone, covered_from, import_sender, import_row)
         select * from unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::date[], $6::text[], $7::text[],
                              $8::boolean[], $9::text[], $10::text[], $11::text[], $12::date[], $13::text[], $14::text[])",
        &ids,
        &families,
        &niks,
        &names,
        &births as _,
        &sexes,
        &relations,
        &students,
        &regions,
        &addresses,
        &phones,
        &covered as _,
        &senders as _,
        &rows as _,
    )
    .execute(&mut *connection)
    .await?;
    let fktps: Vec<_> = members.iter().map(|one| one.fktp.as_str().to_owned()).collect();
    sqlx::query!(
        "insert into fktp_choice (member_id, valid_from, fktp_code, ground, proof_reference)
         select member_id, valid_from, fktp_code, 'REGISTRATION', ''
           from unnest($1::uuid[], $2::date[], $3::text[]) as new (member_id, valid_from, fktp_code)",
        &ids,
        &covered as _,
        &fktps,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Writes events of the same transaction.
pub(crate) async fn insert_events(
    connection: &mut PgConnection,
    events: &[NewEvent],
    traceparent: &str,
) -> sqlx::Result<()> {
    let ids: Vec<_> = events.iter().map(|_| Uuid::now_v7()).collect();
    let kinds: Vec<_> = events.iter().map(|event| event.kind.clone()).collect();
    let subjects: Vec<_> = events.iter().map(|event| event.subject.clone()).collect();
    let bodies: Vec<_> = events.iter().map(|event| event.body.clone()).collect();
    sqlx::query!(
        "insert into outbox (event_id, kind, subject, traceparent, body)
         select event_id, kind, subject, $4, body
           from unnest($1::uuid[], $2::text[], $3::text[], $5::bytea[]) as new (event_id, kind, subject, body)",
        &ids,
        &kinds,
        &subjects,
        traceparent,
        &bodies,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// A member that a row of an import may meet.
pub(crate) struct Met {
    pub(crate) member_id: Uuid,
    pub(crate) nik: String,
    /// The row's key, when the same sender imported it.
    pub(crate) row: Option<String>,
}

/// The members that have one of the NIKs, or were imported by the sender under one of the keys.
pub(crate) async fn members_met(
    executor: impl PgExecutor<'_>,
    sender: &str,
    rows: &[String],
    niks: &[String],
) -> sqlx::Result<Vec<Met>> {
    sqlx::query_as!(
        Met,
        r#"select member_id, nik, case when import_sender = $1 then import_row end as row
             from member where nik = any($3) or (import_sender = $1 and import_row = any($2))"#,
        sender,
        rows,
        niks,
    )
    .fetch_all(executor)
    .await
}

/// A family that a row of an import may belong to, with its latest terms.
pub(crate) struct KnownFamily {
    pub(crate) family_id: Uuid,
    pub(crate) key: String,
    pub(crate) segment: Segment,
    pub(crate) class: CareClass,
    pub(crate) wage: i64,
}

/// The families that the sender imported under these keys.
pub(crate) async fn families_met(
    executor: impl PgExecutor<'_>,
    sender: &str,
    keys: &[String],
) -> Result<Vec<KnownFamily>, Error> {
    let rows = sqlx::query!(
        r#"select f.family_id, f.import_key as "key!", t.segment, t.care_class, t.monthly_wage_rupiah
             from family f join family_terms t using (family_id)
            where f.import_sender = $1 and f.import_key = any($2) and t.valid_to is null"#,
        sender,
        keys,
    )
    .fetch_all(executor)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(KnownFamily {
                family_id: row.family_id,
                key: row.key,
                segment: Segment::parse(&row.segment).map_err(|_| Error::Unreadable)?,
                class: CareClass::try_from(row.care_class).map_err(|_| Error::Unreadable)?,
                wage: row.monthly_wage_rupiah,
            })
        })
        .collect()
}

/// Which of the NIKs belong to a membership that runs, or that had not ended before a day.
pub(crate) async fn niks_taken(
    executor: impl PgExecutor<'_>,
    niks: &[String],
    from: Date,
) -> sqlx::Result<Vec<String>> {
    sqlx::query_scalar!(
        "select nik from member where nik = any($1) and coalesce(ended_on >= $2, true)",
        niks,
        from.to_sqlx() as _,
    )
    .fetch_all(executor)
    .await
}
