#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# Run a command that builds something into the cache, and say on stderr now
# and then how far it is, by the log that it writes there.
#
#   progress.sh NAME FOLDER STEPS -- COMMAND [ARG…]
#
# FOLDER is where in the cache it builds, STEPS about how many lines the log
# has in the end, for builds that do not number their steps themselves.

set -euo pipefail
shopt -s inherit_errexit
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

INTERVAL=${TAPMIG_PROGRESS_SECONDS:-15}

[ "${4:-}" = -- ] || die "usage: see the head of this file"
name=$1 folder=$CACHE/$2 steps=$3
shift 4

# how_far LOG: steps done and all steps.
how_far()
{
	awk -v all="$steps" '
		match($0, /^\[[0-9]+\/[0-9]+\]/) {
			split(substr($0, 2, RLENGTH - 2), n, "/")
		}
		END {
			if (n[2])
				print n[1], n[2]
			else
				print (NR < all ? NR : all), "about " all
		}' "$1"
}

# Until it is killed. Nothing is ever read: no process is left to sleep on.
report()
{
	local log never start=$SECONDS

	exec {never}<> <(:)
	while ! read -rt "$INTERVAL" -u "$never"; do
		log=$(find "$folder" -path '*/.tmp.*/build.log' -print -quit \
			2>/dev/null) || :
		[ -n "$log" ] || continue
		# shellcheck disable=SC2046 # numbers
		say "$(printf '  %-7s %s of %s, %d s' "$name" \
			"$(how_far "$log" | cut -d' ' -f1)" \
			"$(how_far "$log" | cut -d' ' -f2-)" \
			$((SECONDS - start)))"
	done
}

report >/dev/null &
reporter=$!
trap 'kill "$reporter" 2>/dev/null || :' EXIT
"$@"
