//! mgmt's YAML surface: one row for each of the 68 files of its `examples/yaml`, and for those of
//! its shell tests that concern YAML. What a row must show is shown in our own words and files,
//! with the real agent in a folder of the test's own, seconds scaled down.
//!
//! Refuses rows without a test: a row names who shows it, and a test here holds the names to the
//! source.

#[path = "support/etcd.rs"]
mod program;
mod support;

#[path = "surface/cluster.rs"]
mod cluster;
#[path = "surface/driven.rs"]
mod driven;
#[path = "surface/files.rs"]
mod files;
#[path = "surface/metas.rs"]
mod metas;
#[path = "surface/order.rs"]
mod order;
#[path = "surface/refused.rs"]
mod refused;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Output};

use support::{PROGRAM, Site};

/// Runs a graph until all is done; the folder in which it ran.
fn converged(graph: &str) -> Site {
    let site = Site::new();
    site.write("site.yaml", graph);
    let mut agent = site.agent(&["--converged-timeout", "0", "yaml", "DIR/site.yaml"]);
    assert_eq!(agent.end(20).code(), Some(0), "{graph}{}", agent.log());
    site
}

/// What `quorate check` says about a graph.
fn answer(graph: &str) -> Output {
    let site = Site::new();
    let file = site.write("site.yaml", graph);
    Command::new(PROGRAM).arg("check").arg(file).output().expect("the program starts")
}

/// What is said about a graph that is refused.
fn refused(graph: &str) -> String {
    let output = answer(graph);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{graph}{said}");
    said
}

/// Who shows a row: a file of the repository and words in it that are there as long as it does.
type Shown = (&'static str, &'static str);

const ORDER: &str = "tests/surface/order.rs";
const FILES: &str = "tests/surface/files.rs";
const METAS: &str = "tests/surface/metas.rs";
const DRIVEN: &str = "tests/surface/driven.rs";
const CLUSTER: &str = "tests/surface/cluster.rs";
const REFUSED: &str = "tests/surface/refused.rs";

/// The files that are shown by more than a line of the table of refusals.
const ROWS: [(&str, Shown); 49] = [
    ("autoedges1", (FILES, "fn autoedges1_")),
    ("autoedges3", (REFUSED, "fn autoedges3_")),
    ("deep-dirs", (FILES, "fn deep_dirs_")),
    ("etcd1a", (CLUSTER, "fn etcd1a_to_etcd1e_")),
    ("etcd1b", (CLUSTER, "fn etcd1a_to_etcd1e_")),
    ("etcd1c", (CLUSTER, "fn etcd1a_to_etcd1e_")),
    ("etcd1d", (CLUSTER, "fn etcd1a_to_etcd1e_")),
    ("etcd1e", (CLUSTER, "fn etcd1a_to_etcd1e_")),
    ("exec1", (ORDER, "fn exec1_")),
    ("exec1a", (ORDER, "fn exec1a_")),
    ("exec1b", (ORDER, "fn exec1b_")),
    ("exec1c", (DRIVEN, "fn exec1c_")),
    ("exec1d", (DRIVEN, "fn exec1c_and_exec1d_")),
    ("exec2", (ORDER, "fn exec2_")),
    ("exec3", (ORDER, "fn exec3_names")),
    ("exec3-sema", (ORDER, "fn exec3_sema_")),
    ("file0", (FILES, "fn file0_")),
    ("file1", (FILES, "fn file1_")),
    ("file2", (FILES, "fn file2_")),
    ("file3", (METAS, "fn file3_")),
    ("file4", (FILES, "fn file0_and_file4_")),
    ("graph0", (FILES, "fn graph0_")),
    ("graph10", (ORDER, "fn graph10_")),
    ("graph1a", (FILES, "fn graph1a_")),
    ("graph1b", (FILES, "fn graph1a_and_graph1b_")),
    ("graph3a", (CLUSTER, "fn graph3a_")),
    ("graph3b", (CLUSTER, "fn graph3a_")),
    ("graph3c", (CLUSTER, "fn graph3a_")),
    ("graph4", (CLUSTER, "fn graph4_")),
    ("graph5", (CLUSTER, "fn graph4_and_graph5_")),
    ("graph6", (FILES, "fn graph6_")),
    ("graph7", (ORDER, "fn graph7_")),
    ("graph9", (ORDER, "fn graph9_")),
    ("kv1", (DRIVEN, "fn kv1_to_kv4_")),
    ("kv2", (DRIVEN, "fn kv1_to_kv4_")),
    ("kv3", (DRIVEN, "fn kv1_to_kv4_")),
    ("kv4", (DRIVEN, "fn kv1_to_kv4_")),
    ("limit1", (METAS, "fn limit1_")),
    ("msg1", (DRIVEN, "fn msg1_")),
    ("noop0", (FILES, "fn graph6_and_noop0_")),
    ("noop1", (METAS, "fn noop1_")),
    ("noop2", (METAS, "fn noop2_")),
    ("poll1", (METAS, "fn poll1_")),
    ("remote1", (REFUSED, "fn remote1_")),
    ("remote2a", (REFUSED, "fn remote1_")),
    ("remote2b", (REFUSED, "fn remote1_")),
    ("retry1", (METAS, "fn retry1_")),
    ("timer1", (DRIVEN, "fn timer1_")),
    ("timer2", (DRIVEN, "fn timer1_and_timer2_")),
];

/// Shell tests of mgmt that concern YAML, or how an agent with a graph ends. Those of its language,
/// of its Go library and of its network card are not ours.
const SHELL_ROWS: [(&str, Shown); 29] = [
    ("t1", ("tests/cli.rs", "fn help_has_every_command")),
    ("t2", (FILES, "fn t2_")),
    ("t3", (CLUSTER, "fn graph3a_")),
    ("t5", (ORDER, "fn graph10_")),
    ("t5b", (ORDER, "fn graph9_")),
    ("t6", (FILES, "fn t6_")),
    ("t7", (FILES, "fn t7_")),
    ("augeas-1", (REFUSED, "kind `augeas` is not built yet")),
    ("exec-fail", (DRIVEN, "fn exec_fail_")),
    ("exec-usergroup", (DRIVEN, "fn exec_usergroup_")),
    ("file-mode", (FILES, "fn file_mode_")),
    ("file-owner", (FILES, "fn file_owner_")),
    ("file-move", (FILES, "fn file_move_is")),
    ("file-move-upper-dir", (FILES, "fn file_move_upper_dir_")),
    ("graph-exit1", ("tests/agent.rs", "fn the_first_signal_lets_the_running_step_finish")),
    ("graph-exit2", (METAS, "fn graph_exit2_")),
    ("graph-fanin-1", (ORDER, "fn graph9_")),
    ("sema-1", (ORDER, "fn sema_1_")),
    ("etcd-two-hosts", ("tests/etcd.rs", "fn three_agents_started_together")),
    ("etcd-three-hosts", ("tests/etcd.rs", "fn three_agents_started_together")),
    ("etcd-conflicting-server", ("tests/etcd.rs", "fn each_impossible_start_is_refused")),
    ("etcd-clustersize", ("tests/etcd.rs", "fn at_the_ideal_size_others_stay_volunteers")),
    ("prometheus-1", ("tests/seeing.rs", "metrics")),
    ("prometheus-2", ("tests/seeing.rs", "metrics")),
    ("prometheus-3", ("tests/seeing.rs", "quorate_runs_total")),
    ("prometheus-4", ("tests/seeing.rs", "quorate_resources")),
    ("etcd1 in a cluster", ("examples/etcd1/README.md", "etcd1e.yaml")),
    ("yaml-change1", ("tests/agent.rs", "fn an_edit_swaps_the_graph_and_a_broken_edit_keeps_it")),
    ("acceptance 5", (FILES, "fn one_of_ten_thousand_")),
];

#[test]
fn every_file_and_every_shell_test_has_somebody_who_shows_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (row, (file, words)) in ROWS.iter().chain(&SHELL_ROWS) {
        let text = std::fs::read_to_string(root.join(file)).expect(file);
        assert!(text.contains(words), "{row}: {file} has no {words:?} any more");
    }
    let all: BTreeSet<&str> = ROWS.iter().map(|(row, _)| *row).chain(refused::files()).collect();
    assert_eq!(all.len(), 68, "{all:?}");
    assert_eq!(ROWS.len() + refused::files().count(), 68, "a row is there twice");
}
