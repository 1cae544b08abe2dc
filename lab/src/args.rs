//! The command line as a whole; what one command takes stands in its own file.

use clap::{Parser, Subcommand};

use crate::{columns, export, play, soak, timeline};

/// See a cluster run, crash and come back.
#[derive(Debug, Parser)]
#[command(name = "raft-lab", version, max_term_width = 100)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// A trace in the terminal: one column for each node.
    Columns(columns::Args),
    /// Tests again and again, on all cores, until something breaks.
    Soak(soak::Args),
    /// Started by `soak` itself.
    #[command(hide = true)]
    SoakGuard,
    /// A trace as a page for a browser: one file that loads nothing.
    Timeline(timeline::Args),
    /// A trace in the format of other viewers: Perfetto, ShiViz.
    Export(export::Args),
    /// A cluster to play with, in virtual time or as processes.
    Play(play::Args),
    /// A guided lesson: a script for `play` with a sentence for each step.
    Lesson(play::lesson::Args),
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Arguments::command().debug_assert();
    }
}
