//! A process that serves: how it bears too much, answers late, and stops.

use std::time::{Duration, Instant};

use chassis::{
    Parts, Service, Settings, Start,
    config::{Layers, NoSettings},
    host::{self, Ports},
    telemetry::Telemetry,
};
use futures::stream;
use proto::feed::v1::{
    FollowEventsRequest, FollowEventsResponse, ReadEventsRequest, ReadEventsResponse,
    feed_service_client::FeedServiceClient,
    feed_service_server::{FeedService, FeedServiceServer},
};
use sqlx::migrate::Migrator;
use tokio::{io::AsyncReadExt, net::TcpStream, task::JoinHandle, time::timeout};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request, Response, Status, transport::Channel};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tonic_types::StatusExt;

/// A service that takes as many milliseconds as the position it is asked for.
pub(crate) struct Slow;

impl Service for Slow {
    const NAME: &'static str = "slow";
    const DEFAULTS: &'static str = "";
    type Settings = NoSettings;

    fn migrations() -> Option<&'static Migrator> {
        None
    }

    async fn build(_: Start<NoSettings>) -> anyhow::Result<Parts> {
        Ok(Parts::new().serve(FeedServiceServer::new(Slow)))
    }
}

#[tonic::async_trait]
impl FeedService for Slow {
    async fn read_events(
        &self,
        request: Request<ReadEventsRequest>,
    ) -> Result<Response<ReadEventsResponse>, Status> {
        let millis = u64::try_from(request.get_ref().after_position).unwrap();
        tokio::time::sleep(Duration::from_millis(millis)).await;
        Ok(Response::new(ReadEventsResponse::default()))
    }

    type FollowEventsStream = stream::Pending<Result<FollowEventsResponse, Status>>;

    async fn follow_events(
        &self,
        _: Request<FollowEventsRequest>,
    ) -> Result<Response<Self::FollowEventsStream>, Status> {
        Ok(Response::new(stream::pending()))
    }
}

pub(crate) struct Running {
    pub(crate) address: std::net::SocketAddr,
    pub(crate) stop: CancellationToken,
    pub(crate) ended: JoinHandle<anyhow::Result<()>>,
}

pub(crate) fn telemetry() -> Telemetry {
    static STARTED: std::sync::OnceLock<Telemetry> = std::sync::OnceLock::new();
    let start = || chassis::telemetry::start("test", chassis::telemetry::LogFormat::Human, "warn").unwrap();
    STARTED.get_or_init(start).clone()
}

pub(crate) fn settings(more: &[(&str, String)]) -> Settings<NoSettings> {
    let mut layers = Layers { processes: vec!["slow"], ..Layers::default() };
    layers.computed.extend(more.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
    layers.load("slow", "").unwrap()
}

pub(crate) fn run(more: &[(&str, String)]) -> Running {
    let free = || "127.0.0.1:0".parse().unwrap();
    let ports = Ports::bind(free(), free()).unwrap();
    let address = ports.addresses().unwrap().grpc;
    let stop = CancellationToken::new();
    let ended = tokio::spawn(host::run::<Slow>(settings(more), ports, telemetry(), stop.clone()));
    Running { address, stop, ended }
}

fn plain(more: &[(&str, String)]) -> Running {
    let insecure = [("insecure-loopback", "true".to_owned())];
    run(&[&insecure, more].concat())
}

type Client = FeedServiceClient<
    tonic::service::interceptor::InterceptedService<Channel, fn(Request<()>) -> Result<Request<()>, Status>>,
>;

async fn channel(running: &Running) -> Channel {
    let address = format!("http://{}", running.address);
    tonic::transport::Endpoint::from_shared(address).unwrap().connect().await.unwrap()
}

async fn client(running: &Running) -> Client {
    FeedServiceClient::with_interceptor(channel(running).await, |mut request| {
        request.metadata_mut().insert("jkn-peer", "service:sismonev".parse().unwrap());
        Ok(request)
    })
}

fn taking(millis: i64) -> ReadEventsRequest {
    ReadEventsRequest { after_position: millis, limit: 0 }
}

#[tokio::test]
async fn what_is_too_much_is_refused_at_once_with_a_time_and_the_rest_is_answered() {
    let running = plain(&[("most-calls", "4".to_owned())]);
    let client = client(&running).await;
    let asked = Instant::now();
    let calls = (0..50).map(|_| {
        let mut client = client.clone();
        async move {
            let answer = client.read_events(taking(1000)).await;
            (answer.map(|_| ()), asked.elapsed())
        }
    });
    let answers = futures::future::join_all(calls).await;
    let mut answered = 0;
    for (answer, after) in answers {
        let Err(status) = answer else {
            answered += 1;
            continue;
        };
        assert_eq!(status.code(), Code::ResourceExhausted);
        assert_eq!(status.get_details_error_info().unwrap().reason, "OVERLOADED");
        assert!(status.get_details_retry_info().unwrap().retry_delay.is_some());
        assert!(after < Duration::from_millis(900), "early: {after:?}");
    }
    assert_eq!(answered, 4);
}

#[tokio::test]
async fn a_deadline_that_passes_is_called_so_whether_the_caller_names_it_or_the_house() {
    let running = plain(&[("deadline-milliseconds", "300".to_owned())]);
    // Asked on the wire, past the client's own timer.
    let answer_to = async |timeout: Option<&str>| {
        let io = hyper_util::rt::TokioIo::new(TcpStream::connect(running.address).await.unwrap());
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(hyper_util::rt::TokioExecutor::new(), io).await.unwrap();
        tokio::spawn(connection);
        let message = prost::Message::encode_to_vec(&taking(5000));
        let frame = [&[0, 0, 0, 0, u8::try_from(message.len()).unwrap()], message.as_slice()].concat();
        let uri = format!("http://{}/jkn.feed.v1.FeedService/ReadEvents", running.address);
        let mut request = http::Request::post(uri)
            .header("content-type", "application/grpc")
            .header("jkn-peer", "service:sismonev");
        if let Some(timeout) = timeout {
            request = request.header("grpc-timeout", timeout);
        }
        let request = request.body(http_body_util::Full::new(bytes::Bytes::from(frame))).unwrap();
        let response = sender.send_request(request).await.unwrap();
        Status::from_header_map(response.headers()).unwrap()
    };
    for timeout in [None, Some("100m"), Some("30S")] {
        let status = answer_to(timeout).await;
        assert_eq!(status.code(), Code::DeadlineExceeded, "{timeout:?}");
        assert_eq!(status.get_details_error_info().unwrap().reason, "DEADLINE_PASSED");
    }
}

#[tokio::test]
async fn the_silent_and_those_who_watch_do_not_hold_the_stop_and_calls_under_way_end() {
    let running = plain(&[("stop-grace-seconds", "30".to_owned())]);
    let mut client = client(&running).await;
    client.read_events(taking(0)).await.unwrap();
    let mut silent = TcpStream::connect(running.address).await.unwrap();
    let mut events = client.follow_events(FollowEventsRequest::default()).await.unwrap().into_inner();
    let mut health = HealthClient::new(channel(&running).await);
    let mut watch = health.watch(HealthCheckRequest::default()).await.unwrap().into_inner();
    assert!(watch.message().await.unwrap().is_some());
    let mut of_a_call = client.clone();
    let under_way = tokio::spawn(async move { of_a_call.read_events(taking(400)).await });
    // It has begun when a later one has been answered.
    client.read_events(taking(50)).await.unwrap();

    running.stop.cancel();
    let stopping = Instant::now();
    let ended = events.message().await.unwrap_err();
    assert_eq!(ended.code(), Code::Unavailable);
    assert_eq!(ended.get_details_error_info().unwrap().metadata["what"], "slow");
    while let Ok(Some(_)) = watch.message().await {}
    assert_eq!(silent.read(&mut [0]).await.unwrap_or(0), 0, "the silent client is hung up on");
    under_way.await.unwrap().unwrap();
    timeout(Duration::from_secs(5), running.ended).await.expect("a bounded stop").unwrap().unwrap();
    assert!(stopping.elapsed() < Duration::from_secs(5));
}
