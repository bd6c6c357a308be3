//! What everything compiled anew gives is the truth: what is collected again leads to exactly that.

use super::*;
use crate::collect::{Address, Content, DEFAULT_CHANNEL, Policy};
use crate::ident::HostName;
use crate::matching::Me;
use crate::spec::{Fields, Value};
use crate::yaml;

const SITE: &str = "\
graph: g
resources:
  file:
  - name: /d/
    state: exists
  - name: /d/mine
    content: x
collect:
- kind: file
  pattern: /d/
";

fn export(from: &str, name: &str, content: &str) -> Arc<Export> {
    let from = HostName::parse(from).expect("a host name");
    let (channel, kind) = (DEFAULT_CHANNEL.to_owned(), "file".to_owned());
    let address = Address { channel, kind, from, name: name.to_owned() };
    let pairs = [("content", content), ("path", "/x/")];
    let path = |value: &str| format!("{value}{name}");
    let pairs = pairs.map(|(field, value)| match field {
        "path" => (field, Value::Str(path(value))),
        _ => (field, Value::Str(value.to_owned())),
    });
    Arc::new(Export {
        address,
        content: Content::Fields(Fields::from(pairs)),
        revision: 1,
        labels: Default::default(),
        to: crate::spec::HostSelector::everybody(),
    })
}

#[test]
fn what_is_collected_again_is_what_is_compiled_anew() {
    let a = |content| export("h2", "a", content);
    let table = [
        ("nothing", vec![a("x"), export("h2", "b", "x")], true),
        ("a value", vec![a("y"), export("h2", "b", "x")], true),
        (
            "an exporter more who agrees",
            vec![a("x"), export("h2", "b", "x"), export("h3", "a", "x")],
            false,
        ),
        ("one who does not", vec![a("x"), export("h2", "b", "x"), export("h3", "a", "y")], true),
        ("an export more", vec![a("x"), export("h2", "b", "x"), export("h2", "c", "x")], false),
        ("an export less", vec![a("x")], false),
        (
            "one that the local resource wins over",
            vec![a("x"), export("h2", "b", "x"), export("h2", "mine", "y")],
            true,
        ),
    ];
    let program = yaml::parse(SITE).0.expect("the file is good");
    let me = Me::new(HostName::parse("h1").expect("a host name"));
    let hosts = std::collections::BTreeMap::new();
    let site = Site { me: &me, hosts: &hosts, policy: &Policy::Absent, proved: None };
    let lock = Semaphore::parse("all").ok();
    for everywhere in [Everywhere::default(), Everywhere { noop: true, lock }] {
        let local = Local::default();
        let here = Here { program: &program, local: &local, site, everywhere: &everywhere };
        let before = [a("x"), export("h2", "b", "x")];
        let old = compile(here, &before, &[]).expect("it compiles");
        let graph = Arc::new(old.graph);
        assert_eq!(old.collected.len(), 2, "{:?}", old.messages);
        for (what, exports, alone) in &table {
            let again = recollect(here, exports, &old.collected, &graph);
            assert_eq!(again.is_some(), *alone, "{what}");
            let Some(again) = again else { continue };
            let fresh = Here { local: &Local::default(), ..here };
            let whole = compile(fresh, exports, &old.collected).expect("it compiles");
            assert_eq!(*again.graph, whole.graph, "{what}");
            assert_eq!(again.messages, whole.messages, "{what}");
            assert_eq!(again.collected, whole.collected, "{what}");
            assert_eq!(Arc::ptr_eq(&again.graph, &graph), *again.graph == *graph, "{what}");
        }
    }
}
