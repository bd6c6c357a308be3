//! Which vertices a watch touches, and what stands in for watches that the kernel has not.

use super::*;
use crate::ident::ResourceId;

fn vertex(name: &str) -> VertexId {
    VertexId { resource: ResourceId::new("file", name), generation: 1 }
}

fn exhausted() -> Option<WatchError> {
    Some(WatchError { message: "none left".to_owned(), exhausted: true })
}

fn path(name: &str) -> Vec<Watch> {
    vec![Watch::Path { path: name.into(), children: false }]
}

#[tokio::test]
async fn a_path_that_finds_no_watch_left_is_polled_until_it_gets_one() {
    let hub = HubHandle::answering(|path| if path == "/one" { exhausted() } else { None });
    let mut watches = Watches::new(hub);
    let (one, two) = (vertex("one"), vertex("two"));
    let start = Instant::now();
    assert_eq!(watches.add(&one, path("/one"), start).await, Ok(()), "it is no error");
    assert_eq!(watches.add(&two, path("/two"), start).await, Ok(()));
    assert_eq!(watches.next_tick(), Some(start + POLL));
    assert_eq!(watches.due(start + POLL), std::slice::from_ref(&one));
    let again = watches.due(start + 2 * POLL);
    assert_eq!(again, std::slice::from_ref(&one), "again and again");
    let (id, _) = watches.paths.iter().find(|(_, vertex)| **vertex == one).unwrap();
    let well = Touched { id: *id, error: None };
    assert_eq!(watches.told(well, start), Some((one, None)));
    assert_eq!(watches.next_tick(), None, "a watch was given back, and nothing is polled");
}

#[tokio::test]
async fn a_watch_that_is_lost_later_is_polled_and_forgotten_with_its_vertex() {
    let mut watches = Watches::new(HubHandle::answering(|_| None));
    let one = vertex("one");
    let start = Instant::now();
    watches.add(&one, path("/one"), start).await.unwrap();
    assert_eq!(watches.next_tick(), None);
    let id = *watches.paths.keys().next().unwrap();
    for _ in 0..3 {
        let lost = Touched { id, error: exhausted() };
        assert_eq!(watches.told(lost, start), Some((one.clone(), None)));
    }
    assert_eq!(watches.ticks.len(), 1, "polled once, however often it is told");
    watches.remove(&one).await;
    assert_eq!((watches.next_tick(), watches.polled.len()), (None, 0));
}

#[tokio::test]
async fn any_other_error_is_one() {
    let denied = || Some(WatchError { message: "denied".to_owned(), exhausted: false });
    let mut watches = Watches::new(HubHandle::answering(move |_| denied()));
    let added = watches.add(&vertex("one"), path("/one"), Instant::now()).await;
    assert_eq!((added, watches.next_tick()), (Err("denied".to_owned()), None));
}
