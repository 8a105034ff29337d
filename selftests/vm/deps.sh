#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# Install the packages of the machine's own release that are needed and
# missing. Does nothing, quickly, when all are there.
#
#   deps.sh GROUP…     build: module and tool; test: what make check and make
#                      demo need beside; bench, lint, fuzz: for make bench,
#                      make lint and make fuzz; debug: for the kernel of make
#                      check-debug; migration: for QEMU and the guest of make
#                      check-migration
#
# DEPS=no in the environment: who packages the tool sees to it himself. Of other
# distributions the names of packages are not known here: what building needs is
# said, and the compiler says what is missing of it.

set -euo pipefail
shopt -s inherit_errexit
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

[ "${DEPS:-}" != no ] || exit 0

build=(gcc kmod libc6-dev libgnutls28-dev libmnl-dev make)
test=(
	busybox-static coccinelle cpio git gnutls-bin groff-base openssl perl python3
	python3-jsonschema python3-yaml qemu-system-x86 seabios shellcheck
	squashfs-tools tcpdump tshark util-linux xz-utils
)
debug=(bc bison flex libelf-dev)
migration=(
	libglib2.0-dev libseccomp-dev ninja-build patch pkg-config
	python3-distlib python3-venv xz-utils zlib1g-dev
)
fuzz=(clang libclang-rt-dev)
lint=(bc bison clang clang-tidy clang-tools flex libelf-dev lld llvm)
bench=(bc bison flex libelf-dev libssl-dev python3-matplotlib)

# missing PACKAGE…: those of them that are not installed.
missing()
{
	local p

	for p; do
		[ "$(dpkg-query -W -f '${db:Status-Status}' "$p" \
		     2>/dev/null)" = installed ] || echo "$p"
	done
}

apt_install()
{
	"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -y \
		-o Dpkg::Use-Pty=0 install --no-install-recommends "$@" \
		</dev/null >"$log" 2>&1
}

command -v dpkg-query >/dev/null || {
	needed="a C compiler, make, libmnl, GnuTLS; for the module also kmod"
	needed+=" and the kernel's headers"
	[ "$*" = build ] || die "this needs Debian. To build: $needed"
	say "no dpkg here, nothing is installed. Needed: $needed"
	exit 0
}

packages=()
for group; do
	case $group in
	build) packages+=("${build[@]}") ;;
	test) packages+=("${test[@]}") ;;
	debug) packages+=("${debug[@]}") ;;
	migration) packages+=("${migration[@]}") ;;
	fuzz) packages+=("${fuzz[@]}") ;;
	lint) packages+=("${lint[@]}") ;;
	bench) packages+=("${bench[@]}") ;;
	*) die "unknown group '$group'" ;;
	esac
done

# One question for all is fast; only if that fails, one for each.
if dpkg-query -W -f '${db:Status-Status}\n' "${packages[@]}" 2>/dev/null |
   awk -v want=${#packages[@]} '$0 == "installed" { n++ }
	END { exit n != want }'; then
	exit 0
fi
mapfile -t packages < <(missing "${packages[@]}")
[ ${#packages[@]} -gt 0 ] || exit 0

as_root=()
if [ "$(id -u)" -ne 0 ]; then
	sudo -n true 2>/dev/null ||
		die "as root: apt-get install --no-install-recommends" \
		    "${packages[*]}"
	as_root=(sudo -n)
fi
log=$(mktemp)
trap 'rm -f "$log"' EXIT
say "  APT     install ${packages[*]}"
apt_install "${packages[@]}" || {
	"${as_root[@]}" apt-get -q update </dev/null >"$log" 2>&1 ||
		say "deps.sh: apt-get update failed, trying all the same"
	apt_install "${packages[@]}"
} || {
	tail -n 15 "$log" >&2
	die "cannot install: ${packages[*]}"
}
