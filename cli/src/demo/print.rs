//! What the demo says between the lines of `weir observe`.

use std::io::{IsTerminal, Write, stdout};

const BOLD: &str = "\x1b[1m";
const DIM: &str = "\x1b[2m";
const GREEN: &str = "\x1b[32m";
const RESET: &str = "\x1b[0m";

fn paint(style: &str, text: &str) -> String {
    if stdout().is_terminal() {
        format!("{style}{text}{RESET}")
    } else {
        text.to_owned()
    }
}

fn line(text: &str) {
    let mut out = stdout().lock();
    // Nobody reads any more: the demo goes on, and ends as it would.
    let _closed = writeln!(out, "{text}").and_then(|()| out.flush());
}

/// A new chapter.
pub(super) fn chapter(title: &str) {
    line(&format!("\n{}", paint(BOLD, &format!("── {title}"))));
}

/// A remark.
pub(super) fn note(text: &str) {
    line(&paint(DIM, &format!("   {text}")));
}

/// What has been checked and holds.
pub(super) fn fact(text: &str) {
    line(&format!("   {} {text}", paint(GREEN, "✔")));
}

/// A command that a user would type.
pub(super) fn command(text: &str) {
    line(&format!("   {}", paint(BOLD, &format!("$ {text}"))));
}

/// A command of weir itself, by the name under which it was started.
pub(super) fn weir(args: &str) {
    let name = std::env::args().next().unwrap_or_else(|| "weir".to_owned());
    command(&format!("{name} {args}"));
}

/// Text as it is.
pub(super) fn text(text: &str) {
    for each in text.lines() {
        line(each);
    }
}

/// `always` or `never`, for the programs that the demo runs.
pub(super) fn colour_choice() -> &'static str {
    if stdout().is_terminal() {
        "always"
    } else {
        "never"
    }
}
