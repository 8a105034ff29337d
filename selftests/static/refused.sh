#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# A kernel that the module is not for is refused by the build, in one line that
# says why; but what a build has left there can be removed.
#
#   refused.sh config      a kernel without CONFIG_TUN
#   refused.sh interface   one whose tun_get_tx_ring() takes something else

set -euo pipefail
shopt -s inherit_errexit
# shellcheck source-path=SCRIPTDIR source=../vm/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../vm/lib.sh"

SERIES=6.12

root=$("$VM_DIR/kernel.sh" root "$SERIES")
release=$("$VM_DIR/kernel.sh" release "$SERIES")
mkdir -p "$root/build"
dir=$(mktemp -d "$root/build/refused.XXXXXX")
trap 'rm -rf -- "$dir"' EXIT

# The headers, in links: those of the flavour, and what they have in common.
common=${release%-cloud-*}-common
for d in "$release" "$common"; do
	mkdir "$dir/$d"
	in_root "$root" /usr/bin/cp -rs "/usr/src/linux-headers-$d/." \
		"${dir#"$root"}/$d"
done

# edit FILE SED-EXPRESSION: it is changed, and no link any more.
edit()
{
	sed "$2" "$root$(readlink "$dir/$1")" >"$dir/edited"
	if cmp -s "$dir/edited" "$root$(readlink "$dir/$1")"; then
		die "nothing to change in $1"
	fi
	mv "$dir/edited" "$dir/$1"
}

edit "$release/Makefile" "s,/usr/src/linux-headers-,${dir#"$root"}/,"
case ${1:-} in
config)
	why='no CONFIG_TUN'
	edit "$release/include/config/auto.conf" '/^CONFIG_TUN=/d'
	;;
interface)
	why='no tun_get_tx_ring, or a different one'
	edit "$common/include/linux/if_tun.h" \
		's/tun_get_tx_ring(struct file/tun_get_tx_ring(struct tun_file/'
	;;
*) die "which kernel? (config, interface)" ;;
esac

tree_files kmod uapi dkms.conf | tar -c -C "$TOP_DIR" -T - |
	tar -x -C "$dir"
make_there()
{
	in_root "$root" /usr/bin/make -C "${dir#"$root"}/$release" \
		M="${dir#"$root"}/kmod" "$@" </dev/null 2>&1
}

! out=$(make_there modules) || die "it is built for such a kernel"
echo "$out"
[ "$(grep -c 'tapmig: ' <<<"$out")" = 1 ]
grep -qF "*** tapmig: not for this kernel ($release): it has $why.  Stop." <<<"$out"
if grep -E ' CC |error: ' <<<"$out"; then
	die "that came too late"
fi
make_there clean
