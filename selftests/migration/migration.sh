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
: "${BUILD:?is not set: run make check-migration}"
out=$BUILD/migration

"$here/payload.sh" "$out/payload"
exec "$here/../vm/run.sh" --kernel 6.1 --module "$BUILD/kmod-6.1/tapmig.ko" \
	--mem 3072 --timeout 900 --payload "$out/payload" --out "$out/vm" -- \
	./in-vm.sh ./migration.py "$@"
