//! Log lines: to the journal under systemd, readable text on a terminal, JSON on request; secrets masked in every one.

use std::fmt::{self, Write as _};
use std::io::{self, Write};
use std::os::linux::fs::MetadataExt;

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry};

use crate::config::{LogConfig, LogFormat};
use crate::error::{Error, Result};

mod mask;
pub use mask::mask;

/// Changes the level while the daemon runs (SIGHUP).
pub struct LevelHandle(reload::Handle<EnvFilter, Registry>);

impl LevelHandle {
    /// # Errors
    /// [`crate::error::ErrorKind::Config`] when `level` is no level and no list of directives.
    pub fn set(&self, level: &str) -> Result<()> {
        let filter = filter(level)?;
        self.0.reload(filter).map_err(|cause| Error::internal("The log level cannot be changed.").because(cause))
    }
}

/// Installs the process-wide subscriber. Called once, by the daemon.
///
/// # Errors
/// [`crate::error::ErrorKind::Config`] for a bad level; internal when a subscriber is installed already.
pub fn install(log: &LogConfig) -> Result<LevelHandle> {
    let (filter, handle) = reload::Layer::new(filter(&log.level)?);
    let layer: Box<dyn Layer<_> + Send + Sync> = match chosen(log.format) {
        LogFormat::Journal => Box::new(Journal),
        LogFormat::Json => {
            Box::new(tracing_subscriber::fmt::layer().json().flatten_event(true).with_writer(MaskedStderr))
        }
        LogFormat::Text | LogFormat::Auto => {
            let colours = io::IsTerminal::is_terminal(&io::stderr()) && std::env::var_os("NO_COLOR").is_none();
            Box::new(tracing_subscriber::fmt::layer().with_ansi(colours).with_writer(MaskedStderr))
        }
    };
    let installed = tracing_subscriber::registry().with(filter).with(layer).try_init();
    installed.map_err(|cause| Error::internal("Logging cannot be set up.").because(cause))?;
    Ok(LevelHandle(handle))
}

fn filter(level: &str) -> Result<EnvFilter> {
    EnvFilter::try_new(level).map_err(|cause| {
        Error::config(format!("Bad value for `log.level`: {level:?} is neither error, warn, info, debug, trace nor a list of directives ({cause})."))
    })
}

fn chosen(format: LogFormat) -> LogFormat {
    match format {
        LogFormat::Auto if stderr_is_the_journal() => LogFormat::Journal,
        LogFormat::Auto => LogFormat::Text,
        named => named,
    }
}

/// systemd tells device and inode of the stream it connected to the journal (systemd.exec(5), `$JOURNAL_STREAM`).
fn stderr_is_the_journal() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else { return false };
    let Ok(stderr) = std::fs::metadata("/proc/self/fd/2") else { return false };
    stream == format!("{}:{}", stderr.st_dev(), stderr.st_ino())
}

/// Standard error, each line masked before it is written.
struct MaskedStderr;

impl<'a> MakeWriter<'a> for MaskedStderr {
    type Writer = MaskedLine;

    fn make_writer(&'a self) -> MaskedLine {
        MaskedLine
    }
}

/// The formatting layer writes one whole line a call.
struct MaskedLine;

impl Write for MaskedLine {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(line);
        io::stderr().lock().write_all(mask(&text).as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().lock().flush()
    }
}

/// Sends events to the journal with their priority, target and source line as fields of their own.
struct Journal;

impl<S: Subscriber> Layer<S> for Journal {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let mut message = Message::default();
        event.record(&mut message);
        let metadata = event.metadata();
        let fields = [
            format!("PRIORITY={}", priority(*metadata.level())),
            format!("MESSAGE={}", mask(&message.0)),
            format!("TARGET={}", metadata.target()),
            format!("CODE_FILE={}", metadata.file().unwrap_or_default()),
            format!("CODE_LINE={}", metadata.line().unwrap_or_default()),
            "SYSLOG_IDENTIFIER=vehicle-classifierd".to_owned(),
        ];
        // When the journal itself fails there is no place left to say so.
        let _ = systemd::journal::send(&fields.each_ref().map(String::as_str));
    }
}

/// syslog severities (RFC 5424, table 2).
fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        _ => 7,
    }
}

/// The message first, then `name=value` for every other field.
#[derive(Default)]
struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a string cannot fail.
        let _ = if field.name() == "message" {
            let rest = std::mem::take(&mut self.0);
            write!(self.0, "{value:?}{rest}")
        } else {
            write!(self.0, " {}={value:?}", field.name())
        };
    }
}
