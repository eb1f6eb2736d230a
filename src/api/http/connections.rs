//! Who may connect: a bound on the connections of one address, and the time limits every connection is under.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use salvo::async_trait;
use salvo::conn::ConnCtrl;
use salvo::fuse::{ArcConnObserver, ConnObserver, FuseAction, FuseConfig, FuseInfo, FusePolicy};

use crate::auth::network;
use crate::config;
use crate::metrics::{Limit, Metrics};

/// The open connections by address. The server itself bounds their sum: beyond it new ones wait in the kernel's queue.
pub struct Connections {
    open: Arc<Open>,
    limits: FuseConfig,
    all_max: usize,
    of_one_max: usize,
    metrics: Arc<Metrics>,
}

#[derive(Default)]
struct Open(Mutex<HashMap<IpAddr, usize>>);

impl Open {
    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connections {
    #[must_use]
    pub fn new(config: &config::ApiConfig, metrics: Arc<Metrics>) -> Self {
        let idle = Duration::from_millis(config.idle_timeout_ms);
        let request = Duration::from_millis(config.request_timeout_ms);
        let limits = FuseConfig::default()
            .with_tls_handshake_timeout(idle)
            .with_http1_header_timeout(idle)
            .with_write_stall_timeout(idle)
            .with_connection_idle_timeout(idle.max(request));
        Self {
            open: Arc::default(),
            limits,
            all_max: config.connections_max,
            of_one_max: config.connections_per_address_max,
            metrics,
        }
    }
}

/// Where a socket comes from; other kinds of sockets share one place.
fn address(info: &FuseInfo) -> IpAddr {
    let address = info.remote_addr.clone().into_std().map(|address| network(address.ip()));
    address.unwrap_or(IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED))
}

#[async_trait]
impl FusePolicy for Connections {
    async fn decide(&self, info: &FuseInfo) -> FuseAction {
        let open = self.open.lock();
        if open.get(&address(info)).is_some_and(|count| *count >= self.of_one_max) {
            self.metrics.count_limit(Limit::ConnectionsPerAddress);
            return FuseAction::Reject;
        }
        // The one that is being let in now is the last for which there is room.
        if open.values().sum::<usize>() + 1 >= self.all_max {
            self.metrics.count_limit(Limit::Connections);
        }
        FuseAction::Accept(self.limits)
    }

    fn observe(&self, info: &FuseInfo, _ctrl: &ConnCtrl) -> Option<ArcConnObserver> {
        let address = address(info);
        *self.open.lock().entry(address).or_default() += 1;
        self.metrics.connections.inc();
        Some(Arc::new(Connection { address, open: self.open.clone(), metrics: self.metrics.clone() }))
    }
}

/// Lives as long as the connection.
struct Connection {
    address: IpAddr,
    open: Arc<Open>,
    metrics: Arc<Metrics>,
}

impl ConnObserver for Connection {}

impl Drop for Connection {
    fn drop(&mut self) {
        self.metrics.connections.dec();
        let mut open = self.open.lock();
        if let Some(count) = open.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.address);
            }
        }
    }
}
