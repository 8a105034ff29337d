#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# Put together what the tests of the relay need in the VM.
#
#   payload.sh BUILD DIR     from the build directory BUILD into DIR

set -euo pipefail
shopt -s inherit_errexit

[ $# -eq 2 ] || {
	echo "usage: payload.sh BUILD DIR" >&2
	exit 1
}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
build=$1 dir=$2

rm -rf -- "$dir"
mkdir -p "$dir/bin"
cp "$build/userspace/tapmig" "$dir/bin/"
cp "$build/relay/rig" "$build"/relay/{hiccup,odd,scarce}.so \
	"$here"/*.py "$here"/in-vm.sh "$dir/"
"$here/../vm/pair.sh" --files "$dir"
"$here/pki.sh" "$dir/pki"
make -s -C "$here/../../userspace" OUT="$build/userspace" prefix=/usr \
	DESTDIR="$dir/installed" install
