#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# The root file system of the test VM: a small userland of the machine's own
# release, so that what was built here runs there. Prints the image's path.

set -euo pipefail
shopt -s inherit_errexit
# shellcheck source-path=SCRIPTDIR source=apt.sh
. "$(dirname "${BASH_SOURCE[0]}")/apt.sh"

PACKAGES=(
	base-files base-passwd bash bpftool coreutils diffutils ethtool
	findutils gawk grep gzip iproute2 iputils-ping kmod libc-bin
	libgnutls30 libmnl0 mount ncurses-base netbase passwd procps python3
	python3-jsonschema python3-yaml sed strace systemd tar tcpdump
	tshark util-linux
)

fill_rootfs()
{
	local tmp=$1 root=$1.root
	shift

	# shellcheck disable=SC2064
	trap "rm -rf -- '$tmp' '$root'" EXIT
	mkdir -p "$root"
	unpack "$root" "$@"

	# What the packages' scripts would have done, as far as tests care.
	ln -sf bash "$root/usr/bin/sh"
	ln -sf gawk "$root/usr/bin/awk"
	cp "$root/usr/share/base-passwd/passwd.master" "$root/etc/passwd"
	cp "$root/usr/share/base-passwd/group.master" "$root/etc/group"
	grep -q ^kvm: "$root/etc/group" ||
		echo 'kvm:x:993:' >>"$root/etc/group"
	printf '127.0.0.1 localhost tapmig-vm\n::1 localhost\n' \
		>"$root/etc/hosts"
	echo tapmig-vm >"$root/etc/hostname"
	mkdir -p "$root"/{proc,sys,dev,run,tmp,root,mnt}
	in_root "$root" /usr/sbin/ldconfig
	# Under emulation, compiling Python again in every VM is what takes
	# time; a file that does not compile is nobody's loss.
	in_root "$root" /usr/bin/python3 -m compileall -q \
		-x 'test/|idlelib|lib2to3|tkinter' \
		/usr/lib/python3 /usr/lib/python3.* >&2 || :
	rm -rf "$root"/usr/share/{doc,man,locale,info,lintian,bug} \
		"$root"/var/cache "${root:?}"/dev/*
	mksquashfs "$root" "$tmp" -all-root -noI -noD -noF -noX \
		-no-progress -quiet >&2
	rm -rf "$root"
}

rootfs_image()
{
	local profile=$1 debs img

	debs=$(apt_closure "$profile" "${PACKAGES[@]}")
	img=$CACHE/rootfs/$profile-$(key "$debs" \
		"$(declare -f fill_rootfs)").squashfs
	# shellcheck disable=SC2086 # one path a line, without spaces
	make_once "$img" fill_rootfs $debs
	echo "$img"
}

if [ "${BASH_SOURCE[0]}" = "$0" ]; then
	need mksquashfs
	apt_setup
	apt_update
	memo rootfs_image "$HOST_RELEASE"
fi
