#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# The part of the soak that runs in a virtual machine: KTAP.
#
#   in-vm.sh PERCENT [CASE…]

set -euo pipefail

percent=$1
shift
cases=(cycles races importers memory module sleep)
[ $# -eq 0 ] || cases=("$@")
importer=an_importer_at_its_limit_is_stopped_and_the_hold_is_whole
n=0 failed=0
export SOAK_PERCENT=$percent
modprobe tapmig

# run NAME COMMAND…
run()
{
	local name=$1 rc=0 start=$SECONDS
	shift

	n=$((n + 1))
	echo "# run: $name"
	# Nothing may be missing here; a program of which a test was skipped, or
	# that had none to run, has no status of its own for that.
	"$@" </dev/null 2>&1 | awk '
		{ print "  " $0; fflush() }
		/^ok .*# *SKIP/ || /^1\.\.0/ { skipped = 1 }
		END { exit skipped }' || rc=${PIPESTATUS[0]}/${PIPESTATUS[1]}
	case $rc in
	0) echo "ok $n $name" ;;
	4/*|0/*)
		echo "not ok $n $name (skipped)"
		failed=1
		;;
	*)
		echo "not ok $n $name (exit status ${rc%/*})"
		failed=1
		;;
	esac
	echo "# time: $name: $((SECONDS - start)) s"
}

# While races go on, a processor goes and comes.
# shellcheck disable=SC2317 # called by run
races_with_hotplug()
{
	local cpu=/sys/devices/system/cpu/cpu1/online pid rc=0 times=0
	local refused=0

	[ -w "$cpu" ] || return 4
	TAPMIG_RACE_TIMES=$((percent * 10)) ./tapmig_race -v holds &
	pid=$!
	while kill -0 "$pid" 2>/dev/null; do
		if echo 0 >"$cpu" && echo 1 >"$cpu"; then
			times=$((times + 1))
		else
			refused=$((refused + 1))
		fi
	done
	wait "$pid" || rc=$?
	echo "# $times times off and on, $refused refused"
	if [ "$times" -eq 0 ] || [ "$refused" -ne 0 ]; then
		rc=1
	fi
	return "$rc"
}

echo "KTAP version 1"
echo "1..${#cases[@]}"
for c in "${cases[@]}"; do
	case $c in
	cycles)
		run ten_thousand_cycles_under_traffic \
			env TAPMIG_THAWS=$((100 * percent)) ./thaw -r \
			load.tap.thaws_lose_nothing_while_two_processors_send
		;;
	races)
		run races_while_a_processor_goes_and_comes races_with_hotplug
		;;
	importers)
		run importers_stopped_by_their_limit \
			env TAPMIG_IMPORTERS="$percent" ./bounds -r cgroup.$importer
		;;
	memory)
		run owners_killed_for_want_of_memory ./soak -f memory
		;;
	module)
		run the_module_comes_and_goes ./soak -f module
		;;
	sleep)
		run processors_and_the_machine_sleep ./soak -f sleep
		;;
	*)
		echo "no case '$c'" >&2
		exit 1
		;;
	esac
done
exit "$failed"
