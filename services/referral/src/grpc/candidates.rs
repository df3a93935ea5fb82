//! ListCandidates and UpdateCapacity.

use chassis::{Begun, Call, Fields, Mutation, RequestId, page};
use proto::referral::v1 as pb;
use tonic::Status;
use vocabulary::{FacilityCode, Malformed, Poli};

use super::{Served, map};
use crate::{
    candidate::{self, Candidate, Room},
    capacity::{self, Beds, Capacity, DayQuota, Slot, TimeOfDay},
    error::Error,
    ladder::Grounds,
    letter::{CareType, LadderExemption},
    store,
};

/// Most openings and single days that one call posts.
const MOST_ENTRIES: usize = 1000;
/// Most clinics whose beds one call posts.
const MOST_BEDS: usize = 100;
const LARGEST_QUOTA: i32 = 10_000;

impl Served {
    pub(super) async fn candidates(
        &self,
        call: &Call,
        message: pb::ListCandidatesRequest,
    ) -> Result<pb::ListCandidatesResponse, Status> {
        let mut fields = Fields::new();
        let own = call.caller.facility();
        let origin =
            map::own_facility(&mut fields, "origin_facility_code", &message.origin_facility_code, own);
        let poli = fields.parse("poli_code", Poli::parse(&message.poli_code));
        let care_type = map::word::<CareType, pb::CareType>(&mut fields, "care_type", message.care_type);
        let visit = if message.visit_date.is_empty() {
            Some(call.today)
        } else {
            fields.parse("visit_date", vocabulary::date(&message.visit_date))
        };
        if let Some(visit) = visit {
            fields.require("visit_date", visit >= call.today, "must be today or later");
        }
        let exemption = map::optional_word::<LadderExemption, pb::LadderExemption>(
            &mut fields,
            "ladder_exemption",
            message.ladder_exemption,
        );
        let programme = self.read_programme(&mut fields, &message.special_programme, Some(call.today));
        fields.require("max_distance_km", message.max_distance_km >= 0.0, "must be 0 or more kilometres");
        let page = page::Page::parse(&mut fields, message.page_size, &message.page_token);
        let first = match page.after.as_deref().map(str::parse::<usize>) {
            None => 0,
            Some(Ok(first)) => first,
            Some(Err(_)) => {
                fields.wrong("page_token", "must be a next_page_token of an answer to the same list");
                0
            }
        };
        let (Some(origin), Some(poli), Some(care_type), Some(visit)) = (origin, poli, care_type, visit)
        else {
            return Err(fields.into());
        };
        fields.finish()?;

        let origin = self.registry.facility(call, &origin).await?.ok_or(Error::OriginNotRegistered)?;
        let emergency = care_type == CareType::Emergency;
        // Every hospital has an emergency room.
        let clinic = (!emergency || poli.as_str() != "IGD").then_some(poli);
        let ladder = self.ladder.on(call.today)?;
        let contracted_on = ladder.needs_contract(care_type).then(|| visit.to_string());
        let clock = self.clock.on(call.today)?;
        let care_types: Vec<String> = [CareType::Outpatient, CareType::Inpatient, CareType::Emergency]
            .into_iter()
            .filter(|other| (*other == CareType::Outpatient) == (care_type == CareType::Outpatient))
            .map(|care| care.as_str().to_owned())
            .collect();
        let standing = store::capacity::Standing {
            care_types: &care_types,
            answer_needed: clock.answer_needed(),
            unanswered_since: clock.unanswered_since(call.received_at),
        };
        let facilities = self.registry.running(call, clinic, contracted_on, self.most_candidates).await?;
        let mut posted = store::capacity::posted(&self.db.pool, poli, visit, &standing).await?;

        let grounds = Grounds { care_type, exemption, programme: programme.as_deref() };
        let mut candidates: Vec<_> = facilities
            .into_iter()
            .filter(|facility| facility.code != origin.code)
            .filter(|facility| ladder.allows(origin.standing, facility.standing, grounds))
            .map(|facility| Candidate {
                rung: ladder.rung(facility.standing),
                distance_km: origin
                    .place
                    .zip(facility.place)
                    .map(|(from, to)| candidate::distance_km(from, to)),
                posted: posted.remove(&facility.code).unwrap_or_default(),
                facility,
            })
            .filter(|one| {
                let near = message.max_distance_km <= 0.0
                    || one.distance_km.is_some_and(|distance| distance <= message.max_distance_km);
                near && (!message.with_room_only || one.room(care_type) == Room::Free)
            })
            .collect();
        candidate::rank(&mut candidates, care_type);

        let size = usize::try_from(page.size).unwrap_or(usize::MAX);
        let next = first.saturating_add(size);
        let next_page_token =
            if next < candidates.len() { page::token(&next.to_string()) } else { String::new() };
        let shown = candidates.iter().enumerate().skip(first).take(size);
        let shown = shown.map(|(place, one)| candidate(place, one, poli, care_type)).collect();
        Ok(pb::ListCandidatesResponse { candidates: shown, next_page_token })
    }

    pub(super) async fn post_capacity(
        &self,
        call: &Call,
        message: pb::UpdateCapacityRequest,
    ) -> Result<pb::UpdateCapacityResponse, Status> {
        let mut fields = Fields::new();
        let request_id = fields.parse("request_id", RequestId::parse(&message.request_id));
        let facility = fields.parse("facility_code", FacilityCode::parse(&message.facility_code));
        let named = read_capacity(&mut fields, call, &message);
        let (Some(request_id), Some(facility)) = (request_id, facility) else { return Err(fields.into()) };
        fields.finish()?;
        if call.caller.facility() != Some(facility.as_str()) {
            return Err(Error::NotYourFacility.into());
        }
        let mut write = match Mutation::new(call, &message, request_id).begin(&self.db).await? {
            Begun::Replayed(answer) => return Ok(answer),
            Begun::Fresh(write) => write,
        };
        store::capacity::lock(write.connection(), &facility).await?;
        store::capacity::post(write.connection(), &facility, &named, call.received_at).await?;
        let posted = store::capacity::read(write.connection(), &facility, call.today).await?;
        let answer = pb::UpdateCapacityResponse { capacity: Some(map::capacity(&facility, &posted)) };
        Ok(write.commit(answer).await?)
    }
}

fn candidate(place: usize, one: &Candidate, poli: Poli, care: CareType) -> pb::Candidate {
    pb::Candidate {
        facility_code: one.facility.code.to_string(),
        facility_name: one.facility.name.clone(),
        hospital_class: one.facility.class.to_owned(),
        stratum: one.facility.stratum(poli.as_str()).to_owned(),
        region_code: one.facility.region.clone(),
        distance_km: one.distance_km,
        capacity: one.capacity(care),
        referred: one.posted.referred,
        taken_percent: one.taken_percent(care),
        schedule: one.posted.openings.iter().map(map::slot).collect(),
        beds_available: one.posted.beds,
        rank: i32::try_from(place).unwrap_or(i32::MAX).saturating_add(1),
    }
}

fn read_capacity(fields: &mut Fields, call: &Call, message: &pb::UpdateCapacityRequest) -> Capacity {
    let (weekly, days, beds) = (&message.weekly, &message.days, &message.beds);
    for (path, length, most) in [
        ("weekly", weekly.len(), MOST_ENTRIES),
        ("days", days.len(), MOST_ENTRIES),
        ("beds", beds.len(), MOST_BEDS),
    ] {
        fields.require(path, length <= most, format!("at most {most} entries"));
    }
    fields.require(
        "weekly",
        !(weekly.is_empty() && days.is_empty() && beds.is_empty()),
        "one of weekly, days and beds must hold an entry",
    );
    let weekly: Vec<_> = weekly
        .iter()
        .take(MOST_ENTRIES)
        .enumerate()
        .filter_map(|(place, slot)| read_slot(fields, &format!("weekly[{place}]"), slot))
        .collect();
    // Places in the list are those of the request only when every entry was well formed.
    if weekly.len() == message.weekly.len()
        && let Some(place) = capacity::first_overlap(&weekly)
    {
        fields.wrong(format!("weekly[{place}]"), "overlaps an earlier opening of the same clinic and day");
    }
    let days: Vec<_> = days
        .iter()
        .take(MOST_ENTRIES)
        .enumerate()
        .filter_map(|(place, quota)| {
            let path = format!("days[{place}]");
            let poli = fields.parse(format!("{path}.poli_code"), Poli::parse(&quota.poli_code));
            let day = fields.parse(format!("{path}.date"), vocabulary::date(&quota.date));
            let fits = day.is_none_or(|day| day >= call.today);
            fields.require(format!("{path}.date"), fits, "must be today or later");
            require_quota(fields, &path, quota.quota);
            Some(DayQuota { poli: poli?, day: day?, quota: quota.quota })
        })
        .collect();
    if days.len() == message.days.len()
        && let Some(place) = capacity::first_repeated(days.iter().map(|quota| (quota.poli, quota.day)))
    {
        fields.wrong(format!("days[{place}]"), "the same clinic and day came before");
    }
    let beds: Vec<_> = beds
        .iter()
        .take(MOST_BEDS)
        .enumerate()
        .filter_map(|(place, beds)| {
            let path = format!("beds[{place}]");
            let poli = fields.parse(format!("{path}.poli_code"), Poli::parse(&beds.poli_code));
            fields.require(
                format!("{path}.total"),
                (0..=LARGEST_QUOTA).contains(&beds.total),
                format!("0 to {LARGEST_QUOTA}"),
            );
            fields.require(
                format!("{path}.available"),
                (0..=beds.total.max(0)).contains(&beds.available),
                "0 to total",
            );
            Some(Beds { poli: poli?, total: beds.total, available: beds.available })
        })
        .collect();
    if beds.len() == message.beds.len()
        && let Some(place) = capacity::first_repeated(beds.iter().map(|beds| beds.poli))
    {
        fields.wrong(format!("beds[{place}]"), "the same clinic came before");
    }
    Capacity { weekly, days, beds }
}

fn read_slot(fields: &mut Fields, path: &str, slot: &pb::WeeklySlot) -> Option<Slot> {
    let poli = fields.parse(format!("{path}.poli_code"), Poli::parse(&slot.poli_code));
    let weekday = i16::try_from(slot.weekday).ok().filter(|day| (1..=7).contains(day));
    let weekday = fields
        .parse(format!("{path}.weekday"), weekday.ok_or_else(|| Malformed::new("1 (Monday) to 7 (Sunday)")));
    let opens = fields.parse(format!("{path}.opens_at"), TimeOfDay::parse(&slot.opens_at));
    let closes = fields.parse(format!("{path}.closes_at"), TimeOfDay::parse(&slot.closes_at));
    if let (Some(opens), Some(closes)) = (&opens, &closes) {
        fields.require(format!("{path}.closes_at"), closes > opens, "must lie after opens_at");
    }
    require_quota(fields, path, slot.quota);
    Some(Slot { poli: poli?, weekday: weekday?, opens: opens?, closes: closes?, quota: slot.quota })
}

fn require_quota(fields: &mut Fields, path: &str, quota: i32) {
    fields.require(
        format!("{path}.quota"),
        (0..=LARGEST_QUOTA).contains(&quota),
        format!("0 to {LARGEST_QUOTA}"),
    );
}
