#!/usr/bin/env bash
# Throughput of Patatrack on data directories, direct and served by a Triton of its own.
# usage: benchmarks/patatrack.sh DIR...
set -euo pipefail
for directory in "$@"; do
  log=$(mktemp)
  trackserve serve "patatrack,conditions=$directory" --grpc-port 0 --http-port 0 --metrics-port 0 > "$log" &
  server=$!
  trap 'kill $server 2> /dev/null || true; wait $server 2> /dev/null || true; rm -f "$log"' EXIT
  for _ in $(seq 600); do
    url=$(grep -om1 'grpc://[^ ]*' "$log") && break
    kill -0 $server || exit 1
    sleep 0.1
  done
  trackserve bench patatrack "$directory" --url "$url" --rounds 60
  kill $server
  wait $server || true
done
