//! What is left of an accident's package, over gRPC and on a real Postgres.

use crate::{
    refusal::{fact, reason, wrong_fields},
    served::Served,
    wishes::{BPJS, HOSPITAL, OTHER, coding, day, key, today, visit},
};
use proto::claims::v1 as pb;
use tonic::{Code, Status};

fn crash(payers: &[pb::PrimaryPayer]) -> pb::Accident {
    pb::Accident {
        kind: pb::AccidentKind::Traffic.into(),
        occurred_on: day(-1).to_string(),
        primary_payers: payers.iter().map(|payer| *payer as i32).collect(),
        police_report_number: "LP/1/2026".into(),
        ..Default::default()
    }
}

fn statement(sep: &pb::Sep, payer: pb::PrimaryPayer, amount: i64) -> pb::RecordPrimaryPaymentRequest {
    pb::RecordPrimaryPaymentRequest {
        request_id: key(),
        sep_number: sep.sep_number.clone(),
        payer: payer.into(),
        amount_rupiah: amount,
        letter_number: "SJ-12/2026".into(),
        stated_on: today().to_string(),
    }
}

async fn stated(
    served: &Served,
    request: pb::RecordPrimaryPaymentRequest,
) -> Result<pb::AccidentShare, Status> {
    Ok(served.accidents(HOSPITAL).record_primary_payment(request).await?.into_inner().share.unwrap())
}

async fn share(served: &Served, caller: &'static str, sep: &pb::Sep) -> Result<pb::AccidentShare, Status> {
    let request = pb::GetAccidentShareRequest { sep_number: sep.sep_number.clone() };
    Ok(served.accidents(caller).get_accident_share(request).await?.into_inner().share.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn jkn_pays_what_the_primary_payers_leave_to_the_rupiah() {
    let served = Served::start().await;
    let jasa_raharja = pb::PrimaryPayer::JasaRaharja;
    let wish = pb::IssueSepRequest { accident: Some(crash(&[jasa_raharja])), ..visit(today()) };
    let sep = served.issue(wish).await.unwrap();
    let claim = served.created(&sep).await;
    served.set(&claim, coding(today(), "E11.9")).await.unwrap();
    let grouped = served.grouped(&claim).await;
    let package = grouped.grouping.unwrap().tariff_rupiah;

    // Until the payer has spoken the claim is not final; once it is beyond draft, nobody speaks any more.
    let silent = served.finalised(&claim).await.unwrap_err();
    assert_eq!(
        (reason(&silent), fact(&silent, "payers")),
        ("PRIMARY_PAYER_NOT_STATED".to_owned(), "JASA_RAHARJA".to_owned())
    );
    let early = stated(&served, statement(&sep, jasa_raharja, 1)).await.unwrap_err();
    assert_eq!(reason(&early), "SEP_IN_USE", "a grouped claim is opened first");
    served.set(&claim, coding(today(), "E11.9")).await.unwrap();
    let shown = share(&served, HOSPITAL, &sep).await.unwrap();
    assert_eq!((shown.silent, shown.left_rupiah), (vec![jasa_raharja as i32], 0));

    // The last statement counts; one that bears all leaves nothing to JKN.
    let all = stated(&served, statement(&sep, jasa_raharja, package)).await.unwrap();
    assert_eq!((all.borne_rupiah, all.claim_id.as_str()), (package, claim.claim_id.as_str()));
    served.grouped(&claim).await;
    let borne = served.finalised(&claim).await.unwrap_err();
    assert_eq!(
        (reason(&borne), fact(&borne, "borne_rupiah")),
        ("PRIMARY_PAYERS_BEAR_ALL".to_owned(), package.to_string())
    );
    served.set(&claim, coding(today(), "E11.9")).await.unwrap();
    let request = statement(&sep, jasa_raharja, package - 7);
    let recorded = stated(&served, request.clone()).await.unwrap();
    assert_eq!(stated(&served, request).await.unwrap(), recorded, "the same request, the same answer");
    served.grouped(&claim).await;
    let shown = share(&served, BPJS, &sep).await.unwrap();
    assert_eq!((shown.package_rupiah, shown.borne_rupiah, shown.left_rupiah), (package, package - 7, 7));
    assert_eq!((shown.payments.len(), shown.payments[0].recorded_by.as_str()), (1, HOSPITAL));
    assert!(shown.silent.is_empty());
    assert_eq!(share(&served, OTHER, &sep).await.unwrap_err().code(), Code::NotFound);

    served.finalised(&claim).await.unwrap();
    served.submitted(&claim).await.unwrap();
    served.verified(&claim).await.unwrap();
    let approved = served.approved(&claim).await.unwrap();
    assert_eq!(approved.approved_rupiah, 7);
    let whole = served.settled(&claim, "BNI-1", package).await.unwrap_err();
    assert_eq!(
        (reason(&whole), fact(&whole, "approved_rupiah")),
        ("AMOUNT_NOT_APPROVED".to_owned(), "7".to_owned())
    );
    let paid = served.settled(&claim, "BNI-1", 7).await.unwrap();
    assert_eq!(paid.payment.unwrap().amount_rupiah, 7);
    let kinds = served.kinds(10).await;
    assert_eq!(kinds.iter().filter(|kind| *kind == "PrimaryPaymentRecorded").count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_of_the_payer_leaves_all_and_wrong_input_names_every_field() {
    let served = Served::start().await;
    let jasa_raharja = pb::PrimaryPayer::JasaRaharja;
    let wish = pb::IssueSepRequest { accident: Some(crash(&[jasa_raharja])), ..visit(today()) };
    let sep = served.issue(wish).await.unwrap();
    let plain = served.issue(visit(today())).await.unwrap();
    let rows = served.rows().await;
    let wrong = pb::RecordPrimaryPaymentRequest {
        request_id: "x".into(),
        sep_number: "x".into(),
        payer: 9,
        amount_rupiah: -1,
        letter_number: String::new(),
        stated_on: day(1).to_string(),
    };
    assert_eq!(
        wrong_fields(&stated(&served, wrong).await.unwrap_err()),
        ["request_id", "sep_number", "payer", "amount_rupiah", "letter_number", "stated_on"]
    );
    let before = pb::RecordPrimaryPaymentRequest {
        stated_on: day(-2).to_string(),
        ..statement(&sep, jasa_raharja, 1)
    };
    assert_eq!(wrong_fields(&stated(&served, before).await.unwrap_err()), ["stated_on"]);
    let other = stated(&served, statement(&sep, pb::PrimaryPayer::Taspen, 1)).await.unwrap_err();
    assert_eq!(
        (reason(&other), fact(&other, "payers")),
        ("PRIMARY_PAYER_NOT_NAMED".to_owned(), "JASA_RAHARJA".to_owned())
    );
    let none = stated(&served, statement(&plain, jasa_raharja, 1)).await.unwrap_err();
    assert_eq!(reason(&none), "PRIMARY_PAYER_NOT_NAMED");
    let foreign = served.accidents(OTHER).record_primary_payment(statement(&sep, jasa_raharja, 1)).await;
    assert_eq!(foreign.unwrap_err().code(), Code::NotFound);
    assert_eq!(served.rows().await, rows, "nothing was written for them");

    stated(&served, statement(&sep, jasa_raharja, 0)).await.unwrap();
    let claim = served.created(&sep).await;
    served.set(&claim, coding(today(), "E11.9")).await.unwrap();
    let package = served.grouped(&claim).await.grouping.unwrap().tariff_rupiah;
    served.finalised(&claim).await.unwrap();
    assert_eq!(share(&served, HOSPITAL, &sep).await.unwrap().left_rupiah, package);
    served.submitted(&claim).await.unwrap();
    served.verified(&claim).await.unwrap();
    assert_eq!(served.approved(&claim).await.unwrap().approved_rupiah, package);
}
