//! The connections to one service of the mesh: a few, long-lived, each carrying many calls.
//!
//! Each connection has a keeper: it connects, publishes the sender, and when the connection ends connects
//! again, with growing pauses while that fails. Calls take the open connections in turn. Names are looked up
//! anew at each attempt, and the connections spread over the addresses a name stands for.

use std::{
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::Context;
use chassis::Problem;
use futures::future::BoxFuture;
use http::{
    Request, Response, Uri,
    uri::{Authority, PathAndQuery, Scheme},
};
use hyper::{
    body::Incoming,
    client::conn::http2::{Builder, SendRequest},
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::Instant,
};
use tokio_rustls::TlsConnector;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{answer, config};

/// A connection that has not come about after this long is given up.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// A call waits this long for a connection that is on its way, and not at all while the service is down.
const PATIENCE: Duration = Duration::from_secs(1);
/// The pause after the first failure; it doubles up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// A connection that lived shorter than this counts as a failure: it was opened and refused.
const SHORT_LIFE: Duration = Duration::from_secs(1);

/// One stream's window times the streams of a connection is the connection's window: a caller who reads
/// slowly stops its own stream and nobody else's.
const STREAM_WINDOW: u32 = 64 * 1024;
const CONNECTION_WINDOW: u32 = STREAM_WINDOW * config::STREAMS_PER_CONNECTION as u32;

/// Whether a service can be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// No connection yet, or none again; the keepers are connecting.
    Connecting,
    /// At least one connection is open.
    Up,
    /// No connection is open and the last attempt failed.
    Down,
}

/// Where a service listens and how it is spoken to.
struct Address {
    scheme: Scheme,
    authority: Authority,
    host: String,
    port: u16,
    tls: Option<TlsConnector>,
}

/// What the keepers publish and calls read.
struct Links {
    open: RwLock<Vec<Option<SendRequest<Incoming>>>>,
    reach: watch::Sender<Reach>,
}

/// One service of the mesh, as the gateway calls it.
pub(crate) struct Upstream {
    name: String,
    address: Arc<Address>,
    links: Arc<Links>,
    turn: AtomicUsize,
    places: Arc<Semaphore>,
    _keepers: DropGuard,
}

impl Upstream {
    /// Starts keeping connections to the service; it need not listen yet.
    pub(crate) fn open(
        name: &str,
        url: &str,
        tls: Option<&Arc<rustls::ClientConfig>>,
        settings: &config::Settings,
    ) -> anyhow::Result<Self> {
        let address = Arc::new(
            Address::parse(url, tls).with_context(|| format!("the address {url:?} of the service {name}"))?,
        );
        let connections = settings.connections_per_service.get();
        let links = Arc::new(Links {
            open: RwLock::new(vec![None; connections]),
            reach: watch::Sender::new(Reach::Connecting),
        });
        let stop = CancellationToken::new();
        for number in 0..connections {
            let keeper = Keeper {
                name: name.to_owned(),
                number,
                address: Arc::clone(&address),
                links: Arc::clone(&links),
            };
            let stop = stop.clone();
            tokio::spawn(async move { stop.run_until_cancelled(keeper.keep()).await });
        }
        Ok(Self {
            name: name.to_owned(),
            address,
            links,
            turn: AtomicUsize::new(0),
            places: Arc::new(Semaphore::new(settings.most_calls_per_service.get())),
            _keepers: stop.drop_guard(),
        })
    }

    /// The service's name, e.g. "claims".
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Follows whether the service can be called.
    pub(crate) fn reach(&self) -> watch::Receiver<Reach> {
        self.links.reach.subscribe()
    }

    /// A place among the calls under way to this service.
    pub(crate) fn place(&self) -> Result<OwnedSemaphorePermit, Problem> {
        Arc::clone(&self.places).try_acquire_owned().map_err(|_| Problem::overloaded())
    }

    /// The URI of a method at this service.
    pub(crate) fn uri(&self, path: &'static str) -> Result<Uri, Problem> {
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(self.address.scheme.clone());
        parts.authority = Some(self.address.authority.clone());
        parts.path_and_query = Some(PathAndQuery::from_static(path));
        Uri::from_parts(parts).map_err(|_| Problem::internal())
    }

    /// Whether calls go in plaintext, on a loopback where no certificate says who sends them.
    pub(crate) fn is_plain(&self) -> bool {
        self.address.tls.is_none()
    }

    /// Sends a call and waits for the head of its answer. A call that no byte of was sent is offered to
    /// the other connections; one that may have arrived never is.
    pub(crate) async fn send(&self, mut request: Request<Incoming>) -> Result<Response<Incoming>, Problem> {
        for _ in 0..=self.links.size() {
            let Some(mut sender) = self.sender().await else { break };
            match sender.try_send_request(request).await {
                Ok(response) => return Ok(response),
                Err(mut error) => match error.take_message() {
                    Some(unsent) => request = unsent,
                    None => {
                        tracing::debug!(service = self.name, error = %error.into_error(), "a call was cut off");
                        return Err(answer::cut_off(&self.name));
                    }
                },
            }
        }
        Err(answer::unreachable(&self.name))
    }

    async fn sender(&self) -> Option<SendRequest<Incoming>> {
        let mut reach = self.reach();
        let until = Instant::now() + PATIENCE;
        loop {
            let seen = *reach.borrow_and_update();
            if let Some(sender) = self.links.pick(self.turn.fetch_add(1, Ordering::Relaxed)) {
                return Some(sender);
            }
            if seen == Reach::Down {
                return None;
            }
            tokio::time::timeout_at(until, reach.changed()).await.ok()?.ok()?;
        }
    }
}

impl Address {
    fn parse(url: &str, tls: Option<&Arc<rustls::ClientConfig>>) -> anyhow::Result<Self> {
        let uri: Uri = url.parse()?;
        let authority =
            uri.authority().context("it must be written http://HOST:PORT or https://HOST:PORT")?;
        anyhow::ensure!(authority.as_str().find('@').is_none(), "it must not carry credentials");
        anyhow::ensure!(uri.path().len() <= 1 && uri.query().is_none(), "it must end after the port");
        let (scheme, tls, usual_port) = match uri.scheme_str() {
            Some("http") => (Scheme::HTTP, None, 80),
            Some("https") => {
                let mut tls = rustls::ClientConfig::clone(
                    tls.context("https needs the certificates of the mesh, and none are configured")?,
                );
                tls.alpn_protocols = vec![b"h2".to_vec()];
                (Scheme::HTTPS, Some(TlsConnector::from(Arc::new(tls))), 443)
            }
            _ => anyhow::bail!("it must begin with http:// or https://"),
        };
        Ok(Self {
            scheme,
            authority: authority.clone(),
            host: authority.host().trim_matches(['[', ']']).to_owned(),
            port: authority.port_u16().unwrap_or(usual_port),
            tls,
        })
    }
}

impl Links {
    fn size(&self) -> usize {
        self.open.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    fn pick(&self, turn: usize) -> Option<SendRequest<Incoming>> {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        let count = open.len();
        (0..count)
            .filter_map(|step| open[turn.wrapping_add(step) % count].as_ref())
            .find(|sender| !sender.is_closed())
            .cloned()
    }

    fn publish(&self, number: usize, sender: Option<SendRequest<Incoming>>, otherwise: Reach) {
        let up = {
            let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
            open[number] = sender;
            open.iter().any(Option::is_some)
        };
        let now = if up { Reach::Up } else { otherwise };
        self.reach.send_if_modified(|reach| std::mem::replace(reach, now) != now);
    }
}

/// Keeps one connection open.
struct Keeper {
    name: String,
    number: usize,
    address: Arc<Address>,
    links: Arc<Links>,
}

type Connection = BoxFuture<'static, Result<(), hyper::Error>>;

impl Keeper {
    async fn keep(self) {
        let mut failures: u32 = 0;
        let mut attempt = self.number;
        loop {
            let connected = tokio::time::timeout(CONNECT_TIMEOUT, self.connect(attempt))
                .await
                .unwrap_or_else(|_| Err(anyhow::anyhow!("no connection within {CONNECT_TIMEOUT:?}")));
            match connected {
                Ok((sender, connection)) => {
                    if failures > 0 {
                        tracing::info!(service = self.name, connection = self.number, "connected again");
                    }
                    let since = Instant::now();
                    self.links.publish(self.number, Some(sender), Reach::Up);
                    let ended = connection.await;
                    failures = if since.elapsed() < SHORT_LIFE { failures + 1 } else { 0 };
                    tracing::debug!(
                        service = self.name,
                        connection = self.number,
                        ?ended,
                        "connection ended"
                    );
                }
                Err(error) => {
                    if failures == 0 {
                        tracing::warn!(
                            service = self.name,
                            connection = self.number,
                            "cannot connect: {error:#}"
                        );
                    }
                    failures = failures.saturating_add(1);
                }
            }
            let state = if failures > 0 { Reach::Down } else { Reach::Connecting };
            self.links.publish(self.number, None, state);
            if failures > 0 {
                tokio::time::sleep(pause(failures, self.number)).await;
            }
            attempt = attempt.wrapping_add(1);
        }
    }

    async fn connect(&self, attempt: usize) -> anyhow::Result<(SendRequest<Incoming>, Connection)> {
        let Address { host, port, tls, .. } = &*self.address;
        let found: Vec<_> = tokio::net::lookup_host((host.as_str(), *port)).await?.collect();
        let target = found.get(attempt % found.len().max(1)).context("the name stands for no address")?;
        let stream = TcpStream::connect(target).await?;
        stream.set_nodelay(true)?;
        match tls {
            None => shake_hands(stream).await,
            Some(tls) => {
                // Its certificate must name the service that is meant, not merely the host it was found at.
                let name = rustls::pki_types::ServerName::try_from(self.name.clone())?;
                shake_hands(tls.connect(name, stream).await?).await
            }
        }
    }
}

async fn shake_hands<T>(io: T) -> anyhow::Result<(SendRequest<Incoming>, Connection)>
where
    T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (sender, connection) = Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .keep_alive_interval(crate::KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(crate::KEEP_ALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
        .handshake(TokioIo::new(io))
        .await?;
    Ok((sender, Box::pin(connection)))
}

/// The pause before the next attempt; the connections' pauses differ, so that they do not knock together.
fn pause(failures: u32, number: usize) -> Duration {
    let doubled = FIRST_PAUSE.saturating_mul(1 << failures.saturating_sub(1).min(10));
    let spread = FIRST_PAUSE / 4 * u32::try_from(number % 8).unwrap_or(0);
    doubled.min(LONGEST_PAUSE) + spread
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_urls_without_a_path() {
        let plain = Address::parse("http://127.0.0.1:9001", None).expect("an address");
        assert_eq!((plain.host.as_str(), plain.port), ("127.0.0.1", 9001));
        let six = Address::parse("http://[::1]:9001/", None).expect("an address");
        assert_eq!((six.host.as_str(), six.port), ("::1", 9001));
        let wrong = [
            "",
            "claims",
            "claims:9001",
            "ftp://claims:1",
            "https://claims:1",
            "http://c:1/x",
            "http://u@c:1",
        ];
        for url in wrong {
            assert!(Address::parse(url, None).is_err(), "{url:?}");
        }
    }

    #[test]
    fn pauses_grow_and_end_growing() {
        assert_eq!(pause(1, 0), FIRST_PAUSE);
        assert_eq!(pause(2, 0), FIRST_PAUSE * 2);
        assert_eq!(pause(u32::MAX, 0), LONGEST_PAUSE);
        assert!(pause(1, 1) > pause(1, 0));
    }
}
