#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# A directory to build modules against with clang: the headers that come from
# the distribution are configured for gcc. The source and the configuration
# are those of the debug kernel, of which nothing is compiled but what builds
# need. Prints its path.

set -euo pipefail
shopt -s inherit_errexit
# shellcheck source-path=SCRIPTDIR source=debug-kernel.sh
. "$(dirname "${BASH_SOURCE[0]}")/debug-kernel.sh"

fill_clang_tree()
{
	local tmp=$1 deb=$2 f

	mkdir -p "$tmp/tree"
	say "  KERNEL  $(basename "$deb" .deb), for clang: takes a minute"
	(
		cd "$tmp/tree"
		export LLVM=1
		unpack_source "$deb"
		configure
		nice -n 10 make -j "$JOBS" modules_prepare
	) >"$tmp/build.log" 2>&1 </dev/null || {
		tail -n 30 "$tmp/build.log" >&2
		die "the kernel's source cannot be prepared for clang"
	}
	mkdir -p "$tmp/build/arch" "$tmp/build/tools"
	for f in .config Makefile include scripts arch/x86 tools/objtool; do
		mv "$tmp/tree/$f" "$tmp/build/$f"
	done
	rm -rf "$tmp/tree"
}

# clang_dir KEY: the key is there for memo's sake.
clang_dir()
{
	local deb dir

	deb=$(apt_fetch "$HOST_RELEASE" "linux-source-$SERIES")
	dir=$CACHE/clang/$(basename "$deb" .deb)-$1
	make_once "$dir" fill_clang_tree "$deb"
	echo "$dir"
}

if [ "${BASH_SOURCE[0]}" = "$0" ]; then
	need bc bison clang flex ld.lld make xz
	apt_setup
	apt_update
	unset MAKEFLAGS MFLAGS MAKELEVEL
	dir=$(memo clang_dir "$(key "$(cat "$CONFIG")" \
		"$(clang --version | head -n 1)" \
		"$(declare -f unpack_source configure fill_clang_tree)")")
	echo "$dir/build"
fi
