//! One line of the access log and one call's metrics.

use super::{Format, Tools};
use crate::{
    RequestContext,
    call::{Call, Json, Outcome},
    metrics::CallMetrics,
};
use std::sync::Arc;

/// Digits of a trace's id (W3C Trace Context, section 3.2.2.3).
const TRACE_ID: usize = 32;

/// What a call is logged and counted with.
pub(crate) struct Record {
    tools: Arc<Tools>,
    calls: Arc<CallMetrics>,
    /// Copied, which costs less than a handle to the text.
    trace_id: Option<[u8; TRACE_ID]>,
}

impl Record {
    pub(super) fn begin(cx: &RequestContext, tools: &Arc<Tools>) -> Self {
        let calls = Arc::clone(cx.metrics().unwrap_or_else(|| tools.metrics.no_namespace()));
        calls.begin();
        let trace_id =
            cx.traceparent().get(3..3 + TRACE_ID).and_then(|id| id.as_bytes().first_chunk()).copied();
        Self { tools: Arc::clone(tools), calls, trace_id }
    }

    /// The call is over. Its line may have been put together for another log already.
    pub(crate) fn over(&mut self, call: &Call, outcome: &Outcome<'_>, written: Option<Json<'_>>) {
        if let Some(reason) = outcome.reason {
            self.tools.metrics.rejected(reason);
        }
        self.calls.end(outcome.code, outcome.elapsed.as_secs_f64(), call.sent_bytes());
        let Some(log) = &self.tools.log else { return };
        let line = || call.line(&self.tools.listener, &self.tools.platform, outcome);
        let trace_id = self.trace_id.as_ref().map_or(&[][..], |id| id);
        log.append(|buffer| {
            match (log.format(), written) {
                (Format::Json, written) => {
                    buffer.push(b'{');
                    match written {
                        Some(json) => json.copy(buffer, trace_id),
                        None => drop(line().write_json(buffer, Some(trace_id))),
                    }
                    buffer.push(b'}');
                }
                (Format::Text, _) => line().write_text(buffer),
            }
            buffer.push(b'\n');
        });
    }
}
