//! From the registration of the family to the SEP: membership, P-Care, SISRUTE, V-Klaim.

use anyhow::ensure;
use jiff::ToSpan;
use proto::{
    claims::v1 as claims, membership::v1 as membership, primary_care::v1 as primary_care,
    referral::v1 as referral,
};

use super::{
    BANK, BPJS, Run,
    cast::{CLINIC, Facility, HOSPITAL, PUSKESMAS, Person},
    desk::{Desks, given, key, tell_civil_registry},
    report::Edge,
};

/// Angina: a specialist's diagnosis, so that the referral needs no TACC reason.
pub(super) const DIAGNOSIS: &str = "I20.9";

/// What a SEP proves: each of these answered before it was issued, and it cites the referral of P-Care.
const SEP_EDGES: [Edge; 4] =
    [Edge::MembershipVklaim, Edge::PcareVklaim, Edge::VklaimSisrute, Edge::VklaimSiaf];

/// The registered people, in the order of the cast.
pub(super) struct People {
    pub(super) family: Vec<membership::Member>,
    pub(super) unpaid: membership::Member,
    pub(super) poor: membership::Member,
}

/// A patient with a SEP.
pub(super) struct Patient {
    pub(super) person: Person,
    pub(super) referral_number: String,
    pub(super) sep_number: String,
}

/// What came of the visits.
pub(super) struct Visited {
    pub(super) first: Patient,
    pub(super) second: Patient,
}

impl Run<'_> {
    /// Families registered, a NIK verified, a contribution posted.
    pub(super) async fn registered(&mut self, registry: &str) -> anyhow::Result<People> {
        let (desks, cast, today) = (self.desks, self.cast, self.today);
        let residents = tell_civil_registry(registry, cast.residents());
        self.report.step("civil registry", "people entered in the stand-in", &[], residents).await?;
        let since = today.checked_sub(120.days())?.to_string();
        let poor = register(desks, &cast.poor, membership::Segment::Pbi, &since);
        let poor = self.report.step(BPJS, "a family of PBI registered since 120 days", &[], poor).await?;
        let unpaid = register(desks, &cast.unpaid, membership::Segment::Pbpu, "");
        let unpaid = self.report.step(BPJS, "a self-paying family registered, not paid", &[], unpaid).await?;
        let family = register(desks, &cast.family, membership::Segment::Pbpu, "");
        let family = self.report.step(BPJS, "the family registered, self-paying", &[], family).await?;

        let head = given(family.first().cloned())?;
        let verified = async {
            let request =
                membership::VerifyNikRequest { request_id: key(), member_id: head.member_id.clone() };
            let answer = desks.membership(BPJS)?.verify_nik(request).await?.into_inner();
            let result = given(answer.verification)?.result();
            ensure!(
                result == membership::NikResult::Matched,
                "the civil registry answered {}",
                result.as_str_name()
            );
            Ok(())
        };
        self.report.step(BPJS, "NIK verified against the civil registry", &[], verified).await?;
        let posted = pay(desks, &head);
        self.report.step(BANK, "contribution posted, the family is eligible", &[], posted).await?;
        Ok(People {
            family,
            unpaid: given(unpaid.into_iter().next())?,
            poor: given(poor.into_iter().next())?,
        })
    }

    /// Two visits that end in a referral, both accepted, and a SEP for each.
    pub(super) async fn cared_for(&mut self, people: &People) -> anyhow::Result<Visited> {
        let [head, spouse, ..] = people.family.as_slice() else {
            anyhow::bail!("the family has fewer than two members")
        };
        let [ayah, ibu, ..] = self.cast.family.as_slice() else {
            anyhow::bail!("the cast has fewer than two persons")
        };
        let first = self.patient(head, ayah).await?;
        let second = self.patient(spouse, ibu).await?;
        Ok(Visited { first, second })
    }

    async fn patient(&mut self, member: &membership::Member, person: &Person) -> anyhow::Result<Patient> {
        let (desks, today) = (self.desks, self.today.to_string());
        let (fktp, hospital) = (PUSKESMAS.caller(), HOSPITAL.caller());
        let visit = self
            .report
            .step(&fktp, "P-Care visit, examined", &[], visit(desks, &member.member_id, &today))
            .await?;
        self.report.step(&fktp, "SISRUTE names the hospital as a candidate", &[], candidate(desks)).await?;
        let referral_number =
            self.report.step(&fktp, "visit ends in a referral", &[], refer(desks, &visit, &HOSPITAL)).await?;
        let accepted = async {
            let request = referral::AcceptReferralRequest {
                request_id: key(),
                referral_number: referral_number.clone(),
            };
            desks.referral(&hospital)?.accept_referral(request).await?;
            Ok(())
        };
        self.report.step(&hospital, "referral accepted", &[], accepted).await?;
        let issued = async {
            let request = sep(&member.member_id, &today, &referral_number);
            let sep = given(desks.seps(&hospital)?.issue_sep(request).await?.into_inner().sep)?;
            for edge in [Edge::MembershipVklaim, Edge::VklaimSisrute, Edge::VklaimSiaf] {
                let kept = sep.evidence.iter().any(|evidence| evidence.edge == edge.name());
                ensure!(kept, "the SEP does not keep the answer over {}", edge.name());
            }
            Ok(sep.sep_number)
        };
        let title = "SEP issued on the answers of membership, SISRUTE and SIAF";
        let sep_number = self.report.step(&hospital, title, &SEP_EDGES, issued).await?;
        let arrived = async {
            let request = referral::RecordArrivalRequest {
                request_id: key(),
                referral_number: referral_number.clone(),
            };
            desks.referral(&hospital)?.record_arrival(request).await?;
            Ok(())
        };
        self.report.step(&hospital, "arrival recorded", &[], arrived).await?;
        Ok(Patient { person: person.clone(), referral_number, sep_number })
    }
}

async fn register(
    desks: &Desks,
    people: &[Person],
    segment: membership::Segment,
    covered_from: &str,
) -> anyhow::Result<Vec<membership::Member>> {
    let terms = membership::FamilyTerms {
        segment: segment.into(),
        care_class: membership::CareClass::CareClass3.into(),
        monthly_wage_rupiah: 0,
    };
    let request = membership::RegisterFamilyRequest {
        request_id: key(),
        terms: Some(terms),
        members: people.iter().map(Person::entry).collect(),
        covered_from: covered_from.to_owned(),
    };
    let members = desks.membership(BPJS)?.register_family(request).await?.into_inner().members;
    ensure!(
        members.len() == people.len(),
        "{} members were registered instead of {}",
        members.len(),
        people.len()
    );
    Ok(members)
}

async fn is_eligible(desks: &Desks, member_id: &str) -> anyhow::Result<bool> {
    let request = membership::CheckEligibilityRequest {
        known: Some(membership::check_eligibility_request::Known::MemberId(member_id.to_owned())),
        ..membership::CheckEligibilityRequest::default()
    };
    Ok(desks.membership(BPJS)?.check_eligibility(request).await?.into_inner().eligible)
}

async fn pay(desks: &Desks, head: &membership::Member) -> anyhow::Result<()> {
    use membership::{get_contribution_statement_request as asked, post_contribution_request as paid};
    ensure!(
        !is_eligible(desks, &head.member_id).await?,
        "the family was eligible before its first contribution"
    );
    let mut bank = desks.membership(BANK)?;
    let statement = bank
        .get_contribution_statement(membership::GetContributionStatementRequest {
            known: Some(asked::Known::CardNumber(head.card_number.clone())),
            ..membership::GetContributionStatementRequest::default()
        })
        .await?
        .into_inner();
    bank.post_contribution(membership::PostContributionRequest {
        request_id: key(),
        bank_reference: format!("BNI-{}", key()),
        known: Some(paid::Known::CardNumber(head.card_number.clone())),
        amount_rupiah: statement.settle_rupiah,
        paid_on: String::new(),
    })
    .await?;
    ensure!(is_eligible(desks, &head.member_id).await?, "the family is not eligible after its contribution");
    Ok(())
}

/// An examined sick visit; its number.
pub(super) async fn visit(desks: &Desks, member_id: &str, date: &str) -> anyhow::Result<String> {
    let mut fktp = desks.primary_care(&PUSKESMAS.caller())?;
    let registered = fktp
        .register_visit(primary_care::RegisterVisitRequest {
            request_id: key(),
            member: Some(primary_care::register_visit_request::Member::MemberId(member_id.to_owned())),
            kind: primary_care::VisitKind::Sick.into(),
            visit_date: date.to_owned(),
            complaint: "chest pain on effort".to_owned(),
            ..primary_care::RegisterVisitRequest::default()
        })
        .await?;
    let visit_number = given(registered.into_inner().visit)?.visit_number;
    let vital_signs = primary_care::VitalSigns {
        systolic_mmhg: Some(150),
        diastolic_mmhg: Some(95),
        heart_rate: Some(88),
        consciousness: primary_care::Consciousness::Alert.into(),
        ..primary_care::VitalSigns::default()
    };
    fktp.record_vital_signs(primary_care::RecordVitalSignsRequest {
        request_id: key(),
        visit_number: visit_number.clone(),
        vital_signs: Some(vital_signs),
    })
    .await?;
    let laboratory_results = primary_care::LaboratoryResults {
        random_glucose_mg_dl: Some(116),
        ..primary_care::LaboratoryResults::default()
    };
    fktp.record_laboratory_results(primary_care::RecordLaboratoryResultsRequest {
        request_id: key(),
        visit_number: visit_number.clone(),
        laboratory_results: Some(laboratory_results),
    })
    .await?;
    // Isosorbide dinitrate, to be taken when it hurts.
    fktp.record_drugs(primary_care::RecordDrugsRequest {
        request_id: key(),
        visit_number: visit_number.clone(),
        drugs: vec![primary_care::Drug { atc_code: "C01DA08".to_owned(), quantity: 10 }],
    })
    .await?;
    fktp.record_diagnoses(primary_care::RecordDiagnosesRequest {
        request_id: key(),
        visit_number: visit_number.clone(),
        diagnosis_codes: vec![DIAGNOSIS.to_owned()],
    })
    .await?;
    Ok(visit_number)
}

async fn candidate(desks: &Desks) -> anyhow::Result<()> {
    let mut sisrute = desks.referral(&PUSKESMAS.caller())?;
    let mut page_token = String::new();
    loop {
        let request = referral::ListCandidatesRequest {
            poli_code: CLINIC.to_owned(),
            care_type: referral::CareType::Outpatient.into(),
            max_distance_km: 25.0,
            page_size: 500,
            page_token,
            ..referral::ListCandidatesRequest::default()
        };
        let page = sisrute.list_candidates(request).await?.into_inner();
        if page.candidates.iter().any(|candidate| candidate.facility_code == HOSPITAL.code) {
            return Ok(());
        }
        ensure!(!page.next_page_token.is_empty(), "the hospital is no candidate");
        page_token = page.next_page_token;
    }
}

/// Refers a visit to a facility; the number of the referral.
pub(super) async fn refer(
    desks: &Desks,
    visit_number: &str,
    destination: &Facility,
) -> anyhow::Result<String> {
    let request = primary_care::ReferVisitRequest {
        request_id: key(),
        visit_number: visit_number.to_owned(),
        destination_facility_code: destination.code.to_owned(),
        poli_code: CLINIC.to_owned(),
        criterion: Some(primary_care::refer_visit_request::Criterion::DiagnosticEffort(
            "exercise test and echocardiography".to_owned(),
        )),
        ..primary_care::ReferVisitRequest::default()
    };
    let visit = desks.primary_care(&PUSKESMAS.caller())?.refer_visit(request).await?.into_inner().visit;
    Ok(given(given(visit)?.referral)?.referral_number)
}

/// A request for a SEP of an out-patient visit; without a referral, of an emergency.
pub(super) fn sep(member_id: &str, date: &str, referral_number: &str) -> claims::IssueSepRequest {
    let entry = if referral_number.is_empty() { claims::Entry::Emergency } else { claims::Entry::Referral };
    claims::IssueSepRequest {
        request_id: key(),
        member_id: member_id.to_owned(),
        service_date: date.to_owned(),
        care_type: claims::CareType::Outpatient.into(),
        entry: entry.into(),
        poli_code: CLINIC.to_owned(),
        referral_number: referral_number.to_owned(),
        initial_diagnosis: DIAGNOSIS.to_owned(),
        medical_record_number: "RM-000001".to_owned(),
        visit_purpose: claims::VisitPurpose::Normal.into(),
        ..claims::IssueSepRequest::default()
    }
}
