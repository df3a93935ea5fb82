//! Connections of the load generator.

use bytes::Bytes;
use h2::client::SendRequest;
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

use super::Call;

/// Large enough that no answer ever waits for a window.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 1 << 24;

/// What sends calls on one connection.
pub(super) type Sender = SendRequest<Bytes>;

/// Opens the connections of a load.
pub(super) async fn open_all(call: &Call, connections: usize) -> anyhow::Result<Vec<Sender>> {
    let tls = match &call.tls {
        None => None,
        Some(tls) => {
            let files = chassis::config::Tls {
                certificate: tls.certificate.clone(),
                key: tls.key.clone(),
                authority: tls.authority.clone(),
                assertion_key: std::path::PathBuf::new(),
            };
            let config = chassis::tls::client(&files)?.current();
            Some((TlsConnector::from(config), ServerName::try_from(tls.server.clone())?))
        }
    };
    let mut senders = Vec::with_capacity(connections);
    for _ in 0..connections {
        let stream = TcpStream::connect(call.address).await?;
        stream.set_nodelay(true)?;
        senders.push(match &tls {
            None => shake_hands(stream).await?,
            Some((tls, name)) => shake_hands(tls.connect(name.clone(), stream).await?).await?,
        });
    }
    Ok(senders)
}

async fn shake_hands<T>(io: T) -> anyhow::Result<Sender>
where
    T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (sender, connection) = h2::client::Builder::new()
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .handshake(io)
        .await?;
    // Its failure is the failure of the calls on it.
    tokio::spawn(connection);
    Ok(sender)
}
