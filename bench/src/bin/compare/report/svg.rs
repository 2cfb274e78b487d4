//! The chart: bars, by hand.

use super::table::{Figure, Table};
use crate::round::Plan;
use std::fmt::Write;

/// One set of bars.
struct Panel {
    title: &'static str,
    workload: &'static str,
    figure: Figure,
    /// What a figure is divided by to be shown.
    scale: f64,
    unit: &'static str,
}

const PANELS: [Panel; 6] = [
    Panel {
        title: "CPU of the proxy per call, 128 B, 4 × 32 (less is better)",
        workload: "4x32",
        figure: |v| v.proxy_us,
        scale: 1.0,
        unit: "µs",
    },
    Panel {
        title: "Calls per second, 128 B, 4 × 32 (more is better)",
        workload: "4x32",
        figure: |v| v.rate,
        scale: 1e3,
        unit: "k/s",
    },
    Panel {
        title: "CPU of the proxy per call, 128 B, 64 × 1 (less is better)",
        workload: "64x1",
        figure: |v| v.proxy_us,
        scale: 1.0,
        unit: "µs",
    },
    Panel {
        title: "Median latency, one call at a time (less is better)",
        workload: "1x1",
        figure: |v| v.p50_us,
        scale: 1.0,
        unit: "µs",
    },
    Panel {
        title: "Calls per second, 1 MiB, 4 under way (more is better)",
        workload: "1MiB",
        figure: |v| v.rate,
        scale: 1.0,
        unit: "/s",
    },
    Panel {
        title: "Memory per idle connection (less is better)",
        workload: "idle",
        figure: |v| v.idle_bytes,
        scale: 1024.0,
        unit: "KiB",
    },
];

// Pixels.
const WIDTH: usize = 860;
const NAMES: usize = 190;
const BARS: usize = 520;
const ROW: usize = 22;
const HEAD: usize = 34;
const MARGIN: usize = 16;

/// The chart of a run; panels without a figure are left out.
pub(crate) fn chart(plan: &Plan, table: &Table<'_>, foot: &str) -> String {
    let mut body = String::new();
    let mut y = MARGIN;
    for panel in &PANELS {
        let rows: Vec<(&str, f64, String)> = plan
            .peers
            .iter()
            .filter_map(|peer| {
                let value = table.median(peer.name, panel.workload, panel.figure)? / panel.scale;
                Some((peer.name, value, table.mark(peer.name, panel.workload)))
            })
            .collect();
        if !rows.is_empty() {
            y = draw(&mut body, panel, &rows, y);
        }
    }
    let height = y + MARGIN + ROW;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" \
         height=\"{height}\" font-family=\"sans-serif\" font-size=\"13\">\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#ffffff\"/>\n{body}\
         <text x=\"{MARGIN}\" y=\"{}\" font-size=\"11\" fill=\"#57606a\">{}</text>\n</svg>\n",
        height - MARGIN,
        escape(foot),
    )
}

fn draw(body: &mut String, panel: &Panel, rows: &[(&str, f64, String)], mut y: usize) -> usize {
    let most = rows.iter().map(|(_, value, _)| *value).fold(f64::MIN_POSITIVE, f64::max);
    // Writing to a String does not fail.
    let _ = writeln!(
        body,
        "<text x=\"{MARGIN}\" y=\"{}\" font-size=\"15\" font-weight=\"bold\" fill=\"#1f2328\">{}</text>",
        y + 16,
        escape(panel.title)
    );
    y += HEAD;
    for (name, value, mark) in rows {
        #[allow(clippy::cast_precision_loss)] // pixels
        let width = value.max(0.0) / most * BARS as f64;
        // Ours stand out; the two ends of the scale are grey.
        let colour = match *name {
            "direct" | "relay" => "#afb8c1",
            name if name.starts_with("prism") => "#0969da",
            _ => "#bf8700",
        };
        let number = if *value >= 100.0 { format!("{value:.0}") } else { format!("{value:.1}") };
        let _ = writeln!(
            body,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"end\" fill=\"#1f2328\">{name}</text>\
             <rect x=\"{NAMES}\" y=\"{}\" width=\"{width:.1}\" height=\"{}\" fill=\"{colour}\"/>\
             <text x=\"{:.1}\" y=\"{}\" fill=\"#1f2328\">{number} {}{}</text>",
            NAMES - 8,
            y + 14,
            y + 2,
            ROW - 6,
            width + 6.0 + {
                #[allow(clippy::cast_precision_loss)] // pixels
                let left = NAMES as f64;
                left
            },
            y + 14,
            panel.unit,
            if mark.is_empty() { String::new() } else { format!(" {mark}") },
        );
        y += ROW;
    }
    y + MARGIN
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
