#!/usr/bin/env bash
# Loads a fresh server on free ports with purchases (k6/purchase.js), with orders (k6/order.js), with a crowd
# that claims coupons (k6/coupon.js) and one that asks for rewards (k6/reward.js), in turn, and proves that
# the books agree. The profile is `smoke` (12, 8, 4 and 4 s) or `rate` (60, 60, 20 and 20 s). ONRUSH names a
# binary to use instead of a release build.
. "$(dirname "${BASH_SOURCE[0]}")/setup.sh"

profile=${1:-smoke}
case $profile in
    smoke) count=300 crowd=2100 ;;
    rate) count=6500 crowd=21000 ;;
    *) echo "usage: scripts/load.sh [smoke|rate]" >&2; exit 2 ;;
esac

need python3 have python3
need_build_and_servers
need_k6
if [ -z "${ONRUSH-}" ]; then
    cargo build --release --locked
    ONRUSH="$(target_folder)/release/onrush"
fi

start_demo load
read -r email password < <(python3 - "$data/demo/demo.json" <<'PY'
import json, sys
demo = json.load(open(sys.argv[1]))
operator = next(user for user in demo["users"] if user["role"] == "OPERATOR")
print(operator["email"], operator["password"])
PY
)

# load <script> <file of users>
load() {
    say "k6, $1, profile $profile"
    "$k6" run --quiet -e PROFILE="$profile" -e USERS="$2" -e ONRUSH_URL="$url" \
        -e OPERATOR_EMAIL="$email" -e OPERATOR_PASSWORD="$password" "k6/$1.js"
}

say "making $count users, and $crowd without points"
"$ONRUSH" load-users --data-dir "$data/demo" --count "$count" --points 1000000 >"$data/users.csv"
# Users of their own: those who buy and order stay as few as they were.
"$ONRUSH" load-users --data-dir "$data/demo" --count "$crowd" >"$data/crowd.csv"

load purchase "$data/users.csv"
load order "$data/users.csv"
load coupon "$data/crowd.csv"
load reward "$data/crowd.csv"

say "the books"
"$ONRUSH" verify --data-dir "$data/demo"
