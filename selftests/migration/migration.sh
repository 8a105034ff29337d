#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# Live migrations of a real guest under traffic, in a VM:
#
#   migration.sh [ROW…]      see migration.py; all of them if none is named
#
# Run by 'make check-migration', which sets BUILD. QEMU and the guest's kernel
# are built when they are not in the cache.

set -euo pipefail
shopt -s inherit_errexit

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
vm=$here/../vm
: "${BUILD:?is not set: run make check-migration}"
out=$BUILD/migration

kernel=$("$vm/guest-kernel.sh")
qemu=$("$vm/qemu.sh")

payload=$out/payload
rm -rf -- "$payload"
mkdir -p "$payload/bin"
cp "$here"/{in-vm.sh,migration.py,qmp.py,rig.py} "$out/client" \
	"$here/../../docs/examples/tapmig-qmp" "$payload/"
cp "$BUILD/userspace/tapmig" "$payload/bin/"
cp "$kernel" "$payload/guest-vmlinuz"
cp "$out/initrd" "$payload/guest-initrd"
cp -r "$qemu" "$payload/qemu"

exec "$vm/run.sh" --kernel 6.1 --module "$BUILD/kmod-6.1/tapmig.ko" \
	--mem 3072 --timeout 900 --payload "$payload" --out "$out/vm" -- \
	./in-vm.sh "$@"
