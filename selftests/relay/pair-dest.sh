#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# The destination of a pair of VMs: a host with a bridge, behind the VLAN 10 of
# the link, and an agent for the other VM.

set -euo pipefail

modprobe virtio_net
ip link set eth0 up
ip addr add 10.9.1.2/24 dev eth0
tc qdisc replace dev eth0 root pfifo limit 100000
ip netns add hostB
ip netns exec hostB sysctl -qw net.ipv6.conf.all.disable_ipv6=1 \
	net.ipv6.conf.default.disable_ipv6=1
ip -n hostB link set lo up
ip -n hostB link add br0 type bridge forward_delay 0 mcast_snooping 0
ip -n hostB link set br0 up
ip link add link eth0 name uplink netns hostB type vlan id 10
ip -n hostB link set uplink master br0 up
./agent.py 10.9.1.2 9000
