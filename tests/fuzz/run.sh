#!/usr/bin/env bash
# Fuzzes one target: tests/fuzz/run.sh TARGET [SECONDS]; targets: batch segment index
# snapshot message directory.
# Needs a C++ compiler and no nightly: libFuzzer's coverage comes from stable code generation flags.
# What it finds stands in tests/fuzz/artifacts/; corpora in tests/fuzz/corpus/ are only read, new
# inputs go to the target directory.
set -euo pipefail
cd "$(dirname "$0")"
target="$1"
seconds="${2:-30}"
host="$(rustc -vV | sed -n 's/^host: //p')"
out="${CARGO_TARGET_DIR:-$PWD/target}/fuzz"
export RUSTFLAGS="--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1"
cargo build --release --target "$host" --target-dir "$out" --bin "$target"
mkdir -p artifacts "$out/corpus/$target"
exec "$out/$host/release/$target" "$out/corpus/$target" "corpus/$target" \
    -artifact_prefix="artifacts/$target-" -max_total_time="$seconds" -rss_limit_mb=512 \
    -timeout=10 -print_final_stats=1
