//! The SQL of posted room.

use jiff::{Timestamp, civil::Date};
use jiff_sqlx::ToSqlx;
use sqlx::{PgConnection, PgPool};
use vocabulary::{FacilityCode, Poli};

use crate::{
    capacity::{Beds, Capacity, ClinicDay, DayQuota, Posted, Slot, TimeOfDay, weekday},
    error::Error,
};

/// Posts in whose name nobody else may write until the transaction ends.
pub(crate) async fn lock(connection: &mut PgConnection, facility: &FacilityCode) -> Result<(), Error> {
    sqlx::query!("select pg_advisory_xact_lock(hashtextextended($1, 1001))", facility.as_str())
        .execute(connection)
        .await?;
    Ok(())
}

/// Replaces what is named: the week of each clinic, each clinic's day, each clinic's beds.
pub(crate) async fn post(
    connection: &mut PgConnection,
    facility: &FacilityCode,
    named: &Capacity,
    now: Timestamp,
) -> Result<(), Error> {
    let code = facility.as_str();
    let clinics: Vec<String> = named.weekly.iter().map(|slot| slot.poli.to_string()).collect();
    sqlx::query!("delete from weekly_slot where facility_code = $1 and poli_code = any($2)", code, &clinics)
        .execute(&mut *connection)
        .await?;
    let weekdays: Vec<i16> = named.weekly.iter().map(|slot| slot.weekday).collect();
    let opens: Vec<String> = named.weekly.iter().map(|slot| slot.opens.as_str().to_owned()).collect();
    let closes: Vec<String> = named.weekly.iter().map(|slot| slot.closes.as_str().to_owned()).collect();
    let quotas: Vec<i32> = named.weekly.iter().map(|slot| slot.quota).collect();
    sqlx::query!(
        "insert into weekly_slot (facility_code, poli_code, weekday, opens_at, closes_at, quota)
         select $1, * from unnest($2::text[], $3::smallint[], $4::text[], $5::text[], $6::integer[])",
        code,
        &clinics,
        &weekdays,
        &opens,
        &closes,
        &quotas,
    )
    .execute(&mut *connection)
    .await?;

    for quota in &named.days {
        sqlx::query!(
            "insert into day_quota (facility_code, poli_code, day, quota) values ($1, $2, $3, $4)
             on conflict (facility_code, poli_code, day) do update set quota = excluded.quota",
            code,
            quota.poli.as_str(),
            quota.day.to_sqlx() as _,
            quota.quota,
        )
        .execute(&mut *connection)
        .await?;
    }
    for beds in &named.beds {
        sqlx::query!(
            "insert into beds (facility_code, poli_code, total, available, posted_at) values ($1, $2, $3, $4, $5)
             on conflict (facility_code, poli_code)
             do update set total = excluded.total, available = excluded.available, posted_at = excluded.posted_at",
            code,
            beds.poli.as_str(),
            beds.total,
            beds.available,
            now.to_sqlx() as _,
        )
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

/// All that a facility has posted, single days from one on.
pub(crate) async fn read(
    connection: &mut PgConnection,
    facility: &FacilityCode,
    from: Date,
) -> Result<Capacity, Error> {
    let code = facility.as_str();
    let weekly = sqlx::query!(
        "select poli_code, weekday, opens_at, closes_at, quota from weekly_slot
         where facility_code = $1 order by poli_code, weekday, opens_at",
        code,
    )
    .fetch_all(&mut *connection)
    .await?;
    let days = sqlx::query!(
        "select poli_code, day, quota from day_quota where facility_code = $1 and day >= $2 order by poli_code, day",
        code,
        from.to_sqlx() as _,
    )
    .fetch_all(&mut *connection)
    .await?;
    let beds = sqlx::query!(
        "select poli_code, total, available from beds where facility_code = $1 order by poli_code",
        code,
    )
    .fetch_all(&mut *connection)
    .await?;
    Ok(Capacity {
        weekly: weekly
            .into_iter()
            .map(|row| slot(&row.poli_code, row.weekday, &row.opens_at, &row.closes_at, row.quota))
            .collect::<Result<_, _>>()?,
        days: days
            .into_iter()
            .map(|row| {
                Ok(DayQuota { poli: clinic(&row.poli_code)?, day: row.day.to_jiff(), quota: row.quota })
            })
            .collect::<Result<_, Error>>()?,
        beds: beds
            .into_iter()
            .map(|row| Ok(Beds { poli: clinic(&row.poli_code)?, total: row.total, available: row.available }))
            .collect::<Result<_, Error>>()?,
    })
}

fn clinic(code: &str) -> Result<Poli, Error> {
    Poli::parse(code).map_err(|_| Error::Unreadable)
}

fn slot(poli: &str, weekday: i16, opens: &str, closes: &str, quota: i32) -> Result<Slot, Error> {
    let time = |text| TimeOfDay::parse(text).map_err(|_| Error::Unreadable);
    Ok(Slot { poli: clinic(poli)?, weekday, opens: time(opens)?, closes: time(closes)?, quota })
}

/// Referrals count as long as they stand: neither refused nor cancelled, nor, when this care needs an answer, left
/// without one that was due.
pub(crate) struct Standing<'a> {
    /// The kinds of care that compete for the same room.
    pub(crate) care_types: &'a [String],
    /// The kinds of care that need an answer.
    pub(crate) answer_needed: &'a [String],
    /// The instant before which an unanswered one of these was sent too long ago.
    pub(crate) unanswered_since: Timestamp,
}

/// What every facility has posted about a clinic on a day, and how many referrals stand for it.
pub(crate) async fn posted(
    pool: &PgPool,
    poli: Poli,
    day: Date,
    standing: &Standing<'_>,
) -> Result<Posted, Error> {
    let mut posted = Posted::new();
    let code = |text: &str| FacilityCode::parse(text).map_err(|_| Error::Unreadable);
    let openings = sqlx::query!(
        "select facility_code, poli_code, weekday, opens_at, closes_at, quota from weekly_slot
         where poli_code = $1 and weekday = $2 order by facility_code, opens_at",
        poli.as_str(),
        weekday(day),
    )
    .fetch_all(pool)
    .await?;
    for row in openings {
        let opening = slot(&row.poli_code, row.weekday, &row.opens_at, &row.closes_at, row.quota)?;
        entry(&mut posted, code(&row.facility_code)?).openings.push(opening);
    }
    let quotas = sqlx::query!(
        "select facility_code, quota from day_quota where poli_code = $1 and day = $2",
        poli.as_str(),
        day.to_sqlx() as _,
    )
    .fetch_all(pool)
    .await?;
    for row in quotas {
        entry(&mut posted, code(&row.facility_code)?).quota = Some(row.quota);
    }
    let beds = sqlx::query!("select facility_code, available from beds where poli_code = $1", poli.as_str())
        .fetch_all(pool)
        .await?;
    for row in beds {
        entry(&mut posted, code(&row.facility_code)?).beds = Some(row.available);
    }
    let referred = sqlx::query!(
        r#"select destination_facility_code, count(*) as "referred!" from referral
           where planned_visit_date = $1 and poli_code = $2 and care_type = any($5) and refused_at is null and cancelled_at is null
             and not (care_type = any($3) and accepted_at is null and sent_at < $4)
           group by destination_facility_code"#,
        day.to_sqlx() as _,
        poli.as_str(),
        standing.answer_needed,
        standing.unanswered_since.to_sqlx() as _,
        standing.care_types,
    )
    .fetch_all(pool)
    .await?;
    for row in referred {
        entry(&mut posted, code(&row.destination_facility_code)?).referred =
            i32::try_from(row.referred).unwrap_or(i32::MAX);
    }
    Ok(posted)
}

fn entry(posted: &mut Posted, facility: FacilityCode) -> &mut ClinicDay {
    posted.entry(facility).or_default()
}
