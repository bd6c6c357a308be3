//! What is left over of commands that were killed, and may be removed without asking. The deciding
//! half is pure.

use std::collections::BTreeMap;
use std::time::Duration;

use super::diff::Listed;
use super::label::{self, Lease, Owner};
use crate::engine::{Image, Labels};

/// Images of nodes that are kept although no container uses them: the current one and the one
/// before.
const IMAGES_KEPT: usize = 2;
/// How old something must be whose owner nobody here can look up.
pub(crate) const OLDER_THAN: Duration = Duration::from_secs(3600);

/// What is known about an owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owned {
    /// It runs.
    Alive,
    /// It has ended.
    Dead,
    /// It belongs to another boot or another process namespace, so nobody here can tell.
    Elsewhere,
}

/// Clusters that are left over, by name. A cluster is removed as a whole: the newest of its objects
/// decides.
pub(crate) fn leftovers(
    listed: &Listed,
    now: u64,
    older_than: Duration,
    owned: &impl Fn(&Owner) -> Owned,
) -> Vec<String> {
    let left = |name: &String| left_over(&listed.of(name), now, older_than, owned);
    listed.clusters().into_iter().filter(left).collect()
}

/// Whether one cluster's objects are left over. One whose lease is `keep` is, if it was never
/// finished.
pub(crate) fn left_over(
    ours: &Listed,
    now: u64,
    older_than: Duration,
    owned: &impl Fn(&Owner) -> Owned,
) -> bool {
    // What nodes hold beyond their cluster is nobody's leftover.
    let ours = ours.without_state();
    let all: Vec<&Labels> = (ours.containers.iter().map(|c| &c.labels))
        .chain(ours.networks.iter().map(|n| &n.labels))
        .chain(ours.volumes.iter().map(|v| &v.labels))
        .collect();
    if all.is_empty() {
        return false;
    }
    let kept = all.iter().any(|labels| label::get(labels, label::LEASE) != Lease::Book.as_str());
    if kept && ours.finished() {
        return false;
    }
    let may_go = |labels: &&Labels| {
        let owner = Owner::from_label(label::get(labels, label::OWNER));
        match owner.map_or(Owned::Elsewhere, |owner| owned(&owner)) {
            Owned::Alive => false,
            Owned::Dead => true,
            Owned::Elsewhere => {
                let made: u64 = label::get(labels, label::MADE).parse().unwrap_or(0);
                now.saturating_sub(made) >= older_than.as_secs()
            }
        }
    };
    all.iter().all(may_go)
}

/// Tags of node images that no container uses, without the newest ones. `images` come newest first.
pub(crate) fn old_images(images: &[Image], listed: &Listed) -> Vec<String> {
    let used = |image: &Image| {
        let key = label::get(&image.labels, label::IMAGE_KEY);
        (listed.containers.iter()).any(|c| {
            c.image == image.id
                || image.tags.contains(&c.image)
                || (!key.is_empty() && label::get(&c.labels, label::IMAGE_KEY) == key)
        })
    };
    let ours = images.iter().filter(|image| image.labels.contains_key(label::IMAGE_KEY));
    let mut kept: BTreeMap<&str, usize> = BTreeMap::new();
    let old = ours.filter(|image| !used(image)).filter(|image| {
        // Those of the nodes and those of the helpers, each for themselves.
        let tag = image.tags.first().map(String::as_str).unwrap_or_default();
        let count = kept.entry(tag.rsplit_once(':').map_or(tag, |(name, _)| name)).or_default();
        *count += 1;
        *count > IMAGES_KEPT
    });
    old.flat_map(|image| image.tags.iter().cloned()).collect()
}

#[cfg(test)]
mod tests {
    use super::super::spec::Wanted;
    use super::super::spec::tests::{PLACE, owner, wanted};
    use super::*;
    use crate::engine::{Network, Volume};

    const HOUR: Duration = Duration::from_secs(3600);

    /// A cluster that is a network and, when finished, a marker.
    fn listed(lease: Lease, finished: bool, made: u64) -> Listed {
        let wanted = Wanted { lease, ..wanted(1) };
        let labels = wanted.network(&PLACE, &owner(), made).labels;
        let network =
            Network { id: String::new(), name: "quorate-demo".to_owned(), labels, subnets: vec![] };
        let (name, labels) = wanted.marker(&owner(), made);
        let volumes = if finished { vec![Volume { name, labels }] } else { vec![] };
        Listed { networks: vec![network], volumes, ..Listed::default() }
    }

    #[test]
    fn only_what_nobody_works_on_or_wants_is_removed() {
        for (lease, finished, owned, age, gone) in [
            (Lease::Keep, true, Owned::Dead, 9999, false),
            (Lease::Keep, false, Owned::Dead, 0, true),
            (Lease::Keep, false, Owned::Alive, 9999, false),
            (Lease::Book, true, Owned::Dead, 0, true),
            (Lease::Book, true, Owned::Alive, 9999, false),
            (Lease::Book, false, Owned::Elsewhere, 3599, false),
            (Lease::Book, true, Owned::Elsewhere, 3600, true),
            (Lease::Keep, true, Owned::Elsewhere, 9999, false),
        ] {
            let listed = listed(lease, finished, 1000);
            let seen = leftovers(&listed, 1000 + age, HOUR, &|_| owned);
            assert_eq!(!seen.is_empty(), gone, "{lease:?} {finished} {owned:?} {age}");
        }
    }

    #[test]
    fn what_nodes_hold_beyond_their_cluster_is_never_a_leftover() {
        let mut listed = listed(Lease::Keep, false, 0);
        let wanted = Wanted { persist: true, ..wanted(1) };
        let (name, labels) = wanted.state(1, &PLACE, &owner(), 0);
        listed.volumes.push(Volume { name, labels });
        let seen = leftovers(&listed, 9999, HOUR, &|_| Owned::Dead);
        assert_eq!(seen, ["demo"], "the unfinished network goes");
        listed.networks.clear();
        assert!(leftovers(&listed, 9999, HOUR, &|_| Owned::Dead).is_empty());
        assert_eq!(listed.of("demo").stored(), (vec!["h1".to_owned()], Some(PLACE)));
    }

    #[test]
    fn objects_without_our_labels_are_never_considered() {
        let mut listed = listed(Lease::Book, false, 0);
        listed.networks[0].labels.clear();
        assert!(leftovers(&listed, 9999, HOUR, &|_| Owned::Dead).is_empty());
    }

    #[test]
    fn one_object_of_a_living_owner_keeps_the_whole_cluster() {
        let mut listed = listed(Lease::Book, true, 0);
        let living = Owner { pid: 8, ..owner() };
        listed.volumes[0].labels.insert(label::OWNER.to_owned(), living.to_label());
        let owned = |o: &Owner| {
            if o.pid == 8 { Owned::Alive } else { Owned::Dead }
        };
        assert!(leftovers(&listed, 9999, HOUR, &owned).is_empty());
    }

    #[test]
    fn the_newest_unused_images_stay() {
        let image = |key: &str| Image {
            id: format!("sha256:{key}"),
            tags: vec![format!("localhost/quorate-node:{key}")],
            labels: [(label::IMAGE_KEY.to_owned(), key.to_owned())].into(),
            size: 1,
        };
        let foreign = Image { labels: Labels::new(), ..image("x") };
        let images = [image("d"), foreign, image("c"), image("b"), image("a")];
        let mut listed = Listed::default();
        assert_eq!(old_images(&images, &listed).len(), 2);
        listed.containers.push(crate::engine::Container {
            id: String::new(),
            name: "quorate-demo-h1".to_owned(),
            image: "localhost/quorate-node:b".to_owned(),
            labels: Labels::new(),
            state: crate::engine::State::Exited,
            created: 0,
        });
        assert_eq!(old_images(&images, &listed), ["localhost/quorate-node:a"]);
    }
}
