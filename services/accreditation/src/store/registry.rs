//! Facilities, their services, contracts and KRIS assessments.

use std::collections::HashMap;

use jiff::{Timestamp, civil::Date};
use jiff_sqlx::ToSqlx;
use sqlx::PgConnection;

use super::{stored, stored_if};
use crate::{
    contract::{Period, Recorded},
    error::Error,
    facility::{Facility, HospitalClass, Kind, Kris, Location, Offered, Ownership, Stratum},
};

/// What ListFacilities filters by; empty filters do not filter.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// From this code on.
    pub from: String,
    /// Up to this code.
    pub to: String,
    /// Only these kinds, when there are any.
    pub kinds: Vec<String>,
    /// Only with this clinic.
    pub poli: Option<String>,
    /// Only in this province or regency.
    pub region: Option<String>,
    /// Only of this class.
    pub class: Option<String>,
    /// Only contracted on this day.
    pub contracted_on: Option<Date>,
    /// Only with this Ministry of Health code.
    pub moh_code: Option<String>,
    /// Only with this SATUSEHAT id.
    pub satusehat_organization_id: Option<String>,
    /// At most so many.
    pub limit: i64,
}

/// What the standing of a facility needs to know of it.
#[derive(Debug, Clone)]
pub struct Card {
    /// What it is.
    pub kind: Kind,
    /// Its class.
    pub hospital_class: Option<HospitalClass>,
    /// Its owner.
    pub ownership: Ownership,
    /// Its regency.
    pub region_code: String,
}

struct Row {
    facility_code: String,
    moh_code: Option<String>,
    satusehat_organization_id: Option<String>,
    name: String,
    kind: String,
    hospital_class: Option<String>,
    ownership: String,
    region_code: String,
    latitude: Option<f64>,
    longitude: Option<f64>,
    revision: i64,
    polis: Vec<String>,
    strata: Vec<String>,
    kris_on: Option<jiff_sqlx::Date>,
    kris_met: Option<i16>,
}

/// The facilities that fit a filter, in the order of their codes.
///
/// # Errors
/// When the database fails.
pub async fn find(connection: &mut PgConnection, filter: &Filter) -> Result<Vec<Facility>, Error> {
    let rows = sqlx::query_as!(
        Row,
        r#"select f.facility_code, f.moh_code, f.satusehat_organization_id, f.name, f.kind, f.hospital_class,
                  f.ownership, f.region_code, f.latitude, f.longitude, f.revision,
                  array(select s.poli_code from facility_service s where s.facility_code = f.facility_code
                        order by s.poli_code) as "polis!",
                  array(select coalesce(s.stratum, '') from facility_service s where s.facility_code = f.facility_code
                        order by s.poli_code) as "strata!",
                  k.assessed_on as "kris_on?", k.met as "kris_met?"
           from facility f
           left join lateral (select assessed_on, met from kris_assessment a where a.facility_code = f.facility_code
                              order by assessed_on desc, recorded_at desc limit 1) k on true
           where f.facility_code >= $1 and f.facility_code <= $2
             and (cardinality($3::text[]) = 0 or f.kind = any($3))
             and ($4::text is null or exists (select 1 from facility_service s
                                              where s.facility_code = f.facility_code and s.poli_code = $4))
             and ($5::text is null or left(f.region_code, length($5)) = $5)
             and ($6::text is null or f.hospital_class = $6)
             and ($7::date is null or exists (select 1 from contract c
                                              where c.facility_code = f.facility_code and c.superseded_at is null
                                                and c.valid_from <= $7 and coalesce(c.valid_to >= $7, true)))
             and ($8::text is null or f.moh_code = $8)
             and ($9::text is null or f.satusehat_organization_id = $9)
           order by f.facility_code limit $10"#,
        filter.from,
        filter.to,
        &filter.kinds,
        filter.poli,
        filter.region,
        filter.class,
        filter.contracted_on.map(|day| day.to_sqlx()) as _,
        filter.moh_code,
        filter.satusehat_organization_id,
        filter.limit,
    )
    .fetch_all(&mut *connection)
    .await?;
    let codes: Vec<_> = rows.iter().map(|row| row.facility_code.clone()).collect();
    let mut contracts = contracts_of(connection, &codes).await?;
    rows.into_iter()
        .map(|row| {
            let own = contracts.remove(&row.facility_code).unwrap_or_default();
            row.read(own)
        })
        .collect()
}

/// One facility.
///
/// # Errors
/// When there is none.
pub async fn get(connection: &mut PgConnection, code: &str) -> Result<Facility, Error> {
    let filter = Filter { from: code.to_owned(), to: code.to_owned(), limit: 1, ..Filter::default() };
    find(connection, &filter).await?.pop().ok_or(Error::NoFacility)
}

/// What a facility is, without what it offers.
///
/// # Errors
/// When there is none.
pub async fn card(connection: &mut PgConnection, code: &str) -> Result<Card, Error> {
    let row = sqlx::query!(
        "select kind, hospital_class, ownership, region_code from facility where facility_code = $1",
        code,
    )
    .fetch_optional(connection)
    .await?
    .ok_or(Error::NoFacility)?;
    Ok(Card {
        kind: stored(Kind::parse(&row.kind), "facility.kind")?,
        hospital_class: stored_if(
            row.hospital_class.as_deref(),
            HospitalClass::parse,
            "facility.hospital_class",
        )?,
        ownership: stored(Ownership::parse(&row.ownership), "facility.ownership")?,
        region_code: row.region_code,
    })
}

/// Holds a facility until the end of the transaction, so that its changes follow on one another.
///
/// # Errors
/// When there is none.
pub async fn lock(connection: &mut PgConnection, code: &str) -> Result<(), Error> {
    sqlx::query_scalar!("select facility_code from facility where facility_code = $1 for update", code)
        .fetch_optional(connection)
        .await?
        .map(|_| ())
        .ok_or(Error::NoFacility)
}

/// The contracts of a facility, oldest first.
///
/// # Errors
/// When the database fails.
pub async fn contracts(connection: &mut PgConnection, code: &str) -> Result<Vec<Period>, Error> {
    Ok(contracts_of(connection, &[code.to_owned()]).await?.remove(code).unwrap_or_default())
}

async fn contracts_of(
    connection: &mut PgConnection,
    codes: &[String],
) -> Result<HashMap<String, Vec<Period>>, Error> {
    let rows = sqlx::query!(
        "select facility_code, valid_from, valid_to from contract
         where facility_code = any($1) and superseded_at is null order by valid_from",
        codes,
    )
    .fetch_all(connection)
    .await?;
    let mut contracts: HashMap<String, Vec<Period>> = HashMap::new();
    for row in rows {
        let period =
            Period { from: row.valid_from.to_jiff(), to: row.valid_to.map(jiff_sqlx::Date::to_jiff) };
        contracts.entry(row.facility_code).or_default().push(period);
    }
    Ok(contracts)
}

/// Adds a facility with its services; contracts and assessment are recorded apart.
///
/// # Errors
/// When one of its codes is taken.
pub async fn insert(connection: &mut PgConnection, facility: &Facility, at: Timestamp) -> Result<(), Error> {
    sqlx::query!(
        "insert into facility (facility_code, moh_code, satusehat_organization_id, name, kind, hospital_class,
                               ownership, region_code, latitude, longitude, recorded_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
        facility.code,
        facility.moh_code,
        facility.satusehat_organization_id,
        facility.name,
        facility.kind.as_str(),
        facility.hospital_class.map(HospitalClass::as_str),
        facility.ownership.as_str(),
        facility.region_code,
        facility.location.map(|location| location.latitude),
        facility.location.map(|location| location.longitude),
        at.to_sqlx() as _,
    )
    .execute(&mut *connection)
    .await
    .map_err(taken)?;
    write_services(connection, facility).await
}

/// Writes a facility's present values over the former ones.
///
/// # Errors
/// When one of its codes is taken.
pub async fn update(connection: &mut PgConnection, facility: &Facility, at: Timestamp) -> Result<(), Error> {
    sqlx::query!(
        "update facility set moh_code = $2, satusehat_organization_id = $3, name = $4, hospital_class = $5,
                ownership = $6, region_code = $7, latitude = $8, longitude = $9, revision = revision + 1,
                recorded_at = $10
         where facility_code = $1",
        facility.code,
        facility.moh_code,
        facility.satusehat_organization_id,
        facility.name,
        facility.hospital_class.map(HospitalClass::as_str),
        facility.ownership.as_str(),
        facility.region_code,
        facility.location.map(|location| location.latitude),
        facility.location.map(|location| location.longitude),
        at.to_sqlx() as _,
    )
    .execute(&mut *connection)
    .await
    .map_err(taken)?;
    sqlx::query!("delete from facility_service where facility_code = $1", facility.code)
        .execute(&mut *connection)
        .await?;
    write_services(connection, facility).await
}

async fn write_services(connection: &mut PgConnection, facility: &Facility) -> Result<(), Error> {
    let polis: Vec<_> = facility.services.iter().map(|offered| offered.poli_code.clone()).collect();
    let strata: Vec<_> = facility
        .services
        .iter()
        .map(|offered| offered.stratum.map_or("", Stratum::as_str).to_owned())
        .collect();
    sqlx::query!(
        "insert into facility_service (facility_code, poli_code, stratum)
         select $1, offered.poli, nullif(offered.stratum, '')
         from unnest($2::text[], $3::text[]) as offered (poli, stratum)",
        facility.code,
        &polis,
        &strata,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Records a change of contracts.
///
/// # Errors
/// When the database fails.
pub async fn record_contract(
    connection: &mut PgConnection,
    code: &str,
    recorded: &Recorded,
    by: &str,
    at: Timestamp,
) -> Result<(), Error> {
    if let Some(superseded) = recorded.superseded {
        sqlx::query!(
            "update contract set superseded_at = $3
             where facility_code = $1 and valid_from = $2 and superseded_at is null",
            code,
            superseded.to_sqlx() as _,
            at.to_sqlx() as _,
        )
        .execute(&mut *connection)
        .await?;
    }
    for period in &recorded.written {
        sqlx::query!(
            "insert into contract (facility_code, valid_from, valid_to, recorded_at, recorded_by)
             values ($1, $2, $3, $4, $5)",
            code,
            period.from.to_sqlx() as _,
            period.to.map(|to| to.to_sqlx()) as _,
            at.to_sqlx() as _,
            by,
        )
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

/// Records a KRIS assessment.
///
/// # Errors
/// When the database fails.
pub async fn record_kris(
    connection: &mut PgConnection,
    code: &str,
    kris: &Kris,
    at: Timestamp,
) -> Result<(), Error> {
    sqlx::query!(
        "insert into kris_assessment (facility_code, assessed_on, met, recorded_at) values ($1, $2, $3, $4)",
        code,
        kris.assessed_on.to_sqlx() as _,
        kris.bits(),
        at.to_sqlx() as _,
    )
    .execute(connection)
    .await?;
    Ok(())
}

fn taken(error: sqlx::Error) -> Error {
    let constraint = error.as_database_error().and_then(|database| database.constraint());
    match constraint {
        Some("facility_pkey") => Error::FacilityExists("facility_code"),
        Some("facility_moh_code_key") => Error::FacilityExists("moh_code"),
        Some("facility_satusehat_organization_id_key") => Error::FacilityExists("satusehat_organization_id"),
        _ => error.into(),
    }
}

impl Row {
    fn read(self, contracts: Vec<Period>) -> Result<Facility, Error> {
        let offered = |(poli_code, stratum): (String, String)| {
            let stratum = Some(stratum).filter(|stratum| !stratum.is_empty());
            let stratum = stored_if(stratum.as_deref(), Stratum::parse, "facility_service.stratum")?;
            Ok::<_, Error>(Offered { poli_code, stratum })
        };
        Ok(Facility {
            code: self.facility_code,
            moh_code: self.moh_code,
            satusehat_organization_id: self.satusehat_organization_id,
            name: self.name,
            kind: stored(Kind::parse(&self.kind), "facility.kind")?,
            hospital_class: stored_if(
                self.hospital_class.as_deref(),
                HospitalClass::parse,
                "facility.hospital_class",
            )?,
            ownership: stored(Ownership::parse(&self.ownership), "facility.ownership")?,
            region_code: self.region_code,
            location: self
                .latitude
                .zip(self.longitude)
                .map(|(latitude, longitude)| Location { latitude, longitude }),
            services: self.polis.into_iter().zip(self.strata).map(offered).collect::<Result<_, _>>()?,
            kris: self.kris_on.zip(self.kris_met).map(|(on, met)| Kris::from_bits(on.to_jiff(), met)),
            contracts,
            revision: self.revision,
        })
    }
}
