//! `cargo xtask drill`: figures that are times. It prints and asserts nothing.

use clap::Parser;
use h2::RecvStream;
use prism_proto::plugin::{ExecuteRequest, execute_request::Params};
use prism_tests::{
    DEMO, Proxy, Sidecar, Signal,
    client::{grpc::Client, http2},
    issuer::{Issuer, from_now},
    load::Load,
    wait, wire,
};
use ring::digest::{SHA256, digest};
use serde_json::{Value, json};
use std::time::{Duration, Instant, SystemTime};
use tonic::{Code, Status};

#[derive(Parser)]
struct Options {
    /// How often each drill is repeated.
    #[arg(long, default_value_t = 3)]
    rounds: u32,
}

/// How long calls are counted while the sidecar is dead.
const OUTAGE: Duration = Duration::from_secs(2);

#[tokio::main]
async fn main() {
    let options = Options::parse();
    println!("| drill | round | figure | value |\n| --- | --- | --- | --- |");
    for round in 1..=options.rounds {
        sidecar_death(round).await;
    }
    for round in 1..=options.rounds {
        drain(round).await;
    }
    for round in 1..=options.rounds {
        rights(round).await;
    }
}

fn row(drill: &str, round: u32, figure: &str, value: &str) {
    println!("| {drill} | {round} | {figure} | {value} |");
}

fn milliseconds(duration: Duration) -> String {
    format!("{:.2} ms", duration.as_secs_f64() * 1000.0)
}

async fn echo(client: &Client) -> Result<(), Status> {
    let params = Some(Params::RawParams("hello".into()));
    let message = ExecuteRequest { operation: "echo".into(), params, ..Default::default() };
    client.execute(message).await.map(drop)
}

/// `kill -9`, two seconds of outage, restart.
async fn sidecar_death(round: u32) {
    const DRILL: &str = "sidecar killed";
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("echo.sock");
    let mut sidecar = Sidecar::echo(&socket);
    let plugin = format!("  - {{ name: echo, type: sidecar, socket: '{}' }}\nnamespaces:", socket.display());
    let proxy = Proxy::start(
        &(DEMO.replace("namespaces:", &plugin) + "  - { name: mortal, backend: test, plugin: echo }\n"),
    );
    let client = Client::new(proxy.port(), "mortal");
    wait::until_async("the sidecar should serve", || async { echo(&client).await.ok() }).await;
    let others = Load::start(proxy.port(), "demo", 2);

    let killed = Instant::now();
    sidecar.process.kill();
    let mut first_refusal = None;
    let mut latencies = Vec::new();
    let mut other_codes = 0;
    while killed.elapsed() < OUTAGE {
        let start = Instant::now();
        if let Err(status) = echo(&client).await {
            latencies.push(start.elapsed());
            first_refusal.get_or_insert(killed.elapsed());
            other_codes += u32::from(status.code() != Code::Unavailable);
        }
    }
    latencies.sort_unstable();
    let share = |part: f64| {
        // Far below what an f64 holds exactly.
        #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let at = (latencies.len() as f64 * part) as usize;
        latencies.get(at.min(latencies.len().saturating_sub(1))).copied().unwrap_or_default()
    };
    row(DRILL, round, "kill to first UNAVAILABLE", &first_refusal.map_or("never".into(), milliseconds));
    row(DRILL, round, "refusals", &latencies.len().to_string());
    row(DRILL, round, "refusals with another code", &other_codes.to_string());
    row(DRILL, round, "time to refusal, p50", &milliseconds(share(0.5)));
    row(DRILL, round, "time to refusal, p99", &milliseconds(share(0.99)));
    row(DRILL, round, "time to refusal, max", &milliseconds(share(1.0)));

    sidecar.restart();
    let back = Instant::now();
    while echo(&client).await.is_err() && back.elapsed() < wait::GUARD {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    row(DRILL, round, "sidecar listens to first success", &milliseconds(back.elapsed()));
    let outcome = others.stop().await;
    row(DRILL, round, "calls of the other namespace", &outcome.calls.to_string());
    row(DRILL, round, "failures of the other namespace", &outcome.failures.len().to_string());
}

/// SIGTERM under load.
async fn drain(round: u32) {
    const DRILL: &str = "SIGTERM under load";
    let mut proxy = Proxy::start(DEMO);
    let load = Load::start(proxy.port(), "demo", 8);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let calls = load.calls();
    let asked = Instant::now();
    proxy.process.signal(Signal::TERM);
    let status = proxy.process.wait();
    let took = asked.elapsed();
    let outcome = load.stop().await;
    row(DRILL, round, "calls before the signal", &calls.to_string());
    row(DRILL, round, "calls lost", &outcome.lost().len().to_string());
    row(DRILL, round, "signal to exit", &milliseconds(took));
    row(DRILL, round, "exit status", &status.to_string());
}

/// A watch for each way to lose a right, and one that keeps its own: from the loss to the end of the watch.
async fn rights(round: u32) {
    const DRILL: &str = "a right ends";
    const NAME: &str = "https://id.example";
    const API_KEY: &str = "k7Qm2xZp9RtYvB4nL8sWc3Df";
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    // As an editor or a deployment does it: in one step.
    let write = |name: &str, text: &str| {
        std::fs::write(path("next"), text).unwrap();
        std::fs::rename(path("next"), path(name)).unwrap();
    };
    let issuers = [Issuer::new(NAME, "one"), Issuer::new(NAME, "two")];
    let jwks = |issuers: &[Issuer]| {
        let keys: Vec<Value> = issuers.iter().map(Issuer::key).collect();
        write("jwks.json", &json!({ "keys": keys }).to_string());
    };
    let hex: String =
        digest(&SHA256, API_KEY.as_bytes()).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    jwks(&issuers);
    write("keys.yaml", &format!("keys: [ {{ name: batch, sha256: {hex} }} ]"));
    let config = |bob: &str| {
        format!(
            "
admin: {{ address: '127.0.0.1:@admin@', socket: '@dir@/admin.sock' }}
listeners:
  - name: edge
    address: '127.0.0.1:@listen@'
    filters:
      - auth:
          any:
            - jwt: {{ issuer: '{NAME}', audiences: [drill], leeway: 1ms, jwks: {{ file: '{}' }} }}
            - api_keys: {{ file: '{}' }}
      - authz
      - plugin_dispatch
namespaces:
  - name: demo
    backend: memory
    access:
      - {{ principal: 'jwt:{NAME}:bob', permissions: [{bob}] }}
      - {{ principal: 'jwt:{NAME}:*-stays', permissions: [read] }}
      - {{ principal: 'key:batch', permissions: [read] }}
",
            path("jwks.json").display(),
            path("keys.yaml").display()
        )
    };
    let proxy = Proxy::start(&config("read"));
    let connection = http2::connect(proxy.port()).await;
    let watch = async |(name, value): (&str, String)| {
        let head = http2::head(
            "/prism.kv.v1.KeyValueService/Watch",
            &[("x-prism-namespace", "demo"), (name, &value)],
        );
        let mut send = connection.send.clone().ready().await.unwrap();
        let (response, mut stream) = send.send_request(head, false).unwrap();
        stream.send_data(wire::framed(b""), true).unwrap();
        let response = response.await.unwrap();
        assert!(!response.headers().contains_key("grpc-status"), "{:?}", response.headers());
        response.into_body()
    };
    let bearer = |token: String| ("authorization", format!("Bearer {token}"));
    let token = |issuer: &Issuer, subject: &str, seconds| {
        bearer(issuer.token(subject, "drill", seconds, &Value::Null))
    };
    let ended = async |mut body: RecvStream| {
        while let Some(piece) = body.data().await {
            piece.unwrap();
        }
        body.trailers().await.unwrap().unwrap()["grpc-status"].to_str().unwrap().to_owned()
    };
    let print = |what: &str, code: &str, took: Duration| {
        row(DRILL, round, &format!("{what}, status {code}"), &milliseconds(took));
    };
    let mut stays = watch(token(&issuers[0], "one-stays", 600)).await;

    let ends = SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(from_now(3)).unwrap());
    let expiring = watch(token(&issuers[0], "two-stays", 3)).await;
    let code = ended(expiring).await;
    print("token expired", &code, SystemTime::now().duration_since(ends).unwrap_or_default());

    let revoked = watch(token(&issuers[1], "three-stays", 600)).await;
    let start = Instant::now();
    jwks(&issuers[..1]);
    print("its key left the issuer's keys", &ended(revoked).await, start.elapsed());

    let keyed = watch(("x-api-key", API_KEY.to_owned())).await;
    let start = Instant::now();
    write("keys.yaml", "keys: []");
    print("API key taken away", &ended(keyed).await, start.elapsed());

    let ruled = watch(token(&issuers[0], "bob", 600)).await;
    let start = Instant::now();
    proxy.hang_up(&config("write"));
    print("rule changed (SIGHUP)", &ended(ruled).await, start.elapsed());

    let kept = tokio::time::timeout(Duration::from_secs(1), stays.data()).await.is_err();
    row(DRILL, round, "the others went on", if kept { "yes" } else { "no" });
}
