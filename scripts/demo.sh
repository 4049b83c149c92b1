#!/usr/bin/env bash
# Everything on this machine: installs what is missing, builds, and runs `onrush demo` with the arguments
# given here. Ready when a line says `ready http://…`; Ctrl-C ends it, the data stay in .onrush/.
. "$(dirname "${BASH_SOURCE[0]}")/setup.sh"

need_build_and_servers
say "building (the first time takes some minutes)"
cargo build --release --locked
exec "$(target_folder)/release/onrush" demo "$@"
