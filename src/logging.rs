//! Log lines: to the journal under systemd, readable text on a terminal, JSON on request; secrets masked in every one, and those
//! that repeat counted instead of written.

use std::io::{self, Write};
use std::os::linux::fs::MetadataExt;

use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry};

use crate::config::{LogConfig, LogFormat};
use crate::error::{Error, Result};

mod journal;
mod mask;
mod native;
mod panics;
mod repeats;
#[cfg(test)]
mod tests;

pub use mask::mask;
pub use native::through_the_log;

use repeats::Repeats;

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

/// Installs the process-wide subscriber, and a panic hook that writes to it. Called once, by the daemon.
///
/// # Errors
/// [`crate::error::ErrorKind::Config`] for a bad level; internal when a subscriber is installed already.
pub fn install(log: &LogConfig) -> Result<LevelHandle> {
    let (filter, handle) = reload::Layer::new(filter(&log.level)?);
    let layer: Box<dyn Layer<_> + Send + Sync> = match chosen(log.format) {
        LogFormat::Journal => Box::new(journal::Journal),
        LogFormat::Json => Box::new(
            tracing_subscriber::fmt::layer().json().flatten_event(true).with_span_list(false).with_writer(MaskedStderr),
        ),
        LogFormat::Text | LogFormat::Auto => {
            let colours = io::IsTerminal::is_terminal(&io::stderr()) && std::env::var_os("NO_COLOR").is_none();
            Box::new(tracing_subscriber::fmt::layer().with_ansi(colours).with_writer(MaskedStderr))
        }
    };
    let installed = tracing_subscriber::registry().with(filter).with(Repeats::default()).with(layer).try_init();
    installed.map_err(|cause| Error::internal("Logging cannot be set up.").because(cause))?;
    panics::report();
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
