//! Writes the nation into the databases of the services, thousands of rows a statement, with the events that the
//! services would have written. A row that is there already is left as it is, and so is all that belongs to it.

use std::collections::HashSet;

use accreditation::certificate::Certificates;
use jiff_sqlx::ToSqlx as _;
use prost::{Message, Name};
use proto::{accreditation::v1 as accreditation_pb, membership::v1 as membership_pb};
use sqlx::PgConnection;
use uuid::Uuid;
use vocabulary::{CareClass, Segment, Sex};

use super::{
    Databases,
    nation::{Facility, Family, Nation, Person, Relation},
};

/// Where certificates and families come from, as their rows say.
const SOURCE: &str = "jkn seed: synthetic";

/// Events to be written in the transaction of what they tell of.
#[derive(Default)]
pub(crate) struct Events {
    kinds: Vec<String>,
    subjects: Vec<String>,
    bodies: Vec<Vec<u8>>,
}

impl Events {
    pub(crate) fn tell<E: Message + Name>(&mut self, subject: String, event: &E) {
        self.kinds.push(E::full_name());
        self.subjects.push(subject);
        self.bodies.push(event.encode_to_vec());
    }

    pub(crate) async fn write(self, connection: &mut PgConnection) -> sqlx::Result<()> {
        let ids: Vec<Uuid> = self.kinds.iter().map(|_| Uuid::now_v7()).collect();
        sqlx::query(
            "insert into outbox (event_id, kind, subject, traceparent, body)
             select event_id, kind, subject, '', body
               from unnest($1::uuid[], $2::text[], $3::text[], $4::bytea[]) as new (event_id, kind, subject, body)",
        )
        .bind(ids)
        .bind(self.kinds)
        .bind(self.subjects)
        .bind(self.bodies)
        .execute(connection)
        .await?;
        Ok(())
    }
}

/// Writes the facilities with services, contracts, certificates and weekly hours; returns how many are new.
pub(crate) async fn facilities(databases: &Databases, nation: &Nation) -> anyhow::Result<u64> {
    let all = &nation.facilities;
    let policy = chassis::policy::parse::<Certificates>(
        "accreditation/certificates.toml",
        include_str!("../../../policy/accreditation/certificates.toml"),
    )?;
    let column = |text: fn(&Facility) -> String| all.iter().map(text).collect::<Vec<_>>();
    let mut transaction = databases.accreditation.begin().await?;
    let added: Vec<String> = sqlx::query_scalar(
        "insert into facility (facility_code, name, kind, hospital_class, ownership, region_code, latitude, longitude, recorded_at)
         select facility_code, name, kind, hospital_class, ownership, region_code, latitude, longitude, now()
           from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::float8[], $8::float8[])
             as new (facility_code, name, kind, hospital_class, ownership, region_code, latitude, longitude)
         on conflict do nothing returning facility_code",
    )
    .bind(column(|facility| facility.code.to_string()))
    .bind(column(|facility| facility.name.clone()))
    .bind(column(|facility| facility.kind.as_str().to_owned()))
    .bind(all.iter().map(|facility| facility.class.map(|class| class.as_str().to_owned())).collect::<Vec<_>>())
    .bind(column(|facility| facility.ownership.as_str().to_owned()))
    .bind(column(|facility| facility.region.to_string()))
    .bind(all.iter().map(|facility| facility.latitude).collect::<Vec<_>>())
    .bind(all.iter().map(|facility| facility.longitude).collect::<Vec<_>>())
    .fetch_all(&mut *transaction)
    .await?;
    let added: HashSet<String> = added.into_iter().collect();
    let new: Vec<&Facility> = all.iter().filter(|facility| added.contains(facility.code.as_str())).collect();

    let services: Vec<_> = new
        .iter()
        .flat_map(|facility| facility.services.iter().map(move |poli| (*facility, *poli)))
        .collect();
    let strata =
        services.iter().map(|(facility, _)| facility.stratum.map(|stratum| stratum.as_str().to_owned()));
    sqlx::query(
        "insert into facility_service (facility_code, poli_code, stratum)
         select * from unnest($1::text[], $2::text[], $3::text[])",
    )
    .bind(services.iter().map(|(facility, _)| facility.code.to_string()).collect::<Vec<_>>())
    .bind(services.iter().map(|(_, poli)| (*poli).to_owned()).collect::<Vec<_>>())
    .bind(strata.collect::<Vec<_>>())
    .execute(&mut *transaction)
    .await?;
    sqlx::query(
        "insert into contract (facility_code, valid_from, recorded_at, recorded_by)
         select facility_code, valid_from, now(), $3
           from unnest($1::text[], $2::date[]) as new (facility_code, valid_from)",
    )
    .bind(new.iter().map(|facility| facility.code.to_string()).collect::<Vec<_>>())
    .bind(new.iter().map(|facility| facility.contract_from.to_sqlx()).collect::<Vec<_>>())
    .bind(SOURCE)
    .execute(&mut *transaction)
    .await?;

    let mut events = Events::default();
    let mut certificates = Vec::new();
    for facility in &new {
        let told = accreditation_pb::FacilityRegistered { facility: Some(message_of(facility)) };
        events.tell(facility.code.to_string(), &told);
        if let Some((grade, decided_on)) = facility.certified {
            let number = format!("KEMENKES-{}-{}", facility.code, decided_on.year());
            let validity = policy.on(decided_on)?.validity(decided_on);
            let told = accreditation_pb::AccreditationDecided {
                survey_id: String::new(),
                facility_code: facility.code.to_string(),
                kind: facility.kind.number(),
                region_code: facility.region.to_string(),
                grade: grade.number(),
                decided_on: decided_on.to_string(),
                certificate_number: number.clone(),
                valid_from: decided_on.to_string(),
                valid_to: validity.to.to_string(),
            };
            events.tell(facility.code.to_string(), &told);
            certificates.push((number, *facility, grade, decided_on, validity));
        }
    }
    sqlx::query(
        "insert into certificate (certificate_number, facility_code, grade, valid_from, valid_to, apply_by, grading_source, recorded_at)
         select certificate_number, facility_code, grade, valid_from, valid_to, apply_by, $7, now()
           from unnest($1::text[], $2::text[], $3::text[], $4::date[], $5::date[], $6::date[])
             as new (certificate_number, facility_code, grade, valid_from, valid_to, apply_by)",
    )
    .bind(certificates.iter().map(|certificate| certificate.0.clone()).collect::<Vec<_>>())
    .bind(certificates.iter().map(|certificate| certificate.1.code.to_string()).collect::<Vec<_>>())
    .bind(certificates.iter().map(|certificate| certificate.2.as_str().to_owned()).collect::<Vec<_>>())
    .bind(certificates.iter().map(|certificate| certificate.3.to_sqlx()).collect::<Vec<_>>())
    .bind(certificates.iter().map(|certificate| certificate.4.to.to_sqlx()).collect::<Vec<_>>())
    .bind(certificates.iter().map(|certificate| certificate.4.apply_by.to_sqlx()).collect::<Vec<_>>())
    .bind(SOURCE)
    .execute(&mut *transaction)
    .await?;
    events.write(&mut transaction).await?;
    transaction.commit().await?;

    // Hospitals see referred members on six days a week; the hours are not part of an event.
    let clinics: Vec<_> = services.iter().filter(|(facility, _)| facility.is_hospital()).collect();
    sqlx::query(
        "insert into weekly_slot (facility_code, poli_code, weekday, opens_at, closes_at, quota)
         select facility_code, poli_code, weekday, '08:00', '14:00', 40
           from unnest($1::text[], $2::text[]) as new (facility_code, poli_code), generate_series(1, 6) as weekday
         on conflict do nothing",
    )
    .bind(clinics.iter().map(|(facility, _)| facility.code.to_string()).collect::<Vec<_>>())
    .bind(clinics.iter().map(|(_, poli)| (*poli).to_owned()).collect::<Vec<_>>())
    .execute(&databases.referral)
    .await?;
    Ok(new.len() as u64)
}

fn message_of(facility: &Facility) -> accreditation_pb::Facility {
    let service = |poli: &&str| accreditation_pb::ServiceOffered {
        poli_code: (*poli).to_owned(),
        stratum: facility.stratum.map_or(0, |stratum| stratum.number()),
    };
    accreditation_pb::Facility {
        facility_code: facility.code.to_string(),
        name: facility.name.clone(),
        kind: facility.kind.number(),
        level: facility.kind.level().number(),
        hospital_class: facility.class.map_or(0, |class| class.number()),
        ownership: facility.ownership.number(),
        region_code: facility.region.to_string(),
        province_code: facility.region.province().to_string(),
        location: Some(accreditation_pb::Location {
            latitude: facility.latitude,
            longitude: facility.longitude,
        }),
        services: facility.services.iter().map(service).collect(),
        contract: Some(accreditation_pb::Contract {
            from: facility.contract_from.to_string(),
            to: String::new(),
        }),
        revision: 1,
        ..accreditation_pb::Facility::default()
    }
}

/// Writes families with their members as an import would; returns how many families and members are new.
pub(crate) async fn families(
    databases: &Databases,
    nation: &Nation,
    seed: u64,
    families: &[(u64, Family)],
) -> anyhow::Result<(u64, u64)> {
    let sender = format!("seed:{seed}");
    let mut transaction = databases.membership.begin().await?;
    let added: Vec<Uuid> = sqlx::query_scalar(
        "insert into family (family_id, import_sender, import_key)
         select family_id, $3, import_key from unnest($1::uuid[], $2::text[]) as new (family_id, import_key)
         on conflict do nothing returning family_id",
    )
    .bind(families.iter().map(|(_, family)| family.id).collect::<Vec<_>>())
    .bind(families.iter().map(|(number, _)| number.to_string()).collect::<Vec<_>>())
    .bind(&sender)
    .fetch_all(&mut *transaction)
    .await?;
    let added: HashSet<Uuid> = added.into_iter().collect();
    let new: Vec<&(u64, Family)> = families.iter().filter(|(_, family)| added.contains(&family.id)).collect();
    if new.is_empty() {
        return Ok((0, 0));
    }
    sqlx::query(
        "insert into family_terms (family_id, valid_from, segment, care_class, monthly_wage_rupiah)
         select * from unnest($1::uuid[], $2::date[], $3::text[], $4::smallint[], $5::bigint[])",
    )
    .bind(new.iter().map(|(_, family)| family.id).collect::<Vec<_>>())
    .bind(new.iter().map(|(_, family)| family.registered_on.to_sqlx()).collect::<Vec<_>>())
    .bind(new.iter().map(|(_, family)| family.segment.as_str().to_owned()).collect::<Vec<_>>())
    .bind(new.iter().map(|(_, family)| i16::from(family.class.number())).collect::<Vec<_>>())
    .bind(new.iter().map(|(_, family)| family.wage.get()).collect::<Vec<_>>())
    .execute(&mut *transaction)
    .await?;
    // What was paid before an import has no bank and no amount.
    let paid: Vec<_> = new.iter().filter_map(|(_, family)| Some((family, family.paid_through?))).collect();
    sqlx::query(
        "insert into contribution_posting (posting_id, family_id, amount_rupiah, paid_on, first_month, last_month, reactivated)
         select family_id, family_id, 0, first_month, first_month, last_month, false
           from unnest($1::uuid[], $2::date[], $3::date[]) as new (family_id, first_month, last_month)",
    )
    .bind(paid.iter().map(|(family, _)| family.id).collect::<Vec<_>>())
    .bind(paid.iter().map(|(family, _)| family.registered_on.to_sqlx()).collect::<Vec<_>>())
    .bind(paid.iter().map(|(_, through)| through.to_sqlx()).collect::<Vec<_>>())
    .execute(&mut *transaction)
    .await?;

    let members: Vec<(&Family, &Person, String)> = new
        .iter()
        .flat_map(|(number, family)| {
            let row = move |(index, person)| (family, person, format!("{number}.{index}"));
            family.members.iter().enumerate().map(row)
        })
        .collect();
    let column = |text: fn(&Family, &Person) -> String| {
        members.iter().map(|(family, person, _)| text(family, person)).collect::<Vec<_>>()
    };
    // A NIK that another member has already is left to that member.
    let added: Vec<Uuid> = sqlx::query_scalar(
        "insert into member (member_id, family_id, nik, name, birth_date, sex, relation, student, region_code, address,
                             phone, covered_from, import_sender, import_row)
         select member_id, family_id, nik, name, birth_date, sex, relation, false, region_code, '', '', covered_from, $11, import_row
           from unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::date[], $6::text[], $7::text[], $8::text[],
                       $9::date[], $10::text[])
             as new (member_id, family_id, nik, name, birth_date, sex, relation, region_code, covered_from, import_row)
         on conflict do nothing returning member_id",
    )
    .bind(members.iter().map(|(_, person, _)| person.id).collect::<Vec<_>>())
    .bind(members.iter().map(|(family, _, _)| family.id).collect::<Vec<_>>())
    .bind(column(|_, person| person.nik.expose().to_owned()))
    .bind(column(|_, person| person.name.clone()))
    .bind(members.iter().map(|(_, person, _)| person.birth_date.to_sqlx()).collect::<Vec<_>>())
    .bind(column(|_, person| sex(person.sex).to_owned()))
    .bind(column(|_, person| relation(person.relation).to_owned()))
    .bind(column(|family, _| family.region.to_string()))
    .bind(members.iter().map(|(family, _, _)| family.registered_on.to_sqlx()).collect::<Vec<_>>())
    .bind(members.iter().map(|(_, _, row)| row.clone()).collect::<Vec<_>>())
    .bind(&sender)
    .fetch_all(&mut *transaction)
    .await?;
    let added: HashSet<Uuid> = added.into_iter().collect();
    let members: Vec<_> = members.into_iter().filter(|(_, person, _)| added.contains(&person.id)).collect();
    sqlx::query(
        "insert into fktp_choice (member_id, valid_from, fktp_code, ground, proof_reference)
         select member_id, valid_from, fktp_code, 'REGISTRATION', ''
           from unnest($1::uuid[], $2::date[], $3::text[]) as new (member_id, valid_from, fktp_code)",
    )
    .bind(members.iter().map(|(_, person, _)| person.id).collect::<Vec<_>>())
    .bind(members.iter().map(|(family, _, _)| family.registered_on.to_sqlx()).collect::<Vec<_>>())
    .bind(
        members
            .iter()
            .map(|(family, _, _)| nation.facilities[family.fktp].code.to_string())
            .collect::<Vec<_>>(),
    )
    .execute(&mut *transaction)
    .await?;
    let mut events = Events::default();
    for (family, person, _) in &members {
        let standing = membership_pb::Standing {
            segment: segment(family.segment).into(),
            care_class: care_class(family.class).into(),
            region_code: family.region.to_string(),
            fktp_code: nation.facilities[family.fktp].code.to_string(),
            status: membership_pb::MembershipStatus::Registered.into(),
            sex: match person.sex {
                Sex::Male => membership_pb::Sex::Male.into(),
                Sex::Female => membership_pb::Sex::Female.into(),
            },
            birth_year: person.birth_date.year().into(),
        };
        let told = membership_pb::MemberRegistered {
            member_id: person.id.to_string(),
            family_id: family.id.to_string(),
            standing: Some(standing),
            covered_from: family.registered_on.to_string(),
            head: person.relation == Relation::Head,
        };
        events.tell(person.id.to_string(), &told);
    }
    events.write(&mut transaction).await?;
    transaction.commit().await?;
    Ok((new.len() as u64, members.len() as u64))
}

fn sex(sex: Sex) -> &'static str {
    match sex {
        Sex::Male => "MALE",
        Sex::Female => "FEMALE",
    }
}

fn relation(relation: Relation) -> &'static str {
    match relation {
        Relation::Head => "HEAD",
        Relation::Spouse => "SPOUSE",
        Relation::Child => "CHILD",
        Relation::Other => "OTHER",
    }
}

pub(crate) fn segment(segment: Segment) -> membership_pb::Segment {
    match segment {
        Segment::PbiApbn => membership_pb::Segment::Pbi,
        Segment::PbpuPemda => membership_pb::Segment::Pemda,
        Segment::PpuPn => membership_pb::Segment::PpuPn,
        Segment::PpuBu => membership_pb::Segment::PpuBu,
        Segment::Pbpu => membership_pb::Segment::Pbpu,
        Segment::Bp => membership_pb::Segment::Bp,
    }
}

fn care_class(class: CareClass) -> membership_pb::CareClass {
    match class {
        CareClass::One => membership_pb::CareClass::CareClass1,
        CareClass::Two => membership_pb::CareClass::CareClass2,
        CareClass::Three => membership_pb::CareClass::CareClass3,
    }
}
