//! From fields to what is wanted, with every mistake among them.
//!
//! Refuses combinations that contradict each other or that do nothing, and paths that lie in each
//! other.

use std::path::{Path, PathBuf};

use super::super::fields::{flag, list, mistake, no_nul, text, too_long};
use super::super::{FieldError, str_field};
use super::CONTENT_MAX;
use super::path::{clean_path, result_path};
use super::plan::{Body, Declared, Fragment, State, Wanted};
use crate::ident::ResourceId;
use crate::spec::Fields;

/// The path and what is wanted there.
pub(super) fn wanted(
    id: &ResourceId,
    fields: &Fields,
) -> Result<(PathBuf, Wanted), Vec<FieldError>> {
    let mut errors = Vec::new();
    no_nul(fields, &["path", "dirname", "basename", "owner", "group", "source"], &mut errors);
    let shown = check_path(id, fields, &mut errors);
    let path = clean_path(&shown);
    let directory = shown.ends_with('/');
    let state = check_state(fields, &mut errors);
    let mode = check_mode(fields, &mut errors);
    let content = check_content(fields, directory, state, &mut errors);
    let place = Spot { path: &path, directory, state };
    let fragments = check_fragments(fields, &place, &mut errors);
    let source = check_source(fields, &place, &mut errors);
    check_alone(fields, &mut errors);
    check_link(fields, &place, &mut errors);
    check_recurse(fields, &place, &mut errors);
    if !errors.is_empty() {
        return Err(errors);
    }
    let recurse = flag(fields, "recurse");
    let purge = flag(fields, "purge");
    let body = match (content, source, fragments) {
        (Some(content), ..) => Body::Content(content),
        (_, Some(source), _) if flag(fields, "symlink") => Body::Link(source),
        (_, Some(source), _) if !directory => Body::Copy(clean_path(&source.to_string_lossy())),
        (_, Some(source), _) => {
            Body::Tree { source: Some(clean_path(&source.to_string_lossy())), purge }
        }
        (.., Some(fragments)) => Body::Fragments(fragments),
        _ if purge => Body::Tree { source: None, purge },
        _ => Body::Any,
    };
    let owned = |name| text(fields, name).map(str::to_owned);
    let wanted = Wanted {
        directory,
        state,
        body,
        owner: owned("owner"),
        group: owned("group"),
        mode,
        recurse,
        force: flag(fields, "force"),
        parents: flag(fields, "parents"),
    };
    Ok((path, wanted))
}

/// Where something is wanted.
struct Spot<'a> {
    path: &'a Path,
    directory: bool,
    state: State,
}

/// The result path; mistakes in the fields that make it.
fn check_path(id: &ResourceId, fields: &Fields, errors: &mut Vec<FieldError>) -> String {
    if let Some(dirname) = text(fields, "dirname").filter(|dir| !dir.ends_with('/')) {
        let message = format!("`dirname` is `{dirname}`, which does not end in a slash");
        errors.push(mistake("dirname", message, &format!("write `{dirname}/`")));
    }
    if let Some(basename) = text(fields, "basename").filter(|base| base.starts_with('/')) {
        let message = format!("`basename` is `{basename}`, which starts with a slash");
        errors.push(mistake("basename", message, "give only the last part of the path"));
    }
    let path = result_path(id.name(), fields);
    if let Some(message) = too_long(&path) {
        errors.push(FieldError { field: None, message, help: Some("choose a shorter one".into()) });
        // In its place one that gives no further reason to complain.
        return if path.ends_with('/') { "/long/".to_owned() } else { "/long".to_owned() };
    }
    if !path.starts_with('/') {
        let field = ["dirname", "path"].into_iter().find(|name| text(fields, name).is_some());
        errors.push(FieldError {
            field,
            message: format!("the path `{path}` is not absolute"),
            help: Some("give a path that starts with a slash, with `path` or as the name".into()),
        });
    }
    if path.contains('\0') {
        errors.push(FieldError {
            field: None,
            message: "the path contains a NUL byte".to_owned(),
            help: Some("remove it".to_owned()),
        });
    }
    path
}

fn check_state(fields: &Fields, errors: &mut Vec<FieldError>) -> State {
    match text(fields, "state") {
        None | Some("undefined") => State::Undefined,
        Some("exists") => State::Exists,
        Some("absent") => State::Absent,
        Some(other) => {
            let message = format!("`state` is `{other}`");
            errors.push(mistake("state", message, "write `exists`, `absent` or `undefined`"));
            State::Undefined
        }
    }
}

fn check_mode(fields: &Fields, errors: &mut Vec<FieldError>) -> Option<u32> {
    let mode = text(fields, "mode")?;
    let octal = mode.strip_prefix("0o").unwrap_or(mode);
    let digits = !octal.is_empty() && octal.bytes().all(|b| (b'0'..=b'7').contains(&b));
    match u32::from_str_radix(octal, 8) {
        Ok(bits) if digits && bits <= 0o7777 => Some(bits),
        _ => {
            let message = format!("`mode` is `{mode}`, which is not an octal mode up to 7777");
            errors.push(mistake("mode", message, "write octal digits, for instance `0644`"));
            None
        }
    }
}

fn check_content(
    fields: &Fields,
    directory: bool,
    state: State,
    errors: &mut Vec<FieldError>,
) -> Option<Declared> {
    let content = Declared::of(fields)?;
    check_filled("content", directory, state, errors);
    let bytes = content.bytes().len();
    if bytes > CONTENT_MAX {
        let message = format!("`content` has {bytes} bytes; at most {CONTENT_MAX} are possible");
        errors.push(mistake("content", message, "ship large files another way"));
    }
    Some(content)
}

/// What every field that fills a file refuses.
fn check_filled(name: &'static str, directory: bool, state: State, errors: &mut Vec<FieldError>) {
    if directory {
        let help = format!("take the slash off the end of the path, or remove `{name}`");
        errors.push(mistake(name, format!("a directory cannot have `{name}`"), &help));
    }
    if state == State::Absent {
        let help = format!("remove `{name}`, or write `state: exists`");
        errors.push(mistake(name, format!("`{name}` contradicts `state: absent`"), &help));
    }
}

fn check_fragments(
    fields: &Fields,
    spot: &Spot<'_>,
    errors: &mut Vec<FieldError>,
) -> Option<Vec<Fragment>> {
    let paths = list(fields, "fragments")?;
    check_filled("fragments", spot.directory, spot.state, errors);
    let mut refuse = |message: String, help| errors.push(mistake("fragments", message, help));
    if paths.is_empty() {
        refuse(
            "`fragments` is empty".to_owned(),
            "name files, or write `content: \"\"` for an empty one",
        );
    }
    let mut fragments = Vec::new();
    for path in &paths {
        if let Some(message) = too_long(path) {
            refuse(format!("`fragments`: {message}"), "choose a shorter one");
            continue;
        }
        if !path.starts_with('/') {
            let message = format!("the fragment `{path}` is not an absolute path");
            refuse(message, "give a path that starts with a slash");
        }
        if path.contains('\0') {
            refuse("a fragment contains a NUL byte".to_owned(), "remove it");
        }
        let fragment = Fragment { path: clean_path(path), directory: path.ends_with('/') };
        let inside = fragment.directory && spot.path.parent() == Some(&fragment.path);
        if inside || fragment.path == spot.path {
            let message = format!("the fragment `{path}` holds the file that it is a part of");
            refuse(message, "choose another path for one of them");
        }
        fragments.push(fragment);
    }
    Some(fragments)
}

fn check_source(fields: &Fields, spot: &Spot<'_>, errors: &mut Vec<FieldError>) -> Option<PathBuf> {
    let source = text(fields, "source")?;
    if spot.state == State::Absent {
        check_filled("source", false, spot.state, errors);
    }
    if flag(fields, "symlink") {
        return Some(PathBuf::from(source));
    }
    let mut refuse = |message: String, help: &str| errors.push(mistake("source", message, help));
    if let Some(message) = too_long(source) {
        refuse(format!("`source`: {message}"), "choose a shorter one");
        return None;
    }
    if !source.starts_with('/') {
        let message = format!("`source` is `{source}`, which is not absolute");
        refuse(message, "give a path that starts with a slash");
    }
    let clean = clean_path(source);
    match (spot.directory, source.ends_with('/')) {
        (true, false) => refuse(
            format!("the path is a directory, and `source` is the file `{source}`"),
            &format!("write `{source}/` if it is a directory, or take the slash off the path"),
        ),
        (false, true) => refuse(
            format!("`source` is the directory `{source}`, and the path is a file"),
            "end the path with a slash, and add `recurse: true`",
        ),
        (true, true) if !flag(fields, "recurse") => {
            refuse("a directory as `source` needs `recurse`".to_owned(), "add `recurse: true`")
        }
        (true, true) if clean.starts_with(spot.path) || spot.path.starts_with(&clean) => refuse(
            format!("`source` is `{source}`: it and its copy lie in each other"),
            "choose another path for one of them",
        ),
        (false, false) if clean == spot.path => refuse(
            "`source` is the file itself".to_owned(),
            "name another file, or remove `source`",
        ),
        _ => {}
    }
    Some(PathBuf::from(source))
}

/// At most one field says what a file holds.
fn check_alone(fields: &Fields, errors: &mut Vec<FieldError>) {
    let content = str_field(fields, "content").map(|_| "content");
    let source = text(fields, "source").map(|_| "source");
    let fragments = fields.get("fragments").map(|_| "fragments");
    let given: Vec<&'static str> = [content, source, fragments].into_iter().flatten().collect();
    for pair in given.windows(2) {
        let message = format!("`{}` and `{}` exclude each other", pair[0], pair[1]);
        errors.push(mistake(pair[1], message, "keep the one that says what the file holds"));
    }
}

fn check_link(fields: &Fields, spot: &Spot<'_>, errors: &mut Vec<FieldError>) {
    if !flag(fields, "symlink") {
        return;
    }
    let mut refuse = |field, message: &str, help| {
        errors.push(mistake(field, message.to_owned(), help));
    };
    if text(fields, "source").is_none() {
        refuse(
            "symlink",
            "`symlink` without `source` points nowhere",
            "add `source`, what the link points to",
        );
    }
    if spot.directory {
        refuse(
            "symlink",
            "the path ends in a slash, and a link is no directory",
            "take the slash off the end of the path",
        );
    }
    if text(fields, "mode").is_some() {
        refuse("mode", "a link has no mode", "remove `mode`, or set it where the link points to");
    }
}

fn check_recurse(fields: &Fields, spot: &Spot<'_>, errors: &mut Vec<FieldError>) {
    let (recurse, purge) = (flag(fields, "recurse"), flag(fields, "purge"));
    let absent = spot.state == State::Absent;
    let mut refuse = |field, message: &str, help| {
        errors.push(mistake(field, message.to_owned(), help));
    };
    for (name, given) in [("recurse", recurse), ("purge", purge)] {
        let makes_room = name == "recurse" && flag(fields, "force");
        if given && !spot.directory && !makes_room {
            refuse(
                name,
                &format!("`{name}` is for directories, and the path has no slash at its end"),
                "end the path with a slash, or remove it",
            );
        }
    }
    if purge && !recurse {
        refuse("purge", "`purge` needs `recurse`", "add `recurse: true`");
    }
    if purge && absent {
        refuse("purge", "`purge` contradicts `state: absent`", "remove `purge`");
    }
    let useful = purge || absent || text(fields, "source").is_some();
    if recurse && spot.directory && !useful {
        refuse(
            "recurse",
            "`recurse` does nothing without `source`, `purge` or `state: absent`",
            "add what is meant, or remove it",
        );
    }
    if spot.path == Path::new("/") && (purge || absent || recurse) {
        refuse("path", "the root directory can be neither filled nor removed", "name another path");
    }
}
