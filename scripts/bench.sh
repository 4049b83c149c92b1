#!/usr/bin/env bash
# Figures of a release build on a fresh demo, loaded from this machine. Prints a table.
#   scripts/bench.sh                  the README's rows (wrk and k6)
#   scripts/bench.sh coupons          only those of coupons, and what they stand beside
#   scripts/bench.sh crowd [waiting]  BENCHMARKS.md: crowds, purchases, Postgres alone (benches/rush)
#   scripts/bench.sh million [many]   a million in line: joining, memory, a lost Redis, admission, lapsing
#   scripts/bench.sh spread           three instances, and a cluster of three, beside one of each
. "$(dirname "${BASH_SOURCE[0]}")/setup.sh"

need python3 have python3
need wrk have wrk
need_build_and_servers
need_k6
say "building"
cargo build --release --locked
if [[ "${1-}" =~ ^(crowd|million|spread)$ ]]; then
    what=$1
    shift
    say "building the load generator"
    rush=$(cargo build --release --locked --bench rush --message-format json-render-diagnostics |
        sed -n 's/.*"name":"rush".*"executable":"\([^"]*\)".*/\1/p')
    exec python3 "benches/$what.py" "$rush" "$(target_folder)/release/onrush" "$@"
fi
exec python3 benches/figures.py "$k6" "$(target_folder)/release/onrush" "$@"
