//! What passes through unchanged, what is added, and what is answered when a service cannot answer.

use std::time::{Duration, Instant};

use futures::StreamExt;
use http_body_util::{BodyExt, Empty};
use jiff::Timestamp;
use proto::feed::v1::{FollowEventsRequest, ReadEventsRequest, ReadEventsResponse};
use tonic::{Code, Request, Response, Status};
use tonic_types::StatusExt;

use crate::{
    behind::{Behind, LARGE, LARGE_BYTES, REFUSE, SLEEP},
    place::{Place, Plan, everywhere, nobody, put, reason, seen},
};

async fn started() -> (Behind, Place) {
    let behind = Behind::start("claims").await;
    let place = Place::start(everywhere(behind.address), Plan::default()).await;
    (behind, place)
}

/// Calls any path of the mesh; bodies are bytes to the gateway, so any message will do.
async fn call_path(
    place: &Place,
    path: &'static str,
    caller: &str,
) -> Result<Response<ReadEventsResponse>, Status> {
    let mut client = tonic::client::Grpc::new(place.channel().await);
    client.ready().await.unwrap();
    let mut request = Request::new(ReadEventsRequest::default());
    let token = place.token(caller, Timestamp::now());
    put(request.metadata_mut(), "authorization", &format!("Bearer {token}"));
    let codec = tonic_prost::ProstCodec::<ReadEventsRequest, ReadEventsResponse>::default();
    client.unary(request, http::uri::PathAndQuery::from_static(path), codec).await
}

#[tokio::test]
async fn the_service_gets_the_gateways_word_and_none_of_the_clients_forgeries() {
    let (_behind, place) = started().await;
    let mut request = place.call(ReadEventsRequest::default());
    for forged in ["jkn-assertion", "jkn-peer", "x-forwarded-client-cert", "cookie"] {
        put(request.metadata_mut(), forged, "hospital:0301R011");
    }
    put(request.metadata_mut(), "x-request-id", "kept");
    let traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    put(request.metadata_mut(), "traceparent", traceparent);
    put(request.metadata_mut(), "grpc-timeout", "4S");
    request.metadata_mut().insert_bin("forged-bin", tonic::metadata::MetadataValue::from_bytes(b"x"));

    let answer = place.client().await.read_events(request).await.unwrap().into_inner();

    let assertion = seen(&answer, "jkn-assertion").unwrap();
    let verified = place.assertions.verify(assertion, Timestamp::now()).unwrap();
    assert_eq!(verified.caller.to_string(), "bpjs:pusat");
    for stripped in ["authorization", "jkn-service", "x-forwarded-client-cert", "cookie", "forged-bin"] {
        assert_eq!(seen(&answer, stripped), None, "{stripped}");
    }
    assert_ne!(seen(&answer, "jkn-peer"), Some("hospital:0301R011"));
    assert_eq!(seen(&answer, "x-request-id"), Some("kept"));
    assert_eq!(seen(&answer, "traceparent").map(|seen| &seen[..35]), Some(&traceparent[..35]));
    let left = chassis::call::parse_timeout(seen(&answer, "grpc-timeout").unwrap()).unwrap();
    assert!(left < Duration::from_secs(4) && left > Duration::from_secs(3), "{left:?}");
}

#[tokio::test]
async fn a_call_without_deadline_or_trace_gets_both() {
    let (_behind, place) = started().await;
    let answer = place.read(0).await.unwrap().into_inner();
    let left = chassis::call::parse_timeout(seen(&answer, "grpc-timeout").unwrap()).unwrap();
    assert!(left <= Duration::from_secs(10) && left > Duration::from_secs(8), "{left:?}");
    assert!(chassis::call::is_traceparent(seen(&answer, "traceparent").unwrap()));
}

#[tokio::test]
async fn a_refusal_of_a_service_arrives_whole() {
    let (_behind, place) = started().await;
    let refused = place.read(REFUSE).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert_eq!(reason(&refused), "REFERRAL_EXPIRED");
    assert_eq!(refused.get_details_bad_request().unwrap().field_violations[0].field, "referral_number");
    assert_eq!(refused.metadata().get("trailer-of-the-service").unwrap(), "kept");
}

#[tokio::test]
async fn a_stream_arrives_whole_with_the_refusal_at_its_end() {
    let (_behind, place) = started().await;
    let request = place.call(FollowEventsRequest { after_position: REFUSE });
    let mut stream = place.client().await.follow_events(request).await.unwrap().into_inner();
    let mut positions = Vec::new();
    let refused = loop {
        match stream.next().await.unwrap() {
            Ok(batch) => positions.push(batch.events[0].position),
            Err(status) => break status,
        }
    };
    assert_eq!(positions, (1..=200).collect::<Vec<_>>());
    assert_eq!((refused.code(), reason(&refused)), (Code::FailedPrecondition, "REFERRAL_EXPIRED".to_owned()));
    assert!(stream.next().await.is_none());
}

#[tokio::test]
async fn large_messages_pass_both_ways() {
    let (_behind, place) = started().await;
    let answer = place.read(LARGE).await.unwrap().into_inner();
    assert_eq!(answer.events.last().unwrap().body.len(), LARGE_BYTES);

    // A request of the same size: the answer's own message, which the feed reads as an unknown field.
    let mut client = tonic::client::Grpc::new(place.channel().await);
    client.ready().await.unwrap();
    let codec = tonic_prost::ProstCodec::<ReadEventsResponse, ReadEventsResponse>::default();
    let path = http::uri::PathAndQuery::from_static("/jkn.feed.v1.FeedService/ReadEvents");
    let mut large = answer;
    large.events.iter_mut().for_each(|event| event.r#type = "large".into());
    large.head_position = 0;
    let refused = client.unary(place.call(large), path, codec).await;
    // The service read it to the end and found that the fields do not fit its request: it arrived.
    assert_eq!(refused.unwrap_err().code(), Code::Internal);
}

#[tokio::test]
async fn the_path_names_the_service_and_the_metadata_where_each_serves_it() {
    let (claims, others) = (Behind::start("claims").await, Behind::start("others").await);
    let mut upstream = everywhere(others.address);
    upstream.insert("claims".into(), format!("http://{}", claims.address));
    let place = Place::start(upstream, Plan::default()).await;

    let answer = place.read(0).await.unwrap().into_inner();
    assert_eq!(answer.events[0].source, "claims");
    let mut elsewhere = place.call(ReadEventsRequest::default());
    put(elsewhere.metadata_mut(), "jkn-service", "referral");
    let answer = place.client().await.read_events(elsewhere).await.unwrap().into_inner();
    assert_eq!(answer.events[0].source, "others");

    for method in chassis::contract::methods().filter(|method| method.system != chassis::contract::FEED) {
        let kind = method.callers.iter().find(|kind| **kind != proto::options::v1::InstitutionKind::Service);
        let Some(kind) = kind else { continue };
        let caller = format!("{}:0301R011", chassis::identity::kind_name(*kind));
        let answer =
            call_path(&place, method.path, &caller).await.unwrap_or_else(|e| panic!("{}: {e}", method.path));
        let answer = answer.into_inner();
        assert_eq!(seen(&answer, "seen-path"), Some(method.path));
        let expected = if method.system == "claims" { "claims" } else { "others" };
        assert_eq!(answer.events[0].source, expected, "{}", method.path);
    }
}

#[tokio::test]
async fn what_nobody_serves_is_said_to_be_unknown() {
    let (_behind, place) = started().await;
    for path in ["/jkn.feed.v1.FeedService/Nothing", "/jkn.nothing.v1.Nothing/Get", "/"] {
        let refused = call_path(&place, path, "bpjs:pusat").await.unwrap_err();
        assert_eq!(
            (refused.code(), reason(&refused)),
            (Code::Unimplemented, "METHOD_UNKNOWN".to_owned()),
            "{path}"
        );
    }
    let feed = "/jkn.feed.v1.FeedService/ReadEvents";
    let refused = call_path(&place, feed, "bpjs:pusat").await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused)), (Code::InvalidArgument, "SERVICE_NOT_NAMED".to_owned()));
    assert_eq!(refused.get_details_bad_request().unwrap().field_violations[0].field, "jkn-service");
    let mut elsewhere = place.call(ReadEventsRequest::default());
    put(elsewhere.metadata_mut(), "jkn-service", "nobody");
    let refused = place.client().await.read_events(elsewhere).await.unwrap_err();
    assert_eq!(reason(&refused), "SERVICE_NOT_NAMED");
}

#[tokio::test]
async fn a_service_that_is_down_is_unavailable_at_once_and_back_when_it_is_back() {
    let address = nobody().await;
    let place = Place::start(everywhere(address), Plan::default()).await;
    let asked = Instant::now();
    let refused = place.read(0).await.unwrap_err();
    assert!(asked.elapsed() < Duration::from_secs(3), "{:?}", asked.elapsed());
    assert_eq!((refused.code(), reason(&refused)), (Code::Unavailable, "TEMPORARILY_UNAVAILABLE".to_owned()));
    assert!(refused.get_details_retry_info().unwrap().retry_delay.is_some());

    let behind = Behind::start_at("claims", address).await;
    place.ready().await;
    drop(behind);
    let _again = Behind::start_at("claims", address).await;
    place.ready().await;
}

#[tokio::test]
async fn a_call_that_is_cut_off_is_answered() {
    let (behind, place) = started().await;
    let mut stream = place
        .client()
        .await
        .follow_events(place.call(FollowEventsRequest { after_position: 0 }))
        .await
        .unwrap()
        .into_inner();
    assert!(stream.next().await.unwrap().is_ok());
    let read = place.read(SLEEP);
    let kill = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        drop(behind);
    };
    let (read, ()) = tokio::join!(read, kill);
    for status in [read.unwrap_err(), stream.next().await.unwrap().unwrap_err()] {
        assert_eq!(
            (status.code(), reason(&status)),
            (Code::Unavailable, "TEMPORARILY_UNAVAILABLE".to_owned())
        );
    }
}

#[tokio::test]
async fn a_deadline_that_passes_is_answered_as_such() {
    let behind = Behind::start("claims").await;
    let plan = Plan { deadline: Duration::from_millis(400), ..Plan::default() };
    let place = Place::start(everywhere(behind.address), plan).await;
    place.ready().await;
    let asked = Instant::now();
    let refused = place.read(SLEEP).await.unwrap_err();
    assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
    assert_eq!((refused.code(), reason(&refused)), (Code::DeadlineExceeded, "DEADLINE_PASSED".to_owned()));

    let mut wrong = place.call(ReadEventsRequest::default());
    put(wrong.metadata_mut(), "grpc-timeout", "soon");
    let refused = place.client().await.read_events(wrong).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused)), (Code::InvalidArgument, "FIELDS_INVALID".to_owned()));
}

/// tonic's client ends a call itself when its deadline passes; this one only says when that is.
#[tokio::test]
async fn a_stream_that_has_begun_ends_with_the_deadline_in_its_trailers() {
    let (_behind, place) = started().await;
    place.ready().await;
    let io = tokio::net::TcpStream::connect(place.address).await.unwrap();
    let io = hyper_util::rt::TokioIo::new(io);
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(hyper_util::rt::TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(connection);
    let request =
        http::Request::post(format!("http://{}/jkn.feed.v1.FeedService/FollowEvents", place.address))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("grpc-timeout", "500m")
            .header("jkn-service", "claims")
            .header("authorization", format!("Bearer {}", place.token("djsn:sekretariat", Timestamp::now())))
            .body(http_body_util::Full::new(bytes::Bytes::from_static(&[0; 5])))
            .unwrap();
    let response = sender.send_request(request).await.unwrap();
    let collected = response.into_body().collect().await.unwrap();
    let trailers = collected.trailers().unwrap().clone();
    assert!(collected.to_bytes().len() > 5, "the first event came");
    let status = Status::from_header_map(&trailers).unwrap();
    assert_eq!((status.code(), reason(&status)), (Code::DeadlineExceeded, "DEADLINE_PASSED".to_owned()));

    let plain = http::Request::get(format!("http://{}/", place.address))
        .body(http_body_util::Full::default())
        .unwrap();
    assert_eq!(sender.send_request(plain).await.unwrap().status(), 415);
}

#[tokio::test]
async fn more_calls_than_there_are_places_for_are_refused_with_a_time() {
    let behind = Behind::start("claims").await;
    let place = Place::start(everywhere(behind.address), Plan { most_calls: 1, ..Plan::default() }).await;
    place.ready().await;
    let mut client = place.client().await;
    let held = client.follow_events(place.call(FollowEventsRequest { after_position: 0 })).await.unwrap();
    let refused = place.read(0).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused)), (Code::ResourceExhausted, "OVERLOADED".to_owned()));
    assert!(refused.get_details_retry_info().unwrap().retry_delay.is_some());
    drop(held);
    place.ready().await;
}

#[tokio::test]
async fn headers_beyond_the_limit_are_refused() {
    let (_behind, place) = started().await;
    let mut request = place.call(ReadEventsRequest::default());
    put(request.metadata_mut(), "x-request-id", &"x".repeat(20_000));
    assert!(place.client().await.read_events(request).await.is_err());
    place.ready().await;
}

#[tokio::test]
async fn http_1_is_not_spoken_here() {
    let (_behind, place) = started().await;
    let io = tokio::net::TcpStream::connect(place.address).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake::<_, Empty<bytes::Bytes>>(hyper_util::rt::TokioIo::new(io))
            .await
            .unwrap();
    tokio::spawn(connection);
    let request = http::Request::get("/").header("host", "gateway").body(Empty::new()).unwrap();
    assert!(sender.send_request(request).await.is_err());
}
