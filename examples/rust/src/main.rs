//! A key-value client of Prism Edge: typed calls, errors, deadlines, retries, and a watch that is opened again.
//!
//! ```sh
//! cargo run -p kv-example             # shows everything once
//! cargo run -p kv-example -- --help   # lists the commands
//! ```

// Talking to the person at the terminal is what this program is for.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod client;
mod errors;
mod retry;

/// What the build script makes of `proto/prism/kv/v1/kv.proto`.
#[allow(missing_docs, unreachable_pub, unused_qualifications, rust_2018_idioms, clippy::all)]
mod kv {
    tonic::include_proto!("prism.kv.v1");
}

use clap::{Parser, Subcommand};
use client::Client;
use std::{borrow::Cow, process::ExitCode, time::Duration};
use tonic::Status;

/// A key-value client of Prism Edge.
#[derive(Parser)]
struct Options {
    /// Address of the proxy.
    #[arg(long, default_value = "127.0.0.1:50051")]
    address: String,
    /// Whose keys.
    #[arg(long, default_value = "demo")]
    namespace: String,
    /// Seconds that a call may take.
    #[arg(long, default_value = "5")]
    timeout: f64,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Show everything once (the default).
    Tour,
    /// Store a value.
    Set { key: String, value: String },
    /// Print a value.
    Get { key: String },
    /// Print what happens, until Ctrl-C.
    Watch { prefix: String },
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run(Options::parse()).await {
        Ok(code) => code,
        Err(status) => {
            eprintln!("{}", errors::explain(&status));
            ExitCode::FAILURE
        }
    }
}

async fn run(options: Options) -> Result<ExitCode, Status> {
    let timeout = Duration::try_from_secs_f64(options.timeout)
        .map_err(|error| Status::invalid_argument(format!("--timeout: {error}")))?;
    let client = Client::new(&options.address, &options.namespace, timeout)?;
    match options.command.unwrap_or(Command::Tour) {
        Command::Tour => tour(&client).await?,
        Command::Set { key, value } => {
            println!("{}", outcome(client.set(&key, value.into_bytes()).await?));
        }
        Command::Get { key } => {
            let value = client.get(&key).await?;
            if value.is_none() {
                eprintln!("{}", text(value.as_deref()));
                return Ok(ExitCode::FAILURE);
            }
            println!("{}", text(value.as_deref()));
        }
        Command::Watch { prefix } => {
            // It ends only with an error.
            match client.follow(&prefix, show).await? {}
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn outcome(applied: bool) -> &'static str {
    if applied { "applied" } else { "not applied" }
}

fn text(value: Option<&[u8]>) -> Cow<'_, str> {
    value.map_or("no such key".into(), String::from_utf8_lossy)
}

#[allow(clippy::needless_pass_by_value)] // as `follow` gives it
fn show(event: kv::WatchEvent) {
    println!("{} {} {}", event.kind().as_str_name(), event.key, text(Some(&event.value)));
}

/// Everything once.
async fn tour(client: &Client) -> Result<(), Status> {
    println!("set: {}", outcome(client.set("tour/greeting", b"hello".to_vec()).await?));
    println!("get: {}", text(client.get("tour/greeting").await?.as_deref()));
    println!("get an absent key: {}", text(client.get("tour/absent").await?.as_deref()));

    // A watch in the background sees what the foreground does.
    let mut events = client.watch("tour/", Duration::from_secs(60)).await?;
    let watcher = tokio::spawn(async move {
        for _ in 0..2 {
            if let Some(event) = events.message().await? {
                show(event);
            }
        }
        Ok::<_, Status>(())
    });
    client.set("tour/greeting", b"hello again".to_vec()).await?;
    client.delete(&["tour/greeting"]).await?;
    watcher.await.map_err(|error| Status::internal(error.to_string()))??;

    if let Err(status) = client.set("", b"no key".to_vec()).await {
        println!("error: {}", errors::explain(&status));
    }

    if let Err(status) = show_all(client, "tour/", Duration::from_millis(500)).await {
        println!("deadline: {:?}", status.code());
    }
    Ok(())
}

/// Shows events until the stream ends.
async fn show_all(client: &Client, prefix: &str, timeout: Duration) -> Result<(), Status> {
    let mut events = client.watch(prefix, timeout).await?;
    while let Some(event) = events.message().await? {
        show(event);
    }
    Ok(())
}
