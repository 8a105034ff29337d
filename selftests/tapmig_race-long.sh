#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# Races that take twenty times as long.

set -euo pipefail
cd "$(dirname "$0")"
TAPMIG_RACE_TIMES=${TAPMIG_RACE_TIMES:-2000}
export TAPMIG_RACE_TIMES
exec ./tapmig_race
