//! The one door of the mesh: gRPC of every service on one port, passed on as bytes.
//!
//! A call takes these steps, each in the file named, and what later rules ask for joins a step:
//!
//! 1. [`chassis::listen`]: a connection, with or without a client certificate;
//! 2. `route`: from the path to a method of the contracts, by the descriptor set;
//! 3. `authenticate`: who calls, and whether the method's policy names that kind (agreements narrow it here);
//! 4. `route`: the service the call goes to;
//! 5. [`Gateway`]: a place among the calls under way (quotas narrow it here), and a deadline;
//! 6. `forward`, `upstream`, over one of its addresses: on to the service, with the gateway's own headers (the signed log records here);
//! 7. `answer`: back to the client, within the deadline, with a status in any case;
//! 8. `observe`: metrics, trace, log.
//!
//! Bodies are never decoded. The gateway owns no data and knows no rule of health insurance.

use std::{collections::BTreeMap, convert::Infallible, sync::Arc, time::Duration};

use chassis::{
    Caller, Problem,
    host::{Ports, serve_admin},
    limits::{Limits, Watch},
    listen::{self, Port},
    reload::Reloaded,
    telemetry::{self, Telemetry},
    upstream::Reach,
};
use http::{HeaderValue, Method as Verb, Request, Response, header};
use hyper::{body::Incoming, service::service_fn};
use jiff::Timestamp;
use tokio::{net::TcpListener, sync::Semaphore, time::Instant};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

mod answer;
mod authenticate;
pub mod config;
mod deadline;
mod forward;
mod local;
mod observe;
mod route;
mod upstream;

use answer::{Body, Source};
use authenticate::Door;
use local::Local;
use observe::{Call, Meters};
use route::{Route, Services};

/// The name of the process and of its section in a settings file.
pub const NAME: &str = "gateway";

/// What the process gives the gateway.
pub struct Environment {
    /// Addresses of each service, by its name: `http://HOST:PORT`, or `https://…` with certificates; separated by
    /// commas where it has several.
    pub upstream: BTreeMap<String, String>,
    /// TLS towards clients; plaintext without.
    pub server_tls: Option<Reloaded<rustls::ServerConfig>>,
    /// TLS towards the services, for addresses that begin with https.
    pub client_tls: Option<Reloaded<rustls::ClientConfig>>,
    /// Deadline of a call that names none: one request, one response.
    pub deadline: Duration,
    /// Calls under way at once, of all callers to all services together.
    pub most_calls: usize,
    /// Time that calls under way have to end when the gateway stops.
    pub stop_grace: Duration,
}

/// How long a gateway that has just started is not ready because a service behind it was not reached yet. One that is away
/// for longer must not keep callers from all others.
const REACHED_WITHIN: Duration = Duration::from_secs(5);

/// The gateway, ready to serve. Clones are the same gateway.
#[derive(Clone)]
pub struct Gateway {
    parts: Arc<Parts>,
}

struct Parts {
    settings: config::Settings,
    port: Port,
    deadline: Duration,
    door: Door,
    services: Services,
    local: Local,
    meters: Arc<Meters>,
    places: Arc<Semaphore>,
    local_places: Arc<Semaphore>,
}

/// Runs the gateway's process until it is told to stop: probes and metrics on one port, the mesh on the other.
///
/// # Errors
/// When the gateway cannot be put together.
pub async fn run(
    settings: chassis::Settings<config::Settings>,
    ports: Ports,
    telemetry: Telemetry,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let tls = settings.tls.is_configured().then_some(&settings.tls);
    // Clients without a certificate are let in here; they show a token.
    let open_to_clients = |tls| chassis::tls::server(tls, true);
    let plaintext = settings.service.plaintext;
    anyhow::ensure!(
        !plaintext || settings.listen.ip().is_loopback(),
        "service.plaintext is for a loopback address; listen is {}",
        settings.listen
    );
    let environment = Environment {
        server_tls: tls.filter(|_| !plaintext).map(open_to_clients).transpose()?,
        client_tls: tls.map(chassis::tls::client).transpose()?,
        deadline: settings.deadline(),
        most_calls: settings.most_calls,
        stop_grace: settings.stop_grace(),
        upstream: settings.upstream,
    };
    let gateway = Gateway::build(settings.service, environment)?;

    let (listener, admin) = ports.into_listeners()?;
    let (ready, is_ready) = tokio::sync::watch::channel(false);
    // The admin port answers to the last: a probe must be able to see that the process is stopping.
    let admin_stop = CancellationToken::new();
    let admin = tokio::spawn(serve_admin(admin, telemetry, is_ready, admin_stop.clone()));
    let reached = tokio::time::timeout(REACHED_WITHIN, gateway.reached());
    let readiness = {
        let stop = stop.clone();
        tokio::spawn(async move {
            if stop.run_until_cancelled(reached).await.is_some() {
                ready.send_replace(true);
                tracing::info!(process = NAME, "ready");
                stop.cancelled().await;
            }
            ready.send_replace(false);
        })
    };
    serve(listener, gateway, stop).await;
    readiness.abort();
    admin_stop.cancel();
    admin.await?
}

/// Serves the gateway on a listener until `stop`, then ends within the gateway's stop time: no new connection, streams
/// ended, calls under way finished or, when the time is up, cut off.
pub async fn serve(listener: TcpListener, gateway: Gateway, stop: CancellationToken) {
    let local = &gateway.parts.local;
    local.serving().await;
    let calls_of = {
        let (gateway, stop) = (gateway.clone(), stop.clone());
        move |certified: Option<Arc<Caller>>| {
            let connection =
                Arc::new(Connection { parts: Arc::clone(&gateway.parts), certified, stop: stop.clone() });
            service_fn(move |request| {
                let connection = Arc::clone(&connection);
                async move { Ok::<_, Infallible>(connection.answer(request).await) }
            })
        }
    };
    let told = async {
        stop.cancelled().await;
        local.stopping().await;
    };
    let port = gateway.parts.port.clone();
    tokio::join!(listen::serve(listener, port, stop.clone(), calls_of), told);
}

impl Gateway {
    /// Until each service behind it was reached once.
    fn reached(&self) -> impl Future<Output = ()> + Send + 'static {
        let all: Vec<_> = self.parts.services.iter().map(|service| service.reach()).collect();
        async move {
            for mut reach in all {
                // One that is no longer followed is no longer waited for.
                let _gone = reach.wait_for(|reach| *reach == Reach::Up).await.map(|_| ());
            }
        }
    }

    /// Checks everything that can be checked before a port is bound, and starts connecting to the services.
    /// Needs a tokio runtime.
    ///
    /// # Errors
    /// When settings contradict each other, or an address is wrong, missing or of no known service.
    pub fn build(settings: config::Settings, environment: Environment) -> anyhow::Result<Self> {
        settings.check()?;
        let Environment { upstream, server_tls, client_tls, deadline, most_calls, stop_grace } = environment;
        let door = Door::open(&settings)?;
        let services = Services::open(&upstream, client_tls.as_ref(), &settings)?;
        let port = Port {
            tls: server_tls,
            first_words: settings.first_words(),
            most_connections: settings.most_connections.get(),
            most_header_bytes: settings.most_header_bytes,
            stop_grace,
        };
        let parts = Parts {
            port,
            deadline,
            door,
            local: Local::new(&services)?,
            services,
            meters: Arc::new(Meters::new()),
            places: Arc::new(Semaphore::new(most_calls)),
            local_places: Arc::new(Semaphore::new(settings.most_local_calls.get())),
            settings,
        };
        Ok(Self { parts: Arc::new(parts) })
    }
}

/// One client's connection.
struct Connection {
    parts: Arc<Parts>,
    /// Who its certificate names.
    certified: Option<Arc<Caller>>,
    stop: CancellationToken,
}

impl Connection {
    /// Answers one call, whatever it is.
    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        if !is_grpc(&request) {
            return answer::not_grpc();
        }
        let route = route::of(request.uri().path());
        let mut call = Call::begin(&self.parts.meters, route.as_ref().ok(), request.headers());
        let span = call.span().clone();
        let answered = match route {
            Ok(route) => {
                let trace = call.traceparent().to_owned();
                let exchanged = self.exchange(route, request, &mut call).instrument(span);
                telemetry::in_trace(trace, exchanged).await
            }
            Err(problem) => Err(problem),
        };
        match answered {
            Ok((response, watch)) => answer::relay(response, watch, call),
            Err(problem) => answer::refuse(problem, call),
        }
    }

    async fn exchange(
        &self,
        route: Route,
        request: Request<Incoming>,
        call: &mut Call,
    ) -> Result<(Response<Source>, Watch), Problem> {
        let parts = &*self.parts;
        let (server_streaming, client_streaming) = match &route {
            Route::Local => (Local::streams(request.uri().path()), false),
            Route::Behind(method) => (method.server_streaming, method.client_streaming),
        };
        let asked = deadline::asked(request.headers())?;
        let (default, longest) = (parts.deadline, parts.settings.longest_deadline());
        let left = deadline::allowed(asked, server_streaming, client_streaming, default, longest);
        let begun = Instant::now();
        let mut watch = Watch::over(Limits {
            deadline: left.map(|left| begun + left),
            stop: server_streaming.then(|| (self.stop.clone(), NAME)),
        });
        let answered = async {
            match route {
                Route::Local => {
                    call.hold(place(&parts.local_places)?);
                    Ok::<_, Problem>(parts.local.answer(request).await)
                }
                Route::Behind(method) => {
                    let now = Timestamp::now();
                    let caller = parts.door.identify(request.headers(), self.certified.as_deref(), now)?;
                    authenticate::authorise(method, &caller)?;
                    let service = parts.services.home(method, request.headers())?;
                    call.hold(place(&parts.places)?);
                    call.hold(service.place()?);
                    let assertion = parts.door.vouch(&caller, now)?;
                    let (head, body) = request.into_parts();
                    let mut onward = Request::new(body);
                    *onward.method_mut() = Verb::POST;
                    *onward.uri_mut() = service.uri(method.path)?;
                    *onward.headers_mut() = forward::headers(&head.headers, assertion, left, call);
                    if service.is_plain() {
                        onward
                            .headers_mut()
                            .insert(chassis::call::PEER, HeaderValue::from_static("service:gateway"));
                    }
                    let (response, outcome) = service.send(onward).await?;
                    call.answered(outcome);
                    match left {
                        Some(left) if chassis::call::is_late(response.headers(), begun.elapsed(), left) => {
                            Err(Problem::deadline_passed())
                        }
                        _ => Ok(response.map(Source::Behind)),
                    }
                }
            }
        };
        tokio::select! {
            answered = answered => Ok((answered?, watch)),
            problem = std::future::poll_fn(|context| watch.poll(context)) => Err(problem),
        }
    }
}

fn place(places: &Arc<Semaphore>) -> Result<tokio::sync::OwnedSemaphorePermit, Problem> {
    Arc::clone(places).try_acquire_owned().map_err(|_| Problem::overloaded())
}

/// `application/grpc`, also with a message format (`+proto`), but not `application/grpc-web`.
fn is_grpc<B>(request: &Request<B>) -> bool {
    let content_type = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let rest = content_type.and_then(|text| text.strip_prefix("application/grpc"));
    request.method() == Verb::POST && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['+', ';']))
}
