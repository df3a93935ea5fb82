//! A hospital sends what it has at once, over one stream, some file it, and BPJS-K pays it in one batch.

use jiff::civil::Date;
use proto::claims::v1 as claims;
use rand::{RngExt, seq::IndexedRandom};

use super::{
    claim::{OpenClaim, SERVICE},
    episode::visit,
    given,
};
use crate::campaign::{
    caller::{Caller, Patient},
    cast::Facility,
    desk::Stopped,
    journal::Told,
};

/// Most claims of one stream.
const MOST_CLAIMS: usize = 5;

impl Caller {
    pub(crate) async fn month(&mut self) -> Result<(), Stopped> {
        let own = Facility::of_caller(self.number).filter(|_| self.desk.chance.random_bool(0.5));
        let hospital = match own {
            Some(own) => own,
            None => *given(Facility::hospitals().choose(&mut self.desk.chance))?,
        };
        let day = self.today();
        let mut open = Vec::new();
        for _ in 0..self.desk.chance.random_range(2..=MOST_CLAIMS) {
            let Some(mut patient) = self.take_patient_new_to(hospital) else { break };
            let sep_number = self.emergency(&patient, hospital, day).await?;
            patient.admitted.push(hospital);
            open.push(self.prepared(&patient, hospital, sep_number, day).await?);
            self.patients.push(patient);
        }
        if open.is_empty() {
            return Ok(());
        }
        let claim_ids: Vec<_> = open.iter().map(|claim| claim.claim_id.clone()).collect();
        let caller = hospital.caller();
        let answers = self.desk.submit_all(&caller, &claim_ids, |answer| {
            let mut told = vec![Told::of::<claims::ClaimSubmitted>(SERVICE, &answer.claim_id)];
            if answer.pending.is_some() {
                told.push(Told::of::<claims::ClaimPended>(SERVICE, &answer.claim_id));
            }
            told
        });
        let answers = answers.await?;
        if own.is_some() {
            self.filed(hospital, day, &open).await?;
        }
        let mut payable = Vec::new();
        for answer in answers {
            let asked = answer.pending.as_ref().map(|pending| pending.round);
            let place = open.iter().position(|claim| claim.claim_id == answer.claim_id);
            let mut claim: OpenClaim = open.swap_remove(given(place)?);
            if let Some(rupiah) = self.approved(&mut claim, asked).await? {
                payable.push((claim.claim_id, rupiah));
            }
        }
        self.paid_together(hospital, payable).await
    }

    /// A patient without a SEP of today at the hospital.
    fn take_patient_new_to(&mut self, hospital: Facility) -> Option<Patient> {
        let places: Vec<usize> = (0..self.patients.len())
            .filter(|place| !self.patients[*place].admitted.contains(&hospital))
            .collect();
        places.choose(&mut self.desk.chance).map(|place| self.patients.swap_remove(*place))
    }

    /// A SEP for an emergency, which needs no referral; its number.
    async fn emergency(
        &mut self,
        patient: &Patient,
        hospital: Facility,
        day: Date,
    ) -> Result<String, Stopped> {
        let request = visit(patient, day, claims::Entry::Emergency);
        self.issued(hospital, request).await
    }
}
