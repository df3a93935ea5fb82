//! A service with nothing but its feed, over a database that may go away, and those who write and read.

use std::{future::Future, sync::LazyLock, time::Duration};

use chassis::{
    Begun, Call, Db, Mutation, Parts, Problem, RequestId, Service, Settings, Start, Write,
    config::{Layers, NoSettings},
    host::{self, Ports},
    telemetry::{self, LogFormat, Telemetry},
};
use futures::future::join_all;
use jiff::Timestamp;
use proto::feed::v1::{
    ReadEventsRequest as Request, ReadEventsResponse as Answer, feed_service_client::FeedServiceClient,
};
use sqlx::migrate::Migrator;
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tonic::{Status, transport::Channel};

/// How long a call waits for a connection, by default.
pub(crate) const WAIT: Duration = Duration::from_secs(1);

/// How long somebody who asks again after an outage waits for one answer.
const ATTEMPT: Duration = Duration::from_secs(2);

pub(crate) struct Teller;

impl Service for Teller {
    const NAME: &'static str = "teller";
    const DEFAULTS: &'static str = "";
    type Settings = NoSettings;

    fn migrations() -> Option<&'static Migrator> {
        None
    }

    async fn build(_: Start<NoSettings>) -> anyhow::Result<Parts> {
        Ok(Parts::new())
    }
}

pub(crate) fn settings(name: &'static str, database: &str, more: &[(&str, &str)]) -> Settings<NoSettings> {
    let mut layers = Layers { processes: vec![name], ..Layers::default() };
    let given = [("insecure-loopback", "true"), ("database.url", database)];
    layers.computed =
        given.iter().chain(more).map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    layers.load(name, "").unwrap()
}

/// What is expected here is not to fill the log of the tests.
static TELEMETRY: LazyLock<Telemetry> =
    LazyLock::new(|| telemetry::start("test", LogFormat::Human, "off").unwrap());

fn ports() -> Ports {
    Ports::bind("127.0.0.1:0".parse().unwrap(), "127.0.0.1:0".parse().unwrap()).unwrap()
}

/// Runs a service until the stop.
pub(crate) async fn serve<S: Service<Settings = NoSettings>>(
    settings: Settings<NoSettings>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    host::run::<S>(settings, ports(), TELEMETRY.clone(), stop).await
}

/// The process, and a handle on its database such as its handlers have.
pub(crate) struct House {
    pub(crate) db: Db,
    pub(crate) address: String,
    settings: Settings<NoSettings>,
    process: JoinHandle<anyhow::Result<()>>,
    stop: CancellationToken,
}

impl House {
    pub(crate) async fn over(database: &str) -> Self {
        chassis::tls::install_provider();
        let settings = settings("teller", database, &[]);
        let stop = CancellationToken::new();
        let db =
            Db::connect("teller", &settings.database, settings.database.patience(), stop.clone()).unwrap();
        let ports = ports();
        let address = format!("http://{}", ports.addresses().unwrap().grpc);
        let process =
            tokio::spawn(host::run::<Teller>(settings.clone(), ports, TELEMETRY.clone(), stop.clone()));
        Self { db, address, settings, process, stop }
    }

    pub(crate) fn connections(&self) -> u32 {
        self.settings.database.connections
    }

    /// Reads the feed through the process.
    pub(crate) async fn read(&self, deadline: Duration) -> Result<Answer, Status> {
        let channel = Channel::from_shared(self.address.clone()).unwrap().connect_lazy();
        let mut client = FeedServiceClient::with_interceptor(channel, |mut request: tonic::Request<()>| {
            request.metadata_mut().insert("jkn-peer", "service:hearer".parse().unwrap());
            Ok(request)
        });
        let mut request = tonic::Request::new(Request { after_position: 0, limit: 1000 });
        request.set_timeout(deadline);
        client.read_events(request).await.map(tonic::Response::into_inner)
    }

    /// Writes on every connection at the same time.
    pub(crate) async fn writes_at_once(&self, word: &str) {
        let written = join_all(
            (0..self.connections()).map(async |number| write(&self.db, &format!("{word}-{number}")).await),
        );
        assert!(written.await.iter().all(Result::is_ok));
    }

    /// Waits until so many events have been told, and no more.
    pub(crate) async fn told(&self, events: i64) {
        let begun = Instant::now();
        loop {
            let head = self.read(Duration::from_secs(5)).await.map(|read| read.head_position);
            match head {
                Ok(head) if head == events => return,
                Ok(head) => assert!(head < events, "{head} events where {events} were written"),
                Err(_) => {}
            }
            assert!(begun.elapsed() < Duration::from_secs(15), "{head:?} where {events} were written");
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Reads, writes and relays again within a time.
    pub(crate) async fn recovers(&self, within: Duration) {
        let begun = Instant::now();
        let key = uuid::Uuid::new_v4().to_string();
        let head = loop {
            match self.read(ATTEMPT).await {
                Ok(read) => break read.head_position,
                Err(refused) => assert!(begun.elapsed() < within, "no read within {within:?}: {refused:?}"),
            }
            sleep(Duration::from_millis(20)).await;
        };
        while !timeout(ATTEMPT, write(&self.db, &key)).await.is_ok_and(|written| written.is_ok()) {
            assert!(begun.elapsed() < within, "no write within {within:?}");
            sleep(Duration::from_millis(20)).await;
        }
        while !self.read(ATTEMPT).await.is_ok_and(|read| read.head_position > head) {
            assert!(begun.elapsed() < within, "no event told within {within:?}");
            sleep(Duration::from_millis(20)).await;
        }
    }

    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.process.await.unwrap().unwrap();
    }
}

pub(crate) fn request() -> Request {
    Request { after_position: 1, limit: 1 }
}

fn mutation(key: &str) -> Mutation {
    let caller = "bank:bni".parse().unwrap();
    let call = Call::local(caller, "/test/Write", Timestamp::now(), Duration::from_secs(10));
    Mutation::new(&call, &request(), RequestId::parse(key).unwrap())
}

/// A mutation with one event that has written everything and not committed.
pub(crate) async fn begin(db: &Db, key: &str) -> Write {
    match mutation(key).begin::<Request>(db).await.unwrap() {
        Begun::Replayed(_) => panic!("{key} is new"),
        Begun::Fresh(mut write) => {
            write.emit("subject", &request()).await.unwrap();
            write
        }
    }
}

/// A mutation with one event, by which its effects can be counted.
pub(crate) async fn write(db: &Db, key: &str) -> Result<Request, Problem> {
    match mutation(key).begin(db).await? {
        Begun::Replayed(answer) => Ok(answer),
        Begun::Fresh(mut write) => {
            write.emit("subject", &request()).await?;
            write.commit(request()).await
        }
    }
}

/// So many at the same time.
pub(crate) async fn at_once<T, F: Future<Output = T>>(many: usize, one: impl Fn(usize) -> F) -> Vec<T> {
    join_all((0..many).map(one)).await
}
