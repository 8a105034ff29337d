#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# Run groups of tests and count: one for each test case and kernel.
#
#   check.sh GROUP…
#
# All output goes to stdout, and to build/check/. The last line is the count;
# the exit status is not 0 if anything failed, or if nothing ran.

set -euo pipefail
shopt -s inherit_errexit
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source-path=SCRIPTDIR source=ktap.sh
. "$VM_DIR/ktap.sh"

BUILD=${BUILD:-$TOP_DIR/build}
OUT=$BUILD/check
mkdir -p "$OUT"

# The makes below are no parts of one that may have started this.
unset MAKEFLAGS MFLAGS MAKELEVEL

passed=0 failed=0 skipped=0 failures=()

# stream NAME COMMAND…: run a command that prints KTAP, count its cases.
stream()
{
	local name=$1 rc=0 counts line
	shift

	echo "# stream: $name"
	rm -f "$OUT/$name.ktap.1"
	"$@" 2>&1 </dev/null | tee "$OUT/$name.ktap" || rc=${PIPESTATUS[0]}
	if [ "$rc" -eq 122 ] &&
	   ! grep -qE '^(  )?not ok' "$OUT/$name.ktap"; then
		# Not the kernel's fault, see run.sh. A second time counts,
		# but what had failed before that happened has failed.
		echo "# stream: $name, once more: the emulation failed"
		mv "$OUT/$name.ktap" "$OUT/$name.ktap.1"
		rc=0
		"$@" 2>&1 </dev/null | tee "$OUT/$name.ktap" ||
			rc=${PIPESTATUS[0]}
	fi
	counts=$(awk -v name="$name" -v status="$rc" \
		-v skips="$VM_DIR/skips.list" -f "$VM_DIR/ktap.awk" \
		"$OUT/$name.ktap")
	while read -r line; do
		case $line in
		'# failed: '*) failures+=("${line#\# failed: }") ;;
		*)
			# shellcheck disable=SC2086 # three numbers
			set -- $line
			passed=$((passed + $1))
			failed=$((failed + $2))
			skipped=$((skipped + $3))
			;;
		esac
	done <<<"$counts"
}

# one_case NAME COMMAND…: a stream of a single case.
one_case()
{
	ktap_begin
	ktap_case "$@"
	ktap_end
}

# built NAME TARGET…: make targets, as a test case only if that fails.
built()
{
	local name=$1
	shift

	make -s -C "$TOP_DIR" BUILD="$BUILD" "$@" \
		>"$OUT/$name.log" 2>&1 </dev/null && return 0
	stream "$name" one_case "make_$*" cat_and_fail "$OUT/$name.log"
	return 1
}

cat_and_fail()
{
	cat "$1"
	return 1
}

# Processors of the virtual machines below.
cpus=2

# list_in_vms LIST TIMEOUT SERIES…: run a list of tests on each of the kernels.
# Here and below, only a hang is meant to meet the limit: a test that waits for
# what does not come fails after 200 s, and the machine may have more to do.
# All holds together may have half of the memory: more than one user, 1 GiB.
list_in_vms()
{
	local list=$1 timeout=$2 name=${1%.list} k
	shift 2

	[ -s "$TOP_DIR/selftests/$list" ] || {
		stream "$name" one_case "tests_in_$list" false
		return 0
	}
	built "$name-build" tool tests payload || return 0
	for k; do
		built "$name-$k-build" "kmod-$k" || continue
		stream "$name-$k" "$VM_DIR/run.sh" --kernel "$k" \
			--module "$BUILD/kmod-$k/tapmig.ko" \
			--payload "$BUILD/payload" --out "$OUT/$name-$k" \
			--mem 2560 --cpus "$cpus" --timeout "$timeout" -- \
			env KERNEL_SERIES="$k" /run/payload/vm-tests "$list"
	done
}

group_core()
{
	list_in_vms core.list 2400 "${TEST_SERIES[@]}"
}

# relay NAME SERIES TIMEOUT [ARG…]: the tests of the relay on one kernel.
relay()
{
	local name=$1 k=$2 timeout=$3
	shift 3

	stream "$name" "$VM_DIR/run.sh" --kernel "$k" \
		--module "$BUILD/kmod-$k/tapmig.ko" \
		--payload "$BUILD/relay/payload" --out "$OUT/$name" \
		--timeout "$timeout" -- ./in-vm.sh check.py "$@"
}

# relay_pair NAME SOURCE DESTINATION: the same between two kernels.
relay_pair()
{
	stream "$1" env BUILD="$BUILD" "$VM_DIR/pair.sh" "$2" "$3" \
		"$BUILD/relay/payload" "$OUT/$1" 1024 900 ./pair-source.py
}

group_relay()
{
	built relay-build tool relay-payload kmod-6.1 kmod-7.3 || return 0
	relay relay-7.3 7.3 1800
	relay_pair relay-pair 6.1 7.3
}

group_migration()
{
	built migration-build kmod-6.1 kmod-7.3 migration-rig || return 0
	stream migration "$TOP_DIR/selftests/migration/migration.sh"
	stream migration-pair "$TOP_DIR/selftests/migration/migration.sh" \
		pair 6.1 7.3
	stream migration-states "$TOP_DIR/selftests/migration/migration.sh" \
		states quick
}

# A kernel that looks for data races, see kcsan.config.
races()
{
	built kcsan-build tool tests payload kmod-kcsan || return 0
	stream kcsan "$VM_DIR/run.sh" \
		--kernel "$("$VM_DIR/debug-kernel.sh" image kcsan)" \
		--module "$BUILD/kmod-kcsan/tapmig.ko" \
		--payload "$BUILD/payload" --out "$OUT/kcsan" \
		--timeout 7200 --append "panic_on_warn=0 acpi=noirq" \
		--races-of tapmig -- env KERNEL_SERIES=kcsan bash -c \
		'echo on >/sys/kernel/debug/kcsan &&
		 exec /run/payload/vm-tests kcsan.list'
	stream kcsan-finds "$VM_DIR/check-vm.sh" kcsan
}

group_long()
{
	local others part

	# The kernels that the other groups leave out.
	mapfile -t others < <(printf '%s\n' "${BUILD_SERIES[@]}" |
		grep -vxF "$(printf '%s\n' "${TEST_SERIES[@]}")")
	list_in_vms core.list 2400 "${others[@]}"
	cpus=4
	list_in_vms long.list 14400 "${TEST_SERIES[@]}"
	cpus=2
	races
	if built debug-build tool tests payload kmod-debug; then
		stream debug-long debug_vm debug-long.list 7200
		stream debug-full debug_vm debug-full.list 28800
	fi
	if built soak-build soak-programs kmod-6.1 kmod-7.3; then
		for part in "${TEST_SERIES[@]}"; do
			stream "soak-$part" env BUILD="$BUILD" SOAK_PERCENT=10 \
				"$TOP_DIR/selftests/soak/soak.sh" "$part"
			stream "soak-amount-$part" one_case a_tenth_of_much \
				env BUILD="$BUILD" SOAK_PERCENT=10 \
				"$TOP_DIR/selftests/soak/soak.sh" \
				"amount-$part"
		done
	fi
	built relay-build tool relay-payload kmod-6.1 kmod-7.3 || return 0
	relay relay-6.1 6.1 1800
	relay relay-long 7.3 1800 long
	relay_pair relay-pair-back 7.3 6.1
	built migration-build kmod-6.1 kmod-7.3 migration-rig || return 0
	stream migration-states "$TOP_DIR/selftests/migration/migration.sh" \
		states long
	stream migration-pair-back \
		"$TOP_DIR/selftests/migration/migration.sh" pair 7.3 6.1
	stream migration-crossed "$TOP_DIR/selftests/migration/migration.sh" \
		crossed
	stream migration-stock "$TOP_DIR/selftests/migration/migration.sh" \
		stock
	stream migration-libvirt "$TOP_DIR/selftests/migration/migration.sh" \
		libvirt
	stream qemu-each one_case each_patch_builds "$VM_DIR/qemu.sh" --each
	newer_qemu
}

not_there()
{
	echo "it is not to be had any more"
	return 4
}

# Its source is not there for ever.
newer_qemu()
{
	local -x QEMU_RELEASE=sid QEMU_VERSION=10.2
	local run=$TOP_DIR/selftests/migration/migration.sh

	if [ -z "$("$VM_DIR/qemu.sh" --versions)" ]; then
		stream "migration-$QEMU_VERSION" one_case \
			"source_of_qemu_$QEMU_VERSION" not_there
		return 0
	fi
	stream "migration-$QEMU_VERSION" "$run"
	stream "migration-states-$QEMU_VERSION" "$run" states long
	stream "migration-crossed-$QEMU_VERSION" "$run" crossed
	stream "qemu-each-$QEMU_VERSION" one_case each_patch_builds \
		"$VM_DIR/qemu.sh" --each
}

# debug_vm LIST TIMEOUT: a kernel that looks for errors, ten times slower. One
# report must not keep the rest of the tests from running: run.sh finds it at
# the end.
debug_vm()
{
	"$VM_DIR/run.sh" --kernel "$("$VM_DIR/debug-kernel.sh" image)" \
		--module "$BUILD/kmod-debug/tapmig.ko" \
		--payload "$BUILD/payload" --out "$OUT/${1%.list}" \
		--mem 2560 --timeout "$2" \
		--append "panic_on_warn=0 acpi=noirq" -- \
		env KERNEL_SERIES=debug /run/payload/vm-tests "$1"
}

# said STATUS FILE COMMAND…: what the command has said and how it ended. Asked
# again, it is run again.
said()
{
	if [ -e "$2" ]; then
		cat "$2"
		rm "$2"
		return "$1"
	fi
	"${@:3}"
}

# at_once NAME COMMAND… -- NAME COMMAND…: two streams beside each other. Most
# tests have something to do for one processor at a time.
at_once()
{
	local first=() other rc=0 log

	while [ "$1" != -- ]; do
		first+=("$1")
		shift
	done
	shift
	log=$OUT/$1.said
	"${@:2}" >"$log" 2>&1 </dev/null &
	other=$!
	# shellcheck disable=SC2064 # this very process
	trap "kill $other 2>/dev/null" EXIT
	stream "${first[@]}"
	wait "$other" || rc=$?
	trap - EXIT
	stream "$1" said "$rc" "$log" "${@:2}"
}

# poison_vm KERNEL SERIES LIST WORDS: what nobody has written is found where it
# is copied out. Free memory is full of patterns, as these words tell the
# kernel, and so is the module's stack.
poison_vm()
{
	local dir

	dir=$("$VM_DIR/build-module.sh" "$2" \
		KCFLAGS=-ftrivial-auto-var-init=pattern) || return
	"$VM_DIR/run.sh" --kernel "$1" --module "$dir/tapmig.ko" \
		--payload "$BUILD/payload" --out "$OUT/${3%.list}" \
		--timeout 1200 --append "init_on_alloc=0 slab_debug=P $4" -- \
		env KERNEL_SERIES="$2" /run/payload/vm-tests "$3"
}

# Whole pages are filled by a kernel that is built for it only.
poison_pages_vm()
{
	poison_vm "$("$VM_DIR/debug-kernel.sh" image)" debug poison-pages.list \
		"page_poison=1 panic_on_warn=0 acpi=noirq"
}

group_debug()
{
	built debug-build tool tests payload kmod-debug || return 0
	at_once debug debug_vm debug.list 3600 -- \
		debug-traffic debug_vm debug-traffic.list 3600
	at_once debug-finds "$VM_DIR/check-vm.sh" debug -- \
		poison-pages poison_pages_vm
	stream poison poison_vm 7.3 7.3 poison.list ""
}

group_static()
{
	built static-build payload || :
	stream static "$TOP_DIR/selftests/static/check.sh"
}

group_lint()
{
	stream lint "$TOP_DIR/selftests/static/lint.sh"
}

group_tool()
{
	built tool-build tool || return 0
	stream tool make -s -C "$TOP_DIR/userspace" OUT="$BUILD/userspace" \
		check
	stream fuzz-replay make -s -C "$TOP_DIR/selftests/fuzz" \
		OUT="$BUILD/fuzz" check
}

group_fuzz()
{
	stream fuzz make -s -C "$TOP_DIR/selftests/fuzz" OUT="$BUILD/fuzz" fuzz
	built fuzz-build tool tests payload kmod-debug || return 0
	stream fuzz-kernel "$VM_DIR/run.sh" \
		--kernel "$("$VM_DIR/debug-kernel.sh" image)" \
		--module "$BUILD/kmod-debug/tapmig.ko" \
		--payload "$BUILD/payload" --out "$OUT/fuzz-kernel" \
		--mem 2560 --timeout 7200 \
		--append "panic_on_warn=0 acpi=noirq" -- \
		env TAPMIG_FUZZ_MESSAGES=200000 \
		TAPMIG_FUZZ_SEED="${TAPMIG_FUZZ_SEED:-$(date +%s)}" \
		bash -c 'modprobe tapmig && exec selftests/fuzz_kernel'
}

group_dkms()
{
	stream dkms "$VM_DIR/check-dkms.sh"
}

group_vm()
{
	stream vm "$VM_DIR/check-vm.sh"
}

[ "${BASH_SOURCE[0]}" = "$0" ] || return 0

[ $# -gt 0 ] || die "no group"
for group; do
	declare -F "group_$group" >/dev/null || die "no group '$group'"
done
table=()
for group; do
	before=("$passed" "$failed" "$skipped")
	start=$SECONDS
	echo "# group: $group"
	"group_$group"
	table+=("$(printf '# %-10s %5d passed %4d failed %4d skipped %5d s' \
		"$group" $((passed - before[0])) $((failed - before[1])) \
		$((skipped - before[2])) $((SECONDS - start)))")
done
echo
for f in ${failures[@]+"${failures[@]}"}; do
	echo "# failed: $f"
done
printf '%s\n' "${table[@]}"
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
