//! The plan of a tree: tables, and random trees with the plan carried out on a model.

use proptest::prelude::*;

use super::*;

const ATTRIBUTES: Attributes = Attributes { uid: 1, gid: 2, mode: 0o100_644 };

fn want(form: Form) -> Want {
    let mode = if form == Form::Directory { 0o040_755 } else { 0o100_644 };
    Want { form, mode, bytes: 0 }
}

fn found(thing: Thing) -> Found {
    let directory = matches!(thing, Thing::Directory { .. });
    let mode = if directory { 0o040_755 } else { 0o100_644 };
    Found { thing, attributes: Attributes { mode, ..ATTRIBUTES } }
}

fn directory() -> Thing {
    Thing::Directory { mount: false }
}

fn map<T: Clone>(entries: &[(&str, T)]) -> BTreeMap<PathBuf, T> {
    entries.iter().map(|(path, entry)| (PathBuf::from(path), entry.clone())).collect()
}

fn words(
    there: &[(&str, Thing)],
    wants: &[(&str, Form)],
    terms: &Terms,
) -> Result<String, Problem> {
    let there: Vec<(&str, Found)> =
        there.iter().map(|(path, thing)| (*path, found(thing.clone()))).collect();
    let wants: Vec<(&str, Want)> =
        wants.iter().map(|(path, form)| (*path, want(form.clone()))).collect();
    plan(&map(&there), &map(&wants), terms).map(|steps| describe(&steps))
}

#[test]
fn what_is_missing_or_differs_is_made_and_the_rest_is_left_alone() {
    let wants = [("d", Form::Directory), ("d/f", Form::File), ("l", Form::Link("x".into()))];
    let terms = Terms::default();
    assert_eq!(words(&[], &wants, &terms).unwrap(), "d/ created, d/f created, l created");
    let there = [
        ("d", directory()),
        ("d/f", Thing::File { same: false }),
        ("d/mine", Thing::File { same: true }),
        ("l", Thing::Link("y".into())),
    ];
    assert_eq!(words(&there, &wants, &terms).unwrap(), "d/f written, l linked");
    let right = [
        ("d", directory()),
        ("d/f", Thing::File { same: true }),
        ("l", Thing::Link("x".into())),
        ("z", Thing::Special),
    ];
    assert_eq!(words(&right, &wants, &terms).unwrap(), "");
}

#[test]
fn purge_removes_what_is_not_wanted_and_nothing_else() {
    let wants = [("d", Form::Directory), ("d/f", Form::File)];
    let there = [
        ("d", directory()),
        ("d/f", Thing::File { same: true }),
        ("d/old", Thing::File { same: true }),
        ("e", directory()),
        ("l", Thing::Link("/etc".into())),
        ("mnt", Thing::Directory { mount: true }),
        ("p", Thing::Special),
    ];
    assert_eq!(words(&there, &wants, &Terms::default()).unwrap(), "");
    let purge = Terms { purge: true, ..Terms::default() };
    let all = "d/old removed, e removed, l removed, p removed";
    assert_eq!(words(&there, &wants, &purge).unwrap(), all, "not what is mounted");
}

#[test]
fn what_other_resources_manage_is_neither_purged_nor_written() {
    let others = BTreeSet::from(["d/f".into(), "e/x/y".into(), "w".into()]);
    let terms = Terms { purge: true, others, ..Terms::default() };
    let there = [
        ("d", directory()),
        ("d/f", Thing::File { same: true }),
        ("d/g", Thing::File { same: true }),
        ("e", directory()),
        ("e/x", directory()),
        ("e/x/y", Thing::File { same: true }),
        ("e/x/z", Thing::File { same: true }),
        ("w", Thing::File { same: false }),
    ];
    let wants = [("w", Form::File)];
    assert_eq!(words(&there, &wants, &terms).unwrap(), "d/g removed, e/x/z removed");
    let force = Terms { force: true, ..terms };
    let held = words(&there, &[("e", Form::File)], &force);
    assert_eq!(held, Err(Problem::Managed("e".into())));
}

#[test]
fn another_type_is_replaced_only_with_force() {
    let path = || PathBuf::from("x");
    let cases = [
        (directory(), Form::File, Err(Problem::IsDirectory(path())), "x removed, x created"),
        (
            directory(),
            Form::Link("t".into()),
            Err(Problem::IsDirectory(path())),
            "x removed, x created",
        ),
        (
            Thing::File { same: false },
            Form::Directory,
            Err(Problem::NotDirectory(path())),
            "x removed, x/ created",
        ),
        (
            Thing::Link("t".into()),
            Form::Directory,
            Err(Problem::NotDirectory(path())),
            "x removed, x/ created",
        ),
        (Thing::Special, Form::File, Err(Problem::IsSpecial(path())), "x removed, x created"),
        (Thing::Link("t".into()), Form::File, Ok("x written".to_owned()), "x written"),
        (
            Thing::File { same: false },
            Form::Link("t".into()),
            Ok("x linked".to_owned()),
            "x linked",
        ),
    ];
    let force = Terms { force: true, ..Terms::default() };
    for (there, wanted, gentle, forced) in cases {
        let (there, wanted) = ([("x", there)], [("x", wanted)]);
        assert_eq!(words(&there, &wanted, &Terms::default()), gentle, "{there:?}");
        assert_eq!(words(&there, &wanted, &force).unwrap(), forced, "{there:?}");
    }
    let mounted = [("x", Thing::Directory { mount: true })];
    let held = words(&mounted, &[("x", Form::File)], &force);
    assert_eq!(held, Err(Problem::Mounted(path())));
}

#[test]
fn permissions_are_copied_without_the_special_bits_and_a_directory_keeps_its_own() {
    let attributes = |mode| Attributes { mode, ..ATTRIBUTES };
    let there = map(&[
        ("d", Found { thing: directory(), attributes: attributes(0o042_700) }),
        ("f", Found { thing: Thing::File { same: true }, attributes: attributes(0o104_755) }),
    ]);
    let wants = map(&[
        ("d", Want { form: Form::Directory, mode: 0o041_755, bytes: 0 }),
        ("f", Want { form: Form::File, mode: 0o106_755, bytes: 0 }),
        ("g", Want { form: Form::File, mode: 0o106_755, bytes: 0 }),
    ]);
    let rights = Rights { ids: Ids::default(), mode: Some(0o755) };
    let steps = vec![
        Step::SetMode("d".into(), 0o2755),
        Step::SetMode("f".into(), 0o755),
        Step::Write { path: "g".into(), rights, new: true },
    ];
    assert_eq!(plan(&there, &wants, &Terms::default()), Ok(steps));
}

#[test]
fn many_steps_are_counted() {
    let names = ["a", "b", "c", "d", "e"];
    let wants: Vec<(&str, Form)> = names.iter().map(|name| (*name, Form::File)).collect();
    let there = [("z", Thing::Special)];
    let purge = Terms { purge: true, ..Terms::default() };
    assert_eq!(words(&there, &wants, &purge).unwrap(), "5 files written, 1 removed");
}

/// A small file system below the directory: what is at each name.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Node {
    Directory(u32),
    File(u8, u32),
    Link(PathBuf),
    Special,
}

type Model = BTreeMap<PathBuf, Node>;

/// What the walk would report of the model, with contents compared.
fn survey(model: &Model, source: &Model) -> BTreeMap<PathBuf, Found> {
    let one = |(path, node): (&PathBuf, &Node)| {
        let (thing, mode) = match node {
            Node::Directory(mode) => (directory(), *mode),
            Node::File(content, mode) => {
                let same =
                    matches!(source.get(path), Some(Node::File(wanted, _)) if wanted == content);
                (Thing::File { same }, *mode)
            }
            Node::Link(target) => (Thing::Link(target.clone()), 0o777),
            Node::Special => (Thing::Special, 0o644),
        };
        (path.clone(), Found { thing, attributes: Attributes { mode, ..ATTRIBUTES } })
    };
    model.iter().map(one).collect()
}

fn wants(source: &Model) -> BTreeMap<PathBuf, Want> {
    let one = |(path, node): (&PathBuf, &Node)| {
        let (form, mode) = match node {
            Node::Directory(mode) => (Form::Directory, *mode),
            Node::File(_, mode) => (Form::File, *mode),
            Node::Link(target) => (Form::Link(target.clone()), 0o777),
            Node::Special => return None,
        };
        Some((path.clone(), Want { form, mode, bytes: 0 }))
    };
    source.iter().filter_map(one).collect()
}

/// Carries one step out as strictly as a kernel would.
fn carry_out(model: &mut Model, source: &Model, step: &Step) -> Result<(), String> {
    let path = step.path();
    let inside = path.components().all(|part| matches!(part, std::path::Component::Normal(_)));
    let parent = path.parent().unwrap();
    let reachable = parent.as_os_str().is_empty()
        || parent
            .ancestors()
            .filter(|above| !above.as_os_str().is_empty())
            .all(|above| matches!(model.get(above), Some(Node::Directory(_))));
    if !inside || path.as_os_str().is_empty() || !reachable {
        return Err(format!("{step:?} leads outside"));
    }
    let there = model.get(path).cloned();
    let is_directory = matches!(there, Some(Node::Directory(_)));
    match step {
        Step::RemoveTree(_) if is_directory => model.retain(|one, _| !one.starts_with(path)),
        Step::Remove(_) if there.is_some() && !is_directory => drop(model.remove(path)),
        Step::MakeDirectory(_, rights) if there.is_none() => {
            model.insert(path.into(), Node::Directory(rights.mode.unwrap()));
        }
        Step::Write { rights, .. } if !is_directory => {
            let Some(Node::File(content, _)) = source.get(path) else {
                return Err(format!("{step:?} has no source"));
            };
            model.insert(path.into(), Node::File(*content, rights.mode.unwrap()));
        }
        Step::Link { target, .. } if !is_directory => {
            model.insert(path.into(), Node::Link(target.clone()));
        }
        Step::SetMode(_, to) => match model.get_mut(path) {
            Some(Node::Directory(mode) | Node::File(_, mode)) => *mode = *to,
            _ => return Err(format!("{step:?} on {there:?}")),
        },
        _ => return Err(format!("{step:?} on {there:?}")),
    }
    Ok(())
}

/// Random trees of three names, at most three deep.
fn trees(special: bool) -> impl Strategy<Value = Model> {
    let part = prop::sample::select(vec!["a", "b", "c"]);
    let path = prop::collection::vec(part, 1..4);
    let node = (0..if special { 8u8 } else { 7 }, 0..2u8).prop_map(|(sort, variant)| match sort {
        0..=2 => Node::Directory(if variant == 0 { 0o755 } else { 0o700 }),
        3..=5 => Node::File(variant, 0o644),
        6 => Node::Link(if variant == 0 { "/etc".into() } else { "a".into() }),
        _ => Node::Special,
    });
    prop::collection::vec((path, node), 0..14).prop_map(|entries| {
        let mut model = Model::new();
        for (parts, node) in entries {
            let path: PathBuf = parts.iter().collect();
            for above in path.parent().unwrap().ancestors().filter(|a| !a.as_os_str().is_empty()) {
                model.entry(above.into()).or_insert(Node::Directory(0o755));
            }
            model.insert(path, node);
        }
        let paths: Vec<PathBuf> = model.keys().cloned().collect();
        for path in paths {
            let mut above = path.ancestors().skip(1).filter(|one| !one.as_os_str().is_empty());
            if !above.all(|one| matches!(model.get(one), Some(Node::Directory(_)))) {
                model.remove(&path);
            }
        }
        model
    })
}

proptest! {
    /// With force, the wanted tree is there afterwards, a second plan is empty, nothing outside is
    /// touched and no link is passed through; what nobody wants stays exactly if there is no purge.
    #[test]
    fn a_plan_carried_out_gives_the_wanted_tree_and_nothing_to_do(
        before in trees(true), source in trees(false), purge: bool,
    ) {
        let terms = Terms { purge, force: true, ..Terms::default() };
        let wants = wants(&source);
        let mut model = before.clone();
        for step in plan(&survey(&model, &source), &wants, &terms).unwrap() {
            carry_out(&mut model, &source, &step).map_err(TestCaseError::fail)?;
        }
        for (path, node) in &source {
            prop_assert_eq!(model.get(path), Some(node), "{:?}", path);
        }
        if purge {
            prop_assert_eq!(&model, &source);
        }
        for (path, node) in before.iter().filter(|_| !purge) {
            let replaced = path.ancestors().any(|one| source.contains_key(one)
                && !matches!((source.get(one), before.get(one)),
                    (Some(Node::Directory(_)), Some(Node::Directory(_)))));
            if !replaced && !source.contains_key(path) {
                prop_assert_eq!(model.get(path), Some(node), "{:?} was not ours", path);
            }
        }
        prop_assert_eq!(plan(&survey(&model, &source), &wants, &terms), Ok(vec![]));
    }

    /// Without force nothing of another type goes: either the plan is refused, or no directory is
    /// removed without purge.
    #[test]
    fn without_force_and_purge_nothing_is_removed(before in trees(true), source in trees(false)) {
        let steps = plan(&survey(&before, &source), &wants(&source), &Terms::default());
        for step in steps.unwrap_or_default() {
            prop_assert!(!matches!(step, Step::Remove(_) | Step::RemoveTree(_)), "{:?}", step);
        }
    }

    /// Whatever other resources manage, and every directory on the way there, is still there.
    #[test]
    fn what_others_manage_survives_every_plan(
        before in trees(true), source in trees(false), pick in any::<prop::sample::Index>(),
        force: bool,
    ) {
        if before.is_empty() {
            return Ok(());
        }
        let (kept, node) = before.iter().nth(pick.index(before.len())).unwrap();
        let others = BTreeSet::from([kept.clone()]);
        let terms = Terms { purge: true, force, others, ..Terms::default() };
        let mut model = before.clone();
        let Ok(steps) = plan(&survey(&model, &source), &wants(&source), &terms) else {
            return Ok(());
        };
        for step in &steps {
            carry_out(&mut model, &source, step).map_err(TestCaseError::fail)?;
        }
        prop_assert_eq!(model.get(kept), Some(node));
    }
}
