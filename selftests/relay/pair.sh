#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# Two VMs with different kernels, joined by a link: a guest moves from one to
# the other. In KTAP.
#
#   pair.sh SOURCE-SERIES DESTINATION-SERIES PAYLOAD OUT [CASE]…
#
# with the modules in BUILD, as 'make' leaves them.

set -euo pipefail
shopt -s inherit_errexit

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
source=$1 dest=$2 payload=$3 out=$4
shift 4
: "${BUILD:?is not set}"

work=$(mktemp -d)
other=
trap '[ -z "$other" ] || kill "$other" 2>/dev/null || :; rm -rf -- "$work"' \
	EXIT

vm()
{
	"$here/../vm/run.sh" --kernel "$1" --payload "$payload" --mem 1024 \
		--module "$BUILD/kmod-$1/tapmig.ko" --timeout 240 "${@:2}"
}

mkdir -p "$out"
vm "$dest" --out "$out/destination" \
	--netdev "stream,server=on,addr.type=unix,addr.path=$work/link" \
	-- ./in-vm.sh pair-dest.sh >"$out/destination.log" 2>&1 &
other=$!
# The link is there when its QEMU has started.
until [ -S "$work/link" ]; do
	kill -0 "$other" 2>/dev/null || {
		cat "$out/destination.log"
		echo "Bail out! no second VM"
		exit 1
	}
	read -rt 0.1 <> <(:) || :
done
rc=0
vm "$source" --out "$out/source" \
	--netdev "stream,server=off,addr.type=unix,addr.path=$work/link" \
	-- ./in-vm.sh pair-source.py "$@" || rc=$?
if wait "$other"; then
	other=
else
	other_rc=$?
	other=
	sed 's/^/# destination: /' "$out/destination.log"
	# A fault of the emulation is one, wherever it was.
	[ "$rc" -eq 122 ] || [ "$other_rc" -eq 122 ] && exit 122
	exit 1
fi
exit "$rc"
