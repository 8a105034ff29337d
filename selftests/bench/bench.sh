#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# What holds cost, as ratios of two things measured in turns in one run. They
# are taken twice: on a stock kernel in an emulated machine, which has two
# processors and is slow, and in User Mode Linux, where what the kernel does
# has the machine's own speed, but a system call takes much longer. Prints a
# table, and leaves all figures in build/bench.json.
#
# Run by 'make bench', which sets BUILD and MODULE_7_3, and builds the tool. In
# the environment:
#
#   BENCH_TCG, BENCH_UML    benchmarks to run there; empty: none
#   BENCH_ROUNDS            how often each is measured
#   BENCH_MEM               memory of the emulated machine, MiB

set -euo pipefail
shopt -s inherit_errexit

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
: "${BUILD:?is not set: run make bench}" "${MODULE_7_3:?is not set}"
out=$BUILD/bench

tcg=${BENCH_TCG-capture reader thaw transfer relay senders small large}
uml=${BENCH_UML-capture thaw transfer senders small}
environment=()
[ -z "${BENCH_ROUNDS:-}" ] || environment=("BENCH_ROUNDS=$BENCH_ROUNDS")

# The module lets holds have half of the memory.
memory()
{
	local mib

	mib=$(awk '$1 == "MemAvailable:" { print int($2 / 1024) - 3072 }' \
		/proc/meminfo)
	[ "$mib" -lt 8192 ] || mib=8192
	if [ "$mib" -lt 4096 ]; then
		echo "bench: not enough free memory: 7 GiB are needed" >&2
		exit 1
	fi
	echo "$mib"
}

run_tcg()
{
	local payload=$out/payload mem=${BENCH_MEM:-}

	[ -n "$mem" ] || mem=$(memory)
	rm -rf -- "$payload"
	mkdir -p "$payload"
	cp "$out/bench" "$BUILD/userspace/tapmig" "$here/in-vm.sh" "$MODULE_7_3" "$payload/"
	echo "A stock kernel in an emulated machine of $mem MiB:"
	printf 'text\tmemory\t%s MiB\n' "$mem" >"$out/tcg.tsv"
	# shellcheck disable=SC2086 # a list of words
	"$here/../vm/run.sh" --kernel 7.3 --module "$MODULE_7_3" \
		--mem "$mem" --timeout 3600 --payload "$payload" \
		--out "$out/vm" -- env "${environment[@]}" \
		./in-vm.sh ./tapmig.ko $tcg | tee -a "$out/tcg.tsv"
}

run_uml()
{
	local dir module mem=4096

	dir=$("$here/uml.sh" kernel)
	module=$("$here/uml.sh" module)
	echo "User Mode Linux:"
	printf 'text\tmemory\t%s MiB\n' "$mem" >"$out/uml.tsv"
	timeout -k 5 3600 "$dir/linux" "mem=${mem}M" "uml_dir=$out/uml" \
		root=/dev/root rootfstype=hostfs rootflags=/ ro con=null \
		con0=null,fd:1 quiet loglevel=3 init="$here/in-uml.sh" \
		"BENCH_PROGRAM=$out/bench" "BENCH_MODULE=$module" \
		"BENCH_NAMES=${uml// /,}" "${environment[@]}" \
		</dev/null 2>"$out/uml.log" |
		sed -u 's/\r$//' | tee -a "$out/uml.tsv"
	if ! grep -qx $'exit\t0' "$out/uml.tsv"; then
		tail -n 20 "$out/uml.log" >&2
		return 1
	fi
}

rm -f "$BUILD/bench.json" "$out"/{tcg,uml}.tsv
mkdir -p "$out"
rc=0
[ -z "$tcg" ] || run_tcg || rc=$?
[ -z "$uml" ] || run_uml || rc=$?
python3 "$here/report.py" "$BUILD/bench.json" "$out/tcg.tsv" "$out/uml.tsv"
exit "$rc"
