//! The addresses of one service and the connections to them.
//!
//! Names are looked up again and again. An address joins when a connection to it was made and a health check passed on
//! it, leaves when its connections end, and is left alone for a moment by its breaker when it answers badly. Calls go
//! to the less busy of two connections.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use http::{Request, Response, Uri, uri::PathAndQuery};
use hyper::{body::Incoming, client::conn::http2::SendRequest};
use rustls::pki_types::ServerName;
use tokio::{
    net::TcpStream,
    sync::{Notify, watch},
    time::{Instant, timeout},
};
use tokio_rustls::TlsConnector;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use super::{
    address::Addresses,
    breaker::Breaker,
    link::{self, Driver, Link, Outcome, Sent, Unanswered},
};
use crate::{Problem, reload::Reloaded};

/// A connection that does not come about within this time is given up; the next attempt may find the way open.
const CONNECT: Duration = Duration::from_secs(1);
/// From the first byte to the end of the health check.
const GREET: Duration = Duration::from_secs(3);
/// A call waits this long for a connection that is on its way, and not at all while the service is down.
const PATIENCE: Duration = Duration::from_secs(1);
/// A connection that lived shorter than this counts as a failure: it was opened and refused.
const SHORT_LIFE: Duration = Duration::from_secs(1);
/// An address that cannot be connected to for so long is told of.
const WORTH_A_LINE: Duration = Duration::from_secs(1);
/// How often names are looked up again; sooner when a connection ended, later by no more than that.
const LOOK_UP_EVERY: Duration = Duration::from_secs(5);
const LOOK_UP_PAUSE: Duration = Duration::from_millis(500);

fn pauses() -> ExponentialBackoff {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(50))
        .with_max_delay(Duration::from_millis(400))
        .without_max_times()
        .with_jitter()
        .build()
}

/// Whether a service can be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// No connection yet, or none again; one is on its way.
    Connecting,
    /// At least one connection is open.
    Up,
    /// No connection is open and the last attempt failed.
    Down,
}

/// A service, as others call it: every connection to every address of it.
pub struct Pool {
    shared: Arc<Shared>,
    turn: AtomicUsize,
    _keepers: DropGuard,
}

/// What keepers publish and calls read.
struct Shared {
    service: Arc<str>,
    addresses: Addresses,
    tls: Option<Reloaded<rustls::ClientConfig>>,
    connections: usize,
    links: RwLock<Arc<[Arc<Link>]>>,
    reach: watch::Sender<Reach>,
    look_up: Notify,
}

impl Pool {
    /// Starts to keep connections to a service; it need not listen yet. Within a runtime.
    ///
    /// # Errors
    /// When `addresses` is no list of addresses, or needs certificates and there are none.
    pub fn open(
        service: &str,
        addresses: &str,
        tls: Option<Reloaded<rustls::ClientConfig>>,
        connections: usize,
    ) -> anyhow::Result<Self> {
        let addresses = Addresses::parse(addresses)?;
        anyhow::ensure!(
            addresses.is_plain() || tls.is_some(),
            "https needs the certificates of the mesh, and none are configured"
        );
        let shared = Arc::new(Shared {
            service: service.into(),
            tls: tls.filter(|_| !addresses.is_plain()),
            addresses,
            connections: connections.max(1),
            links: RwLock::new(Arc::new([])),
            reach: watch::Sender::new(Reach::Connecting),
            look_up: Notify::new(),
        });
        let stop = CancellationToken::new();
        tokio::spawn(
            stop.clone().run_until_cancelled_owned(Arc::clone(&shared).follow_addresses(stop.clone())),
        );
        Ok(Self { shared, turn: AtomicUsize::new(0), _keepers: stop.drop_guard() })
    }

    /// Follows whether the service can be called.
    #[must_use]
    pub fn reach(&self) -> watch::Receiver<Reach> {
        self.shared.reach.subscribe()
    }

    /// Whether calls go in plaintext, on a loopback where no certificate says who sends them.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.shared.addresses.is_plain()
    }

    /// The URI of a path at this service.
    ///
    /// # Errors
    /// When the path is none.
    pub fn uri(&self, path: PathAndQuery) -> Result<Uri, Problem> {
        self.shared.addresses.uri(path).map_err(|_| Problem::internal())
    }

    /// Sends a call and waits for the head of its answer. A call of which nothing was sent is offered to other
    /// connections; one that may have arrived never is.
    ///
    /// # Errors
    /// UNAVAILABLE, and whether the call may have arrived.
    pub async fn send(&self, mut request: Request<Sent>) -> Result<(Response<Incoming>, Outcome), Failure> {
        let service = &*self.shared.service;
        // Each attempt takes another connection, so that there is an end to them.
        for _ in 0..=self.shared.links().len() {
            let link = self.link().await?;
            match link::send(link, request).await {
                Ok(answered) => return Ok(answered),
                Err(Unanswered::Unsent(unsent)) => request = *unsent,
                Err(Unanswered::CutOff) => return Err(Failure::CutOff(Problem::cut_off(service))),
            }
        }
        Err(Failure::Unsent(Problem::unavailable(service)))
    }

    /// A connection that takes calls; waits a little for one that is on its way.
    async fn link(&self) -> Result<Arc<Link>, Failure> {
        let mut reach: Option<watch::Receiver<Reach>> = None;
        let until = Instant::now() + PATIENCE;
        loop {
            // Noted before looking, so that no change in between is missed.
            let seen = match &mut reach {
                Some(reach) => *reach.borrow_and_update(),
                None => *self.shared.reach.borrow(),
            };
            let unavailable = || Failure::Unsent(Problem::unavailable(&self.shared.service));
            match self.pick() {
                Picked::Link(link) => return Ok(link),
                Picked::Broken(until) => {
                    let left = until.saturating_duration_since(Instant::now());
                    let problem = Problem::unavailable(&self.shared.service).retry_after(left);
                    return Err(Failure::Unsent(problem));
                }
                Picked::Nothing if seen == Reach::Down => return Err(unavailable()),
                Picked::Nothing => {}
            }
            match &mut reach {
                None => reach = Some(self.shared.reach.subscribe()),
                Some(reach) => {
                    let changed = tokio::time::timeout_at(until, reach.changed()).await;
                    changed.map_err(|_| unavailable())?.map_err(|_| unavailable())?;
                }
            }
        }
    }

    /// The less busy of two open connections that their breakers let through, beginning with another one each time.
    fn pick(&self) -> Picked {
        let links = self.shared.links();
        let (now, turn) = (Instant::now(), self.turn.fetch_add(1, Ordering::Relaxed));
        let in_turn = (0..links.len()).map(|step| &links[turn.wrapping_add(step) % links.len()]);
        let mut earliest: Option<Instant> = None;
        let mut first: Option<&Arc<Link>> = None;
        for link in in_turn.filter(|link| !link.is_closed()) {
            if first.is_some_and(|first| first.under_way() <= link.under_way()) {
                break;
            }
            match (link.admit(now), first) {
                (Ok(()), None) => first = Some(link),
                (Ok(()), Some(_)) => return Picked::Link(Arc::clone(link)),
                (Err(until), _) => earliest = Some(earliest.map_or(until, |other| other.min(until))),
            }
        }
        match (first, earliest) {
            (Some(link), _) => Picked::Link(Arc::clone(link)),
            (None, Some(until)) => Picked::Broken(until),
            (None, None) => Picked::Nothing,
        }
    }
}

enum Picked {
    Link(Arc<Link>),
    /// There are connections, and every breaker is open, this long.
    Broken(Instant),
    Nothing,
}

/// Why a call was not answered.
#[derive(Debug)]
pub enum Failure {
    /// Nothing of it was sent.
    Unsent(Problem),
    /// It was sent, and its answer did not come.
    CutOff(Problem),
}

impl From<Failure> for Problem {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Unsent(problem) | Failure::CutOff(problem) => problem,
        }
    }
}

impl Shared {
    fn links(&self) -> Arc<[Arc<Link>]> {
        Arc::clone(&self.links.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Adds a connection, and tells who waits for one.
    fn add(&self, link: &Arc<Link>) {
        self.change(Reach::Up, |links| links.iter().chain([link]).cloned().collect());
    }

    /// Takes connections away; what is `otherwise` holds when none is left.
    fn remove(&self, otherwise: Reach, leaves: impl Fn(&Arc<Link>) -> bool) {
        self.change(otherwise, |links| links.iter().filter(|link| !leaves(link)).cloned().collect());
    }

    fn change(&self, otherwise: Reach, change: impl FnOnce(&[Arc<Link>]) -> Arc<[Arc<Link>]>) {
        let up = {
            let mut links = self.links.write().unwrap_or_else(PoisonError::into_inner);
            *links = change(&links);
            !links.is_empty()
        };
        let now = if up { Reach::Up } else { otherwise };
        self.reach.send_if_modified(|reach| std::mem::replace(reach, now) != now || up);
    }

    /// Looks the names up, and keeps connections to what they stand for.
    async fn follow_addresses(self: Arc<Self>, stop: CancellationToken) {
        let mut kept: BTreeMap<SocketAddr, CancellationToken> = BTreeMap::new();
        let mut failed = false;
        loop {
            match self.addresses.resolve().await {
                Ok(found) => {
                    failed = false;
                    self.keep(&mut kept, &found, &stop);
                }
                // What was known stays in use: a name service that is away must not take the mesh with it.
                Err(error) => {
                    if !failed {
                        tracing::warn!(service = &*self.service, %error, "cannot look up the address");
                    }
                    failed = true;
                    if kept.is_empty() {
                        self.remove(Reach::Down, |_| false);
                    }
                }
            }
            tokio::time::sleep(LOOK_UP_PAUSE).await;
            if !failed {
                let _sooner = timeout(LOOK_UP_EVERY, self.look_up.notified()).await;
            }
        }
    }

    fn keep(
        self: &Arc<Self>,
        kept: &mut BTreeMap<SocketAddr, CancellationToken>,
        found: &BTreeSet<SocketAddr>,
        stop: &CancellationToken,
    ) {
        kept.retain(|address, keepers| {
            let stays = found.contains(address);
            if !stays {
                keepers.cancel();
                // Calls under way keep their connection until they end.
                self.remove(Reach::Connecting, |link| link.address == *address);
            }
            stays
        });
        for address in found {
            kept.entry(*address).or_insert_with(|| {
                let keepers = stop.child_token();
                let breaker = Arc::new(Mutex::new(Breaker::new(Instant::now())));
                for _ in 0..self.connections {
                    let keeper =
                        Keeper { shared: Arc::clone(self), address: *address, breaker: Arc::clone(&breaker) };
                    tokio::spawn(keepers.clone().run_until_cancelled_owned(keeper.keep()));
                }
                keepers
            });
        }
    }
}

/// That an address cannot be connected to, and whether the log says so.
#[derive(Default)]
struct Outage {
    since: Option<Instant>,
    told: bool,
}

impl Outage {
    /// After a failure: whether it is worth a line by now. While processes start or are replaced, it is none.
    fn is_to_be_told(&mut self, now: Instant) -> bool {
        let lasts = now.duration_since(*self.since.get_or_insert(now)) >= WORTH_A_LINE;
        lasts && !std::mem::replace(&mut self.told, true)
    }
}

/// Keeps one connection to one address.
struct Keeper {
    shared: Arc<Shared>,
    address: SocketAddr,
    breaker: Arc<Mutex<Breaker>>,
}

impl Keeper {
    async fn keep(self) {
        let Self { shared, address, .. } = &self;
        let service = &*shared.service;
        let mut pauses = pauses();
        let mut failures: u32 = 0;
        let mut out = Outage::default();
        loop {
            match self.open().await {
                Ok((sender, driver)) => {
                    let since = Instant::now();
                    if std::mem::take(&mut out).told {
                        tracing::info!(service, %address, "connected again");
                    }
                    let breaker = Arc::clone(&self.breaker);
                    // It passed a health check: what was before it is of no concern.
                    *breaker.lock().unwrap_or_else(PoisonError::into_inner) = Breaker::new(since);
                    let link = Arc::new(Link::new(*address, sender, breaker, Arc::clone(&shared.service)));
                    shared.add(&link);
                    let ended = driver.await;
                    failures = if since.elapsed() < SHORT_LIFE { failures.saturating_add(1) } else { 0 };
                    let state = if failures > 0 { Reach::Down } else { Reach::Connecting };
                    shared.remove(state, |other| Arc::ptr_eq(other, &link));
                    shared.look_up.notify_one();
                    tracing::debug!(service, %address, ?ended, "connection ended");
                }
                Err(error) => {
                    if out.is_to_be_told(Instant::now()) {
                        tracing::warn!(service, %address, "cannot connect: {error:#}");
                    }
                    failures = failures.saturating_add(1);
                    shared.remove(Reach::Down, |_| false);
                }
            }
            if failures == 0 {
                pauses = self::pauses();
            } else {
                tokio::time::sleep(pauses.next().unwrap_or_default()).await;
            }
        }
    }

    /// A connection on which the service said that it serves.
    async fn open(&self) -> anyhow::Result<(SendRequest<Sent>, Driver)> {
        let connecting = timeout(CONNECT, TcpStream::connect(self.address)).await;
        let stream = connecting.map_err(|_| anyhow::anyhow!("no connection within {CONNECT:?}"))??;
        stream.set_nodelay(true)?;
        timeout(GREET, self.greet(stream))
            .await
            .unwrap_or_else(|_| Err(anyhow::anyhow!("connected, but no word within {GREET:?}")))
    }

    async fn greet(&self, stream: TcpStream) -> anyhow::Result<(SendRequest<Sent>, Driver)> {
        let (sender, driver) = match &self.shared.tls {
            None => link::shake_hands(stream).await?,
            Some(tls) => {
                // Its certificate must name the service that is meant, not merely the host it was found at.
                let name = ServerName::try_from(self.shared.service.to_string())?;
                link::shake_hands(TlsConnector::from(tls.current()).connect(name, stream).await?).await?
            }
        };
        self.check_health(&sender).await?;
        Ok((sender, driver))
    }

    async fn check_health(&self, sender: &SendRequest<Sent>) -> anyhow::Result<()> {
        let direct = tower::service_fn(|request: Request<tonic::body::Body>| {
            let mut sender = sender.clone();
            async move { sender.send_request(request.map(Sent::Made)).await }
        });
        let origin = self.shared.addresses.uri(PathAndQuery::from_static("/"))?;
        let question = HealthCheckRequest { service: self.shared.service.to_string() };
        match HealthClient::with_origin(direct, origin).check(question).await {
            Ok(answer) if answer.get_ref().status() == ServingStatus::Serving => Ok(()),
            Ok(_) => anyhow::bail!("it is not serving"),
            // A server that does not speak of its health is taken at its word that it listens (gRPC A17).
            Err(status) if status.code() == tonic::Code::Unimplemented => Ok(()),
            Err(status) => anyhow::bail!("its health: {} {}", status.code(), status.message()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_is_told_once_when_it_lasts() {
        let begun = Instant::now();
        let mut out = Outage::default();
        let told = [0, 400, 999, 1000, 1400].map(|ms| out.is_to_be_told(begun + Duration::from_millis(ms)));
        assert_eq!(told, [false, false, false, true, false]);
    }
}
