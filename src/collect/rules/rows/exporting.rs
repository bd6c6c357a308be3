//! The exporting side: what a file's terms publish, on which hosts, and to whom.

use super::*;
use crate::collect::publish::{Own, Published, Session, plan, wanted};
use crate::collect::record::{Life, decode};
use crate::matching::here;
use crate::store::Op;

const VHOST: &str = "\
resources:
  file:
  - name: vhost
    path: /etc/vhost
    mode: \"0644\"
    hosts: [\"web*\"]
    hidden: true
    export:
      to: [\"lb*\"]
      channel: sites
      as: \"vhost-{{ me.host }}\"
      labels: {role: web}
      only: [path]
      set: {content: \"server {{ me.host }};\"}
      lifetime: permanent
";

fn published(text: &str, host_name: &str) -> Vec<Published> {
    wanted(&program(text), &Me::new(host(host_name)), &Policy::Absent)
}

#[test]
fn an_export_is_published_under_its_terms() {
    let found = published(VHOST, "web1");
    let [one] = &found[..] else { panic!("{found:?}") };
    assert_eq!((one.name.as_str(), one.channel.as_str()), ("vhost-web1", "sites"));
    let fields: Vec<_> = one.fields.iter().map(|(k, v)| (k.to_owned(), v.clone())).collect();
    let wanted = [
        ("content".to_owned(), Value::Str("server web1;".into())),
        ("path".to_owned(), Value::Str("/etc/vhost".into())),
    ];
    assert_eq!(fields, wanted, "mode is not among `only`");
    let session = Session {
        instance: "i".to_owned(),
        run: "r".to_owned(),
        session: "s".to_owned(),
        at: None,
    };
    let plan = plan(&host("web1"), &Own::default(), &found, &session);
    let ops = plan.txns.into_iter().flat_map(|txn| txn.then);
    let records: Vec<_> = ops
        .filter_map(|op| match op {
            Op::Put { key, value, .. } if key.contains("/x/sites/") => Some(decode("file", &value)),
            _ => None,
        })
        .collect();
    assert_eq!(records.len(), 1);
    assert_eq!(records[0].to, HostSelector::Names(vec!["lb*".into()]));
    assert_eq!(records[0].labels["role"], "web");
    assert_eq!(records[0].life, Life::Permanent);
}

#[test]
fn one_file_for_many_hosts_exports_only_where_it_says() {
    assert!(published(VHOST, "db1").is_empty(), "hosts: [\"web*\"]");
    let both = "resources:\n  file:\n  - {name: a, path: /x, hosts: [web1]}\n  \
        - {name: a, path: /y, hosts: [web2]}\n";
    for (name, path) in [("web1", "/x"), ("web2", "/y")] {
        let program = program(both);
        let here = here(&program, &Me::new(host(name)));
        let [one] = &here.resources[..] else { panic!("{here:?}") };
        assert_eq!(crate::kind::str_field(&one.fields, "path"), Some(path));
    }
}

#[test]
fn what_the_terms_cannot_make_is_named_and_not_published() {
    let text = VHOST.replace("{{ me.host }};", "{{ me.facts.ip }};");
    let found = published(&text, "web1");
    let wanted = "XE01 file[vhost]: me.facts.ip is undefined";
    assert_eq!(found[0].problem.as_deref(), Some(wanted));
    let session = Session {
        instance: "i".to_owned(),
        run: "r".to_owned(),
        session: "s".to_owned(),
        at: None,
    };
    let plan = plan(&host("web1"), &Own::default(), &found, &session);
    assert_eq!(plan.messages, [format!("{wanted}; not exported")]);
    assert_eq!(plan.exports, 0);
}

#[test]
fn a_rule_exists_only_on_its_hosts() {
    let mut site = files(vec![file("web1", "a", "/etc/a")], &["hosts: [\"lb*\"]"]);
    assert_eq!(names(&site.run()), ["a"]);
    site.me = Me::new(host("db1"));
    assert_eq!(names(&site.run()), Vec::<&str>::new());
}
