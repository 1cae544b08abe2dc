#!/bin/sh
# Searches the model: `run.sh` what the tests search (about 40 s on two cores), `run.sh full` far more
# (about half an hour). Ends with an error at the first counter-example.
set -eu
cd "$(dirname "$0")"
jobs=${JOBS:-$(nproc 2>/dev/null || echo 2)}
model() {
    echo "== model.py $*"
    python3 model.py --jobs "$jobs" "$@"
}
model --controls
model --depth 2 --rot
model --depth 2 --nested
model --depth 2 --journal
case ${1-} in
full)
    model --depth 3
    model --depth 3 --journal
    model --depth 2 --journal --nested
    model --depth 3 --rot
    model --depth 3 --nested --ops ebvsfGkirTRx
    for seed in 1 2 3; do
        model --seed "$seed" --random 300 --length 10
        model --seed "$seed" --random 100 --length 12 --rot
        model --seed "$seed" --random 60 --length 12 --nested
    done
    ;;
*) model --depth 3 --ops ebvgsfGkirTR ;;
esac
