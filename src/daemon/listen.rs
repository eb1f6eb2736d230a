//! The listener, plain or with TLS, and the server on it with its limits.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use salvo::conn::rustls::RustlsListener;
use salvo::conn::tcp::DynTcpAcceptors;
use salvo::conn::{Acceptor, Listener, TcpListener};
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
}

impl Bound {
    /// How browsers write where the unit is.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = if self.renewal.is_some() { "https" } else { "http" };
        format!("{scheme}://{}/", self.address)
    }

    /// The server, to be given its service.
    #[must_use]
    pub fn server(self, config: &Config, metrics: Arc<Metrics>) -> Server<DynTcpAcceptors> {
        let limits = &config.api;
        let mut server = Server::new(self.acceptor)
            .fuse_policy(Connections::new(limits, metrics))
            .max_connections(limits.connections_max);
        server.http1_mut().max_buf_size(limits.header_bytes_max * HEAD_BUFFER_SHARE);
        server
    }
}

/// Binds `api.listen`; says so in the log when passwords could be read on the way.
///
/// # Errors
/// Config: the address cannot be used, or the certificate cannot.
pub async fn bind(config: &Config, state_directory: &Path, unit_id: &str) -> Result<Bound> {
    let listen = config.api.listen;
    let busy = |cause: salvo::Error| {
        Error::config(format!("Cannot listen on {listen}: {cause}. Set api.listen to a free address and port."))
    };
    let tcp = TcpListener::new(listen);
    let (acceptor, renewal) = match tls::load_or_make(&config.api, state_directory, unit_id)? {
        Some(proof) => {
            tracing::info!(
                "TLS: the certificate of {} has the fingerprint {}",
                proof.file.display(),
                proof.fingerprint
            );
            let (renewal, certificates) = tls::certificates(proof);
            let listener = RustlsListener::new(certificates, tcp);
            (listener.try_bind().await.map_err(busy)?.into_boxed(), Some(renewal))
        }
        None => (tcp.try_bind().await.map_err(busy)?.into_boxed(), None),
    };
    if renewal.is_none() && !listen.ip().is_loopback() && !config.api.behind_tls_proxy {
        tracing::warn!(
            "the API is served without TLS on {listen}: passwords can be read on the way; see api.tls and api.behind_tls_proxy"
        );
    }
    let acceptor = DynTcpAcceptors::new(vec![acceptor]);
    let local = acceptor.holdings().first().and_then(|holding| holding.local_addr.clone().into_std());
    Ok(Bound { acceptor, address: local.unwrap_or(listen), renewal })
}
