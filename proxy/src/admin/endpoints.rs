//! The admin endpoints. No GET changes anything.

use super::{
    audit,
    guard::{self, Caller, Peer, Refused, Seldom},
    plugins::Observed,
};
use crate::{
    control::{ConfigFile, ConfigReport, ControlHandle, Mode, Refusal, log_outcome},
    snapshot::{Namespace, Snapshot},
};
use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use prism_config::{Ready, Source};
use prism_filters::{auth::CHALLENGE, metrics::Metrics};
use prism_platform::{
    Platform,
    time::{self, Instant},
};
use prism_plugin_host::Transport;
use serde_json::{Value, json};
use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

/// The largest configuration that `PUT /config` takes: what the parser takes anyway.
const MOST_CONFIG_BYTES: usize = 4 << 20;

/// How long the body of a `PUT` may take.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// What the endpoints answer from.
pub(crate) struct AdminState {
    /// The running snapshot.
    pub snapshots: Arc<ArcSwap<Snapshot>>,
    /// What is said of the configuration.
    pub report: Arc<ArcSwap<ConfigReport>>,
    /// Where changes go.
    pub control: ControlHandle,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// The configuration file, to tell how the running configuration differs from it.
    pub file: Option<ConfigFile>,
    /// What the file is checked against.
    pub registry: prism_config::Registry,
    /// The time of day, for the audit log.
    pub platform: Platform,
    /// Where relative paths of a configuration start that did not come from a file.
    pub base_dir: PathBuf,
    /// The proxy is going away.
    pub draining: AtomicBool,
    /// Refused requests, in the log.
    pub seldom_logged: Seldom,
    /// Refused changes by nobody that is known, in the audit log.
    pub seldom_audited: Seldom,
}

const PATHS: [&str; 7] = ["/healthz", "/ready", "/metrics", "/config", "/namespaces", "/plugins", "/audit"];

/// Answers a request, if its peer may ask for it.
pub(super) async fn answer(
    state: &AdminState,
    request: Request<Incoming>,
    peer: &Peer,
) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    let request = Request::from_parts(head, ());
    let caller = match admit(state, peer, &request) {
        Ok(caller) => caller,
        Err(refused) => {
            return refuse(state, &request, peer, &refused).await;
        }
    };
    let path = request.uri().path().to_owned();
    let read_only = matches!(*request.method(), Method::GET | Method::HEAD);
    match path.as_str() {
        "/healthz" if read_only => text(StatusCode::OK, "ok\n"),
        "/ready" if read_only => ready(state, &caller),
        "/metrics" if read_only => metrics(state),
        "/config" if read_only => config(state),
        "/namespaces" if read_only => json_answer(StatusCode::OK, &namespaces(state)),
        "/plugins" if read_only => json_answer(StatusCode::OK, &plugins(state)),
        "/audit" if read_only => json_answer(StatusCode::OK, &audit::logs(state)),
        "/config" if *request.method() == Method::PUT => put_config(state, &request, body, peer).await,
        known if PATHS.contains(&known) => {
            let allowed = if path == "/config" { "GET, HEAD, PUT" } else { "GET, HEAD" };
            let mut answer =
                problem(StatusCode::METHOD_NOT_ALLOWED, "this endpoint does not know that method");
            answer.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allowed));
            answer
        }
        _ => problem(
            StatusCode::NOT_FOUND,
            "there is /ready, /healthz, /metrics, /config, /namespaces, /plugins and /audit",
        ),
    }
}

/// Who asks, by what is configured and what the certificates' files hold now.
fn admit(state: &AdminState, peer: &Peer, request: &Request<()>) -> Result<Caller, Refused> {
    guard::admit(peer, &peer.shown(), &state.snapshots.load().config().admin, request)
}

/// Says no, and says so where the operator looks.
async fn refuse(
    state: &AdminState,
    request: &Request<()>,
    peer: &Peer,
    refused: &Refused,
) -> Response<Full<Bytes>> {
    state.metrics.admin_refused(refused.reason).inc();
    // What somebody with a role tries is told each time: it cannot be anybody, who could fill the log.
    let left_out = if refused.known { Some(0) } else { state.seldom_logged.due() };
    if let Some(left_out) = left_out {
        let (who, peer, why) = (&*refused.who, &*peer.name, &*refused.detail);
        tracing::warn!(
            who,
            peer,
            reason = refused.reason,
            why,
            left_out,
            "the admin address refused a request"
        );
    }
    if *request.method() == Method::PUT && request.uri().path() == "/config" {
        audit::refused(state, "config.apply", refused).await;
    }
    let mut answer = problem(refused.status, refused.message);
    if refused.status == StatusCode::UNAUTHORIZED {
        answer.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(CHALLENGE));
    }
    if refused.ends_connection {
        answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    answer
}

/// 200 when new calls should come here, by `admin.ready`.
fn ready(state: &AdminState, caller: &Caller) -> Response<Full<Bytes>> {
    if state.draining.load(Ordering::Relaxed) {
        return problem(StatusCode::SERVICE_UNAVAILABLE, "draining");
    }
    let snapshot = state.snapshots.load();
    if snapshot.version() == 0 {
        return problem(StatusCode::SERVICE_UNAVAILABLE, "no configuration runs yet");
    }
    let serves = |namespace: &Arc<Namespace>| {
        namespace.slot().active().is_some_and(|backend| backend.status().state.serves())
    };
    let down: Vec<_> = snapshot.namespaces().filter(|namespace| !serves(namespace)).collect();
    let total = snapshot.namespaces().count();
    let unready: Vec<String> = match &snapshot.config().admin.ready {
        // A proxy without namespaces has nothing that could be missing.
        Ready::Any if down.len() < total || total == 0 => Vec::new(),
        Ready::Any | Ready::All => down.iter().map(|namespace| namespace.name().to_string()).collect(),
        Ready::Names(names) => {
            names.iter().filter(|name| !snapshot.namespace(name).is_some_and(serves)).cloned().collect()
        }
    };
    if unready.is_empty() {
        return text(StatusCode::OK, "ready\n");
    }
    if !caller.may_read {
        return problem(StatusCode::SERVICE_UNAVAILABLE, "namespaces do not serve: see /namespaces");
    }
    json_answer(
        StatusCode::SERVICE_UNAVAILABLE,
        &json!({ "message": "namespaces do not serve", "namespaces": unready }),
    )
}

fn metrics(state: &AdminState) -> Response<Full<Bytes>> {
    let snapshot = state.snapshots.load();
    let mut namespaces: Vec<_> = snapshot.namespaces().collect();
    namespaces.sort_unstable_by(|one, other| one.name().cmp(other.name()));
    let instances: Vec<_> = namespaces.into_iter().map(|namespace| Observed::new(namespace)).collect();
    let reports: Vec<_> = instances.iter().map(Observed::report).collect();
    match state.metrics.render(&reports) {
        Ok(body) => {
            let mut answer = text(StatusCode::OK, body);
            let prometheus = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
            answer.headers_mut().insert(header::CONTENT_TYPE, prometheus);
            answer
        }
        Err(error) => problem(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

/// The running configuration, where it came from, and how the file differs from it.
fn config(state: &AdminState) -> Response<Full<Bytes>> {
    let report = state.report.load();
    let mut answer = serde_json::to_value(&**report).unwrap_or_default();
    if let (Some(file), Some(running)) = (&state.file, &report.running) {
        answer["file_differs"] = match file.read() {
            Err(error) => json!([error.to_string()]),
            Ok(source) => match prism_config::parse(&source, &state.registry) {
                Err(problems) => json!([format!("the file is not valid: {problems}")]),
                Ok(config) => {
                    prism_config::diff(running, &config).iter().map(ToString::to_string).collect::<Value>()
                }
            },
        };
    }
    json_answer(StatusCode::OK, &answer)
}

fn namespaces(state: &AdminState) -> Value {
    let snapshot = state.snapshots.load();
    let mut all: Vec<_> = snapshot.namespaces().collect();
    all.sort_by(|one, other| one.name().cmp(other.name()));
    let list: Vec<Value> = all.into_iter().map(|namespace| describe(namespace)).collect();
    json!({ "config_version": snapshot.version(), "namespaces": list })
}

fn describe(namespace: &Namespace) -> Value {
    let mut shown = json!({ "name": &**namespace.name(), "plugin": &**namespace.plugin() });
    if let Some(active) = namespace.slot().active() {
        let status = active.status();
        shown["state"] = status.state.name().into();
        shown["instance"] = active.instance().to_string().into();
        shown["since_ms"] = millis(status.since.elapsed());
        if let Some(reason) = status.reason.as_deref().filter(|_| !matches!(status.state.name(), "ready")) {
            shown["reason"] = reason.into();
        }
        if let Some(retry) = status.next_retry {
            shown["retry_in_ms"] = millis(retry.saturating_duration_since(Instant::now()));
        }
        if let Some(operations) = &status.operations {
            let mut names: Vec<&str> = operations.iter().map(|operation| operation.name.as_str()).collect();
            names.sort_unstable();
            shown["operations"] = names.into();
        }
    }
    if let Some(pending) = namespace.slot().pending() {
        let status = pending.status();
        shown["pending"] = json!({
            "state": status.state.name(),
            "reason": status.reason,
            "instance": pending.instance().to_string(),
        });
    }
    shown
}

/// Every configured plugin, and how each of the namespaces that use it reaches it.
fn plugins(state: &AdminState) -> Value {
    let snapshot = state.snapshots.load();
    let list: Vec<Value> = snapshot
        .config()
        .plugins
        .iter()
        .map(|plugin| {
            let mut shown = serde_json::to_value(plugin).unwrap_or_default();
            let mut users: Vec<_> =
                snapshot.namespaces().filter(|namespace| **namespace.plugin() == *plugin.name).collect();
            users.sort_by(|one, other| one.name().cmp(other.name()));
            shown["namespaces"] = users.into_iter().map(|namespace| reached(namespace)).collect();
            shown
        })
        .collect();
    json!({ "config_version": snapshot.version(), "plugins": list })
}

fn reached(namespace: &Namespace) -> Value {
    let mut shown = json!({ "name": &**namespace.name() });
    if let Some(active) = namespace.slot().active() {
        let status = active.status();
        shown["state"] = status.state.name().into();
        if let Some(protocol) = status.protocol {
            shown["transport"] = protocol.name().into();
            shown["protocol_violations"] = active.spec().plugin.protocol_violations().into();
        }
        if let Transport::Remote(_) = active.spec().plugin.transport() {
            let endpoints = active.endpoints().into_iter();
            shown["endpoints"] = endpoints
                .map(|at| json!({ "endpoint": at.endpoint, "state": at.state.name(), "reason": at.reason }))
                .collect();
            let problem = active.spec().plugin.tls().and_then(|tls| tls.problem());
            shown["tls_problem"] = problem.into();
        }
        if let Some(description) = &status.description {
            shown["version"] = description.version.as_str().into();
        }
    }
    shown
}

fn millis(duration: Duration) -> Value {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX).into()
}

/// What `PUT /config` is asked to do.
pub(super) fn mode(query: Option<&str>) -> Result<Mode, &'static str> {
    let (mut dry_run, mut require_healthy) = (None, None);
    for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
        let (place, value) = match pair.split_once('=') {
            Some(("dry_run", value)) => (&mut dry_run, value),
            Some(("require_healthy", value)) => (&mut require_healthy, value),
            _ => return Err("the query parameters are dry_run and require_healthy"),
        };
        let value = value.parse::<bool>().map_err(|_| "dry_run and require_healthy are true or false")?;
        if place.replace(value).is_some() {
            return Err("a query parameter is there twice");
        }
    }
    match (dry_run.unwrap_or_default(), require_healthy.unwrap_or_default()) {
        (false, false) => Ok(Mode::Apply),
        (false, true) => Ok(Mode::RequireHealthy),
        (true, false) => Ok(Mode::DryRun),
        (true, true) => Err("a dry run asks no plugin, so it cannot require that they are healthy"),
    }
}

/// `PUT /config`: `?dry_run=true` only asks, `?require_healthy=true` wants all of it at once or nothing.
async fn put_config(
    state: &AdminState,
    request: &Request<()>,
    body: Incoming,
    peer: &Peer,
) -> Response<Full<Bytes>> {
    let mode = match mode(request.uri().query()) {
        Ok(mode) => mode,
        Err(message) => return problem(StatusCode::BAD_REQUEST, message),
    };
    let body = Limited::new(body, MOST_CONFIG_BYTES);
    let text = match time::timeout(BODY_TIMEOUT, body.collect()).await {
        Err(_) => return problem(StatusCode::REQUEST_TIMEOUT, "the configuration did not arrive in time"),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            return problem(StatusCode::PAYLOAD_TOO_LARGE, "a configuration is at most 4 MiB");
        }
        Ok(Err(error)) => return problem(StatusCode::BAD_REQUEST, &error.to_string()),
        Ok(Ok(body)) => match String::from_utf8(body.to_bytes().into()) {
            Ok(text) => text,
            Err(_) => return problem(StatusCode::BAD_REQUEST, "the configuration is not UTF-8"),
        },
    };
    // Whoever takes half a minute to send it may have lost the right to in the meantime.
    let caller = match admit(state, peer, request) {
        Ok(caller) => caller,
        Err(refused) => return refuse(state, request, peer, &refused).await,
    };
    let source = Source { name: "admin".to_owned(), text, base_dir: state.base_dir.clone() };
    let outcome = state.control.apply_for(&caller.name, source, mode).await;
    if mode != Mode::DryRun {
        log_outcome("admin", Some(&caller.name), &outcome);
    }
    match outcome {
        Ok(accepted) => json_answer(
            StatusCode::OK,
            &json!({
                "version": accepted.version,
                "changes": accepted.changes,
                "dry_run": mode == Mode::DryRun,
            }),
        ),
        Err(refusal) => {
            let status = match refusal {
                Refusal::Busy | Refusal::ShuttingDown => StatusCode::SERVICE_UNAVAILABLE,
                // Nothing is wrong with the text: the same may be taken later.
                Refusal::Unhealthy(_) => StatusCode::CONFLICT,
                _ => StatusCode::BAD_REQUEST,
            };
            json_answer(status, &json!({ "message": "refused", "problems": refusal.problems() }))
        }
    }
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    answer_with(status, "text/plain; charset=utf-8", body.into())
}

fn problem(status: StatusCode, message: &str) -> Response<Full<Bytes>> {
    json_answer(status, &json!({ "message": message }))
}

fn json_answer(status: StatusCode, body: &Value) -> Response<Full<Bytes>> {
    answer_with(status, "application/json", format!("{body:#}\n").into())
}

fn answer_with(status: StatusCode, content_type: &'static str, body: Bytes) -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::new(body));
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}
