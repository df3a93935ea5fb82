//! What the edges must hold back. Each refusal is read back: nothing may have been written.

use jiff::ToSpan;
use proto::{claims::v1 as claims, referral::v1 as referral};

use super::{
    Run,
    care::{People, Visited, refer, sep, visit},
    cast::{EXPIRED_HOSPITAL, Facility, HOSPITAL, OTHER_HOSPITAL, PUSKESMAS},
    desk::{Desks, given, key},
    report::{Edge, Expected},
};

impl Run<'_> {
    /// An ineligible member, an old referral, a refused one, one to another hospital, an expired certificate.
    pub(super) async fn refused(&mut self, people: &People, visited: &Visited) -> anyhow::Result<()> {
        let (desks, today) = (self.desks, self.today);
        let (now, fktp) = (today.to_string(), PUSKESMAS.caller());

        let ineligible = &people.unpaid.member_id;
        let title = "SEP for a member whose contribution is not paid";
        self.no_sep(
            &HOSPITAL,
            title,
            Edge::MembershipVklaim,
            because("MEMBER_NOT_ELIGIBLE", "FIRST_CONTRIBUTION_UNPAID"),
            sep(ineligible, &now, ""),
        )
        .await?;

        let old = today.checked_sub(91.days())?.to_string();
        let poor = &people.poor.member_id;
        let title = "visit and referral of 91 days ago entered";
        let old = self.report.step(&fktp, title, &[], referred(desks, poor, &old, &HOSPITAL)).await?;
        let title = "SEP on the 91st day of a referral";
        self.no_sep(
            &HOSPITAL,
            title,
            Edge::PcareVklaim,
            because("REFERRAL_NOT_USABLE", "VALIDITY_ENDED"),
            sep(poor, &now, &old),
        )
        .await?;

        let [_, _, child, other_child, ..] = people.family.as_slice() else {
            anyhow::bail!("the family has fewer than two children");
        };
        let child = &child.member_id;
        let refused = async {
            let referral_number = referred(desks, child, &now, &HOSPITAL).await?;
            let request = referral::RefuseReferralRequest {
                request_id: key(),
                referral_number: referral_number.clone(),
                refusal_reason: referral::RefusalReason::NoCapacity.into(),
                note: String::new(),
            };
            desks.referral(&HOSPITAL.caller())?.refuse_referral(request).await?;
            Ok(referral_number)
        };
        let refused = self.report.step(&HOSPITAL.caller(), "a referral refused", &[], refused).await?;
        let title = "SEP on a refused referral";
        self.no_sep(
            &HOSPITAL,
            title,
            Edge::VklaimSisrute,
            because("REFERRAL_NOT_USABLE", "REFUSED"),
            sep(child, &now, &refused),
        )
        .await?;

        let Some(head) = people.family.first() else { anyhow::bail!("the family has no head") };
        let elsewhere = sep(&head.member_id, &now, &visited.first.referral_number);
        let title = "SEP at a hospital that was not referred to";
        self.no_sep(
            &OTHER_HOSPITAL,
            title,
            Edge::VklaimSisrute,
            because("REFERRAL_NOT_USABLE", "OTHER_FACILITY"),
            elsewhere,
        )
        .await?;

        let patient = &other_child.member_id;
        let title = "a referral to a hospital whose certificate has expired";
        let sent =
            self.report.step(&fktp, title, &[], referred(desks, patient, &now, &EXPIRED_HOSPITAL)).await?;
        let title = "SEP at a hospital whose certificate has expired";
        let expired = sep(patient, &now, &sent);
        self.no_sep(
            &EXPIRED_HOSPITAL,
            title,
            Edge::VklaimSiaf,
            because("FACILITY_NOT_CERTIFIED", ""),
            expired,
        )
        .await
    }

    async fn no_sep(
        &mut self,
        hospital: &Facility,
        title: &str,
        edge: Edge,
        expected: Expected,
        request: claims::IssueSepRequest,
    ) -> anyhow::Result<()> {
        let (desks, caller) = (self.desks, hospital.caller());
        let member_id = request.member_id.clone();
        let before = seps(desks, &caller, &member_id).await?;
        let mut of_hospital = desks.seps(&caller)?;
        let issue = Box::pin(of_hospital.issue_sep(request));
        let unchanged = async { Ok(seps(desks, &caller, &member_id).await? == before) };
        self.report.refusal(&caller, title, edge, expected, issue, unchanged).await;
        Ok(())
    }
}

const fn because(reason: &'static str, because: &'static str) -> Expected {
    Expected { reason, because }
}

/// A visit on a day that ended in a referral; the number of the referral.
async fn referred(
    desks: &Desks,
    member_id: &str,
    date: &str,
    destination: &Facility,
) -> anyhow::Result<String> {
    let visit_number = visit(desks, member_id, date).await?;
    refer(desks, &visit_number, destination).await
}

/// The SEPs of a member at a hospital.
async fn seps(desks: &Desks, hospital: &str, member_id: &str) -> anyhow::Result<Vec<String>> {
    let request =
        claims::ListSepsRequest { member_id: member_id.to_owned(), ..claims::ListSepsRequest::default() };
    let listed = desks.seps(hospital)?.list_seps(request).await?.into_inner().seps;
    listed.into_iter().map(|sep| given(Some(sep.sep_number))).collect()
}
