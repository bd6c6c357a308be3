//! A few ids, mostly one: that one costs no memory of its own.

/// At least one id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ids {
    One(u64),
    Many(Vec<u64>),
}

impl Ids {
    pub(super) fn as_slice(&self) -> &[u64] {
        match self {
            Ids::One(id) => std::slice::from_ref(id),
            Ids::Many(ids) => ids,
        }
    }

    pub(super) fn push(&mut self, id: u64) {
        match self {
            Ids::One(first) => *self = Ids::Many(vec![*first, id]),
            Ids::Many(ids) => ids.push(id),
        }
    }

    /// Takes an id out; whether none is left.
    pub(super) fn remove(&mut self, id: u64) -> bool {
        match self {
            Ids::One(only) => *only == id,
            Ids::Many(ids) => {
                ids.retain(|one| *one != id);
                ids.is_empty()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_is_there_until_it_is_taken_out() {
        let mut ids = Ids::One(1);
        assert!(!ids.remove(2) && ids.as_slice() == [1]);
        ids.push(2);
        ids.push(3);
        assert_eq!(ids.as_slice(), [1, 2, 3]);
        assert!(!ids.remove(1) && !ids.remove(3) && ids.as_slice() == [2]);
        assert!(ids.remove(2));
        assert!(Ids::One(4).remove(4));
    }
}
