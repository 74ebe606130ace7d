#!/usr/bin/env bash
# Twelve nodes as pods of a real Kubernetes for the length of this command: vm-lifecycle; then holder-kill, of which one pod is deleted and one
# is evicted in the middle. Also has the server of Kubernetes read manifests of every option.
#
#   scripts/kubernetes-lab.sh        on the cluster of KUBECONFIG, with IMAGE in it and REDIS a URL that its pods reach;
#                                    else on the one that LAB makes (../shared/lab/kubernetes), if it is there and built
set -euo pipefail
cd "$(dirname "$0")/.."
say() { printf 'kubernetes-lab: %s\n' "$*" >&2; }
lab=${LAB:-../shared/lab/kubernetes}

if [ -z "${KUBECONFIG:-}" ]; then
    bin=${LAB_BIN:-/var/tmp/kubernetes-lab}
    [ -x "$lab/up.sh" ] || { say "skipped: no KUBECONFIG, and no cluster of one's own in $lab"; exit 0; }
    [ -x "$bin/kubelet" ] || { say "skipped: $lab/build.sh has not been run"; exit 0; }
    [ "$(id -u)" = 0 ] || { say 'skipped: a cluster of one'\''s own is for root'; exit 0; }
    make --no-print-directory static
    image=$(mktemp --suffix .tar)
    trap 'rm -f "$image"' EXIT
    python3 "$lab/images/image.py" target/static/lockbench docker.io/local/lockbench:1 "$image"
    LOCKBENCH=$PWD/target/static/lockbench IMAGE=docker.io/local/lockbench:1 IMAGES=$image "$lab/up.sh" "$PWD/scripts/kubernetes-lab.sh"
    exit
fi

export LOCKBENCH=${LOCKBENCH:-target/release/lockbench}
out=$(mktemp -d)
redis=
trap '[ -z "$redis" ] || kill "$redis"; rm -rf "$out"' EXIT
if [ -z "${REDIS:-}" ]; then
    redis-server --bind 10.244.0.1 --port 6379 --save '' --protected-mode no >/dev/null &
    redis=$!
    REDIS=redis://10.244.0.1:6379
fi
export OUT=$out

say 'manifests of every option'
for options in '' '--nodes 300' '--pull Never' '--name mine' '--servers urls' '--cpu 2 --memory 1Gi' '--nodes 1 -- --blocks 2'; do
    # shellcheck disable=SC2086
    "$LOCKBENCH" kubernetes render holder-kill --image "$IMAGE" $options | kubectl apply --dry-run=server -f - >/dev/null
done

say 'vm-lifecycle, twelve nodes'
scripts/kubernetes.sh vm-lifecycle --image "$IMAGE" --pull Never --nodes 12 --cpu 10m --memory 128Mi \
    -- --redis "$REDIS" --contenders redis-fenced,ring-queue --rate 40 --duration 10 --blocks 1

say 'holder-kill, twelve nodes, of which one is deleted and one evicted'
# shellcheck disable=SC2016
WHEN_RUNNING='
    pods=$(kubectl get pods -l "app.kubernetes.io/name=$NAME,app.kubernetes.io/component=node" -o name | sort)
    sleep 5
    kubectl delete --wait=false "$(sed -n 3p <<<"$pods")"
    pod=$(sed -n "5s,pod/,,p" <<<"$pods")
    # The disruption budget refuses it as long as another is missing.
    printf "{\"apiVersion\":\"policy/v1\",\"kind\":\"Eviction\",\"metadata\":{\"name\":\"%s\"}}" "$pod" |
        kubectl create --raw "/api/v1/namespaces/default/pods/$pod/eviction" -f - || true' \
scripts/kubernetes.sh holder-kill --image "$IMAGE" --pull Never --nodes 12 --cpu 10m --memory 128Mi \
    -- --redis "$REDIS" --contenders redis-fenced --blocks 2 --duration 20 && status=0 || status=$?
# A node that nobody planned to lose makes its run INVALID, and not the batch unfinished.
[ "$status" = 4 ] || { say "holder-kill ended with $status, not 4"; exit 1; }
records=$(find "$out" -name record.json | wc -l)
[ "$records" -ge 5 ] || { say "$records runs have a record"; exit 1; }
say "both are back, with $records records"
