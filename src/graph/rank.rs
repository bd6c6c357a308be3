//! Where each vertex stands in the order.
//!
//! Refuses to judge a circle: that is an error of the file, and found elsewhere.

/// For each of `n` vertices the longest way to it from one that waits for nothing. The edges lead
/// from the first to the second and name no others. What stands in a circle keeps the rank that it
/// had when the circle was met.
pub fn ranks(n: usize, edges: impl Iterator<Item = (usize, usize)> + Clone) -> Vec<usize> {
    let (mut first, mut waits_for) = (vec![0; n + 1], vec![0_usize; n]);
    for (from, to) in edges.clone() {
        first[from + 1] += 1;
        waits_for[to] += 1;
    }
    for at in 0..n {
        first[at + 1] += first[at];
    }
    // What comes after the vertex `at` lies from `first[at]` to `first[at + 1]`.
    let (mut next, mut after) = (first.clone(), vec![0; first[n]]);
    for (from, to) in edges {
        after[next[from]] = to;
        next[from] += 1;
    }
    let mut ranks = vec![0; n];
    let mut ready: Vec<usize> = (0..n).filter(|at| waits_for[*at] == 0).collect();
    while let Some(at) = ready.pop() {
        for to in &after[first[at]..first[at + 1]] {
            ranks[*to] = ranks[*to].max(ranks[at] + 1);
            waits_for[*to] -= 1;
            if waits_for[*to] == 0 {
                ready.push(*to);
            }
        }
    }
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_stands_behind_all_that_it_waits_for_and_a_circle_stays_where_it_was_met() {
        for (n, edges, wanted) in [
            (0, &[][..], &[][..]),
            (3, &[], &[0, 0, 0]),
            (4, &[(2, 0), (0, 1), (2, 1), (2, 1)], &[1, 2, 0, 0]),
            (5, &[(0, 1), (1, 2), (2, 1), (2, 3), (0, 4)], &[0, 1, 0, 0, 1]),
        ] {
            assert_eq!(ranks(n, edges.iter().copied()), wanted, "{edges:?}");
        }
    }
}
