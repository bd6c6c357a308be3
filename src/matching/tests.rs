//! Patterns, conditions, expressions and templates, each on its own.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::spec::Value;
use crate::spec::rule::{LabelTest, Matcher};

fn host(name: &str) -> HostName {
    HostName::parse(name).unwrap()
}

fn vars() -> Vars {
    let labels = BTreeMap::from([("role".to_owned(), "web".to_owned())]);
    let fields = Fields::from([
        ("content", Value::Str("{{ 7*7 }}".to_owned())),
        ("recurse", Value::Bool(true)),
        ("size", Value::Int(7)),
    ]);
    let subject = Subject {
        name: "a/b",
        kind: "file",
        host: &host("web1"),
        channel: "default",
        labels: &labels,
        host_labels: &BTreeMap::new(),
        fields: &fields,
    };
    Vars::of_export(&subject, &Me::new(host("lb1")))
}

fn text(source: &str) -> Result<String, String> {
    Template::new(source, Scope::Export)?.text(&vars()).map_err(|error| error.to_string())
}

fn path(source: &str) -> Result<String, String> {
    Template::new(source, Scope::Export)?.path(&vars()).map_err(|error| error.to_string())
}

fn truth(source: &str) -> Result<bool, String> {
    Expression::new(source, Scope::Export)?.truth(&vars())
}

#[test]
fn a_glob_crosses_slashes_in_names_and_not_in_paths() {
    let glob = Matcher::Glob("/etc/*".to_owned());
    assert!(Pattern::new(&glob).unwrap().matches("/etc/n/b"));
    let of_path = Pattern::of_path(&glob).unwrap();
    assert!(of_path.matches("/etc/a") && !of_path.matches("/etc/n/b"));
}

#[test]
fn globs_that_are_empty_or_not_closed_and_regexes_that_are_no_good_are_refused() {
    for wrong in ["", "[ab", "{a,b", "a]b}"] {
        if wrong == "a]b}" {
            // A bracket that nothing opened: only the brace is wrong.
            assert!(Pattern::new(&Matcher::Glob("ab}".to_owned())).is_err());
            continue;
        }
        assert!(Pattern::new(&Matcher::Glob(wrong.to_owned())).is_err(), "{wrong:?}");
    }
    for wrong in ["(", "a)|(b", "[", &"a".repeat(257), "(a{1000}){1000}"] {
        assert!(Pattern::new(&Matcher::Regex(wrong.to_owned())).is_err(), "{wrong:?}");
    }
    let alternatives = Pattern::new(&Matcher::Regex("a|bc".to_owned())).unwrap();
    assert!(alternatives.matches("bc") && !alternatives.matches("xbc"), "all of it has to match");
}

#[test]
fn hosts_are_chosen_by_form_or_by_label_and_a_wrong_selector_means_nobody() {
    let labels = BTreeMap::from([("site".to_owned(), "a".to_owned())]);
    let among = |selector: &HostSelector| is_among(selector, &host("web1"), &labels);
    assert!(among(&HostSelector::Names(vec!["db*".into(), "web*".into()])));
    assert!(!among(&HostSelector::Names(Vec::new())), "nobody");
    assert!(!among(&HostSelector::Names(vec!["[".into()])));
    let test = |value: &str| {
        let matches = LabelTest::Matches(Matcher::Glob(value.to_owned()));
        HostSelector::Labels(BTreeMap::from([("site".to_owned(), matches)]))
    };
    assert!(among(&test("a")) && !among(&test("b")));
    assert!(check_hosts(&test("[")).is_err());
}

#[test]
fn an_expression_gives_true_or_false_or_says_nothing() {
    assert_eq!(truth("host != me.host and labels.role == 'web'"), Ok(true));
    assert_eq!(truth("labels.role == 'db'"), Ok(false));
    assert_eq!(truth("labels.role"), Err("if gave a string, wanted true or false".into()));
    assert_eq!(truth("labels.tier == 'x'"), Err("labels.tier is undefined".into()));
    assert_eq!(truth("not labels.tier == 'x'"), Err("labels.tier is undefined".into()));
    assert_eq!(truth("labels.tier is defined"), Ok(false));
    assert_eq!(truth("labels.tier|default('x') == 'x'"), Ok(true));
    assert_eq!(truth("rolle == 'web'"), Err("unknown variable rolle".into()));
    assert_eq!(truth("exports|length == 1"), Err("unknown variable exports".into()));
    assert!(truth("labels.role ==").is_err());
    assert!(truth("range(3)|length == 3").is_err(), "there are no functions");
}

#[test]
fn a_text_is_a_template_and_one_expression_alone_keeps_its_type() {
    let value = |source: &str| {
        Template::new(source, Scope::Export)?.value(&vars()).map_err(|error| error.to_string())
    };
    assert_eq!(value("{{ fields.recurse }}"), Ok(Value::Bool(true)));
    assert_eq!(value("{{ fields.size }}"), Ok(Value::Int(7)));
    assert_eq!(value("n {{ fields.size }}"), Ok(Value::Str("n 7".into())));
    assert_eq!(value("{{ fields.recurse }}\n"), Ok(Value::Str("true\n".into())), "newline kept");
    assert_eq!(value("{{ labels.mode }}"), Err("labels.mode is undefined".into()));
    assert_eq!(value("x{{ labels.mode }}"), Err("labels.mode is undefined".into()));
    assert_eq!(text("{{ fields.content }}"), Ok("{{ 7*7 }}".into()), "exported text is data");
    assert_eq!(text("{{ labels|tojson }}"), Ok("{\"role\":\"web\"}".into()));
    assert_eq!(
        text("{{ name|basename }} {{ name|dirname }} {{ name|slug }}"),
        Ok("b a a-b".into())
    );
    assert_eq!(value("{{ '}}' }}"), Ok(Value::Str("}}".into())));
}

#[test]
fn what_is_put_into_a_path_is_one_part_of_it() {
    assert_eq!(path("/srv/{{ host }}/x"), Ok("/srv/web1/x".into()));
    assert_eq!(path("/srv/{{ name }}"), Err("\"a/b\" is not one path segment".into()));
    assert_eq!(path("/srv/{{ name|slug }}"), Ok("/srv/a-b".into()));
    assert_eq!(path("/srv/{{ name|subpath }}"), Ok("/srv/a/b".into()));
    for wrong in ["..", ".", "", "/etc", "a/../b", "a//b"] {
        assert!(path(&format!("/srv/{{{{ '{wrong}'|subpath }}}}")).is_err(), "{wrong:?}");
        assert!(path(&format!("/srv/{{{{ '{wrong}' }}}}")).is_err(), "{wrong:?}");
    }
    // What was marked is judged again where it is put in.
    assert!(path("/srv/{{ 'a/..b'|subpath|trim('b') }}").is_err());
    assert_eq!(literal_prefix("/srv/{{ host }}/a"), Some("/srv/"));
    assert_eq!(literal_prefix("/{{ host }}"), None);
    assert_eq!(literal_prefix("/srv/up"), Some("/srv/"));
    assert_eq!(literal_prefix("{{ host }}/a"), None);
}

#[test]
fn no_source_takes_much_time_memory_or_stack() {
    let long = |count: usize| format!("{{{{ {}1 }}}}", "1+".repeat(count));
    assert!(text(&long(2000)).is_err(), "a block that is too long");
    assert!(text(&long(400)).is_ok());
    assert!(text(&format!("{{{{ {}1{} }}}}", "(".repeat(500), ")".repeat(500))).is_err());
    assert!(text(&format!("{{{{ {{'a': {{}}}}.a ~ {}1 }}}}", "1+".repeat(2000))).is_err());
    assert!(text(&format!("{{{{ '}}}}' ~ {}1 }}}}", "1+".repeat(2000))).is_err());
    let nested = "{% if true %}".repeat(2000) + &"{% endif %}".repeat(2000);
    assert!(text(&nested).is_err(), "too many statements");
    let elifs = format!("{{% if false %}}{}{{% endif %}}", "{% elif false %}".repeat(3000));
    assert!(text(&elifs).is_err());
    let spent = Err("it takes too much work or memory".to_owned());
    assert!(text("{{ ('x' * 90000000)|length }}").is_err(), "a text repeated");
    let doubled = "{% set x = 'aaaaaaaaaaaaaaaa' %}".to_owned()
        + &"{% set x = x ~ x %}".repeat(40)
        + "{{ x|length }}";
    assert_eq!(text(&doubled), spent);
    let more = "|replace('a', 'aaaaaaaaaaaaaaaaaaaa')".repeat(8);
    let replaced = format!("{{{{ 'aaaaaaaaaaaaaaaaaaaa'{more} }}}}");
    assert_eq!(text(&replaced), spent);
    let looped = "{% set l = 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa' %}".to_owned()
        + &"{% for a in l %}".repeat(8)
        + &"{% endfor %}".repeat(8);
    assert_eq!(text(&looped), spent);
    assert!(text("{% include 'x' %}").is_err() && text("{% macro m() %}{% endmacro %}").is_err());
}

#[test]
fn few_words_make_no_large_value() {
    let value = |source: &str| {
        Template::new(source, Scope::Export)?.value(&vars()).map_err(|error| error.to_string())
    };
    let too_much = Err("it gives more than 1048576 bytes".to_owned());
    let list = Value::List(vec![Value::Str("a/b".to_owned()), Value::Str("a/b".to_owned())]);
    assert_eq!(value("{{ [name] * 2 }}"), Ok(list));
    for source in [
        "{{ [1] * 20000 }}",
        "{{ [[1] * 1000] * 1000 }}",
        "{{ ['x' * 1000000] * 2 }}",
        "{{ 'x' * 1048577 }}",
        "{{ {'a': 'x' * 600000, 'b': 'x' * 600000} }}",
    ] {
        assert_eq!(value(source), too_much, "{source}");
        let json = source.replace("{{ ", "{{ (").replace(" }}", ")|tojson }}");
        assert_eq!(value(&json), too_much, "{json}");
        if !source.contains("{ 'x'") {
            assert_eq!(value(&format!("x{source}")), too_much, "as a text: {source}");
        }
    }
    let json = "{{ ('x' * 500000)|tojson|length }}";
    assert_eq!(value(json), Ok(Value::Int(500_002)));
    // Each is small enough, and all of them together take too long.
    let often = format!("{}{json}{}", "{% for a in 'aaaaaaaaaa' %}", "{% endfor %}");
    assert_eq!(value(&often), Err("it takes too much work or memory".to_owned()));
}

proptest! {
    #[test]
    fn any_source_is_a_template_or_not_without_a_panic(
        source in
            "(\\{\\{|\\}\\}|\\{%|%\\}| |host|labels\\.a|'|\"|\\||\\(|\\)|if|for|in|~|\\PC){0,24}",
    ) {
        if let Ok(template) = Template::new(&source, Scope::Export) {
            let (_, path) = (template.value(&vars()), template.path(&vars()));
            if let (Ok(path), true) = (path, template.is_literal()) {
                prop_assert_eq!(path, source);
            }
        }
    }

    #[test]
    fn a_path_that_is_made_of_another_hosts_text_stays_below_its_own_part(
        name in "(\\.|/|a|\\PC|\0){0,6}",
    ) {
        let subject_vars = |name: &str| Vars::of_export(
            &Subject {
                name,
                kind: "file",
                host: &host("h"),
                channel: "default",
                labels: &BTreeMap::new(),
                host_labels: &BTreeMap::new(),
                fields: &Fields::new(),
            },
            &Me::new(host("me")),
        );
        for source in ["/srv/{{ name }}/x", "/srv/{{ name|slug }}/x", "/srv/{{ name|subpath }}/x"] {
            let template = Template::new(source, Scope::Export).unwrap();
            if let Ok(path) = template.path(&subject_vars(&name)) {
                let middle = path.strip_prefix("/srv/").unwrap().strip_suffix("/x").unwrap();
                let good = middle.split('/').all(|part| !matches!(part, "" | "." | ".."));
                prop_assert!(good && !path.contains('\0'), "{path:?}");
            }
        }
    }
}
