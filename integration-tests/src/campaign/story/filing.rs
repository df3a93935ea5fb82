//! A hospital files what it submitted, and BPJS-K states that the papers are complete, or returns them.

use jiff::civil::Date;
use proto::claims::v1 as claims;
use rand::RngExt;

use super::{
    claim::{OpenClaim, SERVICE, summary},
    given,
};
use crate::campaign::{
    caller::Caller,
    cast::{BPJS, Facility},
    desk::Stopped,
    journal::Told,
};

impl Caller {
    /// Files all that the hospital has submitted of a day, until it is stated to be complete.
    pub(super) async fn filed(
        &mut self,
        hospital: Facility,
        day: Date,
        submitted: &[OpenClaim],
    ) -> Result<(), Stopped> {
        loop {
            let request = claims::FileMonthRequest {
                month: day.strftime("%Y-%m").to_string(),
                claims: i32::try_from(submitted.len()).unwrap_or_default(),
                claims_rupiah: submitted.iter().map(|claim| claim.rupiah).sum(),
                documents: summary(),
                ..claims::FileMonthRequest::default()
            };
            let caller = hospital.caller();
            let filed = self.desk.write(&caller, request, |answer| {
                let filing = answer.filing.iter();
                filing.map(|filing| Told::of::<claims::MonthFiled>(SERVICE, &filing.filing_id)).collect()
            });
            let filing = given(filed.await?.filing)?;
            if self.stated(filing.filing_id).await? {
                return Ok(());
            }
        }
    }

    /// Whether a filing is stated to be complete; it is returned otherwise.
    async fn stated(&mut self, filing_id: String) -> Result<bool, Stopped> {
        let complete = self.desk.chance.random_bool(0.7);
        let (completeness, note) = if complete {
            (claims::Completeness::Complete, "")
        } else {
            (claims::Completeness::Returned, "the receipt is missing")
        };
        let told = vec![Told::of::<claims::CompletenessStated>(SERVICE, &filing_id)];
        let request = claims::StateCompletenessRequest {
            filing_id,
            completeness: completeness.into(),
            note: note.to_owned(),
            ..claims::StateCompletenessRequest::default()
        };
        let again = request.clone();
        self.desk.write(BPJS, request, |_| told).await?;
        if self.desk.chance.random_bool(0.3) {
            // The same statement under another request_id has no second effect.
            self.desk.write(BPJS, again, |_| Vec::new()).await?;
        }
        Ok(complete)
    }
}
