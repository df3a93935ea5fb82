//! Another service, as a test wants it: it serves the feed's contract, says how it is, and counts what it was asked.

use std::{
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use chassis::upstream::{Upstream, Upstreams};
use futures::{Stream, StreamExt, stream};
use proto::feed::v1::{
    Event, FollowEventsRequest, FollowEventsResponse, ReadEventsRequest, ReadEventsResponse,
    feed_service_client::FeedServiceClient,
    feed_service_server::{FeedService, FeedServiceServer},
};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status, transport::Server};
use tonic_health::{ServingStatus, server::HealthReporter};

/// What the service does with the next calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mood {
    Answers,
    /// So many calls are answered UNAVAILABLE, then it is well.
    Stumbles(usize),
    /// Every call is answered UNAVAILABLE.
    Refuses,
    /// The answer comes after this time.
    Takes(Duration),
}

#[derive(Clone)]
struct Feed {
    name: String,
    mood: Arc<Mutex<Mood>>,
    asked: Arc<AtomicUsize>,
}

/// A service that is gone at once when it is dropped, as a killed process is.
pub(crate) struct Other {
    pub(crate) address: SocketAddr,
    pub(crate) health: HealthReporter,
    feed: Feed,
    runtime: Option<tokio::runtime::Runtime>,
}

impl Drop for Other {
    fn drop(&mut self) {
        self.runtime.take().unwrap().shutdown_background();
    }
}

impl Other {
    pub(crate) async fn start(name: &str) -> Self {
        Self::start_at(name, "127.0.0.1:0".parse().unwrap()).await
    }

    pub(crate) async fn start_at(name: &str, address: SocketAddr) -> Self {
        let listener =
            crate::eventually("the port", || async { TcpListener::bind(address).await.ok() }).await;
        let address = listener.local_addr().unwrap();
        let listener = listener.into_std().unwrap();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let feed =
            Feed { name: name.to_owned(), mood: Arc::new(Mutex::new(Mood::Answers)), asked: Arc::default() };
        let (health, health_service) = tonic_health::server::health_reporter();
        health.set_service_status("claims", ServingStatus::Serving).await;
        let server =
            Server::builder().add_service(health_service).add_service(FeedServiceServer::new(feed.clone()));
        runtime.spawn(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            server.serve_with_incoming(TcpListenerStream::new(listener)).await.unwrap();
        });
        Self { address, health, feed, runtime: Some(runtime) }
    }

    pub(crate) fn feels(&self, mood: Mood) {
        *self.feed.mood.lock().unwrap() = mood;
    }

    /// How often it was asked.
    pub(crate) fn asked(&self) -> usize {
        self.feed.asked.load(Ordering::Relaxed)
    }
}

impl Feed {
    fn mood(&self) -> Mood {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let mut mood = self.mood.lock().unwrap();
        match *mood {
            Mood::Stumbles(0) => Mood::Answers,
            Mood::Stumbles(times) => {
                *mood = Mood::Stumbles(times - 1);
                Mood::Refuses
            }
            other => other,
        }
    }
}

#[tonic::async_trait]
impl FeedService for Feed {
    async fn read_events(
        &self,
        _: Request<ReadEventsRequest>,
    ) -> Result<Response<ReadEventsResponse>, Status> {
        match self.mood() {
            Mood::Refuses | Mood::Stumbles(_) => return Err(Status::unavailable("not now")),
            Mood::Takes(time) => tokio::time::sleep(time).await,
            Mood::Answers => {}
        }
        Ok(Response::new(ReadEventsResponse { feed_id: self.name.clone(), ..ReadEventsResponse::default() }))
    }

    type FollowEventsStream = Pin<Box<dyn Stream<Item = Result<FollowEventsResponse, Status>> + Send>>;

    /// One event, and a refusal in the trailers or silence.
    async fn follow_events(
        &self,
        _: Request<FollowEventsRequest>,
    ) -> Result<Response<Self::FollowEventsStream>, Status> {
        let event = FollowEventsResponse { events: vec![Event { position: 1, ..Event::default() }] };
        let first = stream::iter([Ok(event)]);
        Ok(Response::new(match self.mood() {
            Mood::Answers | Mood::Takes(_) => first.chain(stream::pending()).boxed(),
            Mood::Refuses | Mood::Stumbles(_) => {
                first.chain(stream::iter([Err(Status::unavailable("not any more"))])).boxed()
            }
        }))
    }
}

/// The service `claims` at these addresses.
pub(crate) fn claims_at(addresses: &str) -> Upstream {
    let addresses = [("claims".to_owned(), addresses.to_owned())].into();
    Upstreams { process: "test", addresses, tls: None }.get("claims").unwrap()
}

/// The addresses of services, as a setting names them.
pub(crate) fn list(of: &[&Other]) -> String {
    let addresses: Vec<_> = of.iter().map(|other| format!("http://{}", other.address)).collect();
    addresses.join(",")
}

/// Asks for events, and says who answered.
pub(crate) async fn ask(upstream: &Upstream, allowed: Duration) -> Result<String, Status> {
    let mut request = Request::new(ReadEventsRequest::default());
    request.set_timeout(allowed);
    FeedServiceClient::new(upstream.clone())
        .read_events(request)
        .await
        .map(|answer| answer.into_inner().feed_id)
}
