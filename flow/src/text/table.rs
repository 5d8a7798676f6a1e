//! A table with a header: for a finished list, because the columns are as wide as their widest cell.

use super::words::{arrow, clean, kind, side, time, verdict};
use super::{Color, NodeName, Style};
use crate::hubble::summary;
use crate::{Item, Record};

/// Header and one line per flow, each ending with a line feed. Losses stand below the table, as compact lines.
pub fn table<'a>(items: impl IntoIterator<Item = &'a Item>, style: Style) -> String {
    let mut rows = vec![header(style.node)];
    let mut losses = Vec::new();
    for item in items {
        match item {
            Item::Flow(record) => rows.push(row(record, style)),
            Item::Loss(_) => losses.push(super::compact(item, style)),
        }
    }
    let mut out = lay_out(&rows);
    for line in losses {
        out.push_str(&line);
        out.push('\n');
    }
    out
}

fn header(node: NodeName) -> Vec<String> {
    let node = match node {
        NodeName::Hidden => None,
        NodeName::Shown => Some("NODE"),
    };
    let before = ["TIMESTAMP"].into_iter().chain(node);
    let after = ["SOURCE", "", "DESTINATION", "TYPE", "VERDICT", "SUMMARY"];
    before.chain(after).map(str::to_owned).collect()
}

fn row(record: &Record, style: Style) -> Vec<String> {
    // Escape sequences have no width: only the verdict, which has its own column, is painted.
    let (word, paint) = verdict(record);
    let mut cells = vec![time(record.time)];
    if style.node == NodeName::Shown {
        cells.push(clean(&record.node).into_owned());
    }
    cells.extend([
        side(&record.source(), Color::Plain),
        arrow(record).to_owned(),
        side(&record.destination(), Color::Plain),
        kind(record),
        style.color.paint(paint, word),
        clean(&summary(record)).into_owned(),
    ]);
    cells
}

/// Width on a terminal: characters outside escape sequences.
fn width(cell: &str) -> usize {
    let mut escaped = false;
    let mut width = 0;
    for c in cell.chars() {
        match (escaped, c) {
            (false, '\x1b') => escaped = true,
            (false, _) => width += 1,
            (true, 'm') => escaped = false,
            (true, _) => {}
        }
    }
    width
}

fn lay_out(rows: &[Vec<String>]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let widths: Vec<usize> = (0..columns)
        .map(|column| {
            rows.iter()
                .map(|row| width(&row[column]))
                .max()
                .unwrap_or(0)
        })
        .collect();
    let mut out = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, wide) in row.iter().zip(&widths) {
            line.push_str(cell);
            line.push_str(&" ".repeat(wide - width(cell) + 2));
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}
