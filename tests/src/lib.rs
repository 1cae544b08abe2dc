//! What the campaigns in `all/` share. Nothing else depends on it.

pub mod calls;
pub mod copies;
pub mod counting;
pub mod crash;
pub mod damage;
pub mod evidence;
pub mod lazy;
pub mod repair;
pub mod replay;
pub mod view;

use std::path::{Path, PathBuf};

/// The repository's root directory.
#[must_use]
pub fn repository() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().map(Path::to_path_buf).unwrap_or_default()
}

/// Says on the real standard error, past the test harness, that a test did nothing and why.
pub fn skipped(test: &str, why: &str) {
    use std::io::Write;
    // Where nobody listens there is nobody to tell.
    let _ = writeln!(std::io::stderr(), "SKIPPED {test}: {why}");
}
