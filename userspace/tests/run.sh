#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# Run tests of the tool one after the other, as one stream of KTAP.
#
#   run.sh OUT TEST…	a test is a file here; it gets OUT, where things are built

set -euo pipefail

out=$1
shift
here=$(dirname "${BASH_SOURCE[0]}")
n=0 failed=0

echo "KTAP version 1"
echo "1..$#"
for t; do
	n=$((n + 1))
	rc=0
	echo "# run: $t"
	python3 -B "$here/$t" "$out" 2>&1 </dev/null | sed -u 's/^/  /' ||
		rc=${PIPESTATUS[0]}
	case $rc in
	0) echo "ok $n $t" ;;
	4) echo "ok $n $t # SKIP" ;;
	*)
		echo "not ok $n $t (exit status $rc)"
		failed=1
		;;
	esac
done
exit $failed
