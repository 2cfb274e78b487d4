//! Who may ask for what: looked at before anything of a request is done, and before its path is.
//!
//! By the socket everything is let through: its file's mode has decided. Over TCP a request must be for a host that this is
//! (a page whose name was pointed here is not), a change must not come from a web page, and a token says who asks.

use super::endpoints::mode;
use crate::control::Mode;
use http::{HeaderMap, Method, Request, StatusCode, Version, header, uri::Authority};
use prism_config::{Admin, AdminHost, AdminRole};
use prism_filters::{auth::bearer_of, strip_media_type};
use prism_platform::time::Instant;
use std::{
    borrow::Cow,
    net::{IpAddr, SocketAddr},
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// The other end of a connection.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    /// As the audit log names it: `uid:1000`, or `tcp:127.0.0.1:43210`.
    pub(super) name: String,
    /// How it came.
    pub(super) way: Way,
}

/// The way a connection came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// By the unix socket, which only its owner may open.
    Socket,
    /// By the address.
    Tcp {
        /// Nobody on the way reads along: it is encrypted, or does not leave the machine.
        private: bool,
    },
}

impl Way {
    /// A connection to the address.
    pub(super) fn tcp(peer: Option<SocketAddr>, encrypted: bool) -> Self {
        let loopback = peer.is_some_and(|peer| peer.ip().to_canonical().is_loopback());
        Self::Tcp { private: encrypted || loopback }
    }
}

/// Who asks, and may.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Caller {
    /// As the audit log names it.
    pub(super) name: String,
    /// Whether it may be told names: not where tokens are needed and it was not asked for one.
    pub(super) may_read: bool,
}

/// Why a request is refused.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) status: StatusCode,
    /// A word for the metric.
    pub(super) reason: &'static str,
    /// What the caller is told.
    pub(super) message: &'static str,
    /// Why, for the log. Nothing that the caller sent is in it.
    pub(super) detail: Cow<'static, str>,
    /// Who asked, where that is known; else where from.
    pub(super) who: String,
    /// Its token is known, so it cannot be anybody.
    pub(super) known: bool,
}

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Need {
    /// Nothing that concerns anybody.
    Nothing,
    Role(AdminRole),
}

/// Every path that is not known to need less needs a role, so that nobody is told without one which paths there are.
fn need<B>(admin: &Admin, request: &Request<B>) -> Need {
    let path = request.uri().path();
    match *request.method() {
        Method::GET | Method::HEAD => match path {
            // Load balancers ask for these. They are told yes or no.
            "/healthz" | "/ready" => Need::Nothing,
            "/metrics" if admin.open_metrics => Need::Nothing,
            _ => Need::Role(AdminRole::Viewer),
        },
        // It changes nothing. A query that is none is refused by whoever reads it.
        Method::PUT if path == "/config" => match mode(request.uri().query()) {
            Ok(Mode::DryRun) | Err(_) => Need::Role(AdminRole::Operator),
            Ok(_) => Need::Role(AdminRole::Admin),
        },
        _ => Need::Role(AdminRole::Admin),
    }
}

/// Lets a request through, and says who asks.
///
/// # Errors
/// It is refused.
pub(super) fn admit<B>(peer: &Peer, admin: &Admin, request: &Request<B>) -> Result<Caller, Refused> {
    let Way::Tcp { private } = peer.way else {
        return Ok(Caller { name: peer.name.clone(), may_read: true });
    };
    let refuse = |status, reason, message, detail: &'static str| {
        Err(Refused { status, reason, message, detail: detail.into(), who: peer.name.clone(), known: false })
    };
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    match host(admin, request) {
        Host::Ours => {}
        // No browser leaves it out. HTTP/1.0 has none, and old probes speak that.
        Host::Absent if is_read && request.version() == Version::HTTP_10 => {}
        Host::Absent | Host::Malformed => {
            let message = "the request needs one `Host`";
            return refuse(
                StatusCode::BAD_REQUEST,
                "host",
                message,
                "it has no `Host`, two, or one that is none",
            );
        }
        Host::Other => {
            let message = "this is not the host that the request is for: see admin.hosts";
            return refuse(
                StatusCode::MISDIRECTED_REQUEST,
                "host",
                message,
                "its `Host` is not in admin.hosts",
            );
        }
    }
    // Browsers send it with everything that a page has them post; programs send none.
    if !is_read && request.headers().contains_key(header::ORIGIN) {
        let message = "no web page may change anything here";
        return refuse(StatusCode::FORBIDDEN, "origin", message, "it has an `Origin`, so a web page sent it");
    }
    let anybody = || Caller { name: peer.name.clone(), may_read: admin.tokens.is_empty() };
    let Need::Role(needed) = need(admin, request) else { return Ok(anybody()) };
    if admin.tokens.is_empty() {
        if needed == AdminRole::Viewer {
            return Ok(anybody());
        }
        let message = "changes are made over admin.socket, or with one of admin.tokens; without them this address only answers";
        return refuse(StatusCode::FORBIDDEN, "read_only", message, "there are no admin.tokens");
    }
    if !private {
        let message = "this needs TLS";
        return refuse(StatusCode::FORBIDDEN, "cleartext", message, "it came in clear from another host");
    }
    let known = admin.tokens.iter().map(|token| (token.sha256.bytes(), token));
    let message = "this needs a token: `Authorization: Bearer TOKEN`";
    let token = match bearer_of(request.headers(), known) {
        Ok(Some(token)) => token,
        Ok(None) => return refuse(StatusCode::UNAUTHORIZED, "no_token", message, "it has no token"),
        Err(detail) => {
            let (status, who) = (StatusCode::UNAUTHORIZED, peer.name.clone());
            return Err(Refused { status, reason: "bad_token", message, detail, who, known: false });
        }
    };
    let who = format!("token:{}", token.name);
    if token.role < needed {
        let detail = format!("it needs the role {}, and has {}", needed.name(), token.role.name());
        return Err(Refused {
            status: StatusCode::FORBIDDEN,
            reason: "role",
            message: "the token's role does not permit this",
            detail: detail.into(),
            who,
            known: true,
        });
    }
    if *request.method() == Method::PUT && !is_configuration(request.headers()) {
        return Err(Refused {
            status: StatusCode::UNSUPPORTED_MEDIA_TYPE,
            reason: "content_type",
            message: "this takes `content-type: application/yaml` or `application/json`",
            detail: "its body is not said to be YAML or JSON".into(),
            who,
            known: true,
        });
    }
    Ok(Caller { name: who, may_read: true })
}

/// A page can have a browser send `text/plain` and forms without asking, and neither of these.
fn is_configuration(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(header::CONTENT_TYPE).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return false };
    ["application/yaml", "application/json"].iter().any(|kind| {
        strip_media_type(value.as_bytes(), kind).is_some_and(|rest| {
            let rest = rest.trim_ascii_start();
            rest.is_empty() || rest.starts_with(b";")
        })
    })
}

#[derive(Debug, PartialEq, Eq)]
enum Host {
    Ours,
    Other,
    Absent,
    Malformed,
}

/// Which host a request is for. RFC 9112 section 3.2: "A server MUST respond with a 400 (Bad Request) status code to any
/// HTTP/1.1 request message that lacks a Host header field and to any request message that contains more than one Host header
/// field line or a Host header field with an invalid field value."
fn host<B>(admin: &Admin, request: &Request<B>) -> Host {
    let mut values = request.headers().get_all(header::HOST).iter();
    let field = match (values.next(), values.next()) {
        (None, _) => return Host::Absent,
        (Some(value), None) => value.to_str().ok().and_then(|text| text.parse::<Authority>().ok()),
        (Some(_), Some(_)) => return Host::Malformed,
    };
    let Some(field) = field else { return Host::Malformed };
    // RFC 9112 section 3.2.2: with an absolute target the `Host` is to be ignored. Here both have to be right.
    let all = [Some(&field), request.uri().authority()];
    match all.into_iter().flatten().all(|authority| is_ours(admin, authority)) {
        true => Host::Ours,
        false => Host::Other,
    }
}

/// The port does not matter: it may be forwarded, and a page cannot choose the name that goes with it.
fn is_ours(admin: &Admin, authority: &Authority) -> bool {
    // What stands before an `@` is no part of a `Host`.
    if authority.as_str().contains('@') {
        return false;
    }
    let Ok(host) = authority.host().parse::<AdminHost>() else { return false };
    let own = admin.address.ip().to_canonical();
    let always = match &host {
        AdminHost::Name(name) => name == "localhost",
        // An address cannot be pointed elsewhere as a name can: a page with this in its address bar came from here.
        AdminHost::Ip(ip) => {
            own.is_unspecified()
                || *ip == own
                || matches!(ip, IpAddr::V4(ip) if ip.octets() == [127, 0, 0, 1])
                || matches!(ip, IpAddr::V6(ip) if ip.is_loopback())
        }
    };
    always || admin.hosts.contains(&host)
}

/// How often is told what anybody can have happen.
const SELDOM: Duration = Duration::from_secs(1);

/// Something that is told once a second at most.
#[derive(Debug, Default)]
pub(crate) struct Seldom(Mutex<(Option<Instant>, u64)>);

impl Seldom {
    /// Whether it is told this time, and how many times it was not since it was last.
    pub(super) fn due(&self) -> Option<u64> {
        let now = Instant::now();
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (last, left_out) = &mut *state;
        if last.is_some_and(|last| now.saturating_duration_since(last) < SELDOM) {
            *left_out += 1;
            return None;
        }
        *last = Some(now);
        Some(std::mem::take(left_out))
    }
}

#[cfg(test)]
mod tests;
