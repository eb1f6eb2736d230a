//! The journal's native protocol: priority, target, source line and the span's fields as fields of their own.

use std::fmt::{self, Write as _};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use crate::logging::mask;

/// Sends events to the journal.
pub(super) struct Journal;

/// The fields of a span, kept with it: name in capitals, as the journal wants it, and value.
#[derive(Default)]
struct SpanFields(Vec<(String, String)>);

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Journal {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = SpanFields::default();
        attributes.record(&mut fields);
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut message = Message::default();
        event.record(&mut message);
        let metadata = event.metadata();
        let mut fields = vec![
            format!("PRIORITY={}", priority(*metadata.level())),
            format!("MESSAGE={}", mask(&message.0)),
            format!("TARGET={}", metadata.target()),
            format!("CODE_FILE={}", metadata.file().unwrap_or_default()),
            format!("CODE_LINE={}", metadata.line().unwrap_or_default()),
            "SYSLOG_IDENTIFIER=vehicle-classifierd".to_owned(),
        ];
        for span in context.event_scope(event).into_iter().flatten() {
            if let Some(SpanFields(more)) = span.extensions().get::<SpanFields>() {
                fields.extend(more.iter().map(|(name, value)| format!("{name}={}", mask(value))));
            }
        }
        let fields: Vec<&str> = fields.iter().map(String::as_str).collect();
        // When the journal itself fails there is no place left to say so.
        let _ = systemd::journal::send(&fields);
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

impl Visit for SpanFields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.push((field.name().to_ascii_uppercase(), value.to_owned()));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.push((field.name().to_ascii_uppercase(), format!("{value:?}")));
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
