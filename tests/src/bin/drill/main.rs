//! `cargo xtask drill`: figures that are times. It prints and asserts nothing.

mod rights;

use clap::Parser;
use prism_proto::plugin::{ExecuteRequest, execute_request::Params};
use prism_tests::{DEMO, Proxy, Sidecar, Signal, client::grpc::Client, load::Load, wait};
use std::time::{Duration, Instant};
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
        rights::drill(round).await;
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
