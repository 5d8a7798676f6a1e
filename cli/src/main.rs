//! The one binary `weir`.

mod args;

use clap::Parser;

fn main() {
    let cli = args::Cli::parse();
    println!("{cli:?}");
}
