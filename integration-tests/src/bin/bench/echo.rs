//! The bare servers that rows are measured beside, and the one method that they and the skeleton serve.
//!
//! A method is served as the code that tonic generates serves it; only the many other methods of its contract are left
//! out. What differs between the sides of a row is so the house around the method, never the method.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    net::SocketAddr,
    path::Path,
    sync::Arc,
    task::{Context, Poll},
};

use futures::future::BoxFuture;
use proto::{feed::v1 as feed, membership::v1 as membership};
use tonic::{
    Request, Response, Status,
    body::Body,
    server::{Grpc, NamedService, UnaryService},
    transport::{Server, server::TcpIncoming},
};
use tonic_prost::ProstCodec;
use tower::Service;

use crate::{
    Bench,
    load::{Call, Choice},
    process::Process,
};

/// A method with an answer that is always the same.
pub(crate) trait Method: Clone + Send + Sync + 'static {
    /// Its gRPC service.
    const SERVICE: &'static str;
    /// Its path.
    const PATH: &'static str;
    /// Its request.
    type Request: prost::Message + Default + Clone + Send + Sync + 'static;
    /// Its answer.
    type Answer: prost::Message + Default + Clone + Send + Sync + 'static;

    /// The answer.
    fn answer() -> Self::Answer;
}

/// A small call: what the house costs is not hidden behind the message.
#[derive(Clone)]
pub(crate) struct ReadEvents;

impl Method for ReadEvents {
    const SERVICE: &'static str = feed::feed_service_server::SERVICE_NAME;
    const PATH: &'static str = "/jkn.feed.v1.FeedService/ReadEvents";
    type Request = feed::ReadEventsRequest;
    type Answer = feed::ReadEventsResponse;

    fn answer() -> Self::Answer {
        feed::ReadEventsResponse {
            events: Vec::new(),
            head_position: 1_234_567,
            feed_id: "01931f3e-7d1e-7000-8000-000000000000".to_owned(),
        }
    }
}

/// The call that the mesh answers most often, with an answer of the size that membership gives.
#[derive(Clone)]
pub(crate) struct CheckEligibility;

impl Method for CheckEligibility {
    const SERVICE: &'static str = membership::membership_service_server::SERVICE_NAME;
    const PATH: &'static str = "/jkn.membership.v1.MembershipService/CheckEligibility";
    type Request = membership::CheckEligibilityRequest;
    type Answer = membership::CheckEligibilityResponse;

    fn answer() -> Self::Answer {
        membership::CheckEligibilityResponse {
            answer_id: "01931f3e-7d1e-7000-8000-000000000000".to_owned(),
            answered_at: Some(chassis::time::to_proto(jiff::Timestamp::UNIX_EPOCH)),
            member_id: "01931f3e-7d1e-7000-8000-000000000001".to_owned(),
            service_date: "2026-11-22".to_owned(),
            care_type: membership::CareType::Outpatient.into(),
            eligible: true,
            segment: membership::Segment::Pbpu.into(),
            care_class: membership::CareClass::CareClass2.into(),
            fktp_code: "99010001".to_owned(),
            member_name: "Peserta Contoh Sintetis".to_owned(),
            birth_date: "1990-01-01".to_owned(),
            sex: membership::Sex::Female.into(),
            region_code: "9901".to_owned(),
            ..Default::default()
        }
    }
}

/// A gRPC service of this one method.
#[derive(Clone)]
pub(crate) struct Only<M: Method> {
    handler: Handler<M>,
}

/// Takes a request apart as far as the side of a row does.
type Accept<T> = fn(Request<T>) -> Result<T, Status>;

#[derive(Clone)]
struct Handler<M: Method> {
    accept: Accept<M::Request>,
    answer: Arc<M::Answer>,
}

impl<M: Method> Only<M> {
    /// For a server that knows nothing of its callers.
    pub(crate) fn bare() -> Self {
        Self::new(|request| Ok(request.into_inner()))
    }

    /// For a service of the mesh, whose handlers learn who calls.
    pub(crate) fn of_the_mesh() -> Self {
        Self::new(|request| chassis::call::accept(request).map(|(_call, message)| message))
    }

    fn new(accept: Accept<M::Request>) -> Self {
        Self { handler: Handler { accept, answer: Arc::new(M::answer()) } }
    }
}

impl<M: Method> UnaryService<M::Request> for Handler<M> {
    type Response = M::Answer;
    type Future = Ready<Result<Response<M::Answer>, Status>>;

    fn call(&mut self, request: Request<M::Request>) -> Self::Future {
        ready((self.accept)(request).map(|_message| Response::new(M::Answer::clone(&self.answer))))
    }
}

impl<M: Method> Service<http::Request<Body>> for Only<M> {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let handler = self.handler.clone();
        Box::pin(async move {
            if request.uri().path() != M::PATH {
                return Ok(Status::unimplemented("only one method is served here").into_http());
            }
            Ok(Grpc::new(ProstCodec::default()).unary(handler, request).await)
        })
    }
}

impl<M: Method> NamedService for Only<M> {
    const NAME: &'static str = M::SERVICE;
}

/// Runs the bare server: tonic as it comes, one thread, no TLS.
pub(crate) fn run() -> anyhow::Result<()> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        crate::say(&format!("echo listening on {}", listener.local_addr()?))?;
        Server::builder()
            .add_service(Only::<ReadEvents>::bare())
            .add_service(Only::<CheckEligibility>::bare())
            .serve_with_incoming(TcpIncoming::from(listener).with_nodelay(Some(true)))
            .await?;
        Ok(())
    })
}

/// The bare server as a process of its own.
pub(crate) struct Echo {
    /// The process.
    pub(crate) process: Process,
    /// Where it listens.
    pub(crate) address: SocketAddr,
}

impl Echo {
    /// Starts it on a processor.
    pub(crate) async fn start(bench: &Bench, processor: usize) -> anyhow::Result<Self> {
        let mut command = Process::command(&std::env::current_exe()?, Some(processor));
        command.arg("echo");
        let mut process = Process::start(command, "echo", bench.folder())?;
        let address = process.addresses().await?[0];
        Ok(Self { process, address })
    }

    /// A call of one of its methods, with messages from a file of which each is as popular as the others.
    pub(crate) fn call<M: Method>(&self, messages: &Path, many: usize) -> Call {
        Call {
            address: self.address,
            tls: None,
            path: M::PATH.to_owned(),
            headers: Vec::new(),
            sampled_in_thousand: None,
            messages: messages.to_owned(),
            choice: Choice::Any { popular: many, unpopular_in_thousand: 0 },
        }
    }
}
