//! A watch for each kind of credential and each way to lose its right, and watches that keep theirs: from the loss to the end
//! of the watch.

use super::{milliseconds, row};
use h2::RecvStream;
use prism_tests::{
    Pki, Proxy,
    client::{http2::Connection, tls, watch},
    issuer::{Answering, Issuer, from_now},
    sha256,
};
use prism_tls::{ClientFiles, testing::end};
use rcgen::CertificateParams;
use serde_json::{Value, json};
use std::{
    fmt::Write as _,
    time::{Duration, Instant, SystemTime},
};

const DRILL: &str = "a right ends";
const NAME: &str = "https://id.example";
/// Long enough for what is not to end while the drill runs.
const HOUR: i64 = 3600;
/// Until what is to expire does: certificates and tokens say it in whole seconds.
const SOON: i64 = 3;

/// What happens to a credential.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Loss {
    Expires,
    Revoked,
    Ruled,
    None,
}

const LOSSES: [(Loss, &str); 4] =
    [(Loss::Expires, "expired"), (Loss::Revoked, "revoked"), (Loss::Ruled, "rule"), (Loss::None, "stays")];

/// The files and services that credentials are judged by.
struct World {
    pki: Pki,
    issuers: [Issuer; 2],
    answering: Answering,
}

impl World {
    fn new() -> Self {
        let pki = Pki::new();
        pki.folder.identity("edge", &pki.authority.identity(&["127.0.0.1"], |_| {}));
        let issuers = [Issuer::new(NAME, "one"), Issuer::new(NAME, "two")];
        Self { pki, issuers, answering: Answering::new() }
    }

    /// As an editor or a deployment does it: in one step.
    fn write(&self, name: &str, text: &str) {
        let next = self.pki.folder.write("next", text);
        std::fs::rename(next, self.pki.path(name)).unwrap();
    }

    fn revoke(&self, serials: &[u64]) {
        let list = self.pki.authority.revoked(serials, SystemTime::now() + Duration::from_secs(3600));
        self.write("ca.crl", &list);
    }

    fn sign(&self, issuers: &[Issuer]) {
        let keys: Vec<Value> = issuers.iter().map(Issuer::key).collect();
        self.write("jwks.json", &json!({ "keys": keys }).to_string());
    }

    fn keys(&self, all: &[(Loss, &str)], expires: SystemTime) {
        let mut text = "keys:\n".to_owned();
        for (loss, name) in all {
            let hex = sha256(&key(name));
            let more = match loss {
                Loss::Expires => format!(", expires: '{}'", humantime::format_rfc3339_seconds(expires)),
                _ => String::new(),
            };
            writeln!(text, "  - {{ name: {name}, sha256: {hex}{more} }}").unwrap();
        }
        self.write("keys.yaml", &text);
    }

    /// What an opaque token is told to be.
    fn tell(&self, name: &str, seconds: i64) {
        let answer = json!({
            "active": true, "sub": name, "aud": "drill", "exp": from_now(seconds), "iss": NAME,
        });
        self.answering.set(&format!("opaque-{name}"), &answer);
    }

    /// Everybody may read, but for whom a rule takes it away.
    fn config(&self, ruled: &str) -> String {
        let mut rules = String::new();
        for prefix in ["spiffe://drill/", "jwt:https://id.example:", "oauth2:https://id.example:", "key:"] {
            for (_, name) in LOSSES {
                let what = if name == "rule" { ruled } else { "read" };
                writeln!(rules, "      - {{ principal: '{prefix}{name}', permissions: [{what}] }}").unwrap();
            }
        }
        let path = |name| self.pki.path(name);
        format!(
            "
admin: {{ address: '127.0.0.1:@admin@', socket: '@dir@/admin.sock' }}
listeners:
  - name: edge
    address: '127.0.0.1:@listen@'
    filters:
      - tls: {{ cert: '{}', key: '{}', client_ca: '{}', client_auth: optional, crls: ['{}'] }}
      - auth:
          any:
            - mtls: {{}}
            - jwt: {{ issuer: '{NAME}', audiences: [drill], leeway: 1ms, jwks: {{ file: '{}' }} }}
            - oauth2:
                issuer: '{NAME}'
                audiences: [drill]
                remember: 1s
                introspection: {{ url: '{}', client_id: edge, client_secret: a-long-secret-of-the-drill }}
            - api_keys: {{ file: '{}' }}
      - authz
      - plugin_dispatch
namespaces:
  - name: demo
    backend: memory
    access:
{rules}",
            path("edge.crt"),
            path("edge.key"),
            path("ca.crt"),
            path("ca.crl"),
            path("jwks.json"),
            self.answering.url(),
            path("keys.yaml"),
        )
    }

    /// A client with a certificate of that name and number.
    fn client(&self, name: &str, serial: u64, until: SystemTime) -> ClientFiles {
        let identity = self.pki.authority.identity(&[], |params: &mut CertificateParams| {
            let uri = format!("spiffe://drill/{name}");
            params.subject_alt_names.push(rcgen::SanType::URI(uri.as_str().try_into().unwrap()));
            params.serial_number = Some(serial.into());
            end(params, until);
        });
        ClientFiles {
            ca: self.pki.path("ca.crt").into(),
            identity: Some(self.pki.folder.identity(name, &identity)),
        }
    }
}

/// Keys as people make them: long and all different.
fn key(name: &str) -> String {
    format!("k7Qm2xZp9RtYvB4nL8sW-{name}")
}

/// Waits for the end of a watch: how it ended, and when.
async fn ended(stream: RecvStream) -> (String, Instant, SystemTime) {
    let how = match watch::ended(stream).await {
        Ok(status) => format!("status {status}"),
        Err(error) => error.to_string(),
    };
    (how, Instant::now(), SystemTime::now())
}

/// One kind of credential: its watches, each with what will happen to it.
struct Kind {
    name: &'static str,
    watches: Vec<(Loss, RecvStream)>,
    /// Connections of their own, where they have any.
    _connections: Vec<Connection>,
}

pub(super) async fn drill(round: u32) {
    let world = World::new();
    let whole = u64::try_from(from_now(SOON)).unwrap();
    let expires = SystemTime::UNIX_EPOCH + Duration::from_secs(whole);
    let later = SystemTime::now() + Duration::from_secs(3600);
    world.revoke(&[]);
    world.sign(&world.issuers);
    world.keys(&LOSSES, expires);
    let proxy = Proxy::start(&world.config("read"));
    let nobody = ClientFiles { ca: world.pki.path("ca.crt").into(), identity: None };
    let shared = tls::http2(proxy.port(), &nobody).await.unwrap();

    let mut kinds = ["certificate", "JWT", "OAuth2 token", "API key"].map(|name| Kind {
        name,
        watches: Vec::new(),
        _connections: Vec::new(),
    });
    for (serial, (loss, name)) in LOSSES.into_iter().enumerate() {
        // From the second of now, which is perhaps not that of the beginning any more.
        let left = i64::try_from(whole).unwrap() - from_now(0);
        let (seconds, until) = if loss == Loss::Expires { (left, expires) } else { (HOUR, later) };
        let files = world.client(name, serial as u64 + 1, until);
        let own = tls::http2(proxy.port(), &files).await.unwrap();
        kinds[0].watches.push((loss, watch::open(&own, &[]).await));
        kinds[0]._connections.push(own);

        let issuer = &world.issuers[usize::from(loss == Loss::Revoked)];
        let token = issuer.token(name, "drill", seconds, &Value::Null);
        kinds[1]
            .watches
            .push((loss, watch::open(&shared, &[("authorization", &format!("Bearer {token}"))]).await));
        world.tell(name, seconds);
        let token = format!("Bearer opaque-{name}");
        kinds[2].watches.push((loss, watch::open(&shared, &[("authorization", &token)]).await));
        kinds[3].watches.push((loss, watch::open(&shared, &[("x-api-key", &key(name))]).await));
    }

    let take = |kinds: &mut [Kind; 4], wanted: Loss| {
        kinds.each_mut().map(|kind| {
            let at = kind.watches.iter().position(|(loss, _)| *loss == wanted).unwrap();
            (kind.name, tokio::spawn(ended(kind.watches.swap_remove(at).1)))
        })
    };
    for (name, watch) in take(&mut kinds, Loss::Expires) {
        let (how, _, at) = watch.await.unwrap();
        tell(round, name, "expired", &how, at.duration_since(expires).unwrap_or_default());
    }

    for (name, watch) in take(&mut kinds, Loss::Revoked) {
        // One after the other, so that none is ended by another's.
        let since = Instant::now();
        match name {
            "certificate" => world.revoke(&[2]),
            "JWT" => world.sign(&world.issuers[..1]),
            "OAuth2 token" => world.answering.set("opaque-revoked", &json!({ "active": false })),
            _ => world.keys(&LOSSES[2..], expires),
        }
        let (how, at, _) = watch.await.unwrap();
        tell(round, name, "revoked", &how, at - since);
    }

    let watches = take(&mut kinds, Loss::Ruled);
    let since = Instant::now();
    proxy.hang_up(&world.config("write"));
    for (name, watch) in watches {
        let (how, at, _) = watch.await.unwrap();
        tell(round, name, "rule changed (SIGHUP)", &how, at - since);
    }

    let mut still = 0;
    for kind in &mut kinds {
        for (_, watch) in &mut kind.watches {
            still += u32::from(tokio::time::timeout(Duration::from_millis(500), watch.data()).await.is_err());
        }
    }
    row(DRILL, round, "others that went on, of 4", &still.to_string());
}

fn tell(round: u32, kind: &str, what: &str, how: &str, took: Duration) {
    row(DRILL, round, &format!("{kind}: {what}; {how}"), &milliseconds(took));
}
