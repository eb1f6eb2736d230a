//! Progress of long work, shown on a terminal only.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// The spinner moves this often.
const TICK: Duration = Duration::from_millis(120);

/// A spinner for work whose length is not known; `template` shows what is being done, as indicatif writes it.
pub fn spinner(template: &str) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner());
    let spinner = ProgressBar::new_spinner().with_style(style);
    spinner.tick();
    spinner.enable_steady_tick(TICK);
    spinner
}

/// A spinner for output that is written row by row: none where the rows themselves are seen.
pub fn rows() -> ProgressBar {
    if std::io::stdout().is_terminal() { ProgressBar::hidden() } else { spinner("{spinner} {pos} rows, {per_sec}") }
}
