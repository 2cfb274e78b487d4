//! What the kernel counted: CPU time and memory of a process, and how busy the two cores were.

use crate::error::{Error, io};
use std::fs;

/// CPU time (user and system) of all threads of a process, in nanoseconds: `/proc/PID/task/*/schedstat`.
/// Threads that ended are missing, which matters to no program here: they keep theirs.
pub(crate) fn cpu_nanos(process: u32) -> Result<u64, Error> {
    let folder = format!("/proc/{process}/task");
    let mut sum = 0;
    for thread in io(format!("list {folder}"), fs::read_dir(&folder))?.flatten() {
        // A thread may end between the two reads.
        let Ok(text) = fs::read_to_string(thread.path().join("schedstat")) else { continue };
        sum += text.split(' ').next().and_then(|nanos| nanos.parse::<u64>().ok()).unwrap_or(0);
    }
    Ok(sum)
}

/// Starts the peak of [`peak_rss`] anew (proc(5), `clear_refs`).
pub(crate) fn reset_peak(process: u32) -> Result<(), Error> {
    io("reset a peak of memory", fs::write(format!("/proc/{process}/clear_refs"), "5"))
}

/// The most memory that was resident since [`reset_peak`], in bytes (`VmHWM`).
pub(crate) fn peak_rss(process: u32) -> Result<u64, Error> {
    status(process, "VmHWM:")
}

/// Memory that is resident now, in bytes (`VmRSS`).
pub(crate) fn rss(process: u32) -> Result<u64, Error> {
    status(process, "VmRSS:")
}

fn status(process: u32, key: &str) -> Result<u64, Error> {
    let path = format!("/proc/{process}/status");
    let text = io(format!("read {path}"), fs::read_to_string(&path))?;
    let kib = text.lines().find_map(|line| line.strip_prefix(key)?.trim().strip_suffix(" kB")?.parse().ok());
    Ok(kib.unwrap_or(0_u64) * 1024)
}

/// Ticks of 10 ms that the two cores spent, from `/proc/stat`.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Machine {
    /// In processes.
    busy: u64,
    /// Taken by the hypervisor.
    steal: u64,
    /// All together.
    total: u64,
    /// What this process, its threads and the children that it reaped used.
    own: u64,
}

/// Shares of the two cores' time between two [`Machine`]s, from 0 to 1.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shares {
    /// Taken by the hypervisor.
    pub(crate) steal: f64,
    /// Used by processes that do not belong to the comparison.
    pub(crate) others: f64,
}

impl Machine {
    /// Now.
    pub(crate) fn now() -> Result<Self, Error> {
        let read = |path: &str| io(format!("read {path}"), fs::read_to_string(path));
        Ok(Self::parse(&read("/proc/stat")?, &read("/proc/self/stat")?))
    }

    fn parse(stat: &str, own: &str) -> Self {
        let mut machine = Self::default();
        for line in stat.lines().filter(|line| line.starts_with("cpu0 ") || line.starts_with("cpu1 ")) {
            let ticks: Vec<u64> = line.split_whitespace().skip(1).filter_map(|n| n.parse().ok()).collect();
            // user, nice, system, idle, iowait, irq, softirq, steal; guest time is part of user time.
            let at = |index: usize| ticks.get(index).copied().unwrap_or(0);
            machine.busy += at(0) + at(1) + at(2);
            machine.steal += at(7);
            machine.total += ticks.iter().take(8).sum::<u64>();
        }
        // The second field, the name, may hold spaces and brackets; utime is the 14th, then stime, cutime, cstime.
        let after_name = own.rsplit(") ").next().unwrap_or("");
        machine.own = after_name.split(' ').skip(11).take(4).filter_map(|n| n.parse::<u64>().ok()).sum();
        machine
    }

    /// What happened since `before`, when the comparison's other processes used `used` nanoseconds.
    #[allow(clippy::cast_precision_loss)] // ticks of a few minutes
    pub(crate) fn since(&self, before: &Self, used: u64) -> Shares {
        let total = (self.total - before.total).max(1) as f64;
        let ours = (self.own - before.own) as f64 + used as f64 / 1e7;
        Shares {
            steal: (self.steal - before.steal) as f64 / total,
            others: ((self.busy - before.busy) as f64 - ours).max(0.0) / total,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: &str = "7 (a ) b) S 1 7 7 0 -1 4194560 1 2 3 4 100 20 3 4 20 0 1 0 99";

    #[test]
    fn shares_leave_out_what_is_ours() {
        let before =
            Machine::parse("cpu 9 9\ncpu0 10 0 10 80 0 0 0 0 0 0\ncpu1 0 0 0 100 0 0 0 0 0 0\n", OWN);
        let after = Machine::parse(
            "cpu 9 9\ncpu0 60 0 20 118 0 0 0 2 0 0\ncpu1 40 0 20 138 0 0 0 2 0 0\ncpu2 9 9 9 9 9 9 9 9\n",
            &OWN.replace(" 100 20 3 4 ", " 110 30 23 4 "),
        );
        // 200 ticks passed, 120 of them busy: 40 ours, 60 the peer's, 20 a stranger's.
        let shares = after.since(&before, 600_000_000);
        assert_eq!((shares.steal, shares.others), (0.02, 0.1));
        // Rounding may make us seem busier than the machine.
        assert_eq!(after.since(&before, 10_000_000_000).others, 0.0);
    }

    #[test]
    fn this_process_has_used_time_and_memory() {
        let id = std::process::id();
        assert!(cpu_nanos(id).unwrap() > 0);
        reset_peak(id).unwrap();
        assert!(peak_rss(id).unwrap() >= 1 << 16);
        assert!(rss(id).unwrap() >= 1 << 16);
        assert!(cpu_nanos(u32::MAX).is_err());
    }
}
