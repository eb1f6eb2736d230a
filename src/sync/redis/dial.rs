//! Opens the streams to Redis: TCP, TLS or a local socket.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use ::redis::io::tcp::socket2::{SockRef, TcpKeepalive};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

use crate::config::RedisServer;
use crate::error::{Error, Result};

/// The first probe of an idle connection, and then one every `KEEPALIVE_INTERVAL`.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_PROBES: u32 = 3;
/// Bytes that the other side does not confirm for this long mean that it is gone.
const USER_TIMEOUT: Duration = Duration::from_secs(20);

/// An open stream of any kind.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// TLS that trusts these authorities (PEM), or else the system's.
///
/// # Errors
/// Config, when the authorities cannot be read.
pub(super) fn tls(ca: Option<&[u8]>) -> Result<TlsConnector> {
    let unusable = |cause: String| Error::config(format!("sync.redis_url and sync.ca_file: {cause}."));
    let mut roots = RootCertStore::empty();
    let certificates = match ca {
        Some(pem) => CertificateDer::pem_slice_iter(pem)
            .collect::<std::result::Result<Vec<_>, _>>()
            .map_err(|cause| unusable(format!("the authorities are no PEM ({cause})")))?,
        None => rustls_native_certs::load_native_certs().certs,
    };
    for certificate in certificates {
        roots.add(certificate).map_err(|cause| unusable(format!("an authority cannot be used ({cause})")))?;
    }
    if roots.is_empty() {
        return Err(unusable("there is no authority to trust".to_owned()));
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|cause| unusable(cause.to_string()))?;
    let config = config.with_root_certificates(roots).with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// Connects to a server, with TLS where there is a connector.
pub(super) async fn open(
    server: &RedisServer,
    sentinel: bool,
    tls: Option<&TlsConnector>,
) -> io::Result<Box<dyn Stream>> {
    let (host, port) = match server {
        RedisServer::Unix(path) => return Ok(Box::new(UnixStream::connect(path).await?)),
        RedisServer::Tcp { host, port } => (host.as_str(), RedisServer::port_or_usual(*port, sentinel)),
    };
    let stream = TcpStream::connect((host, port)).await?;
    stream.set_nodelay(true)?;
    let keepalive =
        TcpKeepalive::new().with_time(KEEPALIVE_IDLE).with_interval(KEEPALIVE_INTERVAL).with_retries(KEEPALIVE_PROBES);
    let socket = SockRef::from(&stream);
    socket.set_tcp_keepalive(&keepalive)?;
    socket.set_tcp_user_timeout(Some(USER_TIMEOUT))?;
    let Some(tls) = tls else { return Ok(Box::new(stream)) };
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    Ok(Box::new(tls.connect(name, stream).await?))
}
