#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# The distribution's kernels: the newest package of each series, unpacked
# into the cache.
#
#   kernel.sh release SERIES   its release, e.g. 6.1.0-50-cloud-amd64
#   kernel.sh root SERIES      a directory to chroot into, with the kernel's
#                              headers and the compiler that they ask for
#   kernel.sh image SERIES     a directory with vmlinuz, lib/modules, and an
#                              image of the latter
#   kernel.sh source           the partly unpacked newest kernel source

set -euo pipefail
shopt -s inherit_errexit
# shellcheck source-path=SCRIPTDIR source=apt.sh
. "$(dirname "${BASH_SOURCE[0]}")/apt.sh"

FLAVOUR=cloud-amd64

# What module builds, checks and dkms need beside headers and compiler.
BUILD_TOOLS=(
	bash coreutils diffutils dkms findutils grep kmod make mawk sed sparse
)

# All packages of a profile, names only.
all_names()
{
	apt_do "$1" apt-cache pkgnames
}

# pick SERIES: profile and release of the newest headers. Of equal ones, the
# older release of the distribution.
pick()
{
	local series=$1 p rel ver best='' best_ver=''

	for p in "${PROFILES[@]}"; do
		while read -r rel; do
			ver=$(apt_version "$p" "linux-headers-$rel")
			[ -n "$ver" ] || continue
			if [ -z "$best" ] || dpkg --compare-versions \
			   "${ver%%[~+]*}" gt "${best_ver%%[~+]*}"; then
				best="$p $rel"
				best_ver=$ver
			fi
		done < <(all_names "$p" | sed -nE \
			"s/^linux-headers-(${series//./\\.}\..*-$FLAVOUR)$/\1/p" |
			grep -E '^[0-9.]+(-[0-9]+)?(\+deb[0-9.]+)?-cloud' |
			sort -V | tail -n 3)
	done
	[ -n "$best" ] || die "no package of kernel $series on the mirror"
	echo "$best"
}

kernel_release()
{
	local p

	p=$(memo pick "$1")
	echo "${p#* }"
}

# depends PROFILE PACKAGE: the names of its direct dependencies.
depends()
{
	apt_do "$1" apt-cache show --no-all-versions "$2" |
		awk '/^(Pre-)?Depends:/ {
			sub(/^[^:]*: /, "")
			gsub(/\([^)]*\)/, "")
			n = split($0, d, /[,|] */)
			for (i = 1; i <= n; i++)
				print d[i]
		}' | tr -d ' '
}

# root_parts PROFILE RELEASE…: the packages to take as they are, and those to
# take with all that they depend on. The headers themselves would pull in a
# bootable system.
root_parts()
{
	local p=$1 rel d
	shift

	for rel; do
		echo "files linux-headers-$rel"
		for d in $(depends "$p" "linux-headers-$rel"); do
			case $d in
			linux-headers-*-common) echo "files $d" ;;
			linux-kbuild-*|linux-compiler-*|gcc-*)
				echo "closure $d" ;;
			esac
		done
	done
	printf 'closure %s\n' "${BUILD_TOOLS[@]}"
}

fill_root()
{
	local tmp=$1
	shift

	mkdir -p "$tmp"
	unpack "$tmp" "$@"
	# What the packages' scripts would have done, as far as builds care.
	ln -sf mawk "$tmp/usr/bin/awk"
	ln -sf bash "$tmp/usr/bin/sh"
	mkdir -p "$tmp/tmp" "$tmp/proc" "$tmp/dev"
}

build_root()
{
	local profile=$1 parts debs s p root
	local releases=() files=() closure=()

	for s in "${BUILD_SERIES[@]}"; do
		p=$(memo pick "$s")
		[ "${p% *}" != "$profile" ] || releases+=("${p#* }")
	done
	parts=$(root_parts "$profile" "${releases[@]}" | sort -u)
	mapfile -t files < <(sed -n 's/^files //p' <<<"$parts")
	mapfile -t closure < <(sed -n 's/^closure //p' <<<"$parts")
	debs=$(apt_closure "$profile" "${closure[@]}"
	       apt_fetch "$profile" "${files[@]}")
	root=$CACHE/roots/$profile-$(key "$debs" "$(declare -f fill_root)")
	# shellcheck disable=SC2086 # one path a line, without spaces
	IFS=$'\n' make_once "$root" fill_root $debs
	echo "$root"
}

kernel_root()
{
	local p

	p=$(memo pick "$1")
	memo build_root "${p% *}"
}

# The packages that hold the kernel and its modules: one up to some point in
# 7.x, two from there on; signed ones appear later than unsigned ones.
image_packages()
{
	local profile=$1 rel=$2 n split=

	[ -n "$(apt_version "$profile" "linux-modules-$rel")" ] &&
		split="linux-modules-$rel"
	if [ -n "$split" ]; then
		split+=" linux-base-$rel"
		set -- "linux-binary-$rel" "linux-binary-unsigned-$rel"
	else
		set -- "linux-image-$rel" "linux-image-$rel-unsigned"
	fi
	for n; do
		if [ -n "$(apt_version "$profile" "$n")" ]; then
			echo "$n $split"
			return 0
		fi
	done
	die "no package with the image of $rel"
}

fill_image()
{
	local tmp=$1 rel=$2 f found=
	shift 2

	mkdir -p "$tmp/x"
	unpack "$tmp/x" "$@"
	for f in "$tmp"/x/boot/vmlinuz* \
		 "$tmp/x/usr/lib/modules/$rel"/vmlinuz*; do
		[ -f "$f" ] && found=$f
	done
	[ -n "$found" ] || die "no vmlinuz in the packages of $rel"
	mkdir -p "$tmp/usr/lib/modules"
	ln -s usr/lib "$tmp/lib"
	mv "$found" "$tmp/vmlinuz"
	mv "$tmp/x/usr/lib/modules/$rel" "$tmp/usr/lib/modules/"
	rm -rf "$tmp/x"
	# Unpacking modules under emulation costs more than the space.
	find "$tmp/usr/lib/modules" -name '*.ko.xz' -print0 |
		xargs -0 -r -n 64 -P "$(nproc)" xz -d
	depmod -b "$tmp" "$rel"
	mksquashfs "$tmp/usr" "$tmp/modules.squashfs" -keep-as-directory \
		-all-root -noI -noD -noF -noX -no-progress -quiet >&2
}

image_dir()
{
	local profile=$1 rel=$2 debs pkgs dir

	pkgs=$(image_packages "$profile" "$rel")
	# shellcheck disable=SC2086 # a list of names
	debs=$(apt_fetch "$profile" $pkgs)
	dir=$CACHE/kernels/$rel-$(key "$debs" "$(declare -f fill_image)")
	# shellcheck disable=SC2086
	make_once "$dir" fill_image "$rel" $debs
	echo "$dir"
}

kernel_image()
{
	local p

	need depmod xz mksquashfs
	p=$(memo pick "$1")
	# shellcheck disable=SC2086 # two words
	memo image_dir $p
}

# Of the newest source: what checks styles, generates netlink code, talks
# netlink, and runs tests.
fill_source()
{
	local tmp=$1 deb=$2

	mkdir -p "$tmp"
	dpkg-deb --fsys-tarfile "$deb" |
		tar -x -O --wildcards './usr/src/linux-source-*.tar.xz' |
		xz -dc -T0 |
		tar -x -C "$tmp" --strip-components=1 --wildcards \
		    --no-wildcards-match-slash \
		    'linux-source-*/scripts' \
		    'linux-source-*/.clang-format' \
		    'linux-source-*/include/uapi' \
		    'linux-source-*/include/linux' \
		    'linux-source-*/Documentation/netlink' \
		    'linux-source-*/Documentation/dev-tools' \
		    'linux-source-*/Documentation/process' \
		    'linux-source-*/tools/net/ynl' \
		    'linux-source-*/tools/lib/python' \
		    'linux-source-*/tools/include' \
		    'linux-source-*/tools/docs' \
		    'linux-source-*/tools/scripts' \
		    'linux-source-*/tools/testing/selftests/*.*' \
		    'linux-source-*/tools/testing/selftests/kselftest' \
		    'linux-source-*/tools/testing/selftests/net/lib' ||
		[ -e "$tmp/scripts/checkpatch.pl" ]
}

source_dir()
{
	local name debs dir

	name=$(all_names trixie | grep -E '^linux-source-[0-9.]+$' |
	       sort -V | tail -n 1)
	[ -n "$name" ] || die "no package with the kernel's source"
	debs=$(apt_fetch trixie "$name")
	dir=$CACHE/source/$(basename "$debs" .deb)-$(key \
		"$(declare -f fill_source)")
	make_once "$dir" fill_source "$debs"
	echo "$dir"
}

if [ "${BASH_SOURCE[0]}" = "$0" ]; then
	apt_setup
	apt_update
	case ${1:-} in
	release) kernel_release "$2" ;;
	root) kernel_root "$2" ;;
	image) kernel_image "$2" ;;
	source) memo source_dir ;;
	*) die "unknown command '${1:-}' (see the head of this file)" ;;
	esac
fi
