#!/usr/bin/env bash
# Loads a fresh server on free ports with purchases (k6/purchase.js), then with orders (k6/order.js), and
# proves that the books agree.
# The profile is `smoke` (12 s) or `rate` (60 s). ONRUSH names a binary to use instead of a release build.
. "$(dirname "${BASH_SOURCE[0]}")/setup.sh"

profile=${1:-smoke}
case $profile in
    smoke) count=300 ;;
    rate) count=6500 ;;
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

say "making $count users"
"$ONRUSH" load-users --data-dir "$data/demo" --count "$count" --points 1000000 >"$data/users.csv"

for script in purchase order; do
    say "k6, $script, profile $profile"
    "$k6" run --quiet -e PROFILE="$profile" -e USERS="$data/users.csv" -e ONRUSH_URL="$url" \
        -e OPERATOR_EMAIL="$email" -e OPERATOR_PASSWORD="$password" "k6/$script.js"
done

say "the books"
"$ONRUSH" verify --data-dir "$data/demo"
