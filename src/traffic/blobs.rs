//! Connected patches of a mask of cells.

use crate::frame::Rect;

/// A patch that differs from the background.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Blob {
    /// In pixels of the picture.
    pub rect: Rect,
    /// The share of the rectangle's cells that belong to the patch, 0…1.
    pub filled: f32,
    /// Cells of the patch.
    pub cells: usize,
}

/// Keeps cells that have at least two neighbours of the eight.
#[must_use]
pub fn without_specks(mask: &[bool], width: usize, height: usize) -> Vec<bool> {
    (0..mask.len())
        .map(|at| mask[at] && around(at, width, height, 1).filter(|&near| near != at && mask[near]).count() >= 2)
        .collect()
}

/// The patches of a mask whose cells have sides of `cell` pixels. Gaps of one cell, as a windscreen of the road's colour
/// makes, do not part a patch.
#[must_use]
pub fn blobs(mask: &[bool], width: usize, height: usize, cell: f32) -> Vec<Blob> {
    let mut seen = vec![false; mask.len()];
    let mut found = Vec::new();
    let mut waiting = Vec::new();
    for start in 0..mask.len() {
        if !mask[start] || seen[start] {
            continue;
        }
        seen[start] = true;
        waiting.push(start);
        let (mut left, mut top, mut right, mut bottom, mut cells) = (width, height, 0, 0, 0);
        while let Some(at) = waiting.pop() {
            let (column, row) = (at % width, at / width);
            (left, right) = (left.min(column), right.max(column + 1));
            (top, bottom) = (top.min(row), bottom.max(row + 1));
            cells += 1;
            for near in around(at, width, height, 2) {
                if mask[near] && !seen[near] {
                    seen[near] = true;
                    waiting.push(near);
                }
            }
        }
        let rect = Rect {
            left: left as f32 * cell,
            top: top as f32 * cell,
            right: right as f32 * cell,
            bottom: bottom as f32 * cell,
        };
        found.push(Blob { rect, filled: cells as f32 / ((right - left) * (bottom - top)) as f32, cells });
    }
    found
}

/// Cells at most `reach` away in each direction, the cell itself included.
fn around(at: usize, width: usize, height: usize, reach: usize) -> impl Iterator<Item = usize> {
    let (column, row) = (at % width, at / width);
    let columns = column.saturating_sub(reach)..(column + reach + 1).min(width);
    (row.saturating_sub(reach)..(row + reach + 1).min(height))
        .flat_map(move |row| columns.clone().map(move |column| row * width + column))
}
