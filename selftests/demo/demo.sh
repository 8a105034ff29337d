#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# A guest moves from one host to another while frames for it keep coming: once
# on the stock kernel, once with tapmig, both in one VM. Prints what became of
# the frames, and leaves it in build/demo.json.
#
# Run by 'make demo', which sets BUILD and MODULE_6_1, and builds the tool.

set -euo pipefail
shopt -s inherit_errexit

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
: "${BUILD:?is not set: run make demo}" "${MODULE_6_1:?is not set}"
out=$BUILD/demo

payload=$out/payload
rm -rf -- "$payload" "$BUILD/demo.json"
mkdir -p "$payload"
cp "$out/migrate" "$BUILD/userspace/tapmig" "$here/in-vm.sh" "$payload/"

echo "Booting a stock kernel in a VM; two hosts, a switch and a client in it."
rc=0
"$here/../vm/run.sh" --kernel 6.1 --module "$MODULE_6_1" --timeout 300 \
	--payload "$payload" --out "$out/vm" -- ./in-vm.sh || rc=$?
if [ -f "$out/vm/out/demo.json" ]; then
	cp "$out/vm/out/demo.json" "$BUILD/demo.json"
	echo "The counts are in $BUILD/demo.json."
fi
exit "$rc"
