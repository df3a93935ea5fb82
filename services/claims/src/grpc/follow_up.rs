//! Control letters, in-patient orders and internal referrals over gRPC.

use chassis::{Begun, Call, Fields, Mutation, RequestId, Write, page::Page, time};
use jiff::civil::Date;
use proto::claims::v1::{self as pb, follow_up_service_server::FollowUpService};
use tonic::{Request, Response, Status};
use vocabulary::{FollowUpNumber, MemberId, Poli, SepNumber};

use super::{FollowUps, facility_scope, optional, sep};
use crate::{
    episode::Care,
    error::Error,
    follow_up::{Base, Kind, Plan, judge, usable_through},
    store::{self, follow_up::Row},
};

fn kind(kind: pb::FollowUpKind) -> Option<Kind> {
    Kind::of(i16::try_from(kind as i32).unwrap_or_default())
}

fn view(row: &Row) -> pb::FollowUp {
    let state = match (row.cancelled_at, &row.used_by) {
        (Some(_), _) => pb::FollowUpState::Cancelled,
        (None, Some(_)) => pb::FollowUpState::Used,
        (None, None) => pb::FollowUpState::Open,
    };
    pb::FollowUp {
        follow_up_number: row.follow_up_number.clone(),
        kind: row.kind.into(),
        state: state.into(),
        facility_code: row.facility_code.clone(),
        member_id: row.member_id.to_string(),
        based_on_sep_number: row.based_on.clone(),
        poli_code: row.clinic.clone(),
        doctor_code: row.doctor_code.clone(),
        planned_on: row.planned_on.to_string(),
        referral_number: row.referral_number.clone(),
        referral_poli_code: row.referral_clinic.clone(),
        usable_through: row.usable_through.to_string(),
        version: row.version,
        issued_at: Some(time::to_proto(row.issued_at)),
        used_by_sep_number: row.used_by.clone().unwrap_or_default(),
        cancelled_at: row.cancelled_at.map(time::to_proto),
        cancel_note: row.cancel_note.clone(),
        newborn_order: row.newborn_order.into(),
    }
}

async fn tell(write: &mut Write, letter: &pb::FollowUp) -> Result<(), Error> {
    let event = pb::FollowUpChanged {
        follow_up_number: letter.follow_up_number.clone(),
        kind: letter.kind,
        state: letter.state,
        facility_code: letter.facility_code.clone(),
        member_id: letter.member_id.clone(),
        based_on_sep_number: letter.based_on_sep_number.clone(),
        poli_code: letter.poli_code.clone(),
        planned_on: letter.planned_on.clone(),
        version: letter.version,
    };
    Ok(write.emit(&event.follow_up_number, &event).await?)
}

/// What a request says of the letter.
struct Said {
    clinic: &'static str,
    doctor_code: String,
    planned_on: Date,
}

fn said(fields: &mut Fields, poli_code: &str, doctor_code: &str, planned_on: &str) -> Option<Said> {
    let clinic = fields.parse("poli_code", Poli::parse(poli_code)).map(|poli| poli.as_str());
    let doctor_code = fields.parse("doctor_code", vocabulary::text(doctor_code, 10));
    let planned_on = fields.parse("planned_on", vocabulary::date(planned_on));
    Some(Said { clinic: clinic?, doctor_code: doctor_code?, planned_on: planned_on? })
}

impl FollowUps {
    /// Judges a letter on its SEP; its last day when nothing is against it.
    fn judged(&self, sep: &pb::Sep, kind: Kind, said: &Said, call: &Call) -> Result<Date, Error> {
        let inpatient = sep.care_type() == pb::CareType::Inpatient;
        let left = sep.discharge.as_ref().and_then(|discharge| discharge.discharged_at.as_ref());
        let service_date = vocabulary::date(&sep.service_date).map_err(|_| Error::Unreadable("SEP"))?;
        // A SEP issued before the day of the referral was kept with it: the referral service judges that day at the visit.
        let referred_on = (!sep.referral_number.is_empty())
            .then(|| vocabulary::date(&sep.referral_date).unwrap_or(service_date));
        let base = Base {
            service_date,
            care: if inpatient { Care::Inpatient } else { Care::Outpatient },
            clinic: &sep.poli_code,
            referral_date: referred_on,
            discharged_on: left.and_then(time::from_proto).map(time::today_at),
        };
        let plan = Plan { kind, clinic: said.clinic, planned_on: said.planned_on };
        let rules = self.policies.follow_up.on(plan.planned_on)?;
        let against = judge(rules, &base, &plan, call.today);
        if against.is_empty() {
            Ok(usable_through(rules, &base))
        } else {
            Err(Error::FollowUpNotAllowed(against))
        }
    }

    async fn issue(
        &self,
        call: &Call,
        message: pb::IssueFollowUpRequest,
    ) -> Result<pb::IssueFollowUpResponse, Error> {
        let mut fields = Fields::new();
        let request_id = fields.parse("request_id", RequestId::parse(&message.request_id));
        let of = kind(message.kind());
        fields.require("kind", of.is_some(), "a value of FollowUpKind");
        let based_on = fields.parse("based_on_sep_number", SepNumber::parse(&message.based_on_sep_number));
        let said = said(&mut fields, &message.poli_code, &message.doctor_code, &message.planned_on);
        let (Some(request_id), Some(of), Some(based_on), Some(said)) = (request_id, of, based_on, said)
        else {
            return Err(fields.into());
        };
        let mut write = match Mutation::new(call, &message, request_id).begin(&self.db).await? {
            Begun::Replayed(answer) => return Ok(answer),
            Begun::Fresh(write) => write,
        };
        // The lock keeps the SEP from being cancelled at the same time.
        let own = call.caller.facility();
        let base = store::sep::lock(write.connection(), based_on.as_str(), own).await?.ok_or(Error::NoSep)?;
        if base.cancelled_at.is_some() {
            return Err(Error::SepCancelled);
        }
        let sep = sep::view(&base)?;
        let usable_through = self.judged(&sep, of, &said, call)?;
        // A stay starts anew: the visit after it rests on the stay, not on what led there.
        let referred = base.care_type == pb::CareType::Outpatient as i16;
        let chain = |text: &str| if referred { text.to_owned() } else { String::new() };
        let mut row = Row {
            follow_up_number: String::new(),
            kind: of as i16,
            facility_code: base.facility_code,
            member_id: base.member_id,
            newborn_order: i16::try_from(sep.newborn_order).unwrap_or_default(),
            based_on: base.sep_number,
            clinic: said.clinic.to_owned(),
            doctor_code: said.doctor_code,
            planned_on: said.planned_on,
            referral_number: chain(&sep.referral_number),
            referral_clinic: chain(&sep.referral_poli_code),
            usable_through,
            version: 1,
            issued_at: call.received_at,
            used_by: None,
            cancelled_at: None,
            cancel_note: String::new(),
        };
        match store::follow_up::issue(write.connection(), &row, of.letter(), call.today).await? {
            Some(number) => row.follow_up_number = number,
            None => {
                drop(write);
                return Err(self.exists(&row).await?);
            }
        }
        let letter = view(&row);
        tell(&mut write, &letter).await?;
        Ok(write.commit(pb::IssueFollowUpResponse { follow_up: Some(letter) }).await?)
    }

    /// The refusal that names the open letter.
    async fn exists(&self, row: &Row) -> Result<Error, Error> {
        let open = store::follow_up::open(&self.db.pool, &row.based_on, row.kind, &row.clinic).await?;
        Ok(Error::FollowUpExists(open.unwrap_or_default()))
    }

    async fn change(
        &self,
        call: &Call,
        message: pb::UpdateFollowUpRequest,
    ) -> Result<pb::UpdateFollowUpResponse, Error> {
        let mut fields = Fields::new();
        let request_id = fields.parse("request_id", RequestId::parse(&message.request_id));
        let number = fields.parse("follow_up_number", FollowUpNumber::parse(&message.follow_up_number));
        fields.require("version", message.version >= 1, "the version that was read, from 1");
        let said = said(&mut fields, &message.poli_code, &message.doctor_code, &message.planned_on);
        let (Some(request_id), Some(number), Some(said), true) =
            (request_id, number, said, message.version >= 1)
        else {
            return Err(fields.into());
        };
        let mut write = match Mutation::new(call, &message, request_id).begin(&self.db).await? {
            Begun::Replayed(answer) => return Ok(answer),
            Begun::Fresh(write) => write,
        };
        let mut row = open(&mut write, call, &number).await?;
        if row.version != message.version {
            return Err(Error::VersionOutdated(row.version));
        }
        let base = store::sep::get(write.connection(), &row.based_on, None).await?;
        let base = sep::view(&base.ok_or(Error::NoSep)?)?;
        let of = Kind::of(row.kind).ok_or(Error::Unreadable("letter"))?;
        row.usable_through = self.judged(&base, of, &said, call)?;
        (row.clinic, row.doctor_code, row.planned_on) =
            (said.clinic.to_owned(), said.doctor_code, said.planned_on);
        row.version += 1;
        if !store::follow_up::change(write.connection(), &row).await? {
            drop(write);
            return Err(self.exists(&row).await?);
        }
        let letter = view(&row);
        tell(&mut write, &letter).await?;
        Ok(write.commit(pb::UpdateFollowUpResponse { follow_up: Some(letter) }).await?)
    }

    async fn cancel(
        &self,
        call: &Call,
        message: pb::CancelFollowUpRequest,
    ) -> Result<pb::CancelFollowUpResponse, Error> {
        let mut fields = Fields::new();
        let request_id = fields.parse("request_id", RequestId::parse(&message.request_id));
        let number = fields.parse("follow_up_number", FollowUpNumber::parse(&message.follow_up_number));
        let note = fields.parse("note", vocabulary::text(&message.note, 200));
        let (Some(request_id), Some(number), Some(note)) = (request_id, number, note) else {
            return Err(fields.into());
        };
        let mut write = match Mutation::new(call, &message, request_id).begin(&self.db).await? {
            Begun::Replayed(answer) => return Ok(answer),
            Begun::Fresh(write) => write,
        };
        let mut row = open(&mut write, call, &number).await?;
        store::follow_up::cancel(write.connection(), number.as_str(), call.received_at, &note).await?;
        (row.cancelled_at, row.cancel_note) = (Some(call.received_at), note);
        let letter = view(&row);
        tell(&mut write, &letter).await?;
        Ok(write.commit(pb::CancelFollowUpResponse { follow_up: Some(letter) }).await?)
    }

    async fn get(
        &self,
        call: &Call,
        message: pb::GetFollowUpRequest,
    ) -> Result<pb::GetFollowUpResponse, Error> {
        let mut fields = Fields::new();
        let number = fields.parse("follow_up_number", FollowUpNumber::parse(&message.follow_up_number));
        let Some(number) = number else { return Err(fields.into()) };
        let row = store::follow_up::get(&self.db.pool, number.as_str(), call.caller.facility()).await?;
        Ok(pb::GetFollowUpResponse { follow_up: Some(view(&row.ok_or(Error::NoFollowUp)?)) })
    }

    async fn list(
        &self,
        call: &Call,
        message: pb::ListFollowUpsRequest,
    ) -> Result<pb::ListFollowUpsResponse, Status> {
        let mut fields = Fields::new();
        let page = Page::parse(&mut fields, message.page_size, &message.page_token);
        let after =
            page.after.as_deref().and_then(|key| fields.parse("page_token", FollowUpNumber::parse(key)));
        let known = pb::FollowUpKind::try_from(message.kind);
        fields.require("kind", known.is_ok(), "a value of FollowUpKind, or unspecified for all");
        let state = pb::FollowUpState::try_from(message.state);
        fields.require("state", state.is_ok(), "a value of FollowUpState, or unspecified for all");
        let based_on = &message.based_on_sep_number;
        let filter = store::follow_up::Filter {
            facility_code: facility_scope(&mut fields, call.caller.facility(), &message.facility_code),
            member_id: optional(&mut fields, "member_id", &message.member_id, MemberId::parse)
                .map(|id| id.uuid()),
            from: optional(&mut fields, "planned_from", &message.planned_from, vocabulary::date),
            to: optional(&mut fields, "planned_to", &message.planned_to, vocabulary::date),
            kind: known.ok().filter(|kind| *kind != pb::FollowUpKind::Unspecified).map(|kind| kind as i16),
            state: state.ok().filter(|of| *of != pb::FollowUpState::Unspecified).map(|of| of as i16),
            based_on: optional(&mut fields, "based_on_sep_number", based_on, SepNumber::parse)
                .map(|number| number.as_str().to_owned()),
            after: after.map(|number| number.as_str().to_owned()),
            limit: page.size + 1,
        };
        fields.finish()?;
        let mut rows = store::follow_up::list(&self.db.pool, &filter).await.map_err(Error::from)?;
        let next_page_token = sep::next(&mut rows, page.size, |row| row.follow_up_number.clone());
        Ok(pb::ListFollowUpsResponse { follow_ups: rows.iter().map(view).collect(), next_page_token })
    }
}

/// A letter that is open, held until the transaction ends.
async fn open(write: &mut Write, call: &Call, number: &FollowUpNumber) -> Result<Row, Error> {
    let own = call.caller.facility();
    let row = store::follow_up::lock(write.connection(), number.as_str(), own).await?;
    let row = row.ok_or(Error::NoFollowUp)?;
    if row.cancelled_at.is_some() {
        return Err(Error::FollowUpCancelled);
    }
    match row.used_by {
        Some(sep_number) => Err(Error::FollowUpUsed(sep_number)),
        None => Ok(row),
    }
}

/// Hands a method on to the function that answers it.
macro_rules! answered {
    ($self:ident, $request:ident, $by:ident) => {{
        let (call, message) = chassis::call::accept($request)?;
        Ok(Response::new(Box::pin($self.$by(&call, message)).await?))
    }};
}

#[tonic::async_trait]
impl FollowUpService for FollowUps {
    async fn issue_follow_up(
        &self,
        request: Request<pb::IssueFollowUpRequest>,
    ) -> Result<Response<pb::IssueFollowUpResponse>, Status> {
        answered!(self, request, issue)
    }

    async fn update_follow_up(
        &self,
        request: Request<pb::UpdateFollowUpRequest>,
    ) -> Result<Response<pb::UpdateFollowUpResponse>, Status> {
        answered!(self, request, change)
    }

    async fn cancel_follow_up(
        &self,
        request: Request<pb::CancelFollowUpRequest>,
    ) -> Result<Response<pb::CancelFollowUpResponse>, Status> {
        answered!(self, request, cancel)
    }

    async fn get_follow_up(
        &self,
        request: Request<pb::GetFollowUpRequest>,
    ) -> Result<Response<pb::GetFollowUpResponse>, Status> {
        answered!(self, request, get)
    }

    async fn list_follow_ups(
        &self,
        request: Request<pb::ListFollowUpsRequest>,
    ) -> Result<Response<pb::ListFollowUpsResponse>, Status> {
        answered!(self, request, list)
    }
}
