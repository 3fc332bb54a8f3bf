#!/usr/bin/env bash
# Events, training and figures of the shipped models and of a smaller one, from nothing.
# usage: benchmarks/exatrkx_training.sh DIR [options of trackserve train exatrkx]
set -euo pipefail
here=$(dirname "$0")
directory=$1
shift
make_events() { # name, pile-up, events, seed
  trackserve simulate points --pileup "$2" --events "$3" --seed "$4" -o "$directory/$1"
}
train() { # name, further options
  local name=$1
  shift
  trackserve train exatrkx --data "$directory/pu20" --data "$directory/pu60" \
    --data "$directory/pu200" --out "$directory/$name" --resume "$@"
}
make_events pu20 20 400 11
make_events pu60 60 120 6061
make_events pu200 200 100 2001
train default "$@"
for size in small large; do # they share embedding and filter with the default
  mkdir -p "$directory/$size/training"
  cp -n "$directory"/default/training/{embedding,filter}.pt "$directory/$size/training"
  train "$size" --config "$here/exatrkx_$size.toml" "$@"
done
trackserve train exatrkx --data "$directory/pu20" --data "$directory/pu60" \
  --config "$here/exatrkx_soft.toml" --out "$directory/soft" --resume "$@"
for name in pu60 pu200; do
  trackserve pixels "$directory/$name" -o "$directory/pixels-$name"
done
train_pixels() { # name, further options
  local name=$1
  shift
  trackserve train exatrkx --data "$directory/pixels-pu200" --data "$directory/pixels-pu60" \
    --out "$directory/$name" --resume "$@"
}
train_pixels pixels-first --config "$here/exatrkx_pixels.toml"
train_pixels pixels --config "$here/exatrkx_pixels_again.toml" \
  --start "$directory/pixels-first" --only gnn
make_events pu20-test 20 100 1001
make_events pu60-test 60 30 6062
make_events pu200-test 200 10 2002
for mu in 20 60 200; do
  trackserve validate exatrkx "$directory/pu$mu-test" --model "$directory/default@pu$mu"
  trackserve bench exatrkx "$directory/pu$mu-test" --model "$directory/default@pu$mu"
done
PYTHONPATH=$here/..:${PYTHONPATH:-} python -m benchmarks.exatrkx_sizes "$directory"/{small,default,large} --events "pu20=$directory/pu20-test" \
  --events "pu60=$directory/pu60-test" --events "pu200=$directory/pu200-test" \
  --output "$directory/sizes.png"
