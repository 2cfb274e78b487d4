//! What is shown and kept: a line per visit, and at the end tables, raw data and a chart.

mod goals;
mod markdown;
mod stamp;
mod svg;
mod table;

pub(crate) use stamp::Stamp;

use crate::{error::Error, round::Plan, visit::Visit};
use serde::Serialize;
use std::{fs, path::Path};
use table::Table;

/// One visit, for who watches.
pub(crate) fn line(visit: &Visit) -> String {
    let with = |value: Option<f64>, digits: usize| {
        value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
    };
    if visit.idle_bytes.is_some() {
        let kib = with(visit.idle_bytes.map(|bytes| bytes / 1024.0), 1);
        return format!(
            "{:>2} {:<9} {:<19} {kib:>8} KiB per connection",
            visit.round, visit.workload, visit.peer
        );
    }
    format!(
        "{:>2} {:<9} {:<19} {:>8}/s  proxy {:>8} µs  plugin {:>8} µs  p50 {:>6}  p99 {:>6} µs{}",
        visit.round,
        visit.workload,
        visit.peer,
        with(visit.rate, 0),
        with(visit.proxy_us, 2),
        with(visit.plugin_us, 2),
        with(visit.p50_us, 0),
        with(visit.p99_us, 0),
        if Table::is_noisy(visit) {
            format!("  too noisy: steal {:.1} %, others {:.1} %", visit.steal * 100.0, visit.others * 100.0)
        } else {
            String::new()
        },
    )
}

/// Everything that `compare.json` holds.
#[derive(Serialize)]
struct Raw<'a> {
    stamp: &'a Stamp,
    rounds: usize,
    measured_seconds: f64,
    visits: &'a [Visit],
}

/// Writes `compare.md`, `compare.json` and `compare.svg`, and returns the first.
pub(crate) fn write(folder: &Path, plan: &Plan, stamp: &Stamp, visits: &[Visit]) -> Result<String, Error> {
    fs::create_dir_all(folder).map_err(|source| Error::Write { path: folder.to_path_buf(), source })?;
    let write = |name: &str, text: &str| {
        let path = folder.join(name);
        fs::write(&path, text).map_err(|source| Error::Write { path, source })
    };
    let table = Table { visits };
    let raw = Raw { stamp, rounds: plan.rounds, measured_seconds: plan.measure.as_secs_f64(), visits };
    let json = serde_json::to_string_pretty(&raw)
        .map_err(|error| Error::Write { path: folder.join("compare.json"), source: error.into() })?;
    write("compare.json", &(json + "\n"))?;
    let foot =
        format!("{} · {} · commit {} · ~ ±: see compare.md", stamp.date, stamp.processor, stamp.commit);
    write("compare.svg", &svg::chart(plan, &table, &foot))?;
    let markdown = markdown::report(plan, stamp, &table);
    write("compare.md", &markdown)?;
    Ok(markdown)
}
