#!/usr/bin/env bash
# Installs what `go run ./bench compare` runs, Debian's rabbitmq-server, unless it is there. It is not started as a
# service, neither now nor when the system boots.
set -euo pipefail

scripts=${RABBITMQ_SCRIPTS:-/usr/lib/rabbitmq/bin}
install="apt-get install -y --no-install-recommends rabbitmq-server"
policy=/usr/sbin/policy-rc.d

fail() {
	echo "compare: $1" >&2
	exit 1
}

[ -x "$scripts/rabbitmq-server" ] && exit 0
[ -z "${RABBITMQ_SCRIPTS:-}" ] || fail "there is no rabbitmq-server in $RABBITMQ_SCRIPTS"
command -v apt-get >/dev/null || fail "RabbitMQ is not installed, and there is no apt-get: RABBITMQ_SCRIPTS names the directory of rabbitmq-server"
[ "$(id -u)" -eq 0 ] || fail "only root may install: run 'apt-get update && $install' as root"

units=(rabbitmq-server)
command -v epmd >/dev/null || units+=(epmd) # it comes with Erlang
# The scripts of packages ask this one before they start a service.
if [ ! -e "$policy" ]; then
	trap 'rm -f "$policy"' EXIT
	printf '#!/bin/sh\nexit 101\n' >"$policy"
	chmod +x "$policy"
fi
echo "compare: $install"
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq </dev/null
$install -qq </dev/null
if command -v systemctl >/dev/null; then
	systemctl disable --quiet "${units[@]}"
fi
[ -x "$scripts/rabbitmq-server" ] || fail "rabbitmq-server is still missing after apt-get"
