#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# Put together what the tests need in the VM: the tool, the tests, and the
# netlink client of the kernel tree with its schemas and our specification.
#
#   payload.sh BUILD DIR     from the build directory BUILD into DIR

set -euo pipefail
shopt -s inherit_errexit
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

[ $# -eq 2 ] || die "usage: payload.sh BUILD DIR"
build=$1 dir=$2
source=$("$VM_DIR/kernel.sh" source)

rm -rf -- "$dir"
mkdir -p "$dir"/{bin,selftests,tools/net/ynl,Documentation/netlink/specs}
cp "$VM_DIR/vm-tests" "$dir/"
[ ! -f "$build/userspace/tapmig" ] ||
	cp "$build/userspace/tapmig" "$dir/bin/"
[ ! -d "$build/selftests" ] || cp -r "$build/selftests/." "$dir/selftests/"
find "$TOP_DIR/selftests" -maxdepth 1 -type f ! -name '*.[ch]' \
	! -name Makefile -exec cp -t "$dir/selftests" {} +
cp -r "$source/tools/net/ynl/pyynl" "$dir/tools/net/ynl/"
cp "$source"/Documentation/netlink/*.yaml "$dir/Documentation/netlink/"
cp "$TOP_DIR"/uapi/netlink/*.yaml "$dir/Documentation/netlink/specs/"
