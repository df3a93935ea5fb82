//! What the in-patient penalty comes to, for the letter: membership's terms on the package that the initial diagnosis leads
//! to.

use proto::{claims::v1 as pb, membership::v1 as master};
use vocabulary::{CareClass, Icd10, Rupiah};

use super::{Seps, issue::Told};
use crate::{
    episode::{Care, Discharge, Episode, Sex},
    error::Error,
    penalty::{Terms, owed},
    tariff::Hospital,
};

impl Seps {
    /// The letter with the estimate, where a penalty is owed.
    pub(super) fn with_penalty(&self, letter: pb::Sep, told: &Told) -> Result<pb::Sep, Error> {
        let Some(penalty) = told.eligibility.inpatient_penalty.as_ref().filter(|_| letter.inpatient_penalty)
        else {
            return Ok(letter);
        };
        let unreadable = || Error::Unreadable("terms of the penalty");
        let terms = Terms {
            months: penalty.months.try_into().map_err(|_| unreadable())?,
            basis_points_per_month: penalty.basis_points_per_month.try_into().map_err(|_| unreadable())?,
            cap: Rupiah::new(penalty.cap_rupiah).map_err(|_| unreadable())?,
        };
        let package = self.expected_package(&letter, &told.eligibility)?;
        let penalty_estimate = Some(pb::PenaltyEstimate {
            months: penalty.months,
            basis_points_per_month: penalty.basis_points_per_month,
            cap_rupiah: penalty.cap_rupiah,
            paid_by_employer: penalty.paid_by_employer,
            package_rupiah: package.map_or(0, Rupiah::get),
            estimate_rupiah: package.map_or(0, |package| owed(&terms, package).get()),
        });
        Ok(pb::Sep { penalty_estimate, ..letter })
    }

    /// The tariff of the package that the initial diagnosis alone leads to; none when it leads to none.
    fn expected_package(
        &self,
        letter: &pb::Sep,
        member: &master::CheckEligibilityResponse,
    ) -> Result<Option<Rupiah>, Error> {
        let day = vocabulary::date(&letter.service_date).map_err(|_| Error::Unreadable("SEP"))?;
        let admitted_at = letter.admitted_at.as_ref().and_then(chassis::time::from_proto);
        let (Some(admitted_at), Ok(class), Ok(primary)) = (
            admitted_at,
            CareClass::try_from(letter.entitled_class),
            Icd10::parse(&letter.initial_diagnosis),
        ) else {
            return Ok(None);
        };
        let episode = Episode {
            care: Care::Inpatient,
            admitted_at,
            discharged_at: admitted_at,
            discharge: Discharge::Approved,
            sex: if member.sex() == master::Sex::Male { Sex::Male } else { Sex::Female },
            birth_date: vocabulary::date(&member.birth_date).unwrap_or(day),
            primary,
            secondary: Vec::new(),
            procedures: Vec::new(),
            has_sitb_number: false,
            documents: Vec::new(),
            adl_sub_acute: 0,
            adl_chronic: 0,
            special: Vec::new(),
        };
        let Ok(package) = self.policies.groups.on(day)?.group(&episode) else { return Ok(None) };
        let hospital = Hospital {
            province: letter.province_code.clone(),
            class: letter.hospital_class.clone(),
            government_owned: letter.government_owned,
        };
        Ok(self.policies.tariff.on(day)?.of(&package, &hospital, class).ok().map(|tariff| tariff.amount))
    }
}
