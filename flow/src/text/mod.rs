//! Records as lines for people: Hubble's compact format and a table.

mod compact;
mod table;
#[cfg(test)]
mod tests;
mod words;

pub use compact::{compact, lost_line};
pub use table::table;

/// How lines are dressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Style {
    /// Colours.
    pub color: Color,
    /// Whether the node is named.
    pub node: NodeName,
}

/// Colours by terminal escape sequences.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Color {
    /// None.
    #[default]
    Plain,
    /// Hubble's: pods cyan, identities faint, ports yellow, verdicts green, red and yellow.
    Ansi,
}

/// Whether a line names the node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NodeName {
    /// No.
    #[default]
    Hidden,
    /// In brackets behind the time, or as a column.
    Shown,
}
