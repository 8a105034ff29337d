#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# The far one of a pair of VMs, see pair.sh: an agent does there what the near
# one asks for.

set -euo pipefail

modprobe virtio_net
ip link set eth0 up
ip addr add 10.9.1.2/24 dev eth0
tc qdisc replace dev eth0 root pfifo limit 100000
exec ./agent.py
