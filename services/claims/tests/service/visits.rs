//! The purpose of a visit over gRPC: which fields belong to it.

use crate::{
    refusal::{reason, wrong_fields},
    served::Served,
    wishes::{HOSPITAL, admission, today, visit},
};
use proto::claims::v1 as pb;

#[tokio::test(flavor = "multi_thread")]
async fn a_sep_keeps_what_belongs_to_the_purpose_of_its_visit_and_names_all_that_does_not() {
    let served = Served::start().await;
    let wish = |purpose: pb::VisitPurpose, flag: i32, service: i32, assessment: i32| pb::IssueSepRequest {
        visit_purpose: purpose.into(),
        procedure_flag: flag,
        supporting_service: service,
        visit_assessment: assessment,
        ..visit(today())
    };
    let (flag, service) = (pb::ProcedureFlag::Course, pb::SupportingService::Haemodialysis);
    let dialysis = wish(pb::VisitPurpose::Procedure, flag as i32, service as i32, 0);
    let sep = served.issue(dialysis).await.unwrap();
    let kept = served.sep(&sep.sep_number).await.sep.unwrap();
    assert_eq!(
        (kept.visit_purpose(), kept.procedure_flag(), kept.supporting_service()),
        (pb::VisitPurpose::Procedure, flag, service)
    );
    let consult = wish(pb::VisitPurpose::Consultation, 0, 0, pb::VisitAssessment::HospitalOrder as i32);
    let consult = served.issue(consult).await.unwrap();
    assert_eq!(consult.visit_assessment(), pb::VisitAssessment::HospitalOrder);

    let rows = served.rows_around().await;
    let all = ["procedure_flag", "supporting_service", "visit_assessment"];
    for (wish, fields) in [
        (wish(pb::VisitPurpose::Normal, 1, 7, 0), &all[..2]),
        (wish(pb::VisitPurpose::Procedure, 0, 0, 1), &all[..]),
        (wish(pb::VisitPurpose::Consultation, 2, 12, 0), &all[..]),
        (wish(pb::VisitPurpose::Procedure, 1, 12, 0), &all[1..2]),
        (wish(pb::VisitPurpose::Normal, 3, 13, 6), &all[..]),
    ] {
        let refused = served.issue(wish.clone()).await.unwrap_err();
        assert_eq!(
            (reason(&refused).as_str(), wrong_fields(&refused).as_slice()),
            ("FIELDS_INVALID", &strings(fields)[..])
        );
    }
    let bed = pb::IssueSepRequest {
        visit_purpose: pb::VisitPurpose::Procedure.into(),
        procedure_flag: 1,
        supporting_service: 7,
        visit_assessment: 1,
        ..admission(1)
    };
    let refused = wrong_fields(&served.issue(bed).await.unwrap_err());
    assert_eq!(refused, ["visit_purpose", "procedure_flag", "supporting_service", "visit_assessment"]);
    let wild = pb::IssueSepRequest {
        visit_purpose: 9,
        procedure_flag: 9,
        supporting_service: 99,
        visit_assessment: 9,
        service_date: "yesterday".into(),
        ..visit(today())
    };
    let refused = wrong_fields(&served.issue(wild).await.unwrap_err());
    assert_eq!(
        refused,
        ["service_date", "visit_purpose", "procedure_flag", "supporting_service", "visit_assessment"]
    );
    assert_eq!(served.rows_around().await, rows, "nothing was written for them");
    let usual = pb::IssueSepRequest { visit_purpose: pb::VisitPurpose::Normal.into(), ..admission(1) };
    served.seps(HOSPITAL).issue_sep(usual).await.unwrap();
}

fn strings(fields: &[&str]) -> Vec<String> {
    fields.iter().map(|field| (*field).to_owned()).collect()
}
