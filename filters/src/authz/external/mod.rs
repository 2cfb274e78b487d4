//! An authorizer in another process, asked by Envoy's `ext_authz` protocol, version 3, over gRPC: what the rules allow, it
//! has to allow too.
//!
//! No answer, an answer that makes no sense, and one that would change what it may not are all no. What is sent of a call:
//! its head as far as the settings name it, and who makes it; never a credential, and nothing of its body.

mod answer;
mod question;
mod settings;
#[cfg(test)]
mod tests;
mod wire;

pub use settings::Settings;

use crate::{BuildContext, BuildError, Code, GrpcService, Judge, RequestContext, metrics::ExternalMetrics};
use answer::{Answer, Changes};
use prism_platform::{Platform, time::Instant};
use prism_plugin_abi::Kind;
use prost::Message;
use question::Question;
use std::sync::Arc;

/// The largest answer: more than all headers that a request may have.
const MOST_ANSWER: usize = 64 << 10;

/// Which authorizer has approved a call, and as what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Approval {
    judge: Judge,
    kind: Option<Kind>,
}

/// The authorizer of one `authz`.
pub(super) struct External {
    settings: Settings,
    question: Question,
    service: Arc<dyn GrpcService>,
    platform: Platform,
    counts: ExternalMetrics,
    listener: Box<str>,
    judge: Judge,
}

/// Why a call may not be made.
pub(super) enum Refused {
    /// The authorizer says so: with which code, and its words for the log.
    Denied(Code, String),
    /// It cannot be asked, or what it answers makes no sense.
    Failed(String),
    /// The caller does not wait for its answer any more.
    Late(String),
}

impl External {
    pub(super) fn open(settings: &Settings, cx: &BuildContext<'_>) -> Result<Self, BuildError> {
        let service = cx.services.open(&settings.place(cx.base_dir))?;
        Ok(Self {
            question: Question::new(settings)?,
            service,
            platform: cx.platform.clone(),
            counts: cx.metrics.authz_external(cx.listener),
            listener: cx.listener.into(),
            judge: Judge::new(),
            settings: settings.clone(),
        })
    }

    /// What it was opened with.
    pub(super) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// What it has approved when it has approved a call as one of this kind.
    pub(super) fn approval(&self, kind: Option<Kind>) -> Approval {
        Approval { judge: self.judge, kind }
    }

    /// Asks whether the call may be made. `operation` and `kind` are what is about to be done, in words.
    pub(super) async fn ask(
        &self,
        cx: &RequestContext,
        head: &http::Request<crate::Body>,
        operation: &str,
        kind: &str,
    ) -> Result<Changes, Refused> {
        let at = self.platform.wall_clock();
        let question =
            self.question.about(cx, head, &question::What { operation, kind, listener: &self.listener, at });
        let begun = Instant::now();
        // What is allowed past it is done for nobody.
        let left = cx.deadline().map(|deadline| deadline.saturating_duration_since(begun));
        let timeout = self.settings.timeout.get();
        let (timeout, is_late) = match left.filter(|left| *left < timeout) {
            Some(left) => (left, true),
            None => (timeout, false),
        };
        let answered = match cx.worker() {
            Some(worker) => {
                let message = question.encode_to_vec().into();
                self.service.ask(worker, wire::CHECK, message, timeout, MOST_ANSWER).await
            }
            None => Err(crate::AskError("the request has no worker".to_owned())),
        };
        self.counts.duration.observe(begun.elapsed().as_secs_f64());
        let at = &self.settings.address;
        if is_late && begun.elapsed() >= timeout {
            self.counts.failed.inc();
            return Err(Refused::Late(format!(
                "the authorizer at {at}: no answer before the call's deadline"
            )));
        }
        let answer = match answered {
            Ok(message) => match wire::CheckResponse::decode(message) {
                Ok(message) => answer::read(message),
                Err(error) => Answer::Nonsense(format!("its answer cannot be read: {error}")),
            },
            Err(error) => Answer::Nonsense(error.to_string()),
        };
        match answer {
            Answer::Allowed(changes) => {
                self.counts.allowed.inc();
                Ok(changes)
            }
            Answer::Denied(code, why) => {
                self.counts.denied.inc();
                Err(Refused::Denied(code, format!("the authorizer at {at}: {why}")))
            }
            Answer::Nonsense(why) => {
                self.counts.failed.inc();
                Err(Refused::Failed(format!("the authorizer at {at}: {why}")))
            }
        }
    }
}
