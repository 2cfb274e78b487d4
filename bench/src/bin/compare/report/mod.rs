//! What is shown and kept.

use crate::{error::Error, round::Plan, visit::Visit};
use std::{fs, path::Path};

/// One visit, for who watches.
pub(crate) fn line(visit: &Visit) -> String {
    let optional = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.2}"));
    format!(
        "round {} {:<8} {:<20} {:>9.0} req/s  proxy {:>7} us  plugin {:>6} us  p50 {:>6}  p99 {:>6}  steal {:>4.1} %  others {:>4.1} %",
        visit.round,
        visit.workload,
        visit.peer,
        visit.rate.unwrap_or(0.0),
        optional(visit.proxy_us),
        optional(visit.plugin_us),
        visit.p50_us.unwrap_or(0.0),
        visit.p99_us.unwrap_or(0.0),
        visit.steal * 100.0,
        visit.others * 100.0,
    )
}

/// Writes the results.
pub(crate) fn write(
    folder: &Path,
    plan: &Plan,
    visits: &[Visit],
    _skipped: &[(&'static str, String)],
) -> Result<(), Error> {
    let write = |name: &str, text: String| {
        let path = folder.join(name);
        fs::write(&path, text).map_err(|source| Error::Write { path, source })
    };
    fs::create_dir_all(folder).map_err(|source| Error::Write { path: folder.to_path_buf(), source })?;
    write("compare.json", serde_json::to_string_pretty(visits).unwrap_or_default())?;
    for workload in &plan.workloads {
        println!("\n{}: medians", workload.name);
        for peer in &plan.peers {
            let of = |figure: fn(&Visit) -> Option<f64>| {
                let mut all: Vec<f64> = visits
                    .iter()
                    .filter(|visit| visit.peer == peer.name && visit.workload == workload.name)
                    .filter_map(figure)
                    .collect();
                all.sort_by(f64::total_cmp);
                all.get(all.len() / 2).copied().unwrap_or(0.0)
            };
            println!(
                "  {:<20} {:>9.0} req/s  proxy {:>8.2} us  plugin {:>8.2} us  p50 {:>6.0} us",
                peer.name,
                of(|visit| visit.rate),
                of(|visit| visit.proxy_us),
                of(|visit| visit.plugin_us),
                of(|visit| visit.p50_us),
            );
        }
    }
    Ok(())
}
