#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# Much, and long: 10,000 freezes under traffic, owners that are killed for want
# of memory, processors and machines that go to sleep, 1,000 loads of the
# module; then holds of a million packets and of 4 GiB, which are those of the
# benchmarks. With less than all of it, the latter are as large as the memory
# that is free allows; else that there is too little for 4 GiB is a failure.
#
#   soak.sh [PART…]     6.1, 7.3 (kernels), amount-6.1, amount-7.3 (much, on
#                       these kernels); all if none is given
#
# Run by 'make soak', which sets BUILD and builds what is needed. In the
# environment:
#
#   SOAK_PERCENT     how much of it (100)
#   SOAK_CASES       of a kernel only these, see in-vm.sh
#   SOAK_MEM         memory of the machine that holds 4 GiB, in MiB

set -euo pipefail
shopt -s inherit_errexit

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
: "${BUILD:?is not set: run make soak}"
percent=${SOAK_PERCENT:-100}
out=$BUILD/soak
read -r -a cases <<<"${SOAK_CASES:-}"
[ $# -gt 0 ] || set -- 6.1 7.3 amount-6.1 amount-7.3
# MiB of a machine of which 4 GiB are half, after what its kernel takes.
ENOUGH=9216

# vm PART MEM COMMAND…
vm()
{
	local name=$1 kernel=${1#amount-} mib=$2
	shift 2

	cp "$BUILD/kmod-$kernel/tapmig.ko" "$out/payload/"
	"$here/../vm/run.sh" --kernel "$kernel" \
		--module "$BUILD/kmod-$kernel/tapmig.ko" --mem "$mib" \
		--timeout 14400 --payload "$out/payload" \
		--out "$out/$name" -- "$@"
}

rm -rf -- "$out/payload"
mkdir -p "$out/payload"
cp "$out/soak" "$BUILD/bench/bench" "$here/in-vm.sh" \
	"$BUILD"/selftests/{bounds,thaw,tapmig_race} "$out/payload/"
cp "$here/../bench/in-vm.sh" "$out/payload/bench.sh"
rc=0
for part; do
	if [ "${part#amount-}" = "$part" ]; then
		vm "$part" 2048 ./in-vm.sh "$percent" \
			${cases[@]+"${cases[@]}"} || rc=1
		continue
	fi
	# The module lets holds have half of the memory.
	mib=${SOAK_MEM:-}
	if [ -z "$mib" ]; then
		free=$(awk '$1 == "MemAvailable:" { print int($2 / 1024) }' \
			/proc/meminfo)
		mib=$((10240 * percent / 100))
		mib=$((mib < 2048 ? 2048 : mib))
		if [ "$mib" -gt $((free - 2048)) ]; then
			mib=$((free - 2048))
			echo "# soak: only $mib MiB are free for $part"
		fi
	fi
	if [ "$mib" -lt 2048 ]; then
		echo "soak: not enough free memory for a large hold" >&2
		rc=1
		continue
	fi
	if [ "$percent" -ge 100 ] && [ "$mib" -lt "$ENOUGH" ]; then
		echo "soak: $part: for a hold of 4 GiB the machine needs" \
			"$ENOUGH MiB (of this one's free memory," \
			"$((ENOUGH + 2048)) MiB), and has $mib MiB" >&2
		rc=1
	fi
	# No figures are wanted: it ends if anything is lost.
	vm "$part" "$mib" env BENCH_ROUNDS=1 \
		BENCH_SMALL_MAX=$((20000 * percent)) \
		./bench.sh ./tapmig.ko small large || rc=1
done
exit "$rc"
