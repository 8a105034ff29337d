#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# The part that runs in the VM.
#
#   in-vm.sh PROGRAM [ARG]…

set -euo pipefail

cd "$(dirname "$0")"
PATH=$PWD/bin:$PATH
# The payload is not written to.
export PATH PYTHONDONTWRITEBYTECODE=1
modprobe tapmig
rc=0
"./$1" "${@:2}" || rc=$?
modprobe -r tapmig || {
	echo "# the module cannot be unloaded"
	exit 1
}
exit "$rc"
