# SPDX-License-Identifier: GPL-2.0-only
#
# Counts the test cases of one stream of KTAP. Each top-level test is a
# program; the lines of its own output are indented by two spaces. A program
# that prints KTAP itself is counted by its own cases, any other one is a case.
# Whatever is announced and does not happen is a failure: cases short of the
# plan, programs that never ended, a stream that broke off.
#
#   awk -v name=STREAM -v status=EXIT_STATUS -f ktap.awk FILE
#
# Prints a line for each failure, then "PASSED FAILED SKIPPED".

function failure(what) {
	failed++
	print "# failed: " name ": " what
}

# directive(text): SKIP or XFAIL if that is what the text ends with.
function directive(text) {
	if (match(text, /# *(SKIP|XFAIL)/))
		return substr(text, RSTART + RLENGTH - 4) ~ /SKIP/ ? \
			"SKIP" : "XFAIL"
	return ""
}

function reset() {
	plan = -1
	seen = bad = wrong = 0
}

# program_end(title, ok, skip): the verdict on a program is there.
function program_end(title, ok, skip) {
	if (plan < 0 && !seen) {
		if (!ok)
			failure(title)
		else if (skip)
			skipped++
		else
			passed++
	} else {
		if (plan < 0) {
			failure(title ": no plan, " seen " cases")
			bad++
		} else if (seen != plan) {
			failure(title ": planned " plan ", ran " seen \
				(wrong ? ", " wrong : ""))
			bad++
		} else if (wrong) {
			failure(title ": " wrong)
			bad++
		}
		if (!ok && !bad)
			failure(title)
		if (plan == 0 && ok)
			skipped++
	}
	reset()
}

BEGIN {
	top_plan = -1
	reset()
}

{ sub(/\r$/, "") }

# A case of a program.
/^  (not )?ok( |$)/ {
	seen++
	ok = !/^  not/
	text = $0
	sub(/^  (not )?ok */, "", text)
	if (match(text, /^[0-9]+/)) {
		n = substr(text, 1, RLENGTH) + 0
		if (n != seen && !wrong)
			wrong = "case " n " where " seen " was due"
	}
	sub(/^[0-9]* *(- )?/, "", text)
	d = directive(text)
	if (d != "")
		skipped++
	else if (ok)
		passed++
	else {
		bad++
		failure((title_now == "" ? "" : title_now ": ") text)
	}
	next
}
/^  1\.\.[0-9]+/ {
	if (plan >= 0)
		wrong = "a second plan"
	else
		plan = substr($0, 6) + 0
	next
}
/^  Bail out!/ {
	wrong = substr($0, 3)
	next
}

# A program. Its name is announced before it runs.
/^# run: / {
	title_now = substr($0, 8)
	next
}
/^(not )?ok( |$)/ {
	top_seen++
	ok = !/^not/
	text = $0
	sub(/^(not )?ok *[0-9]* *(- )?/, "", text)
	program_end(text, ok, directive(text) != "")
	title_now = ""
	next
}
/^1\.\.[0-9]+/ {
	if (top_plan >= 0)
		failure("a second plan")
	top_plan = substr($0, 4) + 0
	next
}
/^Bail out!/ { failure($0) }

END {
	open = title_now != "" ? " (in " title_now ")" : ""
	if (top_plan < 0)
		failure("no plan, broke off" open)
	else if (top_seen < top_plan)
		for (i = top_seen + 1; i <= top_plan; i++) {
			failure("test " i " of " top_plan \
				" did not end" open)
			open = ""
		}
	else if (top_seen > top_plan)
		failure("planned " top_plan ", ran " top_seen)
	if (status != 0 && !failed)
		failure("ended with status " status)
	printf "%d %d %d\n", passed, failed, skipped
}
