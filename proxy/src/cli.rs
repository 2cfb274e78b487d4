//! The command line around the proxy, for this binary and for others that link more filters and plugins in.

mod explain;

use crate::{
    Builtins, ConfigFile, Options, Proxy, Refusal, check_files, config_registry, log_outcome, run_on_threads,
    watch,
};
use clap::{Parser, Subcommand};
use prism_config::Source;
use prism_filters::Registry;
use prism_platform::{Platform, avoid_huge_pages, end_now, raise_open_files};
use std::{
    io::Write,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::mpsc,
    thread,
    time::Duration,
};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// An L7 proxy for data access: gRPC and HTTP in, a chain of filters, a backend plugin at the end.
#[derive(Parser)]
#[command(name = "prism-edge", version, args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: Run,
}

#[derive(clap::Args)]
struct Run {
    /// The configuration file.
    #[arg(short, long, value_name = "FILE", default_value = "config/prism.yaml")]
    config: PathBuf,
    /// Apply the file again whenever it changes. SIGHUP does so at any time.
    #[arg(long)]
    watch: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Check a configuration file and say everything that is wrong with it. Exits with 1 if anything is.
    Check {
        /// The configuration file.
        #[arg(short, long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Say whether a caller may call an operation: which route the call takes, through which filters, and which access rule
    /// decides. Exits with 0 if it may, with 1 if it may not.
    Explain(Box<explain::Question>),
    /// Print the JSON Schema of the configuration, for editors.
    Schema,
}

/// Does what the process's arguments say, with these filters and builtin plugins, and answers what the process is to exit
/// with. A binary's `main` is a call of this; what it says goes to standard output and standard error.
///
/// Exits the process itself for `--help`, `--version` and arguments that make no sense.
#[must_use]
pub fn run(filters: Registry, builtins: Builtins) -> ExitCode {
    let arguments = Arguments::parse();
    match arguments.command {
        Some(Command::Check { config }) => check(&config, &filters, &builtins),
        Some(Command::Explain(question)) => explain::explain(&question, &filters, &builtins),
        Some(Command::Schema) => {
            let registry = config_registry(&filters, &builtins);
            print(format_args!("{:#}\n", registry.json_schema()))
        }
        None => serve(&arguments.run, filters, builtins),
    }
}

fn check(path: &Path, filters: &Registry, builtins: &Builtins) -> ExitCode {
    let registry = config_registry(filters, builtins);
    let checked = ConfigFile::new(path).read().and_then(|source| {
        let config = prism_config::parse(&source, &registry)?;
        Ok(check_files(&config, &source)?)
    });
    match checked {
        Ok(_) => print(format_args!("{}: ok\n", path.display())),
        Err(refusal) => fail(format_args!("{refusal}\n")),
    }
}

fn serve(arguments: &Run, filters: Registry, builtins: Builtins) -> ExitCode {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_target(false).init();
    if let Err(error) = raise_open_files() {
        tracing::warn!(%error, "cannot raise the limit of open files");
    }
    if let Err(error) = avoid_huge_pages() {
        tracing::debug!(%error, "cannot switch huge pages off");
    }
    let file = ConfigFile::new(&arguments.config);
    let source = match file.read() {
        Ok(source) => source,
        Err(refusal @ Refusal::Unreadable { .. }) => {
            return fail(format_args!("{refusal}: name one with `-c FILE`\n"));
        }
        Err(refusal) => return fail(format_args!("{refusal}\n")),
    };
    let watching = arguments.watch.then(|| source.text.clone());
    let options = options(source, file.clone(), filters, builtins);
    let watchdog = Watchdog::start();
    let result = run_on_threads(options, |proxy| until_told(proxy, file, watching, watchdog));
    match result {
        Ok(()) => {
            tracing::info!("stopped");
            ExitCode::SUCCESS
        }
        Err(error) => fail(format_args!("{error}\n")),
    }
}

fn options(source: Source, file: ConfigFile, filters: Registry, builtins: Builtins) -> Options {
    Options { platform: Platform::system(), filters, builtins, source, file: Some(file), admin: true }
}

/// Reloads on SIGHUP (and, if asked, whenever the file is no longer as it was when it was read) until SIGTERM or SIGINT.
fn until_told(
    proxy: &Proxy,
    file: ConfigFile,
    watching: Option<String>,
    watchdog: Watchdog,
) -> impl Future<Output = ()> + use<> {
    for (name, address) in proxy.listeners() {
        tracing::info!(listener = name, %address, "listening");
    }
    tracing::info!(version = proxy.first().version, "serving");
    let (control, ends_within) = (proxy.control(), proxy.ends_within());
    // Registered before this returns, so that no signal is lost between the two.
    let signals = [SignalKind::hangup(), SignalKind::terminate(), SignalKind::interrupt()].map(signal);
    async move {
        let [Ok(mut hangup), Ok(mut terminate), Ok(mut interrupt)] = signals else {
            tracing::error!("cannot listen for signals; stopping");
            return;
        };
        let watched = async {
            if let Some(running) = watching {
                let report = |result| log_outcome("file", None, &result);
                watch(file.clone(), Some(running), control.clone(), report).await;
            } else {
                std::future::pending::<()>().await;
            }
        };
        let reloading = async {
            while hangup.recv().await.is_some() {
                log_outcome("file", None, &file.reload(&control).await);
            }
        };
        tokio::select! {
            () = told(&mut terminate, "SIGTERM", &watchdog, &ends_within) => {}
            () = told(&mut interrupt, "SIGINT", &watchdog, &ends_within) => {}
            () = watched => {}
            () = reloading => {}
        }
    }
}

/// Sees to it that the process ends when it was told to, also when a thread that somebody else's code keeps would not let
/// it. A thread of its own from the start: by then none may be to be had.
struct Watchdog(mpsc::Sender<Duration>);

impl Watchdog {
    fn start() -> Self {
        let (sender, receiver) = mpsc::channel::<Duration>();
        // Without it the process runs as well.
        let _ = thread::Builder::new().name("prism-watchdog".to_owned()).spawn(move || {
            let Ok(within) = receiver.recv() else { return };
            thread::sleep(within);
            let _ = std::io::stderr().write_all(
                b"the proxy was told to stop and did not end in time: something that it waits for hangs. It ends now.\n",
            );
            end_now();
        });
        Self(sender)
    }

    fn arm(&self, within: Duration) {
        let _ = self.0.send(within);
    }
}

async fn told(signal: &mut Signal, name: &str, watchdog: &Watchdog, within: &impl Fn() -> Duration) {
    signal.recv().await;
    watchdog.arm(within());
    tracing::info!("{name}: draining");
}

fn print(text: std::fmt::Arguments<'_>) -> ExitCode {
    // A reader that closed the pipe (`| head`) has seen what it wanted.
    let _ = std::io::stdout().lock().write_fmt(text);
    ExitCode::SUCCESS
}

fn fail(text: std::fmt::Arguments<'_>) -> ExitCode {
    let _ = std::io::stderr().lock().write_fmt(text);
    ExitCode::FAILURE
}
