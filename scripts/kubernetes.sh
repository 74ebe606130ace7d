#!/usr/bin/env bash
# Runs a scenario with nodes that are pods, on whatever cluster KUBECONFIG names, and brings the batch back.
#
#   scripts/kubernetes.sh SCENARIO --image IMAGE [options of `lockbench kubernetes render`] [-- options of `lockbench run`]
#
# LOCKBENCH is the program here (target/release/lockbench where not set), which must be the same as in the image; OUT where the batch goes (out);
# WHEN_RUNNING a command that is run once the driver has its nodes, for whoever wants to break something. All objects are deleted at the end.
set -euo pipefail

lockbench=${LOCKBENCH:-target/release/lockbench}
out=${OUT:-out}
have() { command -v "$1" >/dev/null; }
say() { printf 'kubernetes: %s\n' "$*" >&2; }

have kubectl || { say 'kubectl is not on the path'; exit 2; }
[ -x "$lockbench" ] || { say "$lockbench is not there: cargo build --release, or LOCKBENCH=PATH"; exit 2; }

work=$(mktemp -d)
name=lockbench-$$
forward=
tidy() {
    [ -z "$forward" ] || kill "$forward" 2>/dev/null || true
    [ ! -s "$work/objects.yaml" ] || kubectl delete --wait=false -f "$work/objects.yaml" >/dev/null 2>&1 || say "$name was not deleted"
    rm -rf "$work"
}
trap tidy EXIT

"$lockbench" kubernetes render "$1" --name "$name" "${@:2}" >"$work/objects.yaml"
kubectl apply -f "$work/objects.yaml" >/dev/null
driver=$(kubectl get pods -l "app.kubernetes.io/name=$name,app.kubernetes.io/component=driver" -o name)
until [ -n "$driver" ]; do
    sleep 1
    driver=$(kubectl get pods -l "app.kubernetes.io/name=$name,app.kubernetes.io/component=driver" -o name)
done
phase() { kubectl get "$driver" -o 'jsonpath={.status.phase}'; }
for _ in $(seq 600); do [ "$(phase)" != Pending ] && break; sleep 1; done
[ "$(phase)" != Pending ] || { say "the driver's pod does not start"; kubectl describe "$driver" >&2; exit 4; }

# What it says, as it says it.
kubectl logs -f "$driver" >"$work/log" 2>&1 &
logs=$!
until grep -q ' into /out/' "$work/log" || [ "$(phase)" != Running ]; do sleep 0.5; done
[ -z "${WHEN_RUNNING:-}" ] || NAME=$name DRIVER=$driver bash -c "$WHEN_RUNNING"
until grep -q ' is kept at ' "$work/log" || [ "$(phase)" != Running ]; do sleep 0.5; done
sed 's/^/driver: /' "$work/log" >&2
if ! grep -q ' is kept at ' "$work/log"; then
    say 'the driver ended without a batch'
    exit 4
fi

kubectl port-forward "$driver" :7401 >"$work/forward" 2>&1 &
forward=$!
until port=$(sed -nE 's/^Forwarding from 127\.0\.0\.1:([0-9]+) .*/\1/p' "$work/forward") && [ -n "$port" ]; do
    kill -0 "$forward" 2>/dev/null || { cat "$work/forward" >&2; exit 4; }
    sleep 0.2
done
for try in 1 2 3; do
    "$lockbench" fetch "127.0.0.1:$port" --out "$out" && break
    # What was not fetched is not deleted.
    [ "$try" -lt 3 ] || { trap - EXIT; say "$driver still has the batch: lockbench fetch, then kubectl delete -f $work/objects.yaml"; exit 4; }
    sleep 2
done
until [ "$(phase)" != Running ]; do sleep 0.5; done
wait "$logs" || true
exit "$(kubectl get "$driver" -o 'jsonpath={.status.containerStatuses[0].state.terminated.exitCode}')"
