#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# The emulator of a guest, to libvirt one that has KVM: only then it gives the
# guest vhost-net. What runs is TCG: KVM is emulated itself where the tests are,
# and guests die of that now and then.
#
# The program that is run is said by its name, tcg-hold or tcg-stock.

set -euo pipefail

case ${0##*/} in
tcg-hold) program=/usr/local/bin/qemu-migration-hold ;;
tcg-stock) program=/usr/bin/qemu-system-x86_64.stock ;;
*) exit 1 ;;
esac
arguments=("$@")
if [[ " $* " = *' -uuid '* ]]; then
	# Not when libvirt asks what it can do. One thread while a guest boots, see
	# rig.py.
	threads=single
	[[ " $* " != *' -incoming '* ]] || threads=multi
	for ((n = 1; n < $#; n++)); do
		[ "${arguments[n - 1]} ${arguments[n]}" != '-accel kvm' ] ||
			arguments[n]=tcg,tb-size=64,thread=$threads
	done
fi
exec "$program" "${arguments[@]}"
