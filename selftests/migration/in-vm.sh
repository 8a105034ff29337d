#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# The part of the migration tests that runs in the VM: loads what is needed,
# then runs the command. Leaves the logs of all QEMUs in /run/out.

set -euo pipefail

# The payload is not written to.
export PATH=$PWD/bin:$PATH PYTHONDONTWRITEBYTECODE=1
modprobe -a tapmig vhost_net
sysctl -qw vm.overcommit_memory=1
rc=0
"$@" || rc=$?
cp /run/rig/*.{log,serial} /run/out/ 2>/dev/null || :
exit "$rc"
