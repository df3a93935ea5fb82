//! Certificates and keys that are renewed while the process runs.

use std::time::Duration;

use chassis::{
    Caller,
    identity::{Purpose, Signer},
    reload::Reloaded,
    tls::{self, DevelopmentAuthority},
    upstream::Upstreams,
};
use jiff::Timestamp;
use proto::feed::v1::{FollowEventsRequest, ReadEventsRequest, feed_service_client::FeedServiceClient};
use tonic::{Code, Request};
use tonic_types::StatusExt;

use crate::{eventually, port::run};

fn upstream(running: &crate::port::Running, tls: &Reloaded<rustls::ClientConfig>) -> chassis::Upstream {
    let addresses = [("slow".to_owned(), format!("https://{}", running.address))].into();
    Upstreams { process: "gateway", addresses, tls: Some(tls.clone()) }.get("slow").unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_and_a_key_are_replaced_and_no_call_is_dropped() {
    chassis::tls::install_provider();
    let folder = tempfile::tempdir().unwrap();
    let [old, new] =
        ["old", "new"].map(|name| DevelopmentAuthority::open(&folder.path().join(name)).unwrap());
    let issue = |authority: &DevelopmentAuthority, name: &str| {
        authority.issue(name, &Caller::service(name), Timestamp::now()).unwrap()
    };
    let read = |path: &std::path::Path| std::fs::read_to_string(path).unwrap();
    let put = |path: &std::path::Path, text: &str| {
        let beside = path.with_extension("beside");
        std::fs::write(&beside, text).unwrap();
        std::fs::rename(beside, path).unwrap();
    };
    let (service, gateway) = (issue(&old, "slow"), issue(&old, "gateway"));
    let running = run(&[
        ("tls.certificate", service.certificate.display().to_string()),
        ("tls.key", service.key.display().to_string()),
        ("tls.authority", service.authority.display().to_string()),
        ("tls.assertion-key", service.assertion_key.display().to_string()),
    ]);
    let vouch = |authority: &DevelopmentAuthority| {
        let signer = Signer::from_pem(&read(&authority.path("assertion.key")), Purpose::Assertion).unwrap();
        signer.sign(&"djsn:sekretariat".parse().unwrap(), Timestamp::now(), Duration::from_secs(60)).unwrap()
    };
    let ask = async |upstream: &chassis::Upstream, assertion: &str| {
        let mut request = Request::new(ReadEventsRequest::default());
        request.metadata_mut().insert("jkn-assertion", assertion.parse().unwrap());
        request.set_timeout(Duration::from_secs(5));
        FeedServiceClient::new(upstream.clone()).read_events(request).await
    };

    let towards = tls::client(&gateway).unwrap();
    let first = upstream(&running, &towards);
    ask(&first, &vouch(&old)).await.unwrap();
    let mut request = Request::new(FollowEventsRequest::default());
    request.metadata_mut().insert("jkn-assertion", vouch(&old).parse().unwrap());
    let mut kept_open =
        FeedServiceClient::new(first.clone()).follow_events(request).await.unwrap().into_inner();
    assert_eq!(ask(&first, &vouch(&new)).await.unwrap_err().code(), Code::Unauthenticated);

    // Both are trusted while the old one is replaced; then the service shows a certificate of the new authority.
    put(&service.authority, &(read(&old.path("authority.crt")) + &read(&new.path("authority.crt"))));
    put(&service.assertion_key, &(read(&old.path("assertion.pub")) + &read(&new.path("assertion.pub"))));
    let renewed = issue(&new, "slow");
    put(&service.certificate, &read(&renewed.certificate));
    put(&service.key, &read(&renewed.key));
    let of_new = tls::client(&issue(&new, "gateway")).unwrap();
    let second = upstream(&running, &of_new);
    eventually("the new certificate and key", || async { ask(&second, &vouch(&new)).await.ok() }).await;
    ask(&first, &vouch(&old)).await.expect("the old connection and the old key are still good");
    let silent = tokio::time::timeout(Duration::from_millis(200), kept_open.message()).await;
    assert!(silent.is_err(), "a stream from before is still open: {silent:?}");
}

/// The gateway signs for a minute. A service whose clock is hours ahead finds every word of it expired: that is not the
/// caller's fault, and nothing a new token could mend.
#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_jumped_ahead_is_named_and_one_that_fell_behind_does_no_harm() {
    let folder = tempfile::tempdir().unwrap();
    let authority = DevelopmentAuthority::open(folder.path()).unwrap();
    let running = run(&[
        ("insecure-loopback", "true".to_owned()),
        ("tls.assertion-key", authority.path("assertion.pub").display().to_string()),
    ]);
    let key = std::fs::read_to_string(authority.path("assertion.key")).unwrap();
    let signer = Signer::from_pem(&key, Purpose::Assertion).unwrap();
    let addresses = [("slow".to_owned(), format!("http://{}", running.address))].into();
    let upstream = Upstreams { process: "gateway", addresses, tls: None }.get("slow").unwrap();
    let ask = async |signed_at: Timestamp| {
        let caller = "djsn:sekretariat".parse().unwrap();
        let word = signer.sign(&caller, signed_at, Duration::from_secs(60)).unwrap();
        let mut request = Request::new(ReadEventsRequest::default());
        request.metadata_mut().insert("jkn-assertion", word.parse().unwrap());
        FeedServiceClient::new(upstream.clone()).read_events(request).await
    };
    let two_hours = Duration::from_secs(2 * 3600);
    ask(Timestamp::now()).await.unwrap();
    ask(Timestamp::now() + two_hours).await.unwrap();
    let refused = ask(Timestamp::now() - two_hours).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    assert_eq!(refused.get_details_error_info().unwrap().metadata["what"], "clock");
    assert!(refused.get_details_retry_info().unwrap().retry_delay.is_some());
}
