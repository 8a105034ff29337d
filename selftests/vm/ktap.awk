# SPDX-License-Identifier: GPL-2.0-only
#
# Counts the test cases of one stream of KTAP. Each top-level test is a
# program; the lines of its own output are indented by two spaces. A program
# that prints KTAP itself is counted by its own cases, any other one is a case.
# Whatever is announced and does not happen is a failure: cases short of the
# plan, programs that never ended, a stream that broke off. So is a plan of
# nothing, as a misspelt name of a test leads to, and a skip (or an expected
# failure) that is not in the list of those that may be: see skips.list.
#
#   awk -v name=STREAM -v status=EXIT_STATUS -v skips=LIST -f ktap.awk FILE
#
# Prints a line for each failure, then "PASSED FAILED SKIPPED".

function failure(what) {
	failed++
	print "# failed: " name ": " what
}

# read_list(): what may be skipped.
function read_list(    line, got) {
	while ((got = (getline line <skips)) > 0) {
		if (line ~ /^(#|$)/)
			continue
		if (split(line, word, " ") < 3)
			failure("not understood in " skips ": " line)
		listed++
		stream_of[listed] = "^(" word[1] ")$"
		case_of[listed] = "^(" word[2] ")$"
		sub(/^[^ ]+ +[^ ]+ +/, "", line)
		reason_of[listed] = line
	}
	if (got < 0)
		failure("cannot read " skips)
}

# directive(text): is there one that says why a test did not pass?
function directive(text) {
	return text ~ /# *(SKIP|XFAIL)/
}

# skip(text, program): a test that has one. May it?
function skip(text, program,    reason, i) {
	match(text, / *# *(SKIP|XFAIL) */)
	reason = substr(text, RSTART + RLENGTH)
	text = substr(text, 1, RSTART - 1)
	for (i = 1; i <= listed; i++)
		if (name ~ stream_of[i] && text ~ case_of[i] &&
		    reason == reason_of[i]) {
			skipped++
			return
		}
	failure((program == "" ? "" : program ": ") text " was skipped: " \
		(reason == "" ? "it does not say why" : reason))
}

function reset() {
	plan = -1
	seen = bad = wrong = 0
}

# program_end(title, ok): the verdict on a program is there.
function program_end(title, ok) {
	if (plan < 0 && !seen) {
		if (!ok)
			failure(title)
		else if (directive(title))
			skip(title, "")
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
		} else if (!plan) {
			failure(title ": nothing was to be run")
			bad++
		}
		if (!ok && !bad)
			failure(title)
	}
	reset()
}

BEGIN {
	top_plan = -1
	reset()
	if (skips != "")
		read_list()
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
	if (directive(text) && ok)
		skip(text, title_now)
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
	program_end(text, ok)
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
	else if (!top_plan && !top_seen)
		failure("nothing was to be run")
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
