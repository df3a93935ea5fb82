//! nginx as a gRPC proxy: the peer of the gateway. It forwards and does nothing else.

use std::{fs, net::SocketAddr, time::Duration};

use anyhow::Context;
use tokio::net::{TcpListener, TcpStream};

use crate::{Bench, process::Process};

/// How long it may take to listen.
const PATIENCE: Duration = Duration::from_secs(10);

/// A running nginx: a master and one worker.
pub(crate) struct Nginx {
    /// The master; its use is that of both.
    pub(crate) process: Process,
    /// Where it listens.
    pub(crate) address: SocketAddr,
}

/// Starts nginx before an upstream.
pub(crate) async fn start(bench: &Bench, upstream: SocketAddr) -> anyhow::Result<Nginx> {
    let folder = bench.folder().join("nginx");
    fs::create_dir_all(&folder)?;
    // nginx cannot be asked which port it took.
    let address = TcpListener::bind("127.0.0.1:0").await?.local_addr()?;
    let configuration = folder.join("nginx.conf");
    fs::write(&configuration, configured(&folder.display().to_string(), address, upstream))?;
    let mut command = Process::command(&bench.nginx, Some(bench.processors.server));
    command.arg("-p").arg(&folder).arg("-e").arg(folder.join("error.log")).arg("-c").arg(&configuration);
    let process = Process::start(command, "nginx", bench.folder())?;
    let listens = async {
        while TcpStream::connect(address).await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, listens)
        .await
        .with_context(|| format!("nginx does not listen: {}", process.last_words()))?;
    Ok(Nginx { process, address })
}

fn configured(folder: &str, address: SocketAddr, upstream: SocketAddr) -> String {
    // Without these limits on requests for a connection, connections would be made anew every thousand calls.
    format!(
        "daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    keepalive_requests 1000000000;
    upstream behind {{
        server {upstream};
        keepalive 256;
        keepalive_requests 1000000000;
    }}
    server {{
        listen {address} http2;
        http2_max_concurrent_streams 256;
        location / {{ grpc_pass grpc://behind; }}
    }}
}}
"
    )
}
