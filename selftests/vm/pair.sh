#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# Two VMs with different kernels, joined by a link. A command runs in the near
# one, and has the far one do things by remote.py. In KTAP.
#
#   pair.sh NEAR-SERIES FAR-SERIES PAYLOAD OUT MEM TIMEOUT COMMAND [ARG…]
#
# PAYLOAD has an in-vm.sh that runs what it is given, and what --files brings.
# The modules are in BUILD, as 'make' leaves them. OUT/near and OUT/far are as
# run.sh has them.
#
#   pair.sh --files DIR      put these files into a payload

set -euo pipefail
shopt -s inherit_errexit

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
if [ "$1" = --files ]; then
	cp "$here"/{agent,remote}.py "$here"/pair-{near,far}.sh "$2/"
	exit 0
fi
near=$1 far=$2 payload=$3 out=$4 mem=$5 timeout=$6
shift 6
: "${BUILD:?is not set}"

work=$(mktemp -d)
other=
trap '[ -z "$other" ] || kill "$other" 2>/dev/null || :; rm -rf -- "$work"' \
	EXIT

vm()
{
	"$here/run.sh" --kernel "$1" --payload "$payload" --mem "$mem" \
		--module "$BUILD/kmod-$1/tapmig.ko" --timeout "$timeout" \
		"${@:2}"
}

mkdir -p "$out"
vm "$far" --out "$out/far" \
	--netdev "stream,server=on,addr.type=unix,addr.path=$work/link" \
	-- ./in-vm.sh ./pair-far.sh >"$out/far.log" 2>&1 &
other=$!
# The link is there when its QEMU has started.
until [ -S "$work/link" ]; do
	kill -0 "$other" 2>/dev/null || {
		cat "$out/far.log"
		echo "Bail out! no second VM"
		exit 1
	}
	read -rt 0.1 <> <(:) || :
done
rc=0
vm "$near" --out "$out/near" \
	--netdev "stream,server=off,addr.type=unix,addr.path=$work/link" \
	-- ./in-vm.sh ./pair-near.sh "$@" || rc=$?
# It has not said that it is over.
case $rc in
122|125) kill "$other" 2>/dev/null || : ;;
esac
if wait "$other"; then
	other=
else
	other_rc=$?
	other=
	sed 's/^/# far: /' "$out/far.log"
	# A fault of the emulation is one, wherever it was.
	[ "$rc" -eq 122 ] || [ "$other_rc" -eq 122 ] && exit 122
	exit 1
fi
exit "$rc"
