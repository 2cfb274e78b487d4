//! `cargo xtask bench count` after the building: instructions (by callgrind) and allocations of every piece of work
//! of [`prism_bench::count`], beside what bench/counts.json says they were.
// Talking to the person at the terminal is what this program is for.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod callgrind;
mod figures;
mod table;

use clap::{Parser, Subcommand};
use figures::{Count, Figures};
use prism_bench::count;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

// As in `prism-edge` itself, whose instructions these stand for.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Counts instructions and allocations.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    inner: Option<Inner>,
    /// Only what has one of these in its name, separated by commas.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Write the counts to the file instead of comparing them with it.
    #[arg(long)]
    bless: bool,
    /// The file with the counts to compare with.
    #[arg(long, default_value = "bench/counts.json")]
    file: PathBuf,
}

#[derive(Subcommand)]
enum Inner {
    /// Do one piece of work: what callgrind is put around.
    #[command(hide = true)]
    Work {
        /// Its name.
        name: String,
        /// How often, if not as often as it is counted: for a profiler that needs time.
        #[arg(long)]
        times: Option<u32>,
    },
}

/// Why nothing was counted.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(
        "valgrind is not installed: `apt-get install valgrind` (`cargo xtask bench count` does it where it may)"
    )]
    NoValgrind,
    #[error("cannot start `{program}`: {source}")]
    Start { program: String, source: std::io::Error },
    #[error("`{program}` failed ({status}): {said}")]
    Failed { program: String, status: std::process::ExitStatus, said: String },
    #[error("cannot read what `{program}` counted: {problem}")]
    Output { program: String, problem: String },
    #[error("{path}: {problem}")]
    File { path: PathBuf, problem: String },
    #[error("nothing is called like {0}; choose among:\n  {1}")]
    Unknown(String, String),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Some(Inner::Work { name, times }) = &arguments.inner {
        return work(name, *times);
    }
    match run(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("count: {error}");
            ExitCode::FAILURE
        }
    }
}

fn work(name: &str, times: Option<u32>) -> ExitCode {
    let Some(scenario) = count::all().into_iter().find(|scenario| scenario.name == name) else {
        eprintln!("count: there is no work named `{name}`");
        return ExitCode::FAILURE;
    };
    let mut work = scenario.prepare();
    count::prism_counted(&mut work, times.unwrap_or(scenario.iterations));
    ExitCode::SUCCESS
}

/// Counts, and compares or writes. Whether nothing grew.
fn run(arguments: &Arguments) -> Result<bool, Error> {
    let chosen = chosen(&arguments.only)?;
    let before = Figures::read(&arguments.file)?;
    let allocations = allocations()?;
    let mut counts = BTreeMap::new();
    for scenario in &chosen {
        let count = Count {
            instructions: callgrind::instructions(scenario)?,
            allocations: figures::rounded(allocations.get(scenario.name).copied().unwrap_or_default()),
        };
        println!("{}", table::line(scenario.name, count, before.as_ref()));
        counts.insert(scenario.name.to_owned(), count);
    }
    let now = Figures { rustc: rustc(), counts };
    if arguments.bless {
        let whole = arguments.only.is_empty();
        let kept = before.filter(|_| !whole);
        now.blessed(kept).write(&arguments.file)?;
        println!("\n{} is written.", arguments.file.display());
        return Ok(true);
    }
    let all: Vec<&str> = count::all().iter().map(|scenario| scenario.name).collect();
    let verdict = figures::judge(before.as_ref(), &now, &all);
    println!("\n{}", verdict.text);
    Ok(verdict.passes)
}

fn chosen(only: &[String]) -> Result<Vec<count::Scenario>, Error> {
    let is_chosen = |name: &str| only.is_empty() || only.iter().any(|part| name.contains(part.as_str()));
    let chosen: Vec<_> = count::all().into_iter().filter(|scenario| is_chosen(scenario.name)).collect();
    if chosen.is_empty() {
        let names: Vec<&str> = count::all().iter().map(|scenario| scenario.name).collect();
        return Err(Error::Unknown(only.join(", "), names.join("\n  ")));
    }
    Ok(chosen)
}

/// Asks the program beside this one.
fn allocations() -> Result<BTreeMap<String, f64>, Error> {
    let own = std::env::current_exe()
        .map_err(|source| Error::Start { program: "count-allocations".to_owned(), source })?;
    let program = own.parent().unwrap_or(Path::new(".")).join("count-allocations");
    let output = said(Command::new(&program))?;
    serde_json::from_str(&output)
        .map_err(|error| Error::Output { program: program.display().to_string(), problem: error.to_string() })
}

fn rustc() -> String {
    said({
        let mut command = Command::new("rustc");
        command.arg("--version");
        command
    })
    .unwrap_or_else(|_| "unknown".to_owned())
    .trim()
    .to_owned()
}

/// Runs a program to its end. What it wrote to its output.
fn said(mut command: Command) -> Result<String, Error> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|source| Error::Start { program: program.clone(), source })?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(Error::Failed { program, status: output.status, said });
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
