//! A port of calls: accepts connections, speaks TLS where it is configured and HTTP/2 always, and stops within bounded
//! time, whatever the clients do.
//!
//! A client that connects and stays silent never becomes an HTTP/2 connection here: the preface is awaited
//! under a timeout first. hyper would wait for it without end, also while stopping (hyper issue 4170).

use std::{
    convert::Infallible,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper::{body::Incoming, server::conn::http2::Builder, service::Service};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{Caller, reload::Reloaded, tls, upstream};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What every HTTP/2 client says first (RFC 9113, 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// What a client may send ahead of its reader: per call and per connection.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;
/// After the time for ending calls, connections are dropped; their tasks get this long to notice.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Pings on a connection, and the wait for their answer: without them a partition is not noticed.
const PING_EVERY: Duration = Duration::from_secs(10);
const PING_ANSWER: Duration = Duration::from_secs(5);

/// How a port speaks, and what it bears.
#[derive(Debug, Clone)]
pub struct Port {
    /// TLS; plaintext without.
    pub tls: Option<Reloaded<rustls::ServerConfig>>,
    /// Time a client has from connecting until it has said what it speaks.
    pub first_words: Duration,
    /// Connections held at once; further ones wait in the listen queue.
    pub most_connections: usize,
    /// Bytes of all headers of one call.
    pub most_header_bytes: u32,
    /// Time that calls under way have to end when the process stops.
    pub stop_grace: Duration,
}

/// Serves calls on a listener until `stop`, then ends within the grace: no new connection, calls under way finished
/// or, when the time is up, cut off. `calls_of` makes the service of one connection, given who its certificate names.
pub async fn serve<F, S, B>(listener: TcpListener, port: Port, stop: CancellationToken, calls_of: F)
where
    F: Fn(Option<Arc<Caller>>) -> S + Clone + Send + 'static,
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible, Future: Send + 'static>
        + Send
        + 'static,
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    let connections = TaskTracker::new();
    let cut = CancellationToken::new();
    let places = Arc::new(Semaphore::new(port.most_connections));
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            accepted = accept(&listener, &places) => accepted,
        };
        match accepted {
            Ok((stream, place)) => {
                let (port, calls_of, stop, cut) = (port.clone(), calls_of.clone(), stop.clone(), cut.clone());
                connections.spawn(async move {
                    let served = cut.run_until_cancelled(converse(stream, &port, calls_of, stop)).await;
                    tracing::debug!(?served, "client connection ended");
                    drop(place);
                });
            }
            // Out of file descriptors, or a client that left before it was accepted: neither is a reason to end.
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    drop(listener);
    connections.close();
    if tokio::time::timeout(port.stop_grace, connections.wait()).await.is_err() {
        tracing::warn!(connections = connections.len(), "the time for ending calls is up; cutting off");
    }
    cut.cancel();
    // Ended either way: whoever has not noticed by now is dropped with the runtime.
    let _ = tokio::time::timeout(LAST_WORDS, connections.wait()).await;
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> io::Result<(TcpStream, OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    stream.set_nodelay(true)?;
    Ok((stream, place))
}

/// One client connection from its first byte to its last.
async fn converse<F, S, B>(
    stream: TcpStream,
    port: &Port,
    calls_of: F,
    stop: CancellationToken,
) -> anyhow::Result<()>
where
    F: Fn(Option<Arc<Caller>>) -> S,
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible, Future: Send + 'static>
        + Send
        + 'static,
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    let Some(tls) = &port.tls else {
        let io = stop.run_until_cancelled(tokio::time::timeout(port.first_words, greet(stream))).await;
        let Some(io) = io else { return Ok(()) };
        return speak(io??, port, calls_of(None), stop).await;
    };
    let greeting = async {
        let stream = TlsAcceptor::from(tls.current()).accept(stream).await?;
        let chain = stream.get_ref().1.peer_certificates();
        let peer = chain.and_then(|chain| tls::caller_of_certificate(chain.first()?));
        anyhow::Ok((greet(stream).await?, peer))
    };
    let Some(greeted) = stop.run_until_cancelled(tokio::time::timeout(port.first_words, greeting)).await
    else {
        return Ok(());
    };
    let (io, peer) = greeted??;
    speak(io, port, calls_of(peer.map(Arc::new)), stop).await
}

/// Reads the preface, and refuses whoever speaks something else.
async fn greet<T: AsyncRead + Unpin>(mut io: T) -> io::Result<Greeted<T>> {
    let mut said = [0; PREFACE.len()];
    io.read_exact(&mut said).await?;
    if &said == PREFACE {
        Ok(Greeted { said: PREFACE, io })
    } else {
        Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "the client does not speak HTTP/2 with prior knowledge",
        ))
    }
}

async fn speak<T, S, B>(io: Greeted<T>, port: &Port, calls: S, stop: CancellationToken) -> anyhow::Result<()>
where
    T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible, Future: Send + 'static>
        + Send
        + 'static,
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    let connection = Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(u32::from(upstream::STREAMS))
        .max_header_list_size(port.most_header_bytes)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_ANSWER)
        .serve_connection(TokioIo::new(io), calls);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        ended = connection.as_mut() => return Ok(ended?),
        () = stop.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    Ok(connection.await?)
}

/// A connection whose preface was read and is read again by whoever serves it.
struct Greeted<T> {
    said: &'static [u8],
    io: T,
}

impl<T: AsyncRead + Unpin> AsyncRead for Greeted<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.said.is_empty() {
            return Pin::new(&mut self.io).poll_read(cx, buf);
        }
        let (now, later) = self.said.split_at(self.said.len().min(buf.remaining()));
        buf.put_slice(now);
        self.said = later;
        Poll::Ready(Ok(()))
    }
}

/// Not vectored: h2 then copies answers of up to 1 KiB into one buffer, and the answers of several calls leave by one write.
/// Vectored, each that is longer than 256 bytes would be a system call, and a TLS record, of its own.
impl<T: AsyncWrite + Unpin> AsyncWrite for Greeted<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
