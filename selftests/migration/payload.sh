#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# Put together what a VM needs for live migrations of a guest:
#
#   payload.sh DIR [FILE…]      the files are added
#
# BUILD is set by make. QEMU and the guest's kernel are built when they are not
# in the cache, which takes minutes; it is told how far they are. If STOCK_QEMU
# is set, QEMU is one without our patches.

set -euo pipefail
shopt -s inherit_errexit

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
vm=$here/../vm
: "${BUILD:?is not set: see the Makefile}"
out=$BUILD/migration
payload=$1
shift

kernel=$("$vm/progress.sh" KERNEL guest 1500 -- "$vm/guest-kernel.sh")
qemu=$("$vm/progress.sh" QEMU qemu 1500 -- "$vm/qemu.sh" \
	${STOCK_QEMU:+--stock})

rm -rf -- "$payload"
mkdir -p "$payload/bin"
cp "$here"/*.py "$here/in-vm.sh" "$here"/libvirt-*.sh "$out/client" \
	"$out/later.so" "$here/../../docs/examples"/* "$@" "$payload/"
"$vm/pair.sh" --files "$payload"
cp "$BUILD/userspace/tapmig" "$payload/bin/"
cp "$kernel" "$payload/guest-vmlinuz"
cp "$out/initrd" "$payload/guest-initrd"
cp -r "$qemu" "$payload/qemu"
