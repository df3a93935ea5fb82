//! Another service over several addresses.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use proto::feed::v1::{FollowEventsRequest, feed_service_client::FeedServiceClient};
use tonic::Code;
use tonic_health::ServingStatus;
use tonic_types::StatusExt;

use crate::{
    eventually,
    link::Link,
    other::{Mood, Other, ask, claims_at, list},
};

const AMPLE: Duration = Duration::from_secs(10);

/// Who answers so many calls; each must be answered.
async fn answered_by(upstream: &chassis::Upstream, calls: usize) -> BTreeMap<String, usize> {
    let mut counted = BTreeMap::new();
    for _ in 0..calls {
        *counted.entry(ask(upstream, AMPLE).await.unwrap()).or_default() += 1;
    }
    counted
}

async fn until_all_answer(upstream: &chassis::Upstream, how_many: usize) {
    eventually("answers of every address", || async {
        (answered_by(upstream, 20).await.len() == how_many).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_are_spread_and_an_address_that_dies_takes_none_with_it() {
    // Where no other test's server takes the port meanwhile.
    let (a, b) = (Other::start("a").await, Other::start_at("b", "127.0.0.2:0".parse().unwrap()).await);
    let upstream = claims_at(&list(&[&a, &b]));
    until_all_answer(&upstream, 2).await;
    let spread = answered_by(&upstream, 200).await;
    assert!(spread.values().all(|calls| *calls >= 60), "{spread:?}");

    let address = b.address;
    drop(b);
    let left = answered_by(&upstream, 200).await;
    assert_eq!(left.get("a"), Some(&200), "each call is answered, by the one that is left");
    let _again = Other::start_at("b", address).await;
    until_all_answer(&upstream, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_joins_when_it_says_that_it_serves() {
    let (a, b) = (Other::start("a").await, Other::start("b").await);
    b.health.set_service_status("claims", ServingStatus::NotServing).await;
    let upstream = claims_at(&list(&[&a, &b]));
    assert_eq!(answered_by(&upstream, 50).await.len(), 1);
    assert_eq!(b.asked(), 0);
    b.health.set_service_status("claims", ServingStatus::Serving).await;
    until_all_answer(&upstream, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_waits_for_ever_where_nobody_listens() {
    // Bound, so that no other test's server gets the port, but it does not listen.
    let taken = tokio::net::TcpSocket::new_v4().unwrap();
    taken.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let deaf = taken.local_addr().unwrap();
    for addresses in [format!("http://{deaf}"), "http://no.such.host.invalid:7000".to_owned()] {
        let upstream = claims_at(&addresses);
        let asked = Instant::now();
        let refused = ask(&upstream, AMPLE).await.unwrap_err();
        assert!(asked.elapsed() < Duration::from_secs(6), "{addresses}: {:?}", asked.elapsed());
        assert_eq!(refused.code(), Code::Unavailable);
        assert!(refused.get_details_retry_info().unwrap().retry_delay.is_some());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_be_repeated_is_and_what_may_not_is_not() {
    let other = Other::start("a").await;
    let upstream = claims_at(&list(&[&other]));
    answered_by(&upstream, 1).await;
    other.feels(Mood::Stumbles(2));
    assert_eq!(ask(&upstream, AMPLE).await.unwrap(), "a");
    assert_eq!(other.asked(), 4, "twice refused, then answered");

    other.feels(Mood::Stumbles(1));
    let mut client = FeedServiceClient::new(upstream);
    let mut stream = client.follow_events(FollowEventsRequest::default()).await.unwrap().into_inner();
    assert!(stream.message().await.unwrap().is_some());
    assert_eq!(stream.message().await.unwrap_err().code(), Code::Unavailable);
    assert_eq!(other.asked(), 5, "a stream is its caller's to open again");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_answers_badly_is_spared_in_headers_as_in_trailers() {
    let (well, ill) = (Other::start("well").await, Other::start("ill").await);
    let upstream = claims_at(&list(&[&well, &ill]));
    until_all_answer(&upstream, 2).await;
    ill.feels(Mood::Refuses);
    let before = ill.asked();
    assert_eq!(answered_by(&upstream, 300).await.get("well"), Some(&300), "a retry goes to the other one");
    assert!(ill.asked() - before <= 60, "{} of 300", ill.asked() - before);

    // Alone, with its refusals in the trailers of streams.
    let alone = claims_at(&list(&[&ill]));
    let mut refused_here = 0;
    let before = ill.asked();
    for _ in 0..60 {
        match FeedServiceClient::new(alone.clone()).follow_events(FollowEventsRequest::default()).await {
            Ok(stream) => {
                let mut stream = stream.into_inner();
                while stream.message().await.is_ok_and(|message| message.is_some()) {}
            }
            Err(status) => {
                assert_eq!(status.code(), Code::Unavailable);
                refused_here += 1;
            }
        }
    }
    assert!(refused_here > 0, "{} reached it", ill.asked() - before);
    ill.feels(Mood::Answers);
    let healed = Instant::now();
    eventually("an answer", || async { ask(&alone, AMPLE).await.ok() }).await;
    assert!(healed.elapsed() < Duration::from_secs(2), "{:?}", healed.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_does_not_come_is_a_deadline_that_passed() {
    let other = Other::start("a").await;
    let upstream = claims_at(&list(&[&other]));
    answered_by(&upstream, 1).await;
    other.feels(Mood::Takes(Duration::from_secs(30)));
    let asked = Instant::now();
    let passed = ask(&upstream, Duration::from_millis(300)).await.unwrap_err();
    assert_eq!(passed.code(), Code::DeadlineExceeded);
    assert_eq!(passed.get_details_error_info().unwrap().reason, "DEADLINE_PASSED");
    assert!(asked.elapsed() < Duration::from_secs(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn through_a_cut_of_ten_seconds_no_call_outlives_its_deadline_and_then_all_is_well() {
    let other = Other::start("a").await;
    let link = Link::to(other.address).await;
    let upstream = claims_at(&format!("http://{}", link.address));
    answered_by(&upstream, 5).await;
    link.cut();
    let cut = Instant::now();
    while cut.elapsed() < Duration::from_secs(10) {
        let asked = Instant::now();
        let refused = ask(&upstream, Duration::from_millis(700)).await.unwrap_err();
        assert!(matches!(refused.code(), Code::DeadlineExceeded | Code::Unavailable), "{refused:?}");
        assert!(asked.elapsed() < Duration::from_millis(1200), "{:?}", asked.elapsed());
    }
    link.heal();
    let healed = Instant::now();
    eventually("an answer", || async { ask(&upstream, Duration::from_millis(700)).await.ok() }).await;
    assert!(healed.elapsed() < Duration::from_secs(2), "{:?}", healed.elapsed());
}
