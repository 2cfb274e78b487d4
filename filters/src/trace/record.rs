//! One line of the access log and one call's metrics.

use super::{Format, Tools};
use crate::{
    RequestContext,
    call::{Call, Outcome, Report},
    metrics::CallMetrics,
};
use bytestring::ByteString;
use std::sync::Arc;

/// What a call is logged and counted with.
pub(super) struct Record {
    tools: Arc<Tools>,
    calls: Arc<CallMetrics>,
    traceparent: ByteString,
}

impl Record {
    pub(super) fn begin(cx: &RequestContext, tools: &Arc<Tools>) -> Self {
        let calls = Arc::clone(cx.metrics().unwrap_or_else(|| tools.metrics.no_namespace()));
        calls.begin();
        Self { tools: Arc::clone(tools), calls, traceparent: cx.traceparent().clone() }
    }
}

impl Report for Record {
    fn over(&mut self, call: &Call, outcome: &Outcome<'_>) {
        if let Some(reason) = outcome.reason {
            self.tools.metrics.rejected(reason);
        }
        self.calls.end(outcome.code, outcome.elapsed.as_secs_f64(), call.sent_bytes());
        let Some(log) = &self.tools.log else { return };
        let mut line = call.line(&self.tools.listener, self.tools.platform.wall_clock(), outcome);
        line.trace_id = Some(self.traceparent.get(3..35).unwrap_or_default());
        log.append(|buffer| {
            match log.format() {
                Format::Json => {
                    buffer.push(b'{');
                    line.write_json(buffer);
                    buffer.push(b'}');
                }
                Format::Text => line.write_text(buffer),
            }
            buffer.push(b'\n');
        });
    }
}
