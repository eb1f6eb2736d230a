//! The listener, plain or with TLS, and the server on it with its limits.

use std::net::{self, Shutdown, SocketAddr};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use salvo::conn::rustls::RustlsListener;
use salvo::conn::tcp::{DynTcpAcceptors, TcpAcceptor};
use salvo::conn::{Acceptor, Listener};
use salvo::prelude::Server;

use crate::api::Connections;
use crate::config::Config;
use crate::daemon::tls::{self, Renewal};
use crate::error::{Error, Result};
use crate::metrics::Metrics;

/// What hyper keeps of a head that is still coming: more than any head that the API takes, so that it is the API that answers.
const HEAD_BUFFER_SHARE: usize = 4;

/// Bound, not yet serving.
pub struct Bound {
    acceptor: DynTcpAcceptors,
    /// As bound: with the port that the system chose.
    pub address: SocketAddr,
    /// Only with TLS.
    pub renewal: Option<Renewal>,
    door: Door,
}

/// Closes the listener while the server still finishes what it accepted: salvo itself keeps it open for as long, and clients
/// would wait in its queue for nobody.
pub struct Door(net::TcpStream);

impl Door {
    /// From now on connecting is refused.
    pub fn close(&self) {
        // The one error there is says that nobody listens any more.
        let _ = self.0.shutdown(Shutdown::Both);
    }
}

/// A bound socket for salvo to accept from.
struct Ready(net::TcpListener);

impl Listener for Ready {
    type Acceptor = TcpAcceptor;

    async fn try_bind(self) -> salvo::Result<Self::Acceptor> {
        Ok(tokio::net::TcpListener::from_std(self.0)?.try_into()?)
    }
}

impl Bound {
    /// How browsers write where the unit is.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = if self.renewal.is_some() { "https" } else { "http" };
        format!("{scheme}://{}/", self.address)
    }

    /// The server, to be given its service, and what closes its listener.
    #[must_use]
    pub fn server(self, config: &Config, metrics: Arc<Metrics>) -> (Server<DynTcpAcceptors>, Door) {
        let limits = &config.api;
        let mut server = Server::new(self.acceptor)
            .fuse_policy(Connections::new(limits, metrics))
            .max_connections(limits.connections_max);
        server.http1_mut().max_buf_size(limits.header_bytes_max * HEAD_BUFFER_SHARE);
        (server, self.door)
    }
}

/// Binds `api.listen`; says so in the log when passwords could be read on the way.
///
/// # Errors
/// Config: the address cannot be used, or the certificate cannot.
pub async fn bind(config: &Config, state_directory: &Path, unit_id: &str) -> Result<Bound> {
    let listen = config.api.listen;
    let busy = |cause: &dyn std::error::Error| {
        Error::config(format!("Cannot listen on {listen}: {cause}. Set api.listen to a free address and port."))
    };
    let (tcp, door) = open(listen).map_err(|cause| busy(&cause))?;
    let (acceptor, renewal) = match tls::load_or_make(&config.api, state_directory, unit_id)? {
        Some(identity) => {
            tracing::info!(
                "TLS: the certificate of {} has the fingerprint {}",
                identity.file.display(),
                identity.fingerprint
            );
            let (renewal, certificates) = tls::certificates(identity);
            let listener = RustlsListener::new(certificates, tcp);
            (listener.try_bind().await.map_err(|cause| busy(&cause))?.into_boxed(), Some(renewal))
        }
        None => (tcp.try_bind().await.map_err(|cause| busy(&cause))?.into_boxed(), None),
    };
    if renewal.is_none() && !listen.ip().is_loopback() && !config.api.behind_tls_proxy {
        tracing::warn!(
            "the API is served without TLS on {listen}: passwords can be read on the way; see api.tls and api.behind_tls_proxy"
        );
    }
    let acceptor = DynTcpAcceptors::new(vec![acceptor]);
    let local = acceptor.holdings().first().and_then(|holding| holding.local_addr.clone().into_std());
    Ok(Bound { acceptor, address: local.unwrap_or(listen), renewal, door })
}

fn open(listen: SocketAddr) -> std::io::Result<(Ready, Door)> {
    let listener = net::TcpListener::bind(listen)?;
    listener.set_nonblocking(true)?;
    // The same socket once more. The type only lends its `shutdown`, which the standard library's listener lacks.
    let door = Door(OwnedFd::from(listener.try_clone()?).into());
    Ok((Ready(listener), door))
}
