#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# The root file system of a host with libvirt, and with the QEMU that belongs to
# it, both as the distribution has them. Prints the image's path.
#
# LIBVIRT_RELEASE (trixie): release of the distribution to take them from.

set -euo pipefail
shopt -s inherit_errexit
# shellcheck source-path=SCRIPTDIR source=rootfs.sh
. "$(dirname "${BASH_SOURCE[0]}")/rootfs.sh"

# What follows libvirt is for tapmig and its programs.
PACKAGES=(
	apparmor base-files base-passwd bash coreutils findutils gawk grep
	iproute2 libc-bin libvirt-clients libvirt-daemon libvirt-daemon-driver-qemu
	mount passwd procps sed util-linux
	libgnutls30 libmnl0 libxml2-utils python3
)

libvirt_root()
{
	rootfs_image "$1"
}

need mksquashfs
apt_setup
apt_update
memo libvirt_root "${LIBVIRT_RELEASE:-trixie}" "${PACKAGES[*]}"
