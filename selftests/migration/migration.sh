#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# Live migrations of a real guest under traffic, in a VM:
#
#   migration.sh [ROW…]      see migration.py; all of them if none is named
#   migration.sh pair NEAR FAR [ROW…]
#                            in two VMs with kernels of these series
#   migration.sh crossed [ROW…]
#                            in one, vhost-net being at the other card
#   migration.sh stock [ROW…]
#                            those that need no patches, by a QEMU without them
#   migration.sh states [quick|long] [CASE…]
#                            QEMUs without a guest, see states.py
#   migration.sh libvirt [ROW…]
#                            as libvirt does it, see libvirt.py
#
# Run by 'make check-migration', which sets BUILD. QEMU and the guest's kernel
# are built when they are not in the cache. The guest boots once: later runs
# find it in a file in BUILD.

set -euo pipefail
shopt -s inherit_errexit

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
: "${BUILD:?is not set: run make check-migration}"
out=$BUILD/migration

[ "${1:-}" != stock ] || export STOCK_QEMU=yes
"$here/payload.sh" "$out/payload"
if [ "${1:-}" = states ]; then
	exec "$here/../vm/run.sh" --kernel 6.1 \
		--module "$BUILD/kmod-6.1/tapmig.ko" --payload "$out/payload" \
		--out "$out/states" --timeout 1500 -- ./in-vm.sh ./states.py "${@:2}"
fi
if [ "${1:-}" = libvirt ]; then
	root=$("$here/../vm/libvirt-root.sh")
	exec "$here/../vm/run.sh" --kernel 6.1 \
		--module "$BUILD/kmod-6.1/tapmig.ko" --payload "$out/payload" \
		--disk "hosts=$root" --out "$out/libvirt" --mem 2560 \
		--timeout 3000 -- ./in-vm.sh ./libvirt-in-vm.sh "${@:2}"
fi
cards=
[ "${1:-}" != crossed ] || cards=-crossed
state=$out/guest$cards-$(cat "$out/payload/guest-vmlinuz" "$out/initrd" \
	"$out/payload/qemu/qemu-system-x86_64" "$here/rig.py" |
	sha256sum | cut -c1-16)
save=()
if [ -e "$state" ]; then
	cp "$state" "$out/payload/guest-state"
else
	save=(env SAVE_STATE=/run/out/guest-state)
fi

rc=0
if [ "${1:-}" = pair ]; then
	at=$out/pair-$2-$3
	left=$at/near/out
	"$here/../vm/pair.sh" "$2" "$3" "$out/payload" "$at" 2048 3000 \
		"${save[@]}" ./migration.py pair "${@:4}" || rc=$?
else
	left=$out/vm/out
	"$here/../vm/run.sh" --kernel 6.1 \
		--module "$BUILD/kmod-6.1/tapmig.ko" --mem 3072 --timeout 3000 \
		--payload "$out/payload" --out "$out/vm" -- \
		"${save[@]}" ./in-vm.sh ./migration.py "$@" || rc=$?
fi
if [ ${#save[@]} -gt 0 ] && [ -e "$left/guest-state" ]; then
	mv "$left/guest-state" "$state"
fi
exit "$rc"
