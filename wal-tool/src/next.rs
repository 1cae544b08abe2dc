//! The next command to type: what stands behind `next:`, ready to be pasted into a shell.
//!
//! Above: every command. Below: nothing but what a path is.

use std::path::Path;

use hardlog::inspect::{Code, Finding, Severity};

use crate::number::columns;

/// A path as a shell takes it: in quotes where it holds anything but plain signs.
pub(crate) fn typed(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@%=,".contains(c);
    if !text.is_empty() && !text.starts_with('-') && text.chars().all(plain) {
        return text;
    }
    // A name that begins with a dash would be an option.
    let front = if text.starts_with('-') { "./" } else { "" };
    format!("'{front}{}'", text.replace('\'', r"'\''"))
}

/// `wal-tool verify DIR`.
pub(crate) fn verify(dir: &Path) -> String {
    format!("wal-tool verify {}", typed(dir))
}

/// `wal-tool repair DIR`, where there is a directory to repair and not one lone file.
pub(crate) fn repair(dir: &Path) -> Option<String> {
    (!dir.is_file()).then(|| format!("wal-tool repair {}", typed(dir)))
}

/// The same for people.
pub(crate) fn repair_said(dir: &Path) -> String {
    repair(dir)
        .map_or(String::new(), |command| format!("{command}   (shows a plan, changes nothing)"))
}

/// The parts of a command in lines of at most `width` columns, broken so that a shell reads one line.
pub(crate) fn broken(parts: &[String], width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for part in parts {
        match lines.last_mut() {
            // Room for the backslash that may follow.
            Some(line) if columns(line) + columns(part) + 3 <= width => {
                line.push(' ');
                line.push_str(part);
            }
            Some(line) => {
                line.push_str(" \\");
                lines.push(format!("  {part}"));
            }
            None => lines.push(part.clone()),
        }
    }
    lines
}

/// What to type next about a finding: the plan first where an operator is needed.
pub(crate) fn about(finding: &Finding, dir: &Path) -> Vec<String> {
    let error = finding.severity == Severity::Error;
    // Replicas that differ are no damage of one directory.
    let replicas = matches!(finding.code, Code::W601 | Code::W602);
    let mut commands: Vec<String> =
        repair(dir).filter(|_| error && !replicas).into_iter().collect();
    commands.push(format!("wal-tool explain {}", finding.code));
    let name = finding.file_name();
    let number = name.strip_suffix(".wal").and_then(|number| number.parse::<u64>().ok());
    if let Some(id) = number.filter(|_| error && finding.len > 0) {
        commands.push(format!("wal-tool hex {} {id}@{:#x}", typed(dir), finding.offset));
    }
    commands
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_command_is_broken_where_a_shell_joins_it_again() {
        let parts = ["wal-tool repair n1", "--apply", "--accept-loss 1..2"].map(str::to_owned);
        assert_eq!(broken(&parts, 80), ["wal-tool repair n1 --apply --accept-loss 1..2"]);
        let lines = broken(&parts, 30);
        assert_eq!(lines, ["wal-tool repair n1 --apply \\", "  --accept-loss 1..2"]);
        assert!(lines.iter().all(|line| line.len() <= 30));
        assert_eq!(lines.join("\n").replace("\\\n  ", ""), parts.join(" "));
    }

    #[test]
    fn a_path_is_one_word_for_a_shell() {
        let all = [
            ("data/n1", "data/n1"),
            ("my logs/n1", "'my logs/n1'"),
            ("it's", r"'it'\''s'"),
            ("-n", "'./-n'"),
            ("a;b", "'a;b'"),
        ];
        for (path, word) in all {
            assert_eq!(typed(Path::new(path)), word);
        }
    }
}
