#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# The thaw under load, long enough for windows of a few instructions.

set -euo pipefail
cd "$(dirname "$0")"
TAPMIG_THAWS=${TAPMIG_THAWS:-8000}
export TAPMIG_THAWS
exec ./thaw -t thaws_lose_nothing_while_two_processors_send
