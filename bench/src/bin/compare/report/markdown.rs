//! The tables.

use super::{
    goals::{self, Bound},
    stamp::Stamp,
    table::{OTHERS, SPREAD, STEAL, Table},
};
use crate::{
    round::Plan,
    visit::Visit,
    workload::{Kind, Workload},
};
use std::fmt::Write;

/// The whole report.
pub(crate) fn report(plan: &Plan, stamp: &Stamp, table: &Table<'_>) -> String {
    let mut text = String::new();
    head(&mut text, plan, stamp);
    verdicts(&mut text, table);
    for workload in &plan.workloads {
        match workload.kind {
            Kind::Idle { .. } => idle(&mut text, plan, table, workload),
            _ => figures(&mut text, plan, table, workload),
        }
    }
    noise(&mut text, table);
    text
}

// Writing to a String does not fail, so the results of `write!` are dropped below.

fn head(text: &mut String, plan: &Plan, stamp: &Stamp) {
    let _ = write!(
        text,
        "# Comparison\n\nWritten by `cargo xtask bench compare`; raw rounds in [compare.json](compare.json).\n\n\
         ![The comparison as bars](compare.svg)\n\n\
         | | |\n| --- | --- |\n| date | {} |\n| commit | {} |\n| build | {} |\n| processor | {} |\n| kernel | {} |\n",
        stamp.date, stamp.commit, stamp.build, stamp.processor, stamp.kernel
    );
    for (program, version) in &stamp.versions {
        let _ = writeln!(text, "| {program} | {version} |");
    }
    let _ = writeln!(
        text,
        "| rounds | {}, each visit measured for {} s after {} s of warm-up |\n",
        plan.rounds,
        plan.measure.as_secs_f64(),
        plan.warm_up.as_secs_f64()
    );
    text.push_str(
        "The proxy has core 0 to itself, load, plugin and rig share core 1. CPU is user and system time of the \
         process, per call. Figures are medians over the rounds; ratios are medians of the ratios within a round. \
         Latencies are those under the shape's full load.\n\n",
    );
    let _ = writeln!(
        text,
        "A visit is too noisy to count when the hypervisor took more than {:.0} % of the two cores or other programs \
         used more than {:.0} %. `~`: fewer than three quiet rounds, so all count. `±`: CPU per call differs by more \
         than {:.0} % between the rounds that count.\n",
        STEAL * 100.0,
        OTHERS * 100.0,
        SPREAD * 100.0
    );
    text.push_str("| peer | what it is |\n| --- | --- |\n");
    for peer in &plan.peers {
        let _ = writeln!(text, "| {} | {} |", peer.name, peer.about);
    }
    text.push('\n');
}

fn verdicts(text: &mut String, table: &Table<'_>) {
    text.push_str("## What it must show\n\n| | goal | measured | |\n| --- | --- | --- | --- |\n");
    for goal in goals::all(table) {
        let bound = match goal.bound {
            Bound::AtMost(most) => format!("≤ {most}"),
            Bound::AtLeast(least) => format!("≥ {least}"),
            Bound::Toward(aim) => format!("toward {aim}"),
        };
        let (figure, verdict) = (measured(goal.measured), goal.verdict());
        let _ = writeln!(text, "| {} | {bound} | {figure}{} | {verdict} |", goal.what, goal.mark);
    }
    text.push('\n');
}

fn figures(text: &mut String, plan: &Plan, table: &Table<'_>, workload: &Workload) {
    let _ = write!(
        text,
        "## {}\n\n{}.\n\n| peer | calls/s | CPU proxy µs | ÷ HAProxy | above relay ÷ HAProxy's | CPU plugin µs \
         | p50 µs | p99 µs | p99.9 µs | peak RSS MiB |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n",
        workload.name,
        sentence(workload.about)
    );
    for peer in &plan.peers {
        let median = |figure: fn(&Visit) -> Option<f64>| table.median(peer.name, workload.name, figure);
        let Some(rate) = median(|visit| visit.rate) else { continue };
        let _ = writeln!(
            text,
            "| {}{} | {rate:.0} | {} | {} | {} | {} | {} | {} | {} | {} |",
            peer.name,
            table.mark(peer.name, workload.name),
            number(median(|visit| visit.proxy_us)),
            number(table.ratio(peer.name, "haproxy", workload.name, |visit| visit.proxy_us)),
            number(table.above_relay(peer.name, workload.name)),
            number(median(|visit| visit.plugin_us)),
            whole(median(|visit| visit.p50_us)),
            whole(median(|visit| visit.p99_us)),
            whole(median(|visit| visit.p999_us)),
            number(median(|visit| visit.peak_rss).map(|bytes| bytes / (1024.0 * 1024.0))),
        );
    }
    text.push('\n');
}

fn idle(text: &mut String, plan: &Plan, table: &Table<'_>, workload: &Workload) {
    let _ = write!(
        text,
        "## {}\n\n{}.\n\n| peer | KiB per connection |\n| --- | --- |\n",
        workload.name,
        sentence(workload.about)
    );
    for peer in &plan.peers {
        if let Some(bytes) = table.median(peer.name, workload.name, |visit| visit.idle_bytes) {
            let _ = writeln!(text, "| {} | {:.1} |", peer.name, bytes / 1024.0);
        }
    }
    text.push('\n');
}

fn noise(text: &mut String, table: &Table<'_>) {
    text.push_str("## Noise\n\n");
    let noisy: Vec<&Visit> = table.visits.iter().filter(|visit| Table::is_noisy(visit)).collect();
    if noisy.is_empty() {
        let _ = writeln!(text, "None of the {} visits was too noisy to count.", table.visits.len());
        return;
    }
    let _ = write!(
        text,
        "{} of {} visits were too noisy to count:\n\n| round | workload | peer | steal | other programs |\n\
         | --- | --- | --- | --- | --- |\n",
        noisy.len(),
        table.visits.len()
    );
    for visit in noisy {
        let (steal, others) = (visit.steal * 100.0, visit.others * 100.0);
        let _ = writeln!(
            text,
            "| {} | {} | {} | {steal:.1} % | {others:.1} % |",
            visit.round, visit.workload, visit.peer
        );
    }
}

/// As [`number`], with a digit more than bounds have: 1.054 is above 1.05.
fn measured(value: Option<f64>) -> String {
    match value {
        Some(value) if value.abs() < 10.0 => format!("{value:.3}"),
        value => number(value),
    }
}

fn number(value: Option<f64>) -> String {
    match value {
        None => "–".to_owned(),
        Some(value) if value.abs() >= 100.0 => format!("{value:.0}"),
        Some(value) if value.abs() >= 10.0 => format!("{value:.1}"),
        Some(value) => format!("{value:.2}"),
    }
}

fn whole(value: Option<f64>) -> String {
    value.map_or_else(|| "–".to_owned(), |value| format!("{value:.0}"))
}

fn sentence(about: &str) -> String {
    let mut letters = about.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}
