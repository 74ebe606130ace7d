#!/usr/bin/env bash
# Installs what lockbench builds with and the servers it compares (Debian and Ubuntu); silent when nothing is missing.
#
#   scripts/setup.sh              install what is missing, with apt-get, as root or through sudo
#   SETUP=skip scripts/setup.sh   leave this machine alone
#
# Nothing that is installed here is left running or enabled as a service, and what was here before stays as it was:
# lockbench starts its own private servers from the installed programs.
set -euo pipefail

readonly policy=/usr/sbin/policy-rc.d policy_saved=/usr/sbin/policy-rc.d.before-lockbench
readonly cluster=/etc/postgresql-common/createcluster.conf
readonly cluster_saved=$cluster.before-lockbench cluster_shipped=/usr/share/postgresql-common/createcluster.conf
readonly mark='# Written by the set-up of lockbench, for as long as it installs packages.'

say() { printf 'setup: %s\n' "$*" >&2; }
have() { command -v "$1" >/dev/null; }
have_any() { local path; for path in "$@"; do [[ -e $path ]] && return; done; return 1; }

missing_packages() {
    have cc || echo gcc libc6-dev
    have protoc || echo protobuf-compiler
    have_any /usr/include/google/protobuf/descriptor.proto /usr/local/include/google/protobuf/descriptor.proto ||
        echo libprotobuf-dev
    have setpriv || echo util-linux
    have redis-server || echo redis-server
    have etcd || echo etcd-server
    have etcdctl || echo etcd-client
    have nats-server || echo nats-server
    have_any /usr/share/java/zookeeper.jar || echo libzookeeper-java
    have_any /usr/lib/postgresql/*/bin/initdb || echo postgresql
    have_any /usr/sbin/pgbouncer /usr/bin/pgbouncer || echo pgbouncer
    have_any /usr/lib/*/faketime/libfaketimeMT.so.1 /usr/lib64/faketime/libfaketimeMT.so.1 || echo libfaketime
    have_any /usr/sbin/mariadbd || echo mariadb-server
    have java || echo default-jre-headless
    have valgrind || echo valgrind
}

# Becomes root and starts over with the packages as arguments.
as_root() {
    have sudo || return 1
    if sudo -n true 2>/dev/null; then exec sudo -n bash "$0" "$@"; fi
    if [[ -t 2 ]]; then exec sudo bash "$0" "$@"; fi
    return 1
}

installed() { dpkg-query -W -f '${db:Status-Status} ${Package}\n' | sed -n 's/^installed //p' | sort -u; }

# While packages are installed, no service may start and no default Postgres cluster may be made. An earlier set-up
# that was killed is put right first.
hold_services() {
    restore
    if [[ -e $policy ]]; then mv "$policy" "$policy_saved"; fi
    printf '#!/bin/sh\n%s\nexit 101\n' "$mark" >"$policy"
    chmod 755 "$policy"
    if [[ -e $cluster ]]; then cp -p "$cluster" "$cluster_saved"; fi
    mkdir -p "$(dirname "$cluster")"
    printf '%s\ncreate_main_cluster = false\n' "$mark" >"$cluster"
}

# Safe at any time and as often as wanted: acts only on what carries our mark.
restore() {
    if grep -qsF "$mark" "$policy"; then rm -f "$policy"; fi
    if [[ -e $policy_saved ]]; then mv -f "$policy_saved" "$policy"; fi
    if grep -qsF "$mark" "$cluster"; then
        rm -f "$cluster" "$cluster.ucf-dist"
        if [[ ! -e $cluster_saved && -e $cluster_shipped ]]; then cp "$cluster_shipped" "$cluster"; fi
    fi
    if [[ -e $cluster_saved ]]; then mv -f "$cluster_saved" "$cluster"; fi
    rmdir "$(dirname "$cluster")" 2>/dev/null || true
}

# Disables the services of the packages named on standard input. Units are enabled at installation even where systemd
# is not running, and would come up at the next boot.
disable_services() {
    local package unit
    while read -r package; do dpkg -L "$package"; done |
        sed -nE 's,^(/usr)?/lib/systemd/system/([^/@]+\.service)$,\2,p; s,^/etc/init\.d/([^/]+)$,\1,p' |
        while read -r unit; do
            if [[ $unit == *.service ]]; then
                if have systemctl; then systemctl --quiet disable "$unit" </dev/null; fi
            elif have update-rc.d; then
                update-rc.d "$unit" disable </dev/null >/dev/null
            fi || say "could not disable $unit"
        done
}

install_packages() {
    local before status=0
    exec 9>/run/lock/lockbench-setup
    flock -w 900 9
    trap restore EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    before=$(installed)
    hold_services
    export DEBIAN_FRONTEND=noninteractive
    local apt=(apt-get -q -y -o DPkg::Lock::Timeout=300)
    "${apt[@]}" update </dev/null >&2 9>&- || say 'apt-get update failed; trying with the package lists at hand'
    "${apt[@]}" install --no-install-recommends "$@" </dev/null >&2 9>&- || status=$?
    comm -13 <(printf '%s\n' "$before") <(installed) | disable_services
    if ((status)); then say "apt-get install failed for: $*"; fi
    return "$status"
}

if [[ ${SETUP:-} == skip ]]; then exit; fi
if (($#)); then install_packages "$@"; exit; fi
mapfile -t packages < <(missing_packages | tr ' ' '\n')
if ((${#packages[@]} == 0)); then exit; fi
say "missing here: ${packages[*]}"
if ! have apt-get; then
    say 'this script knows only Debian and Ubuntu. Install what these packages hold, or set SETUP=skip to go on without.'
    exit 1
fi
# Large, and needed by nothing but tests.
have chromium || have google-chrome ||
    say 'no Chromium here: tests that open a report in a browser will be skipped (apt-get install chromium).'
say 'installing that with apt-get; no service is left running or enabled. SETUP=skip leaves this machine alone.'
if ((EUID == 0)); then install_packages "${packages[@]}"; exit; fi
as_root "${packages[@]}" || { say "no root rights. As root: apt-get install ${packages[*]}"; exit 1; }
