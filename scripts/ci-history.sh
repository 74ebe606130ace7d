#!/usr/bin/env bash
# Figures of this commit, added to history.ndjson on the branch `history`, with the page beside it. Any runner can call it; PUSH=yes
# pushes the branch, for which its token must be allowed to.
set -euo pipefail
cd "$(dirname "$0")/.."
scenario=${SCENARIO:-vm-lifecycle}
blocks=${BLOCKS:-6}
out=${OUT:-out/history}

rm -rf "$out"
cargo build --release --locked
status=0
target/release/lockbench run "$scenario" --blocks "$blocks" --out "$out/batches" || status=$?
case $status in
0) ;;
4) echo "this batch proves nothing, so that nothing is added" && exit 0 ;;
*) exit "$status" ;;
esac

tree=$(mktemp -d)
trap 'git worktree remove --force "$tree"' EXIT
if git fetch origin history 2>/dev/null; then
	git worktree add --detach "$tree" FETCH_HEAD
else
	git worktree add --detach "$tree"
	git -C "$tree" switch --orphan history
fi
target/release/lockbench history "$tree/history.ndjson" --append "$out/batches" --commit "$(git rev-parse HEAD)"
cp "$tree/history.html" "$out/"
git -C "$tree" add history.ndjson history.html
git -C "$tree" -c user.name=lockbench -c user.email=lockbench@localhost commit --quiet --message "Figures of $(git rev-parse --short HEAD)"
if [ "${PUSH:-no}" = yes ]; then
	git -C "$tree" push origin HEAD:history
fi
