//! The binaries of the suites and of the simulator: cargo builds them in a checkout of hardlog.
//!
//! Above: `target`. The checkout is the one around the current directory, or else the one that this
//! program was built in, if it is still there.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::Value;

use super::target::Kind;
use crate::Failure;

/// The package that has both.
const PACKAGE: &str = "hardlog-raft";

/// The directory of the package in the checkout around `from`.
fn around(from: &Path) -> Option<PathBuf> {
    from.ancestors().map(|dir| dir.join("raft")).find(|dir| is_package(dir))
}

fn is_package(dir: &Path) -> bool {
    let manifest = fs::read_to_string(dir.join("Cargo.toml")).unwrap_or_default();
    manifest.lines().any(|line| line.trim() == format!("name = \"{PACKAGE}\""))
}

/// The directory of the package, where there is one.
pub(super) fn package() -> Option<PathBuf> {
    let here = env::current_dir().ok().and_then(|dir| around(&dir));
    here.or_else(|| around(Path::new(env!("CARGO_MANIFEST_DIR"))))
}

/// What cargo is asked for, and the name of what it builds.
fn words(kind: Kind) -> (&'static [&'static str], &'static str) {
    match kind {
        Kind::Sim => (&["build", "-p", PACKAGE, "--release", "--bin", "sim"], "sim"),
        Kind::Suites | Kind::Real | Kind::Command => {
            (&["test", "-p", PACKAGE, "--no-run", "--test", "cluster"], "cluster")
        }
    }
}

/// What somebody does who is not in a checkout.
pub(super) fn advice(kind: Kind) -> String {
    let (words, _) = words(kind);
    let words = words.join(" ");
    format!(
        "no checkout of hardlog here, and the one that raft-lab was built in is gone: run this \
         inside one (its cargo builds what is needed), or say `cargo {words}` there and give the \
         binary that it names with --binary"
    )
}

/// Has cargo build the binary, and asks it where that is.
pub(super) fn build(kind: Kind, package: Option<&Path>) -> Result<PathBuf, Failure> {
    let package = package.ok_or_else(|| Failure::Wrong(advice(kind)))?;
    let (words, name) = words(kind);
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    eprintln!("raft-lab: cargo {} in {}", words.join(" "), package.display());
    let mut command = Command::new(cargo);
    command.args(words).args(["--message-format", "json-render-diagnostics"]);
    let output = command.current_dir(package).stderr(Stdio::inherit()).output();
    let output = output.map_err(|error| {
        Failure::Wrong(format!("cargo does not start ({error}): install Rust, or give --binary"))
    })?;
    let messages = String::from_utf8_lossy(&output.stdout).into_owned();
    let found = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let found = found.filter(|message| message["target"]["name"] == name);
    let mut path = found.filter_map(|message| Some(PathBuf::from(message["executable"].as_str()?)));
    match path.next_back() {
        Some(path) if output.status.success() => Ok(path),
        _ => Err(Failure::Wrong(format!("cargo did not build {name}: see above, or --binary"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkout_is_found_from_anywhere_inside_it_and_nowhere_else() {
        let dir = tempfile::tempdir().unwrap();
        let (root, deep) = (dir.path().join("hardlog"), dir.path().join("hardlog/lab/src"));
        fs::create_dir_all(&deep).unwrap();
        fs::create_dir_all(root.join("raft")).unwrap();
        assert_eq!(around(&deep), None, "a directory of that name is not enough");
        fs::write(root.join("raft/Cargo.toml"), "[package]\nname = \"another\"\n").unwrap();
        assert_eq!(around(&deep), None, "nor another package");
        let manifest = format!("[package]\nname = \"{PACKAGE}\"\n");
        fs::write(root.join("raft/Cargo.toml"), manifest).unwrap();
        assert_eq!(around(&deep), Some(root.join("raft")));
        assert_eq!(around(&root), Some(root.join("raft")));
        assert_eq!(around(dir.path()), None);
        assert!(package().is_some(), "these tests run in one");
    }

    #[test]
    fn without_a_checkout_there_is_advice() {
        let Err(Failure::Wrong(why)) = build(Kind::Sim, None) else { panic!("nothing to build") };
        assert!(why.contains("`cargo build -p hardlog-raft --release --bin sim`"), "{why}");
        assert!(why.contains("--binary"), "{why}");
    }
}
