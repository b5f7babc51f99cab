//! The grid of addresses as text.

use super::{Ink, Page};
use crate::{
    diagnose::grid::{COLUMNS, Grid, Tone},
    render::wrap::width,
};

/// Between columns; the second where there is no room for the first.
const GAPS: [usize; 2] = [2, 1];

/// An IPv4 address and its indent.
const LABEL: usize = 17;

/// Shows it, if there is anything in it.
pub(super) fn show(page: &mut Page, grid: &Grid) {
    let rows = || grid.groups.iter().flat_map(|group| &group.rows);
    if rows().next().is_none() {
        return;
    }
    let mut columns = COLUMNS.map(width);
    for row in rows() {
        for (column, cell) in columns.iter_mut().zip(&row.cells) {
            *column = (*column).max(width(&cell.text));
        }
    }
    let total = |gap: usize| columns.iter().map(|column| column + gap).sum::<usize>();
    let room_for = |gap: &usize| total(*gap) + LABEL <= page.style().width;
    let gap = GAPS.into_iter().find(room_for).unwrap_or(GAPS[1]);
    let cells = total(gap);
    // A label too long for its line stands on a line of its own, above its cells.
    let room = page.style().width.saturating_sub(cells + 2);
    let longest = rows().map(|row| width(&row.label)).filter(|&label| label <= room).max().unwrap_or(0);
    page.gap();
    let mut head = vec![(" ".repeat(longest), Ink::Plain)];
    for (name, column) in COLUMNS.iter().zip(columns) {
        head.push((page.padded(name, column + gap, true), Ink::Dim));
    }
    page.pieces(2, &head);
    for group in &grid.groups {
        page.text(0, &group.title, Ink::Strong);
        for row in &group.rows {
            let label = page.clean(&row.label);
            let fits = width(&label) <= longest;
            if !fits {
                page.text(2, &label, Ink::Plain);
            }
            let mut line = vec![(page.padded(if fits { &label } else { "" }, longest, false), Ink::Plain)];
            for (cell, column) in row.cells.iter().zip(columns) {
                let ink = match cell.tone {
                    Tone::Absent => Ink::Dim,
                    Tone::Good => Ink::Good,
                    Tone::Bad => Ink::Bad,
                };
                line.push((page.padded(&cell.text, column + gap, true), ink));
            }
            page.pieces(2, &line);
        }
    }
    for note in &grid.notes {
        page.hanging(0, 2, &format!("* {note}"), Ink::Plain);
    }
    if rows().any(|row| row.cells.iter().any(|cell| cell.tone == Tone::Absent)) {
        page.text(0, "- not reached, or not tried at this address", Ink::Dim);
    }
}
