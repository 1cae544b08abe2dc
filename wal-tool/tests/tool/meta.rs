//! The manual, the completions, and the line of the README that installs them.

use std::{fs, path::Path, process::Command};

use crate::{TOOL, code, run, text};

/// Every command that `--help` lists, but for `help`.
fn commands() -> Vec<String> {
    let help = text(&run(Path::new("."), "--help").stdout);
    let (_, rest) = help.split_once("Commands:\n").expect("a list of commands");
    let lines = rest.lines().take_while(|line| line.starts_with("  "));
    let words = lines.filter_map(|line| line.strip_prefix("  ")?.split_whitespace().next());
    let all: Vec<String> = words.filter(|word| *word != "help").map(str::to_owned).collect();
    assert!(all.len() > 20 && all.contains(&"verify".to_owned()), "{all:?}");
    all
}

#[test]
fn the_completions_of_every_shell_know_every_command_and_its_options() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = run(Path::new("."), &format!("completions {shell}"));
        assert_eq!(code(&output), 0, "{shell}");
        let script = text(&output.stdout);
        for command in commands() {
            assert!(script.contains(&command), "{shell}: {command}");
        }
        for option in ["plan-digest", "accept-loss", "from-replica", "format"] {
            assert!(script.contains(option), "{shell}: {option}");
        }
    }
    assert_eq!(code(&run(Path::new("."), "completions csh")), 2);
}

#[test]
fn bash_takes_the_completions_and_completes_with_them() {
    let script = "source <(\"$1\" completions bash)\n\
                  COMP_WORDS=(wal-tool ver) COMP_CWORD=1 COMP_LINE='wal-tool ver' COMP_POINT=12\n\
                  _wal__tool wal-tool ver wal-tool; echo \"${COMPREPLY[@]}\"";
    let output =
        Command::new("bash").args(["-c", script, "bash", TOOL]).output().expect("there is bash");
    assert_eq!(text(&output.stdout).trim(), "verify", "{output:?}");
}

#[test]
fn the_manual_has_every_command_with_its_options_and_every_exit_code() {
    let output = run(Path::new("."), "man");
    assert_eq!(code(&output), 0);
    let page = text(&output.stdout);
    for command in commands() {
        let head = format!("\n.SS \"wal\\-tool {}\"\n", command.replace('-', "\\-"));
        assert!(page.contains(&head) || page.contains(head.trim_end_matches("\"\n")), "{command}");
    }
    let (_, codes) = page.split_once(".SH \"EXIT STATUS\"").expect("exit codes");
    for exit in [0, 1, 2, 3, 4, 5, 6, 7, 130] {
        assert!(codes.contains(&format!("\\fB{exit}\\fR\n")), "{exit}: {codes}");
    }
    for option in ["\\-\\-plan\\-digest", "\\-\\-follow", "\\-\\-seconds", "\\-\\-color"] {
        assert!(page.contains(option), "{option}");
    }
    // No line that roff would take for a request it does not know.
    let requests = ["SH", "SS", "TP", "PP", "TH", "ie", "el", "br", "RS", "RE", "IP"];
    for line in page.lines().filter(|line| line.starts_with('.')) {
        let request = line[1..].split_whitespace().next().unwrap_or_default();
        assert!(requests.contains(&request), "{line}");
    }
}

/// Runs the README's lines as they stand there; only `cargo install`, which takes minutes, is a
/// program of this test that puts the binary where cargo would.
#[test]
fn the_lines_of_the_readme_install_program_manual_and_completions() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = fs::read_to_string(root.join("README.md")).expect("a README");
    let block = readme.split("```").find(|block| block.contains("cargo install"));
    let lines = block.expect("an install line").trim_start_matches("sh").trim();
    let home = tempfile::tempdir().expect("a directory");
    let (prefix, programs) = (home.path().join("prefix"), home.path().join("programs"));
    fs::create_dir(&programs).expect("makes");
    let cargo = format!(
        "#!/bin/bash\nset -eu\n[ \"$*\" = \"install --locked --path wal-tool --root $PREFIX\" ]\n\
         mkdir -p \"$PREFIX/bin\"\ncp {TOOL} \"$PREFIX/bin/wal-tool\"\n"
    );
    fs::write(programs.join("cargo"), cargo).expect("writes");
    let made = Command::new("chmod").arg("755").arg(programs.join("cargo")).status();
    assert!(made.expect("runs").success());
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").expect("set"));
    let output = Command::new("sh")
        .args(["-euc", lines])
        .env("PATH", path)
        .env("PREFIX", &prefix)
        .current_dir(root.join(".."))
        .output()
        .expect("runs");
    assert!(output.status.success(), "{output:?}");
    let installed = |name: &str| text(&fs::read(prefix.join(name)).expect(name));
    let same = |name: &str, arguments: &str| {
        assert_eq!(installed(name), text(&run(root, arguments).stdout), "{name}");
    };
    assert!(Command::new(prefix.join("bin/wal-tool")).arg("--version").status().is_ok());
    same("share/man/man1/wal-tool.1", "man");
    same("share/bash-completion/completions/wal-tool", "completions bash");
    same("share/zsh/site-functions/_wal-tool", "completions zsh");
    same("share/fish/vendor_completions.d/wal-tool.fish", "completions fish");
}
