//! The stop: bounded, whoever is connected, and kind to calls under way.

use std::time::{Duration, Instant};

use futures::StreamExt;
use proto::feed::v1::FollowEventsRequest;
use tokio::{io::AsyncReadExt, net::TcpStream, time::timeout};
use tonic::Code;
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use crate::{
    behind::{Behind, SLEEP, SLOW, SLOW_TIME},
    place::{Place, Plan, everywhere, reason},
};

#[tokio::test]
async fn silent_clients_and_open_streams_do_not_hold_the_stop() {
    let behind = Behind::start("claims").await;
    let place = Place::start(
        everywhere(behind.address),
        Plan { stop_grace: Duration::from_secs(20), ..Plan::default() },
    )
    .await;
    place.ready().await;
    let mut silent = TcpStream::connect(place.address).await.unwrap();
    let mut client = place.client().await;
    let events = client.follow_events(place.call(FollowEventsRequest { after_position: 0 })).await.unwrap();
    let mut events = events.into_inner();
    assert!(events.next().await.unwrap().is_ok());
    let mut health = HealthClient::new(place.channel().await);
    let watch = health.watch(HealthCheckRequest::default()).await.unwrap();
    let mut watch = watch.into_inner();
    assert!(watch.next().await.unwrap().is_ok());

    place.stop.cancel();
    let stopping = Instant::now();
    let ended = events.next().await.unwrap().unwrap_err();
    assert_eq!((ended.code(), reason(&ended)), (Code::Unavailable, "TEMPORARILY_UNAVAILABLE".to_owned()));
    while let Some(next) = watch.next().await {
        if let Err(ended) = next {
            assert_eq!(ended.code(), Code::Unavailable);
        }
    }
    assert_eq!(silent.read(&mut [0]).await.unwrap_or(0), 0, "the silent client is hung up on");
    timeout(Duration::from_secs(5), place.ended).await.expect("a bounded stop").unwrap();
    assert!(stopping.elapsed() < Duration::from_secs(5));
    assert!(TcpStream::connect(place.address).await.is_err(), "no new connection");
}

#[tokio::test]
async fn a_call_under_way_is_finished() {
    let behind = Behind::start("claims").await;
    let place = Place::start(everywhere(behind.address), Plan::default()).await;
    place.ready().await;
    let stop = async {
        tokio::time::sleep(SLOW_TIME / 3).await;
        place.stop.cancel();
    };
    let (answer, ()) = tokio::join!(place.read(SLOW), stop);
    assert!(answer.is_ok(), "{answer:?}");
    timeout(Duration::from_secs(2), place.ended).await.expect("nothing else to wait for").unwrap();
}

#[tokio::test]
async fn a_call_that_does_not_end_is_cut_off_when_the_time_is_up() {
    let behind = Behind::start("claims").await;
    let plan = Plan { stop_grace: Duration::from_millis(500), ..Plan::default() };
    let place = Place::start(everywhere(behind.address), plan).await;
    place.ready().await;
    let stop = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        place.stop.cancel();
    };
    let (answer, ()) = tokio::join!(place.read(SLEEP), stop);
    assert!(answer.is_err());
    timeout(Duration::from_secs(3), place.ended).await.expect("a bounded stop").unwrap();
}
