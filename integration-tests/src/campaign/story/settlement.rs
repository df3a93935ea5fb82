//! BPJS-K pays a hospital: a batch is opened, approved claims are posted to it, it is closed and paid; and after an audit
//! some of what was paid is to be recovered, which later batches take off.

use proto::claims::v1 as claims;
use rand::{RngExt, seq::IndexedRandom};

use super::{claim::SERVICE, given};
use crate::campaign::{
    caller::Caller,
    cast::{BPJS, Facility},
    desk::Stopped,
    journal::Told,
};

impl Caller {
    /// Pays approved claims, each with its amount, in one batch.
    pub(super) async fn paid_together(
        &mut self,
        hospital: Facility,
        payable: Vec<(String, i64)>,
    ) -> Result<(), Stopped> {
        if payable.is_empty() {
            return Ok(());
        }
        let claim_ids: Vec<String> = payable.iter().map(|(claim_id, _)| claim_id.clone()).collect();
        let tills = self.tills.clone();
        let Some(mut till) = tills.take(hospital).await else { return Ok(()) };
        self.batch(hospital, &claim_ids).await?;
        till.put_in_order();
        drop(till);
        if self.desk.chance.random_bool(0.4) {
            let (claim_id, rupiah) = given(payable.choose(&mut self.desk.chance).cloned())?;
            self.recovered(claim_id, rupiah).await?;
        }
        Ok(())
    }

    /// A batch from its opening to its payment.
    async fn batch(&mut self, hospital: Facility, claim_ids: &[String]) -> Result<(), Stopped> {
        let request = claims::OpenBatchRequest {
            facility_code: hospital.code(),
            ..claims::OpenBatchRequest::default()
        };
        let opened = self.desk.write(BPJS, request, |_| Vec::new()).await?;
        let batch_id = given(opened.batch)?.batch_id;
        // A part, and then all of it: what is in the batch already has no second effect. What is new comes last.
        let part = claim_ids.len() / 2;
        for posted in [&claim_ids[..part], claim_ids] {
            if posted.is_empty() {
                continue;
            }
            let request = claims::PostClaimsRequest {
                batch_id: batch_id.clone(),
                claim_ids: posted.to_vec(),
                ..claims::PostClaimsRequest::default()
            };
            self.desk.write(BPJS, request, |_| Vec::new()).await?;
        }
        let request =
            claims::CloseBatchRequest { batch_id: batch_id.clone(), ..claims::CloseBatchRequest::default() };
        let told = vec![Told::of::<claims::BatchClosed>(SERVICE, &batch_id)];
        let closed = self.desk.write(BPJS, request, |_| told).await?;
        let request = claims::RecordPaymentRequest {
            batch_id: batch_id.clone(),
            payment_reference: batch_id.clone(),
            amount_rupiah: given(closed.batch)?.due_rupiah,
            paid_on: self.today().to_string(),
            ..claims::RecordPaymentRequest::default()
        };
        let again = request.clone();
        let paid = self.desk.write(BPJS, request, |answer| {
            let mut told = vec![Told::of::<claims::BatchPaid>(SERVICE, &batch_id)];
            told.extend(claim_ids.iter().map(|claim| Told::of::<claims::ClaimPaid>(SERVICE, claim)));
            if answer.penalties_earned_rupiah > 0 {
                told.push(Told::of::<claims::LatePenaltyEarned>(SERVICE, &batch_id));
            }
            told
        });
        paid.await?;
        if self.desk.chance.random_bool(0.3) {
            // The bank's reference is a key as well: the same payment under another request_id has no second effect.
            self.desk.write(BPJS, again, |_| Vec::new()).await?;
        }
        Ok(())
    }

    /// A part of what was paid for a claim is to be recovered.
    async fn recovered(&mut self, claim_id: String, paid: i64) -> Result<(), Stopped> {
        let told = vec![Told::of::<claims::RecoveryRecorded>(SERVICE, &claim_id)];
        let request = claims::RecordRecoveryRequest {
            audit_reference: format!("LHP-{claim_id}"),
            claim_id,
            amount_rupiah: self.desk.chance.random_range(1..=paid),
            decided_on: self.today().to_string(),
            ..claims::RecordRecoveryRequest::default()
        };
        let again = request.clone();
        self.desk.write(BPJS, request, |_| told).await?;
        if self.desk.chance.random_bool(0.3) {
            // So is the reference of the verdict.
            self.desk.write(BPJS, again, |_| Vec::new()).await?;
        }
        Ok(())
    }
}
