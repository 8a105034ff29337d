#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# The near one of a pair of VMs, see pair.sh: runs a command that uses the far
# one.
#
#   pair-near.sh COMMAND [ARG…]

set -euo pipefail

modprobe virtio_net
ip link set eth0 up
ip addr add 10.9.1.1/24 dev eth0
tc qdisc replace dev eth0 root pfifo limit 100000
rc=0
"$@" || rc=$?
./remote.py end
exit "$rc"
