#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# Static analysis that takes minutes: see check.sh for what is quick. In KTAP.
#
#   lint.sh [CASE…]	only these cases, instead of all

set -euo pipefail
shopt -s inherit_errexit
# shellcheck source-path=SCRIPTDIR source=../vm/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../vm/lib.sh"
# shellcheck source-path=SCRIPTDIR source=../vm/ktap.sh
. "$VM_DIR/ktap.sh"
# shellcheck source-path=SCRIPTDIR source=rules.sh
. "$(dirname "${BASH_SOURCE[0]}")/rules.sh"

cd "$TOP_DIR"

# The module with clang, and all warnings that the kernel knows. Without the
# kernel's symbols: that they are missing, modpost may say.
clang_builds_module()
{
	local log=$work/clang.log

	rm -rf "$work/clang"
	mkdir "$work/clang"
	cp -r kmod uapi dkms.conf "$work/clang"
	clang_make W=1 modules >"$log" 2>&1 || {
		cat "$log"
		return 1
	}
	[ -f "$work/clang/kmod/tapmig.ko" ]
	! grep -E '(warning|error): |mismatch' "$log"
}

clang_make()
{
	nice make -j "$(nproc)" -C "$clang_tree" M="$work/clang/kmod" LLVM=1 \
		KBUILD_MODPOST_WARN=1 "$@"
}

# The same files, by the kernel's own target.
clang_analyzes_module()
{
	local log=$work/analyzer.log

	[ -f "$work/clang/kmod/tapmig.ko" ] || clang_builds_module
	clang_make clang-analyzer >"$log" 2>&1 || {
		cat "$log"
		return 1
	}
	grep -q 'warnings generated\|Suppressed' "$log" || {
		cat "$log"
		return 1
	}
	! grep -A40 -E '/kmod/.*(warning|error): ' "$log"
}

user_programs()
{
	nice make -s --no-print-directory -C userspace "OUT=$work/$1" \
		"$work/$1"/{tapmig,tests/rewrite,tests/tls} "${@:2}"
}

clang_analyzes_user_programs()
{
	rm -rf "$work/scan"
	nice scan-build --status-bugs -o "$work/reports" \
		make -s --no-print-directory -C userspace "OUT=$work/scan" \
		"$work"/scan/{tapmig,tests/rewrite,tests/tls}
}

# Of gcc 12's findings, one kind is none: memory that a pointer in a structure
# behind a pointer has is forgotten when another member is written, and then
# is a leak of something "<unknown>". clang's analyzer looks for leaks, too.
gcc_analyzes_user_programs()
{
	local log=$work/gcc.log

	rm -rf "$work/gcc"
	user_programs gcc CC=gcc CFLAGS="-O2 -fanalyzer" >"$log" 2>&1 || {
		cat "$log"
		return 1
	}
	! grep -A40 -E '(warning|error): ' "$log" |
		grep -vE "leak of ‘<unknown>’ .*-Wanalyzer-malloc-leak" |
		grep -A40 -E '(warning|error): '
}

# All of the kernel's own rules that report, but those that would have to be
# compiled with OCaml.
coccinelle_kernel()
{
	local rule options n=0

	while read -r rule; do
		if ! grep -q '^virtual.*report' "$rule" ||
		   grep -q '^@.*script:ocaml' "$rule"; then
			continue
		fi
		n=$((n + 1))
		options=$(sed -n 's,^// Options:,,p' "$rule")
		# shellcheck disable=SC2086 # they are several
		nice spatch -D report --no-show-diff --very-quiet \
			--cocci-file "$rule" $options \
			--include-headers-for-types -I kmod -I uapi \
			kmod/*.c kmod/compat/*.c 2>&1 |
			grep -v 'should .* be a metavariable?' |
			sed "s,^,${rule##*/}: ," || :
	done < <(find "$SOURCE/scripts/coccinelle" -name '*.cocci' |
		 sort) >"$work/cocci"
	echo "$n rules"
	[ "$n" -gt 50 ]
	cat "$work/cocci"
	[ ! -s "$work/cocci" ]
}

# finds RULE FILE SED-EXPRESSION FINDING: in the code, broken like this.
finds()
{
	local rule=$1 file=$2 break=$3 finding=$4 out

	rm -rf "$work/broken"
	mkdir "$work/broken"
	cp -r kmod "$work/broken"
	sed -i -E "$break" "$work/broken/kmod/$file"
	! cmp -s "kmod/$file" "$work/broken/kmod/$file" || {
		echo "$rule: nothing to break in $file: $break"
		return 1
	}
	out=$(cd "$work/broken" && own_rule "$rule") || :
	grep -qE "$finding" <<<"$out" || {
		echo "$rule: not found: $finding"
		echo "$out"
		return 1
	}
}

own_rules_find()
{
	local capture='^void tapmig_hold_capture/,/^}'
	local hook='^static int tapmig_queue_hook/,/^}'
	local commit='^int tapmig_hold_commit/,/^}'
	local trim='^static void tapmig_captured_trim/,/^}'
	local settle='^void tapmig_hold_settle/,/^}'
	local leave='^void tapmig_hold_leave/,/^}'

	finds rings hold.c "/$leave/s/tapmig_queue_leave\(q\)/__ptr_ring_peek(q->ring)/" \
		'hold.c:.*__ptr_ring_peek'
	finds rings hold.c "/$leave/s/tapmig_queue_leave\(q\)/q->index = q->ring->size/" \
		'hold.c:.*ring \(size\)'
	finds rings thaw.c '0,/^\}/s/^\}/tun_get_socket(NULL); }/' \
		'thaw.c:.*tun_get_socket'
	finds hook hold.c "/$capture/s/tapmig_hold_reap\(h, old\)/tapmig_pkt_free(old)/" \
		'tapmig_pkt_free\(\), called by the hook'
	finds hook queue.c "/$hook/s/spin_trylock/spin_lock/" \
		'spin_lock\(\), called by the hook'
	finds hook queue.c "/$hook/s/return 0;/{ kfree(q); return 0; }/" \
		'kfree\(\), called by the hook'
	finds drops hold.c "/$trim/s/h->counts.trimmed/h->gap_base/" \
		'tapmig_captured_trim: tapmig_list_free'
	finds drops hold.c "/$settle/s/Counted in/See/" \
		'tapmig_hold_settle: tapmig_list_free'
	finds locks hold.c "/$settle/s/spin_lock_irq/barrier/" \
		'tapmig_hold_settle: fresh without pkt_lock'
	finds locks hold.c "/$capture/s/lockdep_assert_held.*//" \
		'tapmig_hold_capture: trimming without pkt_lock'
	finds locks hold.c "/$commit/s/mutex_lock.*//" \
		'tapmig_hold_commit: captured without lock'
	finds locks queue.c '/^void tapmig_queue_freeze/,/^}/s/spin_lock_bh.*//' \
		'tapmig_queue_freeze: frozen without the consumer lock'
}

ktap_only=("$@")
work=$(mktemp -d)
trap 'rm -rf -- "$work"' EXIT
need clang clang-tidy scan-build spatch gcc
SOURCE=$("$VM_DIR/kernel.sh" source)
clang_tree=$("$VM_DIR/clang-kernel.sh")
unset MAKEFLAGS MFLAGS MAKELEVEL

ktap_begin
ktap_check clang_builds_module clang_builds_module
ktap_check clang_analyzes_module clang_analyzes_module
ktap_check clang_analyzes_user_programs clang_analyzes_user_programs
ktap_check gcc_analyzes_user_programs gcc_analyzes_user_programs
ktap_check coccinelle_kernel coccinelle_kernel
ktap_check own_rules_find own_rules_find
ktap_known
ktap_end
