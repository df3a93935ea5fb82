//! Writes visits in primary care and the referrals from them, into the databases of both services.

use std::collections::{HashMap, HashSet};

use jiff::civil::Date;
use jiff_sqlx::ToSqlx as _;
use proto::{primary_care::v1 as care_pb, referral::v1 as referral_pb};
use vocabulary::DocumentNumber;

use super::{
    Databases, care,
    load::{Events, segment},
    nation::{Family, Nation},
};

/// The last serials of the documents of each facility and month.
#[derive(Debug, Default)]
pub(crate) struct Numbers(HashMap<(usize, Date, char), u32>);

impl Numbers {
    fn next(
        &mut self,
        nation: &Nation,
        facility: usize,
        month: Date,
        letter: char,
    ) -> anyhow::Result<DocumentNumber> {
        let serial = self.0.entry((facility, month, letter)).or_default();
        *serial += 1;
        Ok(DocumentNumber::compose(&nation.facilities[facility].code, month, letter, *serial)?)
    }
}

/// Writes the families' visits of a month and the referrals from them; returns how many of each are new.
pub(crate) async fn visits(
    databases: &Databases,
    nation: &Nation,
    families: &[(u64, Family)],
    month: Date,
    numbers: &mut Numbers,
) -> anyhow::Result<(u64, u64)> {
    let mut visits = Vec::new();
    for (_, family) in families {
        for visit in care::visits(nation, family, month) {
            let number = numbers.next(nation, family.fktp, month, 'Y')?;
            let referral = match visit.referral {
                Some(_) => Some(numbers.next(nation, family.fktp, month, 'P')?),
                None => None,
            };
            visits.push((family, visit, number, referral));
        }
    }
    let code = |family: &Family| nation.facilities[family.fktp].code.to_string();
    let destination = |visit: &care::Visit| {
        visit.referral.as_ref().map(|referral| nation.facilities[referral.destination].code.to_string())
    };

    let referred: Vec<_> = visits
        .iter()
        .filter_map(|(family, visit, number, referral)| {
            Some((*family, visit, number, referral.as_ref()?, visit.referral.as_ref()?))
        })
        .collect();
    let mut transaction = databases.referral.begin().await?;
    let added: Vec<String> = sqlx::query_scalar(
        "insert into referral (referral_number, member_id, origin_facility_code, origin_kind, origin_region_code,
                               origin_visit_number, destination_facility_code, poli_code, care_type, referral_type,
                               referral_date, planned_visit_date, diagnosis_code, criterion_kind, criterion,
                               clinical_summary, sent_at)
         select referral_number, member_id, origin_facility_code, 'fktp', origin_region_code, origin_visit_number,
                destination_facility_code, poli_code, 'outpatient', 'full', referral_date, referral_date, diagnosis_code,
                'diagnostic_effort', 'specialist examination', '', sent_at
           from unnest($1::text[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::date[],
                       $9::text[], $10::timestamptz[])
             as new (referral_number, member_id, origin_facility_code, origin_region_code, origin_visit_number,
                     destination_facility_code, poli_code, referral_date, diagnosis_code, sent_at)
         on conflict do nothing returning referral_number",
    )
    .bind(referred.iter().map(|(_, _, _, referral, _)| referral.to_string()).collect::<Vec<_>>())
    .bind(referred.iter().map(|(_, visit, _, _, _)| visit.member).collect::<Vec<_>>())
    .bind(referred.iter().map(|(family, _, _, _, _)| code(family)).collect::<Vec<_>>())
    .bind(referred.iter().map(|(family, _, _, _, _)| family.region.to_string()).collect::<Vec<_>>())
    .bind(referred.iter().map(|(_, _, number, _, _)| number.to_string()).collect::<Vec<_>>())
    .bind(referred.iter().map(|(_, visit, _, _, _)| destination(visit)).collect::<Vec<_>>())
    .bind(referred.iter().map(|(_, _, _, _, to)| to.poli.to_owned()).collect::<Vec<_>>())
    .bind(referred.iter().map(|(_, visit, _, _, _)| visit.day.to_sqlx()).collect::<Vec<_>>())
    .bind(referred.iter().map(|(_, visit, _, _, _)| visit.diagnosis.to_owned()).collect::<Vec<_>>())
    .bind(referred.iter().map(|(_, visit, _, _, _)| visit.at.to_sqlx()).collect::<Vec<_>>())
    .fetch_all(&mut *transaction)
    .await?;
    let added: HashSet<String> = added.into_iter().collect();
    let mut events = Events::default();
    for (family, visit, number, referral, to) in &referred {
        if added.contains(referral.as_str()) {
            let told = referral_pb::ReferralCreated {
                referral_number: referral.to_string(),
                member_id: visit.member.to_string(),
                origin_facility_code: code(family),
                origin_kind: referral_pb::OriginKind::Fktp.into(),
                origin_region_code: family.region.to_string(),
                destination_facility_code: destination(visit).unwrap_or_default(),
                poli_code: to.poli.to_owned(),
                care_type: referral_pb::CareType::Outpatient.into(),
                referral_date: visit.day.to_string(),
                origin_visit_number: number.to_string(),
                referral_type: referral_pb::ReferralType::Full.into(),
                sent_at: Some(chassis::time::to_proto(visit.at)),
            };
            events.tell(referral.to_string(), &told);
        }
    }
    let new_referrals = added.len() as u64;
    events.write(&mut transaction).await?;
    transaction.commit().await?;

    let mut transaction = databases.primary_care.begin().await?;
    let added: Vec<String> = sqlx::query_scalar(
        "insert into visit (visit_number, facility_code, member_id, kind, state, visit_date, registered_at, emergency,
                            complaint, eligibility_answer_id, eligibility_answered_at, segment, registered_fktp_code,
                            region_code, diagnosis_codes, discharge_status, discharge_date, referral_number,
                            destination_facility_code, poli_code, non_specialist)
         select visit_number, facility_code, member_id, kind,
                case when referral_number is null then 'discharged' else 'referred' end, visit_date, registered_at, false,
                '', answer_id, registered_at, segment, facility_code, region_code, array[diagnosis_code],
                case when referral_number is null then 'outpatient' else 'referred' end, visit_date, referral_number,
                destination_facility_code, poli_code, case when referral_number is not null then false end
           from unnest($1::text[], $2::text[], $3::uuid[], $4::text[], $5::date[], $6::timestamptz[], $7::text[], $8::text[],
                       $9::text[], $10::text[], $11::text[], $12::text[], $13::text[])
             as new (visit_number, facility_code, member_id, kind, visit_date, registered_at, answer_id, segment, region_code,
                     diagnosis_code, referral_number, destination_facility_code, poli_code)
         on conflict do nothing returning visit_number",
    )
    .bind(visits.iter().map(|(_, _, number, _)| number.to_string()).collect::<Vec<_>>())
    .bind(visits.iter().map(|(family, _, _, _)| code(family)).collect::<Vec<_>>())
    .bind(visits.iter().map(|(_, visit, _, _)| visit.member).collect::<Vec<_>>())
    .bind(visits.iter().map(|(_, visit, _, _)| if visit.sick { "sick" } else { "healthy" }.to_owned()).collect::<Vec<_>>())
    .bind(visits.iter().map(|(_, visit, _, _)| visit.day.to_sqlx()).collect::<Vec<_>>())
    .bind(visits.iter().map(|(_, visit, _, _)| visit.at.to_sqlx()).collect::<Vec<_>>())
    .bind(visits.iter().map(|(_, visit, _, _)| visit.answer.to_string()).collect::<Vec<_>>())
    .bind(visits.iter().map(|(family, _, _, _)| segment(family.segment).as_str_name().to_owned()).collect::<Vec<_>>())
    .bind(visits.iter().map(|(family, _, _, _)| family.region.to_string()).collect::<Vec<_>>())
    .bind(visits.iter().map(|(_, visit, _, _)| visit.diagnosis.to_owned()).collect::<Vec<_>>())
    .bind(visits.iter().map(|(_, _, _, referral)| referral.as_ref().map(ToString::to_string)).collect::<Vec<_>>())
    .bind(visits.iter().map(|(_, visit, _, _)| destination(visit)).collect::<Vec<_>>())
    .bind(visits.iter().map(|(_, visit, _, _)| visit.referral.as_ref().map(|to| to.poli.to_owned())).collect::<Vec<_>>())
    .fetch_all(&mut *transaction)
    .await?;
    let added: HashSet<String> = added.into_iter().collect();
    let mut events = Events::default();
    for (family, visit, number, referral) in &visits {
        if added.contains(number.as_str()) {
            tell_visit(&mut events, nation, family, visit, number, referral.as_ref());
        }
    }
    events.write(&mut transaction).await?;
    transaction.commit().await?;
    Ok((added.len() as u64, new_referrals))
}

/// Moves the services' own counters beyond the numbers that were given here.
pub(crate) async fn remember_numbers(
    databases: &Databases,
    nation: &Nation,
    numbers: &Numbers,
) -> anyhow::Result<()> {
    for (letter, pool) in [('Y', &databases.primary_care), ('P', &databases.referral)] {
        let given: Vec<_> = numbers.0.iter().filter(|((_, _, of), _)| *of == letter).collect();
        let statement = match letter {
            'Y' => {
                "insert into document_counter (facility_code, month, letter, last_serial)
                 select facility_code, month, 'Y', last from unnest($1::text[], $2::date[], $3::integer[]) as new (facility_code, month, last)
                 on conflict (facility_code, month, letter)
                 do update set last_serial = greatest(document_counter.last_serial, excluded.last_serial)"
            }
            _ => {
                "insert into referral_serial (facility_code, month, letter, last)
                 select facility_code, month, 'P', last from unnest($1::text[], $2::date[], $3::integer[]) as new (facility_code, month, last)
                 on conflict (facility_code, month, letter)
                 do update set last = greatest(referral_serial.last, excluded.last)"
            }
        };
        sqlx::query(statement)
            .bind(
                given
                    .iter()
                    .map(|((facility, _, _), _)| nation.facilities[*facility].code.to_string())
                    .collect::<Vec<_>>(),
            )
            .bind(given.iter().map(|((_, month, _), _)| month.to_sqlx()).collect::<Vec<_>>())
            .bind(given.iter().map(|(_, serial)| i32::try_from(**serial)).collect::<Result<Vec<_>, _>>()?)
            .execute(pool)
            .await?;
    }
    Ok(())
}

fn tell_visit(
    events: &mut Events,
    nation: &Nation,
    family: &Family,
    visit: &care::Visit,
    number: &DocumentNumber,
    referral: Option<&DocumentNumber>,
) {
    let kind = if visit.sick { care_pb::VisitKind::Sick } else { care_pb::VisitKind::Healthy };
    let (visit_number, facility_code) = (number.to_string(), nation.facilities[family.fktp].code.to_string());
    let at = Some(chassis::time::to_proto(visit.at));
    let registered = care_pb::VisitRegistered {
        visit_number: visit_number.clone(),
        facility_code: facility_code.clone(),
        member_id: visit.member.to_string(),
        kind: kind.into(),
        visit_date: visit.day.to_string(),
        segment: segment(family.segment).into(),
        region_code: family.region.to_string(),
        registered_here: true,
        registered_at: at,
        emergency: false,
        eligibility_answer_id: visit.answer.to_string(),
    };
    events.tell(visit_number.clone(), &registered);
    let examined = care_pb::VisitExamined {
        visit_number: visit_number.clone(),
        facility_code: facility_code.clone(),
        member_id: visit.member.to_string(),
        kind: kind.into(),
        visit_date: visit.day.to_string(),
        segment: segment(family.segment).into(),
        region_code: family.region.to_string(),
        registered_here: true,
        examined_at: at,
    };
    events.tell(visit_number.clone(), &examined);
    if let (Some(referral), Some(to)) = (referral, &visit.referral) {
        let referred = care_pb::VisitReferred {
            visit_number: visit_number.clone(),
            facility_code,
            member_id: visit.member.to_string(),
            kind: kind.into(),
            visit_date: visit.day.to_string(),
            segment: segment(family.segment).into(),
            region_code: family.region.to_string(),
            registered_here: true,
            referred_at: at,
            referral_number: referral.to_string(),
            destination_facility_code: nation.facilities[to.destination].code.to_string(),
            poli_code: to.poli.to_owned(),
            non_specialist: false,
            tacc: 0,
        };
        events.tell(visit_number, &referred);
    } else {
        let discharged = care_pb::VisitDischarged {
            visit_number: visit_number.clone(),
            facility_code,
            member_id: visit.member.to_string(),
            kind: kind.into(),
            visit_date: visit.day.to_string(),
            segment: segment(family.segment).into(),
            region_code: family.region.to_string(),
            registered_here: true,
            discharged_at: at,
            discharge_date: visit.day.to_string(),
        };
        events.tell(visit_number, &discharged);
    }
}
