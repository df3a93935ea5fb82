//! GetReferral, ListReferrals, WatchReferrals, CheckReferral.

use std::pin::Pin;

use chassis::{Call, Fields, feed, page, time};
use futures::{Stream, StreamExt, stream};
use jiff::Timestamp;
use prost::{Message, Name};
use proto::{feed::v1::Event, referral::v1 as pb};
use tonic::Status;
use uuid::Uuid;
use vocabulary::{FacilityCode, MemberId, Poli, ReferralNumber};

use super::{Served, map, reader};
use crate::{
    error::Error,
    store::{self, Filter},
    usable::{self, Service, Unusable},
};

impl Served {
    pub(super) async fn get(
        &self,
        call: &Call,
        message: &pb::GetReferralRequest,
    ) -> Result<pb::GetReferralResponse, Status> {
        let mut fields = Fields::new();
        let number = fields.parse("referral_number", ReferralNumber::parse(&message.referral_number));
        let Some(number) = number else { return Err(fields.into()) };
        let letter = store::get(&self.db.pool, &number).await?;
        let letter =
            letter.filter(|letter| letter.is_open_to(reader(&call.caller))).ok_or(Error::NotFound)?;
        Ok(pb::GetReferralResponse { referral: Some(self.shown(&letter, call)?) })
    }

    pub(super) async fn list(
        &self,
        call: &Call,
        message: &pb::ListReferralsRequest,
    ) -> Result<pb::ListReferralsResponse, Status> {
        let mut fields = Fields::new();
        let own = call.caller.facility();
        let facility = if message.facility_code.is_empty() && own.is_none() {
            None
        } else {
            map::own_facility(&mut fields, "facility_code", &message.facility_code, own)
        };
        let (sent, received) = sides(&mut fields, message.direction);
        let mut day = |path: &str, given: &str| {
            if given.is_empty() { None } else { fields.parse(path, vocabulary::date(given)) }
        };
        let (from, to) = (day("from_date", &message.from_date), day("to_date", &message.to_date));
        fields.require(
            "to_date",
            from.zip(to).is_none_or(|(from, to)| from <= to),
            "must not lie before from_date",
        );
        let poli = if message.poli_code.is_empty() {
            None
        } else {
            fields.parse("poli_code", Poli::parse(&message.poli_code))
        };
        let member_id = if message.member_id.is_empty() {
            None
        } else {
            fields.parse("member_id", MemberId::parse(&message.member_id))
        };
        let page = page::Page::parse(&mut fields, message.page_size, &message.page_token);
        let before = page.after.as_deref().map(read_key);
        if before == Some(None) {
            fields.wrong("page_token", "must be a next_page_token of an answer to the same list");
        }
        fields.finish()?;
        let filter = Filter {
            facility,
            sent,
            received,
            from,
            to,
            poli,
            member_id,
            before: before.flatten(),
            limit: page.size + 1,
        };
        let mut letters = store::list(&self.db.pool, &filter).await?;
        let size = usize::try_from(page.size).unwrap_or(usize::MAX);
        let more = letters.len() > size;
        letters.truncate(size);
        let next_page_token = match letters.last() {
            Some(last) if more => page::token(&format!("{}|{}", last.sent_at(), last.number)),
            _ => String::new(),
        };
        let referrals =
            letters.iter().map(|letter| self.shown(letter, call)).collect::<Result<_, Error>>()?;
        Ok(pb::ListReferralsResponse { referrals, next_page_token })
    }

    pub(super) async fn watch(
        &self,
        call: &Call,
        message: &pb::WatchReferralsRequest,
    ) -> Result<Pin<Box<dyn Stream<Item = Result<pb::WatchReferralsResponse, Status>> + Send>>, Status> {
        let mut fields = Fields::new();
        let (sent, received) = sides(&mut fields, message.direction);
        fields.require(
            "after_position",
            message.after_position.is_none_or(|after| after >= 0),
            "0 or a position",
        );
        fields.finish()?;
        let from = message.after_position.map_or(feed::From::Now, feed::From::After);
        let own = call.caller.facility().map(str::to_owned);
        let is_theirs = move |change: &pb::WatchReferralsResponse| match &own {
            None => true,
            Some(own) => {
                (sent && change.origin_facility_code == *own)
                    || (received && change.destination_facility_code == *own)
            }
        };
        let batches = feed::tail(&self.db, call, from).await?;
        let changes = batches.flat_map(move |events| {
            let changes: Vec<_> = events.iter().filter_map(change).filter(&is_theirs).map(Ok).collect();
            stream::iter(changes)
        });
        Ok(Box::pin(changes))
    }

    pub(super) async fn check(
        &self,
        call: &Call,
        message: pb::CheckReferralRequest,
    ) -> Result<pb::CheckReferralResponse, Status> {
        let mut fields = Fields::new();
        let number = fields.parse("referral_number", ReferralNumber::parse(&message.referral_number));
        let date = fields.parse("service_date", vocabulary::date(&message.service_date));
        let facility = fields
            .parse("destination_facility_code", FacilityCode::parse(&message.destination_facility_code));
        let poli = if message.poli_code.is_empty() {
            None
        } else {
            fields.parse("poli_code", Poli::parse(&message.poli_code))
        };
        let member_id = fields.parse("member_id", MemberId::parse(&message.member_id));
        let (Some(number), Some(date), Some(facility), Some(member_id)) = (number, date, facility, member_id)
        else {
            return Err(fields.into());
        };
        fields.finish()?;
        let service = Service { date, facility, poli, member_id };
        let answer = pb::CheckReferralResponse {
            referral_number: number.to_string(),
            answer_id: Uuid::now_v7().to_string(),
            answered_at: Some(time::to_proto(call.received_at)),
            ..pb::CheckReferralResponse::default()
        };
        let Some(letter) = store::get(&self.db.pool, &number).await? else {
            let reasons = vec![map::unusable(Unusable::UnknownNumber).into()];
            return Ok(pb::CheckReferralResponse { reasons, ..answer });
        };
        let terms = self.terms(&letter)?;
        let hindrances = usable::hindrances(&letter, &terms, &service, time::today_at);
        let (record, tacc) = if hindrances.is_empty() {
            (map::first_level_record(&letter)?, letter.tacc.map_or(pb::Tacc::Unspecified, Into::into))
        } else {
            (None, pb::Tacc::Unspecified)
        };
        Ok(pb::CheckReferralResponse {
            usable: hindrances.is_empty(),
            reasons: hindrances.into_iter().map(|reason| map::unusable(reason).into()).collect(),
            origin_facility_code: letter.origin.to_string(),
            origin_kind: pb::OriginKind::from(letter.origin_kind).into(),
            origin_visit_number: letter.origin_visit.clone().unwrap_or_default(),
            referral_date: letter.referral_date.to_string(),
            valid_through: terms.valid_through.to_string(),
            care_type: pb::CareType::from(letter.care_type).into(),
            accepted_at: letter.times.accepted_at.map(time::to_proto),
            first_level_record: record,
            tacc: tacc.into(),
            ..answer
        })
    }
}

/// Whether sent and received referrals are meant.
fn sides(fields: &mut Fields, direction: i32) -> (bool, bool) {
    match pb::Direction::try_from(direction) {
        Ok(pb::Direction::Unspecified) => (true, true),
        Ok(pb::Direction::Sent) => (true, false),
        Ok(pb::Direction::Received) => (false, true),
        Err(_) => {
            fields.wrong("direction", map::NOT_SAID);
            (true, true)
        }
    }
}

/// The instant and number that a page token holds.
fn read_key(key: &str) -> Option<(Timestamp, String)> {
    let (at, number) = key.split_once('|')?;
    let number = ReferralNumber::parse(number).ok()?;
    // What the database cannot hold as an instant was never in a token of ours.
    let at = at.parse().ok().filter(|at| *at >= Timestamp::UNIX_EPOCH)?;
    Some((at, number.to_string()))
}

/// An event of this service as a change; `None` when it is none of a referral, or cannot be read.
fn change(event: &Event) -> Option<pb::WatchReferralsResponse> {
    macro_rules! read {
        ($($name:ident is $change:ident),* $(,)?) => {
            $(if event.r#type == pb::$name::full_name() {
                let told = pb::$name::decode(event.body.clone()).ok()?;
                return Some(pb::WatchReferralsResponse {
                    position: event.position,
                    change: pb::Change::$change.into(),
                    occurred_at: event.occurred_at,
                    referral_number: told.referral_number,
                    origin_facility_code: told.origin_facility_code,
                    destination_facility_code: told.destination_facility_code,
                    poli_code: told.poli_code,
                    care_type: told.care_type,
                });
            })*
        };
    }
    read!(
        ReferralCreated is Created,
        ReferralAccepted is Accepted,
        ReferralRefused is Refused,
        ReferralCancelled is Cancelled,
        ReferralArrived is Arrived,
        ReferralCompleted is Completed,
    );
    None
}
