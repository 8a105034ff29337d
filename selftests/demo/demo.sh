#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# A guest in QEMU migrates from one host to another while frames for it keep
# coming: once with the stock behaviour, once with tapmig; both hosts are in
# one VM. Prints what became of the frames, and leaves it in build/demo.json.
#
# Run by 'make demo', which sets BUILD and MODULE_6_1, and builds the tool. The
# first time, QEMU and the guest's kernel are built too.

set -euo pipefail
shopt -s inherit_errexit

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
migration=$here/../migration
: "${BUILD:?is not set: run make demo}" "${MODULE_6_1:?is not set}"
out=$BUILD/demo

mkdir -p "$out"
rm -f "$BUILD/demo.json"
echo "QEMU with the patches, and a kernel for its guest: when they are not in"
echo "the cache, they are built, which takes about 12 minutes."
"$migration/payload.sh" "$out/payload" "$here/demo.py"

echo "Booting a stock kernel in a VM, with two hosts in it. Emulation inside"
echo "emulation: this takes minutes."
rc=0
"$here/../vm/run.sh" --kernel 6.1 --module "$MODULE_6_1" --mem 3072 \
	--timeout 900 --payload "$out/payload" --out "$out/vm" -- \
	./in-vm.sh ./demo.py || rc=$?
if [ -f "$out/vm/out/demo.json" ]; then
	cp "$out/vm/out/demo.json" "$BUILD/demo.json"
	echo "The counts are in $BUILD/demo.json."
fi
exit "$rc"
