//! What this machine can do, as `cargo xtask doctor` says. It tries nothing itself.

use std::time::Duration;

use serde::Deserialize;

use super::header::Need;
use super::stage;
use crate::paths;

/// Trying what the kernel can do takes a container or two.
const LIMIT: Duration = Duration::from_secs(60);

/// The doctor's findings.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Machine {
    findings: Vec<Finding>,
}

#[derive(Clone, Debug, Deserialize)]
struct Finding {
    what: String,
    fine: bool,
    text: String,
}

/// Asks the doctor.
pub(crate) fn ask() -> anyhow::Result<Machine> {
    let words = ["doctor", "--json"].map(str::to_owned);
    let output = stage::run_self(&words, "none", paths::root(), LIMIT)?;
    let line = output.lines.iter().find(|line| line.starts_with('{'));
    let text = line.ok_or_else(|| anyhow::anyhow!("doctor: {}", output.lines.join(" ")))?;
    Ok(serde_json::from_str(text)?)
}

impl Machine {
    /// Why a need cannot be met here; `None` if it can.
    pub(crate) fn lacks(&self, need: Need) -> Option<String> {
        let what = row(need);
        match self.findings.iter().find(|one| one.what == what) {
            Some(one) if one.fine => None,
            Some(one) => Some(one.text.clone()),
            None => Some(format!("the doctor says nothing of `{what}`")),
        }
    }

    /// Version of the engine, of its API, and the kernel that nodes run on.
    pub(crate) fn engine(&self) -> Option<&str> {
        let found = self.findings.iter().find(|one| one.what == "engine" && one.fine);
        found.map(|one| one.text.as_str())
    }

    /// The faults that can be had here, by name.
    pub(crate) fn faults(&self) -> Vec<String> {
        let faults = Need::ALL.iter().filter(|(_, need)| *need != Need::Engine);
        let had = faults.filter(|(_, need)| self.lacks(*need).is_none());
        had.map(|(name, need)| format!("{name} ({})", row(*need))).collect()
    }
}

/// The doctor's name for what meets a need.
fn row(need: Need) -> &'static str {
    match need {
        Need::Engine => "engine",
        Need::Partition => "routes",
        Need::Delay => "netem",
        Need::Loss => "numgen",
        Need::Rate => "tbf",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_need_is_met_or_the_doctor_says_why_not() {
        let text = r#"{"schema": 1, "findings": [
            {"what": "engine", "fine": true, "needed": true, "text": "20.10, API 1.41, amd64"},
            {"what": "netem", "fine": false, "needed": false, "text": "no delay: no netem"},
            {"what": "routes", "fine": true, "needed": false, "text": "cluster partition"}]}"#;
        let machine: Machine = serde_json::from_str(text).expect("reads");
        assert_eq!(machine.lacks(Need::Partition), None);
        assert_eq!(machine.lacks(Need::Delay).as_deref(), Some("no delay: no netem"));
        assert!(machine.lacks(Need::Rate).is_some_and(|why| why.contains("`tbf`")));
        assert_eq!(machine.engine(), Some("20.10, API 1.41, amd64"));
        assert_eq!(machine.faults(), ["partition (routes)"]);
    }
}
