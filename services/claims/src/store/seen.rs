//! What the rules look at beside the claims themselves. One statement for any number of claims, which returns a row for
//! each thing that there is, and nothing for what there is not; what one claim costs is bounded by the look-back, and not
//! by what else is stored.

use std::collections::HashMap;

use jiff::civil::Date;
use jiff_sqlx::ToSqlx;
use sqlx::PgConnection;

use super::claim::{Row, WithLetter};
use crate::rules::facts::{LOOK_BACK_DAYS, MOST_EPISODES};

/// Number of out-patient care in the contract.
const OUTPATIENT: i16 = 2;

/// What the rules look at, of one claim.
#[derive(Debug)]
pub struct Seen {
    /// The claim.
    pub claim: Row,
    /// Which version of it was read.
    pub version: String,
    /// The letter of the SEP.
    pub letter: Vec<u8>,
    /// What the accreditation service answered for it.
    pub standing: Option<Vec<u8>>,
    /// What the referral service answered for it.
    pub referral: Option<Vec<u8>>,
    /// Submitted claims of other members with the same bill, at most 20.
    pub identical_bills: i64,
    /// Other out-patient SEPs of the facility, the day and the doctor, at most 100.
    pub doctor_visits: i64,
    /// The activations that hold on the day of service, at most one of each kind.
    pub activations: Vec<i64>,
    /// The other episodes on the member's card, the latest first.
    pub episodes: Vec<Episode>,
}

/// Another episode on the member's card.
#[derive(Debug)]
pub struct Episode {
    /// 0 for the member, else which newborn.
    pub newborn_order: i16,
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
    let asked = || claims.iter().map(|one| &one.claim);
    let visits = || (1_i64..).zip(asked()).filter(|(_, claim)| claim.care_type == OUTPATIENT);
    let mut days: Vec<_> = asked().map(|claim| claim.service_date).collect();
    days.sort_unstable();
    days.dedup();
    // Of identical bills twenty are enough, and of a doctor's visits a hundred, however many there are. That a claim was
    // submitted is asked outside of its join: as a condition it has a plan that is made while few were read all that were, for
    // each episode.
    let rows = sqlx::query_as!(
        Found,
        r#"select null::bigint as place, day,
                  array(select distinct on (a.kind) a.activation_id from rule_set_activation a
                        where a.effective_from <= day order by a.kind, a.activation_id desc) as activations,
                  null::text as edge, null::bytea as answer, null::bigint as identical_bills,
                  null::bigint as doctor_visits, null::text as facility_code, null::text as clinic,
                  null::smallint as care_type, null::date as service_date, null::boolean as emergency,
                  null::smallint as newborn_order, null::bytea as data, null::bytea as grouping
           from unnest($1::date[]) as day
           union all
           select w.place, null, null, null, null, null, (
                      select count(*) from (
                          select 1 as one from sep other
                          where other.facility_code = own.facility_code and other.service_date = own.service_date
                                and other.doctor_code = own.doctor_code and other.doctor_code <> ''
                                and other.care_type = 2 and other.cancelled_at is null
                                and other.sep_number <> own.sep_number
                          limit 100) visits), null, null, null, null, null, null, null, null
           from unnest($9::bigint[], $10::text[]) as w (place, sep_number)
           join sep own on own.sep_number = w.sep_number
           where own.doctor_code <> ''
           union all
           select w.place, null, null, found.*
           from unnest($2::uuid[], $3::text[], $4::uuid[], $5::date[], $6::date[]) with ordinality
                as w (claim_id, sep_number, member_id, service_date, ended_on, place)
           cross join lateral (
               select e.edge, e.answer, null::bigint, null::bigint, null::text, null::text, null::smallint, null::date,
                      null::boolean, null::smallint, null::bytea, null::bytea
               from sep_evidence e
               where e.sep_number = w.sep_number and e.edge in ('vklaim-siaf', 'vklaim-sisrute')
               union all
               select null, null, (
                   select count(*) from (
                       select 1 as one from claim_bill other
                       where other.facility_code = own.facility_code and other.bill = own.bill
                             and other.service_date between own.service_date - 30 and own.service_date + 30
                             and other.member_id <> own.member_id
                             and (select o.submitted_at from claim o where o.claim_id = other.claim_id) is not null
                       limit 20) same), null, null, null, null, null, null, null, null, null
               from claim_bill own where own.claim_id = w.claim_id
               union all
               (select null, null, null, null, p.facility_code, p.clinic, p.care_type, p.service_date, p.emergency,
                       p.newborn_order,
                       case when o.submitted_at is not null then o.data end,
                       case when o.submitted_at is not null then o.grouping end
                from sep p
                left join claim o on o.sep_number = p.sep_number and o.state <> 10
                where p.member_id = w.member_id and p.cancelled_at is null and p.sep_number <> w.sep_number
                      and p.service_date >= w.service_date - $7::int and p.service_date <= w.ended_on
                order by p.service_date desc, p.sep_number desc limit $8)) found"#,
        &days.into_iter().map(|day| day.to_sqlx()).collect::<Vec<_>>() as &[jiff_sqlx::Date],
        &asked().map(|claim| claim.claim_id).collect::<Vec<_>>(),
        &asked().map(|claim| claim.sep_number.as_str()).collect::<Vec<_>>() as &[&str],
        &asked().map(|claim| claim.member_id).collect::<Vec<_>>(),
        &asked().map(|claim| claim.service_date.to_sqlx()).collect::<Vec<_>>() as &[jiff_sqlx::Date],
        &asked()
            .map(|claim| claim.discharged_on.unwrap_or(claim.service_date).to_sqlx())
            .collect::<Vec<_>>() as &[jiff_sqlx::Date],
        i32::try_from(LOOK_BACK_DAYS).unwrap_or(i32::MAX),
        i64::try_from(MOST_EPISODES).unwrap_or(i64::MAX),
        &visits().map(|(place, _)| place).collect::<Vec<_>>(),
        &visits().map(|(_, claim)| claim.sep_number.as_str()).collect::<Vec<_>>() as &[&str],
    )
    .fetch_all(connection)
    .await?;
    let mut seen: Vec<_> = claims.into_iter().map(Seen::nothing_beside).collect();
    let mut activations = HashMap::new();
    for row in rows {
        if let Some(day) = row.day {
            activations.insert(day.to_jiff(), row.activations.unwrap_or_default());
            continue;
        }
        // Places count from 1; the episodes of one come in their order.
        let place = row.place.and_then(|place| usize::try_from(place - 1).ok());
        let Some(one) = place.and_then(|place| seen.get_mut(place)) else { continue };
        if let Some(edge) = row.edge {
            let answer = if edge == "vklaim-siaf" { &mut one.standing } else { &mut one.referral };
            *answer = row.answer;
        } else if let Some(bills) = row.identical_bills {
            one.identical_bills = bills;
        } else if let Some(visits) = row.doctor_visits {
            one.doctor_visits = visits;
        } else {
            one.episodes.extend(row.episode());
        }
    }
    for one in &mut seen {
        one.activations = activations.get(&one.claim.service_date).cloned().unwrap_or_default();
    }
    Ok(seen)
}

/// One of the things that there are: of a day the activations; of a claim, by its place, an answer, a number of identical
/// bills, of a doctor's visits, or an episode.
struct Found {
    place: Option<i64>,
    day: Option<jiff_sqlx::Date>,
    activations: Option<Vec<i64>>,
    edge: Option<String>,
    answer: Option<Vec<u8>>,
    identical_bills: Option<i64>,
    doctor_visits: Option<i64>,
    facility_code: Option<String>,
    clinic: Option<String>,
    care_type: Option<i16>,
    service_date: Option<jiff_sqlx::Date>,
    emergency: Option<bool>,
    newborn_order: Option<i16>,
    data: Option<Vec<u8>>,
    grouping: Option<Vec<u8>>,
}

impl Found {
    fn episode(self) -> Option<Episode> {
        Some(Episode {
            newborn_order: self.newborn_order?,
            facility_code: self.facility_code?,
            clinic: self.clinic?,
            care_type: self.care_type?,
            service_date: self.service_date?.to_jiff(),
            emergency: self.emergency?,
            data: self.data,
            grouping: self.grouping,
        })
    }
}

impl Seen {
    fn nothing_beside(WithLetter { claim, version, letter }: WithLetter) -> Self {
        Self {
            claim,
            version,
            letter,
            standing: None,
            referral: None,
            identical_bills: 0,
            doctor_visits: 0,
            activations: Vec::new(),
            episodes: Vec::new(),
        }
    }
}
