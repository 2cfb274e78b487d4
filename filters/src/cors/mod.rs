//! `cors`: which web pages may call, and read what is answered.
//!
//! ```yaml
//! - cors: { allow_origins: ["https://app.example.com"] }
//! ```
//!
//! A browser lets a page of another origin read an answer only if the answer says so, and sends whatever is more than a
//! form could send only after it has asked by a *preflight* (Fetch standard, "HTTP CORS protocol"). Every call here is
//! more than that, because its content type is.

mod origins;

use crate::{
    Body, BuildContext, BuildError, Decorators, Filter, FilterFuture, FilterType, Next, Reason, Rejection,
    RequestContext,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use origins::Pattern;
use prism_config::{Duration, Phase, SettingProblem};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::str::FromStr;

/// Settings of `cors`. It denies what is not written here: without `allow_origins`, every page of another origin.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Origins whose pages may call and read the answers: `https://app.example.com` or `http://localhost:3000`, compared as a
    /// whole; `https://*.example.com`, where one label or several stand for the star; or `*`, every page there is. Empty by
    /// default, because a page acts with what its user's browser can reach.
    pub allow_origins: Vec<String>,
    /// Methods that pages may use. By default `POST`, which calls are made with, and `GET`, which shows what there is.
    pub allow_methods: Vec<String>,
    /// Request headers that pages may send, besides those that clients of this proxy's own protocols set: `authorization`,
    /// `content-type`, `grpc-timeout`, `traceparent`, `tracestate`, `x-grpc-web`, `x-prism-namespace` and `x-user-agent`.
    pub allow_headers: Vec<String>,
    /// Headers of answers that pages may read, besides those that a refusal is told in: `grpc-status`, `grpc-message`,
    /// `grpc-status-details-bin`, `retry-after` and `x-request-id`.
    pub expose_headers: Vec<String>,
    /// How long a browser may remember what a preflight said. Ten minutes: a page then asks a few times an hour, and a
    /// change here is seen soon.
    pub max_age: Duration,
    /// Whether pages may call with cookies, HTTP authentication and client certificates of their user. Off, because nothing
    /// here reads cookies; a page that has a token sends it in `authorization`. Not with the origin `*`.
    pub allow_credentials: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            allow_origins: Vec::new(),
            allow_methods: vec!["GET".to_owned(), "POST".to_owned()],
            allow_headers: Vec::new(),
            expose_headers: Vec::new(),
            max_age: Duration::seconds(600),
            allow_credentials: false,
        }
    }
}

/// What clients of our own protocols send: gRPC-Web and JSON, with a token, a deadline, a trace and a namespace.
const ALLOWED: [&str; 8] = [
    "authorization",
    "content-type",
    "grpc-timeout",
    "traceparent",
    "tracestate",
    "x-grpc-web",
    "x-prism-namespace",
    "x-user-agent",
];

/// What a refusal is told in.
const EXPOSED: [&str; 5] =
    ["grpc-status", "grpc-message", "grpc-status-details-bin", "retry-after", "x-request-id"];

/// The filter.
pub struct Cors {
    origins: Vec<Pattern>,
    allow_methods: HeaderValue,
    allow_headers: HeaderValue,
    expose_headers: HeaderValue,
    max_age: HeaderValue,
    allow_credentials: bool,
}

impl FilterType for Cors {
    const NAME: &'static str = "cors";
    const PHASE: Phase = Phase::Request;
    type Settings = Settings;

    fn check(settings: &Settings) -> Vec<SettingProblem> {
        let mut problems = Vec::new();
        for (item, origin) in settings.allow_origins.iter().enumerate() {
            match origin.parse() {
                Ok(Pattern::Any) if settings.allow_credentials => problems.push(
                    SettingProblem::new(
                        "allow_origins",
                        "`*` with `allow_credentials` would let every page there is act as its visitors",
                    )
                    .at(item)
                    .hint("name the origins"),
                ),
                Ok(_) => {}
                Err(why) => {
                    let problem = SettingProblem::new("allow_origins", format!("`{origin}`: {why}")).at(item);
                    problems
                        .push(problem.hint("such as `https://app.example.com` or `https://*.example.com`"));
                }
            }
        }
        names(&mut problems, "allow_methods", &settings.allow_methods, |name| Method::from_str(name).is_ok());
        for (key, list) in
            [("allow_headers", &settings.allow_headers), ("expose_headers", &settings.expose_headers)]
        {
            names(&mut problems, key, list, |name| HeaderName::from_str(name).is_ok());
        }
        problems
    }

    fn build(settings: Settings, _: &BuildContext<'_>, _: Option<&Self>) -> Result<Self, BuildError> {
        if let Some(problem) = Self::check(&settings).first() {
            return Err(BuildError::new(format!("{}: {}", problem.key, problem.message)));
        }
        let origins = settings.allow_origins.iter().map(|origin| origin.parse()).collect::<Result<_, _>>();
        let list = |own: &[&str], more: &[String]| {
            let names: Vec<&str> = own.iter().copied().chain(more.iter().map(String::as_str)).collect();
            HeaderValue::from_str(&names.join(", "))
        };
        let invalid = || BuildError::new("a name cannot stand in a header");
        Ok(Self {
            origins: origins.map_err(|why| BuildError::new("allow_origins").caused_by(why))?,
            allow_methods: list(&[], &settings.allow_methods).map_err(|_| invalid())?,
            allow_headers: list(&ALLOWED, &settings.allow_headers).map_err(|_| invalid())?,
            expose_headers: list(&EXPOSED, &settings.expose_headers).map_err(|_| invalid())?,
            max_age: settings.max_age.get().as_secs().into(),
            allow_credentials: settings.allow_credentials,
        })
    }
}

/// Names that are what the key lists. `*` is a name by its form, and a different thing with credentials and without
/// (Fetch standard, "CORS protocol and credentials"), so it is none here.
fn names(
    problems: &mut Vec<SettingProblem>,
    key: &'static str,
    list: &[String],
    valid: impl Fn(&str) -> bool,
) {
    for (item, name) in list.iter().enumerate() {
        if name.contains('*') {
            problems.push(SettingProblem::new(key, "`*` is not taken here").at(item).hint("name each"));
        } else if !valid(name) {
            problems.push(SettingProblem::new(key, format!("`{name}` is no name of one")).at(item));
        }
    }
}

const ORIGIN: HeaderName = header::ORIGIN;

impl Filter for Cors {
    /// "A CORS preflight request is a CORS request that checks to see if the CORS protocol is understood. It uses `OPTIONS`
    /// as method" (Fetch standard) and has `Access-Control-Request-Method`. It is answered here and goes no further, whatever
    /// it is about: whether there is anything at that path is told to the call itself.
    fn call<'a>(
        &'a self,
        cx: &'a RequestContext,
        request: &'a mut Request<Body>,
        next: Next<'a>,
    ) -> FilterFuture<'a> {
        let headers = request.headers();
        let preflight = request.method() == Method::OPTIONS
            && headers.contains_key(ORIGIN)
            && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
        if !preflight {
            // From an origin that may not, too: a page of this very origin says `Origin` as well, and no other page can
            // read the answer, nor have sent more than a form without asking first.
            return next.call(cx, request);
        }
        let answer = match self.allowed(headers) {
            Some(_) => Ok(self.preflight()),
            None => Err(Rejection::new(
                Reason::OriginNotAllowed,
                "pages of this origin may not call here: the listener's filter `cors` does not list it",
            )
            .by(Self::NAME)),
        };
        Box::pin(async move { answer })
    }

    fn arrive<'a>(&'a self, request: &mut Request<Body>, answer: &mut Decorators<'a>) {
        let allowed = self.allowed(request.headers());
        answer.add(move |response| self.decorate(response.headers_mut(), allowed));
    }
}

impl Cors {
    /// What `Access-Control-Allow-Origin` says to this request: its own origin, or `*` where every page may read.
    fn allowed(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        let mut origins = headers.get_all(ORIGIN).iter();
        let (Some(value), None) = (origins.next(), origins.next()) else { return None };
        let origin = value.to_str().ok()?;
        if self.origins.contains(&Pattern::Any) {
            return Some(HeaderValue::from_static("*"));
        }
        self.origins.iter().any(|pattern| pattern.matches(origin)).then(|| value.clone())
    }

    fn preflight(&self) -> Response<Body> {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NO_CONTENT;
        let headers = response.headers_mut();
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, self.allow_methods.clone());
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, self.allow_headers.clone());
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, self.max_age.clone());
        response
    }

    /// Says who may read an answer. What a forwarded server said of it is replaced: the configuration decides.
    fn decorate(&self, headers: &mut HeaderMap, allowed: Option<HeaderValue>) {
        headers.remove(header::ACCESS_CONTROL_ALLOW_ORIGIN);
        headers.remove(header::ACCESS_CONTROL_ALLOW_CREDENTIALS);
        headers.remove(header::ACCESS_CONTROL_EXPOSE_HEADERS);
        if !self.origins.contains(&Pattern::Any) {
            // To requests without an origin too: what a cache keeps of theirs must not be given to who has one.
            headers.append(header::VARY, HeaderValue::from_static("origin"));
        }
        let Some(origin) = allowed else { return };
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, self.expose_headers.clone());
        if self.allow_credentials {
            headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
    }
}

#[cfg(test)]
mod tests;
