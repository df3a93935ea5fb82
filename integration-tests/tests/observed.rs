//! What an observer sees of the journey: all of it, in one trace for each call, and nothing of a person.
#![allow(clippy::unwrap_used, reason = "a test that meets the unexpected should stop there")]

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
};

use integration_tests::{Mesh, eventually, leak};
use opentelemetry_proto::tonic::collector::{
    metrics::v1::{
        ExportMetricsServiceRequest, ExportMetricsServiceResponse,
        metrics_service_server::{MetricsService, MetricsServiceServer},
    },
    trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
};
use tokio::{net::TcpListener, process::Command};
use tonic::{
    Request, Response, Status,
    transport::{Server, server::TcpIncoming},
};

/// A collector that keeps what it is sent.
#[derive(Clone, Default)]
struct Collector {
    traces: Arc<Mutex<Vec<ExportTraceServiceRequest>>>,
    metrics: Arc<Mutex<Vec<ExportMetricsServiceRequest>>>,
}

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.traces.lock().unwrap().push(request.into_inner());
        Ok(Response::new(Default::default()))
    }
}

#[tonic::async_trait]
impl MetricsService for Collector {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        self.metrics.lock().unwrap().push(request.into_inner());
        Ok(Response::new(Default::default()))
    }
}

impl Collector {
    /// The names of the processes that had a part in each trace.
    fn processes_by_trace(&self) -> BTreeMap<Vec<u8>, BTreeSet<String>> {
        let mut found: BTreeMap<Vec<u8>, BTreeSet<String>> = BTreeMap::new();
        for export in self.traces.lock().unwrap().iter() {
            for resource in &export.resource_spans {
                let attributes = resource.resource.iter().flat_map(|r| &r.attributes);
                let name = attributes
                    .filter(|a| a.key == "service.name")
                    .map(|a| format!("{:?}", a.value))
                    .collect::<String>();
                for span in resource.scope_spans.iter().flat_map(|scope| &scope.spans) {
                    found.entry(span.trace_id.clone()).or_default().insert(name.clone());
                }
            }
        }
        found
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_journey_is_seen_whole_in_traces_and_metrics_and_tells_nothing_of_a_person() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let collector = Collector::default();
    let served = Server::builder()
        .add_service(TraceServiceServer::new(collector.clone()))
        .add_service(MetricsServiceServer::new(collector.clone()))
        .serve_with_incoming(TcpIncoming::from(listener));
    tokio::spawn(served);

    let mesh = Mesh::start_observed(address).await.unwrap();
    let walked = Command::new(integration_tests::program().unwrap())
        .args(["--data", &mesh.folder().display().to_string(), "journey", "--json"])
        .args(["--gateway", &mesh.gateway(), "--civil-registry", &mesh.civil_registry()])
        .output()
        .await
        .unwrap();
    assert!(walked.status.success(), "{}", String::from_utf8_lossy(&walked.stderr));

    // The SEP: gateway, claims, the three it asks, and the fold that counts it.
    let widest = eventually(async || {
        let widest = collector.processes_by_trace().into_values().max_by_key(BTreeSet::len)?;
        (widest.len() >= 6).then_some(widest)
    });
    let widest = widest
        .await
        .unwrap_or_else(|_| panic!("no trace has six processes: {:?}", collector.processes_by_trace()));
    for name in ["gateway", "claims", "membership", "referral", "accreditation", "sismonev"] {
        assert!(widest.iter().any(|process| process.contains(name)), "{name} is not in {widest:?}");
    }

    let traces = format!("{:?}", collector.traces.lock().unwrap());
    assert_eq!(leak::search(&traces.replace('"', " ")), Vec::<String>::new(), "in traces");
    let sent = format!("{:?}", collector.metrics.lock().unwrap());
    assert_eq!(leak::search(&sent.replace('"', " ")), Vec::<String>::new(), "in metrics");
    for name in Mesh::services().into_iter().chain(["gateway"]) {
        let page = mesh.metrics(name).await.unwrap();
        assert!(page.contains("rpc_server_call_duration") || name == "gateway", "{name}: {page}");
        assert_eq!(leak::search(&page), Vec::<String>::new(), "on the page of {name}");
    }
}
