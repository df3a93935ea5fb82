//! Every answer of the gateway: a service's, passed on as it comes, or a refusal of the gateway itself.
//!
//! Both are gRPC to the end: what goes wrong while a body is passed on becomes trailers with a status and
//! its details, never a broken stream that a client has to guess about.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use chassis::{
    Problem,
    limits::{Watch, trailers},
};
use http::{HeaderValue, Response, StatusCode, header};
use http_body::{Body as _, Frame};
use hyper::body::Incoming;
use tonic::Status;

use crate::observe::Call;

/// A refusal that answers a call.
pub(crate) fn refuse(problem: Problem, mut call: Call) -> Response<Body> {
    let response = Status::from(problem).into_http::<()>();
    call.note(response.headers());
    response.map(|()| Body::ended())
}

/// What is not gRPC is told so in plain HTTP, as the gRPC protocol says.
pub(crate) fn not_grpc() -> Response<Body> {
    let mut response = Response::new(Body::ended());
    *response.status_mut() = StatusCode::UNSUPPORTED_MEDIA_TYPE;
    response.headers_mut().insert(header::ACCEPT, HeaderValue::from_static("application/grpc"));
    response
}

/// An answer that is passed on within the limits of its call.
pub(crate) fn relay(response: Response<Source>, watch: Watch, mut call: Call) -> Response<Body> {
    let (mut head, source) = response.into_parts();
    // Trailers of ours may have to follow what the service sent.
    head.headers.remove(header::CONTENT_LENGTH);
    let told = call.note(&head.headers);
    Response::from_parts(head, Body { source: Some(source), watch, told, call: Some(call) })
}

/// Where the body of an answer comes from.
pub(crate) enum Source {
    /// From a service behind the gateway.
    Behind(Incoming),
    /// From the gateway's own services.
    Local(tonic::body::Body),
}

impl Source {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ()>>> {
        match self {
            Self::Behind(body) => Pin::new(body).poll_frame(cx).map_err(|_| ()),
            Self::Local(body) => Pin::new(body).poll_frame(cx).map_err(|_| ()),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Behind(body) => body.is_end_stream(),
            Self::Local(body) => body.is_end_stream(),
        }
    }
}

/// The body of an answer on its way to the client.
pub(crate) struct Body {
    source: Option<Source>,
    watch: Watch,
    /// Whether the status was sent with the headers.
    told: bool,
    call: Option<Call>,
}

impl Body {
    fn ended() -> Self {
        Self { source: None, watch: Watch::default(), told: true, call: None }
    }

    fn end(&mut self) {
        self.source = None;
        self.watch = Watch::default();
        self.call = None;
    }

    fn end_with(&mut self, problem: Problem) -> Frame<Bytes> {
        let trailers = trailers(problem);
        if let Some(call) = &mut self.call {
            call.note(&trailers);
        }
        self.end();
        Frame::trailers(trailers)
    }

    fn service(&self) -> &str {
        self.call.as_ref().map_or("gateway", Call::system)
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = &mut *self;
        let Some(source) = &mut this.source else { return Poll::Ready(None) };
        match source.poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(trailers) = frame.trailers_ref() {
                    if let Some(call) = &mut this.call {
                        call.note(trailers);
                    }
                    this.end();
                } else if let Some(problem) = this.watch.exceeded() {
                    return Poll::Ready(Some(Ok(this.end_with(problem))));
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(None) if this.told => {
                this.end();
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(())) | None) => {
                let problem = Problem::cut_off(this.service());
                Poll::Ready(Some(Ok(this.end_with(problem))))
            }
            Poll::Pending => this.watch.poll(cx).map(|problem| Some(Ok(this.end_with(problem)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.source.as_ref().is_none_or(|source| self.told && source.is_end_stream())
    }
}
