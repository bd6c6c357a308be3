//! Who may use a host's name: nobody has it, or an earlier run of this very state folder had.
//!
//! Refuses to ask the store or the machine: it judges what was read.

use std::path::Path;

use super::StartError;
use super::keys::HostRecord;

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub struct Asking<'a> {
    /// The name that is wanted.
    pub host: &'a str,
    /// The identity of the state folder.
    pub instance: &'a str,
    /// A hash of the machine's id.
    pub machine: &'a str,
    /// Tells the folder from a copy of it on the same machine.
    pub place: &'a str,
    /// The folder.
    pub folder: &'a Path,
}

/// Why the holder's claim stands against ours; `None` when it was our own.
pub fn refusal(asking: Asking<'_>, holder: Option<&HostRecord>) -> Option<StartError> {
    let host = asking.host.to_owned();
    let Some(holder) = holder else {
        let who = "its record is of an unknown form".into();
        return Some(StartError::HostTaken { host, who });
    };
    let at = match holder.client.first() {
        Some(url) => format!(" at {url}"),
        None => String::new(),
    };
    if holder.instance != asking.instance {
        let short = holder.instance.get(..8).unwrap_or(&holder.instance);
        let who = format!("instance {short}, pid {}{}", holder.pid, at.replacen(' ', ", ", 1));
        return Some(StartError::HostTaken { host, who });
    }
    let elsewhere = holder.machine != asking.machine || holder.place != asking.place;
    elsewhere.then(|| StartError::FolderCopied { folder: asking.folder.to_owned(), host, at })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holder(instance: &str, machine: &str, place: &str, client: &[&str]) -> HostRecord {
        HostRecord {
            v: 1,
            instance: instance.into(),
            machine: machine.into(),
            place: place.into(),
            boot: String::new(),
            pid: 7,
            started: 0,
            client: client.iter().map(|url| (*url).to_owned()).collect(),
            peer: Vec::new(),
            zone: None,
            version: "0".into(),
            etcd: None,
        }
    }

    #[test]
    fn a_name_passes_on_only_within_one_folder_on_one_machine() {
        let asking = Asking {
            host: "h2",
            instance: "9f3c1234-77",
            machine: "aa",
            place: "1",
            folder: Path::new("/s"),
        };
        let url = ["http://10.0.0.7:2379"];
        let copied = |at: &str| {
            format!(
                "state folder /s is a copy of the one that h2 runs on{at} (a cloned machine?); \
                 move it aside and give this agent its own --hostname"
            )
        };
        let taken = |who: &str| {
            format!("another agent named h2 is alive ({who}); host names must be unique")
        };
        for (holder, want) in [
            (Some(holder("9f3c1234-77", "aa", "1", &url)), None),
            (
                Some(holder("9f3c1234-77", "bb", "1", &url)),
                Some(copied(" at http://10.0.0.7:2379")),
            ),
            (Some(holder("9f3c1234-77", "aa", "2", &[])), Some(copied(""))),
            (
                Some(holder("00000000-11", "aa", "1", &url)),
                Some(taken("instance 00000000, pid 7, at http://10.0.0.7:2379")),
            ),
            (Some(holder("x", "aa", "1", &[])), Some(taken("instance x, pid 7"))),
            (None, Some(taken("its record is of an unknown form"))),
        ] {
            let said = refusal(asking, holder.as_ref()).map(|error| error.to_string());
            assert_eq!(said, want, "{holder:?}");
        }
    }
}
