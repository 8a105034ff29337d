#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# A kernel that looks for errors: built with the machine's own compiler from
# the distribution's source of the series that has it in every release, with
# debug.config. Built once for each configuration, source and compiler.
#
#   debug-kernel.sh release [FLAVOUR]    its release
#   debug-kernel.sh image [FLAVOUR]      a directory with vmlinuz, lib/modules,
#                                        and an image of the latter
#   debug-kernel.sh build [FLAVOUR]      the directory to build modules against
#
# The flavour kcsan looks for data races instead: kcsan.config says what is
# different.

set -euo pipefail
shopt -s inherit_errexit
# shellcheck source-path=SCRIPTDIR source=apt.sh
. "$(dirname "${BASH_SOURCE[0]}")/apt.sh"

SERIES=6.12
CONFIG=$VM_DIR/debug.config
JOBS=${TAPMIG_JOBS:-$(nproc)}

# Everything but what takes long to unpack and is not built. The makefiles
# read one file of the documentation.
unpack_source()
{
	dpkg-deb --fsys-tarfile "$1" |
		tar -x -O --wildcards './usr/src/linux-source-*.tar.xz' |
		xz -dc -T0 |
		tar -x --strip-components=1 --exclude='*/Documentation/*' \
		    --exclude='*/drivers/gpu/*.[ch]' --exclude='*/dts/*' \
		    --exclude='*/sound/*.[ch]' --exclude='*/tools/perf/*' \
		    --exclude='*/tools/testing/*'
	mkdir -p Documentation
	: >Documentation/Kconfig
}

# What the kernel did not take over would be missed later, by a test that
# cannot run, or not at all.
configure()
{
	local option missing=()

	make -s tinyconfig
	grep -E '^(# )?CONFIG_' "$CONFIG" >>.config
	make -s olddefconfig 2>&1 | grep -vE 'override|reassign' || :
	while read -r option; do
		case $option in
		CONFIG_*)
			grep -qx -- "$option" .config || missing+=("$option")
			;;
		'# CONFIG_'*)
			option=${option#\# }
			! grep -q "^${option%% *}=" .config ||
				missing+=("no ${option%% *}")
			;;
		esac
	done <"$CONFIG"
	[ ${#missing[@]} -eq 0 ] ||
		die "the kernel does not take, of $CONFIG: ${missing[*]}"
}

fill_kernel()
{
	local tmp=$1 deb=$2 rel f

	mkdir -p "$tmp/tree"
	say "  KERNEL  $(basename "$deb" .deb), for debugging: takes minutes"
	(
		cd "$tmp/tree"
		unpack_source "$deb"
		configure
		nice -n 10 make -j "$JOBS" bzImage modules \
			KBUILD_BUILD_TIMESTAMP=@0 KBUILD_BUILD_USER=tapmig \
			KBUILD_BUILD_HOST=tapmig
		make -s INSTALL_MOD_PATH="$tmp/usr" modules_install
	) >"$tmp/build.log" 2>&1 </dev/null || {
		tail -n 30 "$tmp/build.log" >&2
		die "the debug kernel does not build"
	}
	rel=$(cat "$tmp/tree/include/config/kernel.release")
	cp "$tmp/tree/arch/x86/boot/bzImage" "$tmp/vmlinuz"
	ln -s usr/lib "$tmp/lib"
	rm -f "$tmp/usr/lib/modules/$rel/build"
	depmod -b "$tmp" "$rel"
	mksquashfs "$tmp/usr" "$tmp/modules.squashfs" -keep-as-directory \
		-all-root -noI -noD -noF -noX -no-progress -quiet >&2

	# Of the tree, what modules are built with.
	mkdir -p "$tmp/build/arch" "$tmp/build/tools"
	for f in .config Makefile Module.symvers System.map include scripts \
		 arch/x86 tools/objtool; do
		mv "$tmp/tree/$f" "$tmp/build/$f"
	done
	find "$tmp/build/arch" -type f \( -name '*.[acoS]' -o \
		-name 'vmlinux*' -o -name bzImage \) -delete
	rm -rf "$tmp/tree"
	echo "$rel" >"$tmp/release"
}

# options FILE…: those of a configuration, by name.
options()
{
	sed -nE 's/^(# )?(CONFIG_[A-Z0-9_]+)[= ].*/\2/p' "$@"
}

# merged BASE CHANGES: the one configuration, but for what the other says, and
# what only comes with options that the other takes away.
merged()
{
	local off pattern

	off=$(sed -nE 's/^# (CONFIG_[A-Z0-9_]+) is not set$/\1/p' "$2")
	pattern=$(printf '%s\n' "$off" | paste -s -d '|')
	{
		grep -vE "^(# )?($pattern)(_[A-Z0-9_]+)?[= ]" "$1" |
			grep -vwF "$(options "$2")"
		cat "$2"
	} | grep -E '^(# )?CONFIG_'
}

# kernel_dir KEY: the key is there for memo's sake.
kernel_dir()
{
	local deb dir

	deb=$(apt_fetch "$HOST_RELEASE" "linux-source-$SERIES")
	dir=$CACHE/debug/$(basename "$deb" .deb)-$1
	make_once "$dir" fill_kernel "$deb"
	echo "$dir"
}

if [ "${BASH_SOURCE[0]}" = "$0" ]; then
	need bc bison depmod flex gcc make mksquashfs xz
	apt_setup
	apt_update
	unset MAKEFLAGS MFLAGS MAKELEVEL
	case ${2:-debug} in
	debug) ;;
	kcsan)
		tmp=$(mktemp)
		trap 'rm -f -- "$tmp"' EXIT
		merged "$CONFIG" "$VM_DIR/kcsan.config" >"$tmp"
		CONFIG=$tmp
		;;
	*) die "unknown flavour '$2' (see the head of this file)" ;;
	esac
	dir=$(memo kernel_dir "$(key "$(cat "$CONFIG")" \
		"$(gcc --version | head -n 1)" \
		"$(declare -f unpack_source configure fill_kernel)")")
	case ${1:-} in
	release) cat "$dir/release" ;;
	image) echo "$dir" ;;
	build) echo "$dir/build" ;;
	*) die "unknown command '${1:-}' (see the head of this file)" ;;
	esac
fi
