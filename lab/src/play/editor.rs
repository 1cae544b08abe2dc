//! Lines from a terminal, with completion and history.
//!
//! Above: `play`. Below: a line editor.

use std::{
    io::{self, Write},
    path::Path,
};

use rustyline::{
    Config, Context, Editor, Helper, completion::Completer, config::CompletionType,
    error::ReadlineError, highlight::Highlighter, hint::Hinter, history::FileHistory,
    validate::Validator,
};

use super::{Table, command};
use crate::Failure;

/// Lines of a history at most.
const HISTORY_MAX: usize = 1000;

/// Words that may stand at a place: commands first, then nodes.
struct Words {
    nodes: Vec<String>,
}

impl Completer for Words {
    type Candidate = String;

    fn complete(
        &self,
        line: &str,
        pos: usize,
        _: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<String>)> {
        Ok(complete(line.get(..pos).unwrap_or_default(), &self.nodes))
    }
}

impl Helper for Words {}
impl Hinter for Words {
    type Hint = String;
}
impl Highlighter for Words {}
impl Validator for Words {}

/// Where the last word begins, and what it may become.
pub(super) fn complete(line: &str, nodes: &[String]) -> (usize, Vec<String>) {
    let start = line.rfind(char::is_whitespace).map_or(0, |at| at + 1);
    let (before, begun) = line.split_at(start);
    let fits = |word: &&str| word.starts_with(begun);
    let words: Vec<&str> = match before.split_whitespace().next() {
        None => command::WORDS.iter().map(|(word, ..)| *word).collect(),
        Some("create") => vec!["classic", "seed", "snapshot"],
        Some("set" | "get" | "wait" | "pace" | "say" | "w") => Vec::new(),
        Some(_) => nodes.iter().map(String::as_str).collect(),
    };
    let more = words.iter().filter(|word| fits(word)).map(|word| format!("{word} ")).collect();
    (start, more)
}

/// Everything that names a node.
pub(super) fn nodes(table: &Table) -> Vec<String> {
    let numbers = (1..=table.game.size()).map(|node| node.to_string());
    numbers.chain(table.game.names().cloned()).chain(["leader".to_owned()]).collect()
}

/// Plays until somebody has enough.
pub(super) fn play(table: &mut Table, history: Option<&Path>) -> Result<(), Failure> {
    let config = Config::builder()
        .completion_type(CompletionType::List)
        .max_history_size(HISTORY_MAX)
        .and_then(|builder| builder.history_ignore_dups(true));
    let config = config.map_err(failed)?.auto_add_history(true).build();
    let mut editor = Editor::<Words, FileHistory>::with_config(config).map_err(failed)?;
    if let Some(path) = history {
        // The first time there is none.
        let _none_yet = editor.load_history(path);
    }
    let mut out = io::stdout();
    writeln!(out, "A cluster to break. `create 3` makes one, `help` lists the commands.")?;
    loop {
        editor.set_helper(Some(Words { nodes: nodes(table) }));
        match editor.readline("raft> ") {
            Ok(line) => {
                if !table.line(Ok(&line), &mut out)? {
                    break;
                }
            }
            Err(ReadlineError::Interrupted | ReadlineError::Eof) => break,
            Err(error) => return Err(failed(error)),
        }
    }
    if let Some(path) = history {
        editor.save_history(path).map_err(failed)?;
    }
    writeln!(out, "stopped")?;
    Ok(())
}

fn failed(error: ReadlineError) -> Failure {
    Failure::Wrong(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_and_nodes_are_completed() {
        let nodes = ["1", "2", "leader", "old"].map(str::to_owned);
        assert_eq!(complete("disc", &nodes), (0, vec!["disconnect ".to_owned()]));
        assert_eq!(complete("crash le", &nodes), (6, vec!["leader ".to_owned()]));
        assert_eq!(complete("crash 1 ", &nodes).1.len(), 4);
        assert_eq!(complete("create 3 cl", &nodes), (9, vec!["classic ".to_owned()]));
        assert_eq!(complete("set k", &nodes), (4, Vec::new()));
        assert_eq!(complete("", &nodes).1.len(), command::WORDS.len());
    }
}
