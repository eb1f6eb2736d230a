//! Who may connect: a bound on the connections of one address and on all of them, and the time limits every connection is under.
//!
//! When all places are taken, a connection of an address that holds few takes the place of one of the address that holds most, so
//! that no number of addresses short of all places can keep another one out.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use salvo::async_trait;
use salvo::conn::ConnCtrl;
use salvo::fuse::{ArcConnObserver, ConnObserver, FuseAction, FuseConfig, FuseInfo, FusePolicy};

use crate::auth::network;
use crate::config::{self, Network};
use crate::metrics::{Limit, Metrics};

/// The open connections by address.
pub struct Connections {
    open: Arc<Open>,
    limits: FuseConfig,
    all_max: usize,
    of_one_max: usize,
    /// Each of these speaks for many clients.
    proxies: Vec<Network>,
    metrics: Arc<Metrics>,
}

#[derive(Default)]
struct Open(Mutex<Places>);

impl Open {
    fn lock(&self) -> MutexGuard<'_, Places> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The places by address, each with what ends its connection; the oldest of an address first.
#[derive(Default)]
struct Places {
    taken: usize,
    last: u64,
    by_address: HashMap<IpAddr, VecDeque<(u64, ConnCtrl)>>,
}

impl Places {
    fn of(&self, address: &IpAddr) -> usize {
        self.by_address.get(address).map_or(0, VecDeque::len)
    }

    fn take(&mut self, address: IpAddr, control: &ConnCtrl) -> u64 {
        self.last += 1;
        self.taken += 1;
        self.by_address.entry(address).or_default().push_back((self.last, control.clone()));
        self.last
    }

    /// Frees the place, unless it went to another connection already.
    fn free(&mut self, address: IpAddr, number: u64) {
        let Some(places) = self.by_address.get_mut(&address) else { return };
        let before = places.len();
        places.retain(|(place, _)| *place != number);
        self.taken -= before - places.len();
        if places.is_empty() {
            self.by_address.remove(&address);
        }
    }

    /// Ends the oldest connection of the address that holds most; false when `address` would then hold as many itself.
    fn make_room(&mut self, address: &IpAddr) -> bool {
        let most = self.by_address.iter().max_by_key(|(_, places)| places.len());
        let Some((&largest, places)) = most.filter(|(_, places)| places.len() > self.of(address) + 1) else {
            return false;
        };
        let Some((number, control)) = places.front().cloned() else { return false };
        control.abort();
        self.free(largest, number);
        true
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
            proxies: config.proxies(),
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
        let address = address(info);
        let socket = info.remote_addr.clone().into_std().map(|socket| socket.ip());
        let proxy = socket.is_some_and(|peer| self.proxies.iter().any(|network| network.contains(peer)));
        let mut open = self.open.lock();
        if !proxy && open.of(&address) >= self.of_one_max {
            self.metrics.count_limit(Limit::ConnectionsPerAddress);
            return FuseAction::Reject;
        }
        // The last place stays free for whoever comes next: the server asks here only about a connection that has one.
        if open.taken + 1 >= self.all_max {
            self.metrics.count_limit(Limit::Connections);
            if !open.make_room(&address) {
                return FuseAction::Reject;
            }
        }
        FuseAction::Accept(self.limits)
    }

    fn observe(&self, info: &FuseInfo, control: &ConnCtrl) -> Option<ArcConnObserver> {
        let address = address(info);
        let number = self.open.lock().take(address, control);
        self.metrics.connections.inc();
        Some(Arc::new(Connection { address, number, open: self.open.clone(), metrics: self.metrics.clone() }))
    }
}

/// Lives as long as the connection.
struct Connection {
    address: IpAddr,
    number: u64,
    open: Arc<Open>,
    metrics: Arc<Metrics>,
}

impl ConnObserver for Connection {}

impl Drop for Connection {
    fn drop(&mut self) {
        self.metrics.connections.dec();
        self.open.lock().free(self.address, self.number);
    }
}
