#!/usr/bin/env bash
# Tortures real servers under load: kills, stops, stale files, a lagging replica promoted, networks cut; then
# a cluster, then servers under a sentinel. Compares what clients were told with Postgres, Redis and the
# journal, exactly.
#   scripts/torture.sh [faults] [seed]
. "$(dirname "${BASH_SOURCE[0]}")/setup.sh"

need_build_and_servers
export TORTURE_FAULTS=${1:-40} TORTURE_SEED=${2:-1}
export TORTURE_CLUSTER_FAULTS=$((TORTURE_FAULTS / 6)) TORTURE_SENTINEL_FAULTS=$((TORTURE_FAULTS / 10))
cargo build --locked --tests
cargo test --locked --test it -- --nocapture --test-threads 1 torture::faults
