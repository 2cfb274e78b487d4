//! What a plugin says through `tracing`, as lines of the proxy's log.

use prism_plugin_abi::ffi::export::{Level, Log};
use std::fmt::{self, Write};
use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
};

/// Sends events to the proxy. A library has its own copy of `tracing`, which nobody else listens to; where the
/// plugin has set a subscriber itself, that one stays.
pub(super) fn forward(log: Log) {
    // An error says that there is one already.
    let _ = tracing::subscriber::set_global_default(Forward(log));
}

struct Forward(Log);

impl Subscriber for Forward {
    /// What is less would be formatted for nearly nobody.
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= tracing::Level::INFO
    }

    fn event(&self, event: &Event<'_>) {
        let level = match *event.metadata().level() {
            tracing::Level::ERROR => Level::Error,
            tracing::Level::WARN => Level::Warn,
            tracing::Level::INFO => Level::Info,
            _ => Level::Debug,
        };
        let mut line = Line::default();
        event.record(&mut line);
        line.message.push_str(&line.fields);
        self.0.line(level, &line.message);
    }

    // Spans are not told apart: a line stands for itself.
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[derive(Default)]
struct Line {
    message: String,
    fields: String,
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a String does not fail.
        let _ = if field.name() == "message" {
            write!(self.message, "{value:?}")
        } else {
            write!(self.fields, " {}={value:?}", field.name())
        };
    }
}
