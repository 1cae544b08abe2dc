//! Sets `cfg(loom)` for this package alone, so that `cargo test` needs no flags and nothing else is
//! built differently.

fn main() {
    println!("cargo::rustc-cfg=loom");
    println!("cargo::rerun-if-changed=build.rs");
}
