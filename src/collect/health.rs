//! What a line about exports means for the health of an agent.
//!
//! Refuses to read more than the code at its beginning, which is part of the interface.

/// Whether something is missing that was wanted: an export that is held, or one of ours that is not
/// published. What another host's policy or a rule of this host leaves out is not missing.
pub fn degrades(message: &str) -> bool {
    let (code, text) = message.split_once(' ').unwrap_or((message, ""));
    match code {
        "XC02" | "XC11" | "XC12" | "XC13" => false,
        // Of exports: a policy that nobody can read.
        "XC14" => text.starts_with("exports:"),
        _ => ["XC", "XE"].iter().any(|kind| {
            let number = code.strip_prefix(kind);
            number.is_some_and(|n| n.len() == 2 && n.bytes().all(|byte| byte.is_ascii_digit()))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collect::Code;

    #[test]
    fn what_is_held_or_not_published_degrades_and_what_is_left_out_does_not() {
        for (message, wanted) in [
            ("XC01 file[motd]: web1, web2 differ in content; held", true),
            ("XC08 rule r: 1 export, wanted at least 2; holding 2", true),
            ("XC14 exports: the policy cannot be read (no JSON); nothing new is taken", true),
            ("XE05 host name web1 in use by instance I (live); nothing is published", true),
            ("XC02 file[motd]: local resource wins over web1", false),
            ("XC14 file[a] from web1: not for lb1; ignored", false),
            ("XC13 file[a] from web1: sealed for others; ignored", false),
            ("would withdraw 2 exports", false),
            ("XCUSE me", false),
            ("", false),
        ] {
            assert_eq!(degrades(message), wanted, "{message}");
        }
    }

    #[test]
    fn codes_and_lines_say_the_same() {
        let all = [Code::Xc01, Code::Xc02, Code::Xc05, Code::Xc08, Code::Xc11, Code::Xc12];
        for code in all.into_iter().chain([Code::Xc14]) {
            assert_eq!(degrades(&format!("{code} file[a]: x")), code.degrades(), "{code}");
        }
    }
}
