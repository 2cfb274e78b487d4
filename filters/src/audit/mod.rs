//! `audit`: who called what and what came of it, in a log that shows when it was changed.
//!
//! ```yaml
//! - audit: { dir: ./audit, key: audit.key }
//! ```
//!
//! A call takes a place in the log's queue before anything is done for it, and keeps it until its record is made, which is
//! when it is over: however it ends, also when its client goes away. The format, and what the log proves and what not, is in
//! docs/audit.md; the log itself is the crate `prism-audit`.

mod change;
mod settings;

pub use change::{Change, Outcome as ChangeOutcome};
pub use prism_audit::{Hash, Log, Status, finish};
pub use settings::{OnBackpressure, Settings, SyncPolicy};

use crate::{
    Body, BuildContext, BuildError, Filter, FilterFuture, FilterType, Next, Reason, Rejection,
    RequestContext,
    call::{Call, Json, Outcome, Reports, Watched},
    metrics::AuditMetrics,
};
use http::Request;
use prism_audit::Slot;
use prism_config::{Phase, SettingProblem};
use prism_platform::{
    Platform,
    time::{self, Instant},
};
use std::{cell::RefCell, fs::DirBuilder, os::unix::fs::DirBuilderExt, sync::Arc, time::Duration};

thread_local!(
    /// Where a record is put together. It does not grow beyond the longest.
    static RECORD: RefCell<Vec<u8>> = RefCell::default()
);

/// The filter.
pub struct Audit {
    tools: Arc<Tools>,
    on_backpressure: OnBackpressure,
    timeout: Duration,
}

/// What a record is made with, in one handle that each call holds.
struct Tools {
    listener: Arc<str>,
    platform: Platform,
    log: Arc<Log>,
}

impl FilterType for Audit {
    const NAME: &'static str = "audit";
    const PHASE: Phase = Phase::Request;
    type Settings = Settings;

    fn check(settings: &Settings) -> Vec<SettingProblem> {
        settings.check()
    }

    fn build(settings: Settings, cx: &BuildContext<'_>, _: Option<&Self>) -> Result<Self, BuildError> {
        let wanted = settings.log(cx.base_dir);
        // 0700: it says who did what.
        DirBuilder::new().recursive(true).mode(0o700).create(&wanted.dir).map_err(|error| {
            BuildError::new(format!("dir: cannot make {}", wanted.dir.display())).caused_by(error)
        })?;
        let platform = cx.platform.clone();
        let clock = Arc::new(move || platform.wall_clock());
        let metrics = cx.metrics.audit(&settings.dir);
        let watcher = Box::new(move |status: &Status| show(&metrics, status));
        // A running log of that folder is found and shared: by other listeners, and by the snapshot before this one.
        let log = Log::open(wanted, clock, watcher).map_err(|error| BuildError::new(error.to_string()))?;
        let tools = Tools { listener: cx.listener.into(), platform: cx.platform.clone(), log };
        Ok(Self {
            tools: Arc::new(tools),
            on_backpressure: settings.on_backpressure,
            timeout: settings.timeout.get(),
        })
    }
}

fn show(metrics: &AuditMetrics, status: &Status) {
    let raise = |counter: &prometheus::IntCounter, to: u64| counter.inc_by(to.saturating_sub(counter.get()));
    raise(&metrics.records, status.records);
    raise(&metrics.dropped, status.dropped);
    raise(&metrics.refused, status.refused);
    metrics.sequence.set(i64::try_from(status.seq).unwrap_or(i64::MAX));
    metrics.failing.set(status.problem.is_some().into());
}

impl Audit {
    /// Where it writes.
    #[must_use]
    pub fn log(&self) -> &Arc<Log> {
        &self.tools.log
    }

    /// A place for the call's record, before anything is done for it: `Some(None)` where it needs none. Nearly always there is
    /// one: then no clock is asked, and no timer made.
    fn place_at_once(&self) -> Option<Option<Slot>> {
        match self.on_backpressure {
            OnBackpressure::DropAndCount => Some(None),
            OnBackpressure::Block => self.tools.log.reserve_at_once().map(Some),
        }
    }

    async fn wait_for_place(&self, cx: &RequestContext) -> Result<Slot, Rejection> {
        let log = &self.tools.log;
        let latest = Instant::now() + self.timeout;
        let deadline = cx.deadline().map_or(latest, |deadline| deadline.min(latest));
        let problem = match time::timeout_at(deadline, log.reserve()).await {
            Ok(Ok(slot)) => return Ok(slot),
            Ok(Err(failing)) => failing.to_string(),
            Err(_) => "the audit log's queue was full for as long as the call could wait".to_owned(),
        };
        log.count_refused();
        let message = "what this call does cannot be written down just now: try again later";
        Err(Rejection::new(Reason::AuditUnavailable, message).by(Self::NAME).with_detail(problem))
    }

    /// Passes it on, and sees what becomes of it: with who does so already and sees the same.
    fn pass<'a>(
        &'a self,
        slot: Option<Slot>,
        cx: &'a RequestContext,
        request: &'a mut Request<Body>,
        next: Next<'a>,
    ) -> FilterFuture<'a> {
        let record = Record { tools: Arc::clone(&self.tools), slot };
        let Some(record) = cx.watch().join(record, next) else { return next.call(cx, request) };
        let watched = Watched::begin(cx, request, Reports { trace: None, audit: Some(record) });
        Box::pin(async move {
            let outcome = next.call(cx, request).await;
            watched.outcome(cx, outcome)
        })
    }
}

impl Filter for Audit {
    fn call<'a>(
        &'a self,
        cx: &'a RequestContext,
        request: &'a mut Request<Body>,
        next: Next<'a>,
    ) -> FilterFuture<'a> {
        if let Some(slot) = self.place_at_once() {
            return self.pass(slot, cx, request, next);
        }
        Box::pin(async move {
            let slot = self.wait_for_place(cx).await?;
            self.pass(Some(slot), cx, request, next).await
        })
    }
}

impl Tools {
    /// An answer begins whose end is not in sight: a stream may last for days, and that it was opened is not to be known only
    /// then. Beyond the place that the call has for its end, so it takes one if there is one.
    fn opened(&self, call: &Call, so_far: &Outcome<'_>) {
        let mut line = call.line(&self.listener, &self.platform, so_far);
        line.code = None;
        let mut record = b"\"kind\":\"open\",".to_vec();
        line.write_json(&mut record, None);
        self.put(None, &record);
    }

    fn put(&self, slot: Option<Slot>, record: &[u8]) {
        match slot.or_else(|| self.log.try_reserve()) {
            Some(slot) => slot.put(record),
            None => self.log.count_dropped(),
        }
    }
}

/// A call's record to be.
pub(crate) struct Record {
    tools: Arc<Tools>,
    slot: Option<Slot>,
}

impl Record {
    /// See [`Tools::opened`].
    pub(crate) fn opened(&self, call: &Call, so_far: &Outcome<'_>) {
        self.tools.opened(call, so_far);
    }

    /// The call is over. `more` is given what the record says of it.
    pub(crate) fn over(&mut self, call: &Call, outcome: &Outcome<'_>, more: impl FnOnce(Json<'_>)) {
        let line = call.line(&self.tools.listener, &self.tools.platform, outcome);
        RECORD.with_borrow_mut(|record| {
            record.clear();
            record.extend_from_slice(b"\"kind\":\"call\",");
            more(line.write_json(record, None));
            self.tools.put(self.slot.take(), record);
        });
    }
}

#[cfg(test)]
mod tests;
