//! Where the resources of a picture stand: columns by rank, and in each column an order that keeps
//! edges short and apart.
//!
//! Refuses to know about ink: it takes sizes and gives places.

use std::ops::Range;

/// How many bends edges may have in all. Edges over many columns have one in each, so that they
/// pass between the boxes; a graph of ten thousand in a row would have millions, and is drawn with
/// straight ones.
const BENDS_MAX: usize = 20_000;

/// How often the columns are ordered by their neighbours, there and back. More changes little.
const SWEEPS: usize = 6;

/// Where everything stands, in points.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Layout {
    /// The centre of each resource, from the top.
    pub(super) y: Vec<f64>,
    /// For each edge, in the order that was given, the heights at which it passes the columns
    /// between those of its ends.
    pub(super) bends: Vec<Vec<f64>>,
    /// The height of all.
    pub(super) height: f64,
}

/// A resource, or the place where an edge passes a column.
struct Spot {
    /// How much room it needs from top to bottom.
    height: f64,
    before: Vec<usize>,
    after: Vec<usize>,
    y: f64,
}

/// Places resources with these ranks and heights, ordered by these edges.
pub(super) fn place(ranks: &[usize], heights: &[f64], edges: &[(usize, usize)]) -> Layout {
    let mut spots: Vec<Spot> = heights.iter().map(|height| spot(*height)).collect();
    let mut columns: Vec<Vec<usize>> =
        vec![Vec::new(); ranks.iter().max().map_or(0, |max| max + 1)];
    for (at, rank) in ranks.iter().enumerate() {
        columns[*rank].push(at);
    }
    let span = |edge: &(usize, usize)| ranks[edge.1].saturating_sub(ranks[edge.0] + 1);
    let with_bends = edges.iter().map(span).sum::<usize>() <= BENDS_MAX;
    let mut of_edges: Vec<Range<usize>> = Vec::with_capacity(edges.len());
    for edge in edges {
        let first = spots.len();
        let mut last = edge.0;
        for step in 0..if with_bends { span(edge) } else { 0 } {
            let bend = spots.len();
            spots.push(spot(BEND_HEIGHT));
            columns[ranks[edge.0] + 1 + step].push(bend);
            connect(&mut spots, last, bend);
            last = bend;
        }
        connect(&mut spots, last, edge.1);
        of_edges.push(first..spots.len());
    }
    for column in &columns {
        stack(&mut spots, column);
    }
    for sweep in 0..SWEEPS {
        order(&mut spots, &mut columns, sweep % 2 == 0);
    }
    for sweep in 0..SWEEPS {
        settle(&mut spots, &columns, sweep % 2 == 0);
    }
    let top = spots.iter().map(|one| one.y - one.height / 2.0).fold(f64::INFINITY, f64::min);
    let bottom = spots.iter().map(|one| one.y + one.height / 2.0).fold(0.0, f64::max);
    let top = if top.is_finite() { top } else { 0.0 };
    Layout {
        y: spots[..heights.len()].iter().map(|one| one.y - top).collect(),
        bends: of_edges
            .into_iter()
            .map(|range| spots[range].iter().map(|one| one.y - top).collect())
            .collect(),
        height: bottom - top,
    }
}

/// The room that an edge needs where it passes between boxes.
const BEND_HEIGHT: f64 = 14.0;

fn spot(height: f64) -> Spot {
    Spot { height, before: Vec::new(), after: Vec::new(), y: 0.0 }
}

fn connect(spots: &mut [Spot], from: usize, to: usize) {
    spots[from].after.push(to);
    spots[to].before.push(from);
}

/// One below the other, in this order, with the middle at zero.
fn stack(spots: &mut [Spot], column: &[usize]) {
    let all: f64 = column.iter().map(|at| spots[*at].height).sum();
    let mut top = -all / 2.0;
    for at in column {
        spots[*at].y = top + spots[*at].height / 2.0;
        top += spots[*at].height;
    }
}

/// Orders each column by the mean place of its neighbours on one side; equal ones keep their order.
fn order(spots: &mut [Spot], columns: &mut [Vec<usize>], forward: bool) {
    for column in in_direction(columns.len(), forward) {
        let mut wanted: Vec<(f64, usize)> =
            columns[column].iter().map(|at| (mean(spots, *at, forward), *at)).collect();
        wanted.sort_by(|one, other| one.0.total_cmp(&other.0));
        columns[column] = wanted.into_iter().map(|(_, at)| at).collect();
        stack(spots, &columns[column]);
    }
}

/// Moves each column towards its neighbours on one side, without changing its order.
fn settle(spots: &mut [Spot], columns: &[Vec<usize>], forward: bool) {
    for column in in_direction(columns.len(), forward) {
        let wanted: Vec<f64> = columns[column].iter().map(|at| mean(spots, *at, forward)).collect();
        let mut free = f64::NEG_INFINITY;
        let mut pushed = 0.0;
        for (at, wanted) in columns[column].iter().zip(&wanted) {
            let half = spots[*at].height / 2.0;
            let y = wanted.max(free + half);
            spots[*at].y = y;
            free = y + half;
            pushed += y - wanted;
        }
        // Everything was pushed down only; what is left is to share that between up and down.
        let shift = pushed / (wanted.len().max(1) as f64);
        columns[column].iter().for_each(|at| spots[*at].y -= shift);
    }
}

fn in_direction(columns: usize, forward: bool) -> Box<dyn Iterator<Item = usize>> {
    if forward { Box::new(0..columns) } else { Box::new((0..columns).rev()) }
}

/// The mean place of the neighbours on the side that is placed already; its own without any.
fn mean(spots: &[Spot], at: usize, forward: bool) -> f64 {
    let neighbours = if forward { &spots[at].before } else { &spots[at].after };
    if neighbours.is_empty() {
        return spots[at].y;
    }
    neighbours.iter().map(|one| spots[*one].y).sum::<f64>() / neighbours.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_of_a_column_overlap_and_all_is_inside() {
        let edges = [(0, 1), (0, 2), (0, 3), (1, 4), (2, 4), (0, 4), (3, 5)];
        let (ranks, heights) = ([0, 1, 1, 1, 2, 2], [20.0; 6]);
        let layout = place(&ranks, &heights, &edges);
        for (one, other) in [(1, 2), (2, 3), (1, 3), (4, 5)] {
            assert!((layout.y[one] - layout.y[other]).abs() >= 20.0 - 1e-6, "{layout:?}");
        }
        assert!(layout.y.iter().all(|y| *y >= 10.0 - 1e-6 && *y <= layout.height - 10.0 + 1e-6));
        assert_eq!(layout.bends[5].len(), 1, "the edge over a column passes it once");
    }

    #[test]
    fn crossed_pairs_are_uncrossed() {
        let layout = place(&[0, 0, 1, 1], &[20.0; 4], &[(0, 3), (1, 2)]);
        assert_eq!(layout.y[0] < layout.y[1], layout.y[3] < layout.y[2], "{layout:?}");
    }

    #[test]
    fn a_long_chain_with_an_edge_to_each_is_placed_without_millions_of_bends() {
        let ranks: Vec<usize> = (0..2_000).collect();
        let mut edges: Vec<(usize, usize)> = (1..2_000).map(|to| (to - 1, to)).collect();
        edges.extend((2..2_000).map(|to| (0, to)));
        let layout = place(&ranks, &vec![20.0; 2_000], &edges);
        assert!(layout.bends.iter().all(Vec::is_empty));
    }

    #[test]
    fn nothing_is_placed_nowhere() {
        assert_eq!(place(&[], &[], &[]), Layout { height: 0.0, ..Layout::default() });
    }
}
