#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# Run each fuzzer for FUZZ_SECONDS (600), one after the other. What they find is
# in OUT/crashes/TARGET; it belongs into crashes/TARGET here, with its cure.
#
#   fuzz.sh OUT TARGET…	KTAP; OUT is where things are built; the corpus
#			stays there

set -euo pipefail

out=$1
shift
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
n=0 failed=0

echo "KTAP version 1"
echo "1..$#"
for t; do
	n=$((n + 1))
	mkdir -p "$out/corpus/$t" "$out/crashes/$t"
	echo "# $t: ${FUZZ_SECONDS:-600} s"
	if "$out/fuzzer/$t" -dict="$here/$t.dict" -max_len=65536 -timeout=20 \
		-max_total_time="${FUZZ_SECONDS:-600}" -rss_limit_mb=2048 \
		-print_final_stats=1 -artifact_prefix="$out/crashes/$t/" \
		"$out/corpus/$t" "$out/seeds/$t" >"$out/$t.log" 2>&1; then
		grep -E '^#[0-9]+.*DONE' "$out/$t.log" | sed 's/^#/# /'
		echo "ok $n fuzz_$t"
	else
		tail -n 60 "$out/$t.log" | sed 's/^/# /'
		echo "not ok $n fuzz_$t"
		failed=1
	fi
done
exit $failed
