//! Filings: a month of claims with its papers, and the record of its completeness.

use crate::{
    refusal::{fact, reason},
    served::Served,
    settlement::{open_batch, post},
    wishes::{BPJS, HOSPITAL, OTHER, coding, day, key, today},
};
use proto::claims::v1 as pb;
use tonic::Status;

pub(crate) fn filing(month: jiff::civil::Date, claims: i32, rupiah: i64) -> pb::FileMonthRequest {
    pb::FileMonthRequest {
        request_id: key(),
        month: month.strftime("%Y-%m").to_string(),
        claims,
        claims_rupiah: rupiah,
        documents: vec![pb::Document { kind: pb::DocumentKind::Other.into(), reference: "SPTJM-1".into() }],
    }
}

pub(crate) async fn filed(served: &Served, request: pb::FileMonthRequest) -> Result<pb::Filing, Status> {
    Ok(served.settlement(HOSPITAL).file_month(request).await?.into_inner().filing.unwrap())
}

async fn stated(
    served: &Served,
    filing: &pb::Filing,
    completeness: pb::Completeness,
) -> Result<pb::Filing, Status> {
    let returned = completeness == pb::Completeness::Returned;
    let request = pb::StateCompletenessRequest {
        request_id: key(),
        filing_id: filing.filing_id.clone(),
        completeness: completeness.into(),
        note: if returned { "two receipts are missing".into() } else { String::new() },
    };
    Ok(served.settlement(BPJS).state_completeness(request).await?.into_inner().filing.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_month_is_filed_returned_filed_again_and_complete() {
    let served = Served::start().await;
    assert_eq!(reason(&filed(&served, filing(today(), 1, 1)).await.unwrap_err()), "NOTHING_TO_FILE");
    let claims = [served.payable(today()).await, served.payable(today()).await];
    let sum: i64 = claims.iter().map(|claim| claim.approved_rupiah).sum();
    let differs = filed(&served, filing(today(), 2, sum - 1)).await.unwrap_err();
    assert_eq!(reason(&differs), "RECAPITULATION_DIFFERS");
    assert_eq!((fact(&differs, "claims"), fact(&differs, "claims_rupiah")), ("2".into(), sum.to_string()));

    let first = filed(&served, filing(today(), 2, sum)).await.unwrap();
    assert_eq!((first.number, first.state(), first.in_time), (1, pb::FilingState::Awaiting, true));
    assert_eq!(
        (first.completeness_due_on.clone(), first.payment_due_on.clone()),
        (day(10).to_string(), day(25).to_string())
    );
    assert_eq!(first.complete_on, "");
    let due = async || {
        let clocks = served.read(&claims[0]).await.clocks.unwrap();
        (clocks.completeness_due_on, clocks.payment_due_on)
    };
    assert_eq!(due().await, (day(10).to_string(), day(25).to_string()));
    assert_eq!(reason(&filed(&served, filing(today(), 2, sum)).await.unwrap_err()), "NOTHING_TO_FILE");
    // Until it is complete, nothing of it is paid.
    let batch = open_batch(&served).await.unwrap();
    let refused = post(&served, &batch, &[&claims[0]]).await.unwrap_err();
    assert_eq!(reason(&refused), "CLAIMS_NOT_POSTABLE");

    let returned = stated(&served, &first, pb::Completeness::Returned).await.unwrap();
    assert_eq!((returned.state(), returned.payment_due_on.as_str()), (pb::FilingState::Returned, ""));
    assert_eq!(returned.note, "two receipts are missing");
    assert_eq!(due().await.1, "", "what is returned is not due");
    assert_eq!(stated(&served, &first, pb::Completeness::Returned).await.unwrap(), returned);
    let otherwise = stated(&served, &first, pb::Completeness::Complete).await.unwrap_err();
    assert_eq!(
        (reason(&otherwise).as_str(), fact(&otherwise, "state").as_str()),
        ("COMPLETENESS_STATED", "RETURNED")
    );
    assert!(post(&served, &batch, &[&claims[0]]).await.is_err());

    let second = filed(&served, filing(today(), 2, sum)).await.unwrap();
    assert_eq!(second.number, 2);
    let complete = stated(&served, &second, pb::Completeness::Complete).await.unwrap();
    assert_eq!(
        (complete.state(), complete.complete_on.clone()),
        (pb::FilingState::Complete, today().to_string())
    );
    assert_eq!(complete.payment_due_on, day(15).to_string());
    assert_eq!(post(&served, &batch, &[&claims[0], &claims[1]]).await.unwrap().posted, 2);
    let work = served.work(BPJS).list_work(pb::ListWorkRequest::default()).await.unwrap().into_inner();
    let payment = work.items[0].clocks.iter().find(|clock| clock.clock() == pb::WorkClock::Payment);
    assert_eq!(payment.unwrap().due_on, day(15).to_string(), "the work list counts from the record");
    assert_eq!(due().await.1, day(15).to_string(), "and so does the claim");
    let listed = served.claims(BPJS).list_claims(pb::ListClaimsRequest::default()).await.unwrap();
    assert!(
        listed
            .into_inner()
            .claims
            .into_iter()
            .all(|one| one.clocks.unwrap().payment_due_on == day(15).to_string())
    );

    let own = pb::ListFilingsRequest::default();
    let listed = served.settlement(HOSPITAL).list_filings(own.clone()).await.unwrap().into_inner().filings;
    assert_eq!(listed.iter().map(|one| one.number).collect::<Vec<_>>(), [1, 2]);
    assert!(served.settlement(OTHER).list_filings(own).await.unwrap().into_inner().filings.is_empty());
    let get = pb::GetFilingRequest { filing_id: second.filing_id };
    let read = served.settlement(HOSPITAL).get_filing(get).await.unwrap().into_inner().filing.unwrap();
    assert_eq!(read.documents[0].reference, "SPTJM-1");
    let kinds = served.kinds(14).await;
    let of_filing = kinds.iter().filter(|kind| ["MonthFiled", "CompletenessStated"].contains(&kind.as_str()));
    assert_eq!(of_filing.count(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_answer_to_a_claim_that_comes_back_counts_from_its_filing() {
    let served = Served::start().await;
    let pending = served.pending(today()).await;
    let amount = pending.grouping.as_ref().unwrap().tariff_rupiah;
    filed(&served, filing(today(), 1, amount)).await.unwrap();
    sqlx::query("update filing set filed_at = filed_at - interval '3 days'")
        .execute(&served.database.pool)
        .await
        .unwrap();
    let cured = served.set(&pending, coding(today(), "E11.9")).await.unwrap();
    let back = served.finalised(&served.grouped(&cured).await).await.unwrap();
    let answered = served.submitted(&back).await.unwrap();
    assert_eq!(answered.state(), pb::ClaimState::Resubmitted);
    let read = served.read(&answered).await;
    assert_eq!(answered.clocks, read.clocks);
    assert_eq!(read.clocks.unwrap().completeness_due_on, day(7).to_string(), "ten days from the filing");
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_days_of_silence_count_as_complete_and_nothing_is_stored_for_it() {
    let served = Served::start().await;
    let claim = served.payable(today()).await;
    let first = filed(&served, filing(today(), 1, claim.approved_rupiah)).await.unwrap();
    let read = async || {
        let get = pb::GetFilingRequest { filing_id: first.filing_id.clone() };
        served.settlement(BPJS).get_filing(get).await.unwrap().into_inner().filing.unwrap()
    };
    let earlier = async |days: i32| {
        sqlx::query("update filing set filed_at = filed_at - make_interval(days => $1)")
            .bind(days)
            .execute(&served.database.pool)
            .await
            .unwrap();
    };
    earlier(10).await;
    assert_eq!(read().await.state(), pb::FilingState::Awaiting, "the tenth day is not over");
    earlier(1).await;
    let deemed = read().await;
    assert_eq!((deemed.state(), deemed.complete_on), (pb::FilingState::DeemedComplete, day(-1).to_string()));
    let late = stated(&served, &first, pb::Completeness::Returned).await.unwrap_err();
    assert_eq!(
        (reason(&late).as_str(), fact(&late, "state").as_str(), fact(&late, "on")),
        ("COMPLETENESS_STATED", "DEEMED_COMPLETE", day(-1).to_string())
    );
    let batch = open_batch(&served).await.unwrap();
    assert_eq!(post(&served, &batch, &[&claim]).await.unwrap().posted, 1);
    let record = stated(&served, &first, pb::Completeness::Complete).await.unwrap();
    assert_eq!(record.complete_on, day(-1).to_string(), "a record that comes late does not move the day");
}
