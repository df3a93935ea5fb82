//! Reading a member, the choice of facility, and what the civil registry says.

use std::sync::Arc;

use chassis::{Begun, Call, Fields, Mutation, RequestId, Write, page, page::Page, time::to_proto};
use proto::{membership::v1 as pb, options::v1::InstitutionKind};
use tonic::Status;
use uuid::Uuid;
use vocabulary::{FacilityCode, MemberId};

use super::{Membership, map, parse};
use crate::{
    contribution::next_month,
    error::Error,
    family::Ended,
    fktp_choice::{self, Ground},
    registry::Question,
    store::{self, Key, Record},
};

const PROOF_LENGTH: usize = 64;

/// A first-level facility finds the members that chose it; all others are not found.
fn visible(call: &Call, record: Arc<Record>) -> Result<Arc<Record>, Error> {
    let chose = |code: &str| {
        record
            .choices
            .iter()
            .any(|choice| choice.fktp.as_str() == code && choice.to.is_none_or(|to| call.today < to))
    };
    match call.caller.facility() {
        Some(code) if call.caller.kind != InstitutionKind::Fktp || !chose(code) => Err(Error::MemberNotFound),
        _ => Ok(record),
    }
}

impl Membership {
    pub(super) async fn get(
        &self,
        call: Call,
        message: pb::GetMemberRequest,
    ) -> Result<pb::GetMemberResponse, Status> {
        let mut fields = Fields::new();
        let Some(key) = fields.parse("member_id", parse::member_key(&message.member_id)) else {
            return Err(fields.into());
        };
        let record = visible(&call, self.find(&key, call.today).await?)?;
        Ok(pb::GetMemberResponse { member: Some(map::member(&record, call.today)) })
    }

    pub(super) async fn find_known(
        &self,
        call: Call,
        message: pb::FindMemberRequest,
    ) -> Result<pb::FindMemberResponse, Status> {
        use pb::find_member_request::Known;
        let mut fields = Fields::new();
        let given = match &message.known {
            Some(Known::Nik(nik)) => Some(("nik", parse::nik_key(nik))),
            Some(Known::CardNumber(card)) => Some(("card_number", parse::card_key(card))),
            None => None,
        };
        let Some(key) = parse::known(&mut fields, given, "nik card_number") else {
            return Err(fields.into());
        };
        let record = visible(&call, self.find(&key, call.today).await?)?;
        Ok(pb::FindMemberResponse { member: Some(map::member(&record, call.today)) })
    }

    pub(super) async fn list_family(
        &self,
        call: Call,
        message: pb::ListFamilyMembersRequest,
    ) -> Result<pb::ListFamilyMembersResponse, Status> {
        let mut fields = Fields::new();
        let family_id = fields.parse("family_id", parse::family_id(&message.family_id));
        let page = Page::parse(&mut fields, message.page_size, &message.page_token);
        let after = page.after.as_deref().map(Place::parse);
        fields.require(
            "page_token",
            after != Some(None),
            "must be a next_page_token of an answer to the same list",
        );
        let Some(family_id) = family_id else { return Err(fields.into()) };
        fields.finish()?;

        let after = after.flatten().map(|place| (place.behind_the_head, place.member_id));
        let mut ids = store::family_members(&self.db.pool, family_id, after, page.size + 1)
            .await
            .map_err(Error::from)?;
        if ids.is_empty() && after.is_none() {
            return Err(Error::FamilyNotFound.into());
        }
        let most = usize::try_from(page.size).unwrap_or(usize::MAX);
        let more = ids.len() > most;
        ids.truncate(most);
        let keys: Vec<_> =
            ids.iter().filter_map(|id| MemberId::try_from(*id).ok()).map(Key::Member).collect();
        let mut records = store::records(&self.db.pool, &keys).await.map_err(Error::from)?;
        records.sort_by_cached_key(|record| ids.iter().position(|id| *id == record.member_id));
        let next = records.last().filter(|_| more).map(|record| page::token(&Place::of(record).to_string()));
        Ok(pb::ListFamilyMembersResponse {
            members: records.iter().map(|record| map::member(record, call.today)).collect(),
            next_page_token: next.unwrap_or_default(),
        })
    }

    pub(super) async fn change_facility(
        &self,
        call: Call,
        message: pb::ChangeFktpRequest,
    ) -> Result<pb::ChangeFktpResponse, Status> {
        let mut fields = Fields::new();
        let request_id = fields.parse("request_id", RequestId::parse(&message.request_id));
        let key = fields.parse("member_id", parse::member_key(&message.member_id));
        let fktp = fields.parse("fktp_code", FacilityCode::parse(&message.fktp_code));
        let ground = fields.parse("ground", parse::ground(message.ground));
        let proof = match (ground, message.proof_reference.as_str()) {
            (Some(Ground::Choice) | None, "") => Some(String::new()),
            (Some(Ground::Choice), _) => {
                fields.wrong("proof_reference", "must be empty for a choice");
                None
            }
            (_, text) => fields.parse("proof_reference", vocabulary::text(text, PROOF_LENGTH)),
        };
        let (Some(request_id), Some(key), Some(fktp), Some(ground), Some(proof)) =
            (request_id, key, fktp, ground, proof)
        else {
            return Err(fields.into());
        };
        fields.finish()?;

        let mutation = Mutation::new(&call, &message, request_id);
        if let Some(answer) = mutation.replayed(&self.db).await? {
            return Ok(answer);
        }
        let starts = next_month(call.today);
        self.facilities.fit(&call, &fktp, starts).await?.check("fktp_code")?;

        let mut write = match mutation.begin(&self.db).await? {
            Begun::Replayed(answer) => return Ok(answer),
            Begun::Fresh(write) => write,
        };
        let before = locked(&mut write, &key).await?;
        let rule = self.rules.choice.on(call.today)?;
        let from =
            fktp_choice::change(rule, &before.choices, &fktp, ground, call.today).map_err(Error::from)?;
        store::change_fktp(write.connection(), before.member_id, &fktp, from, ground, &proof)
            .await
            .map_err(Error::from)?;
        let event = pb::FktpChanged {
            member_id: before.member_id.to_string(),
            before: Some(map::standing(&before, call.today)),
            fktp_code: fktp.to_string(),
            effective_from: from.to_string(),
            ground: map::ground(ground).into(),
        };
        write.emit(&before.member_id.to_string(), &event).await?;
        let after = read(&mut write, &key).await?;
        let answer = pb::ChangeFktpResponse {
            member: Some(map::member(&after, call.today)),
            effective_from: from.to_string(),
        };
        Ok(self.commit(write, before.family_id, answer).await?)
    }

    pub(super) async fn verify(
        &self,
        call: Call,
        message: pb::VerifyNikRequest,
    ) -> Result<pb::VerifyNikResponse, Status> {
        let mut fields = Fields::new();
        let request_id = fields.parse("request_id", RequestId::parse(&message.request_id));
        let key = fields.parse("member_id", parse::member_key(&message.member_id));
        let (Some(request_id), Some(key)) = (request_id, key) else { return Err(fields.into()) };
        fields.finish()?;

        let asked_as = request_id.to_string();
        let mutation = Mutation::new(&call, &message, request_id);
        if let Some(answer) = mutation.replayed(&self.db).await? {
            return Ok(answer);
        }
        let record = self.find(&key, call.today).await?;
        let question = Question {
            nik: record.nik.expose(),
            name: record.name.expose(),
            birth_date: record.birth_date,
            sex: record.sex.to_ascii_lowercase(),
        };
        let known_deceased = record.ended_why.as_deref() == Some(Ended::Deceased.as_str());
        let (verdict, discrepancies) =
            self.registry.verify(&question, &asked_as, &call.traceparent, known_deceased).await?;

        let mut write = match mutation.begin(&self.db).await? {
            Begun::Replayed(answer) => return Ok(answer),
            Begun::Fresh(write) => write,
        };
        store::lock_family_of(write.connection(), &key).await.map_err(Error::from)?;
        let before = read(&mut write, &key).await?;
        let words: Vec<_> = discrepancies.iter().map(|one| one.as_str().to_owned()).collect();
        store::keep_nik_answer(&mut write, before.member_id, verdict.as_str(), &words, call.received_at)
            .await?;
        let result = map::verdict(verdict).into();
        let discrepancies: Vec<i32> =
            discrepancies.into_iter().map(|one| map::discrepancy(one).into()).collect();
        let checked_at = Some(to_proto(call.received_at));
        let event = pb::NikVerified {
            member_id: before.member_id.to_string(),
            result,
            discrepancies: discrepancies.clone(),
            checked_at,
            previous_result: map::nik_result(before.nik_result.as_deref()).into(),
            standing: Some(map::standing(&before, call.today)),
        };
        write.emit(&before.member_id.to_string(), &event).await?;
        let verification = Some(pb::NikVerification { result, discrepancies, checked_at });
        let answer = pb::VerifyNikResponse { member_id: before.member_id.to_string(), verification };
        Ok(self.commit(write, before.family_id, answer).await?)
    }
}

/// The member, in the open transaction.
pub(super) async fn read(write: &mut Write, key: &Key) -> Result<Record, Error> {
    store::record(write.connection(), key).await?.ok_or(Error::MemberNotFound)
}

/// The member of a membership that runs, its family kept to the open transaction.
pub(super) async fn locked(write: &mut Write, key: &Key) -> Result<Record, Error> {
    store::lock_family_of(write.connection(), key).await?;
    let record = read(write, key).await?;
    if record.ended_on.is_some() { Err(Error::MembershipEnded) } else { Ok(record) }
}

/// Where a page of a family ended: the head comes first.
#[derive(Debug, PartialEq, Eq)]
struct Place {
    behind_the_head: bool,
    member_id: Uuid,
}

impl Place {
    fn of(record: &Record) -> Self {
        Self {
            behind_the_head: map::relation(&record.relation) != pb::Relation::Head,
            member_id: record.member_id,
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let (order, id) = text.split_once('.')?;
        let behind_the_head = match order {
            "0" => false,
            "1" => true,
            _ => return None,
        };
        Some(Self { behind_the_head, member_id: parse::family_id(id).ok()? })
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", u8::from(self.behind_the_head), self.member_id)
    }
}
