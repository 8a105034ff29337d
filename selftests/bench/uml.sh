#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# User Mode Linux of the distribution's 6.12, with what the benchmarks need.
# What runs within its kernel runs at the native speed of the machine.
#
#   uml.sh kernel      build it once; prints a directory in the cache with
#                      the program linux and what module builds need
#   uml.sh module      build the module for it; prints its path

set -euo pipefail
shopt -s inherit_errexit
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source-path=SCRIPTDIR source=../vm/apt.sh
. "$here/../vm/apt.sh"

# On top of the architecture's defaults. All is built in but our module: a
# reference without it is loaded must not depend on others.
OPTIONS=(
	MODULES MODULE_UNLOAD NET INET PACKET UNIX NETDEVICES NET_CORE TUN
	MACVLAN MACVTAP VHOST_MENU VHOST_NET DUMMY NET_SCHED NET_SCH_PLUG
	NET_PKTGEN HIGH_RES_TIMERS HOSTFS TMPFS DEVTMPFS SYSFS PROC_FS
)
OMIT=(
	DEBUG_INFO_DWARF_TOOLCHAIN_DEFAULT DEBUG_KERNEL SOUND UML_SOUND
	EXT4_FS REISERFS_FS QUOTA AUTOFS_FS ISO9660_FS WIRELESS WLAN IPV6
	NETFILTER MODVERSIONS INPUT HID_SUPPORT PPS PTP_1588_CLOCK SERIO
	ETHTOOL_NETLINK FTRACE
)

kmake()
{
	nice -n 10 make -C "$tree" ARCH=um -j2 "$@" </dev/null >>"$log" 2>&1 || {
		tail -n 30 "$log" >&2
		die "User Mode Linux: make $* failed"
	}
}

fill_uml()
{
	local tmp=$1 deb=$2 tree=$1/src log=$1.log o

	# shellcheck disable=SC2064 # these very paths
	trap "rm -rf -- '$tmp' '$log'" EXIT
	mkdir -p "$tree"
	: >"$log"
	say "  UML     source"
	dpkg-deb --fsys-tarfile "$deb" |
		tar -x -O --wildcards './usr/src/linux-source-*.tar.xz' |
		xz -dc -T0 |
		tar -x -C "$tree" --strip-components=1 \
			--exclude='linux-source-*/Documentation/*/*'
	kmake defconfig
	for o in "${OPTIONS[@]}"; do
		"$tree/scripts/config" --file "$tree/.config" -e "$o"
	done
	for o in "${OMIT[@]}"; do
		"$tree/scripts/config" --file "$tree/.config" -d "$o"
	done
	"$tree/scripts/config" --file "$tree/.config" -e DEBUG_INFO_NONE
	kmake olddefconfig
	for o in "${OPTIONS[@]}"; do
		grep -q "^CONFIG_$o=y" "$tree/.config" ||
			die "User Mode Linux has no $o"
	done
	say "  UML     build (5 minutes)"
	kmake
	cp "$tree/linux" "$tmp/"
	# What builds of modules read stays: headers, makefiles, programs.
	find "$tree" -type f ! -path "$tree/scripts/*" \
		\( -name '*.c' -o -name '*.S' -o -name '*.[oa]' -o \
		   -name '.*.cmd' -o -name '*.dts*' -o -name 'vmlinux*' \) \
		-delete
	rm -rf "$tree"/{Documentation,drivers,fs,sound,samples,tools/testing} \
		"$tree"/{crypto,block,ipc,linux,net,mm}
}

uml_dir()
{
	local deb dir

	deb=$(apt_fetch bookworm linux-source-6.12)
	dir=$CACHE/uml/$(basename "$deb" .deb)-$(key "${OPTIONS[@]}" \
		"${OMIT[@]}" "$(declare -f fill_uml kmake)")
	make_once "$dir" fill_uml "$deb"
	echo "$dir"
}

fill_uml_module()
{
	local tmp=$1 tree=$2 log=$1.log

	# shellcheck disable=SC2064
	trap "rm -rf -- '$tmp' '$log'" EXIT
	mkdir -p "$tmp"
	: >"$log"
	cp -r "$TOP_DIR"/{kmod,uapi,dkms.conf} "$tmp/"
	kmake M="$tmp/kmod" modules
	mv "$tmp/kmod/tapmig.ko" "$tmp/"
	rm -rf "$tmp/kmod"
}

uml_module()
{
	local uml dir

	uml=$(uml_dir)
	dir=$CACHE/modules/uml-$(key "$uml" "$(cd "$TOP_DIR" &&
		tree_files kmod uapi dkms.conf | xargs sha256sum)" \
		"$(declare -f fill_uml_module)")
	make_once "$dir" fill_uml_module "$uml/src"
	echo "$dir/tapmig.ko"
}

need make gcc bison flex bc
apt_setup
apt_update
case ${1:-} in
kernel) memo uml_dir ;;
module) uml_module ;;
*) die "unknown command '${1:-}' (see the head of this file)" ;;
esac
