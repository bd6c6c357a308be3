//! What a process uses, as the kernel counts it.

use std::fs;
use std::time::Duration;

use anyhow::Context;

/// What a process uses at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Use {
    /// Resident, in KiB.
    pub(super) memory: u64,
    /// Files that are open.
    pub(super) files: usize,
    /// Of a core, since it began.
    pub(super) cpu: Duration,
}

impl Use {
    /// The median of each; `None` of none.
    pub(super) fn median(all: &[Use]) -> Option<Use> {
        let middle = all.len().checked_sub(1)? / 2;
        let mut sorted = [all.to_vec(), all.to_vec(), all.to_vec()];
        sorted[0].sort_by_key(|one| one.memory);
        sorted[1].sort_by_key(|one| one.files);
        sorted[2].sort_by_key(|one| one.cpu);
        let [memory, files, cpu] = sorted.map(|of| of[middle]);
        Some(Use { memory: memory.memory, files: files.files, cpu: cpu.cpu })
    }
}

/// What this process uses now.
pub(super) fn used(id: u32) -> anyhow::Result<Use> {
    let status = fs::read_to_string(format!("/proc/{id}/status"))?;
    let memory = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let memory = memory.and_then(|text| text.split_whitespace().next()).context("no memory")?;
    let stat = fs::read_to_string(format!("/proc/{id}/stat"))?;
    Ok(Use {
        memory: memory.parse()?,
        files: fs::read_dir(format!("/proc/{id}/fd"))?.count(),
        cpu: cpu(&stat).with_context(|| format!("no times in {stat}"))?,
    })
}

/// User and system time, which the kernel gives in hundredths of a second.
fn cpu(stat: &str) -> Option<Duration> {
    // The name before the last bracket may hold anything.
    let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
    let ticks = |n: usize| fields.get(n)?.parse::<u64>().ok();
    Some(Duration::from_millis((ticks(11)? + ticks(12)?) * 10))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_a_process_is_read_behind_whatever_its_name_is() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 100 0 0 0 120 30 5 5 20 0 9 0 100";
        assert_eq!(cpu(stat), Some(Duration::from_millis(1500)));
        assert_eq!(cpu("7 (a) S 1"), None);
    }

    #[test]
    fn the_median_is_taken_of_each_figure_by_itself() {
        let of = |memory, files| Use { memory, files, cpu: Duration::ZERO };
        assert_eq!(Use::median(&[of(1, 9), of(2, 5), of(3, 1)]), Some(of(2, 5)));
        assert_eq!(Use::median(&[]), None);
    }
}
