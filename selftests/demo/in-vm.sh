#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# The part of the demo that runs in the VM: two hosts, a switch and a client,
# each in a network namespace; a migration without and one with tapmig; the
# table. Leaves demo.json in /run/out.

set -euo pipefail

PATH=$PWD:$PATH
NAMESPACES=(switch client hostA hostB)
GUEST_MAC=02:00:00:00:00:02
COUNTS=(sent delivered lost duplicated reordered longest_gap_ms)

declare -A WORDS=(
	[sent]='frames sent'
	[delivered]='delivered'
	[lost]='lost'
	[duplicated]='duplicated'
	[reordered]='reordered'
	[longest_gap_ms]='longest gap, ms'
)

bridge()
{
	ip -n "$1" link add "$2" type bridge forward_delay 0 mcast_snooping 0
	ip -n "$1" link set "$2" up
}

topology_up()
{
	local ns

	for ns in "${NAMESPACES[@]}"; do
		ip netns add "$ns"
		# Nothing on the wires but what the client sends.
		ip netns exec "$ns" sysctl -qw \
			net.ipv6.conf.all.disable_ipv6=1 \
			net.ipv6.conf.default.disable_ipv6=1
	done
	bridge switch sw0
	for ns in client hostA hostB; do
		ip -n switch link add "$ns" type veth \
			peer name uplink netns "$ns"
		ip -n switch link set "$ns" master sw0 up
		ip -n "$ns" link set uplink up
	done
	for ns in hostA hostB; do
		bridge "$ns" br0
		ip -n "$ns" link set uplink master br0
	done
	ip -n client addr add 192.0.2.1/24 broadcast + dev uplink
	ip -n client neigh add 192.0.2.2 lladdr "$GUEST_MAC" \
		nud permanent dev uplink
}

topology_down()
{
	local ns

	for ns in "${NAMESPACES[@]}"; do
		ip netns del "$ns"
	done
}

# half NAME: one migration; its counts go to /run/NAME.
half()
{
	topology_up
	./migrate "$1" "/run/$1"
	topology_down
}

# count NAME WHAT: one of the counts of a half.
count()
{
	awk -v what="$2" '$1 == what { print $2 }' "/run/$1"
}

json()
{
	local name what sep

	echo '{'
	for name in stock tapmig; do
		printf '  "%s": {' "$name"
		sep=
		for what in "${COUNTS[@]}"; do
			printf '%s"%s": %d' "$sep" "$what" \
				"$(count "$name" "$what")"
			sep=', '
		done
		[ "$name" = tapmig ] && echo '}' || echo '},'
	done
	echo '}'
}

table()
{
	local what

	printf '  %-18s %10s %10s\n' '' stock tapmig
	for what in "${COUNTS[@]}"; do
		printf '  %-18s %10d %10d\n' "${WORDS[$what]}" \
			"$(count stock "$what")" "$(count tapmig "$what")"
	done
}

verdict()
{
	local what n rc=0

	if [ "$(count stock lost)" -eq 0 ]; then
		echo "demo: FAILED: stock lost nothing, so nothing is shown"
		rc=1
	fi
	for what in lost duplicated reordered; do
		n=$(count tapmig "$what")
		[ "$n" -eq 0 ] || {
			echo "demo: FAILED: tapmig: $n frames $what"
			rc=1
		}
	done
	[ $rc -ne 0 ] || echo "demo: passed: tapmig lost, doubled and reordered" \
		"nothing; stock lost $(count stock lost) frames"
	return $rc
}

modprobe tun
echo
echo "Migration on stock Linux $(uname -r)"
half stock
modprobe tapmig
echo
echo "The same with tapmig $(cat /sys/module/tapmig/version)"
half tapmig
echo
table
echo "  (the longest gap is the stop: both send the same frames meanwhile)"
echo
json >/run/out/demo.json
verdict
