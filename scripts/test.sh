#!/usr/bin/env bash
# The whole suite, from nothing: what is missing is installed, then format, lints, documentation, tests on
# real servers, the compose file, a short load. `--long` runs what takes longer as well.
. "$(dirname "${BASH_SOURCE[0]}")/setup.sh"

long=no
case "${1-}" in
    '') ;;
    --long) long=yes ;;
    *) echo "usage: scripts/test.sh [--long]" >&2; exit 2 ;;
esac

has_compose() { docker compose version >/dev/null 2>&1 || have docker-compose; }
compose() {
    if docker compose version >/dev/null 2>&1; then docker compose "$@"; else docker-compose "$@"; fi
}

need docker-compose has_compose
need curl have curl
need jq have jq
need_build_and_servers
work=$(mktemp -d -t onrush-test.XXXXXX)
trap 'rm -rf "$work"' EXIT

say "format"
cargo fmt --check
say "lints"
cargo clippy --locked --all-targets -- -D warnings
say "documentation"
RUSTDOCFLAGS='-D warnings' cargo doc --locked --no-deps --document-private-items

say "tests"
cargo build --locked --tests
onrush="$(target_folder)/debug/onrush"
# Torture comes alone: what it does to its servers is noticed by whoever shares the machine.
if have cargo-nextest; then
    suite=(cargo nextest run --locked -E 'not test(torture::)')
    some=(cargo nextest run --locked)
    aloud=("${some[@]}" --no-capture)
else
    suite=(cargo test --locked -- --skip torture::)
    some=(cargo test --locked --test it --)
    aloud=("${some[@]}" --nocapture --test-threads 1)
fi
"$onrush" with-servers --data-dir "$work/servers" -- "${suite[@]}"
say "benches, each once"
cargo test --locked --bench micro --bench rush >/dev/null
say "a part of the suite on a Redis Cluster"
"$onrush" with-servers --cluster --data-dir "$work/cluster" -- \
    "${some[@]}" payments:: loss:: instances:: queue:: coupons:: coupon_kills:: rewards:: reward_races:: \
    reward_kills::
say "torture, 40 faults, and two controls"
TORTURE_FAULTS=29 TORTURE_CLUSTER_FAULTS=7 TORTURE_SENTINEL_FAULTS=4 "${aloud[@]}" \
    torture::faults torture::without_postgres \
    torture::control_without_waiting torture::control_without_compare

say "compose file, against the compose schema"
export ONRUSH_JWT_SECRET=only-to-check-the-file POSTGRES_PASSWORD=check
compose -f docker-compose.yml config >/dev/null
unset ONRUSH_JWT_SECRET POSTGRES_PASSWORD

ONRUSH="$onrush" scripts/fuzz.sh 40

say "load, smoke"
ONRUSH="$onrush" scripts/load.sh smoke

if [ $long = yes ]; then
    say "models, ten times the seeds"
    MODEL_SEEDS=200000 "${some[@]}" models::
    say "the whole suite on a Redis Cluster"
    "$onrush" with-servers --cluster --data-dir "$work/cluster" -- "${suite[@]}"
    say "torture, 240 faults"
    TORTURE_FAULTS=200 TORTURE_CLUSTER_FAULTS=30 TORTURE_SENTINEL_FAULTS=10 TORTURE_SEED=2 "${aloud[@]}" \
        torture::faults
    say "a minute without Postgres; every control"
    TORTURE_AWAY_SECONDS=60 "${aloud[@]}" torture::without torture::control
    ONRUSH="$onrush" scripts/fuzz.sh 200 random
    say "rewards, 50 deaths at each point between a request and its end"
    REWARD_DEATHS=50 "$onrush" with-servers --data-dir "$work/servers" -- "${some[@]}" reward_kills::dying
    say "ten million coupons"
    COUPON_ROWS=10000000 "$onrush" with-servers --data-dir "$work/growth" -- "${aloud[@]}" coupon_storage::
    say "delivery to Kafka, on librdkafka's mock cluster"
    need make have make
    some_kafka=(cargo test --locked --features kafka --test it -- kafka::)
    "$onrush" with-servers --data-dir "$work/servers" -- "${some_kafka[@]}"
    say "load, for a minute, release build"
    cargo build --release --locked
    ONRUSH="$(target_folder)/release/onrush" scripts/load.sh rate
fi
say "all passed"
