#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# Replay the inputs of the fuzzers, each as it is and with some changes, and
# every one that has found something once (crashes/).
#
#   check.sh OUT TARGET…	KTAP; OUT is where things are built

set -euo pipefail

out=$1
shift
here=$(dirname "${BASH_SOURCE[0]}")
export ASAN_OPTIONS=detect_stack_use_after_return=1 UBSAN_OPTIONS=print_stacktrace=1
n=0 failed=0

# replay NAME TARGET CHANGES FILE…
replay()
{
	local name=$1 target=$2 changes=$3 log
	shift 3

	n=$((n + 1))
	if [ $# -eq 0 ]; then
		echo "ok $n $name # SKIP there are none"
		return 0
	fi
	log=$out/replay/$name.log
	if "$out/replay/$target" -n "$changes" "$@" >"$log" 2>&1; then
		echo "ok $n $name"
	else
		# The name of the input stands before what is wrong.
		tail -n 60 "$log" | sed 's/^/# /'
		echo "not ok $n $name"
		failed=1
	fi
}

shopt -s nullglob
echo "KTAP version 1"
echo "1..$((2 * $#))"
for t; do
	replay "${t}_seeds" "$t" "${FUZZ_CHANGES:-200}" "$out/seeds/$t"/*
	replay "${t}_crashes" "$t" 0 "$here/crashes/$t"/*
done
exit $failed
