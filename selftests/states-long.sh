#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# All operations, and all pairs of them, in all states.

set -euo pipefail
cd "$(dirname "$0")"
TAPMIG_STATES_STEP=${TAPMIG_STATES_STEP:-1}
TAPMIG_PAIRS_STEP=${TAPMIG_PAIRS_STEP:-1}
export TAPMIG_STATES_STEP TAPMIG_PAIRS_STEP
exec ./states
