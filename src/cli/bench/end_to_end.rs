//! The way of an upload through a real unit: a child process on its own state directory, over a real socket.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::auth::Signer;
use crate::cli::Context;
use crate::cli::bench::ROUNDS_MIN;
use crate::cli::bench::figures::{Figures, timed};
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::frame::PictureFormat;
use crate::metrics::Metrics;
use crate::record::{Scope, ServiceToken};
use crate::store::Store;

/// The contract's threshold for a classification.
const CLASSIFY_MAX: Duration = Duration::from_millis(200);
const UNIT_ID: &str = "bench";
const HOUR: Duration = Duration::from_secs(3_600);

/// What the run through the real unit showed.
pub struct EndToEnd {
    /// One durable row, nothing else in its commit.
    pub store: Figures,
    pub http: Figures,
    /// From exec to READY.
    pub ready: Duration,
}

/// Uploads `bytes` again and again, one after the other.
///
/// # Errors
/// When the child does not start or refuses the picture.
pub fn measure(context: &Context, bytes: &[u8], format: PictureFormat, share: Duration) -> Result<EndToEnd> {
    // On the disk of the real state directory, whose speed is the one that counts.
    let directory = tempfile::Builder::new().prefix(".bench-").tempdir_in(context.state_directory()?);
    let directory = directory.map_err(|cause| {
        Error::config("No directory for the bench can be made in the state directory.").because(cause)
    })?;
    let settings = crate::daemon::store_settings(&context.loaded, directory.path().into());
    let store = Store::open(settings, Arc::new(Metrics::new()?))?;
    let store_times = rounds(share, || store.record_audit(context.audit("bench", "store", json!({}))).wait());
    let token = service_token(context, &store, directory.path());
    store.close();
    let mut unit = Unit::start(context, directory.path())?;
    let request = request(bytes, format, &token?);
    let mut connection = unit.connect()?;
    let http = rounds(share, || connection.upload(&request))?;
    Ok(EndToEnd {
        store: Figures::new("store", None, store_times?),
        http: Figures::new("http upload", Some(CLASSIFY_MAX), http),
        ready: unit.ready,
    })
}

fn rounds(share: Duration, mut work: impl FnMut() -> Result<()>) -> Result<Vec<Duration>> {
    let end = Instant::now() + share;
    let mut times = Vec::new();
    while times.len() < ROUNDS_MIN || Instant::now() < end {
        times.push(timed(&mut work)?);
    }
    Ok(times)
}

fn service_token(context: &Context, store: &Store, directory: &std::path::Path) -> Result<String> {
    let now = context.clock.wall();
    let key = crate::daemon::token_key(&context.loaded, directory)?;
    let scopes = vec![Scope::Classify];
    let issued = Signer::new(&key, UNIT_ID).issue_service("bench", &scopes, now, HOUR)?;
    let token = ServiceToken {
        id: issued.id,
        name: "bench".into(),
        scopes,
        created_at: now,
        expires_at: issued.expires_at,
        revoked_at: None,
    };
    store.add_service_token(token, context.audit("token.issue", "bench", json!({}))).wait()?;
    Ok(issued.token)
}

fn request(bytes: &[u8], format: PictureFormat, token: &str) -> Vec<u8> {
    let head = format!(
        "POST /api/vehicle/classify HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\nContent-Type: {}\r\nContent-Length: {}\r\n\r\n",
        format.media_types()[0],
        bytes.len()
    );
    [head.as_bytes(), bytes].concat()
}

/// The child process; it ends with this value.
struct Unit {
    child: Child,
    address: String,
    ready: Duration,
}

impl Unit {
    fn start(context: &Context, directory: &std::path::Path) -> Result<Self> {
        let broken = |cause: std::io::Error| Error::internal("The unit to measure cannot be started.").because(cause);
        let program = std::env::current_exe().map_err(broken)?;
        let classifier = &context.loaded.config.classifier;
        let models = crate::place::models_directory(classifier)?;
        let begun = Instant::now();
        let mut child = Command::new(program)
            .arg("serve")
            .arg("--state-directory")
            .arg(directory)
            .env("VEHICLE_CLASSIFIER__API__LISTEN", "127.0.0.1:0")
            .env("VEHICLE_CLASSIFIER__UNIT__ID", UNIT_ID)
            .env("VEHICLE_CLASSIFIER__CAPTURE__SOURCE", "none")
            .env("VEHICLE_CLASSIFIER__API__REQUESTS_PER_MINUTE_MAX", "0")
            .env("VEHICLE_CLASSIFIER__API__TLS__SELF_SIGNED", "false")
            .env("VEHICLE_CLASSIFIER__API__TLS__CERTIFICATE", "")
            .env("VEHICLE_CLASSIFIER__API__TLS__KEY", "")
            .env("VEHICLE_CLASSIFIER__LOG__FORMAT", "text")
            .env("VEHICLE_CLASSIFIER__LOG__LEVEL", "info")
            .env("VEHICLE_CLASSIFIER__CLASSIFIER__MODELS_DIRECTORY", models)
            .env("VEHICLE_CLASSIFIER__CLASSIFIER__MODEL", &classifier.model)
            .env_remove("NOTIFY_SOCKET")
            .stderr(Stdio::piped())
            .stdin(Stdio::null())
            .spawn()
            .map_err(broken)?;
        let log = child.stderr.take().ok_or_else(|| Error::internal("The unit to measure has no log."))?;
        let mut lines = BufReader::new(log).lines();
        let address = lines.by_ref().map_while(|line| line.ok()).find_map(|line| {
            let behind = line.split("ready: http://").nth(1)?;
            Some(behind.split('/').next().unwrap_or_default().to_owned())
        });
        let ready = begun.elapsed();
        // Somebody must read on, or the child would wait for room in the pipe.
        std::thread::spawn(move || lines.for_each(drop));
        let mut unit = Self { child, address: String::new(), ready };
        unit.address = address
            .ok_or_else(|| Error::internal("The unit to measure ended before it was ready; try `serve` to see why."))?;
        Ok(unit)
    }

    fn connect(&mut self) -> Result<Connection> {
        let stream = TcpStream::connect(&self.address).and_then(|stream| stream.set_nodelay(true).map(|()| stream));
        let stream = stream.map_err(|cause| Error::internal("The unit to measure does not answer.").because(cause))?;
        Ok(Connection(BufReader::new(stream)))
    }
}

impl Drop for Unit {
    fn drop(&mut self) {
        // Its state is thrown away with the directory.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Connection(BufReader<TcpStream>);

impl Connection {
    fn upload(&mut self, request: &[u8]) -> Result<()> {
        let (status, body) =
            self.exchange(request).map_err(|cause| Error::internal("The unit to measure broke off.").because(cause))?;
        if status.contains(" 201 ") {
            return Ok(());
        }
        Err(Error::internal(format!(
            "The unit to measure answered {}: {}",
            status.trim(),
            String::from_utf8_lossy(&body)
        )))
    }

    /// Status line and body of the answer to one request (RFC 9112, with Content-Length).
    fn exchange(&mut self, request: &[u8]) -> std::io::Result<(String, Vec<u8>)> {
        self.0.get_mut().write_all(request)?;
        let mut status = String::new();
        self.0.read_line(&mut status)?;
        let mut length = 0;
        loop {
            let mut line = String::new();
            if self.0.read_line(&mut line)? <= 2 {
                break;
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().map_err(std::io::Error::other)?;
            }
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body)?;
        Ok((status, body))
    }
}
