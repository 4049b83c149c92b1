#!/usr/bin/env bash
# What a flood of sign-ins costs those who wait in line: polls alone, then while 200 sign-ins a second are
# offered. Fails when a sign-in that was refused was hashed.
. "$(dirname "${BASH_SOURCE[0]}")/setup.sh"

need python3 have python3
need wrk have wrk
need_build_and_servers
need_k6
cargo build --release --locked
exec python3 benches/flood.py "$k6" "$(target_folder)/release/onrush"
