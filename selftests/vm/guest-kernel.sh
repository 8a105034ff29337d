#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# The kernel of the guest that migrates: as little as a guest of QEMU needs,
# with guest.config, from the same source and by the same compiler as the
# debug kernel. Prints the path of its image.

set -euo pipefail
shopt -s inherit_errexit
# shellcheck source-path=SCRIPTDIR source=debug-kernel.sh
. "$(dirname "${BASH_SOURCE[0]}")/debug-kernel.sh"

CONFIG=$VM_DIR/guest.config

fill_guest_kernel()
{
	local tmp=$1 deb=$2

	mkdir -p "$tmp/tree"
	say "  KERNEL  $(basename "$deb" .deb), for a guest: takes minutes"
	(
		cd "$tmp/tree"
		unpack_source "$deb"
		configure
		nice -n 10 make -j "$JOBS" bzImage KBUILD_BUILD_TIMESTAMP=@0 \
			KBUILD_BUILD_USER=tapmig KBUILD_BUILD_HOST=tapmig
	) >"$tmp/build.log" 2>&1 </dev/null || {
		tail -n 30 "$tmp/build.log" >&2
		die "the guest kernel does not build"
	}
	cp "$tmp/tree/arch/x86/boot/bzImage" "$tmp/vmlinuz"
	cp "$tmp/tree/.config" "$tmp/config"
	rm -rf "$tmp/tree"
}

# guest_kernel_dir KEY: the key is there for memo's sake.
guest_kernel_dir()
{
	local deb dir

	deb=$(apt_fetch "$HOST_RELEASE" "linux-source-$SERIES")
	dir=$CACHE/guest/$(basename "$deb" .deb)-$1
	make_once "$dir" fill_guest_kernel "$deb"
	echo "$dir"
}

if [ "${BASH_SOURCE[0]}" = "$0" ]; then
	need bc bison flex gcc make xz
	apt_setup
	apt_update
	unset MAKEFLAGS MFLAGS MAKELEVEL
	dir=$(memo guest_kernel_dir "$(key "$(cat "$CONFIG")" \
		"$(gcc --version | head -n 1)" \
		"$(declare -f unpack_source configure fill_guest_kernel)")")
	echo "$dir/vmlinuz"
fi
