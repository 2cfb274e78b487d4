//! The questions: what a token is worth, by RFC 7662.

use super::{
    super::fetch::{self, FetchError, Fetcher, Limits},
    Introspection,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};
use prism_platform::Platform;
use std::{fmt::Write as _, path::Path, time::Duration};
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

/// What an answer may have: a few dozen claims.
const MOST_ANSWER: usize = 64 << 10;

/// What a question may take: callers wait for it.
const DEADLINE: Duration = Duration::from_secs(2);

/// Questions at the same time, and how long a call waits to have its own asked. Strangers can cause them.
const AT_ONCE: usize = 32;
const PATIENCE: Duration = Duration::from_secs(1);

/// Why nobody can be asked.
#[derive(Debug, thiserror::Error)]
pub(in crate::auth) enum OAuth2Error {
    #[error("introspection.url: {0}")]
    Url(#[from] fetch::UrlError),
    #[error("introspection: {0}")]
    Setup(#[from] fetch::SetupError),
    #[error("introspection: client_id and client_secret make no header")]
    Header,
}

/// Asks the authorization server.
pub(super) struct Asking {
    fetcher: Fetcher,
    /// What the proxy says of itself. Marked as sensitive.
    authorization: HeaderValue,
    turns: Semaphore,
}

impl Asking {
    /// Blocks for reading `ca_cert`.
    ///
    /// # Errors
    /// Nobody can be asked that way.
    pub(super) fn new(
        introspection: &Introspection,
        base_dir: &Path,
        platform: &Platform,
    ) -> Result<Self, OAuth2Error> {
        let Introspection { url, client_id, client_secret, ca_cert } = introspection;
        let ca = ca_cert.as_ref().map(|path| base_dir.join(path));
        let limits = Limits { deadline: DEADLINE, body: MOST_ANSWER };
        let fetcher = Fetcher::new(platform.clone(), url.parse()?, ca.as_deref(), limits)?;
        let pair = Zeroizing::new(format!(
            "{}:{}",
            form(client_id.as_bytes()),
            form(client_secret.expose().as_bytes())
        ));
        let basic = Zeroizing::new(format!("Basic {}", STANDARD.encode(pair.as_bytes())));
        let mut authorization = HeaderValue::from_str(&basic).map_err(|_| OAuth2Error::Header)?;
        authorization.set_sensitive(true);
        Ok(Self { fetcher, authorization, turns: Semaphore::new(AT_ONCE) })
    }

    /// Asks. The error is for the log.
    pub(super) async fn ask(&self, token: &[u8]) -> Result<Bytes, String> {
        let Ok(Ok(_turn)) = tokio::time::timeout(PATIENCE, self.turns.acquire()).await else {
            return Err(format!("introspection: {AT_ONCE} questions are under way"));
        };
        self.ask_now(token).await
    }

    /// Asks without waiting for a turn.
    pub(super) async fn ask_now(&self, token: &[u8]) -> Result<Bytes, String> {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, self.authorization.clone());
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        let body = format!("token={}&token_type_hint=access_token", form(token));
        self.fetcher
            .post(headers, body.into())
            .await
            .map_err(|error: FetchError| format!("introspection: {error}"))
    }
}

/// `application/x-www-form-urlencoded`, by escaping all that might mean something.
fn form(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for byte in bytes {
        match byte {
            b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'-' | b'.' | b'_' => text.push(char::from(*byte)),
            // A String takes every write.
            _ => drop(write!(text, "%{byte:02X}")),
        }
    }
    text
}
