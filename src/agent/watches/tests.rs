//! Which vertices a watch touches, and what stands in for watches that the kernel has not.

use super::*;
use crate::ident::ResourceId;

fn vertex(name: &str) -> VertexId {
    VertexId { resource: ResourceId::new("file", name), generation: 1 }
}

fn on(hub: HubHandle) -> Watches {
    Watches::new(hub, Commands::new().0)
}

fn exhausted() -> Option<WatchError> {
    Some(WatchError { message: "none left".to_owned(), exhausted: true })
}

async fn add(
    watches: &mut Watches,
    vertex: &VertexId,
    path: &str,
    now: Instant,
) -> Result<(), String> {
    let wanted = vec![Watch::Path { path: Path::new(path).into(), children: false }];
    watches.add_all(vec![(vertex.clone(), wanted)], now).await.remove(0).1
}

#[tokio::test]
async fn that_no_watch_is_left_for_a_path_is_no_error_and_forgotten_with_its_vertex() {
    let hub = HubHandle::answering(|path| if path == "/one" { exhausted() } else { None });
    let mut watches = on(hub);
    let (one, two) = (vertex("one"), vertex("two"));
    let start = Instant::now();
    assert_eq!(add(&mut watches, &one, "/one", start).await, Ok(()), "it is no error");
    assert_eq!(add(&mut watches, &two, "/two", start).await, Ok(()));
    assert_eq!((watches.next_tick(), watches.polled.len()), (None, 1));
    let (id, _) = watches.paths.iter().find(|(_, vertex)| **vertex == one).unwrap();
    let (id, told) = (*id, Told { vertex: one.clone(), watching: None, happened: true });
    for _ in 0..3 {
        let lost = Touched { id, happened: true, error: exhausted() };
        assert_eq!(watches.told(lost), Some(told.clone()));
    }
    assert_eq!(watches.told(Touched { id, happened: true, error: None }), Some(told));
    assert_eq!(watches.polled.len(), 0, "a watch was given back");
    watches.told(Touched { id, happened: true, error: exhausted() });
    watches.remove(&one).await;
    assert_eq!(watches.polled.len(), 0);
}

#[tokio::test]
async fn any_other_error_is_one() {
    let denied = || Some(WatchError { message: "denied".to_owned(), exhausted: false });
    let mut watches = on(HubHandle::answering(move |_| denied()));
    let added = add(&mut watches, &vertex("one"), "/one", Instant::now()).await;
    assert_eq!((added, watches.next_tick()), (Err("denied".to_owned()), None));
}

#[tokio::test]
async fn of_many_each_gets_its_own_answer() {
    let refused = || Some(WatchError { message: "no".to_owned(), exhausted: false });
    let hub = HubHandle::answering(move |path| if path == "/two" { refused() } else { None });
    let mut watches = on(hub);
    let entry = |path: &str| Watch::Path { path: Path::new(path).into(), children: false };
    let wanted = vec![
        (vertex("one"), vec![entry("/one"), Watch::Key("k".to_owned())]),
        (vertex("none"), Vec::new()),
        (vertex("two"), vec![entry("/three"), entry("/two")]),
    ];
    let answers = watches.add_all(wanted, Instant::now()).await;
    let refusal = Err("no".to_owned());
    let expected = [(vertex("one"), Ok(())), (vertex("none"), Ok(())), (vertex("two"), refusal)];
    assert_eq!(answers, expected);
    assert_eq!(watches.of_key("k").len(), 1);
    assert_eq!(watches.paths.len(), 3, "what is refused now may be told later");
}

#[tokio::test]
async fn a_healthy_watch_does_not_clear_the_error_of_another() {
    let mut watches = on(HubHandle::answering(|_| None));
    let one = vertex("one");
    let entry = |path: &str| Watch::Path { path: Path::new(path).into(), children: false };
    let wanted = vec![entry("/a"), entry("/b"), entry("/c")];
    let now = Instant::now();
    watches.add_all(vec![(one.clone(), wanted)], now).await;
    let ids: BTreeSet<u64> = watches.paths.keys().copied().collect();
    let ids: Vec<u64> = ids.into_iter().collect();
    let mut tell = |at: usize, why: Option<&str>| {
        let error = why.map(|why| WatchError::from(why.to_owned()));
        watches.told(Touched { id: ids[at], happened: true, error }).unwrap().watching
    };
    assert_eq!(tell(0, Some("a is gone")), Some(Some("a is gone".to_owned())));
    assert_eq!(tell(1, None), None, "the other one is as broken as before");
    assert_eq!(tell(2, Some("c is gone")), None, "one reason is enough");
    assert_eq!(tell(0, None), Some(Some("c is gone".to_owned())));
    assert_eq!(tell(0, None), None);
    assert_eq!(tell(2, None), Some(None), "only now all are well");
}

#[tokio::test]
async fn of_two_refused_watches_of_a_vertex_neither_hides_the_other() {
    let hub = HubHandle::answering(|path| (path != "/c").then(|| path.to_owned().into()));
    let mut watches = on(hub);
    let one = vertex("one");
    let entry = |path: &str| Watch::Path { path: Path::new(path).into(), children: false };
    let wanted = vec![(one.clone(), vec![entry("/a"), entry("/b"), entry("/c")])];
    let answers = watches.add_all(wanted, Instant::now()).await;
    assert_eq!(answers, [(one.clone(), Err("/a".to_owned()))]);
    assert_eq!(watches.broken[&one].len(), 2);
    watches.remove(&one).await;
    assert_eq!(watches.error_of(&one), None);
}

#[tokio::test]
async fn a_timer_that_is_armed_anew_ticks_once_at_its_new_interval() {
    let mut watches = on(HubHandle::answering(|_| None));
    let (one, other) = (vertex("one"), vertex("other"));
    let (start, second) = (Instant::now(), Duration::from_secs(1));
    let every =
        |vertex: &VertexId, seconds| vec![(vertex.clone(), vec![Watch::Every(seconds * second)])];
    watches.add_all(every(&one, 2), start).await;
    watches.add_all(every(&other, 100), start).await;
    watches.add_all(every(&vertex("third"), 100), start).await;
    for _ in 0..50 {
        watches.remove(&one).await;
        watches.add_all(every(&one, 3), start).await;
    }
    assert!(watches.ticks.len() < 8, "{} ticks are kept for three timers", watches.ticks.len());
    assert_eq!(watches.due(start + 2 * second), []);
    assert_eq!(watches.due(start + 3 * second), std::slice::from_ref(&one));
    assert_eq!(watches.due(start + 6 * second), std::slice::from_ref(&one));
    watches.remove(&one).await;
    assert_eq!(watches.due(start + 9 * second), []);
    assert_eq!(watches.due(start + 100 * second).len(), 2);
}

#[tokio::test]
async fn a_vertex_with_commands_is_watched_when_all_of_them_were_started() {
    let mut watches = on(HubHandle::answering(|_| None));
    let one = vertex("one");
    let entry = Watch::Path { path: Path::new("/a").into(), children: false };
    let command = || Watch::Command(crate::kind::process::Line::default());
    let wanted = vec![(one.clone(), vec![command(), entry, command()])];
    assert_eq!(watches.add_all(wanted, Instant::now()).await, [], "nobody waits for them");
    let mut tell = |id, happened, why: Option<&str>| {
        let error = why.map(|why| WatchError::from(why.to_owned()));
        let told = watches.told(Touched { id, happened, error }).unwrap();
        (told.watching, told.happened)
    };
    let ids = [2, 4];
    let watched = |watches: &Watches| {
        let more = watches.held[&one].more.as_ref();
        more.map_or_else(Vec::new, |more| more.commands.clone())
    };
    assert_eq!(tell(ids[0], false, Some("no")), (None, false));
    assert_eq!(tell(ids[1], false, None), (Some(Some("no".to_owned())), false));
    assert_eq!(tell(ids[1], true, None), (None, true));
    assert_eq!(tell(ids[0], false, None), (Some(None), false));
    assert_eq!(watched(&watches), ids);
}

#[tokio::test]
async fn a_graph_file_that_cannot_be_watched_is_looked_at_until_it_can() {
    let mut watches = on(HubHandle::answering(|_| exhausted()));
    let begin = Instant::now();
    watches.add_source(Path::new("/graph.yaml").into()).await.unwrap();
    let first = watches.next_tick().unwrap();
    assert!(first >= begin + POLL);
    assert!(!watches.source_due(begin) && watches.source_due(first));
    assert!(!watches.source_due(first), "not at once again");
    assert_eq!(watches.next_tick(), Some(first + POLL));
    watches.source_told(None, first);
    assert_eq!(watches.next_tick(), None);
    watches.source_told(Some("denied".to_owned().into()), first);
    assert!(watches.source_due(first + POLL), "whatever the reason is");
}
