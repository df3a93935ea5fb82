//! What becomes of a SEP after its issue: it is changed, the patient leaves, a further SEP of the same accident looks for it.

use chassis::{Begun, Call, Fields, Mutation, RequestId, Write, page::Page, time};
use jiff::civil::Date;
use prost::Message as _;
use proto::claims::v1 as pb;
use tonic::Status;
use vocabulary::{CareClass, Icd10, MemberId, SepNumber};

use super::{
    Seps, optional, optional_text,
    sep::view,
    sep_fields::{self, accident_in_words},
};
use crate::{
    accident,
    discharge::{Discharge, Stay, contradictions},
    episode::Care,
    error::Error,
    follow_up::NotUsable,
    life::State,
    sep::{Refusal, upgrade_is_open},
    store::{
        self,
        sep::Row,
        sep_life::{Accident, Version},
    },
    supplement,
};

fn care(sep: &pb::Sep) -> Care {
    if sep.care_type() == pb::CareType::Inpatient { Care::Inpatient } else { Care::Outpatient }
}

fn occurred_on(sep: &pb::Sep) -> Option<Date> {
    sep.accident.as_ref().and_then(|accident| vocabulary::date(&accident.occurred_on).ok())
}

/// A stored SEP as the one that is named as the first of an accident.
pub(super) fn first_of_accident(stored: &Accident) -> Result<supplement::First, Error> {
    let sep = pb::Sep::decode(stored.letter.as_slice()).map_err(|_| Error::Unreadable("SEP"))?;
    Ok(supplement::First {
        occurred_on: stored.occurred_on,
        service_date: stored.service_date,
        cancelled: stored.cancelled,
        supplements: sep.accident.is_some_and(|accident| !accident.supplements_sep_number.is_empty()),
    })
}

/// A SEP that may still be changed, held until the transaction ends: neither cancelled nor cited by a claim beyond draft.
pub(super) async fn changeable(
    write: &mut Write,
    call: &Call,
    number: &SepNumber,
) -> Result<(Row, pb::Sep), Error> {
    let own = call.caller.facility();
    let row = store::sep::lock(write.connection(), number.as_str(), own).await?.ok_or(Error::NoSep)?;
    if row.cancelled_at.is_some() {
        return Err(Error::SepCancelled);
    }
    if let Some((claim_id, _)) = store::claim::of_sep(write.connection(), number.as_str()).await? {
        let claim = store::claim::lock(write.connection(), claim_id, None).await?.ok_or(Error::NoClaim)?;
        if claim.state != State::Draft as i16 {
            return Err(Error::SepInUse(claim_id));
        }
    }
    let sep = view(&row)?;
    Ok((row, sep))
}

/// Keeps the SEP as its next version.
async fn keep(write: &mut Write, call: &Call, row: &Row, sep: &mut pb::Sep) -> Result<(), Error> {
    sep.version = row.version + 1;
    let stored = pb::Sep { sep_number: String::new(), ..sep.clone() };
    let version = Version {
        version: sep.version,
        changed_at: call.received_at,
        changed_by: call.caller.to_string(),
        letter: stored.encode_to_vec(),
    };
    let (number, accident_on) = (row.sep_number.as_str(), occurred_on(sep));
    Ok(store::sep_life::change(write.connection(), number, &version, accident_on, &sep.doctor_code).await?)
}

impl Seps {
    pub(super) async fn update(
        &self,
        call: &Call,
        message: pb::UpdateSepRequest,
    ) -> Result<pb::UpdateSepResponse, Status> {
        let mut fields = Fields::new();
        let request_id = fields.parse("request_id", RequestId::parse(&message.request_id));
        let number = fields.parse("sep_number", SepNumber::parse(&message.sep_number));
        fields.require("version", message.version >= 1, "the version that was read, from 1");
        let diagnosis = fields.parse("initial_diagnosis", Icd10::parse(&message.initial_diagnosis));
        let record =
            fields.parse("medical_record_number", vocabulary::text(&message.medical_record_number, 20));
        let doctor_code = optional_text(&mut fields, "doctor_code", &message.doctor_code, 10);
        let note = optional_text(&mut fields, "note", &message.note, 200);
        // Care and day of the SEP are known once it is read.
        let level = sep_fields::upgrade(&mut fields, message.class_upgrade.as_ref(), Some(Care::Inpatient));
        let accident = sep_fields::accident(&mut fields, message.accident.as_ref(), None);
        let (Some(request_id), Some(number), Some(diagnosis), Some(record)) =
            (request_id, number, diagnosis, record)
        else {
            return Err(fields.into());
        };
        fields.finish()?;
        let mut write = match Mutation::new(call, &message, request_id).begin(&self.db).await? {
            Begun::Replayed(answer) => return Ok(answer),
            Begun::Fresh(write) => write,
        };
        let answer = async {
            let (row, old) = changeable(&mut write, call, &number).await?;
            if row.version != message.version {
                return Err(Error::VersionOutdated(row.version).into());
            }
            let upgrade = &message.class_upgrade;
            let mut fields = Fields::new();
            let inpatient = care(&old) == Care::Inpatient || upgrade.is_none();
            fields.require("class_upgrade", inpatient, "must be unset for out-patient care");
            sep_fields::accident(&mut fields, accident.as_ref(), Some(row.service_date));
            fields.finish()?;
            if *upgrade != old.class_upgrade && old.discharge.is_some() {
                return Err(Error::SepDischarged.into());
            }
            let mut new = pb::Sep {
                initial_diagnosis: diagnosis.as_str().to_owned(),
                medical_record_number: record,
                executive_clinic: message.executive_clinic,
                class_upgrade: upgrade.clone(),
                accident,
                coordination_of_benefit: message.coordination_of_benefit,
                cataract: message.cataract,
                doctor_code,
                note,
                ..old.clone()
            };
            let refusals = self.judge_change(&row, &old, &new, level).await?;
            if !refusals.is_empty() {
                return Err(Error::SepChangeRefused(refusals).into());
            }
            keep(&mut write, call, &row, &mut new).await?;
            let event = pb::SepUpdated {
                sep_number: new.sep_number.clone(),
                facility_code: new.facility_code.clone(),
                member_id: new.member_id.clone(),
                version: new.version,
            };
            write.emit(number.as_str(), &event).await?;
            Ok::<_, Status>(write.commit(pb::UpdateSepResponse { sep: Some(new) }).await?)
        };
        answer.await
    }

    /// Every reason against a change.
    async fn judge_change(
        &self,
        row: &Row,
        old: &pb::Sep,
        new: &pb::Sep,
        level: Option<u8>,
    ) -> Result<Vec<Refusal>, Error> {
        let mut refusals = Vec::new();
        let rules = self.policies.sep.on(row.service_date)?;
        if let (Some(level), Ok(class)) = (level, CareClass::try_from(old.entitled_class))
            && new.class_upgrade != old.class_upgrade
            && !upgrade_is_open(rules, class, level)
        {
            refusals.push(Refusal::UpgradeNotAllowed(class));
        }
        if !old.follow_up_number.is_empty() && new.doctor_code != old.doctor_code {
            refusals.push(Refusal::FollowUpNotUsable(vec![NotUsable::OtherDoctor]));
        }
        if let Some(accident) = new.accident.as_ref().filter(|_| new.accident != old.accident) {
            // What a discharge told is told; before it, an emergency's report may follow.
            let reported =
                old.discharge.as_ref().is_some_and(|discharge| !discharge.police_report_number.is_empty());
            let may_follow = reported || old.entry() == pb::Entry::Emergency && old.discharge.is_none();
            let (day, member, segment) = (row.service_date, row.member_id, old.segment.as_str());
            refusals.extend(self.judge_accident(accident, day, member, segment, may_follow).await?);
        }
        Ok(refusals)
    }

    pub(super) async fn discharge(
        &self,
        call: &Call,
        message: pb::RecordDischargeRequest,
    ) -> Result<pb::RecordDischargeResponse, Status> {
        let mut fields = Fields::new();
        let request_id = fields.parse("request_id", RequestId::parse(&message.request_id));
        let number = fields.parse("sep_number", SepNumber::parse(&message.sep_number));
        let stated = message.discharge.clone().unwrap_or_default();
        let judged = read_discharge(&mut fields, call, &stated);
        let (Some(request_id), Some(number), Some(judged)) = (request_id, number, judged) else {
            return Err(fields.into());
        };
        fields.finish()?;
        let mut write = match Mutation::new(call, &message, request_id).begin(&self.db).await? {
            Begun::Replayed(answer) => return Ok(answer),
            Begun::Fresh(write) => write,
        };
        let answer = async {
            let (row, old) = changeable(&mut write, call, &number).await?;
            let admitted_at = old.admitted_at.as_ref().and_then(time::from_proto);
            let stay = Stay { care: care(&old), admitted_at };
            let wrong = contradictions(&stay, &judged, row.service_date);
            if !wrong.is_empty() {
                return Err(Error::DischargeContradictsSep(wrong));
            }
            if self.lacks_police_report(&row, &old, &stated)? {
                return Err(Error::SepChangeRefused(vec![Refusal::PoliceReportRequired]));
            }
            let mut new = pb::Sep { discharge: Some(stated), ..old };
            keep(&mut write, call, &row, &mut new).await?;
            let event = pb::SepDischarged {
                sep_number: new.sep_number.clone(),
                facility_code: new.facility_code.clone(),
                member_id: new.member_id.clone(),
                discharged_on: judged.on.to_string(),
                version: new.version,
            };
            write.emit(number.as_str(), &event).await?;
            Ok(write.commit(pb::RecordDischargeResponse { sep: Some(new) }).await?)
        };
        Ok(answer.await?)
    }

    /// Whether the report that a traffic accident needs came neither with the SEP nor with the discharge.
    fn lacks_police_report(
        &self,
        row: &Row,
        sep: &pb::Sep,
        discharge: &pb::Discharge,
    ) -> Result<bool, Error> {
        let Some(stated) = &sep.accident else { return Ok(false) };
        let Some((kind, payers)) = accident_in_words(stated) else { return Ok(false) };
        let police_report =
            !stated.police_report_number.is_empty() || !discharge.police_report_number.is_empty();
        let accident = accident::Accident { kind, payers: &payers, police_report };
        Ok(accident::lacks_police_report(self.policies.accident.on(row.service_date)?, &accident))
    }

    /// The versions before the one that a SEP has.
    pub(super) async fn earlier_versions(&self, row: &Row) -> Result<Vec<pb::SepVersion>, Error> {
        if row.version == 1 {
            return Ok(Vec::new());
        }
        let number = &row.sep_number;
        let kept = store::sep_life::versions_before(&self.db.pool, number, row.version).await?;
        let shown = kept.into_iter().map(|kept| {
            let sep = pb::Sep::decode(kept.letter.as_slice()).map_err(|_| Error::Unreadable("SEP"))?;
            Ok(pb::SepVersion {
                version: kept.version,
                changed_at: Some(time::to_proto(kept.changed_at)),
                changed_by: kept.changed_by,
                sep: Some(pb::Sep { sep_number: number.clone(), version: kept.version, ..sep }),
            })
        });
        shown.collect()
    }

    pub(super) async fn accidents(
        &self,
        message: pb::ListAccidentSepsRequest,
    ) -> Result<pb::ListAccidentSepsResponse, Status> {
        let mut fields = Fields::new();
        let page = Page::parse(&mut fields, message.page_size, &message.page_token);
        let after = page.after.as_deref().and_then(|key| fields.parse("page_token", place(key)));
        let member = fields.parse("member_id", MemberId::parse(&message.member_id));
        let from = optional(&mut fields, "service_date_from", &message.service_date_from, vocabulary::date);
        let Some(member) = member else { return Err(fields.into()) };
        fields.finish()?;
        let limit = page.size + 1;
        let kept = store::sep_life::accidents(&self.db.pool, member.uuid(), from, after, limit).await;
        let mut kept = kept.map_err(Error::from)?;
        let next_page_token =
            super::sep::next(&mut kept, page.size, |sep| format!("{}|{}", sep.service_date, sep.sep_number));
        let seps = kept.iter().map(shown).collect::<Result<_, _>>()?;
        Ok(pb::ListAccidentSepsResponse { seps, next_page_token })
    }
}

/// The day and number that a page of accidents ends with.
fn place(key: &str) -> Result<(Date, String), vocabulary::Malformed> {
    let (day, number) = key.split_once('|').unwrap_or_default();
    Ok((vocabulary::date(day)?, SepNumber::parse(number)?.as_str().to_owned()))
}

fn shown(kept: &Accident) -> Result<pb::AccidentSep, Error> {
    let sep = pb::Sep::decode(kept.letter.as_slice()).map_err(|_| Error::Unreadable("SEP"))?;
    let accident = sep.accident.unwrap_or_default();
    Ok(pb::AccidentSep {
        sep_number: kept.sep_number.clone(),
        facility_code: kept.facility_code.clone(),
        service_date: kept.service_date.to_string(),
        kind: accident.kind,
        occurred_on: accident.occurred_on,
        region_code: accident.region_code,
        primary_payers: accident.primary_payers,
        supplements_sep_number: accident.supplements_sep_number,
    })
}

fn read_discharge(fields: &mut Fields, call: &Call, stated: &pb::Discharge) -> Option<Discharge> {
    let at = stated.discharged_at.as_ref().and_then(time::from_proto);
    match at {
        None => fields.wrong("discharge.discharged_at", "must be set"),
        Some(at) => {
            fields.require("discharge.discharged_at", at <= call.received_at, "must not lie in the future");
        }
    }
    let known = stated.departure() != pb::Departure::Unspecified;
    fields.require("discharge.departure", known, "a value of Departure");
    let mut died_on = None;
    let certificate = &stated.death_certificate_number;
    if stated.departure() == pb::Departure::Died {
        died_on = fields.parse("discharge.died_on", vocabulary::date(&stated.died_on));
        fields.parse("discharge.death_certificate_number", vocabulary::text(certificate, 50));
    } else {
        let text = "must be empty unless the patient died";
        fields.require("discharge.died_on", stated.died_on.is_empty(), text);
        fields.require("discharge.death_certificate_number", certificate.is_empty(), text);
    }
    optional_text(fields, "discharge.police_report_number", &stated.police_report_number, 50);
    at.map(|at| Discharge { at, on: time::today_at(at), died_on })
}
