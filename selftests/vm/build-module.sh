#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# Build a module against the headers of a stock kernel, with the compiler that
# they ask for. Prints a directory in the cache with the .ko and build.log.
#
#   build-module.sh SERIES [--src DIR] [MAKE-ARGUMENT…]
#
# SERIES can be debug or kcsan, too: the kernels of debug-kernel.sh, for which
# no chroot is needed. DIR (default kmod/) holds a Kbuild file; uapi/ and dkms.conf are
# beside it in the copy that is built. Nothing is written into the tree.

set -euo pipefail
shopt -s inherit_errexit
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

[ $# -ge 1 ] || die "which kernel series? (${BUILD_SERIES[*]})"
series=$1
shift
src=$TOP_DIR/kmod
if [ "${1:-}" = --src ]; then
	src=$(cd "$2" && pwd)
	shift 2
fi
[ -f "$src/Kbuild" ] || die "no Kbuild in $src"

# files DIR…: those that a build reads, in a fixed order.
pack()
{
	tar -c --sort=name --owner=0 --group=0 --mode=go=rX,u+rw \
		--mtime=@0 --exclude='*.o' --exclude='*.ko' \
		--exclude='*.mod' --exclude='*.mod.c' --exclude='.*.cmd' \
		--exclude='*.order' --exclude='*.symvers' "$@"
}

pack_all()
{
	pack -C "$(dirname "$src")" --transform "s,^${src##*/},kmod," \
		"${src##*/}" -C "$TOP_DIR" uapi dkms.conf
}

# The directory has the name of the result in the chroot too, so that paths
# in messages and debug information say what was built.
fill_module()
{
	local tmp=$1 name=$2 at=/build/$2 rc=0
	shift 2

	# shellcheck disable=SC2064
	trap "rm -rf -- '$tmp' '$root/build/$name'" EXIT
	rm -rf "${root:?}/build/$name"
	mkdir -p "$tmp" "$root/build/$name"
	pack_all | tar -x -C "$root/build/$name"
	[ "$root" != "$CACHE/debug" ] || at=$root/build/$name
	"${make[@]}" -j "$(nproc)" -C "$headers" M="$at/kmod" modules "$@" \
		</dev/null >"$tmp/build.log" 2>&1 || rc=$?
	sed -i "s,$at/,,g" "$tmp/build.log"
	if [ "$rc" -ne 0 ]; then
		cat "$tmp/build.log" >&2
		die "the module does not build for $series ($release)"
	fi
	cp "$root/build/$name/kmod"/*.ko "$tmp/"
	rm -rf "${root:?}/build/$name"
}

if [ "$series" = debug ] || [ "$series" = kcsan ]; then
	release=$("$VM_DIR/debug-kernel.sh" release "$series")
	root=$CACHE/debug
	headers=$("$VM_DIR/debug-kernel.sh" build "$series")
	make=(make)
	unset MAKEFLAGS MFLAGS MAKELEVEL
else
	release=$("$VM_DIR/kernel.sh" release "$series")
	root=$("$VM_DIR/kernel.sh" root "$series")
	headers=/usr/src/linux-headers-$release
	make=(in_root "$root" /usr/bin/make)
fi
name=$release-$(key "$(pack_all | sha256sum)" "$root" "$headers" "$@" \
	"$(declare -f fill_module)")
dir=$CACHE/modules/$name
make_once "$dir" fill_module "$name" "$@"
echo "$dir"
