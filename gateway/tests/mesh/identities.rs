//! Who is let in, by token and by certificate, and who is not.

use std::time::Duration;

use chassis::identity::{Purpose, Signer};
use jiff::{Timestamp, ToSpan};
use proto::feed::v1::{ReadEventsRequest, feed_service_client::FeedServiceClient};
use tonic::{Code, Request, Status};

use crate::{
    behind::Behind,
    certificates::Authority,
    place::{Place, Plan, everywhere, key, put, reason, seen},
};

async fn with(place: &Place, authorization: Option<&str>) -> Result<(), Status> {
    let mut request = Request::new(ReadEventsRequest::default());
    put(request.metadata_mut(), "jkn-service", "claims");
    if let Some(value) = authorization {
        put(request.metadata_mut(), "authorization", value);
    }
    place.client().await.read_events(request).await.map(|_| ())
}

#[tokio::test]
async fn nobody_is_anonymous() {
    let behind = Behind::start("claims").await;
    let place = Place::start(everywhere(behind.address), Plan::default()).await;
    let now = Timestamp::now();
    let good = place.token("djsn:sekretariat", now);
    with(&place, Some(&format!("Bearer {good}"))).await.unwrap();

    let stranger = Signer::from_pem(&key().serialize_pem(), Purpose::Token).unwrap();
    let forged = stranger.sign(&"djsn:sekretariat".parse().unwrap(), now, Duration::from_secs(60)).unwrap();
    let expired = place.token("djsn:sekretariat", now - 61.seconds());
    let mut altered = good.clone();
    altered.replace_range(good.len() - 6.., "AAAAAA");
    let refused = [
        ("none", None),
        ("not a bearer", Some(format!("Basic {good}"))),
        ("empty", Some("Bearer ".to_owned())),
        ("no token", Some("Bearer nonsense".to_owned())),
        ("another key", Some(format!("Bearer {forged}"))),
        ("expired", Some(format!("Bearer {expired}"))),
        ("altered", Some(format!("Bearer {altered}"))),
    ];
    for (which, authorization) in refused {
        let status = with(&place, authorization.as_deref()).await.expect_err(which);
        assert_eq!(
            (status.code(), reason(&status)),
            (Code::Unauthenticated, "IDENTITY_MISSING".to_owned()),
            "{which}"
        );
    }

    let mut twice = place.call(ReadEventsRequest::default());
    twice.metadata_mut().append("authorization", format!("Bearer {good}").parse().unwrap());
    assert_eq!(reason(&place.client().await.read_events(twice).await.unwrap_err()), "IDENTITY_MISSING");
}

#[tokio::test]
async fn a_kind_that_the_policy_does_not_name_is_refused() {
    let behind = Behind::start("claims").await;
    let place = Place::start(everywhere(behind.address), Plan::default()).await;
    for caller in [
        "bank:bni",
        "hospital:0301R011",
        "fktp:03010101",
        "surveyor:larsi",
        "ministry:yankes",
        "service:sismonev",
    ] {
        let token = place.token(caller, Timestamp::now());
        let status = with(&place, Some(&format!("Bearer {token}"))).await.expect_err(caller);
        assert_eq!(
            (status.code(), reason(&status)),
            (Code::PermissionDenied, "CALLER_NOT_ALLOWED".to_owned())
        );
        assert!(!status.message().contains(caller), "the message names kinds, not callers");
    }
}

#[tokio::test]
async fn a_client_certificate_is_an_identity() {
    let authority = Authority::new();
    let behind = Behind::start("claims").await;
    let plan = Plan { server_tls: Some(authority.server().into()), ..Plan::default() };
    let place = Place::start(everywhere(behind.address), plan).await;
    let read = async |uri: &str, token: Option<&str>| {
        let channel = authority.channel(place.address, uri).await?;
        let mut request = Request::new(ReadEventsRequest::default());
        put(request.metadata_mut(), "jkn-service", "claims");
        if let Some(caller) = token {
            let token = place.token(caller, Timestamp::now());
            put(request.metadata_mut(), "authorization", &format!("Bearer {token}"));
        }
        FeedServiceClient::new(channel).read_events(request).await.map(tonic::Response::into_inner)
    };
    let named = |answer: &proto::feed::v1::ReadEventsResponse| {
        let assertion = seen(answer, "jkn-assertion").unwrap();
        place.assertions.verify(assertion, Timestamp::now()).unwrap().caller.to_string()
    };

    assert_eq!(named(&read("jkn://bpjs/pusat", None).await.unwrap()), "bpjs:pusat");
    // A token that is shown is the identity, also when the certificate would do.
    assert_eq!(named(&read("jkn://bpjs/pusat", Some("djsn:sekretariat")).await.unwrap()), "djsn:sekretariat");
    let refused = read("jkn://bpjs/pusat", Some("bank:bni")).await.unwrap_err();
    assert_eq!(reason(&refused), "CALLER_NOT_ALLOWED");
    for uri in ["jkn://bank/bni", "jkn://service/sismonev"] {
        let refused = read(uri, None).await.unwrap_err();
        assert_eq!(reason(&refused), "CALLER_NOT_ALLOWED", "{uri}");
    }
    let refused = read("https://bpjs/pusat", None).await.unwrap_err();
    assert_eq!(reason(&refused), "IDENTITY_MISSING");
    // Signed by an authority that is not trusted here.
    let stranger = Authority::new().trusting(&authority);
    let refused = async {
        let channel = stranger.channel(place.address, "jkn://bpjs/pusat").await?;
        FeedServiceClient::new(channel).read_events(place.call(ReadEventsRequest::default())).await
    };
    let refused = refused.await.unwrap_err();
    assert!(
        matches!(refused.code(), Code::Unavailable | Code::Unknown),
        "the connection itself is refused: {refused:?}"
    );
}
