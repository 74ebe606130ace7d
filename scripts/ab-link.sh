#!/usr/bin/env bash
# A link that is a fifth slower, through the proxy: is it found, and right in size? Both sides block by block in turns, as in ci-perf.sh.
#
#   scripts/ab-link.sh                        # NEAR, FAR (ms), BLOCKS, SCENARIO, CONTENDERS and OUT may be set; NEAR=5 FAR=5 is an A/A
#
# A grant crosses the link once there and back, so that the median wait is to be longer by FAR ÷ NEAR, what the server itself takes set
# aside. `compare` refuses two loads that differ by default, and that they differ is what this is about: --force, and its banner is right.
set -euo pipefail
cd "$(dirname "$0")/.."
near=${NEAR:-5}
far=${FAR:-6}
blocks=${BLOCKS:-10}
scenario=${SCENARIO:-vm-lifecycle}
contenders=${CONTENDERS:-redis-fenced,etcd-cas,ring-queue}
out=${OUT:-out/ab-link}

rm -rf "$out"
cargo build --release --locked
lockbench=${LOCKBENCH:-target/release/lockbench}
block() {
	local status=0
	"$lockbench" run "$scenario" --contenders "$contenders" --rtt "$2" --blocks 1 --seed "$3" --out "$out/$1" || status=$?
	case $status in 0 | 4) ;; *) exit "$status" ;; esac
}
for number in $(seq "$blocks"); do
	if ((number % 2)); then order="near far"; else order="far near"; fi
	for side in $order; do block "$side" "${!side}" "$((2000 + number))"; done
done
"$lockbench" compare "$out/near" "$out/far" --metrics wait_p50,goodput --out "$out" --force
echo "by arithmetic the median wait is to be $near ms + what a grant takes without a link, and $far ms + the same"
