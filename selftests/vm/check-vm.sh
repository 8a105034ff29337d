#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# The VM runner itself: what must fail is seen to fail. In KTAP.
#
#   check-vm.sh          on a stock kernel
#   check-vm.sh debug    what kmemleak, KASAN, lockdep and UBSAN find, and that
#			 they look
#   check-vm.sh kcsan    the same of KCSAN

set -euo pipefail
shopt -s inherit_errexit
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source-path=SCRIPTDIR source=ktap.sh
. "$VM_DIR/ktap.sh"

work=$(mktemp -d)
trap 'rm -rf -- "$work"' EXIT

# ends_with STATUS PATTERN ARG…: run.sh's status and what it said.
ends_with()
{
	local want=$1 pattern=$2 rc=0
	shift 2

	"$VM_DIR/run.sh" --kernel 6.1 "$@" >"$work/said" 2>&1 || rc=$?
	if [ "$rc" -ne "$want" ] || ! grep -q -- "$pattern" "$work/said"; then
		cat "$work/said"
		echo "status $rc, not $want, or nothing about '$pattern'"
		return 1
	fi
}

results_come_back()
{
	mkdir -p "$work/in"
	echo one >"$work/in/file with space"
	# shellcheck disable=SC2016 # for the shell in the VM
	ends_with 7 'two words' --payload "$work/in" --out "$work/out" -- \
		bash -c 'cp "file with space" /run/out/ && echo "$1" && exit 7' \
		x 'two words'
	[ "$(cat "$work/out/out/file with space")" = one ]
	[ "$(cat "$work/out/output.log")" = 'two words' ]
	grep -q 'Linux version' "$work/out/out/dmesg.txt"
}

# stream_says COUNTS WHAT NAME STATUS LINE…: what check.sh makes of a stream of
# that name, with these lines, that ends so: how many have passed, failed, been
# skipped, and what has failed.
stream_says()
{
	local want=$1 failure=$2 name=$3 rc=$4
	shift 4

	# shellcheck disable=SC2154 # check.sh counts in them
	(
		export BUILD=$work/build
		# shellcheck source=/dev/null
		. "$VM_DIR/check.sh"
		stream "$name" lines "$rc" "$@"
		echo "$passed $failed $skipped"
		echo "${failures[*]-}"
	) | tee "$work/said"
	[ "$(tail -n 2 "$work/said" | head -n 1)" = "$want" ]
	tail -n 1 "$work/said" | grep -qF -- "$failure"
}

# lines STATUS LINE…
# shellcheck disable=SC2317 # called by stream()
lines()
{
	[ ! -e "$work/once" ] || {
		# The second time.
		printf '%s\n' 1..1 'ok 1 again'
		return 0
	}
	[ "$1" -ne 122 ] || touch "$work/once"
	printf '%s\n' "${@:2}"
	return "$1"
}

skip_for_another_reason()
{
	local old='ok 1 global.a # SKIP no back-pressure in this kernel'

	stream_says '0 0 1' '' core-6.1 0 1..1 "$old"
	stream_says '0 1 0' 'no back-pressure' core-7.3 0 1..1 "$old"
	stream_says '0 1 0' 'no vhost-net' core-6.1 0 1..1 \
		'ok 1 vhost.tap.a # SKIP no vhost-net'
	stream_says '0 1 0' 'not in this kernel' core-6.1 0 1..1 \
		'ok 1 queue.macvtap_hdr12.a # SKIP not in this kernel'
	stream_says '0 1 0' 'not say why' core-6.1 0 1..1 'ok 1 a # SKIP'
}

plan_of_nothing()
{
	stream_says '1 1 0' 'nothing was to be run' core-6.1 0 1..2 \
		'# run: a -r misspelt' '  1..0' 'ok 1 a -r misspelt' 'ok 2 b'
	stream_says '0 1 0' 'nothing was to be run' core-6.1 0 1..0
}

emulation_fault_runs_again()
{
	rm -f "$work/once"
	stream_says '1 0 0' '' core-6.1 122 1..2 'ok 1 a'
	rm "$work/once"
	grep -qx 'ok 1 a' "$work/build/check/core-6.1.ktap.1"
	# Not if something had failed.
	stream_says '1 2 0' 'core-6.1: b' core-6.1 122 1..3 'ok 1 a' 'not ok 2 b'
	rm "$work/once"
	[ ! -e "$work/build/check/core-6.1.ktap.1" ]
}

# int3_at STATUS PLACE: the kernel says that it has died of a breakpoint there.
int3_at()
{
	ends_with "$1" 'VM died' -- bash -c \
		"echo 'Oops: int3: 0000 [#1] SMP' >/dev/kmsg
		 echo 'RIP: 0010:$2' >/dev/kmsg
		 echo c >/proc/sysrq-trigger"
}

# debug_ends_with STATUS PATTERN ARG…: the same on the kernel of debug-kernel.sh.
debug_ends_with()
{
	ends_with "${@:1:2}" --kernel "$("$VM_DIR/debug-kernel.sh" image)" \
		--append "panic_on_warn=0 acpi=noirq" --timeout 1200 "${@:3}"
}

# module KERNEL NAME: build a module with the source on stdin, which has a
# NAME_init(); where it is.
module()
{
	local dir=$work/$2

	mkdir -p "$dir"
	echo "obj-m := $2.o" >"$dir/Kbuild"
	cat - <(printf '%s\n' "module_init($2_init);" \
		'MODULE_LICENSE("GPL");' \
		'MODULE_DESCRIPTION("Does what no module should");') \
		>"$dir/$2.c"
	dir=$("$VM_DIR/build-module.sh" "$1" --src "$dir")
	echo "$dir/$2.ko"
}

# module_fails PATTERN NAME: that is said of it on the debug kernel.
module_fails()
{
	local ko

	ko=$(module debug "$2")
	debug_ends_with 125 "$1" --module "$ko" -- modprobe "$2"
}

leak()
{
	module_fails 'unreferenced object' leak <<-'END'
		#include <linux/module.h>
		#include <linux/slab.h>

		static int __init leak_init(void)
		{
			int i;

			/* The last one may be on some stack yet. */
			for (i = 0; i < 10; i++)
				barrier_data(kzalloc(100, GFP_KERNEL));
			return 0;
		}
	END
}

# One kernel for all: each of them is a line of its own in what run.sh says, and
# any such line is a failure.
errors()
{
	local what

	module_fails 'kernel complained' errors <<-'END'
		#include <linux/module.h>
		#include <linux/mutex.h>
		#include <linux/slab.h>

		static DEFINE_MUTEX(a);
		static DEFINE_MUTEX(b);

		static int __init errors_init(void)
		{
			int *p = kmalloc(sizeof(*p), GFP_KERNEL), by = 40;

			/* First: lockdep is off after the others. */
			mutex_lock(&a);
			mutex_lock(&b);
			mutex_unlock(&b);
			mutex_unlock(&a);
			mutex_lock(&b);
			mutex_lock(&a);
			mutex_unlock(&a);
			mutex_unlock(&b);

			if (!p)
				return -ENOMEM;
			kfree(p);
			OPTIMIZER_HIDE_VAR(p);
			pr_info("%d\n", READ_ONCE(*p));

			OPTIMIZER_HIDE_VAR(by);
			pr_info("%d\n", 1 << by);
			return 0;
		}
	END
	for what in 'BUG: KASAN: slab-use-after-free' \
		    'possible circular locking' 'UBSAN: shift-out-of-bounds'; do
		grep -E "^[0-9]+:.*$what" "$work/said" || {
			cat "$work/said"
			echo "nothing about '$what'"
			return 1
		}
	done
}

# On the kernel that looks for data races.
race()
{
	local ko

	ko=$(module kcsan racy <<-'END'
		#include <linux/kthread.h>
		#include <linux/module.h>
		#include <linux/sched.h>

		static int shared;

		static int racy_thread(void *unused)
		{
			for (;;) {
				shared++;
				cond_resched();
			}
			return 0;
		}

		static int __init racy_init(void)
		{
			int i;

			for (i = 0; i < 2; i++)
				kthread_run(racy_thread, NULL, "racy");
			return 0;
		}
	END
	)
	ends_with 125 'BUG: KCSAN: data-race in .*\[racy\]' \
		--kernel "$("$VM_DIR/debug-kernel.sh" image kcsan)" \
		--append "panic_on_warn=0 acpi=noirq" --timeout 1200 \
		--races-of racy --module "$ko" -- \
		bash -c 'echo on >/sys/kernel/debug/kcsan && modprobe racy &&
			 grep -q "KCSAN: data-race" < <(dmesg --follow)'
}

if [ "${1:-}" = debug ]; then
	ktap_begin
	ktap_case leak_fails leak
	ktap_case kmemleak_that_is_off_fails \
		debug_ends_with 125 'kmemleak is off' -- \
		bash -c 'echo off >/sys/kernel/debug/kmemleak'
	ktap_case kasan_lockdep_and_ubsan_find errors
	ktap_end
	exit
fi
if [ "${1:-}" = kcsan ]; then
	ktap_begin
	ktap_case race_fails race
	ktap_end
	exit
fi

ktap_begin
ktap_case skip_for_another_reason_fails skip_for_another_reason
ktap_case plan_of_nothing_fails plan_of_nothing
ktap_case emulation_fault_runs_again emulation_fault_runs_again
ktap_case results_and_status_come_back results_come_back
ktap_case panic_fails ends_with 125 'VM died' -- \
	bash -c 'echo c >/proc/sysrq-trigger'
ktap_case hang_fails ends_with 125 'no end after 15 s' --timeout 15 -- \
	sleep infinity
ktap_case power_off_fails ends_with 125 'VM died' -- \
	/run/busybox poweroff -f
ktap_case warning_on_console_fails ends_with 125 'kernel complained' -- \
	bash -c 'echo "WARNING: CPU: 0 PID: 1 at nowhere" >/dev/kmsg'
ktap_case warning_off_the_console_fails ends_with 125 'kernel complained' -- \
	bash -c 'dmesg -n 1 && echo "<3>UBSAN: at nowhere" >/dev/kmsg'
ktap_case race_of_the_module_fails ends_with 125 'kernel complained' \
	--races-of tapmig -- bash -c \
	'echo "BUG: KCSAN: data-race in a / b [tapmig]" >/dev/kmsg'
ktap_case race_of_others_does_not_count ends_with 0 'it went on' \
	--races-of tapmig -- bash -c \
	'echo "BUG: KCSAN: data-race in a / b" >/dev/kmsg && echo it went on'
ktap_case words_on_console_are_no_success ends_with 125 'VM died' -- \
	bash -c 'echo "exit 0 taint 0" >/dev/console
		 /run/busybox poweroff -f'
ktap_case emulation_fault_is_told_apart \
	int3_at 122 'sched_clock_cpu+0x9/0xb0'
ktap_case int3_in_the_module_fails \
	int3_at 125 'tapmig_hook+0x9/0xb0 [tapmig]'
ktap_case int3_where_a_module_was_fails int3_at 125 0xffffffffc0a1b2c3
ktap_end
