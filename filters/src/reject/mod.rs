//! Refusals: one type, one list of reasons, one place where they become answers.

mod reason;
mod respond;

pub(crate) use reason::code_name;
pub use reason::{Code, Reason};
pub use respond::{error_json, respond, trailers_of};

use http::{HeaderName, HeaderValue, StatusCode};
use std::{borrow::Cow, fmt, time::Duration};

/// Why a request is not served. Filters return it; [`respond`] turns it into the protocol's answer.
#[derive(Clone, Debug)]
pub struct Rejection(Box<Inner>);

#[derive(Clone, Debug)]
struct Inner {
    reason: Reason,
    code: Code,
    message: Cow<'static, str>,
    filter: &'static str,
    plugin: Option<String>,
    namespace: Option<String>,
    retry: Option<Duration>,
    headers: Vec<(HeaderName, HeaderValue)>,
    detail: Option<Cow<'static, str>>,
}

impl Rejection {
    /// A refusal. `message` tells the caller what to do about it, and nothing secret.
    pub fn new(reason: Reason, message: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Inner {
            reason,
            code: reason.code(),
            message: message.into(),
            filter: "edge",
            plugin: None,
            namespace: None,
            retry: None,
            headers: Vec::new(),
            detail: None,
        }))
    }

    /// Another code than the reason's usual one: what a plugin said.
    #[must_use]
    pub fn with_code(mut self, code: Code) -> Self {
        self.0.code = code;
        self
    }

    /// Names the filter that refuses.
    #[must_use]
    pub fn by(mut self, filter: &'static str) -> Self {
        self.0.filter = filter;
        self
    }

    /// Names the plugin that it is about.
    #[must_use]
    pub fn about_plugin(mut self, plugin: &str) -> Self {
        self.0.plugin = Some(plugin.to_owned());
        self
    }

    /// Names the namespace that it is about, for refusals that are told when the request's context is gone.
    #[must_use]
    pub fn in_namespace(mut self, namespace: &str) -> Self {
        self.0.namespace = Some(namespace.to_owned());
        self
    }

    /// The same call may be made again after this time: doing it twice would do no harm, or it was not done at all.
    #[must_use]
    pub fn with_retry(mut self, after: Duration) -> Self {
        self.0.retry = Some(after);
        self
    }

    /// Adds a header to the answer (`retry-after`). A name or value that HTTP does not allow is left out.
    #[must_use]
    pub fn with_header(mut self, name: &'static str, value: &str) -> Self {
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value))
        {
            self.0.headers.push((name, value));
        }
        self
    }

    /// What only the operator is told, in the access log: whoever tries credentials learns nothing from it. No secrets, and
    /// nothing of the credential but what is its owner's public name.
    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<Cow<'static, str>>) -> Self {
        self.0.detail = Some(detail.into());
        self
    }

    /// What only the operator is told.
    #[must_use]
    pub fn detail(&self) -> Option<&str> {
        self.0.detail.as_deref()
    }

    /// Its reason.
    #[must_use]
    pub fn reason(&self) -> Reason {
        self.0.reason
    }

    /// Its gRPC code.
    #[must_use]
    pub fn code(&self) -> Code {
        self.0.code
    }

    /// The status that it is answered with over plain HTTP.
    #[must_use]
    pub fn http_status(&self) -> StatusCode {
        self.0.reason.http_override().unwrap_or(reason::http_status(self.0.code))
    }

    /// What it tells the caller.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The filter that refuses.
    #[must_use]
    pub fn filter(&self) -> &'static str {
        self.0.filter
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.reason, self.0.message)
    }
}

impl std::error::Error for Rejection {}
