//! What each deployment model adds to a call, beside the RFC's budget for it (RFC-008, "Performance Benchmarks":
//! overhead against calling the backend itself). Small unary calls, one at a time, trace and access log on.
// A table is the purpose of this program.
#![allow(clippy::print_stdout)]

use prism_bench::{
    client::{Client, echo_request},
    proxy,
};
use prism_platform::time::Instant;
use std::time::Duration;

/// Calls to each: enough for a 99th percentile.
const CALLS: usize = 5_000;
/// Calls before those.
const WARM: usize = 500;
/// Payload in bytes.
const SMALL: usize = 128;

/// The budgets: a builtin is in process, a sidecar is beside the proxy whatever it speaks.
const MODELS: [(&str, &str, &str); 3] = [
    ("builtin", "in process", "0.1 ms"),
    ("frames", "sidecar, frames", "1 to 2 ms"),
    ("grpc", "sidecar, gRPC", "1 to 2 ms"),
];

fn main() {
    let folder = tempfile::tempdir().expect("a folder");
    let running = proxy::start(folder.path());
    let message = echo_request(SMALL);
    let mut clients = vec![Client::direct(&running.echo)];
    clients.extend(MODELS.map(|(namespace, _, _)| Client::connect(running.port, namespace)));
    let mut times = vec![Vec::with_capacity(CALLS); clients.len()];
    for round in 0..WARM + CALLS {
        // In turn, so that whatever disturbs the machine disturbs all of them.
        for (client, times) in clients.iter().zip(&mut times) {
            let began = Instant::now();
            assert!(client.call(&message) > SMALL);
            if round >= WARM {
                times.push(began.elapsed());
            }
        }
    }
    times.iter_mut().for_each(|times| times.sort_unstable());

    let direct = &times[0];
    println!("a unary call of {SMALL} B, one at a time, {CALLS} calls each in turn\n");
    println!("| model | p50 | p99 | added at p50 | added at p99 | RFC-008's budget |");
    println!("| --- | --- | --- | --- | --- | --- |");
    println!("| the echo's gRPC server itself | {} | {} | | | |", ms(p(direct, 50)), ms(p(direct, 99)));
    for ((_, model, budget), times) in MODELS.iter().zip(&times[1..]) {
        let [p50, p99] = [50, 99].map(|percent| p(times, percent));
        let [added50, added99] = [50, 99].map(|percent| added(p(times, percent), p(direct, percent)));
        println!("| {model} | {} | {} | {added50} | {added99} | {budget} |", ms(p50), ms(p99));
    }
    println!("\nA remote plugin (gRPC over mTLS, 5 to 10 ms) is not among them: the proxy has none yet.");
}

fn p(sorted: &[Duration], percent: usize) -> Duration {
    sorted[(sorted.len() * percent / 100).min(sorted.len() - 1)]
}

fn ms(time: Duration) -> String {
    format!("{:.3} ms", time.as_secs_f64() * 1e3)
}

/// The difference, which a builtin can make negative: it saves a process.
fn added(time: Duration, direct: Duration) -> String {
    format!("{:+.3} ms", (time.as_secs_f64() - direct.as_secs_f64()) * 1e3)
}
