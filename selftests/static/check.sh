#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# What can be checked without running: builds without a warning, static
# analysis, style, generated files, the project's own rules. In KTAP.
#
#   check.sh [CASE…]	only these cases, instead of all

set -euo pipefail
shopt -s inherit_errexit
# shellcheck source-path=SCRIPTDIR source=../vm/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../vm/lib.sh"
# shellcheck source-path=SCRIPTDIR source=../vm/ktap.sh
. "$VM_DIR/ktap.sh"
# shellcheck source-path=SCRIPTDIR source=rules.sh
. "$(dirname "${BASH_SOURCE[0]}")/rules.sh"

cd "$TOP_DIR"
STATIC=$TOP_DIR/selftests/static
SOURCE=$("$VM_DIR/kernel.sh" source)

# From 7.2 on, kernels refuse the distribution's sparse as too old.
SPARSE_SERIES=(6.1 6.12)

# The module builds, and neither the compiler nor modpost has a remark. That
# there is no vmlinux beside distribution headers is none.
build_is_silent()
{
	local log

	log=$("$VM_DIR/build-module.sh" "$1" W=1)/build.log
	! grep -iE 'warning|error' "$log"
}

sparse_is_silent()
{
	local log

	log=$("$VM_DIR/build-module.sh" "$1" W=1 C=2 \
	      CF=-D__CHECK_ENDIAN__)/build.log
	grep -q CHECK "$log" || {
		echo "sparse did not run"
		return 1
	}
	! grep -iE 'warning|error' "$log"
}

# Kernel types, macros and functions that a user program does not have; names
# of functions, which its users do not care for; what only signal handlers
# need. Tests also have macros in the manner of their harness.
NOT_FOR_PROGRAMS=PREFER_KERNEL_TYPES,PREFER_DEFINED_ATTRIBUTE_MACRO,BIT_MACRO
NOT_FOR_PROGRAMS+=,STRCPY,STRLCPY,STRNCPY,EMBEDDED_FUNCTION_NAME
NOT_FOR_PROGRAMS+=,VOLATILE,ENOSYS
NOT_FOR_TESTS=COMPLEX_MACRO,MULTISTATEMENT_MACRO_USE_DO_WHILE,MACRO_ARG_REUSE
NOT_FOR_TESTS+=,MACRO_WITH_FLOW_CONTROL

# What only the macros of the tests' harness lead to. An assertion is two
# statements, so it needs braces where one would do; and FIXTURE_DATA(), a type
# with arguments, is taken for a factor. And libFuzzer has its own names.
# "FILE:LINE: LEVEL:TYPE: …" in, the rest of the lines out.
without_harness()
{
	local line file n type

	while read -r line; do
		IFS=: read -r file n _ type _ <<<"$line"
		case $type in
		BRACES) sed -n "$((n + 1))p" "$file" |
			grep -qE '^\s*(ASSERT|EXPECT)_' && continue ;;
		SPACING) sed -n "${n}p" "$file" |
			grep -qE 'FIXTURE_DATA\(\w+\) \*self\>' && continue ;;
		CAMELCASE) [[ $line == *'<LLVMFuzzer'* ]] && continue ;;
		esac
		printf '%s\n' "$line"
	done
}

# checkpatch DIR…: generated files are the generator's business. Paths are as
# they would be in a kernel tree: some rules differ for include/uapi/.
# Messages are not broken into lines: they could not be searched for.
checkpatch()
{
	local list ignore=LONG_LINE_STRING filter=cat

	mapfile -t list < <(tree_files "$@" | grep -E '\.[ch]$' |
		grep -vE 'tapmig-gen\.[ch]$|tapmig_netlink\.h$' |
		sed 's,^uapi/,include/uapi/,')
	[ ${#list[@]} -gt 0 ] || {
		echo "no source in $*"
		return 1
	}
	case $1 in
	userspace) ignore+=,$NOT_FOR_PROGRAMS ;;
	selftests)
		ignore+=,$NOT_FOR_PROGRAMS,$NOT_FOR_TESTS
		filter=without_harness
		;;
	esac
	mkdir -p "$work/tree/include"
	ln -sfn "$TOP_DIR"/* "$work/tree/"
	ln -sfn "$TOP_DIR/uapi" "$work/tree/include/uapi"
	(
		cd "$work/tree"
		perl "$SOURCE/scripts/checkpatch.pl" --no-tree --strict \
			--terse --show-types --no-summary \
			--max-line-length=80 --ignore "$ignore" --root="$SOURCE" \
			-f "${list[@]}" 2>&1 | "$filter"
	) >"$work/checkpatch" || :
	cat "$work/checkpatch"
	[ ! -s "$work/checkpatch" ]
}

kernel_doc()
{
	local list out

	mapfile -t list < <(tree_files 'kmod/*.[ch]' 'uapi/*.h' |
		grep -v tapmig-gen)
	[ ${#list[@]} -gt 0 ] || return 1
	out=$(/usr/bin/python3 -B "$SOURCE/scripts/kernel-doc" -none \
		-Wall "${list[@]}" 2>&1) || {
		echo "$out"
		return 1
	}
	! grep -iE 'warning|error' <<<"$out"
}

# The first line, or the second one after #!; of a patch, what git leaves out.
spdx()
{
	local f n=0 lines

	while read -r f; do
		lines=2
		case $f in
		COPYING|*.md|*.json|*/settings) continue ;;
		*.patch) lines=100 ;;
		esac
		# Not a pipe: head would die of one when grep has seen enough.
		grep -aq '^[^+-]*SPDX-License-Identifier: ' \
			< <(head -n "$lines" "$f") || {
			echo "$f: no licence"
			n=$((n + 1))
		}
	done < <(tree_files)
	[ "$n" -eq 0 ]
}

shell_scripts()
{
	local list f

	mapfile -t list < <(tree_files | while read -r f; do
		case $f in
		*.sh) echo "$f" ;;
		*.bash|*bash-completion/*) echo "$f" ;;
		*.*) ;;
		*) ! head -n 1 "$f" | grep -aqE '^#!.*sh$' || echo "$f" ;;
		esac
	done)
	shellcheck -x --source-path=SCRIPTDIR "${list[@]}"
}

# Code without its comments, as FILE:LINE:TEXT.
code()
{
	local f

	while read -r f; do
		gcc -fpreprocessed -dD -E "$f" 2>/dev/null |
			awk -v f="$f" '
			/^# [0-9]+ "/ { line = $2 - 1; next }
			{ print f ":" ++line ":" $0 }'
	done < <(tree_files "$@")
}

# Words that the kernel's network maintainers do not want in a module.
unwanted_words()
{
	! {
		code 'kmod/*.c' |
			grep -wE 'inline|module_param|__fput_sync' || :
		code 'kmod/*.[ch]' 'uapi/*.h' |
			grep -wE 'printk|BUG|BUG_ON' || :
	} | grep .
}

# Only compatibility headers may ask for the version of the kernel.
version_checks_in_compat()
{
	! code 'kmod/*.[ch]' | grep -v '^kmod/compat/' |
		grep -E 'KERNEL_VERSION|LINUX_VERSION_CODE'
}

version_in_one_place()
{
	local v

	v=$(sed -n 's/^PACKAGE_VERSION="\(.*\)"/\1/p' dkms.conf)
	[ -n "$v" ] || return 1
	! tree_files | grep -vE '^(dkms\.conf|CHANGELOG\.md|COPYING)$' |
		xargs -d '\n' grep -nFH "\"$v\""
}

generated_is_current()
{
	"$STATIC/ynl-regen.sh" --check
}

syzkaller_is_current()
{
	selftests/syzkaller/check.py selftests/syzkaller/dev_tapmig.txt \
		uapi/linux/tapmig.h uapi/linux/tapmig_netlink.h \
		uapi/netlink/tapmig.yaml
}

uapi_headers_compile_alone()
{
	local h std

	for h in uapi/linux/*.h; do
		for std in c99 c11 gnu17; do
			echo "#include <linux/${h##*/}>" |
				gcc -std=$std -Wall -Wextra -Werror -pedantic \
				    -Iuapi -x c -fsyntax-only -
		done
	done
}

# As qemu-patches/README.md says it.
qemu_has_our_headers()
{
	local h

	mkdir "$work/qemu"
	(cd "$work/qemu" && git apply --include='net/tapmig*.h' \
		"$TOP_DIR"/qemu-patches/0001-*.patch)
	for h in tapmig.h tapmig_netlink.h; do
		expand "uapi/linux/$h" |
			sed -e '1s,.*,/* SPDX-License-Identifier: GPL-2.0-or-later */,' \
			    -e 's,#include <linux/tapmig_netlink.h>,#include "tapmig_netlink.h",' |
			diff - "$work/qemu/net/$h"
	done
}

man_pages()
{
	local f out

	while read -r f; do
		out=$(groff -man -Tutf8 -ww -z "$f" 2>&1) || :
		[ -z "$out" ] || {
			echo "$out"
			return 1
		}
	done < <(tree_files '*.8')
}

# Joined by hand: "set -e" does not hold where the result is looked at.
build_user_programs()
{
	local dir

	make -s --no-print-directory tool tests BUILD="$work/out" \
		USERCFLAGS=-Werror || return 1
	for dir in bench migration relay; do
		make -s --no-print-directory -C "selftests/$dir" \
			OUT="$work/out/$dir" USERCFLAGS=-Werror || return 1
	done
}

user_programs_are_silent()
{
	local out

	rm -rf "$work/out"
	out=$(build_user_programs 2>&1) || {
		echo "$out"
		return 1
	}
	! grep -i warning <<<"$out"
}

# Who builds on another distribution is told what is needed, and no more; who
# packages is left alone.
foreign_host_builds()
{
	local bin=$work/foreign said

	mkdir "$bin"
	ln -s "$(command -v bash)" "$(command -v dirname)" "$bin"
	said=$(PATH=$bin selftests/vm/deps.sh build 2>&1)
	echo "$said"
	[[ $said = *Needed:*libmnl* && $said != *$'\n'* ]]
	PATH=$bin selftests/vm/deps.sh build test && return 1
	said=$(DEPS=no PATH=$bin selftests/vm/deps.sh build test 2>&1)
	[ -z "$said" ]
}

# What install puts somewhere, uninstall takes away, also where a distribution
# wants it.
installs_and_uninstalls()
{
	local f list
	local elsewhere=(sbindir=/usr/bin unitdir=/etc/systemd/system
			 udevrulesdir=/etc/udev/rules.d libdir=/usr/lib64
			 modulesloaddir=/etc/modules-load.d
			 sysusersdir=/etc/sysusers.d)

	make -s --no-print-directory install DESTDIR="$work/root" prefix=/usr \
		BUILD="$work/out"
	list=$(cd "$work/root" && find . -type f | sort)
	echo "$list"
	for f in sbin/tapmig share/man/man8/tapmig.8 include/linux/tapmig.h \
		 include/linux/tapmig_netlink.h \
		 share/bash-completion/completions/tapmig \
		 lib/udev/rules.d/70-tapmig.rules \
		 lib/modules-load.d/tapmig.conf lib/sysusers.d/tapmig.conf \
		 lib/systemd/system/tapmig-relay@.service \
		 share/doc/tapmig/relay/listen.conf \
		 share/doc/tapmig/relay/connect.conf; do
		grep -qx "./usr/$f" <<<"$list"
	done
	make -s --no-print-directory uninstall DESTDIR="$work/root" \
		prefix=/usr BUILD="$work/out"
	[ -z "$(find "$work/root" -type f)" ]
	[ ! -e "$work/root/usr/share/doc/tapmig" ]
	[ -d "$work/root/usr/share/doc" ]

	make -s --no-print-directory install DESTDIR="$work/root" prefix=/usr \
		BUILD="$work/out" "${elsewhere[@]}"
	list=$(cd "$work/root" && find . -type f | sort)
	echo "$list"
	for f in usr/bin/tapmig etc/systemd/system/tapmig-relay@.service \
		 etc/udev/rules.d/70-tapmig.rules etc/modules-load.d/tapmig.conf \
		 etc/sysusers.d/tapmig.conf; do
		grep -qx "./$f" <<<"$list"
	done
	grep -q '^ExecStart=/usr/bin/tapmig ' \
		"$work/root/etc/systemd/system/tapmig-relay@.service"
	! grep -E '^\./usr/(sbin|lib|lib64)/' <<<"$list" || return 1
	make -s --no-print-directory uninstall DESTDIR="$work/root" \
		prefix=/usr BUILD="$work/out" "${elsewhere[@]}"
	[ -z "$(find "$work/root" -type f)" ]
}

# The unit as it is installed, with a program that is there; it asks for no
# capability but the two that it needs.
systemd_units()
{
	local unit=$work/units/tapmig-relay@.service said

	command -v systemd-analyze >/dev/null || {
		echo "no systemd-analyze"
		return 4
	}
	mkdir -p "$work/units"
	make -s --no-print-directory install DESTDIR="$work/units/root" \
		prefix=/usr BUILD="$work/out" >/dev/null
	sed 's,^ExecStart=/usr/sbin/tapmig ,ExecStart=/bin/true ,' \
		"$work/units/root/usr/lib/systemd/system/tapmig-relay@.service" \
		>"$unit"
	grep -q '^ExecStart=/bin/true relay' "$unit"
	said=$(systemd-analyze verify --man=no "${unit/@/@listen}" 2>&1)
	echo "$said"
	[ -z "$said" ]
	grep -qx 'CapabilityBoundingSet=CAP_NET_ADMIN CAP_SYS_ADMIN' "$unit"
}

# The program that libvirt starts for QEMU changes TAP netdevs and nothing else.
emulator_adds_the_property()
{
	local wrapper=docs/examples/qemu-migration-hold said

	said=$(TAPMIG_QEMU=/bin/echo "$wrapper" -name tap,x -netdev \
		'{"type":"tap","fds":"3:4","id":"hostnet0"}' -netdev \
		'{"type":"user","id":"n1"}' -netdev tap,id=n2 \
		-netdev tap,id=n3,migration-hold=local)
	echo "$said"
	[ "$said" = '-name tap,x -netdev {"type": "tap", "fds": "3:4", "id": "hostnet0", "migration-hold": "on"} -netdev {"type": "user", "id": "n1"} -netdev tap,id=n2,migration-hold=on -netdev tap,id=n3,migration-hold=local' ]
	said=$(TAPMIG_QEMU=/bin/echo TAPMIG_HOLD_WAIT=500 "$wrapper" -netdev \
		'{"type":"tap","id":"n1"}' -netdev tap,id=n2)
	echo "$said"
	[ "$said" = '-netdev {"type": "tap", "id": "n1", "migration-hold": "on", "migration-hold-wait": 500} -netdev tap,id=n2,migration-hold=on,migration-hold-wait=500' ]
	said=$(TAPMIG_QEMU=/nowhere "$wrapper" 2>&1) && return 1
	[ "$said" = 'qemu-migration-hold: /nowhere: No such file or directory' ]
}

# libvirt's hook freezes nothing that nobody is there to thaw.
hook_needs_its_programs()
{
	local dir=$work/hook said
	local monitor="unix:$dir/run/tapmig-qmp/vm1.qmp,server=on,wait=off"

	mkdir -p "$dir"/{bin,run}
	sed "s,=/run/,=$dir/run/," docs/examples/libvirt-hook-qemu >"$dir/hook"
	printf '%s\n' '#!/bin/sh' "echo id 7; echo \"\$@\" >>$dir/said" \
		>"$dir/bin/tapmig"
	printf '%s\n' '#!/bin/sh' "echo ' dev=\"tap0\"'" >"$dir/bin/xmllint"
	chmod 755 "$dir"/bin/*
	bash "$dir/hook" vm1 migrate begin - <<<"$monitor" >/dev/null
	said=$(PATH=$dir/bin:/usr/bin:/bin bash "$dir/hook" vm1 start begin - \
		<<<"$monitor" 2>&1) && return 1
	echo "$said"
	[ "$said" = 'tapmig-qmp is not installed: vm1 cannot come' ]
	[ ! -e "$dir/said" ]
	cp "$dir/bin/xmllint" "$dir/bin/tapmig-qmp"
	PATH=$dir/bin:/usr/bin:/bin bash "$dir/hook" vm1 start begin - \
		<<<"$monitor"
	cat "$dir/said"
	grep -qx 'freeze dev tap0 label vm1/net0 role standby .*' "$dir/said"
}

# Builds and tests leave nothing beside build/.
tree_is_clean()
{
	! git status --porcelain --ignored | sed -n 's/^!! //p' |
		grep -v '^build/$'
}

ktap_only=("$@")
work=$(mktemp -d)
trap 'rm -rf -- "$work"' EXIT

ktap_begin
for k in "${BUILD_SERIES[@]}"; do
	ktap_check "build_$k" build_is_silent "$k"
done
for k in "${SPARSE_SERIES[@]}"; do
	ktap_check "sparse_$k" sparse_is_silent "$k"
done
ktap_check kernel_without_tun_is_refused "$STATIC/refused.sh" config
ktap_check changed_interface_is_refused "$STATIC/refused.sh" interface
ktap_check checkpatch_kmod checkpatch kmod
ktap_check checkpatch_uapi checkpatch uapi
ktap_check checkpatch_userspace checkpatch userspace
ktap_check checkpatch_selftests checkpatch selftests
ktap_check kernel_doc kernel_doc
ktap_check generated_is_current generated_is_current
ktap_check syzkaller_is_current syzkaller_is_current
ktap_check uapi_headers_compile_alone uapi_headers_compile_alone
ktap_check qemu_has_our_headers qemu_has_our_headers
ktap_check user_programs_are_silent user_programs_are_silent
ktap_check foreign_host_builds foreign_host_builds
ktap_check installs_and_uninstalls installs_and_uninstalls
ktap_check systemd_units systemd_units
ktap_check emulator_adds_the_property emulator_adds_the_property
ktap_check hook_needs_its_programs hook_needs_its_programs
ktap_check shellcheck shell_scripts
ktap_check man_pages man_pages
ktap_check spdx spdx
for rule in rings hook drops locks; do
	ktap_check "rule_$rule" own_rule "$rule"
done
ktap_check unwanted_words unwanted_words
ktap_check version_checks_in_compat version_checks_in_compat
ktap_check version_in_one_place version_in_one_place
ktap_check ktap_counts "$STATIC/ktap-counts.sh"
ktap_check tree_is_clean tree_is_clean
ktap_known
ktap_end
