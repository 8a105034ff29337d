#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# Feed the counting of test results what broken tests print.

set -euo pipefail
VM_DIR=$(cd "$(dirname "${BASH_SOURCE[0]}")/../vm" && pwd)

list=$(mktemp)
trap 'rm -f "$list"' EXIT
cat >"$list" <<'END'
# A comment, and what may be skipped.

x|y [a-c] no such thing
x|y [a-z] why, and why not
END
bad=0

# expect WHAT STATUS COUNTS: the stream is on stdin.
expect()
{
	local what=$1 status=$2 want=$3 got

	got=$(awk -v name="${name:-x}" -v status="$status" -v skips="$list" \
		-f "$VM_DIR/ktap.awk" | tail -n 1)
	[ "$got" = "$want" ] || {
		echo "$what: counted '$got', not '$want'"
		bad=1
	}
}

expect "nothing at all" 0 "0 1 0" </dev/null
expect "nothing, and a status" 125 "0 1 0" </dev/null
expect "no plan" 0 "1 1 0" <<'END'
KTAP version 1
ok 1 a
END
expect "plain programs" 0 "1 0 1" <<'END'
KTAP version 1
1..2
ok 1 a
ok 2 b # SKIP no such thing
END
expect "plan at the end" 0 "2 0 0" <<'END'
ok 1 a
ok 2 b
1..2
END
expect "all well, but a status" 125 "1 1 0" <<'END'
1..1
ok 1 a
END
expect "cases of a program" 1 "2 1 2" <<'END'
1..1
# run: a
  TAP version 13
  1..5
  # a comment
  ok 1 x
  not ok 2 y
  ok 3 z # SKIP why, and why not
  ok 4 u # XFAIL why, and why not
  ok 5 v
not ok 1 a (exit status 1)
END
expect "a program that fails without saying where" 1 "1 1 0" <<'END'
1..1
  1..1
  ok 1 x
not ok 1 a (exit status 139)
END
expect "a failed case with status 0" 0 "0 1 0" <<'END'
1..1
  1..1
  not ok 1 x
ok 1 a
END
expect "a crash in the middle" 1 "1 1 0" <<'END'
1..1
# run: a
  1..3
  ok 1 x
not ok 1 a (exit status 139)
END
expect "short of the plan with status 0" 0 "1 1 0" <<'END'
1..1
  1..3
  ok 1 x
ok 1 a
END
expect "more than planned" 0 "2 1 0" <<'END'
1..1
  1..1
  ok 1 x
  ok 2 y
ok 1 a
END
expect "a number twice" 0 "2 1 0" <<'END'
1..1
  1..2
  ok 1 x
  ok 1 y
ok 1 a
END
expect "cases without a plan" 0 "1 1 0" <<'END'
1..1
  ok 1 x
ok 1 a
END
expect "a second plan" 0 "1 1 0" <<'END'
1..1
  1..1
  1..1
  ok 1 x
ok 1 a
END
expect "bail out" 1 "1 1 0" <<'END'
1..1
  1..2
  ok 1 x
  Bail out! no memory
not ok 1 a
END
expect "the VM dies between programs" 125 "1 2 0" <<'END'
KTAP version 1
1..3
ok 1 a
END
expect "the VM dies in a program" 125 "2 4 0" <<'END'
KTAP version 1
1..3
# run: a
  1..4
  ok 1 x
  ok 2 y
  not ok 3 z
END
expect "a half line" 125 "1 1 0" <<'END'
KTAP version 1
1..2
ok 1 a
o
END
expect "a whole program that does not run" 0 "0 1 0" <<'END'
1..1
  1..0 # SKIP no such thing
ok 1 a # SKIP
END
expect "no test has that name" 0 "0 1 0" <<'END'
1..1
  1..0
ok 1 a
END
expect "a list of nothing" 0 "0 1 0" <<'END'
1..0
END
expect "two skips count as two" 0 "0 0 2" <<'END'
1..2
ok 1 a # SKIP no such thing
  1..1
  ok 1 x # SKIP why, and why not
ok 2 b # SKIP
END
expect "a skip for another reason" 0 "0 2 0" <<'END'
1..2
ok 1 a # SKIP no such
  1..1
  ok 1 b # SKIP no such thing here
ok 2 b
END
expect "a skip without a reason" 0 "0 2 0" <<'END'
1..2
ok 1 a # SKIP
  1..1
  ok 1 b # SKIP
ok 2 b
END
expect "a skip of another case" 0 "0 2 0" <<'END'
1..2
ok 1 d # SKIP no such thing
  1..1
  ok 1 aa # SKIP no such thing
ok 2 b
END
name=xx expect "a skip in another stream" 0 "0 1 0" <<'END'
1..1
ok 1 a # SKIP no such thing
END
expect "skipped, and failed" 0 "0 1 0" <<'END'
1..1
  1..1
  not ok 1 a # SKIP no such thing
not ok 1 a
END
expect "deeper levels are the program's own business" 0 "1 0 0" <<'END'
1..1
  1..1
    1..2
    not ok 1 deep
  ok 1 x
ok 1 a
END
expect "carriage returns" 0 "1 0 0" < <(printf '1..1\r\nok 1 a\r\n')
expect "words that only begin like a result" 0 "1 0 0" <<'END'
1..1
okay, here we go
  okay
  not okay
ok 1 a
END
# A list that is not there, or not understood, lets nothing pass unseen.
echo 'x a' >"$list"
expect "a bad line in the list" 0 "1 1 0" < <(printf '1..1\nok 1 a\n')
rm "$list"
expect "no list" 0 "1 1 0" < <(printf '1..1\nok 1 a\n')
exit $bad
