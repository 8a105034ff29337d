#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# QEMU with the patches of qemu-patches/, from the distribution's source
# package, for the migration tests: just what they need of it. Prints a
# directory with qemu-system-x86_64, which finds its firmware and the libraries
# that the test VM lacks beside itself, wherever the directory is copied to.
#
#   qemu.sh                 with all patches
#   qemu.sh --stock         without them
#   qemu.sh --each          check the style of each patch, build after it, then
#                           run the tests that the series adds; prints a log;
#                           takes long
#   qemu.sh --versions      those whose source can be had, the newest first
#   qemu.sh --source DIR    only unpack into DIR: with the distribution's
#                           patches, without ours
#
# QEMU_RELEASE (trixie): release of the distribution to take the source from.
# QEMU_VERSION: what its version begins with, else the newest that can be had.
# For another version than that of trixie, patches of qemu-patches/VERSION/ are
# taken in place of those with the same number.

set -euo pipefail
shopt -s inherit_errexit
# shellcheck source-path=SCRIPTDIR source=apt.sh
. "$(dirname "${BASH_SOURCE[0]}")/apt.sh"

RELEASE=${QEMU_RELEASE:-trixie}
WANTED=${QEMU_VERSION:-}
PATCHES=$TOP_DIR/qemu-patches
JOBS=${TAPMIG_JOBS:-$(nproc)}

# The devices of the tests' guests; boards bring the rest.
DEVICES='CONFIG_I440FX=y
CONFIG_Q35=y
CONFIG_PCIE_PORT=y
CONFIG_VIRTIO_PCI=y
CONFIG_VIRTIO_NET=y
CONFIG_E1000_PCI=y
CONFIG_SERIAL_ISA=y
CONFIG_TEST_DEVICES=y'
# 10.2 does not link without them.
[ "$RELEASE" = trixie ] ||
	DEVICES+=$'\nCONFIG_PXB=y\nCONFIG_CXL=y\nCONFIG_CXL_MEM_DEVICE=y'

CONFIGURE=(
	--target-list=x86_64-softmmu --without-default-features
	--without-default-devices --with-devices-x86_64=tapmig
	--enable-kvm --enable-tcg --enable-vhost-net --enable-vhost-kernel
	--enable-seccomp
	--disable-docs --disable-download --disable-install-blobs
	--disable-debug-info
)

# Where the package of meson has its modules.
MESON=meson/usr/lib/python3/dist-packages

FIRMWARE=(bios-256k.bin kvmvapic.bin linuxboot_dma.bin)

# Lists of source packages, kept apart from those of binary ones.
source_lists()
{
	local s list=$APT/$RELEASE-src

	for s in "$RELEASE" "$RELEASE-updates" "$RELEASE-security"; do
		[ "$RELEASE" != sid ] || [ "$s" = sid ] || continue
		source_line "$s"
	done | sed 's/^deb /deb-src /' >"$list.list.$$"
	mv "$list.list.$$" "$list.list"
	: >"$list.pref"
	mkdir -p "$CACHE/locks"
	(
		flock 9
		if cmp -s "$list.list" "$list.updated" &&
		   [ -n "$(find "$list.updated" \
			   -mmin -"$LISTS_MAX_AGE_MIN")" ]; then
			exit 0
		fi
		say "  APT     lists of source packages"
		apt_do "$RELEASE-src" apt-get -q update \
			>"$APT/update-src.log" 2>&1 || {
			grep -E '^(E|W|Err)' "$APT/update-src.log" >&2 || :
			say "qemu.sh: not all source lists were refreshed"
		}
		cp "$list.list" "$list.updated"
	) 9>"$CACHE/locks/apt"
}

# The newest first: what is in the lists need not be on the mirror.
source_versions()
{
	apt_do "$RELEASE-src" apt-cache showsrc qemu |
		awk -v wanted="$WANTED" '$1 == "Version:" {
			n = $2
			sub(/^[0-9]+:/, "", n)
			if (index(n, wanted) == 1) print $2
		}' | sort -rV
}

fill_tarballs()
{
	local tmp=$1 version=$2

	say "  GET     source of qemu $version"
	mkdir -p "$tmp"
	# Called in a condition: errors do not end it.
	if ! (cd "$tmp" && apt_do "$RELEASE-src" apt-get -q --download-only \
		source "qemu=$version" >"$APT/source.log" 2>&1); then
		rm -rf "$tmp"
		exit 1
	fi
}

# tarballs: a directory with the source package.
tarballs()
{
	local version dir

	for version in $(source_versions); do
		dir=$CACHE/qemu/source-${version#*:}
		if (make_once "$dir" fill_tarballs "$version"); then
			echo "$dir"
			return 0
		fi
	done
	[ ! -e "$APT/source.log" ] || tail -n 15 "$APT/source.log" >&2
	die "no source package qemu $WANTED of $RELEASE to be had"
}

# unpack_source TARBALLS DIR: without firmware and what is not built.
unpack_source()
{
	local p

	mkdir -p "$2"
	tar -xf "$1"/qemu_*.orig.tar.xz -C "$2" --strip-components=1 \
		--exclude='qemu-*/roms/*/*'
	tar -xf "$1"/qemu_*.debian.tar.xz -C "$2" debian/patches
	# What is for firmware finds no file, as that was left out.
	sed 's/[ \t]*#.*//; /^$/d' "$2/debian/patches/series" |
		while read -r p; do
			! grep -q '^+++ [^/]*/roms/' "$2/debian/patches/$p" ||
				continue
			patch -d "$2" -p1 -s --no-backup-if-mismatch \
				-i "$2/debian/patches/$p" >&2
		done
	rm -rf "$2/debian"
}

apply()
{
	patch -d "$1" -p1 -s --no-backup-if-mismatch -i "$2" >&2 ||
		die "${2##*/} does not apply to the source"
}

# mend_source SRC: when QEMU without KVM takes over what was written, and all of
# that was to be sent before, it leaves the TLBs as they are. What the guest
# writes after those pages were sent is not noticed then, and not moved.
mend_source()
{
	local call='\w+_dirty_bits_cleared\(start, length\);'

	find "$1/include/exec" "$1/migration" -name 'ram*.[ch]' -exec perl -0pi \
		-e "s/if \(num_dirty\) \{\s*($call)\s*\}/\$1/" {} +
}

# configure_source SRC BUILD: the newest meson is a package for any machine.
# Libraries are looked for beside the program.
configure_source()
{
	local meson

	printf '%s\n' "$DEVICES" \
		>"$1/configs/devices/x86_64-softmmu/tapmig.mak"
	meson=$(apt_fetch trixie meson)
	mkdir -p "$2/meson"
	dpkg-deb -x "$meson" "$2/meson"
	cd "$2"
	PYTHONPATH=$2/$MESON "$1/configure" --python=/usr/bin/python3 "${CONFIGURE[@]}" \
		--extra-ldflags="-Wl,-rpath,\$ORIGIN/lib"
}

run_ninja()
{
	PYTHONPATH=$PWD/$MESON nice -n 10 ninja -j "$JOBS" "$@"
}

# install_result BUILD DIR: all that it is run with.
install_result()
{
	local share=$2/qemu-bundle/usr/local/share/qemu f lib debs

	mkdir -p "$2/lib" "$share"
	cp "$1/qemu-system-x86_64" "$2/"
	strip "$2/qemu-system-x86_64"
	while read -r lib; do
		cp "$lib" "$2/lib/"
	done < <(ldd "$2/qemu-system-x86_64" | awk '
		$2 == "=>" && $1 !~ /^(libc|libm|libpthread|libdl)\.so/ {
			print $3
		}')
	debs=$(apt_fetch "$HOST_RELEASE" seabios qemu-system-data)
	mkdir -p "$2/fw"
	# shellcheck disable=SC2086 # one path a line, without spaces
	unpack "$2/fw" $debs
	for f in "${FIRMWARE[@]}"; do
		cp -L "$(find "$2/fw/usr/share" -name "$f" -type f |
			 head -n 1)" "$share/$f"
	done
	rm -rf "$2/fw"
}

logged()
{
	local log=$1
	shift

	"$@" >>"$log" 2>&1 </dev/null || {
		tail -n 30 "$log" >&2
		die "QEMU: ${*:1:1} failed"
	}
}

# series TARBALLS: the patches for this source.
series()
{
	local p alt version=${1##*/source-}

	version=$(cut -d. -f 1,2 <<<"$version")
	for p in "$PATCHES"/[0-9]*.patch; do
		p=${p##*/}
		[[ $p != 0000-* ]] || continue
		alt=("$PATCHES/$version/${p%%-*}"-*.patch)
		if [ -e "${alt[0]}" ]; then
			echo "${alt[0]}"
		else
			echo "$PATCHES/$p"
		fi
	done
}

fill_qemu()
{
	local tmp=$1 tarballs=$2 p
	shift 2

	say "  QEMU    ${tarballs##*/source-}, $# patches: takes minutes"
	mkdir -p "$tmp/build"
	unpack_source "$tarballs" "$tmp/src"
	for p; do
		apply "$tmp/src" "$p"
	done
	mend_source "$tmp/src"
	(logged "$tmp/build.log" configure_source "$tmp/src" "$tmp/build")
	(
		cd "$tmp/build"
		logged "$tmp/build.log" run_ninja qemu-system-x86_64
	)
	install_result "$tmp/build" "$tmp"
	rm -rf "$tmp/src" "$tmp/build"
}

# check_style SRC PATCH: by the source's own rules. It reminds of MAINTAINERS for
# each new file; whether it had anything to say its status does not tell.
check_style()
{
	local said

	said=$(cd "$1" && perl scripts/checkpatch.pl --no-color "$2" 2>&1) || :
	if ! awk '/^total: 0 errors, / { clean = 1 }
		/^WARNING: / && !/: added, moved or deleted file/ { bad = 1 }
		END { exit !clean || bad }' <<<"$said"; then
		say "$said"
		die "${2##*/} has not the style of the source"
	fi
}

# A log of what was built.
fill_each()
{
	local tmp=$1 tarballs=$2 dir=$1.build p t tests
	shift 2

	# shellcheck disable=SC2064 # this very path
	trap "rm -rf -- '$tmp' '$dir'" EXIT
	mkdir -p "$dir/build"
	unpack_source "$tarballs" "$dir/src"
	(logged "$dir/log" configure_source "$dir/src" "$dir/build")
	cd "$dir/build"
	for p; do
		say "  QEMU    ${p##*/}"
		check_style "$dir/src" "$p"
		apply "$dir/src" "$p"
		: >"$dir/log"
		logged "$dir/log" run_ninja qemu-system-x86_64
		echo "${p##*/}: builds"
	done >>"$tmp"
	mapfile -t tests < \
		<(sed -n 's,^+++ b/\(tests/qtest/.*\)\.c$,\1,p' "$@" | sort -u)
	[ ${#tests[@]} -gt 0 ] || die "no patch has a test"
	for t in "${tests[@]}"; do
		logged "$dir/log" run_ninja "$t"
		QTEST_QEMU_BINARY=./qemu-system-x86_64 "./$t" \
			</dev/null >>"$tmp" || {
			cat "$tmp" >&2
			die "$t failed"
		}
	done
}

# qemu_made KEY WHAT KEY-OF-PATCHES: the last is there for memo's sake.
qemu_made()
{
	local src path patches=()

	source_lists
	src=$(tarballs)
	[ "$2" = stock ] || mapfile -t patches < <(series "$src")
	path=$CACHE/qemu/${src##*/source-}-$(key "$1" "$2" \
		"$(cat /dev/null "${patches[@]}" | sha256sum)")
	case $2 in
	each) make_once "$path" fill_each "$src" "${patches[@]}" ;;
	*) make_once "$path" fill_qemu "$src" "${patches[@]}" ;;
	esac
	echo "$path"
}

if [ "${BASH_SOURCE[0]}" = "$0" ]; then
	need gcc ninja patch perl pkg-config strip xz
	apt_setup
	apt_update
	unset MAKEFLAGS MFLAGS MAKELEVEL
	case ${1:-} in
	''|--stock|--each)
		what=${1:-patched} steps=(install_result fill_qemu)
		[ "$what" != --each ] || steps=(check_style fill_each)
		memo qemu_made "$(key "$RELEASE" "$DEVICES" \
			"${CONFIGURE[*]} ${FIRMWARE[*]}" \
			"$(gcc --version | head -n 1)" \
			"$(declare -f unpack_source mend_source \
				configure_source "${steps[@]}")")" \
			"${what#--}" "$(find "$PATCHES" -name '*.patch' -print0 |
				sort -z | xargs -0 cat | sha256sum)$WANTED"
		;;
	--versions)
		source_lists
		source_versions
		;;
	--source)
		source_lists
		src=$(tarballs)
		unpack_source "$src" "$2"
		;;
	*) die "unknown option '$1' (see the head of this file)" ;;
	esac
fi
