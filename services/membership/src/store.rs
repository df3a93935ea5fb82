//! Every SQL statement of the service. What it reads for a question is one statement over an array of keys, so that
//! questions asked at the same time can be answered together.

mod changes;
mod history;
mod import;
mod write;

pub(crate) use changes::*;
pub(crate) use import::*;
pub(crate) use write::*;

use jiff::{Timestamp, civil::Date};
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;
use vocabulary::{CardNumber, Masked, MemberId, Nik};

use crate::{
    contribution::{Covered, Payment},
    eligibility::Judged,
    family::Terms,
    fktp_choice::Choice,
};

/// How a member is named.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Key {
    Member(MemberId),
    Card(CardNumber),
    Nik(Nik),
}

impl Key {
    /// Whether it names the member of a record.
    pub(crate) fn names(&self, record: &Record) -> bool {
        match self {
            Self::Member(id) => record.member_id == id.uuid(),
            Self::Card(card) => record.card_number.expose() == card.expose(),
            Self::Nik(nik) => record.nik.expose() == nik.expose(),
        }
    }
}

/// A member with everything that the rules ask about.
pub(crate) struct Record {
    pub(crate) member_id: Uuid,
    pub(crate) family_id: Uuid,
    pub(crate) nik: Masked<String>,
    pub(crate) card_number: Masked<String>,
    pub(crate) name: Masked<String>,
    pub(crate) birth_date: Date,
    pub(crate) sex: String,
    pub(crate) relation: String,
    pub(crate) region_code: String,
    pub(crate) address: Masked<String>,
    pub(crate) phone: Masked<String>,
    pub(crate) covered_from: Date,
    pub(crate) ended_on: Option<Date>,
    pub(crate) ended_why: Option<String>,
    pub(crate) nik_result: Option<String>,
    pub(crate) nik_discrepancies: Vec<String>,
    pub(crate) nik_checked_at: Option<Timestamp>,
    pub(crate) updated_at: Timestamp,
    pub(crate) terms: Vec<Terms>,
    pub(crate) choices: Vec<Choice>,
    pub(crate) payments: Vec<Payment>,
    pub(crate) members: Vec<Covered>,
    pub(crate) judged: Judged,
}

/// The members that any of the keys names, the earliest registered first. A NIK names several when the person was
/// registered anew.
pub(crate) async fn records(executor: impl PgExecutor<'_>, keys: &[Key]) -> sqlx::Result<Vec<Record>> {
    let mut ids = Vec::new();
    let mut cards = Vec::new();
    let mut niks = Vec::new();
    for key in keys {
        match key {
            Key::Member(id) => ids.push(id.uuid()),
            Key::Card(card) => cards.push(card.expose().to_owned()),
            Key::Nik(nik) => niks.push(nik.expose().to_owned()),
        }
    }
    // Histories come as arrays of rows: half the work of JSON, on both sides.
    let rows = sqlx::query!(
        r#"select m.member_id, m.family_id, m.nik, m.card_number, m.name, m.birth_date, m.sex, m.relation, m.region_code,
                  m.address, m.phone, m.covered_from, m.ended_on, m.ended_why, m.nik_result, m.nik_discrepancies,
                  m.nik_checked_at, m.updated_at,
                  array(select (t.valid_from, t.valid_to, t.segment, t.care_class, t.monthly_wage_rupiah)
                          from family_terms t where t.family_id = m.family_id
                         order by t.valid_from) as "terms!: Vec<history::Terms>",
                  array(select (c.valid_from, c.valid_to, c.fktp_code)
                          from fktp_choice c where c.member_id = m.member_id
                         order by c.valid_from) as "choices!: Vec<history::Choice>",
                  array(select (p.posting_id, p.paid_on, p.first_month, p.last_month)
                          from contribution_posting p where p.family_id = m.family_id
                         order by p.paid_on, p.posted_at, p.posting_id) as "payments!: Vec<history::Payment>",
                  array(select (f.relation, f.covered_from, f.ended_on, f.region_code)
                          from member f where f.family_id = m.family_id
                         order by f.member_id) as "members!: Vec<history::Covered>"
             from member m
            where m.member_id = any($1) or m.card_number = any($2) or m.nik = any($3)
            order by m.covered_from, m.member_id"#,
        &ids,
        &cards,
        &niks,
    )
    .fetch_all(executor)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(Record {
                member_id: row.member_id,
                family_id: row.family_id,
                nik: row.nik.into(),
                card_number: row.card_number.into(),
                name: row.name.into(),
                birth_date: row.birth_date.to_jiff(),
                sex: row.sex,
                relation: row.relation,
                region_code: row.region_code,
                address: row.address.into(),
                phone: row.phone.into(),
                covered_from: row.covered_from.to_jiff(),
                ended_on: row.ended_on.map(|day| day.to_jiff()),
                ended_why: row.ended_why,
                nik_result: row.nik_result,
                nik_discrepancies: row.nik_discrepancies,
                nik_checked_at: row.nik_checked_at.map(|at| at.to_jiff()),
                updated_at: row.updated_at.to_jiff(),
                terms: history::read(row.terms, history::terms)?,
                choices: history::read(row.choices, history::choice)?,
                payments: history::read(row.payments, history::payment)?,
                members: history::read(row.members, history::covered)?,
                judged: Judged::default(),
            })
        })
        .collect()
}

/// The member that a key names.
pub(crate) async fn record(executor: impl PgExecutor<'_>, key: &Key) -> sqlx::Result<Option<Record>> {
    Ok(records(executor, std::slice::from_ref(key)).await?.pop())
}

/// The ids of a family's members after one of them, the head first, then in the order of registration.
pub(crate) async fn family_members(
    executor: impl PgExecutor<'_>,
    family_id: Uuid,
    after: Option<(bool, Uuid)>,
    most: i64,
) -> sqlx::Result<Vec<Uuid>> {
    let (after_other, after_id) = after.unwrap_or((false, Uuid::nil()));
    sqlx::query_scalar!(
        "select member_id from member
          where family_id = $1 and (relation <> 'HEAD', member_id) > ($2, $3)
          order by relation <> 'HEAD', member_id limit $4",
        family_id,
        after_other,
        after_id,
        most,
    )
    .fetch_all(executor)
    .await
}

/// Keeps the family of a member to this transaction; `None` when there is no such member.
pub(crate) async fn lock_family_of(connection: &mut PgConnection, key: &Key) -> sqlx::Result<Option<Uuid>> {
    let (mut id, mut card, mut nik) = (None, None, None);
    match key {
        Key::Member(member) => id = Some(member.uuid()),
        Key::Card(number) => card = Some(number.expose()),
        Key::Nik(number) => nik = Some(number.expose()),
    }
    sqlx::query_scalar!(
        "select f.family_id from family f join member m using (family_id)
          where m.member_id = $1 or m.card_number = $2 or m.nik = $3 for update of f",
        id,
        card,
        nik,
    )
    .fetch_optional(connection)
    .await
}

/// One member of a family, by which the whole of it can be read; the head when there is one.
pub(crate) async fn member_of_family(
    executor: impl PgExecutor<'_>,
    family_id: Uuid,
) -> sqlx::Result<Option<Uuid>> {
    Ok(family_members(executor, family_id, None, 1).await?.pop())
}
