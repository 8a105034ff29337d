#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# Brings the root file system of the hosts, which is on a disk, to where
# libvirt.py looks for it, and runs that. The emulated processor has AMD's
# extension for virtual machines, so there is KVM, which libvirt asks for.

set -euo pipefail

modprobe kvm_amd
mount -t securityfs securityfs /sys/kernel/security
mkdir -p /run/hosts/base
for disk in /sys/block/vd*; do
	if [ "$(cat "$disk/serial")" = hosts ]; then
		mount -t squashfs -o ro "/dev/${disk##*/}" /run/hosts/base
		break
	fi
done
exec ./libvirt.py "$@"
