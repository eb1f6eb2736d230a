//! The named limits that requests, frames and records can hit.

/// Value of the metric label `limit`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    BatchFiles,
    ClientGone,
    Connections,
    ConnectionsPerAddress,
    CountIntervals,
    DecodeMemory,
    EventClients,
    HeaderBytes,
    IdleTimeout,
    LoginRate,
    PasswordChecks,
    PicturePixels,
    RequestRate,
    RequestTimeout,
    StoreHeld,
    StoreListQueue,
    StoreMaintenanceQueue,
    StoreQueue,
    StoreReadQueue,
    StoreReadTime,
    StreamClients,
    Tickets,
    UploadBytes,
    UploadMemory,
    UploadQueue,
    WatchSpans,
}

impl Limit {
    /// Every limit: on a dashboard from the start.
    pub const ALL: [Self; 26] = [
        Self::BatchFiles,
        Self::ClientGone,
        Self::Connections,
        Self::ConnectionsPerAddress,
        Self::CountIntervals,
        Self::DecodeMemory,
        Self::EventClients,
        Self::HeaderBytes,
        Self::IdleTimeout,
        Self::LoginRate,
        Self::PasswordChecks,
        Self::PicturePixels,
        Self::RequestRate,
        Self::RequestTimeout,
        Self::StoreHeld,
        Self::StoreListQueue,
        Self::StoreMaintenanceQueue,
        Self::StoreQueue,
        Self::StoreReadQueue,
        Self::StoreReadTime,
        Self::StreamClients,
        Self::Tickets,
        Self::UploadBytes,
        Self::UploadMemory,
        Self::UploadQueue,
        Self::WatchSpans,
    ];

    /// The label's text; where a configuration key sets the limit, the key's name without `_max`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::BatchFiles => "batch_files",
            Self::ClientGone => "client_gone",
            Self::Connections => "connections",
            Self::ConnectionsPerAddress => "connections_per_address",
            Self::CountIntervals => "count_intervals",
            Self::DecodeMemory => "decode_memory",
            Self::EventClients => "event_clients",
            Self::HeaderBytes => "header_bytes",
            Self::IdleTimeout => "idle_timeout",
            Self::LoginRate => "login_rate",
            Self::PasswordChecks => "password_checks",
            Self::PicturePixels => "picture_pixels",
            Self::RequestRate => "request_rate",
            Self::RequestTimeout => "request_timeout",
            Self::StoreHeld => "store_held",
            Self::StoreListQueue => "store_list_queue",
            Self::StoreMaintenanceQueue => "store_maintenance_queue",
            Self::StoreQueue => "store_queue",
            Self::StoreReadQueue => "store_read_queue",
            Self::StoreReadTime => "store_read_time",
            Self::StreamClients => "stream_clients",
            Self::Tickets => "tickets",
            Self::UploadBytes => "upload_bytes",
            Self::UploadMemory => "upload_memory",
            Self::UploadQueue => "upload_queue",
            Self::WatchSpans => "watch_spans",
        }
    }
}
