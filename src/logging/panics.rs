//! Panics as events of the log: masked, structured, and with the span they happened in.

use std::panic::{self, PanicHookInfo};

/// From now on every panic of any thread is one event. What catches the panic says what it cost.
pub(super) fn report() {
    panic::set_hook(Box::new(log));
}

fn log(info: &PanicHookInfo<'_>) {
    let thread = std::thread::current();
    let location = info.location().map(ToString::to_string).unwrap_or_default();
    let said = info.payload_as_str().unwrap_or("a value that is no text");
    tracing::error!(thread = thread.name().unwrap_or("unnamed"), location, "panicked: {said}");
}
