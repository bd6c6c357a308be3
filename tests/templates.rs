//! What the worst templates cost: none takes more than 64 MiB or 50 ms of a processor.
//!
//! Refuses what the engine does not charge for: to compare large texts and lists with each other,
//! to cut them, and to join them by `~`.
//! A program of its own with a single test, as memory is that of the whole process.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;
use quorate::ident::HostName;
use quorate::matching::{Expression, Me, Scope, Subject, Template, Vars};
use quorate::spec::{Fields, Value};

/// The most memory, in KiB.
const MEMORY_KIB: u64 = 64 << 10;
/// The most time of a processor; without optimisation everything takes a multiple.
const TIME: Duration = Duration::from_millis(if cfg!(debug_assertions) { 2000 } else { 50 });
/// How often each is tried: the fastest counts, as others use the machine too.
const TRIES: usize = 3;
/// The largest text that an export can have.
const LARGE: usize = 16 << 20;

/// A number of `/proc/self/status`, in KiB.
fn status(name: &str) -> u64 {
    let text = fs::read_to_string("/proc/self/status").expect("Linux tells");
    let line = text.lines().find_map(|line| line.strip_prefix(name)).expect("it is there");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// Time of a processor that this thread has used.
fn used() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_THREAD).expect("it tells");
    let of = |time: TimeVal| {
        let micros = u64::try_from(time.tv_sec() * 1_000_000 + time.tv_usec());
        Duration::from_micros(micros.expect("it runs forwards"))
    };
    of(usage.user_time()) + of(usage.system_time())
}

/// What the fastest of some tries takes.
fn cost(run: impl Fn()) -> Duration {
    let once = |_| {
        let began = used();
        run();
        used() - began
    };
    (0..TRIES).map(once).min().unwrap_or_default()
}

/// Sources that make as much as they can of little, with what they see.
fn sources() -> Vec<(Scope, String)> {
    let each = |times: usize, inner: &str| {
        "{% for a in fields.letters %}".repeat(times) + inner + &"{% endfor %}".repeat(times)
    };
    let export = [
        // Texts that double, repeat, and grow by what replaces them.
        "{% set x = 'aaaaaaaaaaaaaaaa' %}".to_owned()
            + &"{% set x = x ~ x %}".repeat(40)
            + "{{ x|length }}",
        format!("{{{{ 'aaaaaaaaaaaaaaaaaaaa'{} }}}}", "|replace('a', 'aaaaaaaaaaaa')".repeat(9)),
        "{{ ('x' * 60000000)|length }}".to_owned(),
        "{{ 'x' * 60000000 }}".to_owned(),
        "{{ ('x' * 30000000)|upper|lower|trim('y')|length }}".to_owned(),
        "{{ fields.content|slug }}".to_owned(),
        "{{ fields.content|tojson }}".to_owned(),
        "{{ fields.content|replace('x', 'yy')|replace('y', '')|length }}".to_owned(),
        // One text many times, in a list or a map, as a value and as a text.
        "{{ [fields.content] * 60 }}".to_owned(),
        "x{{ [fields.content] * 60 }}".to_owned(),
        "{{ ([fields.content] * 60)|tojson }}".to_owned(),
        "{{ ([fields.content] * 60)|join }}".to_owned(),
        "{{ [1] * 1000000000 }}".to_owned(),
        "{{ [[[1] * 1000] * 1000] * 1000 }}".to_owned(),
        "{{ ([[[1] * 1000] * 1000] * 1000)|tojson }}".to_owned(),
        "x{{ [[[1] * 1000] * 1000] * 1000 }}".to_owned(),
        "{{ ([1] * 1000000000)|length }}".to_owned(),
        "{{ ([1] * 1000000000)|sort|length }}".to_owned(),
        "{{ ([1] * 1000000000)|unique|length }}".to_owned(),
        "{{ ([1] * 1000000000)|last }}".to_owned(),
        "{{ ([1] * 1000000000)|map('upper')|length }}".to_owned(),
        "{{ 1 in [2] * 1000000000 }}".to_owned(),
        "{{ {'a': fields.content, 'b': fields.content, 'c': fields.content} }}".to_owned(),
        format!("{{{{ [{}] }}}}", "fields.content,".repeat(60)),
        // Loops in loops, with much or little in them.
        each(8, ""),
        each(8, "x"),
        each(8, "{{ fields.letters|sort|join }}"),
        each(8, "{{ fields.letters|tojson }}"),
        each(8, "{{ fields.letters }}"),
        each(8, "{% set x = [a, a, a] %}"),
        each(8, "{% if 'y' in fields.content %}{% endif %}"),
        each(8, "{{ fields.content|length }}"),
        each(8, "{{ fields.content|basename }}"),
        each(8, "{{ fields[fields.content] is defined }}"),
        each(8, "{{ 9 ** 9 ** 2 }}"),
        each(8, "{{ fields.content|first }}{{ fields.content|last }}"),
        each(8, "{{ fields.content.x is defined }}"),
        "{{ fields.content }}".repeat(60),
        "{% set x = fields.content %}".to_owned() + &"{% set x = [x, x] %}".repeat(30) + "{{ x }}",
        "{% set x = [1] %}".to_owned() + &"{% set x = [x, x] %}".repeat(60) + "{{ x|tojson }}",
    ];
    let gather = [
        "{% for a in exports %}{% for b in exports %}{{ a.host }}{% endfor %}{% endfor %}",
        "{% for a in exports %}{{ exports|map(attribute='name')|sort|join(',') }}{% endfor %}",
        "{% for a in exports %}{{ exports|selectattr('name')|length }}{% endfor %}",
        "{{ exports }}",
        "{{ exports|tojson }}",
        "x{{ exports }}",
        "{{ (exports * 1000)|tojson }}",
        "{{ exports|sort|length }}",
        "{{ exports|unique|length }}",
    ];
    let gather = gather.map(|source| (Scope::Gather, source.to_owned()));
    export.into_iter().map(|source| (Scope::Export, source)).chain(gather).collect()
}

#[test]
fn no_template_takes_more_than_64_mib_or_50_ms() {
    let (host, labels) = (HostName::parse("web1").expect("a name"), BTreeMap::new());
    let letters = vec![Value::Str("abcdefgh".to_owned()); 100];
    let fields = Fields::from([
        ("content", Value::Str("x".repeat(LARGE))),
        ("letters", Value::List(letters)),
    ]);
    let small = Fields::from([("content", Value::Str("x".repeat(1000)))]);
    let subject = Subject {
        name: "n",
        kind: "file",
        host: &host,
        channel: "default",
        labels: &labels,
        host_labels: &labels,
        fields: &fields,
    };
    let me = Me::new(host.clone());
    let one = Vars::of_export(&subject, &me);
    let many = Vars::of_all(&[Subject { fields: &small, ..subject }; 10_000], &me);
    let before = status("VmRSS:");
    let mut failed = Vec::new();
    for (scope, source) in sources() {
        let vars = if scope == Scope::Gather { &many } else { &one };
        fs::write("/proc/self/clear_refs", "5").expect("the peak can be forgotten");
        let template = Template::new(&source, scope);
        let inner = source.trim_start_matches('{').trim_end_matches('}');
        let expression = Expression::new(inner, scope);
        let mut slowest = Duration::ZERO;
        if let Ok(template) = &template {
            slowest = slowest.max(cost(|| drop(template.value(vars))));
            slowest = slowest.max(cost(|| drop(template.text(vars))));
            slowest = slowest.max(cost(|| drop(template.path(vars))));
        }
        if let Ok(expression) = &expression {
            slowest = slowest.max(cost(|| drop(expression.truth(vars))));
        }
        assert!(template.is_ok() || expression.is_ok(), "{source} is no source");
        let peak = status("VmHWM:").saturating_sub(before);
        let short: String = source.chars().take(60).collect();
        println!("{:6} ms {:6} KiB  {short}", slowest.as_millis(), peak);
        if slowest > TIME || peak > MEMORY_KIB {
            failed.push(format!("{short}: {slowest:?}, {peak} KiB"));
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}
