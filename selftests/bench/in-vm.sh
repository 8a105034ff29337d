#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# The part of the benchmarks that runs in a virtual machine.
#
#   in-vm.sh MODULE BENCHMARK…

set -euo pipefail

export BENCH_MODULE=$1 PATH=$PWD:$PATH
shift

for m in tun tap pktgen sch_plug; do
	modprobe "$m" 2>/dev/null || grep -q "/$m\.ko" \
		"/lib/modules/$(uname -r)/modules.builtin"
done
printf 'text\tkernel\t%s\n' "$(uname -r)"
printf 'text\tprocessors\t%s\n' "$(nproc)"
exec ./bench "$@"
