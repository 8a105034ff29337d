# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
#
# Shared by the scripts beside it: where things are, how to report, how to
# fill the cache. Everything in the cache is named after what it was made of,
# so that entries never need to be invalidated, only made.

VM_DIR=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck disable=SC2034 # read by the scripts that source this file
TOP_DIR=$(cd "$VM_DIR/../.." && pwd)
CACHE=${TAPMIG_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/tapmig}

# The kernels that the module is built for, and those it is run on.
# shellcheck disable=SC2034
BUILD_SERIES=(6.1 6.12 7.2 7.3)
# shellcheck disable=SC2034
TEST_SERIES=(6.1 7.3)

export LC_ALL=C.UTF-8

say()
{
	printf '%s\n' "$*" >&2
}

die()
{
	say "${0##*/}: $*"
	exit 1
}

# tree_files [PATTERN…]: the files of the tree, without what builds leave.
tree_files()
{
	(
		cd "$TOP_DIR" || exit
		if git rev-parse --is-inside-work-tree >/dev/null 2>&1; then
			git -c core.quotePath=off ls-files --cached --others \
				--exclude-standard -- "$@"
		else
			# From an archive: no index, no builds yet.
			[ $# -gt 0 ] || set -- '*'
			find . -path ./build -prune -o -type f -printf '%P\n' |
				while read -r f; do
					for p; do
						# shellcheck disable=SC2254
						case $f in
						$p|$p/*) echo "$f" ;;
						esac
					done
				done
		fi | sort -u | while read -r f; do
			[ ! -f "$f" ] || echo "$f"
		done
	)
}

# need COMMAND…: all of them, or say what to do about it.
need()
{
	local c missing=()

	for c; do
		PATH=$PATH:/usr/sbin:/sbin command -v "$c" >/dev/null ||
			missing+=("$c")
	done
	[ ${#missing[@]} -eq 0 ] ||
		die "missing: ${missing[*]} (run 'make deps')"
}

# key STRING…: a short name for what a cache entry was made of.
key()
{
	printf '%s\n' "$@" | sha256sum | cut -c1-16
}

# Entries that nobody has asked for in this many days go away.
CACHE_DAYS=30

# make_once PATH FUNCTION [ARG…]: unless PATH exists, have FUNCTION fill it.
# FUNCTION gets a temporary path as its first argument and makes a file or a
# directory there, which is renamed to PATH only when all went well. Only one
# process makes it; the others wait.
make_once()
{
	local path=$1 fn=$2 tmp
	shift 2

	if [ -e "$path" ]; then
		touch -c "$path"
		return 0
	fi
	mkdir -p "$(dirname "$path")" "$CACHE/locks"
	find "$(dirname "$path")" -mindepth 1 -maxdepth 1 \
		-mtime +$CACHE_DAYS -exec rm -rf -- {} +
	(
		flock 9
		[ -e "$path" ] && exit 0
		tmp=$(dirname "$path")/.tmp.$$.$(basename "$path")
		# shellcheck disable=SC2064 # this very path
		trap "rm -rf -- '$tmp'" EXIT
		"$fn" "$tmp" "$@"
		mv -T -- "$tmp" "$path"
		touch "$path"
	) 9>"$CACHE/locks/$(key "$path")"
}

# unpack ROOT DEB…: the files of the packages, without their scripts. The
# directories that a merged /usr replaces by links are there before, and
# extraction goes through the links.
unpack()
{
	local root=$1 d
	shift

	for d in bin sbin lib lib64; do
		mkdir -p "$root/usr/$d"
		[ -e "$root/$d" ] || ln -s "usr/$d" "$root/$d"
	done
	# The program is for the inner shell.
	# shellcheck disable=SC2016
	printf '%s\0' "$@" | xargs -0 -n 4 -P "$(nproc)" bash -c '
		set -euo pipefail
		root=$0
		for deb; do
			dpkg-deb --fsys-tarfile "$deb" |
				tar -x -C "$root" --keep-directory-symlink \
				    --no-same-owner
		done' "$root"
}

# in_root ROOT COMMAND…: run it there. Package files only, no services: a
# change of the root directory does, with /dev and /proc of the machine, in a
# mount namespace that takes them along when it ends.
in_root()
{
	local root=$1 user=()
	shift

	[ "$(id -u)" -eq 0 ] || user=(-r)
	mkdir -p "$root/dev" "$root/proc"
	# shellcheck disable=SC2016 # for the inner shell
	unshare "${user[@]}" -m sh -c '
		mount --rbind /dev "$0/dev" && mount --rbind /proc "$0/proc" &&
		exec env -i PATH=/usr/sbin:/usr/bin HOME=/ LC_ALL=C \
			/usr/sbin/chroot "$0" "$@"' "$root" "$@"
}

# memo NAME FUNCTION [ARG…]: the output of FUNCTION, remembered until the
# package lists or these scripts change. It must print paths or words only;
# what a remembered path names must still be there.
memo()
{
	local fn=$1 f w out
	shift

	f=$CACHE/memo/$(key "$fn" "$@" "$(stat -c %Y "$CACHE/apt/updated")" \
		"$(cat "$VM_DIR"/{lib,apt,kernel,rootfs}.sh | sha256sum)")
	if [ -s "$f" ]; then
		out=$(cat "$f")
		for w in $out; do
			[ "${w#/}" = "$w" ] || touch -c "$w"
			[ "${w#/}" = "$w" ] || [ -e "$w" ] || out=
		done
		[ -z "$out" ] || {
			printf '%s\n' "$out"
			return 0
		}
	fi
	out=$("$fn" "$@")
	mkdir -p "$CACHE/memo"
	printf '%s\n' "$out" >"$f.$$"
	mv "$f.$$" "$f"
	printf '%s\n' "$out"
}
