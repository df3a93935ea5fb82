//! What the rules look at beside the claims themselves. A few statements for any number of claims, each of which returns
//! no more than there is; what one claim costs is bounded by the look-back, and not by what else is stored.

use std::collections::HashMap;

use jiff::civil::Date;
use jiff_sqlx::ToSqlx;
use sqlx::PgConnection;

use super::claim::{Row, WithLetter};
use crate::rules::facts::{LOOK_BACK_DAYS, MOST_EPISODES};

/// What the rules look at, of one claim.
#[derive(Debug)]
pub struct Seen {
    /// The claim.
    pub claim: Row,
    /// The letter of the SEP.
    pub letter: Vec<u8>,
    /// What the accreditation service answered for it.
    pub standing: Option<Vec<u8>>,
    /// What the referral service answered for it.
    pub referral: Option<Vec<u8>>,
    /// Submitted claims of other members with the same bill, at most 20.
    pub identical_bills: i64,
    /// The activations that hold on the day of service, at most one of each kind.
    pub activations: Vec<i64>,
    /// The member's other episodes, the latest first.
    pub episodes: Vec<Episode>,
}

/// Another episode of the member.
#[derive(Debug)]
pub struct Episode {
    /// Facility.
    pub facility_code: String,
    /// Clinic, empty for in-patient care.
    pub clinic: String,
    /// Kind of care.
    pub care_type: i16,
    /// Day of service.
    pub service_date: Date,
    /// Whether it was an emergency.
    pub emergency: bool,
    /// The data of its submitted claim.
    pub data: Option<Vec<u8>>,
    /// The grouping of its submitted claim.
    pub grouping: Option<Vec<u8>>,
}

/// What the rules look at, of claims that were read before; in their order.
pub async fn seen(connection: &mut PgConnection, claims: Vec<WithLetter>) -> Result<Vec<Seen>, sqlx::Error> {
    let activations = activations(connection, &claims).await?;
    let seen = claims.into_iter().map(|WithLetter { claim, letter }| Seen {
        activations: activations.get(&claim.service_date).cloned().unwrap_or_default(),
        claim,
        letter,
        standing: None,
        referral: None,
        identical_bills: 0,
        episodes: Vec::new(),
    });
    let mut seen: Vec<_> = seen.collect();
    add_evidence(connection, &mut seen).await?;
    add_identical_bills(connection, &mut seen).await?;
    add_episodes(connection, &mut seen).await?;
    Ok(seen)
}

/// The activations that hold, by day of service.
async fn activations(
    connection: &mut PgConnection,
    claims: &[WithLetter],
) -> Result<HashMap<Date, Vec<i64>>, sqlx::Error> {
    let mut days: Vec<_> = claims.iter().map(|one| one.claim.service_date).collect();
    days.sort_unstable();
    days.dedup();
    let rows = sqlx::query!(
        r#"select day as "day!: jiff_sqlx::Date",
                  array(select distinct on (a.kind) a.activation_id from rule_set_activation a
                        where a.effective_from <= day order by a.kind, a.activation_id desc) as "activations!"
           from unnest($1::date[]) as day"#,
        &days.into_iter().map(|day| day.to_sqlx()).collect::<Vec<_>>() as &[jiff_sqlx::Date],
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|row| (row.day.to_jiff(), row.activations)).collect())
}

/// What other services answered when the SEPs were issued.
async fn add_evidence(connection: &mut PgConnection, seen: &mut [Seen]) -> Result<(), sqlx::Error> {
    let numbers: Vec<_> = seen.iter().map(|one| one.claim.sep_number.as_str()).collect();
    let answers = sqlx::query!(
        "select sep_number, edge, answer from sep_evidence
         where sep_number = any($1) and edge in ('vklaim-siaf', 'vklaim-sisrute')",
        &numbers as &[&str],
    )
    .fetch_all(connection)
    .await?;
    if answers.is_empty() {
        return Ok(());
    }
    let mut of_sep: HashMap<_, _> = HashMap::with_capacity(answers.len());
    for row in answers {
        of_sep.entry(row.sep_number).or_insert_with(Vec::new).push((row.edge, row.answer));
    }
    for one in seen {
        for (edge, answer) in of_sep.remove(&one.claim.sep_number).unwrap_or_default() {
            let place = if edge == "vklaim-siaf" { &mut one.standing } else { &mut one.referral };
            *place = Some(answer);
        }
    }
    Ok(())
}

/// How many submitted claims of other members have the bill of a claim. Looked up one by one, so that twenty are enough
/// however many there are.
async fn add_identical_bills(connection: &mut PgConnection, seen: &mut [Seen]) -> Result<(), sqlx::Error> {
    let claim_ids: Vec<_> = seen.iter().map(|one| one.claim.claim_id).collect();
    let bills = sqlx::query!(
        r#"select own.claim_id, (
               select count(*) from (
                   select 1 as one from claim_bill other
                   where other.facility_code = own.facility_code and other.bill = own.bill
                         and other.service_date between own.service_date - 30 and own.service_date + 30
                         and other.member_id <> own.member_id
                         and (select o.submitted_at from claim o where o.claim_id = other.claim_id) is not null
                   limit 20) same) as "identical!"
           from claim_bill own where own.claim_id = any($1)"#,
        &claim_ids,
    )
    .fetch_all(connection)
    .await?;
    if bills.is_empty() {
        return Ok(());
    }
    let of_claim: HashMap<_, _> = bills.into_iter().map(|row| (row.claim_id, row.identical)).collect();
    for one in seen {
        one.identical_bills = of_claim.get(&one.claim.claim_id).copied().unwrap_or_default();
    }
    Ok(())
}

/// The other episodes of the members, since the look-back and until the discharge of the claim.
async fn add_episodes(connection: &mut PgConnection, seen: &mut [Seen]) -> Result<(), sqlx::Error> {
    let claims = || seen.iter().map(|one| &one.claim);
    let episodes = sqlx::query!(
        r#"select w.place as "place!", latest.facility_code, latest.clinic, latest.care_type, latest.service_date,
                  latest.emergency, latest.data as "data?", latest.grouping as "grouping?"
           from unnest($3::text[], $4::uuid[], $5::date[], $6::date[]) with ordinality
                as w (sep_number, member_id, service_date, ended_on, place)
           cross join lateral (
               select p.facility_code, p.clinic, p.care_type, p.service_date, p.emergency, o.data, o.grouping
               from sep p
               left join claim o on o.sep_number = p.sep_number and o.state <> 10 and o.submitted_at is not null
               where p.member_id = w.member_id and p.cancelled_at is null and p.sep_number <> w.sep_number
                     and p.service_date >= w.service_date - $1::int and p.service_date <= w.ended_on
               order by p.service_date desc, p.sep_number limit $2) latest"#,
        i32::try_from(LOOK_BACK_DAYS).unwrap_or(i32::MAX),
        i64::try_from(MOST_EPISODES).unwrap_or(i64::MAX),
        &claims().map(|claim| claim.sep_number.as_str()).collect::<Vec<_>>() as &[&str],
        &claims().map(|claim| claim.member_id).collect::<Vec<_>>(),
        &claims().map(|claim| claim.service_date.to_sqlx()).collect::<Vec<_>>() as &[jiff_sqlx::Date],
        &claims()
            .map(|claim| claim.discharged_on.unwrap_or(claim.service_date).to_sqlx())
            .collect::<Vec<_>>() as &[jiff_sqlx::Date],
    )
    .fetch_all(connection)
    .await?;
    for row in episodes {
        // Places count from 1; the episodes of one come in their order.
        let place = usize::try_from(row.place - 1).ok();
        let Some(one) = place.and_then(|place| seen.get_mut(place)) else { continue };
        one.episodes.push(Episode {
            facility_code: row.facility_code,
            clinic: row.clinic,
            care_type: row.care_type,
            service_date: row.service_date.to_jiff(),
            emergency: row.emergency,
            data: row.data,
            grouping: row.grouping,
        });
    }
    Ok(())
}
