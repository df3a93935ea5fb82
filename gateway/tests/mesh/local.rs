//! Health and reflection, which need no identity.

use std::time::{Duration, Instant};

use futures::{StreamExt, stream};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use crate::{
    behind::Behind,
    place::{Place, Plan, everywhere, nobody},
};

#[tokio::test]
async fn health_is_the_gateways_own_and_that_of_each_service() {
    let behind = Behind::start("claims").await;
    let mut upstream = everywhere(behind.address);
    upstream.insert("referral".into(), format!("http://{}", nobody().await));
    let place = Place::start(upstream, Plan::default()).await;
    let mut health = HealthClient::new(place.channel().await);
    let mut status = async |service: &str| {
        let answer = health.check(HealthCheckRequest { service: service.into() }).await;
        answer.map(|answer| answer.into_inner().status())
    };
    let until = Instant::now() + Duration::from_secs(10);
    while status("claims").await.unwrap() != ServingStatus::Serving {
        assert!(Instant::now() < until);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for serving in ["", "gateway"] {
        assert_eq!(status(serving).await.unwrap(), ServingStatus::Serving, "{serving:?}");
    }
    assert_eq!(status("referral").await.unwrap(), ServingStatus::NotServing);
    assert_eq!(status("nobody").await.unwrap_err().code(), tonic::Code::NotFound);
}

#[tokio::test]
async fn one_reflection_lists_every_service_of_the_mesh() {
    let behind = Behind::start("claims").await;
    let place = Place::start(everywhere(behind.address), Plan::default()).await;
    let expected = || chassis::contract::methods().map(|method| method.service);

    macro_rules! listed {
        ($version:ident) => {{
            use tonic_reflection::pb::$version::{
                ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
                server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
            };
            let request = ServerReflectionRequest {
                host: String::new(),
                message_request: Some(MessageRequest::ListServices(String::new())),
            };
            let mut client = ServerReflectionClient::new(place.channel().await);
            let answers = client.server_reflection_info(stream::iter([request])).await.unwrap();
            let answer = answers.into_inner().next().await.unwrap().unwrap();
            let Some(MessageResponse::ListServicesResponse(list)) = answer.message_response else {
                panic!("{answer:?}")
            };
            list.service.into_iter().map(|service| service.name).collect::<Vec<_>>()
        }};
    }
    for names in [listed!(v1), listed!(v1alpha)] {
        for service in expected() {
            assert!(names.iter().any(|name| name == service), "{service} is not in {names:?}");
        }
        assert!(names.iter().any(|name| name == "grpc.health.v1.Health"));
    }
}
