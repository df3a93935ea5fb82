//! Requests for approval of a SEP that comes late or without a fingerprint, and validated fingerprints, over gRPC.

use chassis::{Begun, Call, Fields, Mutation, RequestId, Write, page::Page, time};
use jiff::{ToSpan, civil::Date};
use proto::claims::v1::{self as pb, sep_approval_service_server::SepApprovalService};
use tonic::{Request, Response, Status};
use uuid::Uuid;
use vocabulary::{FacilityCode, MemberId};

use super::{Approvals, facility_scope, optional};
use crate::{
    approval::{Kind, Standing, can_be_needed, standing},
    episode::Care,
    error::Error,
    sep::is_in_future,
    store::{self, sep_approval::Row},
};

fn state(row: &Row) -> pb::SepApprovalState {
    match (row.approved, &row.used_by) {
        (None, _) => pb::SepApprovalState::Asked,
        (Some(false), _) => pb::SepApprovalState::Declined,
        (Some(true), None) => pb::SepApprovalState::Approved,
        (Some(true), Some(_)) => pb::SepApprovalState::Used,
    }
}

fn view(row: &Row) -> pb::SepApproval {
    pb::SepApproval {
        approval_id: row.approval_id.to_string(),
        kind: row.kind.into(),
        state: state(row).into(),
        facility_code: row.facility_code.clone(),
        member_id: row.member_id.to_string(),
        service_date: row.service_date.to_string(),
        care_type: row.care_type.into(),
        note: row.note.clone(),
        requested_at: Some(time::to_proto(row.requested_at)),
        decided_at: row.decided_at.map(time::to_proto),
        decided_by: row.decided_by.clone(),
        decision_note: row.decision_note.clone(),
        valid_through: row.valid_through.map_or_else(String::new, |day| day.to_string()),
        used_by_sep_number: row.used_by.clone().unwrap_or_default(),
    }
}

async fn tell(write: &mut Write, row: &Row) -> Result<(), Error> {
    let event = pb::SepApprovalChanged {
        approval_id: row.approval_id.to_string(),
        kind: row.kind.into(),
        state: state(row).into(),
        facility_code: row.facility_code.clone(),
        member_id: row.member_id.to_string(),
        service_date: row.service_date.to_string(),
    };
    Ok(write.emit(&event.approval_id, &event).await?)
}

fn approval_id(fields: &mut Fields, given: &str) -> Option<Uuid> {
    let parsed = Uuid::try_parse(given).map_err(|_| "an id as RequestSepApproval gave it");
    fields.parse("approval_id", parsed)
}

impl Approvals {
    async fn ask(
        &self,
        call: &Call,
        message: pb::RequestSepApprovalRequest,
    ) -> Result<pb::RequestSepApprovalResponse, Error> {
        let mut fields = Fields::new();
        let request_id = fields.parse("request_id", RequestId::parse(&message.request_id));
        let facility = fields.parse("caller", FacilityCode::parse(&call.caller.id));
        let kind = match message.kind() {
            pb::SepApprovalKind::Unspecified => None,
            pb::SepApprovalKind::Backdate => Some(Kind::Backdate),
            pb::SepApprovalKind::Fingerprint => Some(Kind::Fingerprint),
        };
        fields.require("kind", kind.is_some(), "a value of SepApprovalKind");
        let member_id = fields.parse("member_id", MemberId::parse(&message.member_id));
        let day = fields.parse("service_date", vocabulary::date(&message.service_date));
        let care = match message.care_type() {
            pb::CareType::Unspecified => None,
            pb::CareType::Inpatient => Some(Care::Inpatient),
            pb::CareType::Outpatient => Some(Care::Outpatient),
        };
        fields.require("care_type", care.is_some(), "CARE_TYPE_INPATIENT or CARE_TYPE_OUTPATIENT");
        let note = fields.parse("note", vocabulary::text(&message.note, 200));
        let (
            Some(request_id),
            Some(facility),
            Some(kind),
            Some(member_id),
            Some(day),
            Some(care),
            Some(note),
        ) = (request_id, facility, kind, member_id, day, care, note)
        else {
            return Err(fields.into());
        };
        let mut write = match Mutation::new(call, &message, request_id).begin(&self.db).await? {
            Begun::Replayed(answer) => return Ok(answer),
            Begun::Fresh(write) => write,
        };
        if is_in_future(day, call.today) {
            return Err(Error::ServiceDateInFuture(call.today));
        }
        let rules = self.policies.sep.on(day)?;
        let began = time::start_of(day).ok_or(Error::ApprovalNotNeeded)?;
        if !can_be_needed(rules, kind, care, day, began, call.received_at, call.today) {
            return Err(Error::ApprovalNotNeeded);
        }
        let row = Row {
            approval_id: Uuid::now_v7(),
            kind: kind as i16,
            facility_code: facility.as_str().to_owned(),
            member_id: member_id.uuid(),
            service_date: day,
            care_type: i16::try_from(message.care_type).unwrap_or_default(),
            note,
            requested_at: call.received_at,
            decided_at: None,
            decided_by: String::new(),
            approved: None,
            decision_note: String::new(),
            valid_through: None,
            used_by: None,
        };
        let (member, at, care) = (row.member_id, row.facility_code.as_str(), row.care_type);
        let asked = store::sep_approval::ask(write.connection(), &row).await?;
        let made = store::sep_approval::made_for(write.connection(), member, at, day, care).await?;
        if !asked {
            let undecided = |a: &&crate::approval::Approval| a.kind == row.kind && a.approved.is_none();
            let id = made.iter().find(undecided).map_or(Uuid::nil(), |approval| approval.id);
            return Err(Error::ApprovalExists(id));
        }
        if let Standing::Holds(id) = standing(&made, kind, call.today) {
            return Err(Error::ApprovalExists(id));
        }
        tell(&mut write, &row).await?;
        Ok(write.commit(pb::RequestSepApprovalResponse { approval: Some(view(&row)) }).await?)
    }

    async fn decide(
        &self,
        call: &Call,
        message: pb::DecideSepApprovalRequest,
    ) -> Result<pb::DecideSepApprovalResponse, Status> {
        let mut fields = Fields::new();
        let request_id = fields.parse("request_id", RequestId::parse(&message.request_id));
        let id = approval_id(&mut fields, &message.approval_id);
        let approved = match message.decision() {
            pb::SepApprovalState::Approved => Some(true),
            pb::SepApprovalState::Declined => Some(false),
            _ => None,
        };
        let decisions = "SEP_APPROVAL_STATE_APPROVED or SEP_APPROVAL_STATE_DECLINED";
        fields.require("decision", approved.is_some(), decisions);
        let note = fields.parse("note", vocabulary::text(&message.note, 200));
        let through = optional(&mut fields, "valid_through", &message.valid_through, vocabulary::date);
        let may = approved != Some(false) || message.valid_through.is_empty();
        fields.require("valid_through", may, "must be empty when it is declined");
        if through.is_some_and(|day| day < call.today) {
            fields.wrong("valid_through", "must not lie before today");
        }
        let (Some(request_id), Some(id), Some(approved), Some(note)) = (request_id, id, approved, note)
        else {
            return Err(fields.into());
        };
        fields.finish()?;
        let answer = async {
            let mut write = match Mutation::new(call, &message, request_id).begin(&self.db).await? {
                Begun::Replayed(answer) => return Ok(answer),
                Begun::Fresh(write) => write,
            };
            let row = store::sep_approval::lock(write.connection(), id).await?;
            let mut row = row.ok_or(Error::NoApproval)?;
            match row.approved {
                Some(true) => return Err(Error::ApprovalDecided("APPROVED")),
                Some(false) => return Err(Error::ApprovalDecided("DECLINED")),
                None => {}
            }
            row.valid_through = if approved { Some(self.holds_through(&row, through, call)?) } else { None };
            (row.approved, row.decision_note) = (Some(approved), note);
            (row.decided_at, row.decided_by) = (Some(call.received_at), call.caller.to_string());
            store::sep_approval::decide(write.connection(), &row).await?;
            tell(&mut write, &row).await?;
            Ok(write.commit(pb::DecideSepApprovalResponse { approval: Some(view(&row)) }).await?)
        };
        Ok(answer.await?)
    }

    /// The last day on which an approval of today holds.
    fn holds_through(&self, row: &Row, wanted: Option<Date>, call: &Call) -> Result<Date, Error> {
        let days = self.policies.sep.on(row.service_date)?.approval_days;
        let last = call.today.saturating_add(days.days());
        match wanted {
            Some(day) if day > last => {
                let mut fields = Fields::new();
                fields.wrong("valid_through", format!("must not lie after {last}"));
                Err(fields.into())
            }
            wanted => Ok(wanted.unwrap_or(last)),
        }
    }

    async fn get(
        &self,
        call: &Call,
        message: pb::GetSepApprovalRequest,
    ) -> Result<pb::GetSepApprovalResponse, Error> {
        let mut fields = Fields::new();
        let id = approval_id(&mut fields, &message.approval_id);
        let Some(id) = id else { return Err(fields.into()) };
        let row = store::sep_approval::get(&self.db.pool, id, call.caller.facility()).await?;
        Ok(pb::GetSepApprovalResponse { approval: Some(view(&row.ok_or(Error::NoApproval)?)) })
    }

    async fn list(
        &self,
        call: &Call,
        message: pb::ListSepApprovalsRequest,
    ) -> Result<pb::ListSepApprovalsResponse, Status> {
        let mut fields = Fields::new();
        let page = Page::parse(&mut fields, message.page_size, &message.page_token);
        let after = page.after.as_deref().and_then(|key| {
            fields.parse("page_token", Uuid::try_parse(key).map_err(|_| "must be a next_page_token"))
        });
        let state = pb::SepApprovalState::try_from(message.state);
        fields.require("state", state.is_ok(), "a value of SepApprovalState, or unspecified for all");
        let kind = pb::SepApprovalKind::try_from(message.kind);
        fields.require("kind", kind.is_ok(), "a value of SepApprovalKind, or unspecified for all");
        let filter = store::sep_approval::Filter {
            facility_code: facility_scope(&mut fields, call.caller.facility(), &message.facility_code),
            state: state.ok().filter(|of| *of != pb::SepApprovalState::Unspecified).map(|of| of as i16),
            kind: kind.ok().filter(|of| *of != pb::SepApprovalKind::Unspecified).map(|of| of as i16),
            from: optional(&mut fields, "service_date_from", &message.service_date_from, vocabulary::date),
            to: optional(&mut fields, "service_date_to", &message.service_date_to, vocabulary::date),
            after,
            limit: page.size + 1,
        };
        fields.finish()?;
        let mut rows = store::sep_approval::list(&self.db.pool, &filter).await.map_err(Error::from)?;
        let next_page_token = super::sep::next(&mut rows, page.size, |row| row.approval_id.to_string());
        Ok(pb::ListSepApprovalsResponse { approvals: rows.iter().map(view).collect(), next_page_token })
    }

    async fn note_fingerprint(
        &self,
        call: &Call,
        message: pb::RecordFingerprintRequest,
    ) -> Result<pb::RecordFingerprintResponse, Error> {
        let mut fields = Fields::new();
        let request_id = fields.parse("request_id", RequestId::parse(&message.request_id));
        let member_id = fields.parse("member_id", MemberId::parse(&message.member_id));
        let facility = fields.parse("facility_code", FacilityCode::parse(&message.facility_code));
        let day = fields.parse("service_date", vocabulary::date(&message.service_date));
        let (Some(request_id), Some(member_id), Some(facility), Some(day)) =
            (request_id, member_id, facility, day)
        else {
            return Err(fields.into());
        };
        let mut write = match Mutation::new(call, &message, request_id).begin(&self.db).await? {
            Begun::Replayed(answer) => return Ok(answer),
            Begun::Fresh(write) => write,
        };
        if is_in_future(day, call.today) {
            return Err(Error::ServiceDateInFuture(call.today));
        }
        let (member, at) = (member_id.uuid(), call.received_at);
        let first =
            store::sep_approval::note_fingerprint(write.connection(), member, facility.as_str(), day, at)
                .await?;
        let recorded_at = Some(time::to_proto(first));
        Ok(write.commit(pb::RecordFingerprintResponse { recorded_at }).await?)
    }

    async fn fingerprint(
        &self,
        call: &Call,
        message: pb::GetFingerprintRequest,
    ) -> Result<pb::GetFingerprintResponse, Status> {
        let mut fields = Fields::new();
        let member_id = fields.parse("member_id", MemberId::parse(&message.member_id));
        let day = fields.parse("service_date", vocabulary::date(&message.service_date));
        let at = facility_scope(&mut fields, call.caller.facility(), &message.facility_code);
        let (Some(member_id), Some(day)) = (member_id, day) else { return Err(fields.into()) };
        fields.finish()?;
        let pool = &self.db.pool;
        let first = store::sep_approval::fingerprint(pool, member_id.uuid(), at.as_deref(), day).await;
        let first = first.map_err(Error::from)?;
        Ok(pb::GetFingerprintResponse { recorded_at: first.map(time::to_proto) })
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
impl SepApprovalService for Approvals {
    async fn request_sep_approval(
        &self,
        request: Request<pb::RequestSepApprovalRequest>,
    ) -> Result<Response<pb::RequestSepApprovalResponse>, Status> {
        answered!(self, request, ask)
    }

    async fn decide_sep_approval(
        &self,
        request: Request<pb::DecideSepApprovalRequest>,
    ) -> Result<Response<pb::DecideSepApprovalResponse>, Status> {
        answered!(self, request, decide)
    }

    async fn get_sep_approval(
        &self,
        request: Request<pb::GetSepApprovalRequest>,
    ) -> Result<Response<pb::GetSepApprovalResponse>, Status> {
        answered!(self, request, get)
    }

    async fn list_sep_approvals(
        &self,
        request: Request<pb::ListSepApprovalsRequest>,
    ) -> Result<Response<pb::ListSepApprovalsResponse>, Status> {
        answered!(self, request, list)
    }

    async fn record_fingerprint(
        &self,
        request: Request<pb::RecordFingerprintRequest>,
    ) -> Result<Response<pb::RecordFingerprintResponse>, Status> {
        answered!(self, request, note_fingerprint)
    }

    async fn get_fingerprint(
        &self,
        request: Request<pb::GetFingerprintRequest>,
    ) -> Result<Response<pb::GetFingerprintResponse>, Status> {
        answered!(self, request, fingerprint)
    }
}
