//! `cargo xtask bench compare` after the building: prism-edge beside other proxies, the same echo behind each.
// Talking to the person at the terminal is what this program is for.
#![allow(clippy::print_stderr)]

mod call;
mod child;
mod client;
mod error;
mod issuer;
mod load;
mod peers;
mod proof;
mod report;
mod round;
mod sample;
mod stream;
mod visit;
mod workload;

use clap::Parser;
use error::{Error, io};
use peers::{Peer, Programs};
use prism_platform::raise_open_files;
use report::Stamp;
use round::Plan;
use std::{io::Write, path::PathBuf, process::ExitCode, thread, time::Duration};
use tokio::{
    runtime::{Builder, Runtime},
    signal::unix::{SignalKind, signal},
};
use visit::Visit;
use workload::Workload;

/// Compares proxies in front of the same plugin.
#[derive(Parser)]
struct Arguments {
    /// How often every peer is visited by every workload.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds that a visit is measured for.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Only these peers, separated by commas.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Only these workloads, separated by commas.
    #[arg(long, value_delimiter = ',')]
    shapes: Vec<String>,
    /// One round of short visits: to see that it works, not to compare.
    #[arg(long)]
    quick: bool,
    /// Where the results go.
    #[arg(long, default_value = "bench/results")]
    out: PathBuf,
    /// Where prism-edge, edge, echo-plugin and relay are. Default: beside this program.
    #[arg(long)]
    bin: Option<PathBuf>,
    /// Say in the report that the programs were built for this run.
    #[arg(long)]
    built: bool,
    /// Where `cargo xtask tools` puts programs.
    #[arg(long, default_value = "target/tools")]
    tools: PathBuf,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("compare: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), Error> {
    let runtime = io("build a runtime", Builder::new_current_thread().enable_all().build())?;
    watch_signals()?;
    child::pin(child::LOAD_CORE)?;
    let programs = Programs::find(arguments.bin.as_deref(), &arguments.tools)?;
    let plan = plan(arguments)?;
    let stamp = Stamp::take(&programs, arguments.built);
    // The comparison's own thousand connections.
    io("raise the limit of open files", raise_open_files())?;
    // Its drop removes it, on every way out of here.
    let folder =
        io("create a folder for the run", tempfile::Builder::new().prefix("prism-compare-").tempdir())?;
    let mut visits: Vec<Visit> = Vec::new();
    round::run(&plan, &programs, folder.path(), &runtime, |visit| {
        say(&report::line(&visit));
        visits.push(visit);
    })?;
    say(&format!("\n{}", report::write(&arguments.out, &plan, &stamp, &visits)?));
    Ok(())
}

/// Prints a line. A reader that closed the pipe (`| head`) has seen what it wanted; the results are files.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

fn plan(arguments: &Arguments) -> Result<Plan, Error> {
    let seconds = if arguments.quick { arguments.seconds.min(0.5) } else { arguments.seconds };
    if !(0.1..=3600.0).contains(&seconds) || arguments.rounds == 0 {
        return Err(Error::Usage("--seconds is 0.1 to 3600, --rounds at least 1".to_owned()));
    }
    let (peers, workloads) = choice(&arguments.only, &arguments.shapes)?;
    Ok(Plan {
        peers,
        workloads,
        rounds: if arguments.quick { 1 } else { arguments.rounds },
        measure: Duration::from_secs_f64(seconds),
        warm_up: Duration::from_secs_f64(seconds / 4.0),
        latency: Duration::from_secs_f64(seconds / 4.0),
    })
}

/// The peers and workloads of these names. Peers that none of the workloads visits are not started; who names one
/// is told.
fn choice(only: &[String], shapes: &[String]) -> Result<(Vec<Peer>, Vec<Workload>), Error> {
    let workloads = chosen(workload::all(), shapes, |workload: &Workload| workload.name)?;
    let (visited, idle): (Vec<Peer>, Vec<Peer>) = chosen(peers::all(), only, |peer: &Peer| peer.name)?
        .into_iter()
        .partition(|peer| workloads.iter().any(|workload| peer.takes(workload)));
    match idle.first() {
        Some(Peer { name, only_at: Some(at), .. }) if !only.is_empty() => {
            Err(Error::Usage(format!("`{name}` is compared at {at} only; add it to --shapes")))
        }
        _ => Ok((visited, workloads)),
    }
}

/// Those of `all` that `names` names; all, if it names none.
fn chosen<T>(all: Vec<T>, names: &[String], name: impl Fn(&T) -> &'static str) -> Result<Vec<T>, Error> {
    let known: Vec<&str> = all.iter().map(&name).collect();
    if let Some(unknown) = names.iter().find(|wanted| !known.contains(&wanted.as_str())) {
        return Err(Error::Usage(format!("`{unknown}` is none of {}", known.join(", "))));
    }
    Ok(all
        .into_iter()
        .filter(|one| names.is_empty() || names.iter().any(|wanted| wanted == name(one)))
        .collect())
}

/// SIGINT and SIGTERM are noticed by whoever waits, so that every child is ended by its owner.
fn watch_signals() -> Result<(), Error> {
    let runtime: Runtime = io("build a runtime", Builder::new_current_thread().enable_all().build())?;
    let mut signals = {
        let _inside = runtime.enter();
        let on = |kind| io("listen for signals", signal(kind));
        [on(SignalKind::interrupt())?, on(SignalKind::terminate())?]
    };
    // Lives as long as the process: it only waits.
    thread::spawn(move || {
        let [interrupt, terminate] = &mut signals;
        runtime.block_on(async {
            loop {
                tokio::select! { _ = interrupt.recv() => {} _ = terminate.recv() => {} }
                child::interrupt();
            }
        });
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choose(only: &[&str], shapes: &[&str]) -> Result<(Vec<&'static str>, usize), String> {
        let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        let (peers, workloads) = choice(&owned(only), &owned(shapes)).map_err(|error| error.to_string())?;
        Ok((peers.iter().map(|peer| peer.name).collect(), workloads.len()))
    }

    #[test]
    fn typed_calls_are_compared_at_one_shape() {
        let all = choose(&[], &[]).unwrap();
        assert_eq!(all.1, workload::all().len());
        let typed = |peers: &[&str]| peers.iter().filter(|peer| peer.ends_with("-typed")).count();
        assert_eq!(typed(&all.0), 3);
        assert_eq!(typed(&choose(&[], &["4x32", "idle"]).unwrap().0), 3);
        let rest = choose(&[], &["1x1", "stream", "idle"]).unwrap().0;
        let secured = |peers: &[&str]| peers.iter().filter(|peer| peer.contains("-secured")).count();
        assert_eq!((secured(&all.0), secured(&rest)), (3, 0));
        assert_eq!((typed(&rest), rest.len()), (0, all.0.len() - 6));
        let peer = peers::all().into_iter().find(|peer| peer.name == "prism-frames-typed").unwrap();
        let takes = workload::all().iter().filter(|workload| peer.takes(workload)).count();
        assert_eq!(takes, 1);
    }

    #[test]
    fn a_typed_call_stands_beside_execute() {
        let names = ["prism-builtin-typed", "prism-frames", "prism-builtin", "prism-frames-typed"];
        let chosen = choose(&names, &["4x32"]).unwrap().0;
        assert_eq!(chosen, ["prism-frames", "prism-frames-typed", "prism-builtin", "prism-builtin-typed"]);
    }

    #[test]
    fn what_cannot_be_compared_is_refused_by_name() {
        let refused = choose(&["prism-frames", "prism-frames-typed"], &["1x1"]).unwrap_err();
        assert!(refused.contains("`prism-frames-typed` is compared at 4x32 only"), "{refused}");
        assert!(choose(&["prism-typed"], &[]).unwrap_err().contains("prism-grpc-typed"));
        assert!(choose(&[], &["4x33"]).unwrap_err().contains("4x32"));
    }
}
