//! Filters without a proxy around them: what one call costs in them, and nothing else.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Response, header};
use prism_config::{AccessRule, Permission};
use prism_filters::{
    Body, BuildContext, Caller, Credential, Filter, FilterFuture, Method, Protocol, Registry, RequestContext,
    RequestStart, Terminal,
    authz::{Guarded, Policy},
    body::MessageLimits,
    metrics::Metrics,
    registry, run,
};
use prism_platform::Platform;
use prism_plugin_abi::Kind;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::{Value, json};
use std::{
    fs::Permissions,
    future::poll_fn,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tempfile::TempDir;

/// Room in an access log for every line of a run: a line that is dropped costs nothing, and would make the others
/// look cheap.
pub const LOG_BUFFER: &str = "256MiB";

/// What filters are built in.
pub struct Scene {
    platform: Platform,
    metrics: Arc<Metrics>,
    registry: Registry,
    folder: TempDir,
    guarded: Arc<dyn Guarded>,
}

/// A namespace in which the bench's caller may read.
struct Readable(Policy);

impl Guarded for Readable {
    fn policy(&self) -> &Policy {
        &self.0
    }

    fn kind(&self, _: &str) -> Option<Kind> {
        Some(Kind::Read)
    }
}

thread_local! {
    /// Who makes every call.
    static CALLER: Caller =
        Caller::new(Arc::new(Credential::new(Method::ApiKey, "bench").expect("a principal")));
    /// Who has issued the token of every secured call.
    static ISSUER: Issuer = Issuer::new();
}

/// The key of every call, where `auth` asks for one.
const KEY: &str = "bench-bench-bench-bench-bench";

fn key_file() -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, KEY.as_bytes());
    let hex: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("keys: [{{ name: bench, sha256: {hex} }}]")
}

/// RFC 8032 section 7.1, test 1, as OpenSSL writes a private key.
const AUDIT_KEY: &str = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n\
                         -----END PRIVATE KEY-----\n";

/// Signs one token, of the size that tokens with a few roles have.
struct Issuer {
    key: Ed25519KeyPair,
    header: HeaderValue,
}

impl Issuer {
    fn new() -> Self {
        let key = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).expect("a key");
        let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let roles: Vec<String> = (0..40).map(|role| format!("role-{role}")).collect();
        let claims = json!({ "iss": "bench", "sub": "bench", "aud": "bench", "exp": 4_102_444_800_u64, "roles": roles });
        let signed = format!("{}.{}", part(json!({ "alg": "EdDSA", "kid": "bench" })), part(claims));
        let token = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(key.sign(signed.as_bytes())));
        let header = HeaderValue::try_from(format!("Bearer {token}")).expect("a header");
        Self { key, header }
    }

    fn jwks(&self) -> Value {
        json!({ "keys": [self.jwk()] })
    }

    fn jwk(&self) -> Value {
        let x = URL_SAFE_NO_PAD.encode(self.key.public_key());
        json!({ "kty": "OKP", "crv": "Ed25519", "kid": "bench", "x": x })
    }
}

/// Writes what [`Scene::secured`]'s filters go by into a folder: the key of the audit log, and the issuer's keys.
///
/// # Panics
/// When they cannot be written.
#[must_use]
pub fn secrets(folder: &Path) -> (PathBuf, PathBuf) {
    let (key, jwks) = (folder.join("audit.pem"), folder.join("jwks.json"));
    std::fs::write(&key, AUDIT_KEY).expect("a file");
    std::fs::set_permissions(&key, Permissions::from_mode(0o600)).expect("permissions");
    std::fs::write(&jwks, ISSUER.with(Issuer::jwks).to_string()).expect("a file");
    (key, jwks)
}

/// The `Authorization` of every secured call. Its principal is `jwt:bench:bench`.
#[must_use]
pub fn authorization() -> HeaderValue {
    ISSUER.with(|issuer| issuer.header.clone())
}

impl Scene {
    /// # Panics
    /// When there is no folder to be had.
    #[must_use]
    pub fn new(platform: Platform) -> Self {
        Self {
            platform,
            metrics: Arc::new(Metrics::new().expect("metrics")),
            registry: registry::builtin(),
            folder: tempfile::tempdir().expect("a folder"),
            guarded: Arc::new(Readable(readable())),
        }
    }

    /// A filter by its name.
    ///
    /// # Panics
    /// When it cannot be built with these settings.
    #[must_use]
    pub fn filter(&self, name: &str, settings: &Value) -> Arc<dyn Filter> {
        let cx = BuildContext {
            platform: &self.platform,
            metrics: &self.metrics,
            base_dir: self.folder.path(),
            listener: "edge",
            changes: &prism_filters::Changes::default(),
            services: &prism_filters::NoServices,
        };
        match self.registry.build(name, settings, &cx, None) {
            Ok(filter) => filter,
            Err(error) => panic!("{error}: give `{name}` settings in bench/src/filters.rs"),
        }
    }

    /// `trace`, with its log written to `path`.
    #[must_use]
    pub fn trace(&self, path: &str) -> Arc<dyn Filter> {
        self.filter("trace", &json!({ "access_log": { "path": path, "buffer_bytes": LOG_BUFFER } }))
    }

    /// All that come with prism-edge, by name. A new one is part of it as soon as it is registered.
    #[must_use]
    pub fn all(&self) -> Vec<(&'static str, Arc<dyn Filter>)> {
        let build = |name| match name {
            "trace" => self.trace("/dev/null"),
            "auth" => {
                self.filter(name, &json!({ "api_keys": { "file": self.write("keys.yaml", &key_file()) } }))
            }
            // With its defaults.
            _ => self.filter(name, &Value::Null),
        };
        // Its log is written by a thread beside, which would be counted with it: see `secured`.
        let names = self.registry.schemas().map(|schema| schema.name).filter(|name| *name != "audit");
        names.map(|name| (name, build(name))).collect()
    }

    /// What a listener has that asks who calls and whether they may, and writes it down: `trace`, `audit`, `auth` with a token
    /// that has been seen before, and `authz`.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    #[must_use]
    pub fn secured(&self) -> Vec<Arc<dyn Filter>> {
        let (key, jwks) = secrets(self.folder.path());
        let jwt = json!({ "issuer": "bench", "audiences": ["bench"], "jwks": { "file": jwks } });
        let audit = json!({ "dir": self.folder.path().join("audit"), "key": key, "on_backpressure": "drop_and_count" });
        vec![
            self.trace("/dev/null"),
            self.filter("audit", &audit),
            self.filter("auth", &json!({ "jwt": jwt })),
            self.filter("authz", &Value::Null),
        ]
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).expect("a file");
        path
    }

    /// What the edge knows of a small unary call.
    #[must_use]
    pub fn start(&self) -> RequestStart {
        RequestStart {
            messages: Some(MessageLimits {
                max_message_bytes: 4 << 20,
                unary: true,
                gzip: false,
                stall_timeout: Duration::from_secs(30),
            }),
            metrics: Some(self.metrics.namespace("bench")),
            guarded: Some(Arc::clone(&self.guarded)),
            ..RequestStart::new(Protocol::Grpc, "bench")
        }
    }
}

fn readable() -> Policy {
    let rule = |principal: &str| AccessRule {
        principal: principal.to_owned(),
        permissions: [Permission::Read].into(),
        ..AccessRule::default()
    };
    Policy::new(&["key:bench", "jwt:bench:*"].map(rule).into_iter().collect()).expect("rules")
}

/// The end of the chain: an answer of two bytes and trailers.
#[derive(Clone, Copy, Debug)]
pub struct Answer {
    /// Whether the request's messages are checked and its operation is read first, as `plugin_dispatch` does.
    pub checks: bool,
}

impl Terminal for Answer {
    fn call<'a>(&'a self, cx: &'a RequestContext, request: &'a mut Request<Body>) -> FilterFuture<'a> {
        Box::pin(async move {
            if self.checks {
                cx.operation(request).await?;
                drain(std::mem::take(request.body_mut())).await;
            }
            Ok(Response::new(Body::succeeded(Bytes::from_static(b"ok").into())))
        })
    }
}

/// One call through a chain, to the last byte of its answer. Who makes it is known already.
///
/// # Panics
/// When a filter refuses it.
pub async fn call(filters: &[Arc<dyn Filter>], end: Answer, start: RequestStart, message: &Bytes) {
    let cx = RequestContext::new(start);
    CALLER.with(|caller| cx.set_caller(caller.clone()));
    let key = (HeaderName::from_static("x-api-key"), HeaderValue::from_static(KEY));
    pass(filters, end, &cx, message, key).await;
}

/// The same, by somebody who is to be found out by a token.
///
/// # Panics
/// When a filter refuses it.
pub async fn call_with_token(filters: &[Arc<dyn Filter>], end: Answer, start: RequestStart, message: &Bytes) {
    let key = (header::AUTHORIZATION, authorization());
    pass(filters, end, &RequestContext::new(start), message, key).await;
}

async fn pass(
    filters: &[Arc<dyn Filter>],
    end: Answer,
    cx: &RequestContext,
    message: &Bytes,
    (name, value): (HeaderName, HeaderValue),
) {
    let mut request = Request::post("/prism.data.v1.DataService/Execute")
        .header(HeaderName::from_static("content-type"), HeaderValue::from_static("application/grpc"))
        .header(HeaderName::from_static("te"), HeaderValue::from_static("trailers"))
        .header(name, value)
        .body(Body::whole(message.clone().into(), None))
        .expect("a request");
    let response = match run(filters, &end, cx, &mut request).await {
        Ok(response) => response,
        Err(rejection) => panic!("refused: {rejection}"),
    };
    drain(response.into_body()).await;
}

async fn drain(mut body: Body) {
    while let Some(frame) = poll_fn(|cx| body.poll_next(cx)).await {
        frame.expect("a body that does not break");
    }
}
