//! Callgrind: how it is called, and what it says.

use crate::Error;
use prism_bench::count::Scenario;
use std::{env, fs, io::ErrorKind, process::Command};

/// The C library copies and clears large blocks with one instruction that repeats itself, and valgrind counts every
/// repetition, so each byte of a buffer that grows would be an instruction. Without it, it copies in vectors.
const NO_REPEATED_MOVES: &str =
    "glibc.cpu.x86_rep_movsb_threshold=0x40000000:glibc.cpu.x86_rep_stosb_threshold=0x40000000";

/// Instructions per repetition of a piece of work, by this program under callgrind.
pub(crate) fn instructions(scenario: &Scenario) -> Result<u64, Error> {
    let program = "valgrind --tool=callgrind".to_owned();
    let start = |source| Error::Start { program: program.clone(), source };
    let folder = tempfile::tempdir().map_err(start)?;
    let out = folder.path().join("callgrind.out");
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--collect-atstart=no", "--toggle-collect=*prism_counted*"])
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(env::current_exe().map_err(start)?)
        .args(["work", scenario.name])
        .env("GLIBC_TUNABLES", NO_REPEATED_MOVES)
        .output()
        .map_err(
            |source| if source.kind() == ErrorKind::NotFound { Error::NoValgrind } else { start(source) },
        )?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(Error::Failed { program, status: output.status, said });
    }
    let text = fs::read_to_string(&out).map_err(start)?;
    let total = total(&text).filter(|total| *total > 0);
    let total = total.ok_or_else(|| Error::Output {
        program,
        problem: "it saw no instruction of `prism_counted`; was the program stripped?".to_owned(),
    })?;
    let times = u64::from(scenario.iterations);
    Ok((total + times / 2) / times)
}

/// The sum of a callgrind file: its `totals:` line.
fn total(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix("totals: ")?.split(' ').next()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::total;

    #[test]
    fn the_sum_is_found_or_nothing() {
        assert_eq!(total("events: Ir\nfn=(1) x\n1 2\n\ntotals: 1234567\n"), Some(1_234_567));
        assert_eq!(total("totals: 12 34\n"), Some(12));
        for text in ["", "totals:\n", "totals: many\n", "summary: 12\n"] {
            assert_eq!(total(text), None, "{text}");
        }
    }
}
