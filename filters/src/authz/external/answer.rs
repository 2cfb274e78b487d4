//! An authorizer's answer: whether it allows the call, and what it would have changed of the call's headers.

use super::wire::{BoolValue, CheckResponse, DeniedResponse, HeaderValueOption, HttpResponse, OkResponse};
use crate::{
    Code,
    fields::{begins, drop_where, is, is_claim, is_hop_by_hop, same},
};
use http::{HeaderMap, HeaderName, HeaderValue};

/// Most changes of headers that an answer may ask for: as many fields as a request may have.
const MOST_CHANGES: usize = 100;

/// How much of an authorizer's words goes into the log.
const MOST_WORDS: usize = 200;

/// What an answer says.
#[derive(Debug)]
pub(super) enum Answer {
    /// The call may be made, with these changes.
    Allowed(Changes),
    /// It may not: the code for the caller, and why, for the log.
    Denied(Code, String),
    /// The authorizer failed, or says what it may not.
    Nonsense(String),
}

/// What becomes of the headers of a call that is allowed.
#[derive(Debug, Default)]
pub(in crate::authz) struct Changes {
    pub(in crate::authz) request: Edits,
    pub(in crate::authz) answer: Edits,
}

/// Changes of one set of headers.
#[derive(Debug, Default)]
pub(in crate::authz) struct Edits {
    removed: Vec<HeaderName>,
    set: Vec<(HeaderName, HeaderValue, Action)>,
}

/// `HeaderValueOption.HeaderAppendAction`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Append,
    AddIfAbsent,
    Overwrite,
    OverwriteIfExists,
}

impl Edits {
    /// Makes the changes: first what is set, then what is removed, as Envoy does. A client that spells a name with `_` says
    /// the same to some services, so that is overwritten and removed too.
    pub(in crate::authz) fn apply(self, headers: &mut HeaderMap) {
        let has = |headers: &HeaderMap, name: &HeaderName| {
            headers.keys().any(|other| same(other.as_str(), name.as_str()))
        };
        let forget = |headers: &mut HeaderMap, name: &HeaderName| {
            drop_where(headers, |other| same(other.as_str(), name.as_str()));
        };
        for (name, value, action) in self.set {
            match action {
                Action::Append => drop(headers.append(name, value)),
                Action::AddIfAbsent if has(headers, &name) => {}
                Action::OverwriteIfExists if !has(headers, &name) => {}
                Action::AddIfAbsent | Action::Overwrite | Action::OverwriteIfExists => {
                    forget(headers, &name);
                    headers.insert(name, value);
                }
            }
        }
        for name in self.removed {
            forget(headers, &name);
        }
    }
}

/// Reads an answer. What does not say that the call is allowed does not allow it.
pub(super) fn read(answer: CheckResponse) -> Answer {
    let CheckResponse { status, http_response } = answer;
    let code = status.as_ref().map(|status| status.code);
    match (code, http_response) {
        // Envoy takes an answer without a status for OK. An answer of no bytes at all says too little.
        (Some(0), None) => Answer::Allowed(Changes::default()),
        (Some(0) | None, Some(HttpResponse::Ok(ok))) => match changes(ok) {
            Ok(changes) => Answer::Allowed(changes),
            Err(what) => Answer::Nonsense(what),
        },
        (None, None) => {
            Answer::Nonsense("its answer is empty: it neither allows the call nor denies it".into())
        }
        (_, Some(HttpResponse::Error(failed))) => {
            Answer::Nonsense(format!("it says that it failed{}", words(&failed.body)))
        }
        (code, denied) => {
            let denied = match denied {
                Some(HttpResponse::Denied(denied)) => denied,
                _ => DeniedResponse::default(),
            };
            let text = match &status {
                Some(status) if denied.body.is_empty() => &status.message,
                _ => &denied.body,
            };
            let http = denied.status.map_or(0, |status| status.code);
            Answer::Denied(
                for_caller(code.unwrap_or_default(), http),
                format!("it denies the call{}", words(text)),
            )
        }
    }
}

/// Of the codes that an authorizer may choose, those that tell the caller what to do about it; any other is a plain no.
fn for_caller(code: i32, http: i32) -> Code {
    match (http, Code::from_i32(code)) {
        (401, _) | (0, Code::Unauthenticated) => Code::Unauthenticated,
        (429, _) | (0, Code::ResourceExhausted) => Code::ResourceExhausted,
        _ => Code::PermissionDenied,
    }
}

/// An authorizer's words, for a log line.
fn words(text: &str) -> String {
    let mut short: String =
        text.chars().take(MOST_WORDS).map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
    if short.is_empty() {
        return short;
    }
    if text.chars().nth(MOST_WORDS).is_some() {
        short.push('…');
    }
    format!(": {short}")
}

fn changes(ok: OkResponse) -> Result<Changes, String> {
    if !ok.query_parameters_to_set.is_empty() || !ok.query_parameters_to_remove.is_empty() {
        return Err("it would change the call's query: what was authorized is what is done".into());
    }
    if ok.headers.len() + ok.headers_to_remove.len() + ok.response_headers_to_add.len() > MOST_CHANGES {
        return Err(format!("it would change more than {MOST_CHANGES} headers"));
    }
    Ok(Changes {
        request: Edits {
            set: ok.headers.into_iter().map(edit).collect::<Result<_, _>>()?,
            removed: ok.headers_to_remove.iter().map(|name| changeable(name)).collect::<Result<_, _>>()?,
        },
        answer: Edits {
            set: ok.response_headers_to_add.into_iter().map(edit).collect::<Result<_, _>>()?,
            removed: Vec::new(),
        },
    })
}

fn edit(option: HeaderValueOption) -> Result<(HeaderName, HeaderValue, Action), String> {
    let field = option.header.ok_or("it would set a header without a name")?;
    let name = changeable(&field.key)?;
    let bytes = if field.value.is_empty() { &field.raw_value[..] } else { field.value.as_bytes() };
    let value = HeaderValue::from_bytes(bytes)
        .map_err(|_| format!("it would set `{name}` to what no header may hold"))?;
    let action = match (option.append, option.append_action) {
        (Some(BoolValue { value: true }), _) => Action::Append,
        // Of `OkHttpResponse`: "the append field in HeaderValueOption will default to false". Nor can the first of the
        // actions, which is to append, be told from none; a value of the client's beside the authorizer's is what a
        // service might take.
        (Some(BoolValue { value: false }), _) | (None, 0 | 2) => Action::Overwrite,
        (None, 1) => Action::AddIfAbsent,
        (None, 3) => Action::OverwriteIfExists,
        (None, other) => {
            return Err(format!("it would set `{name}` by an action that nobody knows, {other}"));
        }
    };
    Ok((name, value, action))
}

/// A header that an authorizer may change: none that says where the request goes, how its message is framed or read, or
/// what only the proxy may say.
fn changeable(text: &str) -> Result<HeaderName, String> {
    let name = text.to_ascii_lowercase();
    let framing =
        ["host", "content-length", "content-type", "content-encoding", "expect", "proxy-authorization"];
    let stated = ["x-request-id", "traceparent", "tracestate", "forwarded", "x-real-ip"];
    let taboo = name.starts_with(':')
        || is_claim(&name)
        || begins(&name, "grpc-")
        || begins(&name, "x-forwarded-")
        || framing.iter().chain(&stated).any(|other| is(&name, other));
    match HeaderName::try_from(&name) {
        _ if taboo => Err(format!("it would change `{}`, which is not its to change", shown(text))),
        Ok(name) if is_hop_by_hop(&name) => {
            Err(format!("it would change `{name}`, which is not its to change"))
        }
        Ok(name) => Ok(name),
        Err(_) => Err(format!("it would change `{}`, which is no header's name", shown(text))),
    }
}

fn shown(text: &str) -> String {
    text.chars().take(64).filter(|letter| !letter.is_control()).collect()
}
