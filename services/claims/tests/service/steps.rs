//! The steps of SEPs and claims that tests of what comes after them begin with, and what is read of them.

use jiff::civil::Date;
use proto::{
    claims::v1 as pb,
    feed::v1::{Event, ReadEventsRequest, feed_service_client::FeedServiceClient},
};
use tonic::Status;

use crate::{
    clients::Named,
    refusal::reason,
    served::Served,
    wishes::{BPJS, HOSPITAL, coding, key, today, visit},
};

impl Served {
    /// Issues a SEP. For a day that needs an approval the hospital has it before.
    pub(crate) async fn issue(&self, wish: pb::IssueSepRequest) -> Result<pb::Sep, Status> {
        let issued = self.seps(HOSPITAL).issue_sep(wish.clone()).await;
        match issued {
            Err(status) if reason(&status) == "BACKDATE_NOT_APPROVED" => {
                let approval = self.asked(&wish, pb::SepApprovalKind::Backdate).await?;
                self.decided(&approval, pb::SepApprovalState::Approved).await?;
                Ok(*self.seps(HOSPITAL).issue_sep(wish).await?.into_inner().sep.unwrap())
            }
            issued => Ok(*issued?.into_inner().sep.unwrap()),
        }
    }

    /// Rows in all tables that a SEP or claim would leave something in.
    pub(crate) async fn rows(&self) -> i64 {
        sqlx::query_scalar(
            "select (select count(*) from sep) + (select count(*) from sep_evidence) + (select count(*) from sep_counter)
                  + (select count(*) from claim) + (select count(*) from outbox) + (select count(*) from feed)
                  + (select count(*) from idempotency)",
        )
        .fetch_one(&self.database.pool)
        .await
        .unwrap()
    }

    /// The events told so far, once there are as many as expected.
    pub(crate) async fn events(&self, expected: usize) -> Vec<Event> {
        self.database.until_told(expected).await.unwrap();
        let mut client = FeedServiceClient::with_interceptor(self.channel.clone(), Named("djsn:sismonev"));
        let request = ReadEventsRequest { after_position: 0, limit: 1000 };
        client.read_events(request).await.unwrap().into_inner().events
    }

    /// A claim on a new SEP, with this data, grouped and final.
    pub(crate) async fn coded(&self, sep: &pb::Sep, data: pb::ClaimData) -> pb::Claim {
        let claim = self.created(sep).await;
        let claim = self.set(&claim, data).await.unwrap();
        let claim = self.grouped(&claim).await;
        self.finalised(&claim).await.unwrap()
    }

    pub(crate) async fn created(&self, sep: &pb::Sep) -> pb::Claim {
        let request = pb::CreateClaimRequest { request_id: key(), sep_number: sep.sep_number.clone() };
        self.claims(HOSPITAL).create_claim(request).await.unwrap().into_inner().claim.unwrap()
    }

    pub(crate) async fn set(&self, claim: &pb::Claim, data: pb::ClaimData) -> Result<pb::Claim, Status> {
        let request =
            pb::SetClaimDataRequest { request_id: key(), claim_id: claim.claim_id.clone(), data: Some(data) };
        Ok(self.claims(HOSPITAL).set_claim_data(request).await?.into_inner().claim.unwrap())
    }

    pub(crate) async fn grouped(&self, claim: &pb::Claim) -> pb::Claim {
        let request = pb::GroupClaimRequest { request_id: key(), claim_id: claim.claim_id.clone() };
        self.claims(HOSPITAL).group_claim(request).await.unwrap().into_inner().claim.unwrap()
    }

    pub(crate) async fn finalised(&self, claim: &pb::Claim) -> Result<pb::Claim, Status> {
        let request = pb::FinaliseClaimRequest { request_id: key(), claim_id: claim.claim_id.clone() };
        Ok(self.claims(HOSPITAL).finalise_claim(request).await?.into_inner().claim.unwrap())
    }

    pub(crate) async fn submitted(&self, claim: &pb::Claim) -> Result<pb::Claim, Status> {
        let request = pb::SubmitClaimRequest { request_id: key(), claim_id: claim.claim_id.clone() };
        Ok(*self.claims(HOSPITAL).submit_claim(request).await?.into_inner().claim.unwrap())
    }

    pub(crate) async fn verified(&self, claim: &pb::Claim) -> Result<pb::Claim, Status> {
        let request = pb::RecordVerificationRequest {
            request_id: key(),
            claim_id: claim.claim_id.clone(),
            outcome: pb::VerificationOutcome::Verified.into(),
            ..Default::default()
        };
        Ok(self.claims(BPJS).record_verification(request).await?.into_inner().claim.unwrap())
    }

    pub(crate) async fn approved(&self, claim: &pb::Claim) -> Result<pb::Claim, Status> {
        let request = pb::ApproveClaimRequest { request_id: key(), claim_id: claim.claim_id.clone() };
        Ok(self.claims(BPJS).approve_claim(request).await?.into_inner().claim.unwrap())
    }

    pub(crate) async fn settled(
        &self,
        claim: &pb::Claim,
        reference: &str,
        amount: i64,
    ) -> Result<pb::Claim, Status> {
        let request = pb::SettleClaimRequest {
            request_id: key(),
            claim_id: claim.claim_id.clone(),
            payment_reference: reference.into(),
            amount_rupiah: amount,
            paid_on: today().to_string(),
        };
        Ok(self.claims(BPJS).settle_claim(request).await?.into_inner().claim.unwrap())
    }

    pub(crate) async fn read(&self, claim: &pb::Claim) -> pb::Claim {
        let request = pb::GetClaimRequest { claim_id: claim.claim_id.clone() };
        self.claims(BPJS).get_claim(request).await.unwrap().into_inner().claim.unwrap()
    }

    /// Asks for the approval that a SEP needs.
    pub(crate) async fn asked(
        &self,
        wish: &pb::IssueSepRequest,
        kind: pb::SepApprovalKind,
    ) -> Result<pb::SepApproval, Status> {
        let request = pb::RequestSepApprovalRequest {
            request_id: key(),
            kind: kind.into(),
            member_id: wish.member_id.clone(),
            service_date: wish.service_date.clone(),
            care_type: wish.care_type,
            note: "public holiday".into(),
        };
        let asked = self.approvals(HOSPITAL).request_sep_approval(request).await?;
        Ok(asked.into_inner().approval.unwrap())
    }

    /// Decides on a request for approval.
    pub(crate) async fn decided(
        &self,
        approval: &pb::SepApproval,
        decision: pb::SepApprovalState,
    ) -> Result<pb::SepApproval, Status> {
        let request = pb::DecideSepApprovalRequest {
            request_id: key(),
            approval_id: approval.approval_id.clone(),
            decision: decision.into(),
            note: "as the branch found".into(),
            valid_through: String::new(),
        };
        Ok(self.approvals(BPJS).decide_sep_approval(request).await?.into_inner().approval.unwrap())
    }

    pub(crate) async fn cancelled(&self, sep: &pb::Sep) -> Result<pb::Sep, Status> {
        let request = pb::CancelSepRequest {
            request_id: key(),
            sep_number: sep.sep_number.clone(),
            note: "entered by mistake".into(),
        };
        Ok(self.seps(HOSPITAL).cancel_sep(request).await?.into_inner().sep.unwrap())
    }

    pub(crate) async fn sep(&self, sep_number: &str) -> pb::GetSepResponse {
        let request = pb::GetSepRequest { sep_number: sep_number.into() };
        self.seps(BPJS).get_sep(request).await.unwrap().into_inner()
    }

    /// Rows in the tables around a SEP, beside those of [`Self::rows`].
    pub(crate) async fn rows_around(&self) -> i64 {
        sqlx::query_scalar(
            "select (select count(*) from sep_version) + (select count(*) from follow_up)
                  + (select count(*) from follow_up_counter) + (select count(*) from sep_approval)
                  + (select count(*) from fingerprint) + (select count(*) from outbox) + (select count(*) from feed)
                  + (select count(*) from idempotency)",
        )
        .fetch_one(&self.database.pool)
        .await
        .unwrap()
    }

    /// A claim of a visit on a day, submitted, with nothing found.
    pub(crate) async fn sent(&self, on: Date) -> pb::Claim {
        let sep = self.issue(visit(on)).await.unwrap();
        let claim = self.submitted(&self.coded(&sep, coding(on, "E11.9")).await).await.unwrap();
        assert_eq!(claim.state(), pb::ClaimState::Submitted);
        claim
    }

    /// A claim that is pending from its submission on, asked of the hospital, because of its coding.
    pub(crate) async fn pending(&self, on: Date) -> pb::Claim {
        let sep = self.issue(visit(on)).await.unwrap();
        let mut data = coding(on, "I50.0");
        data.secondary_diagnoses = vec!["I10".into()];
        let claim = self.submitted(&self.coded(&sep, data).await).await.unwrap();
        assert_eq!(claim.state(), pb::ClaimState::Pending);
        claim
    }

    /// A claim that is approved for payment.
    pub(crate) async fn payable(&self, on: Date) -> pb::Claim {
        let claim = self.verified(&self.sent(on).await).await.unwrap();
        self.approved(&claim).await.unwrap()
    }

    /// Lets a claim have been submitted so many days earlier than it was.
    pub(crate) async fn submitted_earlier(&self, claim: &pb::Claim, days: i32) {
        let moved = sqlx::query(
            "update claim set submitted_at = submitted_at - make_interval(days => $2) where claim_id = $1::uuid",
        )
        .bind(&claim.claim_id)
        .bind(days)
        .execute(&self.database.pool)
        .await
        .unwrap();
        assert_eq!(moved.rows_affected(), 1);
    }

    /// The kinds of the events told so far, without package, once there are as many as expected.
    pub(crate) async fn kinds(&self, expected: usize) -> Vec<String> {
        let events = self.events(expected).await;
        events.into_iter().map(|event| event.r#type.trim_start_matches("jkn.claims.v1.").to_owned()).collect()
    }

    /// As many more submitted claims like this one, of other members, over the 80 days before it.
    pub(crate) async fn copies(&self, claim: &pb::Claim, from: i32, to: i32) {
        let copies = [
            "with source as (select * from sep where sep_number = $1)
             insert into sep (sep_number, facility_code, member_id, service_date, care_type, clinic, emergency, issued_at, letter)
             select 'COPY' || lpad(g::text, 15, '0'), facility_code, gen_random_uuid(), service_date - g % 80, care_type, clinic,
                    emergency, issued_at, letter from source, generate_series($2, $3) g",
            "insert into claim (claim_id, sep_number, facility_code, member_id, care_type, service_date, state, steps,
                                created_at, data, grouping, tariff_rupiah, discharged_on, submitted_at)
             select gen_random_uuid(), s.sep_number, s.facility_code, s.member_id, s.care_type, s.service_date, 4, c.steps,
                    c.created_at, c.data, c.grouping, c.tariff_rupiah, s.service_date, now()
             from claim c, generate_series($2, $3) g join sep s on s.sep_number = 'COPY' || lpad(g::text, 15, '0')
             where c.sep_number = $1",
            "insert into claim_bill (claim_id, facility_code, member_id, service_date, bill)
             select c.claim_id, c.facility_code, c.member_id, c.service_date, b.bill
             from claim s join claim_bill b on b.claim_id = s.claim_id, generate_series($2, $3) g
             join claim c on c.sep_number = 'COPY' || lpad(g::text, 15, '0')
             where s.sep_number = $1",
        ];
        for copy in copies {
            sqlx::query(copy)
                .bind(&claim.sep_number)
                .bind(from)
                .bind(to)
                .execute(&self.database.pool)
                .await
                .unwrap();
        }
        sqlx::query("analyze").execute(&self.database.pool).await.unwrap();
    }
}
