#!/usr/bin/env bash
# Loads a fresh server on free ports with one flow of k6/, or with all of them in turn, and proves that the
# books agree.
#
#   scripts/load.sh FLOW [--profile P] [--rate N] [--seconds S] [--instances K] [--delivery on|off]
#   scripts/load.sh smoke | load | stress      all flows with that profile (`rate` is another word for `load`)
#
# FLOW is queue_rush, seat_rush, coupon_rush, reward_rush, order_flow, mixed or soak; P is smoke, load (unless
# PROFILE says otherwise) or stress. The load is spread over K instances. Notices are delivered to the demo's
# receiver unless that is off. Reports are written to .onrush/load/, or to the folder that REPORTS names.
# ONRUSH names a binary to use instead of a release build.
. "$(dirname "${BASH_SOURCE[0]}")/setup.sh"

all=(queue_rush seat_rush coupon_rush reward_rush order_flow mixed soak)

usage() {
    sed -n 's/^#   //p' "${BASH_SOURCE[0]}" >&2
    exit 2
}

profile=${PROFILE:-load} rate='' seconds='' instances=1 delivery=on
case ${1-} in
    '' | smoke) flows=("${all[@]}") profile=smoke ;;
    rate | load) flows=("${all[@]}") profile=load ;;
    stress) flows=("${all[@]}") profile=stress ;;
    *) flows=("$1") ;;
esac
[[ " ${all[*]} " == *" ${flows[0]} "* ]] || usage
shift $(($# > 0 ? 1 : 0))
while [ $# -gt 0 ]; do
    [ $# -gt 1 ] || usage
    case $1 in
        --profile) profile=$2 ;;
        --rate) rate=$2 ;;
        --seconds) seconds=$2 ;;
        --instances) instances=$2 ;;
        --delivery) delivery=$2 ;;
        *) usage ;;
    esac
    shift 2
done
[[ $profile =~ ^(smoke|load|stress)$ && $rate$seconds =~ ^[0-9]*$ && $instances =~ ^[1-9][0-9]*$ ]] || usage
[[ $delivery =~ ^(on|off)$ ]] || usage

need python3 have python3
need_build_and_servers
need_k6
if [ -z "${ONRUSH-}" ]; then
    cargo build --release --locked
    ONRUSH="$(target_folder)/release/onrush"
fi

# from_json <file> <expression of `it`>
from_json() {
    python3 -c 'import json, sys; it = json.load(open(sys.argv[1])); print(eval(sys.argv[2]))' "$@"
}

# operator <email|password>
operator() {
    from_json "$data/demo/demo.json" "next(user['$1'] for user in it['users'] if user['role'] == 'OPERATOR')"
}

start_demo load --delivery "$delivery"
processes=("$demo") urls=$url sampler=
# In place of start_demo's own: the other instances end before the servers that they share with the demo.
finish() {
    local process
    [ -z "$sampler" ] || kill "$sampler" 2>/dev/null || true
    for ((process = ${#processes[@]} - 1; process >= 0; process -= 1)); do
        kill "${processes[process]}" 2>/dev/null && wait "${processes[process]}" || true
    done
    rm -rf "$data"
}
trap finish EXIT
# k6 ends in order when it is interrupted, and what would follow makes no sense then.
trap 'exit 130' INT TERM

# Another instance on the demo's Redis and Postgres; its address is added to $urls once it can serve.
start_instance() {
    local log="$data/instance-$1" told=(--delivery "$data/demo/delivery.json")
    : >"$log"
    [ "$delivery" = on ] || told=()
    "$ONRUSH" serve --data-dir "$data/demo" "${told[@]}" --listen 127.0.0.1:0 --limits off \
        --log warn,onrush::cli::serve=info --log-format json >"$log" 2>&1 &
    processes+=($!)
    local address=''
    for _ in $(seq 300); do
        address=$(sed -n 's/.*"listening".*"address":"\([^"]*\)".*/\1/p' "$log")
        if [ -n "$address" ] && "$ONRUSH" healthcheck --listen "$address" >/dev/null 2>&1; then
            urls+=",http://$address"
            return 0
        fi
        kill -0 "${processes[-1]}" 2>/dev/null || break
        sleep 0.1
    done
    echo "instance $1 does not start:" >&2
    cat "$log" >&2
    exit 1
}

for ((instance = 2; instance <= instances; instance += 1)); do
    say "starting instance $instance"
    start_instance "$instance"
done

settings=(-e PROFILE="$profile" -e ONRUSH_URLS="$urls"
    -e OPERATOR_EMAIL="$(operator email)" -e OPERATOR_PASSWORD="$(operator password)")
[ -z "$rate" ] || settings+=(-e RATE="$rate")
[ -z "$seconds" ] || settings+=(-e SECONDS="$seconds")

# run_k6 <flow> <folder of the report> [more settings…]
run_k6() {
    local flow=$1 report=$2
    shift 2
    mkdir -p "$report"
    # Collects garbage seldom: k6 shares the processors with what it measures, and memory is there.
    GOGC=400 "$k6" run --quiet --no-usage-report "${settings[@]}" "$@" -e REPORT="$report" "k6/$flow.js" ||
        return 1
    # k6 does not mind when a report cannot be made.
    [ -s "$report/summary.json" ]
}

# Memory of all instances, in MiB.
resident() {
    local process
    for process in "${processes[@]}"; do cat "/proc/$process/status"; done |
        awk '/^VmRSS:/ { kib += $2 } END { printf "%d\n", kib / 1024 }'
}

# watch_memory <file>: a line each second until it is ended.
watch_memory() {
    while sleep 1; do echo "$(date +%s) $(resident)"; done >"$1"
}

# What the instances took a third of the way, and what most of what came after that: a leak is the growth of
# the latter. 64 MiB and a half above is neither allocator nor cache.
memory_is_bounded() {
    awk '{ taken[NR] = $2 }
        END {
            third = int((NR + 2) / 3)
            for (at = third; at <= NR; at += 1) if (taken[at] > most) most = taken[at]
            printf "memory: %d MiB after a third of the time, then %d MiB at most\n", taken[third], most
            exit most > taken[third] * 1.5 + 64
        }' "$1"
}

# A run of /livez at the same rate, right before; what it took is the floor that the flow is held against.
floor() {
    local report=$1 short=()
    [ -z "$seconds" ] || short=(-e SECONDS="$((seconds < 15 ? seconds : 15))")
    say "k6, floor of mixed, profile $profile"
    run_k6 floor "$report/floor" "${short[@]}" || ended=1
    floor_ms=$(p95 floor "$report/floor")
}

# p95 <scenario, or a part of it> <folder of its report>
p95() {
    local times="it['metrics']['http_req_duration{scenario:$1}']"
    from_json "$2/summary.json" "round($times['values']['p(95)'], 2)"
}

# Runs a flow with users of its own; false when a threshold is crossed.
load() {
    local flow=$1 ended=0 more=() count points floor_ms=
    local report=${REPORTS:-$PWD/.onrush/load}/$flow-$(date +%Y%m%d-%H%M%S)
    "$k6" inspect "${settings[@]}" "k6/$flow.js" >"$data/options.json" || return 1
    count=$(from_json "$data/options.json" 'it["ext"]["users"]')
    points=$(from_json "$data/options.json" 'it["ext"]["points"]')
    say "making $count users with $points points each"
    "$ONRUSH" load-users --data-dir "$data/demo" --count "$count" --points "$points" >"$data/users.csv" ||
        return 1
    if [ "$flow" = mixed ]; then
        floor "$report" || return 1
        more=(-e FLOOR_P95_MS="$floor_ms")
    fi
    say "k6, $flow, profile $profile, $instances instance(s)"
    local before
    before=$(resident)
    mkdir -p "$report"
    watch_memory "$report/memory.txt" &
    sampler=$!
    run_k6 "$flow" "$report" -e USERS="$data/users.csv" "${more[@]}" || ended=1
    kill "$sampler" && wait "$sampler" 2>/dev/null || true
    sampler=
    echo "memory: $before MiB before, $(resident) MiB after"
    if [ "$flow" = soak ]; then memory_is_bounded "$report/memory.txt" || ended=1; fi
    if [ "$flow" = mixed ]; then
        echo "p95: floor $floor_ms ms, mixed $(p95 mixed "$report") ms (5 ms more at most, but in smoke)," \
            "polls of it $(p95 mixed,name:poll "$report") ms"
    fi
    echo "report: $report/report.html"
    return $ended
}

failed=()
for flow in "${flows[@]}"; do load "$flow" || failed+=("$flow"); done
say "the books"
"$ONRUSH" verify --data-dir "$data/demo"
[ ${#failed[@]} -eq 0 ] || { echo "failed: ${failed[*]}" >&2; exit 1; }
