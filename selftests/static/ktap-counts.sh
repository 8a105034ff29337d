#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# Feed the counting of test results what broken tests print.

set -euo pipefail
VM_DIR=$(cd "$(dirname "${BASH_SOURCE[0]}")/../vm" && pwd)

bad=0

# expect WHAT STATUS COUNTS: the stream is on stdin.
expect()
{
	local what=$1 status=$2 want=$3 got

	got=$(awk -v name=x -v status="$status" -f "$VM_DIR/ktap.awk" |
	      tail -n 1)
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
  ok 3 z # SKIP why
  ok 4 u # XFAIL
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
expect "a whole program skipped" 0 "0 0 1" <<'END'
1..1
  1..0 # SKIP not here
ok 1 a # SKIP
END
expect "two skips count as two" 0 "0 0 2" <<'END'
1..2
ok 1 a # SKIP
  1..1
  ok 1 x # SKIP
ok 2 b # SKIP
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
exit $bad
