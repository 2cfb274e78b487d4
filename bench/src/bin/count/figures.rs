//! The counts, their file, and the verdict.

use crate::Error;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fs, io::ErrorKind, path::Path};

/// How much instructions may grow. Counts of one program repeat within half a hundredth (hash maps draw their keys at
/// random); another layout of the same code, or another version of the C library, moves them by up to one
/// hundredth. What is smaller than this is no regression that anybody could find.
pub(crate) const TOLERANCE: f64 = 0.02;

/// Allocations may not grow at all. This much of one comes from buffers that grow while it is counted.
const ALLOCATION_NOISE: f64 = 0.05;

/// Of one repetition.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Count {
    pub(crate) instructions: u64,
    /// Allocations and reallocations.
    pub(crate) allocations: f64,
}

/// What bench/counts.json holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Figures {
    /// The compiler that they belong to.
    pub(crate) rustc: String,
    pub(crate) counts: BTreeMap<String, Count>,
}

/// What came out.
#[derive(Debug)]
pub(crate) struct Verdict {
    pub(crate) passes: bool,
    pub(crate) text: String,
}

impl Figures {
    /// `None` where there is no file yet.
    pub(crate) fn read(path: &Path) -> Result<Option<Self>, Error> {
        let problem = |problem: String| Error::File { path: path.to_owned(), problem };
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(problem(error.to_string())),
        };
        serde_json::from_str(&text).map(Some).map_err(|error| problem(error.to_string()))
    }

    pub(crate) fn write(&self, path: &Path) -> Result<(), Error> {
        let problem = |problem: String| Error::File { path: path.to_owned(), problem };
        let text = serde_json::to_string_pretty(self).map_err(|error| problem(error.to_string()))?;
        fs::write(path, text + "\n").map_err(|error| problem(error.to_string()))
    }

    /// These, and what `kept` has besides.
    pub(crate) fn blessed(mut self, kept: Option<Self>) -> Self {
        let kept = kept.map(|kept| kept.counts).unwrap_or_default();
        for (name, count) in kept {
            self.counts.entry(name).or_insert(count);
        }
        self
    }
}

/// To hundredths.
pub(crate) fn rounded(allocations: f64) -> f64 {
    (allocations * 100.0).round() / 100.0
}

/// By how much instructions grew, as a share.
pub(crate) fn growth(before: u64, now: u64) -> f64 {
    // Counts far below 2^52.
    #[allow(clippy::cast_precision_loss)]
    let (before, now) = (before.max(1) as f64, now as f64);
    now / before - 1.0
}

/// Compares. `all` are the names that there are, whether they were counted now or not.
pub(crate) fn judge(before: Option<&Figures>, now: &Figures, all: &[&str]) -> Verdict {
    let Some(before) = before else {
        return Verdict {
            passes: false,
            text: "There are no counts to compare with: write them with --bless.".to_owned(),
        };
    };
    let mut problems = Vec::new();
    let mut shrunk = Vec::new();
    for (name, count) in &now.counts {
        let Some(known) = before.counts.get(name) else {
            problems.push(format!("`{name}` is not in the file"));
            continue;
        };
        let by = growth(known.instructions, count.instructions);
        if by > TOLERANCE {
            problems.push(format!(
                "`{name}`: {} instructions, {:.1} % more than {}",
                count.instructions,
                by * 100.0,
                known.instructions
            ));
        } else if by < -TOLERANCE {
            shrunk.push(name.as_str());
        }
        if count.allocations > known.allocations + ALLOCATION_NOISE {
            problems.push(format!(
                "`{name}`: {} allocations, more than {}",
                count.allocations, known.allocations
            ));
        } else if count.allocations < known.allocations - ALLOCATION_NOISE {
            shrunk.push(name.as_str());
        }
    }
    for name in before.counts.keys().filter(|name| !all.contains(&name.as_str())) {
        problems.push(format!("`{name}` is in the file and is counted no more"));
    }
    shrunk.dedup();
    let mut text = String::new();
    if !shrunk.is_empty() {
        text += &format!("Less than before, to be kept with --bless: {}.\n", shrunk.join("; "));
    }
    if before.rustc != now.rustc {
        text += &format!(
            "The file was written with {}, and this is {}: counts of two compilers are not comparable, so nothing is \
             judged. With --bless they become this one's.",
            before.rustc, now.rustc
        );
        return Verdict { passes: true, text };
    }
    if problems.is_empty() {
        text += "Nothing grew.";
        return Verdict { passes: true, text };
    }
    text += &format!(
        "{}\nWhere that is the price of something wanted, say so in the commit and write the file with --bless.",
        problems.join("\n")
    );
    Verdict { passes: false, text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(rustc: &str, counts: &[(&str, u64, f64)]) -> Figures {
        let counts = counts.iter().map(|(name, instructions, allocations)| {
            ((*name).to_owned(), Count { instructions: *instructions, allocations: *allocations })
        });
        Figures { rustc: rustc.to_owned(), counts: counts.collect() }
    }

    fn passes(before: &[(&str, u64, f64)], now: &[(&str, u64, f64)]) -> bool {
        judge(Some(&figures("1", before)), &figures("1", now), &["a", "b"]).passes
    }

    #[test]
    fn what_grew_fails() {
        let known = [("a", 1000, 3.0)];
        assert!(passes(&known, &[("a", 1000, 3.0)]));
        assert!(passes(&known, &[("a", 1020, 3.0)]));
        assert!(!passes(&known, &[("a", 1021, 3.0)]));
        assert!(passes(&known, &[("a", 1000, 3.04)]));
        assert!(!passes(&known, &[("a", 1000, 3.06)]));
        assert!(!passes(&known, &[("a", 500, 4.0)]));
        assert!(!passes(&[("a", 0, 0.0)], &[("a", 7, 0.0)]));
    }

    #[test]
    fn what_shrank_passes_and_is_told() {
        let verdict =
            judge(Some(&figures("1", &[("a", 1000, 3.0)])), &figures("1", &[("a", 900, 3.0)]), &["a"]);
        assert!(verdict.passes && verdict.text.contains("--bless: a"), "{}", verdict.text);
    }

    #[test]
    fn what_is_new_or_gone_fails_and_what_was_left_out_does_not() {
        assert!(!passes(&[], &[("a", 1, 0.0)]));
        assert!(!passes(&[("gone", 1, 0.0)], &[]));
        assert!(passes(&[("a", 1, 0.0), ("b", 1, 0.0)], &[("a", 1, 0.0)]));
        assert!(!judge(None, &figures("1", &[]), &[]).passes);
    }

    #[test]
    fn another_compiler_is_told_and_not_judged() {
        let verdict =
            judge(Some(&figures("1", &[("a", 1000, 3.0)])), &figures("2", &[("a", 2000, 9.0)]), &["a"]);
        assert!(verdict.passes && verdict.text.contains("not comparable"), "{}", verdict.text);
    }

    #[test]
    fn blessing_some_keeps_the_others() {
        let kept = figures("1", &[("a", 1, 0.0), ("b", 2, 0.0)]);
        let blessed = figures("1", &[("a", 3, 0.0)]).blessed(Some(kept));
        assert_eq!(blessed, figures("1", &[("a", 3, 0.0), ("b", 2, 0.0)]));
    }

    #[test]
    fn a_file_that_is_none_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("counts.json");
        assert_eq!(Figures::read(&path).unwrap(), None);
        let written = figures("1", &[("a", 1, 0.5)]);
        written.write(&path).unwrap();
        assert_eq!(Figures::read(&path).unwrap(), Some(written));
        for text in ["", "{}", "[]", r#"{"rustc":"1","counts":{"a":{"instructions":-1,"allocations":0}}}"#] {
            fs::write(&path, text).unwrap();
            assert!(matches!(Figures::read(&path), Err(Error::File { .. })), "{text}");
        }
    }
}
