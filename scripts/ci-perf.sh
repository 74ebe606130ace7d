#!/usr/bin/env bash
# Base and head on one machine, block by block in turns, so that whatever the machine does falls on both. Any runner can call it:
#
#   BASE=<commit> scripts/ci-perf.sh          # BLOCKS, SCENARIO, CONTENDERS, THRESHOLDS and OUT may be set
#
# Exit codes: those of `lockbench gate` (0 kept, 1 a threshold is broken, 5 cannot tell, 3 a promise is broken, 4 nothing is proven).
set -euo pipefail
cd "$(dirname "$0")/.."
base=${BASE:-$(git merge-base origin/main HEAD)}
blocks=${BLOCKS:-6}
scenario=${SCENARIO:-vm-lifecycle}
contenders=${CONTENDERS:-redis-fenced,pg-mux,etcd-cas,zk-seq,ring-queue}
thresholds=${THRESHOLDS:-scripts/ci-thresholds.toml}
out=${OUT:-out/perf}

rm -rf "$out"
mkdir -p "$out/bin"
tree=$(mktemp -d)
trap 'git worktree remove --force "$tree"' EXIT
git worktree add --detach "$tree" "$base"
CARGO_TARGET_DIR=$PWD/target/base cargo build --release --locked --manifest-path "$tree/Cargo.toml"
cargo build --release --locked
cp target/base/release/lockbench "$out/bin/base"
cp target/release/lockbench "$out/bin/head"

# A violation ends it at once; what a busy machine spoiled is left out of the comparison, which says how much is left.
block() {
	local status=0
	"$out/bin/$1" run "$scenario" --contenders "$contenders" --blocks 1 --seed "$2" --out "$out/$1" || status=$?
	case $status in 0 | 4) ;; *) exit "$status" ;; esac
}
for number in $(seq "$blocks"); do
	# Who goes first changes, since a machine that grows slower must favour nobody.
	if ((number % 2)); then order="base head"; else order="head base"; fi
	for side in $order; do block "$side" "$((1000 + number))"; done
done

"$out/bin/head" compare "$out/base" "$out/head" --metrics goodput,wait_p50,response_p99,cpu_per_task --out "$out"
"$out/bin/head" gate "$out/head" --baseline "$out/base" --thresholds "$thresholds"
