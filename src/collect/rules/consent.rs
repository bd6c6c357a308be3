//! What a rule has to consent to before another host's text may do it here.
//!
//! Refuses to take a word of the exporter for a consent.

use super::One;
use crate::collect::Code;
use crate::collect::policy::Ruling;
use crate::kind::{Power, str_field};
use crate::spec::rule::Consent;
use crate::spec::{Fields, FullRule, Value};

/// Whether the rule may take this kind from this exporter.
pub(super) fn kind(rule: &FullRule, one: &One<'_>) -> Result<(), (Code, String)> {
    if one.kind.power() != Power::Powerful {
        return Ok(());
    }
    let (name, allows) = (one.kind.name(), |consent| rule.allow.contains(&consent));
    let refused = |text: String| Err((Code::Xc06, format!("{text}; refused")));
    if !allows(Consent::Power) {
        return refused(format!("{name} needs allow: [power]"));
    }
    if allows(Consent::Unauthenticated) {
        return Ok(());
    }
    if !one.authenticated {
        return refused("exporter not authenticated".to_owned());
    }
    match one.ruling {
        Ruling::Allowed(_) => Ok(()),
        _ => refused(format!("no export policy allows {name}")),
    }
}

/// Whether the rule consents to what these fields do. `given` are those that the exporter chose,
/// `whole` all that there are.
pub(super) fn fields(
    rule: &FullRule,
    kind: &str,
    given: &Fields,
    whole: &Fields,
) -> Result<(), (Code, String)> {
    for (consent, what) in needs(kind, given, whole) {
        if !rule.allow.contains(&consent) {
            let word = consent.as_str();
            return Err((Code::Xc06, format!("{what} needs allow: [{word}]; refused")));
        }
    }
    Ok(())
}

/// What these fields need a word of this host for, and why.
pub(super) fn needs(kind: &str, given: &Fields, whole: &Fields) -> Vec<(Consent, String)> {
    match kind {
        "file" => of_file(given),
        "kv" if !whole.contains_key("value") => {
            vec![(Consent::Remove, "no value removes the key;".to_owned())]
        }
        _ => Vec::new(),
    }
}

fn of_file(given: &Fields) -> Vec<(Consent, String)> {
    let flag = |name: &str| given.get(name) == Some(&Value::Bool(true));
    let mut needs = Vec::new();
    for name in ["source", "fragments"] {
        if given.contains_key(name) {
            needs.push((Consent::LocalSource, format!("{name} reads files of this host;")));
        }
    }
    if flag("symlink") {
        needs.push((Consent::LocalSource, "symlink leads to files of this host;".to_owned()));
    }
    for name in ["recurse", "purge", "force"] {
        if flag(name) {
            needs.push((Consent::Remove, format!("{name} may remove files of this host;")));
        }
    }
    if str_field(given, "state") == Some("absent") {
        needs.push((Consent::Remove, "state absent removes a file of this host;".to_owned()));
    }
    if let Some(mode) = str_field(given, "mode")
        && is_setid(mode)
    {
        needs.push((Consent::Setid, format!("mode {mode}")));
    }
    needs
}

fn is_setid(mode: &str) -> bool {
    let digits = mode.strip_prefix("0o").unwrap_or(mode);
    u32::from_str_radix(digits, 8).is_ok_and(|bits| bits & 0o6000 != 0)
}
