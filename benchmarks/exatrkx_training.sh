#!/usr/bin/env bash
# Events, training and figures of the shipped model, from nothing.
# usage: benchmarks/exatrkx_training.sh DIR [options of trackserve train exatrkx]
set -euo pipefail
directory=$1
shift
make_events() { # name, pile-up, events, seed
  trackserve simulate tracker --pileup "$2" --events "$3" --seed "$4" -o "$directory/$1"
}
make_events pu20-train 20 400 11
make_events pu60-train 60 120 6061
make_events pu200-train 200 20 2001
trackserve train exatrkx --data "$directory/pu20-train" --data "$directory/pu60-train" \
  --data "$directory/pu200-train" --config "$(dirname "$0")/exatrkx_training.toml" \
  --out "$directory/model" --resume "$@"
make_events pu20-test 20 100 1001
make_events pu60-test 60 30 6062
make_events pu200-test 200 10 2002
for mu in 20 60 200; do
  trackserve validate exatrkx "$directory/pu$mu-test" --model "$directory/model"
  trackserve bench exatrkx "$directory/pu$mu-test" --model "$directory/model"
done
