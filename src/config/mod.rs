//! The unit's configuration: plain, validated values. It builds nothing and opens nothing.
//!
//! [`sections`] holds the shape and the defaults, [`layers`] merges defaults, files, environment, credentials and flags and
//! remembers where each value came from.

mod layers;
mod network;
mod redis_url;
mod sections;
mod traffic;
mod validation;

pub use layers::{Loaded, Sources, environment, load};
pub use network::Network;
pub use redis_url::{RedisAddress, RedisServer, RedisUrl};
pub use sections::{
    ApiConfig, AuthConfig, CaptureConfig, ClassifierConfig, Config, LogConfig, LogFormat, RequestedFormat, Secret,
    StoreConfig, SyncConfig, TlsConfig, UnitConfig,
};
pub use traffic::{Homography, KeepCrops, Lane, Line, Region, RelativePoint, TrafficConfig};
