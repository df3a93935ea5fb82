//! Reading claims: one, a list, and their changes as they happen.

use std::pin::Pin;

use chassis::{Call, Fields, feed, page::Page, time};
use futures::{Stream, StreamExt, stream};
use jiff::{ToSpan, civil::Date};
use prost::{Message, Name};
use proto::{claims::v1 as pb, feed::v1::Event};
use tonic::Status;
use uuid::Uuid;

use super::{Claims, facility_scope, optional, sep, view};
use crate::{error::Error, store};

type Changes = Pin<Box<dyn Stream<Item = Result<pb::WatchClaimsResponse, Status>> + Send>>;

/// Reads the id of a claim.
pub(super) fn claim_id(fields: &mut Fields, path: &str, given: &str) -> Option<Uuid> {
    let parsed = Uuid::try_parse(given).ok().filter(|_| given.len() == 36);
    fields.require(path, parsed.is_some(), "must be a UUID in its form of 36 characters");
    parsed
}

impl Claims {
    pub(super) async fn get(
        &self,
        call: &Call,
        message: pb::GetClaimRequest,
    ) -> Result<pb::GetClaimResponse, Error> {
        let mut fields = Fields::new();
        let Some(id) = claim_id(&mut fields, "claim_id", &message.claim_id) else {
            return Err(fields.into());
        };
        let pool = &self.db.pool;
        let row = store::claim::get(pool, id, call.caller.facility()).await?.ok_or(Error::NoClaim)?;
        let pendings = store::claim::pendings(pool, id, false).await?;
        let steps = store::claim::steps(pool, id).await?;
        Ok(pb::GetClaimResponse { claim: Some(view::claim(&row, &self.policies, call, &pendings, &steps)?) })
    }

    pub(super) async fn list(
        &self,
        call: &Call,
        message: pb::ListClaimsRequest,
    ) -> Result<pb::ListClaimsResponse, Status> {
        let mut fields = Fields::new();
        let page = Page::parse(&mut fields, message.page_size, &message.page_token);
        let after = page.after.as_deref().and_then(|key| claim_id(&mut fields, "page_token", key));
        let state = pb::ClaimState::try_from(message.state);
        fields.require("state", state.is_ok(), "a value of ClaimState, or unspecified for all");
        let reason = pb::PendingReason::try_from(message.pending_reason);
        fields.require("pending_reason", reason.is_ok(), "a value of PendingReason, or unspecified for all");
        let care_type = sep::care_type(&mut fields, message.care_type);
        let from = optional(&mut fields, "submitted_from", &message.submitted_from, vocabulary::date);
        let to = optional(&mut fields, "submitted_to", &message.submitted_to, vocabulary::date);
        let next_day = |day: Date| day.checked_add(1.day()).ok();
        let filter = store::claim::Filter {
            facility_code: facility_scope(&mut fields, call.caller.facility(), &message.facility_code),
            state: state.ok().filter(|state| *state != pb::ClaimState::Unspecified).map(|state| state as i16),
            care_type,
            submitted_from: from.and_then(time::start_of),
            submitted_before: to.and_then(next_day).and_then(time::start_of),
            pending_reason: reason
                .ok()
                .filter(|r| *r != pb::PendingReason::Unspecified)
                .map(|reason| reason as i16),
            after,
            limit: page.size + 1,
        };
        fields.finish()?;
        let mut rows = store::claim::list(&self.db.pool, &filter).await.map_err(Error::from)?;
        let next_page_token = sep::next(&mut rows, page.size, |row| row.claim_id.to_string());
        let shown = rows.iter().map(|row| view::claim(row, &self.policies, call, &[], &[]));
        Ok(pb::ListClaimsResponse { claims: shown.collect::<Result<_, _>>()?, next_page_token })
    }

    pub(super) async fn watch(
        &self,
        call: &Call,
        message: pb::WatchClaimsRequest,
    ) -> Result<Changes, Status> {
        let mut fields = Fields::new();
        let only = facility_scope(&mut fields, call.caller.facility(), &message.facility_code);
        let position = message.after_position;
        fields.require("after_position", position.is_none_or(|after| after >= 0), "0 or a position");
        fields.finish()?;
        let from = position.map_or(feed::From::Now, feed::From::After);
        let batches = feed::tail(&self.db, call, from).await?;
        let changes = batches.flat_map(move |events| {
            let is_theirs = |change: &pb::WatchClaimsResponse| {
                only.as_ref().is_none_or(|own| change.facility_code == *own)
            };
            let changes: Vec<_> = events.iter().filter_map(change).filter(is_theirs).map(Ok).collect();
            stream::iter(changes)
        });
        Ok(Box::pin(changes))
    }
}

/// The change of a claim that an event tells of.
fn change(event: &Event) -> Option<pb::WatchClaimsResponse> {
    fn read<M: Message + Name + Default>(event: &Event) -> Option<M> {
        if event.r#type == M::full_name() { M::decode(event.body.clone()).ok() } else { None }
    }
    let whole =
        |claim_id, sep_number, facility_code, state: pb::ClaimState, round, reason| pb::WatchClaimsResponse {
            position: event.position,
            changed_at: event.occurred_at,
            claim_id,
            sep_number,
            facility_code,
            state: state.into(),
            round,
            reason,
        };
    if let Some(e) = read::<pb::ClaimGrouped>(event) {
        return Some(whole(e.claim_id, e.sep_number, e.facility_code, pb::ClaimState::Grouped, 0, 0));
    }
    if let Some(e) = read::<pb::ClaimSubmitted>(event) {
        return Some(whole(e.claim_id, e.sep_number, e.facility_code, pb::ClaimState::Submitted, 0, 0));
    }
    if let Some(e) = read::<pb::ClaimPended>(event) {
        return Some(whole(
            e.claim_id,
            e.sep_number,
            e.facility_code,
            pb::ClaimState::Pending,
            e.round,
            e.reason,
        ));
    }
    if let Some(e) = read::<pb::ClaimAnswered>(event) {
        return Some(whole(
            e.claim_id,
            e.sep_number,
            e.facility_code,
            pb::ClaimState::Resubmitted,
            e.round,
            0,
        ));
    }
    if let Some(e) = read::<pb::ClaimVerified>(event) {
        return Some(whole(e.claim_id, e.sep_number, e.facility_code, pb::ClaimState::Verified, 0, 0));
    }
    if let Some(e) = read::<pb::ClaimApproved>(event) {
        return Some(whole(e.claim_id, e.sep_number, e.facility_code, pb::ClaimState::Approved, 0, 0));
    }
    if let Some(e) = read::<pb::DisputeOpened>(event) {
        return Some(whole(e.claim_id, e.sep_number, e.facility_code, pb::ClaimState::Disputed, e.round, 0));
    }
    if let Some(e) = read::<pb::DisputeWithdrawn>(event) {
        return Some(whole(
            e.claim_id,
            e.sep_number,
            e.facility_code,
            pb::ClaimState::Pending,
            e.round,
            e.reason,
        ));
    }
    // How else a dispute is decided is told by what follows: verified, or pending.
    if let Some(e) =
        read::<pb::DisputeDecided>(event).filter(|e| e.outcome() == pb::DisputeOutcome::WithoutPayment)
    {
        return Some(whole(e.claim_id, e.sep_number, e.facility_code, pb::ClaimState::Decided, 0, 0));
    }
    let e = read::<pb::ClaimPaid>(event)?;
    Some(whole(e.claim_id, e.sep_number, e.facility_code, pb::ClaimState::Paid, 0, 0))
}
