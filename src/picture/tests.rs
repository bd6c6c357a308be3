//! What the pictures of one graph with everything in it look like.

use super::*;
use crate::{graph, yaml};

const SITE: &str = "\
graph: site
resources:
  file:
  - name: /d/
    state: exists
  - name: /d/f
    content: x
  - name: '@@/out'
    content: x
  - name: /both
    content: x
    export: true
  noop:
  - name: 'a \"b\" <c> \\'
edges:
- {name: e1, from: {kind: file, name: /d/f}, to: {kind: noop, name: 'a \"b\" <c> \\'}, notify: true}
";

fn picture(file: &str) -> Picture {
    let program = yaml::parse(file).0.expect("the file is good");
    let compiled = graph::compile(&program, &[]).expect("it compiles");
    of(&program, &compiled.graph, |_| None)
}

#[test]
fn the_text_is_in_the_order_of_the_runs_and_says_what_becomes_of_each() {
    assert_eq!(
        text(&picture(SITE)),
        "graph site: 5 resources, 2 edges\n\
         \x20 file[/both]        exported\n\
         \x20 file[/d/]\n\
         \x20 file[/out]         exported, not applied here\n\
         \x20 file[/d/f]         after file[/d/] (automatic)\n\
         \x20 noop[a \"b\" <c> \\]  after file[/d/f] (notify)\n"
    );
}

#[test]
fn automatic_edges_are_dashed_notify_is_marked_and_absent_ones_are_dotted_in_every_drawing() {
    let picture = picture(SITE);
    let dot = dot(&picture);
    assert!(dot.contains("n1 -> n2 [style=dashed];"), "{dot}");
    assert!(dot.contains("n2 -> n4 [penwidth=2, label=\"e1, notify\"];"), "{dot}");
    assert!(dot.contains("exported, not applied here\", style=\"rounded,dotted\"]"), "{dot}");
    let mermaid = mermaid(&picture);
    assert!(mermaid.contains("n1 -.-> n2\n"), "{mermaid}");
    assert!(mermaid.contains("n2 == \"e1, notify\" ==> n4\n"), "{mermaid}");
    assert!(mermaid.contains("class n3 absent\n"), "{mermaid}");
    let svg = svg(&picture);
    assert!(svg.contains("class=\"edge automatic\"") && svg.contains("class=\"edge notify\""));
    assert!(svg.contains("class=\"box absent\"") && svg.contains(">e1, notify</text>"));
}

#[test]
fn names_with_quotes_and_markup_break_no_format() {
    let picture = picture(SITE);
    assert!(dot(&picture).contains("label=\"noop[a \\\"b\\\" <c> \\\\]\"]"));
    assert!(mermaid(&picture).contains("n4[\"noop[a #34;b#34; #60;c#62; #92;]\"]"));
    assert!(svg(&picture).contains(">noop[a &quot;b&quot; &lt;c&gt; \\]</text>"));
}

#[test]
fn a_picture_has_no_script_and_refers_to_nothing_outside() {
    let svg = svg(&picture(SITE));
    let own = svg.replacen("http://www.w3.org/2000/svg", "", 1);
    assert!(!own.contains("http") && !own.contains("<script") && !own.contains("href"), "{svg}");
    assert_eq!(svg.matches("<g ").count(), svg.matches("</g>").count());
    assert_eq!(svg.matches("<text ").count(), svg.matches("</text>").count());
}

#[test]
fn an_edge_to_what_is_not_collected_yet_is_shown() {
    let picture = picture(
        "graph: g\nresources:\n  noop:\n  - name: n\ncollect:\n- {kind: kv}\n\
         edges:\n- {from: {kind: kv, name: k}, to: {kind: noop, name: n}}\n",
    );
    assert!(text(&picture).contains("kv[k]    not collected yet"), "{}", text(&picture));
    assert_eq!(picture.edges.len(), 1);
}

#[test]
fn the_json_form_is_read_back_as_it_was() {
    let picture = picture(SITE);
    let json = serde_json::to_string(&picture).expect("it is plain data");
    assert_eq!(serde_json::from_str::<Picture>(&json).expect("it is ours"), picture);
    assert!(json.starts_with("{\"v\":1,\"graph\":\"site\",\"resources\":[{\"id\":\"file[/both]\""));
}

#[test]
fn a_circle_that_somebody_made_up_is_drawn_and_not_followed_for_ever() {
    let mut picture = picture(SITE);
    let back = Link { from: "noop[a \"b\" <c> \\]".into(), ..picture.edges[0].clone() };
    picture.edges.push(Link { to: "file[/d/]".into(), ..back });
    picture.edges.push(Link { from: "nobody".into(), ..picture.edges[0].clone() });
    for draw in [text, dot, mermaid, svg] {
        assert!(draw(&picture).contains("/d/f"));
    }
}
