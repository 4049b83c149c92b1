#!/usr/bin/env bash
# The README's figures: a release build on a fresh demo, loaded from this machine. Prints a table. With
# `coupons`, only the rows of coupons, and those that they stand beside.
. "$(dirname "${BASH_SOURCE[0]}")/setup.sh"

need python3 have python3
need wrk have wrk
need_build_and_servers
need_k6
say "building"
cargo build --release --locked
exec python3 benches/figures.py "$k6" "$(target_folder)/release/onrush" "$@"
