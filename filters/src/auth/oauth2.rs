//! Opaque tokens: whoever issued them is asked (RFC 7662), and what it says is remembered for a while.

use super::{
    Bad, Proof,
    fetch::{FetchError, Fetcher, Limits, Url},
    remembered::{Cache, Entry},
    strict_json,
};
use crate::{Backing, Credential, Judge, Method};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::{HeaderMap, HeaderValue, header};
use prism_config::{Duration, Secret, SettingProblem};
use prism_platform::{Platform, time::Instant};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::{
    fmt::{self, Write as _},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration as Span, SystemTime},
};
use tokio::{sync::Semaphore, task::JoinHandle};
use zeroize::Zeroizing;

/// The longest token. Opaque ones are short; those with claims in them have 4 KiB.
const MOST_TOKEN: usize = 8 << 10;

/// What an answer may have: a few dozen claims.
const MOST_ANSWER: usize = 64 << 10;

/// What a question may take: callers wait for it.
const DEADLINE: Span = Span::from_secs(2);

/// Questions at the same time, and how long a call waits to have its own asked. Strangers can cause them.
const AT_ONCE: usize = 32;
const PATIENCE: Span = Span::from_secs(1);

/// Questions about tokens of calls under way at the same time, besides.
const AGAIN: usize = 16;

/// How many times `remember` a call goes on when nobody says whether its token is still good: five minutes by default, so that
/// an outage of the issuer does not end all calls, and a revocation cannot be kept from being heard for longer.
const UNCONFIRMED: u32 = 10;

/// Opaque tokens of one authorization server, which is asked what each is worth (RFC 7662). The principal is
/// `oauth2:ISSUER:SUBJECT`; what else it says are claims for the rules of `access`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "OAuth2")]
pub struct Settings {
    /// What the authorization server is called in principals; where an answer has an `iss`, it has to be this.
    pub issuer: String,
    /// Who a token has to be for: one of them has to be the answer's `aud`, or in it. At least one, because a token that any
    /// service takes lets every service act as its caller elsewhere.
    #[schemars(length(min = 1))]
    pub audiences: Vec<String>,
    /// Whom to ask.
    pub introspection: Introspection,
    /// How long a good token is not asked for again, 1 s to 10 minutes; never beyond its `exp`. 30 s by default: a token that is
    /// revoked is good for as long.
    #[serde(default = "remember")]
    pub remember: Duration,
    /// How many good tokens are remembered; 0 remembers none, so that each call is a question. 10,000 by default.
    #[serde(default = "cache_size")]
    #[schemars(range(max = 1_000_000))]
    pub cache_size: u32,
}

/// An introspection endpoint (RFC 7662 section 2).
#[derive(Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Introspection {
    /// Where it is: `https://…`, or `http://…` on this host alone.
    pub url: String,
    /// Who asks: the proxy's own name at the authorization server.
    pub client_id: String,
    /// Its password there, sent as HTTP Basic (RFC 6749 section 2.3.1): a text, or better `{{ secret:NAME }}`.
    pub client_secret: Secret,
    /// PEM file: the authorities of the server, and no others. Relative to the configuration file. Without it those that the
    /// system trusts.
    #[serde(default)]
    #[schemars(with = "String")]
    pub ca_cert: Option<PathBuf>,
}

impl fmt::Debug for Introspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Introspection")
            .field("url", &self.url)
            .field("client_id", &self.client_id)
            .finish_non_exhaustive()
    }
}

const fn remember() -> Duration {
    Duration::seconds(30)
}

const fn cache_size() -> u32 {
    10_000
}

pub(super) fn check(settings: &Settings, problems: &mut Vec<SettingProblem>, key: &'static str) {
    let mut wrong = |message: String, hint: &str| problems.push(SettingProblem::new(key, message).hint(hint));
    if !(1..=256).contains(&settings.issuer.len()) {
        wrong("`issuer` has 1 to 256 bytes".into(), "such as the server's address");
    }
    if settings.audiences.is_empty() || settings.audiences.iter().any(String::is_empty) {
        wrong("`audiences`: a token has to be for somebody".into(), "the name of this service at the server");
    }
    match settings.introspection.url.parse::<Url>() {
        Err(error) => {
            wrong(format!("`introspection.url`: {error}"), "such as `https://id.example.com/introspect`");
        }
        Ok(url) if !url.is_tls() && settings.introspection.ca_cert.is_some() => {
            wrong(
                "`introspection.ca_cert` does nothing with `http://`".into(),
                "remove it, or use `https://`",
            );
        }
        Ok(_) => {}
    }
    if settings.introspection.client_id.is_empty() || settings.introspection.client_secret.expose().is_empty()
    {
        wrong(
            "`introspection` asks nobody in without a name and a password".into(),
            "set `client_id` and `client_secret`",
        );
    }
    if !(1..=600).contains(&settings.remember.get().as_secs()) {
        wrong("`remember` is not within 1 s and 10 minutes".into(), "such as `30s`");
    }
}

/// The method, as it is configured. Ends its background task when it is dropped.
pub(super) struct OAuth2 {
    inner: Arc<Inner>,
    asking_again: JoinHandle<()>,
}

struct Inner {
    settings: Settings,
    asking: Asking,
    cache: Cache,
    judge: Judge,
    platform: Platform,
    /// Those that calls were let in by, for as long as those last.
    in_use: Mutex<Vec<InUse>>,
}

type Token = Arc<Zeroizing<Vec<u8>>>;

/// A token, and what it has proven.
struct InUse {
    token: Token,
    credential: Weak<Credential>,
    standing: Arc<Standing>,
}

/// Whether a token is still good, as far as anybody was told, and when that was.
struct Standing {
    stands: AtomicBool,
    confirmed: Mutex<Instant>,
}

impl Standing {
    fn new() -> Self {
        Self { stands: AtomicBool::new(true), confirmed: Mutex::new(Instant::now()) }
    }

    fn confirm(&self) {
        *self.confirmed.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn end(&self) {
        self.stands.store(false, Ordering::Release);
    }

    fn is_fresh(&self, most: Span) -> bool {
        self.confirmed.lock().unwrap_or_else(PoisonError::into_inner).elapsed() < most
    }
}

impl Backing for Standing {
    fn stands(&self) -> bool {
        self.stands.load(Ordering::Acquire)
    }
}

struct Asking {
    fetcher: Fetcher,
    /// What the proxy says of itself. Marked as sensitive.
    authorization: HeaderValue,
    turns: Semaphore,
}

/// Why nobody can be asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum OAuth2Error {
    #[error("introspection.url: {0}")]
    Url(#[from] super::fetch::UrlError),
    #[error("introspection: {0}")]
    Setup(#[from] super::fetch::SetupError),
    #[error("introspection: client_id and client_secret make no header")]
    Header,
}

impl OAuth2 {
    /// Blocks for reading `ca_cert`.
    ///
    /// # Errors
    /// Nobody can be asked that way.
    pub(super) fn open(
        settings: Settings,
        base_dir: &Path,
        platform: &Platform,
        changed: impl Fn() + Send + 'static,
    ) -> Result<Self, OAuth2Error> {
        let Introspection { url, client_id, client_secret, ca_cert } = &settings.introspection;
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
        let inner = Arc::new(Inner {
            cache: Cache::new(settings.cache_size, platform),
            asking: Asking { fetcher, authorization, turns: Semaphore::new(AT_ONCE) },
            judge: Judge::new(),
            platform: platform.clone(),
            in_use: Mutex::default(),
            settings,
        });
        let asking_again = tokio::spawn(ask_again(Arc::downgrade(&inner), changed));
        Ok(Self { inner, asking_again })
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.inner.settings
    }

    pub(super) fn holds(&self, credential: &Credential) -> bool {
        credential.stands_before(self.inner.judge)
    }

    /// What this token has proven before, if that is still good.
    pub(super) fn remembered(&self, token: &[u8]) -> Option<Arc<Credential>> {
        self.inner.cache.get(token, self.inner.platform.wall_clock())
    }

    pub(super) fn prove(&self, token: &[u8]) -> Proof {
        if token.len() > MOST_TOKEN {
            return Bad::new("its token is too long").into();
        }
        if let Some(credential) = self.remembered(token) {
            return Proof::Good(credential);
        }
        let (token, inner) = (Zeroizing::new(token.to_vec()), Arc::clone(&self.inner));
        Proof::Ask(Box::pin(async move { inner.judge(token).await }))
    }
}

impl Drop for OAuth2 {
    fn drop(&mut self) {
        self.asking_again.abort();
    }
}

/// Asks again, now and then, for the tokens that calls under way were let in by: a token that was revoked ends them.
async fn ask_again(inner: Weak<Inner>, changed: impl Fn()) {
    loop {
        let Some(remember) = inner.upgrade().map(|inner| inner.settings.remember.get()) else { return };
        // Twice as often as a call that begins would ask: what is revoked is noticed, and its calls are ended, before an answer
        // that was just given would be forgotten.
        tokio::time::sleep(remember / 2).await;
        let Some(inner) = inner.upgrade() else { return };
        // Beside the questions of calls that begin, which strangers can cause as many of as they like.
        let again = inner.tokens_in_use().into_iter().map(|(token, standing)| {
            let inner = &inner;
            async move {
                let answer = inner.asking.ask_now(&token).await;
                match answer.map(|answer| inner.read(&answer, inner.platform.wall_clock())) {
                    Ok(Ok(Ok(_))) => standing.confirm(),
                    Ok(Ok(Err(_))) => standing.end(),
                    // What makes no sense says nothing against a token that was good, for a while.
                    Ok(Err(_)) | Err(_) if standing.is_fresh(remember * UNCONFIRMED) => {}
                    Ok(Err(_)) | Err(_) => standing.end(),
                }
                standing.stands()
            }
        });
        let stood: Vec<bool> = stream::iter(again).buffer_unordered(AGAIN).collect().await;
        if stood.contains(&false) {
            changed();
        }
    }
}

impl Inner {
    async fn judge(&self, token: Zeroizing<Vec<u8>>) -> Proof {
        let answer = match self.asking.ask(&token).await {
            Ok(answer) => answer,
            Err(why) => return Proof::Unknown(why.into()),
        };
        let now = self.platform.wall_clock();
        let (credential, end) = match self.read(&answer, now) {
            Ok(Ok(good)) => good,
            Ok(Err(bad)) => return bad.into(),
            Err(why) => return Proof::Unknown(why.into()),
        };
        let standing = Arc::new(Standing::new());
        let backing: Arc<dyn Backing> = Arc::<Standing>::clone(&standing);
        let credential = Arc::new(credential.judged(self.judge, Some(backing)));
        self.cache.add(Entry::new(&token, Arc::clone(&credential), SystemTime::UNIX_EPOCH, end), now);
        let in_use = InUse { token: Arc::new(token), credential: Arc::downgrade(&credential), standing };
        self.in_use.lock().unwrap_or_else(PoisonError::into_inner).push(in_use);
        Proof::Good(credential)
    }

    /// The tokens that calls under way were let in by. Those that nobody has any more are forgotten.
    fn tokens_in_use(&self) -> Vec<(Token, Arc<Standing>)> {
        let mut in_use = self.in_use.lock().unwrap_or_else(PoisonError::into_inner);
        in_use.retain(|one| one.credential.strong_count() > 0);
        let used = in_use.iter().filter(|one| {
            // The memory of good tokens has one: with it alone, nobody is there to be cut off.
            let remembered = self.cache.get(&one.token, self.platform.wall_clock()).is_some();
            one.credential.strong_count() > usize::from(remembered) && one.standing.stands()
        });
        used.map(|one| (Arc::clone(&one.token), Arc::clone(&one.standing))).collect()
    }

    /// What an answer is worth. The outer error is the server's: what it says makes no sense.
    fn read(&self, answer: &[u8], now: SystemTime) -> Result<Result<(Credential, SystemTime), Bad>, String> {
        let nonsense = |what: &str| format!("introspection: the answer {what}");
        let claims =
            strict_json::object(answer).map_err(|fault| nonsense(&format!("is no JSON object: {fault}")))?;
        match claims.get("active") {
            Some(Value::Bool(true)) => {}
            Some(Value::Bool(false)) => return Ok(Err(Bad::new("the token is not active, says its issuer"))),
            _ => return Err(nonsense("does not say whether the token is active")),
        }
        Ok(self.weigh(claims, now))
    }

    fn weigh(&self, claims: Map<String, Value>, now: SystemTime) -> Result<(Credential, SystemTime), Bad> {
        let of = |audience: &Value| {
            audience.as_str().is_some_and(|audience| self.settings.audiences.iter().any(|it| it == audience))
        };
        match claims.get("iss") {
            None => {}
            Some(Value::String(issuer)) if *issuer == self.settings.issuer => {}
            Some(_) => return Err(Bad::new("the token is of another issuer")),
        }
        match claims.get("aud") {
            Some(Value::Array(audiences)) if audiences.iter().any(of) => {}
            Some(audience) if of(audience) => {}
            Some(_) => return Err(Bad::new("the token is for another audience")),
            None => return Err(Bad::new("the token is for nobody in particular: the answer has no `aud`")),
        }
        let time = |name: &'static str| match claims.get(name) {
            None => Ok(None),
            Some(value) => match value.as_u64().filter(|seconds| *seconds < 253_402_300_800) {
                Some(seconds) => Ok(Some(SystemTime::UNIX_EPOCH + Span::from_secs(seconds))),
                None => Err(Bad::new(format!("the answer's `{name}` is no time"))),
            },
        };
        let again = now + self.settings.remember.get();
        let end = time("exp")?;
        if end.is_some_and(|end| end <= now) {
            return Err(Bad::new("the token has expired"));
        }
        if time("nbf")?.is_some_and(|start| start > now) {
            return Err(Bad::new("the token is not valid yet"));
        }
        let Some(subject) = claims.get("sub").and_then(Value::as_str).filter(|subject| !subject.is_empty())
        else {
            return Err(Bad::new("the answer has no `sub`"));
        };
        let name = format!("{}:{subject}", self.settings.issuer);
        let credential =
            Credential::new(Method::OAuth2, &name).map_err(|error| Bad::new(error.to_string()))?;
        let left = end.map(|end| end.duration_since(now).unwrap_or_default());
        let until = left.and_then(|left| Instant::now().checked_add(left));
        let credential = credential.with_claims(claims);
        let credential = match until {
            Some(until) => credential.until(until),
            None => credential,
        };
        Ok((credential, end.map_or(again, |end| end.min(again))))
    }
}

impl Asking {
    /// Asks. The error is for the log.
    async fn ask(&self, token: &[u8]) -> Result<Bytes, String> {
        let Ok(Ok(_turn)) = tokio::time::timeout(PATIENCE, self.turns.acquire()).await else {
            return Err(format!("introspection: {AT_ONCE} questions are under way"));
        };
        self.ask_now(token).await
    }

    /// Asks without waiting for a turn.
    async fn ask_now(&self, token: &[u8]) -> Result<Bytes, String> {
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
