//! Rows D1 to D8: exporters against each other and against this host.

use super::*;
use crate::collect::Content;

fn motd(from: &str, content: &str, revision: i64) -> Export {
    let given = [("path", "/etc/motd"), ("content", content)];
    Export { revision, ..export(from, "file[motd]", &[], &given) }
}

fn content(found: &Collection) -> Vec<&str> {
    let one = |one| crate::kind::str_field(one, "content").unwrap_or_default();
    found.resources.iter().map(|it| one(&it.fields)).collect()
}

const WANTED: &str = "XC01 file[motd]: web1, web2 differ in content; held, rule motd";

#[test]
fn d1_equal_exports_are_one_resource() {
    let found = files(vec![motd("web2", "x", 1), motd("web1", "x", 1)], &["rule: motd"]).run();
    assert_eq!(ids(&found), ["file[motd]"]);
    assert_eq!(found.resources[0].from, [host("web1"), host("web2")]);
    assert_eq!(found.messages, Vec::<String>::new());
}

#[test]
fn d2_different_ones_are_held_and_all_else_is_applied() {
    let exports = vec![motd("web1", "1", 1), motd("web2", "2", 2), file("web1", "a", "/etc/a")];
    let found = files(exports, &["rule: motd"]).run();
    assert_eq!(found.messages, [WANTED]);
    assert_eq!(ids(&found), ["file[a]"]);
    assert!(found.held[0].code.degrades());
}

#[test]
fn d3_what_was_applied_stays() {
    let mut site = files(vec![motd("web1", "1", 1)], &["rule: motd"]);
    site.previous = site.run().resources;
    site.exports.push(motd("web2", "2", 2));
    let found = site.run();
    assert_eq!(content(&found), ["1"]);
    assert_eq!(found.messages, [WANTED]);
}

#[test]
fn d4_a_rule_can_say_who_wins() {
    let exports = || vec![motd("web1", "1", 5), motd("web2", "2", 3)];
    let prefer = files(exports(), &["conflict: {prefer: [\"web2\"]}"]).run();
    assert_eq!((content(&prefer), &prefer.messages), (vec!["2"], &Vec::new()));
    let newest = files(exports(), &["conflict: newest"]).run();
    assert_eq!((content(&newest), &newest.messages), (vec!["1"], &Vec::new()));
    let both = files(exports(), &["rule: motd, conflict: {prefer: [\"web*\"]}"]).run();
    assert_eq!(both.messages, [WANTED], "two that are preferred alike");
    let none = files(exports(), &["rule: motd, conflict: {prefer: [\"db*\"]}"]).run();
    assert_eq!(none.messages, [WANTED]);
}

fn with_local(local: &str, exports: Vec<Export>) -> Collection {
    let rest =
        format!("resources: {{file: [{local}]}}\ncollect:\n- {{rule: r, kind: file, within: /}}\n");
    site(exports, &rest).run()
}

#[test]
fn d5_a_local_resource_wins() {
    let found =
        with_local("{name: motd, path: /etc/motd, content: local}", vec![motd("web1", "1", 1)]);
    assert_eq!(found.messages, ["XC02 file[motd]: local resource wins over web1, rule r"]);
    assert!(found.resources.is_empty());
    let same =
        with_local("{name: motd, path: /etc/motd, content: \"1\"}", vec![motd("web1", "1", 1)]);
    assert_eq!(same.messages, Vec::<String>::new());
}

#[test]
fn d6_two_names_for_one_target_are_both_held() {
    let exports = vec![file("web1", "a", "/srv/x"), file("web2", "b", "/srv/x")];
    let found = files(exports, &["rule: r"]).run();
    assert_eq!(found.messages, ["XC03 file[a], file[b]: same target /srv/x; held"]);
    assert!(found.resources.is_empty());
}

#[test]
fn d7_a_local_resource_keeps_its_target() {
    let found = with_local("{name: a, path: /srv/x}", vec![file("web2", "b", "/srv/x")]);
    assert_eq!(found.messages, ["XC03 file[b]: same target /srv/x as local file[a]; held"]);
    assert!(found.resources.is_empty());
}

#[test]
fn d8_what_is_not_understood_holds_only_itself() {
    let mut newer = file("web1", "n", "/etc/n");
    newer.content = Content::Unknown("record version 9".to_owned());
    let exports = vec![
        export("web1", "file[a]", &[], &[("path", "/a"), ("colour", "red")]),
        export("web1", "warp[w]", &[], &[]),
        newer,
        file("web1", "good", "/etc/good"),
    ];
    let found = files(exports, &["rule: r"]).run();
    let wanted = [
        "XC07 file[a] from web1: unknown field colour; held, rule r",
        "XC12 file[n] from web1: record version 9 is unknown here; ignored, rule r",
        "XC12 warp[w] from web1: unknown kind; ignored",
    ];
    assert_eq!(found.messages, wanted);
    assert_eq!(ids(&found), ["file[good]"]);
}

#[test]
fn all_legacy_rules_of_a_kind_stand_at_the_place_of_the_first() {
    let rules = "collect:\n- {rule: first, kind: file, within: /, where: {name: a}}\n\
        - {kind: file, pattern: /x/}\n- {rule: never, kind: file, within: /}\n\
        - {kind: file, pattern: /y/}\n";
    let found = site(vec![file("h", "a", "/etc/a"), file("h", "b", "/etc/b")], rules).run();
    let wanted = [("file[a]", "/etc/a"), ("file[b]", "/y/b")];
    assert_eq!(places(&found), wanted.map(|(id, path)| (id.to_owned(), path.to_owned())));
    let (_, warned) = yaml::parse(&format!("graph: g\n{rules}"));
    let shadowed = "XC11 rule never: the legacy rule for file takes all of its exports";
    assert!(warned.iter().any(|one| one.message == shadowed), "{warned:?}");
}
