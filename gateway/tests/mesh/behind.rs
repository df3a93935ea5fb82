//! A service as the gateway meets it. It serves the feed contract, answers every other method of the mesh as
//! if it were `ReadEvents`, and does what the position asked for tells it to.

use std::{
    net::SocketAddr,
    pin::Pin,
    time::{Duration, Instant},
};

use futures::{Stream, StreamExt, stream};
use proto::feed::v1::{
    Event, FollowEventsRequest, FollowEventsResponse, ReadEventsRequest, ReadEventsResponse,
    feed_service_server::{FeedService, FeedServiceServer},
};
use tokio::{net::TcpListener, runtime::Runtime};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{
    Code, Request, Response, Status,
    metadata::KeyAndValueRef,
    transport::{Certificate, Identity, Server, ServerTlsConfig},
};
use tonic_types::{ErrorDetails, StatusExt};

/// Positions that make the service behave in a way; any other is answered.
pub(crate) const REFUSE: i64 = -1;
pub(crate) const SLEEP: i64 = -2;
pub(crate) const LARGE: i64 = -3;
pub(crate) const SLOW: i64 = -4;

/// Size of the large answer: below what tonic takes by default.
pub(crate) const LARGE_BYTES: usize = 3_500_000;
/// How long the slow answer takes.
pub(crate) const SLOW_TIME: Duration = Duration::from_millis(600);

/// A service that lives until it is dropped, and then is gone at once, as a killed process is.
pub(crate) struct Behind {
    pub(crate) address: SocketAddr,
    runtime: Option<Runtime>,
}

impl Drop for Behind {
    fn drop(&mut self) {
        self.runtime.take().unwrap().shutdown_background();
    }
}

impl Behind {
    pub(crate) async fn start(name: &'static str) -> Self {
        Self::start_at(name, "127.0.0.1:0".parse().unwrap()).await
    }

    pub(crate) async fn start_at(name: &'static str, address: SocketAddr) -> Self {
        Self::serve(name, address, Server::builder()).await
    }

    /// One that wants a certificate of its callers.
    pub(crate) async fn start_secure(name: &'static str, tls: &chassis::config::Tls) -> Self {
        let read = |path| std::fs::read_to_string(path).unwrap();
        let tls = ServerTlsConfig::new()
            .identity(Identity::from_pem(read(&tls.certificate), read(&tls.key)))
            .client_ca_root(Certificate::from_pem(read(&tls.authority)));
        let server = Server::builder().tls_config(tls).unwrap();
        Self::serve(name, "127.0.0.1:0".parse().unwrap(), server).await
    }

    async fn serve(name: &'static str, address: SocketAddr, server: Server) -> Self {
        let until = Instant::now() + Duration::from_secs(5);
        let listener = loop {
            match TcpListener::bind(address).await {
                Ok(listener) => break listener,
                // Whoever was here is still going.
                Err(error) => assert!(Instant::now() < until, "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        let address = listener.local_addr().unwrap();
        // Bound here, served there: sockets belong to the runtime they are registered with.
        let listener = listener.into_std().unwrap();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let server = server
            .layer(tower::util::MapRequestLayer::new(as_feed))
            .add_service(FeedServiceServer::new(Feed { name }).max_decoding_message_size(8_000_000));
        runtime.spawn(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            server.serve_with_incoming(TcpListenerStream::new(listener)).await.unwrap();
        });
        Self { address, runtime: Some(runtime) }
    }
}

/// Every path of the mesh leads to the feed; the one that was asked for goes along as metadata.
fn as_feed<B>(mut request: http::Request<B>) -> http::Request<B> {
    let path = request.uri().path().to_owned();
    if path.starts_with("/jkn.") && !path.starts_with("/jkn.feed.v1.FeedService/") {
        let uri = request.uri().to_string().replace(&path, "/jkn.feed.v1.FeedService/ReadEvents");
        *request.uri_mut() = uri.parse().unwrap();
    }
    request.headers_mut().insert("seen-path", path.parse().unwrap());
    request
}

/// The refusal of a service, with everything a status can carry.
fn refusal() -> Status {
    let mut details = ErrorDetails::with_error_info("REFERRAL_EXPIRED", "jkn", [("day".into(), "91".into())]);
    details.add_bad_request_violation("referral_number", "is older than 90 days");
    let mut status = Status::with_error_details(
        Code::FailedPrecondition,
        "the referral has expired; ask for a new one",
        details,
    );
    status.metadata_mut().insert("trailer-of-the-service", "kept".parse().unwrap());
    status
}

struct Feed {
    name: &'static str,
}

#[tonic::async_trait]
impl FeedService for Feed {
    /// Answers with the metadata it got, one event each: key as type, value as body.
    async fn read_events(
        &self,
        request: Request<ReadEventsRequest>,
    ) -> Result<Response<ReadEventsResponse>, Status> {
        let mut events: Vec<Event> = request
            .metadata()
            .iter()
            .map(|entry| match entry {
                KeyAndValueRef::Ascii(key, value) => (key.to_string(), value.as_bytes().to_vec()),
                KeyAndValueRef::Binary(key, value) => (key.to_string(), value.as_encoded_bytes().to_vec()),
            })
            .map(|(key, value)| Event {
                source: self.name.into(),
                r#type: key,
                body: value.into(),
                ..Event::default()
            })
            .collect();
        match request.get_ref().after_position {
            REFUSE => return Err(refusal()),
            SLEEP => tokio::time::sleep(Duration::from_secs(60)).await,
            SLOW => tokio::time::sleep(SLOW_TIME).await,
            LARGE => events.push(Event { body: vec![7; LARGE_BYTES].into(), ..Event::default() }),
            _ => {}
        }
        Ok(Response::new(ReadEventsResponse { events, head_position: 1, ..ReadEventsResponse::default() }))
    }

    type FollowEventsStream = Pin<Box<dyn Stream<Item = Result<FollowEventsResponse, Status>> + Send>>;

    /// Two hundred events and a refusal; or one event and silence.
    async fn follow_events(
        &self,
        request: Request<FollowEventsRequest>,
    ) -> Result<Response<Self::FollowEventsStream>, Status> {
        let event =
            |position| Ok(FollowEventsResponse { events: vec![Event { position, ..Event::default() }] });
        let events: Self::FollowEventsStream = match request.get_ref().after_position {
            REFUSE => stream::iter((1..=200).map(event)).chain(stream::iter([Err(refusal())])).boxed(),
            _ => stream::iter([event(1)]).chain(stream::pending()).boxed(),
        };
        Ok(Response::new(events))
    }
}
