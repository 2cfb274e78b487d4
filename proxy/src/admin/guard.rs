//! Who may ask for what: looked at before anything of a request is done, and before its path is.
//!
//! By the socket everything is let through: its file's mode has decided. Over TCP a request must be for a host that this is
//! (a page whose name was pointed here is not), a change must not come from a web page, and a token or a client certificate
//! says who asks.

mod host;

use super::{endpoints::mode, tls::Client};
use crate::control::Mode;
use host::{Host, host};
use http::{HeaderMap, Method, Request, StatusCode, Version, header};
use prism_config::{Admin, AdminRole, Pattern};
use prism_filters::{auth::bearer_of, strip_media_type};
use prism_platform::time::Instant;
use std::{
    borrow::Cow,
    net::SocketAddr,
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// The other end of a connection.
#[derive(Debug)]
pub(super) struct Peer {
    /// As the audit log names it: `uid:1000`, or `tcp:127.0.0.1:43210`.
    pub(super) name: String,
    /// How it came.
    pub(super) way: Way,
    /// Who it is by its handshake, where the connection is encrypted.
    pub(super) client: Option<Client>,
}

impl Peer {
    /// What it has shown of itself, as that counts now.
    pub(super) fn shown(&self) -> Shown {
        self.client.as_ref().map_or(Shown::Nothing, Client::shown)
    }
}

/// What a client has shown of itself in its handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Shown {
    /// No certificate.
    Nothing,
    /// A certificate, with this principal.
    Principal(String),
    /// A certificate that names nobody: why.
    Nobody(Cow<'static, str>),
    /// Whatever it was, it would not be let in any more: why.
    Ended(Cow<'static, str>),
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
    /// Whether it may be told names: not where it has to be known who asks, and it was not asked.
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
    /// It has a role, so it cannot be anybody.
    pub(super) known: bool,
    /// What is wrong is the connection's, so that no other request of it would fare better.
    pub(super) ends_connection: bool,
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
pub(super) fn admit<B>(
    peer: &Peer,
    shown: &Shown,
    admin: &Admin,
    request: &Request<B>,
) -> Result<Caller, Refused> {
    let Way::Tcp { private } = peer.way else {
        return Ok(Caller { name: peer.name.clone(), may_read: true });
    };
    let stranger = |status, reason, message, detail| Refused {
        status,
        reason,
        message,
        detail,
        who: peer.name.clone(),
        known: false,
        ends_connection: false,
    };
    let refuse =
        |status, reason, message, detail: &'static str| Err(stranger(status, reason, message, detail.into()));
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
    let unknown = match admin.clients.is_empty() {
        true => "this needs a token: `Authorization: Bearer TOKEN`",
        false => "this needs a client certificate that has a role, or a token: `Authorization: Bearer TOKEN`",
    };
    if let Shown::Ended(why) = shown {
        // Also for what is for everybody: a new connection would not get as far as this.
        let refused = stranger(StatusCode::UNAUTHORIZED, "bad_certificate", unknown, why.clone());
        return Err(Refused { ends_connection: true, ..refused });
    }
    let anybody = || Caller { name: peer.name.clone(), may_read: !admin.is_guarded() };
    let Need::Role(needed) = need(admin, request) else { return Ok(anybody()) };
    if !admin.is_guarded() {
        if needed == AdminRole::Viewer {
            return Ok(anybody());
        }
        let message = "changes are made over admin.socket, or by admin.tokens or admin.clients; without those this address only \
                       answers";
        return refuse(
            StatusCode::FORBIDDEN,
            "read_only",
            message,
            "there are neither admin.tokens nor admin.clients",
        );
    }
    if !private {
        let message = "this needs TLS";
        return refuse(StatusCode::FORBIDDEN, "cleartext", message, "it came in clear from another host");
    }
    let tokens = admin.tokens.iter().map(|token| (token.sha256.bytes(), token));
    let (who, role) = match (bearer_of(request.headers(), tokens), shown) {
        // Whoever sends a token means to be its owner, whatever the certificate would permit.
        (Ok(Some(token)), _) => (format!("token:{}", token.name), token.role),
        (Err(detail), _) => return Err(stranger(StatusCode::UNAUTHORIZED, "bad_token", unknown, detail)),
        (Ok(None), Shown::Principal(principal)) if !admin.clients.is_empty() => {
            let Some(role) = role_of(admin, principal) else {
                let detail = "none of admin.clients is about its certificate".into();
                let refused = stranger(StatusCode::UNAUTHORIZED, "unknown_certificate", unknown, detail);
                return Err(Refused { who: principal.clone(), ..refused });
            };
            (principal.clone(), role)
        }
        (Ok(None), Shown::Nobody(why)) if !admin.clients.is_empty() => {
            return Err(stranger(StatusCode::UNAUTHORIZED, "unknown_certificate", unknown, why.clone()));
        }
        (Ok(None), _) => {
            let detail = match admin.clients.is_empty() {
                true => "it has no token",
                false => "it has neither a token nor a certificate",
            };
            return refuse(StatusCode::UNAUTHORIZED, "no_token", unknown, detail);
        }
    };
    let known = |status, reason, message, detail| Refused {
        status,
        reason,
        message,
        detail,
        who: who.clone(),
        known: true,
        ends_connection: false,
    };
    if role < needed {
        let detail = format!("it needs the role {}, and has {}", needed.name(), role.name());
        let message = "the role does not permit this";
        return Err(known(StatusCode::FORBIDDEN, "role", message, detail.into()));
    }
    if *request.method() == Method::PUT && !is_configuration(request.headers()) {
        let message = "this takes `content-type: application/yaml` or `application/json`";
        let detail = "its body is not said to be YAML or JSON".into();
        return Err(known(StatusCode::UNSUPPORTED_MEDIA_TYPE, "content_type", message, detail));
    }
    Ok(Caller { name: who, may_read: true })
}

/// What a client may do: the highest role that an entry gives it, as rules of `access` add up. The patterns were read when the
/// configuration was; reading them again costs less than looking a certificate over, and nobody asks often.
fn role_of(admin: &Admin, principal: &str) -> Option<AdminRole> {
    let about = |pattern: &str| pattern.parse::<Pattern>().is_ok_and(|pattern| pattern.matches(principal));
    admin.clients.iter().filter(|client| about(&client.principal)).map(|client| client.role).max()
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
