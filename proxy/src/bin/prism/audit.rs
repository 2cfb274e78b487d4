//! `prism audit`: whether a log is as it was written.

use clap::{Args, Subcommand, ValueEnum};
use prism_audit::{
    Hash, PublicKey,
    verify::{self, Options, Report, Verdict},
};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    fmt::Write as _,
    io::Write,
    path::{Path, PathBuf},
    process::ExitCode,
};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Check audit logs: every line, every link, every signature. Says what is wrong first.
    ///
    /// Exits with 0 if all are intact, 1 if one is broken, 2 if it was called wrongly or a file cannot be read, and 3 if one
    /// is intact but for half a line at its very end, which a crash leaves behind.
    Verify(Verify),
}

#[derive(Args)]
pub(crate) struct Verify {
    /// The folder of a log, or some of its segments.
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// The hash of a line that has to be in the log: a head that was kept elsewhere. May be given several times.
    #[arg(long, value_name = "HEAD")]
    expect: Vec<Hash>,
    /// The public key that has to have signed the log, in PEM. Several times: any of them.
    #[arg(long, value_name = "PUBLIC.pem")]
    key: Vec<PathBuf>,
    /// Nobody writes the log any more, so its last segment has to be ended too.
    #[arg(long)]
    closed: bool,
    /// How to say it.
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people.
    Text,
    /// One JSON object.
    Json,
}

const BROKEN: u8 = 1;
const MISUSED: u8 = 2;
const TORN: u8 = 3;

pub(crate) fn run(command: &Command) -> ExitCode {
    let Command::Verify(verify) = command;
    match verify.run() {
        Ok(code) => code.into(),
        Err(message) => {
            // Where nobody listens, the exit status says it.
            let _ = writeln!(std::io::stderr(), "prism: {message}");
            MISUSED.into()
        }
    }
}

impl Verify {
    fn run(&self) -> Result<u8, String> {
        let keys = self.key.iter().map(|path| PublicKey::load(path).map_err(|error| error.to_string()));
        let options = Options {
            expect: self.expect.clone(),
            keys: keys.collect::<Result<_, _>>()?,
            closed: self.closed,
        };
        let logs = self.logs();
        if logs.len() > 1 && !options.expect.is_empty() {
            return Err("--expect is about one log: check it by itself".to_owned());
        }
        let mut code = 0;
        let (mut text, mut all) = (String::new(), Vec::new());
        for (name, paths) in &logs {
            let report = verify::check(paths, &options).map_err(|error| error.to_string())?;
            code = match (code, report.verdict) {
                (BROKEN, _) | (_, Verdict::Broken) => BROKEN,
                (_, Verdict::Torn) => TORN,
                (code, Verdict::Intact) => code,
            };
            // A String takes every write.
            let _ = say(&mut text, name, &report);
            let mut shown = serde_json::to_value(&report).map_err(|error| error.to_string())?;
            shown["path"] = name.display().to_string().into();
            all.push(shown);
        }
        if self.output == Output::Json {
            text = format!("{:#}\n", json!({ "logs": Value::Array(all) }));
        }
        std::io::stdout().write_all(text.as_bytes()).map_err(|error| error.to_string())?;
        Ok(code)
    }

    /// What is to be checked together: a folder, or the files of one.
    fn logs(&self) -> BTreeMap<PathBuf, Vec<PathBuf>> {
        let mut logs: BTreeMap<PathBuf, Vec<PathBuf>> = BTreeMap::new();
        for path in &self.paths {
            let name = if path.is_dir() { path } else { path.parent().unwrap_or(Path::new("")) };
            logs.entry(name.to_owned()).or_default().push(path.clone());
        }
        logs
    }
}

fn say(out: &mut String, name: &Path, report: &Report) -> std::fmt::Result {
    let name = name.display();
    match (&report.problem, report.verdict) {
        (Some(problem), _) => {
            writeln!(out, "{name}: BROKEN\n  {problem}")?;
            writeln!(out, "  good up to there: {} lines, the last is number {}", report.lines, report.seq)?;
            return Ok(());
        }
        (None, Verdict::Torn) => writeln!(
            out,
            "{name}: intact, but for {} bytes of half a line at its end: it was written when the process or the machine \
             died (or is being written just now)",
            report.torn_bytes
        )?,
        // A log is signed when its first segment ends: until then the keys that were given have said nothing.
        (None, _) if report.keys_given && report.signatures == 0 => {
            writeln!(
                out,
                "{name}: intact, but there is no signature in it that --key could be checked with"
            )?;
        }
        (None, _) => writeln!(out, "{name}: intact")?,
    }
    let kinds: Vec<String> = report.kinds.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
    writeln!(
        out,
        "  log {}, {} segments from number {}, the last one {}",
        report.log.as_deref().unwrap_or("?"),
        report.segments,
        report.first_segment,
        if report.closed { "ended" } else { "open" },
    )?;
    writeln!(out, "  {} lines: {}", report.lines, kinds.join(", "))?;
    writeln!(out, "  head {} (number {})", report.head, report.seq)?;
    for key in &report.keys {
        let whose = if report.keys_given {
            "as given"
        } else {
            "which the log itself names: pass --key to be sure whose it is"
        };
        writeln!(out, "  signed by {key}, {whose}")?;
    }
    if report.signatures == 0 {
        writeln!(out, "  nothing in it is signed yet")?;
    }
    if report.dropped + report.refused > 0 {
        writeln!(
            out,
            "  the proxy itself says that {} records are missing, and that it refused {} calls unrecorded",
            report.dropped, report.refused
        )?;
    }
    Ok(())
}
