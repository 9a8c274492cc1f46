#!/usr/bin/env bash
# Checks for what `make test` needs outside the repository. What is missing is installed where this may be done: with
# apt-get, as root. Elsewhere it says what is missing and how to get it, and fails.
set -euo pipefail

go_wanted=1.26
node_wanted=20.19
chromium=${CHROMIUM:-/usr/bin/chromium}

# packages_of <command> names the packages of Debian and Ubuntu that bring it. cc links the race detector, ip makes the
# network namespaces for peers that fall silent; without fonts a browser takes screenshots of empty boxes. stomp.py and
# Net::Stomp are clients of the end-to-end suite, run by the python and the perl that these packages belong to.
packages_of() {
	case $1 in
	make) echo make ;;
	cc) echo gcc libc6-dev ;;
	ip) echo iproute2 ;;
	chromium) echo chromium fonts-liberation ca-certificates ;;
	stomp.py) echo python3-stomp ;;
	Net::Stomp) echo libnet-stomp-perl ;;
	esac
}

problems=()

has() { command -v "$1" >/dev/null 2>&1; }

# at_least <wanted> <found> compares versions.
at_least() { [ "$(printf '%s\n' "$1" "$2" | sort -V | head -n 1)" = "$1" ]; }

# missing prints what a package could bring and that is not there.
missing() {
	local command
	for command in make cc ip; do
		has "$command" || echo "$command"
	done
	has "$chromium" || echo chromium
	/usr/bin/python3 -I -c 'import stomp' 2>/dev/null || echo stomp.py # -I: or it finds the folder stomp of this repository
	/usr/bin/perl -MNet::Stomp -e 1 2>/dev/null || echo Net::Stomp
}

# Go and Node.js are never installed: those that a distribution carries are often older.
if ! has go; then
	problems+=("Go $go_wanted or later is not installed: get it from the Go project")
elif ! found=$(go env GOVERSION) || ! at_least "$go_wanted" "${found#go}"; then
	problems+=("Go $go_wanted or later is needed, this is ${found:-unknown}: get it from the Go project")
fi
if ! has node; then
	problems+=("Node.js $node_wanted or later is not installed: get it from the Node.js project, npm comes with it")
elif ! found=$(node --version) || ! at_least "$node_wanted" "${found#v}"; then
	problems+=("Node.js $node_wanted or later is needed, this is ${found:-unknown}: get it from the Node.js project")
elif ! has npm; then
	problems+=("npm is not installed: it comes with Node.js, some distributions package it as npm")
fi

packages=()
for command in $(missing); do
	read -ra brought <<<"$(packages_of "$command")"
	packages+=("${brought[@]}")
done

if [ ${#packages[@]} -gt 0 ]; then
	install="apt-get install -y --no-install-recommends ${packages[*]}"
	if ! has apt-get; then
		problems+=("missing: $(missing | xargs). There is no apt-get to install ${packages[*]}: use what this system has instead")
	elif [ "$(id -u)" -ne 0 ]; then
		problems+=("missing: $(missing | xargs). Only root may install: run 'apt-get update && $install' as root")
	else
		echo "deps: $install"
		export DEBIAN_FRONTEND=noninteractive
		if ! apt-get update -qq </dev/null || ! $install -qq </dev/null; then
			problems+=("apt-get failed, see above; still missing: $(missing | xargs)")
		elif [ -n "$(missing)" ]; then
			problems+=("still missing after apt-get: $(missing | xargs)")
		fi
	fi
fi

# A silent peer is one whose cable was pulled: the end-to-end suite needs two machines and a switch to show it.
if has ip; then
	namespace="stomp-deps-$$"
	if why=$(ip netns add "$namespace" 2>&1); then
		ip netns delete "$namespace"
	else
		problems+=("network namespaces cannot be made (${why##*$'\n'}): run as root, in a container with CAP_NET_ADMIN and CAP_SYS_ADMIN")
	fi
fi

if [ ${#problems[@]} -gt 0 ]; then
	printf 'deps: %s\n' "${problems[@]}" >&2
	exit 1
fi

echo "deps: $(go env GOVERSION), Node.js $(node --version), npm $(npm --version), $("$chromium" --version 2>/dev/null | head -n 1)"
