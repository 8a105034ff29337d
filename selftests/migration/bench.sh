#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# What a guest's network notices of a live migration: many of them, stock and
# with tapmig, with vhost-net and without. Each is measured in one line of
# build/migration-bench/runs.jsonl; what is there already is not measured
# again. The figures go to build/migration.json, .svg and .png.
#
# Run by 'make bench-migration', which sets BUILD and MODULE_6_1. In the
# environment:
#
#   RUNS            of each kind (30)
#   WARMUPS         before them, not counted (3)
#   BENCH_RATE      probes a second (100); runs of another rate are kept apart

set -euo pipefail
shopt -s inherit_errexit

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
: "${BUILD:?is not set: run make bench-migration}"
: "${MODULE_6_1:?is not set}"
out=$BUILD/migration-bench
runs=$out/runs.jsonl

mkdir -p "$out"
touch "$runs"
"$here/payload.sh" "$out/payload" "$here/bench.py"
cp "$runs" "$out/payload/runs.jsonl"

rc=0
"$here/../vm/run.sh" --kernel 6.1 --module "$MODULE_6_1" --mem 3072 \
	--timeout 14400 --payload "$out/payload" --out "$out/vm" -- \
	./in-vm.sh ./bench.py runs.jsonl "${RUNS:-30}" "${WARMUPS:-3}" \
	"${BENCH_RATE:-100}" | tee >(sed -un 's/^run: //p' >>"$runs") || rc=$?
# The distribution's own: the package with what draws is for that one.
/usr/bin/python3 "$here/bench_report.py" "$runs" "${BENCH_RATE:-100}" \
	"$BUILD/migration"
exit "$rc"
