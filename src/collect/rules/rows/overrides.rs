//! Rows C1 to C10: what a rule makes of an export.

use super::*;

const VHOSTS: &str = "rule: r, set: {path: \"/srv/{{ host }}/{{ name }}\"}, \
    as: {name: \"{{ host }}-{{ name }}\"}";

fn with(rule: &str, exports: Vec<Export>) -> Try {
    site(exports, &format!("collect:\n- {{kind: file, {rule}}}\n"))
}

fn vhost(name: &str) -> Export {
    export("web1", &format!("file[{name}]"), &[], &[("path", "/etc/n/v"), ("content", "A")])
}

fn text<'a>(one: &'a Collected, field: &str) -> Option<&'a str> {
    crate::kind::str_field(&one.fields, field)
}

#[test]
fn c1_name_and_path_are_made_of_the_exporters_data() {
    let found = with(VHOSTS, vec![vhost("vhost")]).run();
    let wanted = [("file[web1-vhost]".to_owned(), "/srv/web1/vhost".to_owned())];
    assert_eq!(places(&found), wanted);
    assert_eq!(text(&found.resources[0], "content"), Some("A"));
    assert_eq!(found.resources[0].rule.as_deref(), Some("r"));
}

#[test]
fn c2_a_name_that_is_no_path_segment_is_refused() {
    let found = with(VHOSTS, vec![vhost("../x"), vhost("good")]).run();
    let wanted =
        "XC04 file[web1-../x] from web1: \"../x\" is not one path segment; refused, rule r";
    assert_eq!(found.messages, [wanted]);
    assert_eq!(ids(&found), ["file[web1-good]"]);
}

#[test]
fn c3_slug_makes_a_segment_of_any_name() {
    let rule = VHOSTS.replace("{{ name }}", "{{ name|slug }}");
    let found = with(&rule, vec![vhost("a/b")]).run();
    assert_eq!(places(&found), [("file[web1-a-b]".to_owned(), "/srv/web1/a-b".to_owned())]);
}

#[test]
fn c4_of_two_rules_that_match_the_first_takes_it_unless_it_is_not_final() {
    let a = || vec![export("web1", "file[a]", &[], &[("path", "/etc/a"), ("content", "A")])];
    let found = files(a(), &["rule: r1, where: {name: a}", "rule: r2"]).run();
    assert_eq!(found.resources[0].rule.as_deref(), Some("r1"));
    assert_eq!(ids(&found), ["file[a]"]);
    let both = [
        "rule: r1, where: {name: a}, final: false",
        "rule: r2, as: {name: second}, set: {path: /srv/x/a}",
    ];
    assert_eq!(ids(&files(a(), &both).run()), ["file[a]", "file[second]"]);
    let same = ["rule: r1, final: false", "rule: r2, set: {content: B}"];
    let found = files(a(), &same).run();
    let wanted = "XC01 file[a]: web1 differs in content; held, rules r1, r2";
    assert_eq!(found.messages, [wanted]);
    assert!(found.resources.is_empty());
}

#[test]
fn c5_only_the_fields_that_are_taken_stay() {
    let setid = [("path", "/etc/n/v"), ("content", "A"), ("mode", "4755"), ("owner", "root")];
    let exports = vec![export("web1", "file[vhost]", &[], &setid)];
    let found = with(&format!("{VHOSTS}, take: [content]"), exports.clone()).run();
    let fields: Vec<&str> = found.resources[0].fields.keys().collect();
    assert_eq!(fields, ["content", "path"], "mode and owner are at the kind's default");
    assert_eq!(found.messages, Vec::<String>::new());
    let found = with(&format!("{VHOSTS}, drop: [mode, owner]"), exports.clone()).run();
    assert_eq!(found.resources[0].fields.keys().collect::<Vec<_>>(), ["content", "path"]);
    let found = with(&format!("{VHOSTS}, unset: [mode, owner, content]"), exports).run();
    assert_eq!(found.resources[0].fields.keys().collect::<Vec<_>>(), ["path"]);
}

#[test]
fn c6_a_mode_with_setid_needs_consent() {
    let setid = || export("web1", "file[a]", &[], &[("path", "/etc/a"), ("mode", "4755")]);
    let found = files(vec![setid()], &["rule: r"]).run();
    let wanted = "XC06 file[a] from web1: mode 4755 needs allow: [setid]; refused, rule r";
    assert_eq!(found.messages, [wanted]);
    assert_eq!(ids(&files(vec![setid()], &["allow: [setid]"]).run()), ["file[a]"]);
    // What the rule itself says needs no consent; what it takes from a label does.
    assert_eq!(ids(&files(vec![setid()], &["set: {mode: \"4755\"}"]).run()), ["file[a]"]);
    let labelled = export("web1", "file[a]", &[("m", "4755")], &[("path", "/etc/a")]);
    let found = files(vec![labelled], &["rule: r, set: {mode: \"{{ labels.m }}\"}"]).run();
    assert_eq!(found.messages, [wanted]);
}

#[test]
fn c7_what_reads_or_removes_files_of_this_host_needs_consent() {
    let with =
        |more: (&str, &str)| vec![export("web1", "file[a]", &[], &[("path", "/etc/a"), more])];
    let found = files(with(("source", "/etc/shadow")), &["rule: r"]).run();
    let wanted = "XC06 file[a] from web1: source reads files of this host; \
        needs allow: [local-source]; refused, rule r";
    assert_eq!(found.messages, [wanted]);
    let found = files(with(("source", "/etc/shadow")), &["allow: [local-source]"]).run();
    assert_eq!(ids(&found), ["file[a]"]);
    let found = files(with(("state", "absent")), &["rule: r"]).run();
    assert!(found.messages[0].contains("needs allow: [remove]"), "{:?}", found.messages);
    assert_eq!(ids(&files(with(("state", "absent")), &["allow: [remove]"]).run()), ["file[a]"]);
}

#[test]
fn c8_a_missing_label_holds_only_its_own_export() {
    let with_path = |path| vec![("path", path), ("content", "x")];
    let exports = vec![
        export("web1", "file[a]", &[("mode", "0640")], &with_path("/etc/a")),
        export("web2", "file[b]", &[], &with_path("/etc/b")),
    ];
    let found = files(exports, &["rule: r, set: {mode: \"{{ labels.mode }}\"}"]).run();
    assert_eq!(text(&found.resources[0], "mode"), Some("0640"));
    assert_eq!(ids(&found), ["file[a]"]);
    assert_eq!(found.messages, ["XC05 file[b] from web2: labels.mode is undefined; held, rule r"]);
    assert!(found.held[0].code.degrades());
}

#[test]
fn c9_exported_text_is_never_compiled() {
    let exports =
        vec![export("web1", "file[a]", &[], &[("path", "/etc/a"), ("content", "{{ 7*7 }}")])];
    let found = files(exports.clone(), &["rule: r"]).run();
    assert_eq!(text(&found.resources[0], "content"), Some("{{ 7*7 }}"));
    let found = files(exports, &["set: {content: \"<{{ fields.content }}>\"}"]).run();
    assert_eq!(text(&found.resources[0], "content"), Some("<{{ 7*7 }}>"));
}

#[test]
fn c10_meta_comes_from_the_rule() {
    let found = files(vec![file("web1", "a", "/etc/a")], &["meta: {noop: true}"]).run();
    assert!(found.resources[0].meta.noop);
    assert!(!files(vec![file("web1", "a", "/etc/a")], &["rule: r"]).run().resources[0].meta.noop);
}

#[test]
fn a_value_that_is_one_expression_keeps_its_type() {
    let exports =
        vec![export("web1", "file[a/]", &[], &[("path", "/etc/a/"), ("parents", "true")])];
    let found = files(exports, &["set: {parents: \"{{ fields.parents }}\"}"]).run();
    assert_eq!(found.resources[0].fields.get("parents"), Some(&Value::Bool(true)));
    let wrong =
        files(vec![file("web1", "a", "/etc/a")], &["rule: r, set: {parents: \"{{ name }}\"}"]);
    let wanted =
        "XC07 file[a] from web1: field parents wants true or false, got text; held, rule r";
    assert_eq!(wrong.run().messages, [wanted]);
}

#[test]
fn into_is_the_arithmetic_of_legacy_rules_and_stays_in_its_directory() {
    let found = site(superposition(), "collect:\n- {kind: file, into: /tmp/mgmtA/}\n").run();
    let paths: Vec<String> = places(&found).into_iter().map(|(_, path)| path).collect();
    let wanted = ["mgmtA/", "mgmtB/", "mgmtC/", "mgmtD/", "mgmtE/", "fA"];
    assert_eq!(paths, wanted.map(|last| format!("/tmp/mgmtA/{last}")));
    let out = export("h1", "file[a]", &[], &[("basename", "../../etc/cron.d/x")]);
    let found = site(vec![out], "collect:\n- {rule: r, kind: file, into: /tmp/mgmtA/}\n").run();
    let wanted = "XC04 file[a] from h1: /tmp/mgmtA/../../etc/cron.d/x leaves /tmp/mgmtA/; \
        refused, rule r";
    assert_eq!(found.messages, [wanted]);
}
