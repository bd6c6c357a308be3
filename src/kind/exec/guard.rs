//! What guards say: pure.
//!
//! Refuses to take a guard that was killed for one that answered.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::super::process::{Ended, Line};

/// When files were changed, in nanoseconds of the system's clock.
pub(super) type Times = BTreeMap<PathBuf, i128>;

/// Outputs of `ifcmd` with which nothing is left to do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Equals {
    pub(super) output: Option<String>,
    pub(super) stdout: Option<String>,
}

impl Equals {
    /// Whether what was printed is one of them, but for a final line end.
    fn matches(&self, ended: &Ended) -> bool {
        let same = |wanted: &Option<String>, printed: Option<&str>| match (wanted, printed) {
            (Some(wanted), Some(printed)) => {
                printed == wanted || printed.strip_suffix('\n') == Some(wanted)
            }
            _ => false,
        };
        same(&self.output, ended.output.text()) || same(&self.stdout, ended.stdout.text())
    }
}

/// Whether `ifcmd` lets the command run.
pub(super) fn allows(line: &Line, ended: &Ended, equals: &Equals) -> Result<bool, String> {
    Ok(code(line, ended)? == 0 && !equals.matches(ended))
}

/// Whether `nifcmd` lets the command run.
pub(super) fn allows_not(line: &Line, ended: &Ended) -> Result<bool, String> {
    Ok(code(line, ended)? != 0)
}

fn code(line: &Line, ended: &Ended) -> Result<i32, String> {
    ended.code.ok_or_else(|| format!("guard: {}", ended.describe(line)))
}

/// Whether a file was changed since the last run, whose times are given; one that is new in the
/// list was.
pub(super) fn is_newer(now: &Times, last: &Times) -> bool {
    now.iter().any(|(path, time)| last.get(path).is_none_or(|before| time > before))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(code: Option<i32>, stdout: &str, output: &str) -> Ended {
        let signal = code.is_none().then_some(9);
        Ended { code, signal, stdout: stdout.into(), output: output.into(), ..Ended::default() }
    }

    #[test]
    fn an_output_that_is_the_wanted_one_leaves_nothing_to_do() {
        let equals = |output: Option<&str>, stdout: Option<&str>| Equals {
            output: output.map(str::to_owned),
            stdout: stdout.map(str::to_owned),
        };
        let line = Line::split("guard");
        let cases = [
            (equals(None, None), Some(0), Ok(true)),
            (equals(None, None), Some(1), Ok(false)),
            (equals(Some("x\ne"), None), Some(0), Ok(false)),
            (equals(Some("x\ne\n"), None), Some(0), Ok(false)),
            (equals(Some("x"), None), Some(0), Ok(true)),
            (equals(None, Some("x")), Some(0), Ok(false)),
            (equals(Some(""), Some("y")), Some(0), Ok(true)),
            (equals(Some(""), Some("y")), Some(2), Ok(false)),
            (equals(None, Some("x")), None, Err(())),
        ];
        for (equals, code, expected) in cases {
            let said = allows(&line, &ended(code, "x\n", "x\ne\n"), &equals);
            assert_eq!(said.map_err(drop), expected, "{equals:?} {code:?}");
        }
    }

    #[test]
    fn a_reversed_guard_lets_run_what_it_fails_on() {
        let line = Line::split("guard");
        for (code, expected) in [(Some(0), Ok(false)), (Some(1), Ok(true)), (None, Err(()))] {
            assert_eq!(allows_not(&line, &ended(code, "", "")).map_err(drop), expected);
        }
    }

    #[test]
    fn a_file_is_newer_when_its_time_grew_or_is_not_known() {
        let times = |given: &[(&str, i128)]| -> Times {
            given.iter().map(|(path, time)| (PathBuf::from(path), *time)).collect()
        };
        let last = times(&[("/a", 5), ("/b", 7)]);
        for (now, newer) in [
            (times(&[("/a", 5), ("/b", 7)]), false),
            (times(&[("/a", 6), ("/b", 7)]), true),
            (times(&[("/a", 4)]), false),
            (times(&[("/a", 5), ("/c", 1)]), true),
            (times(&[]), false),
        ] {
            assert_eq!(is_newer(&now, &last), newer, "{now:?}");
        }
    }
}
