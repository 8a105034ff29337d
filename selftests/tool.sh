#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# The control tool against the module, with a stand-in for a virtual machine
# that knows nothing of holds.
#
# Needs: root, the tapmig module loaded, tapmig in PATH (or $TAPMIG), iproute2,
# python3, setpriv, unshare, strace; tcpdump and tshark for one test each (else
# skipped). Everything happens in network and mount namespaces of its own.

# Functions are called by name, vmm() sets variables of the name it is given.
# shellcheck disable=SC2317,SC2154

set -euo pipefail

KSFT_SKIP=4
TAPMIG=$(command -v "${TAPMIG:-tapmig}") || {
	echo "1..0 # SKIP no tapmig in PATH"
	exit $KSFT_SKIP
}
if [[ ! -e /dev/tapmig || $EUID -ne 0 ]]; then
	echo "1..0 # SKIP needs root and the tapmig module"
	exit $KSFT_SKIP
fi
if [[ -z ${TOOL_SH_INSIDE:-} ]]; then
	TOOL_SH_INSIDE=1 exec unshare --net --mount --propagation private \
		"$0" "$@"
fi

here=$(dirname "$(readlink -f "$0")")
tmp=$(mktemp -d)
tests=() vmms=()
number=0 failed=0

trap 'rm -rf -- "$tmp"' EXIT

# --- helpers -----------------------------------------------------------------

out=$tmp/stdout
errors=$tmp/stderr

# Run the tool; its exit code is in $rc, its output in $out and $errors.
tool() {
	rc=0
	"$TAPMIG" "$@" >"$out" 2>"$errors" </dev/null || rc=$?
}

# What went wrong, for the log; a test fails by returning not 0.
fail() {
	echo "# $*"
	sed 's/^/# stdout: /' "$out"
	sed 's/^/# stderr: /' "$errors"
	return 1
}

# Long enough for the slowest machine.
freeze() {
	tool -j freeze "$@" max-frozen-ms 600000
}

expect_rc() {
	[[ $rc -eq $1 ]] || fail "exit code $rc instead of $1"
}

expect_error() {
	grep -qF -- "$1" "$errors" || fail "standard error lacks '$1'" ||
		return 1
	grep -qv '^tapmig: ' "$errors" && fail "not all begins with 'tapmig: '"
	return 0
}

# A value out of JSON on standard input: json EXPRESSION, with the document d.
# One interpreter answers all: its start takes long in an emulator.
json() {
	local value

	value=$(cat)
	printf '%s\n' "${1//$'\n'/ }" "${value//$'\n'/ }" >&"$json_in"
	read -r value <&"$json_out"
	printf '%s\n' "${value#* }"
	[[ $value == "ok "* ]]
}

coproc JSON { python3 -ISuc 'import json, sys
while expression := sys.stdin.readline():
    try:
        d = json.loads(sys.stdin.readline())
        print("ok", eval(expression))
    except Exception as e:
        print("error", e)'; }
# A subshell does not have those of the coprocess.
exec {json_in}>&"${JSON[1]}" {json_out}<&"${JSON[0]}"

# A value of one hold: hold SELECTOR... MEMBER
hold() {
	local member=${*: -1}

	"$TAPMIG" -j show "${@:1:$#-1}" | json "d[0]['$member']"
}

# is_held IFNAME COUNT, to wait for: what was sent last can be in the ring still,
# until a work item takes it out.
is_held() {
	[[ $(hold dev "$1" held_packets) == "$2" ]]
}

# Wait for a condition: a command that returns 0. As generous as lib.h is.
wait_for() {
	local end=$((SECONDS + 200))

	until "$@"; do
		((SECONDS < end)) || {
			fail "waited in vain for: $*"
			return 1
		}
		read -rt 0.05 <> <(:) || true
	done
}

# vmm NAME KIND IFNAME [option]...: start a stand-in, its answers in ${NAME}_in
vmm() {
	local name=$1

	shift
	mkfifo "$tmp/$name.in" "$tmp/$name.out"
	python3 "$here/tool_vmm.py" "$@" <"$tmp/$name.in" >"$tmp/$name.out" \
		2>"$tmp/$name.err" &
	printf -v "${name}_pid" %s "$!"
	exec {fd}>"$tmp/$name.in"
	printf -v "${name}_in" %s "$fd"
	exec {fd}<"$tmp/$name.out"
	printf -v "${name}_out" %s "$fd"
	rm "$tmp/$name.in" "$tmp/$name.out"
	vmms+=("$name")
	ask "$name"
}

# ask NAME [command]: its answer is in $answer
ask() {
	local in=${1}_in out_fd=${1}_out

	[[ $# -eq 1 ]] || echo "${*:2}" >&"${!in}"
	read -r answer <&"${!out_fd}" && return
	sed 's/^/# /' "$tmp/$1.err"
	fail "$1 does not answer"
}

vmm_end() {
	local pid=${1}_pid in=${1}_in out_fd=${1}_out

	[[ -n ${!pid:-} ]] || return 0
	# Others may have inherited the pipe: closing it does not tell.
	echo quit >&"${!in}" || true
	wait "${!pid}" || true
	fd=${!in}
	exec {fd}>&-
	fd=${!out_fd}
	exec {fd}<&-
	printf -v "${1}_pid" %s ''
}

link_up() {
	ip link set "$1" addrgenmode none 2>/dev/null || true
	ip link set "$1" up
}

is_up() {
	[[ $(ip -j link show "$1" | json "d[0]['operstate']") == UP ]]
}

# Until a sender can use its queues: a carrier is noticed some time later, and
# told before they are there. Setting it up again waits for that.
link_wait_up() {
	wait_for is_up "$1" && ip link set "$1" up
}

# tap NAME IFNAME [option]...
tap() {
	vmm "$1" tap "${@:2}" && link_up "$2"
}

# Ends what a test started, whatever became of it.
end_test() {
	local name pid

	set +e
	trap '' PIPE
	"$TAPMIG" discard label '*' >/dev/null 2>&1
	for name in "${vmms[@]}"; do
		vmm_end "$name"
	done
	for pid in $(jobs -p); do
		kill -KILL "$pid"
	done 2>/dev/null
	wait 2>/dev/null
	umount "$tmp/sys" "$tmp/full" 2>/dev/null
	rmdir "$tmp/full" 2>/dev/null
	while IFS=': ' read -r name _; do
		[[ $name == *'|'* || $name == lo ]] ||
			ip link del "$name" 2>/dev/null
	done </proc/net/dev
	find "$tmp" -mindepth 1 -maxdepth 1 -type f ! -name 'std*' -delete
}

test_case() {
	tests+=("$1")
}

range() {
	seq -s ' ' "$1" "$2"
}

# Packets in a file, by the tool's own reader.
packets() {
	"$TAPMIG" -j import check "$1" | json "d['packets']"
}

# --- tests: no hold ------------------------------------------------------------

test_case version_names_tool_and_module
version_names_tool_and_module() {
	tool version
	expect_rc 0
	grep -q "^module $(cat /sys/module/tapmig/version)," "$out" ||
		fail "no version of the module"
	tool -j version
	[[ $(json "d['tool'] == d['module']" <"$out") == True ]] ||
		fail "versions differ"
}

test_case show_without_holds_is_empty
show_without_holds_is_empty() {
	tool show
	expect_rc 0
	[[ ! -s $out ]] || fail "there is something"
	tool -j show
	[[ $(cat "$out") == '[]' ]] || fail "not an empty list"
}

test_case no_such_hold_exits_2
no_such_hold_exits_2() {
	local c s command selector

	for c in show thaw discard "set peer on" export "import /dev/null"; do
		for s in "id 4294967295" "dev nothing0" "label nothing*"; do
			read -ra command <<<"$c"
			read -ra selector <<<"$s"
			tool "${command[0]}" "${selector[@]}" "${command[@]:1}"
			expect_rc 2 || return 1
			[[ $(wc -l <"$errors") -eq 1 ]] ||
				fail "$c $s: not one line" || return 1
		done
	done
	tool freeze id 4294967295
	expect_rc 2
}

test_case without_net_admin_is_refused
without_net_admin_is_refused() {
	rc=0
	setpriv --bounding-set=-net_admin --inh-caps=-net_admin "$TAPMIG" \
		show >"$out" 2>"$errors" || rc=$?
	expect_rc 1 && expect_error "Operation not permitted"
}

# --- tests: freeze -----------------------------------------------------------

test_case freeze_finds_the_process
freeze_finds_the_process() {
	tap a tt0
	freeze dev tt0 label "vm 1/net0" mac 02:00:00:00:00:01 \
		max-packets 1000 max-bytes 8M max-frozen-ms 600000
	expect_rc 0
	[[ $(json "d['ifname'], d['queues'], d['pid']" <"$out") == \
		"('tt0', 1, $a_pid)" ]] || fail "not what was frozen"
	[[ $(hold dev tt0 state) == frozen ]] || fail "not frozen"
	[[ $(hold dev tt0 flags) == "['pinned']" ]] || fail "not pinned"
	[[ $(hold dev tt0 label) == "vm 1/net0" ]] || fail "another label"
	[[ $(hold dev tt0 mac) == 02:00:00:00:00:01 ]] || fail "another MAC"
	[[ $(hold dev tt0 max_packets) == 1000 ]] || fail "max_packets"
	[[ $(hold dev tt0 max_bytes) == 8388608 ]] || fail "max_bytes"
	[[ $(hold dev tt0 max_frozen_ms) == 600000 ]] || fail "max_frozen_ms"
	ask a send 5
	wait_for is_held tt0 5 || return 1
	ask a pending
	[[ $answer == "pending 0" ]] || fail "readers see packets"
	tool thaw dev tt0 wait
	expect_rc 0
	ask a read 5
	[[ $answer == "got $(range 1 5)" ]] || fail "$answer"
	gone() { tool show dev tt0 && [[ $rc -eq 2 ]]; }
	wait_for gone
}

test_case freeze_of_a_held_queue_is_refused
freeze_of_a_held_queue_is_refused() {
	tap a tt0
	freeze dev tt0
	expect_rc 0
	freeze dev tt0
	expect_rc 1 && expect_error "belongs to a hold already"
	[[ $("$TAPMIG" -j show | json "len(d)") == 1 ]] ||
		fail "the refused hold stays"
	tool discard dev tt0
	expect_rc 0
}

test_case freeze_takes_an_open_file_once
freeze_takes_an_open_file_once() {
	tap a tt0 queues=3 dups=4 fork
	freeze dev tt0
	expect_rc 0 || return 1
	[[ $(json "d['queues']" <"$out") == 3 ]] || fail "not 3 queues"
	ask a send 30
	wait_for is_held tt0 30 || return 1
	tool discard dev tt0
	expect_rc 0
}

# kcmp(2) is not in every kernel, nor allowed in every container.
test_case freeze_without_kcmp_takes_what_is_open_once
freeze_without_kcmp_takes_what_is_open_once() {
	without_kcmp() {
		rc=0
		strace -qq -o /dev/null -e trace=kcmp \
			-e inject=kcmp:error=ENOSYS "$TAPMIG" freeze dev "$1" \
			>"$out" 2>"$errors" || rc=$?
	}
	tap a tt0 queues=3 dups=1
	without_kcmp tt0
	expect_rc 1 && expect_error "belongs to a hold already" &&
		expect_error "kcmp: Function not implemented: two fds" ||
		return 1
	tap b tt1 queues=3
	without_kcmp tt1
	expect_rc 0 || return 1
	[[ $("$TAPMIG" -j show) == *tt1* && $("$TAPMIG" -j show) != *tt0* ]] ||
		fail "not tt1 alone is frozen"
	tool discard dev tt1
	expect_rc 0
}

test_case freeze_some_queues
freeze_some_queues() {
	tap a tt0 queues=4
	freeze dev tt0 queue 1 queue 3
	expect_rc 0 || return 1
	[[ $(json "d['queues']" <"$out") == 2 ]] || fail "not 2 queues"
	freeze dev tt0 queue 3
	expect_rc 1 && expect_error "queue 3 of tt0" || return 1
	freeze dev tt0 queue 4
	expect_rc 1 && expect_error "there is no queue 4" || return 1
	freeze dev tt0 queue 0 queue 2
	expect_rc 0 || return 1
	tool discard dev tt0
	expect_rc 0
	[[ $("$TAPMIG" -j show) == '[]' ]] || fail "not both are gone"
}

test_case freeze_asks_which_process
freeze_asks_which_process() {
	ip tuntap add dev tt0 mode tap multi_queue
	tap a tt0 queues=2 && tap b tt0 queues=2
	ip link show tt0 >/dev/null
	freeze dev tt0
	expect_rc 1 && expect_error "both have queues of tt0" || return 1
	freeze dev tt0 pid "$b_pid"
	expect_rc 0 || return 1
	[[ $(json "d['pid'], d['queues']" <"$out") == "($b_pid, 2)" ]] ||
		fail "not those of b"
	freeze dev tt0 pid $$
	expect_rc 1 && expect_error "process $$ has no queue of tt0 open"
	tool discard dev tt0
	expect_rc 0
}

test_case freeze_knows_network_namespaces
freeze_knows_network_namespaces() {
	# The same name in another namespace, held by a process that comes first.
	mkfifo "$tmp/far.in"
	unshare --net python3 "$here/tool_vmm.py" tap tt0 <"$tmp/far.in" \
		>"$tmp/far.out" 2>&1 &
	local far=$! in
	exec {in}>"$tmp/far.in"
	rm "$tmp/far.in"
	wait_for grep -q ready "$tmp/far.out"
	tap a tt0
	freeze dev tt0
	expect_rc 0 || return 1
	[[ $(json "d['pid']" <"$out") == "$a_pid" ]] || fail "not that of a"
	tool -j -n "$far" freeze dev tt0 max-frozen-ms 600000
	expect_rc 0 || return 1
	[[ $(json "d['pid']" <"$out") == "$far" ]] || fail "not the far one"
	[[ $("$TAPMIG" -j show | json "len(d)") == 1 ]] ||
		fail "holds of another namespace are shown"
	tool -n "$far" discard dev tt0
	expect_rc 0
	echo quit >&"$in"
	wait "$far" || true
}

test_case freeze_killed_half_way_freezes_nothing
freeze_killed_half_way_freezes_nothing() {
	local i

	tap a tt0
	# Kills the tool at one ioctl after the other, up to the FREEZE.
	for i in 3 4 5; do
		strace -qq -o /dev/null -e trace=ioctl \
			-e inject=ioctl:signal=KILL:when="$i" \
			"$TAPMIG" freeze dev tt0 >"$out" 2>"$errors" &
		wait "$!" 2>/dev/null || true
		[[ ! -s $out ]] || fail "it told a number at ioctl $i" ||
			return 1
		gone() { [[ $("$TAPMIG" -j show) == '[]' ]]; }
		wait_for gone || return 1
	done
	ask a send 3
	ask a read 3
	[[ $answer == "got 1 2 3" ]] || fail "$answer"
}

test_case freeze_that_cannot_tell_a_number_freezes_nothing
freeze_that_cannot_tell_a_number_freezes_nothing() {
	local option rw w

	tap a tt0
	# A pipe that nobody reads.
	mkfifo "$tmp/pipe"
	exec {rw}<>"$tmp/pipe"
	exec {w}>"$tmp/pipe" {rw}>&-
	rm "$tmp/pipe"
	for option in -j -s; do
		rc=0
		"$TAPMIG" "$option" freeze dev tt0 >/dev/full \
			2>"$errors" || rc=$?
		expect_rc 1 && expect_error "No space left on device" ||
			return 1
		[[ $(wc -l <"$errors") -eq 1 ]] || fail "not one line"
		[[ $("$TAPMIG" -j show) == '[]' ]] || fail "it is frozen" ||
			return 1
		"$TAPMIG" "$option" freeze dev tt0 1>&"$w" \
			2>"$errors" || true
		expect_error "Broken pipe" || return 1
		[[ $("$TAPMIG" -j show) == '[]' ]] || fail "it is frozen" ||
			return 1
	done
	exec {w}>&-
	ask a send 3
	ask a read 3
	[[ $answer == "got 1 2 3" ]] || fail "$answer"
}

test_case freeze_macvtap
freeze_macvtap() {
	local index dev

	mkdir -p "$tmp/sys"
	mount -t sysfs none "$tmp/sys"
	if ! ip link add tt9 type veth peer name tt8 ||
	   ! ip link add link tt9 name mt0 type macvtap mode passthru; then
		return "$KSFT_SKIP"
	fi
	link_up tt8 && link_up tt9 && link_up mt0
	link_wait_up tt8 || return 1
	index=$(ip -j link show mt0 | json "d[0]['ifindex']")
	dev=$(cat "$tmp/sys/class/net/mt0/macvtap/tap$index/dev")
	umount "$tmp/sys"
	mount -t tmpfs -o mode=700 none "$tmp/sys"
	mknod "$tmp/sys/tap$index" c "${dev%:*}" "${dev#*:}"
	vmm a macvtap tt8 "path=$tmp/sys/tap$index" || return 1
	freeze dev mt0
	expect_rc 0 || return 1
	[[ $(json "d['pid'], d['queues']" <"$out") == "($a_pid, 1)" ]] ||
		fail "not those of a"
	ask a send 5
	wait_for is_held mt0 5 || return 1
	tool thaw dev mt0 wait
	expect_rc 0
	ask a read 5
	[[ $answer == "got $(range 1 5)" ]] || fail "$answer"
}

# --- tests: show, set, thaw, discard -------------------------------------------

test_case json_has_every_name_of_the_specification
json_has_every_name_of_the_specification() {
	tap a tt0
	freeze dev tt0 label x mac 02:00:00:00:00:01
	expect_rc 0 || return 1
	tool -j show
	[[ $(json "sorted(set('''id label state role flags link_type dedup
	deadline_action ifindex ifname mac queues owner_pid max_frozen_ms
	deadline_in_ms wait_import_ms max_packets max_bytes held_packets
	held_bytes pending_imports highest_seq committed_seq captured dropped
	dropped_bytes trimmed exported imported resent flooded late
	late_skipped own_address segmented delivered lost discarded frozen_ns
	frozen_for_ms thaw_wait_us thaw_us thaw_irqoff_ns'''.split()) ^
	set(d[0]))" <"$out") == '[]' ]] || fail "names differ" || return 1
	tool -j -p show
	json "d" <"$out" >/dev/null || fail "-p is not JSON"
	tool -s show
	expect_rc 0
	grep -q 'thaw-irqoff-ns' "$out" || fail "-s lacks times"
	grep -q $'\033' "$out" && fail "colours on a pipe"
	tool discard label x
	expect_rc 0
}

test_case set_changes_properties
set_changes_properties() {
	tap a tt0
	freeze dev tt0
	tool set dev tt0 max-frozen-ms 50000 wait-import-ms none \
		max-packets 7 max-bytes 1M dedup all deadline-action discard \
		peer on
	expect_rc 0 || return 1
	[[ $("$TAPMIG" -j show | json "[d[0][k] for k in ('max_frozen_ms',
		'wait_import_ms', 'max_packets', 'max_bytes', 'dedup',
		'deadline_action', 'flags')]") == "[50000, 4294967295, 7, \
1048576, 'all', 'discard', ['pinned', 'peer']]" ]] ||
		fail "$("$TAPMIG" -j show)"
	tool -s show
	grep -q 'wait-import-ms none' "$out" || fail "none is not shown"
	tool set dev tt0 max-packets 99999999
	expect_rc 1
	grep -q max-packets "$errors" || fail "the attribute is not named"
	tool discard dev tt0
	expect_rc 0
}

test_case no_control_character_comes_out
no_control_character_comes_out() {
	local label=$'a\e[2J\a\r\n\tb\x7f\xc2\x9b1m\xff\xc3\xbc"z' pid
	local name=$'tt\e[1m' options

	tap a "$name"
	freeze dev "$name" label "$label"
	expect_rc 0
	cp "$out" "$tmp/freeze"
	for options in -s -js -jps; do
		tool "$options" show dev "$name"
		expect_rc 0
		cp "$out" "$tmp/show$options"
	done
	"$TAPMIG" monitor >"$tmp/monitor" 2>"$errors" &
	pid=$!
	wait_for grep -q ready "$tmp/monitor" || return 1
	kill "$pid"
	wait "$pid" 2>/dev/null || true
	"$TAPMIG" relay --listen "unix:$tmp/socket" --verbose \
		>"$tmp/relay" 2>&1 &
	pid=$!
	wait_for grep -q frozen "$tmp/relay" || return 1
	kill "$pid"
	wait "$pid" || true
	python3 - "$tmp" >"$out" 2>"$errors" <<-'END' || fail "raw"
		import json, sys, unicodedata
		label = "a\x1b[2J\a\r\n\tb\x7f\x9b1m\ufffd\xfc\"z"
		plain = r'"a\x1b[2J\x07\x0d\x0a\x09b\x7f\xc2\x9b1m\xff' '\xfc' r'\"z"'
		for name in ("freeze", "show-s", "show-js", "show-jps", "monitor",
		             "relay"):
		    with open(f"{sys.argv[1]}/{name}", "rb") as f:
		        text = f.read().decode()
		    bad = [c for c in text
		           if unicodedata.category(c) == "Cc" and c != "\n"]
		    assert not bad, (name, text)
		    if "j" in name:
		        hold, = json.loads(text)
		        assert hold["label"] == label, text
		        assert hold["ifname"] == "tt\x1b[1m", text
		    elif name in ("show-s", "monitor"):
		        assert plain in text and r"tt\x1b[1m" in text, text
		    elif name == "relay":
		        assert "tt?[1m, a?[2J????b???1m???" in text, text
	END
	tool discard dev "$name"
	expect_rc 0
}

test_case thaw_by_label_takes_all
thaw_by_label_takes_all() {
	tap a tt0 && tap b tt1 && tap c tt2
	freeze dev tt0 label vm1/net0
	freeze dev tt1 label vm1/net1
	freeze dev tt2 label vm2/net0
	expect_rc 0 || return 1
	ask a send 2
	ask b send 2
	tool thaw label 'vm1/*' wait
	expect_rc 0 || return 1
	just_vm2() { [[ $("$TAPMIG" -j show | json "[h['label'] for h in d]") \
		== "['vm2/net0']" ]]; }
	wait_for just_vm2 || return 1
	ask a read 2
	ask b read 2
	[[ $answer == "got 1 2" ]] || fail "$answer"
	tool export label 'vm*' "$tmp/x.pcapng"
	expect_rc 0
	tool discard label 'vm*'
	expect_rc 0
}

test_case thaw_of_a_hold_that_dies_meanwhile_fails
thaw_of_a_hold_that_dies_meanwhile_fails() {
	local pid

	tap a tt0
	freeze dev tt0 role standby label dying
	tool set label dying peer on wait-import-ms 600000
	expect_rc 0
	ask a send 3
	"$TAPMIG" thaw label dying wait >"$out" 2>"$errors" &
	pid=$!
	thaws() { [[ $(hold label dying state) == thawing ]]; }
	wait_for thaws || return 1
	ip link del tt0
	rc=0
	wait "$pid" || rc=$?
	expect_rc 1 && expect_error "is dead" || return 1
	[[ $(hold label dying held_packets) == 3 ]] || fail "none is held"
	tool discard label dying
	expect_rc 0
}

test_case thaw_waits_for_the_others_when_one_dies
thaw_waits_for_the_others_when_one_dies() {
	local pid

	tap a tt0 && tap b tt1
	freeze dev tt0 role standby label dying/0
	freeze dev tt1 role standby label dying/1
	tool set label 'dying/*' peer on wait-import-ms 600000
	expect_rc 0
	ask a send 3
	ask b send 3
	"$TAPMIG" thaw label 'dying/*' wait >"$out" 2>"$errors" &
	pid=$!
	thaws() { [[ $("$TAPMIG" -j show | json "[h['state'] for h in d]") == \
		"['thawing', 'thawing']" ]]; }
	wait_for thaws || return 1
	ip link del tt0
	ip link del tt1
	rc=0
	wait "$pid" || rc=$?
	expect_rc 1 || return 1
	[[ $(grep -c "is dead" "$errors") == 2 ]] || fail "$(cat "$errors")"
	tool discard label 'dying/*'
	expect_rc 0
}

test_case thaw_of_an_id_that_is_not_frozen_is_refused
thaw_of_an_id_that_is_not_frozen_is_refused() {
	tap a tt0
	freeze dev tt0
	local id
	id=$(hold dev tt0 id)
	tool freeze id "$id"
	expect_rc 1 && expect_error "freeze hold $id: " || return 1
	tool discard id "$id"
	expect_rc 0
	tool thaw id "$id"
	expect_rc 2
}

test_case hold_of_an_ended_process_is_an_orphan
hold_of_an_ended_process_is_an_orphan() {
	tap a tt0
	freeze dev tt0
	expect_rc 0 || return 1
	vmm_end a
	orphan() { [[ $(hold dev tt0 flags) == *orphan* ]]; }
	wait_for orphan || return 1
	tool discard dev tt0
	expect_rc 0
	unused() { ! ip link show tt0 >/dev/null 2>&1; }
	wait_for unused
}

# --- tests: export, import -----------------------------------------------------

test_case export_writes_a_private_pcapng_file
export_writes_a_private_pcapng_file() {
	tap a tt0
	freeze dev tt0 label vm1
	ask a send 20
	(umask 0; tool export dev tt0 "$tmp/x.pcapng"; expect_rc 0) || return 1
	[[ $(stat -c %a "$tmp/x.pcapng") == 600 ]] || fail "its mode"
	[[ $(packets "$tmp/x.pcapng") == 20 ]] || fail "not 20 packets"
	tool export dev tt0 "$tmp/x.pcapng"
	expect_rc 1 && expect_error "File exists" || return 1
	tool export dev tt0 "$tmp/y.pcapng"
	cmp "$tmp/x.pcapng" "$tmp/y.pcapng" || fail "exports differ"
	chmod 644 "$tmp/y.pcapng"
	tool export dev tt0 force "$tmp/y.pcapng"
	expect_rc 0
	[[ $(stat -c %a "$tmp/y.pcapng") == 600 ]] || fail "mode of forced"
	"$TAPMIG" export dev tt0 | cmp - "$tmp/x.pcapng" ||
		fail "standard output differs"
	"$TAPMIG" export dev tt0 from 65540 to 65541 >"$tmp/z.pcapng"
	[[ $("$TAPMIG" -j -s import check "$tmp/z.pcapng" |
		json "[p['seq'] for p in d['list']]") == '[65540, 65541]' ]] ||
		fail "from and to"
	tool export dev tt0 /no/such/dir/x
	expect_rc 1
	tool discard dev tt0
	expect_rc 0
}

test_case export_that_is_refused_replaces_nothing
export_that_is_refused_replaces_nothing() {
	local file

	tap a tt0
	freeze dev tt0 role standby
	ask a send 5
	tool export dev tt0 "$tmp/x.pcapng"
	expect_rc 0 || return 1
	cp "$tmp/x.pcapng" "$tmp/old.pcapng"
	tool import dev tt0 no-end "$tmp/x.pcapng"
	expect_rc 0 || return 1
	tool thaw dev tt0 wait
	[[ $(hold dev tt0 state) == live ]] || fail "not live"
	for file in old new; do
		tool export dev tt0 force "$tmp/$file.pcapng"
		expect_rc 1 && expect_error "the hold is live" || return 1
	done
	cmp "$tmp/x.pcapng" "$tmp/old.pcapng" || fail "the old file is gone"
	[[ ! -e $tmp/new.pcapng ]] || fail "there is an empty file"
	tool discard dev tt0
	expect_rc 0
}

# As who can write to /tmp may put there where another one exports to.
test_case export_goes_through_no_link
export_goes_through_no_link() {
	local word
	tap a tt0
	freeze dev tt0 label vm1
	ask a send 20
	echo victim >"$tmp/victim"
	ln -s "$tmp/victim" "$tmp/link"
	ln -s "$tmp/nothing" "$tmp/dangling"
	for word in '' force; do
		# shellcheck disable=SC2086 # a word or none
		tool export dev tt0 $word "$tmp/link"
		expect_rc 1 && expect_error "$tmp/link" || return 1
		# shellcheck disable=SC2086
		tool export dev tt0 $word "$tmp/dangling"
		expect_rc 1 && expect_error "$tmp/dangling" || return 1
	done
	[[ $(<"$tmp/victim") == victim ]] || fail "written through a link"
	[[ ! -e $tmp/nothing ]] || fail "made through a link"
	[[ -L $tmp/link && -L $tmp/dangling ]] || fail "a link is gone"
	# Another name of a file is no file to write to either.
	ln "$tmp/victim" "$tmp/name"
	tool export dev tt0 force "$tmp/name"
	expect_rc 0
	[[ $(<"$tmp/victim") == victim ]] || fail "written by another name"
	[[ $(packets "$tmp/name") == 20 ]] || fail "not 20 packets"
	tool discard dev tt0
	expect_rc 0
}

test_case export_to_a_terminal_is_refused
export_to_a_terminal_is_refused() {
	tap a tt0
	freeze dev tt0
	python3 - "$TAPMIG" >"$out" 2>"$errors" <<-'END' || fail "not refused"
		import os, pty, sys
		pid, fd = pty.fork()
		if not pid:
		    os.execv(sys.argv[1], ["tapmig", "export", "dev", "tt0"])
		text = b""
		try:
		    while True:
		        text += os.read(fd, 4096)
		except OSError:
		    pass
		code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
		sys.exit(not (code == 1 and b"to a terminal" in text))
	END
	tool discard dev tt0
	expect_rc 0
}

read_with() {
	local lines options

	command -v "$1" >/dev/null || return "$KSFT_SKIP"
	tap a tt0
	freeze dev tt0
	ask a send 50
	ask a send 50 1500
	tool export dev tt0 "$tmp/x.pcapng"
	expect_rc 0 || return 1
	options=(-n -r -)
	# It would change to another user, who need not exist.
	[[ $1 != tcpdump ]] || options+=(-Z root)
	"$1" "${options[@]}" <"$tmp/x.pcapng" >"$out" 2>"$errors" || fail "$1: $?" ||
		return 1
	grep -v '^reading from file\|^Running as user\|^ *$' "$errors" &&
		fail "$1 complains" && return 1
	lines=$(grep -c '0x88b5' "$out") || true
	[[ $lines == 100 ]] || fail "$1 shows $lines frames"
	tool discard dev tt0
	expect_rc 0
}

test_case tcpdump_reads_an_export
tcpdump_reads_an_export() { read_with tcpdump; }

test_case tshark_reads_an_export
tshark_reads_an_export() { read_with tshark; }

test_case export_import_thaw_keeps_order
export_import_thaw_keeps_order() {
	local i

	tap a tt0 queues=2 && tap b tt1
	freeze dev tt0
	freeze dev tt1 role standby
	expect_rc 0 || return 1
	ask a send 300
	tool export dev tt0 "$tmp/x.pcapng"
	expect_rc 0 || return 1
	tool -j import dev tt1 age-ms 0 "$tmp/x.pcapng"
	expect_rc 0 || return 1
	[[ $(json "d['packets'], d['accepted'], d['resent']" <"$out") == \
		"(300, 300, 0)" ]] || fail "counts"
	# Once more does no harm.
	tool -j import dev tt1 - <"$tmp/x.pcapng"
	"$TAPMIG" -j import dev tt1 <"$tmp/x.pcapng" >"$out" 2>"$errors" ||
		fail "again" || return 1
	[[ $(json "d['accepted'], d['resent']" <"$out") == "(0, 300)" ]] ||
		fail "counts of the second"
	tool thaw dev tt1 wait
	expect_rc 0 || return 1
	ask b read 300
	[[ $answer == "got $(range 1 300)" ]] || fail "$answer"
	tool discard dev tt0
	expect_rc 0
}

test_case export_commit_frees_what_was_written
export_commit_frees_what_was_written() {
	tap a tt0
	freeze dev tt0
	ask a send 10
	tool export dev tt0 to 65540 commit "$tmp/x.pcapng"
	expect_rc 0 || return 1
	[[ $(packets "$tmp/x.pcapng") == 4 ]] || fail "not 4 packets"
	[[ $(hold dev tt0 held_packets) == 6 ]] || fail "not 6 are left"
	[[ $(hold dev tt0 committed_seq) == 65540 ]] || fail "committed-seq"
	tool thaw dev tt0 wait
	expect_rc 0
	ask a read 6
	[[ $answer == "got $(range 5 10)" ]] || fail "$answer"
}

# What is given back late comes at the end of each dump of the kernel.
test_case export_from_a_number_on_has_none_below
export_from_a_number_on_has_none_below() {
	local id from

	# Nothing of it was exported yet, each time.
	for from in 65537 65539; do
		tap a tt0
		ask a hold
		id=${answer#hold }
		tool freeze id "$id"
		ask a send 4
		ask a unread 99
		"$TAPMIG" export id "$id" from "$from" >"$tmp/x.pcapng"
		[[ $("$TAPMIG" -j -s import check "$tmp/x.pcapng" |
			json "' '.join(str(p['seq']) for p in d['list'])") == \
			$(range "$from" 65540) ]] || fail "not from $from on"
		"$TAPMIG" export id "$id" >"$tmp/x.pcapng"
		[[ $(packets "$tmp/x.pcapng") == 5 ]] || fail "not all 5"
		vmm_end a
	done
}

test_case export_commits_what_is_on_the_disk
export_commits_what_is_on_the_disk() {
	local file

	tap a tt0
	freeze dev tt0
	ask a send 10
	for file in "$tmp/x.pcapng" -; do
		rc=0
		strace -qq -o "$tmp/strace" -e trace=fdatasync \
			-e inject=fdatasync:error=EIO \
			"$TAPMIG" export dev tt0 commit "$file" \
			>"$tmp/y.pcapng" 2>"$errors" || rc=$?
		expect_rc 1 && expect_error "Input/output error" || return 1
		[[ $(hold dev tt0 held_packets) == 10 ]] ||
			fail "some are gone" || return 1
	done
	"$TAPMIG" export dev tt0 commit >"$tmp/y.pcapng"
	[[ $(packets "$tmp/y.pcapng") == 10 ]] || fail "not 10 packets"
	[[ $(hold dev tt0 held_packets) == 0 ]] || fail "not committed"
	tool discard dev tt0
	expect_rc 0
}

test_case export_follows_until_the_end
export_follows_until_the_end() {
	local pid i

	tap a tt0
	freeze dev tt0
	ask a send 10
	"$TAPMIG" export dev tt0 --follow commit "$tmp/x.pcapng" \
		2>"$errors" >"$out" &
	pid=$!
	has() { [[ -s $tmp/x.pcapng && $(packets "$tmp/x.pcapng") -ge $1 ]]; }
	wait_for has 10 || return 1
	for i in 1 2 3; do
		ask a send 10
		wait_for has $((10 + 10 * i)) || return 1
	done
	wait_for is_held tt0 0 || return 1
	tool discard dev tt0
	expect_rc 0
	rc=0
	wait "$pid" || rc=$?
	expect_rc 0 || return 1
	[[ $(packets "$tmp/x.pcapng") == 40 ]] || fail "not 40 packets"
}

# It is stopped when it has to know of packets that are thawed when it goes on.
test_case export_follows_through_a_thaw
export_follows_through_a_thaw() {
	local pid id

	follow() {
		"$TAPMIG" export dev tt0 follow "$@" "$tmp/x.pcapng" \
			2>"$tmp/follow" >"$out" &
		pid=$!
	}
	has() { [[ -s $tmp/x.pcapng && $(packets "$tmp/x.pcapng") == "$1" ]]; }
	waits_or_ends() { ! grep -qs '^State:.[^SZ]' "/proc/$pid/status"; }
	ended() { ! kill -0 "$pid" 2>/dev/null; }
	ends_well() {
		wait_for ended || return 1
		rc=0
		wait "$pid" || rc=$?
		expect_rc 0
	}

	tap a tt0
	ask a hold
	id=${answer#hold }
	follow
	tool freeze id "$id"
	expect_rc 0
	ask a send 3
	wait_for has 3 || return 1
	kill -STOP "$pid"
	ask a send 2
	tool thaw id "$id" wait
	expect_rc 0
	kill -CONT "$pid"
	wait_for waits_or_ends || return 1
	ask a read 5
	[[ $answer == "got $(range 1 5)" ]] || fail "$answer"
	tool freeze id "$id"
	ask a send 2
	wait_for has 5 || return 1
	vmm_end a
	ends_well && has 5 || return 1
	rm "$tmp/x.pcapng"

	# While it thaws all can be exported, nothing be committed.
	tap a tt0
	freeze dev tt0 role standby
	tool set dev tt0 peer on wait-import-ms 600000
	expect_rc 0
	ask a send 3
	follow commit
	wait_for has 3 || return 1
	# The file has them before they are committed.
	wait_for is_held tt0 0 || return 1
	kill -STOP "$pid"
	ask a send 2
	tool thaw dev tt0
	expect_rc 0
	kill -CONT "$pid"
	wait_for has 5 || return 1
	wait_for grep -q 'hold .* is thawed' "$tmp/follow" || return 1
	tool set dev tt0 wait-import-ms 0
	ask a read 2
	[[ $answer == "got 4 5" ]] || fail "$answer"
	tool discard dev tt0
	ends_well && has 5
}

# More than it keeps before it writes, and than the kernel keeps ready.
test_case export_follows_a_hold_that_is_gone_meanwhile
export_follows_a_hold_that_is_gone_meanwhile() {
	local pid reader

	tap a tt0
	freeze dev tt0 max-bytes 32M
	ask a send 2000 1500
	wait_for is_held tt0 2000 || return 1
	mkfifo "$tmp/fifo"
	exec {reader}<>"$tmp/fifo"
	"$TAPMIG" export dev tt0 follow >"$tmp/fifo" 2>"$errors" &
	pid=$!
	full() { grep -q pipe_write "/proc/$pid/stack" "/proc/$pid/wchan"; }
	wait_for full || return 1
	tool discard dev tt0
	expect_rc 0
	cat <&"$reader" >/dev/null &
	ended() { ! kill -0 "$pid" 2>/dev/null; }
	wait_for ended || return 1
	rc=0
	wait "$pid" || rc=$?
	expect_rc 0 || return 1
	[[ ! -s $errors ]] || fail "it complains"
}

test_case export_interrupted_leaves_a_valid_file
export_interrupted_leaves_a_valid_file() {
	local pid

	tap a tt0
	freeze dev tt0
	ask a send 10
	# Not as a job: a shell lets its jobs ignore SIGINT.
	python3 -c 'import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execv(sys.argv[1], sys.argv[1:])' "$TAPMIG" export dev tt0 follow \
		"$tmp/x.pcapng" >"$out" 2>"$errors" &
	pid=$!
	has_all() {
		[[ -s $tmp/x.pcapng && $(packets "$tmp/x.pcapng") == 10 ]]
	}
	wait_for has_all || return 1
	kill -INT "$pid"
	rc=0
	wait "$pid" || rc=$?
	expect_rc 1 && expect_error "interrupted: 10 packets" || return 1
	has_all || fail "the file lacks packets"
	tool discard dev tt0
	expect_rc 0
}

# What is written before the disk is full is valid; no packet is committed that
# is not there.
test_case export_to_a_full_disk_keeps_the_packets
export_to_a_full_disk_keeps_the_packets() {
	tap a tt0
	freeze dev tt0
	ask a send 400
	mkdir "$tmp/full"
	mount -t tmpfs -o size=16k full "$tmp/full"
	tool export dev tt0 commit "$tmp/full/x.pcapng"
	expect_rc 1 && expect_error "No space left on device" || return 1
	if [[ -s $tmp/full/x.pcapng ]]; then
		[[ $(packets "$tmp/full/x.pcapng") -lt 400 ]] ||
			fail "it has all" || return 1
		expect_error "tapmig: $(packets "$tmp/full/x.pcapng") packets" ||
			return 1
	fi
	umount "$tmp/full"
	[[ $(hold dev tt0 held_packets) == 400 ]] || fail "some are gone" ||
		return 1
	rc=0
	"$TAPMIG" export dev tt0 commit >/dev/full 2>"$errors" || rc=$?
	expect_rc 1 && expect_error "No space left on device" &&
		expect_error "tapmig: 0 packets were written" || return 1
	[[ $(hold dev tt0 held_packets) == 400 ]] || fail "some are gone"
	tool export dev tt0 commit "$tmp/x.pcapng"
	expect_rc 0
	[[ $(packets "$tmp/x.pcapng") == 400 ]] || fail "not 400 packets"
}

# Each second call is interrupted; pipes give and take a byte at a time.
test_case export_and_import_go_on_after_interruptions
export_and_import_go_on_after_interruptions() {
	# interrupted CALLS [option]... COMMAND...
	interrupted() {
		strace -qq -o "$tmp/strace" -e trace="$1" \
			-e inject="$1:error=EINTR:when=1+2" "${@:2}" \
			>"$out" 2>"$errors" || fail "${*:2}" || return 1
		grep -q 'EINTR.*INJECTED' "$tmp/strace" ||
			fail "no interruption"
	}

	tap a tt0 && tap b tt1
	freeze dev tt0
	freeze dev tt1 role standby
	ask a send 100
	interrupted write,recvmsg "$TAPMIG" export dev tt0 "$tmp/x.pcapng" ||
		return 1
	[[ $(packets "$tmp/x.pcapng") == 100 ]] || fail "not 100 packets" ||
		return 1
	"$TAPMIG" export dev tt0 2>"$errors" | dd bs=1 status=none |
		cmp - "$tmp/x.pcapng" || fail "another export" || return 1
	interrupted read -P "$tmp/x.pcapng" \
		"$TAPMIG" -j import dev tt1 no-end "$tmp/x.pcapng" || return 1
	[[ $(json "d['packets'], d['accepted']" <"$out") == "(100, 100)" ]] ||
		fail "counts" || return 1
	dd bs=1 if="$tmp/x.pcapng" status=none |
		"$TAPMIG" -j import dev tt1 >"$out" 2>"$errors" ||
		fail "import by bytes" || return 1
	[[ $(json "d['packets'], d['resent']" <"$out") == "(100, 100)" ]] ||
		fail "counts by bytes" || return 1
	tool thaw dev tt1 wait
	expect_rc 0
	ask b read 100
	[[ $answer == "got $(range 1 100)" ]] || fail "$answer"
	tool discard dev tt0
	expect_rc 0
}

test_case a_hold_that_is_gone_meanwhile_is_no_such_hold
a_hold_that_is_gone_meanwhile_is_no_such_hold() {
	local id tracer

	# Stopped when it has found the hold, before its request.
	late() {
		freeze dev tt0
		id=$(hold dev tt0 id)
		strace -qq -o "$tmp/strace-$1" -e trace=sendto \
			-e inject=sendto:signal=STOP:when=2 \
			"$TAPMIG" "$@" id "$id" >"$out" 2>"$errors" &
		tracer=$!
		wait_for grep -qs 'stopped by SIGSTOP' "$tmp/strace-$1" ||
			return 1
		"$TAPMIG" discard id "$id" || fail "no discard" || return 1
		kill -CONT "$(<"/proc/$tracer/task/$tracer/children")"
		rc=0
		wait "$tracer" || rc=$?
		expect_rc 2 && expect_error "$1 hold $id: "
	}

	tap a tt0
	late discard && late thaw && late set max-frozen-ms 1000
}

test_case import_takes_plain_captures
import_takes_plain_captures() {
	tap a tt0
	freeze dev tt0
	python3 - "$tmp/x.pcap" <<-'END'
		import struct, sys
		with open(sys.argv[1], "wb") as f:
		    f.write(struct.pack(">IHHiIII", 0xa1b2c3d4, 2, 4, 0, 0, 65535, 1))
		    for i in range(1, 21):
		        frame = bytes.fromhex("02000000000102000000000288b5")
		        frame = (frame + struct.pack(">I", i)).ljust(60, b"\0")
		        f.write(struct.pack(">IIII", i, 0, 60, 60) + frame)
	END
	tool import dev tt0 "$tmp/x.pcap"
	expect_rc 0 || return 1
	tool thaw dev tt0 wait
	expect_rc 0
	ask a read 20
	[[ $answer == "got $(range 1 20)" ]] || fail "$answer"
}

test_case import_into_a_full_hold_counts
import_into_a_full_hold_counts() {
	tap a tt0 && tap b tt1
	freeze dev tt0
	freeze dev tt1 max-packets 10
	ask a send 25
	tool export dev tt0 "$tmp/x.pcapng"
	tool import dev tt1 "$tmp/x.pcapng"
	expect_rc 1 && expect_error "is full" &&
		expect_error "10 packets were imported, the last has number 65546" ||
		return 1
	tool thaw dev tt1 wait
	expect_rc 0
	ask b read 10
	[[ $answer == "got $(range 1 10)" ]] || fail "$answer"
	tool discard dev tt0
	expect_rc 0
}

test_case import_of_a_cut_file_counts
import_of_a_cut_file_counts() {
	tap a tt0 && tap b tt1
	freeze dev tt0
	freeze dev tt1
	ask a send 5
	tool export dev tt0 "$tmp/x.pcapng"
	truncate -s -9 "$tmp/x.pcapng"
	tool import dev tt1 "$tmp/x.pcapng"
	expect_rc 1 && expect_error "4 packets were imported" &&
		expect_error "offset " || return 1
	tool thaw dev tt1 wait
	ask b read 4
	[[ $answer == "got $(range 1 4)" ]] || fail "$answer"
	tool discard dev tt0
	expect_rc 0
}

test_case import_of_another_link_type_is_refused
import_of_another_link_type_is_refused() {
	tap a tt0
	vmm b tun tt1
	link_up tt1
	freeze dev tt0
	freeze dev tt1
	ask a send 3
	tool export dev tt0 "$tmp/x.pcapng"
	tool import dev tt1 "$tmp/x.pcapng"
	expect_rc 1 && expect_error "takes raw IP ones" || return 1
	tool discard dev tt0
	tool discard dev tt1
	expect_rc 0
}

held() {
	"$TAPMIG" -j show dev tt0 |
		json "[d[0][k] for k in ('held_packets', 'trimmed', 'flags')]"
}

# An import drops what its guest must not see twice, and starts a deadline.
test_case import_of_a_wrong_file_changes_nothing
import_of_a_wrong_file_changes_nothing() {
	local before file

	tap a tt0
	vmm b tun tt1
	link_up tt1
	freeze dev tt1
	ask b send 3
	tool export dev tt1 "$tmp/raw.pcapng"
	expect_rc 0 || return 1
	freeze dev tt0 role standby
	ask a send 5
	echo nothing that was captured >"$tmp/text"
	: >"$tmp/empty"
	before=$(held)
	# Captures without a packet.
	tool -j export dev tt1 from 4294967296 "$tmp/none.pcapng"
	expect_rc 0 || return 1
	python3 - "$tmp/cooked.pcap" <<-'END'
		import struct, sys
		with open(sys.argv[1], "wb") as f:
		    f.write(struct.pack("<IHHiIII", 0xa1b2c3d4, 2, 4, 0, 0, 65535, 113))
	END
	for file in raw.pcapng none.pcapng cooked.pcap text empty; do
		tool import dev tt0 age-ms 0 "$tmp/$file"
		expect_rc 1 || return 1
		[[ $(held) == "$before" ]] || fail "$file: $(held)" || return 1
		tool import dev tt0 age-ms 0 <(cat "$tmp/$file")
		expect_rc 1 || return 1
		[[ $(held) == "$before" ]] ||
			fail "$file, piped: $(held)" || return 1
	done
	tool thaw dev tt0 wait
	ask a read 5
	[[ $answer == "got $(range 1 5)" ]] || fail "$answer"
	tool discard dev tt1
	expect_rc 0
}

test_case raw_ip_goes_through
raw_ip_goes_through() {
	vmm a tun tt0
	vmm b tun tt1
	link_up tt0 && link_up tt1
	freeze dev tt0
	freeze dev tt1
	[[ $(hold dev tt0 link_type) == raw-ip ]] || fail "link-type"
	ask a send 5
	tool export dev tt0 "$tmp/x.pcapng"
	tool import dev tt1 "$tmp/x.pcapng"
	expect_rc 0 || return 1
	tool thaw dev tt1 wait
	ask b read 5
	[[ $answer == "got $(range 1 5)" ]] || fail "$answer"
	tool discard dev tt0
	expect_rc 0
}

test_case import_takes_the_longest_frames
import_takes_the_longest_frames() {
	tap a tt0
	freeze dev tt0 max-bytes 16M
	python3 - "$tmp/x.pcap" <<-'END'
		import struct, sys
		with open(sys.argv[1], "wb") as f:
		    f.write(struct.pack("<IHHiIII", 0xa1b2c3d4, 2, 4, 0, 0, 0, 1))
		    for size in (60, 65531, 65532, 65535, 200000, 524288, 60):
		        f.write(struct.pack("<IIII", 0, 0, size, size))
		        f.write(bytes.fromhex("02000000000102000000000288b5"))
		        f.write(bytes(size - 14))
	END
	tool -j import dev tt0 "$tmp/x.pcap"
	expect_rc 0 || return 1
	[[ $(json "d['accepted']" <"$out") == 7 ]] || fail "not all 7"
	[[ $(hold dev tt0 pending_imports) == 7 ]] || fail "not 7 pending"
	tool discard dev tt0
	expect_rc 0
}

# --- tests: monitor --------------------------------------------------------------

test_case monitor_tells_state_then_changes
monitor_tells_state_then_changes() {
	local pid

	tap a tt0 && tap b tt1
	freeze dev tt0 label first
	"$TAPMIG" -j monitor >"$tmp/monitor" 2>"$tmp/monitor.err" &
	pid=$!
	told() { grep -q -- "$1" "$tmp/monitor"; }
	wait_for told '"ready"' || return 1
	freeze dev tt1 label second
	wait_for told '"second".*"frozen"' || return 1
	tool set dev tt1 peer on
	wait_for told '"peer"' || return 1
	tool discard dev tt0
	wait_for told '"gone".*"first"' || return 1
	kill "$pid"
	wait "$pid" 2>/dev/null || true
	python3 - "$tmp/monitor" >"$out" 2>"$errors" <<-'END' || fail "order"
		import json, sys
		with open(sys.argv[1]) as f:
		    lines = [json.loads(line) for line in f]
		events = [line["event"] for line in lines]
		assert events[:2] == ["exists", "ready"], events
		assert events[2] == "new", events
		assert set(events[2:]) <= {"new", "changed", "gone"}, events
		assert lines[0]["label"] == "first", lines[0]
	END
	tool discard dev tt1
	expect_rc 0
}

# events_are_lost LABEL: what happens to its holds fills the socket of a listener
# who does not read. It is called until the kernel says so.
events_are_lost() {
	local i

	for i in 1 2 3 4 5; do
		tool set label "$1" peer on && tool set label "$1" peer off
	done
	awk '$2 == 16 && $9 > 0 { full = 1 } END { exit !full }' \
		/proc/net/netlink
}

test_case monitor_survives_lost_events
monitor_survives_lost_events() {
	local pid i line

	# A hold for each queue: one command makes many events.
	tap a tt0 queues=8 && tap b tt1 && tap c tt2
	for i in 0 1 2 3 4 5 6 7; do
		freeze dev tt0 queue "$i" label first
	done
	mkfifo "$tmp/monitor"
	"$TAPMIG" -j monitor >"$tmp/monitor" 2>"$tmp/monitor.err" &
	pid=$!
	exec {monitor}<"$tmp/monitor"
	# Up to there, and no more of the pipe: all that was queued does not fit
	# into it, so a monitor that goes through that stops in the middle, and
	# the kernel drops what happens meanwhile.
	told() {
		while read -rt 200 -u "$monitor" line; do
			[[ ! $line =~ $1 ]] || return 0
		done
		fail "not told: $1"
	}
	told '"ready"' || return 1
	# Until the kernel says that the stopped reader's socket is full.
	kill -STOP "$pid"
	wait_for events_are_lost first || return 1
	tool discard dev tt0
	freeze dev tt1 label second
	kill -CONT "$pid"
	told '"lost"' || return 1
	told '"exists".*"second"' || return 1
	told '"gone"' || return 1
	told '"ready"' || return 1
	freeze dev tt2 label third
	told '"new".*"third"' || return 1
	kill "$pid"
	wait "$pid" 2>/dev/null || true
	exec {monitor}<&-
	grep -q 'events were lost' "$tmp/monitor.err" || fail "not said"
	tool discard dev tt1
	tool discard dev tt2
	expect_rc 0
}

# Refused until the last hold is gone, which is a work item.
unload() {
	modprobe -r tapmig 2>/dev/null
}

test_case monitor_ends_with_the_module
monitor_ends_with_the_module() {
	local pid stopped i

	# It has to come back.
	modprobe -qn tapmig || return "$KSFT_SKIP"
	"$TAPMIG" -j monitor >"$tmp/told" 2>"$tmp/told.err" &
	pid=$!
	wait_for grep -q ready "$tmp/told" || return 1
	# Another one is stopped, and not told of the end: too much happens.
	"$TAPMIG" monitor >"$tmp/stopped" 2>"$tmp/stopped.err" &
	stopped=$!
	wait_for grep -q ready "$tmp/stopped" || return 1
	kill -STOP "$stopped"
	tap a tt0 queues=8
	for i in 0 1 2 3 4 5 6 7; do
		freeze dev tt0 queue "$i" label first
	done
	wait_for events_are_lost first || return 1
	tool discard dev tt0
	wait_for unload || return 1
	# Whether there is another one by then or not.
	modprobe tapmig || return 1
	kill -CONT "$stopped"
	ended() { ! kill -0 "$1" 2>/dev/null; }
	wait_for ended "$stopped" && wait_for ended "$pid" || return 1
	rc=0
	wait "$stopped" || rc=$?
	cp "$tmp/stopped.err" "$errors"
	expect_rc 1 && expect_error 'events were lost' &&
		expect_error 'the tapmig module was unloaded' || return 1
	rc=0
	wait "$pid" || rc=$?
	cp "$tmp/told.err" "$errors"
	expect_rc 1 && expect_error 'the tapmig module was unloaded'
}

# --- run -------------------------------------------------------------------------

# Arguments: names of tests, if not all are wanted.
[[ $# -eq 0 ]] || tests=("$@")

ip link set lo up
# Nothing but the tests' own packets.
for name in all default; do
	echo 1 >"/proc/sys/net/ipv6/conf/$name/disable_ipv6" || true
done 2>/dev/null
echo "TAP version 13"
echo "1..${#tests[@]}"
for name in "${tests[@]}"; do
	number=$((number + 1))
	rc=0
	: >"$out"
	: >"$errors"
	set +e
	(
		set -e
		trap end_test EXIT
		"$name"
	)
	code=$?
	set -e
	case $code in
	0) echo "ok $number $name" ;;
	"$KSFT_SKIP") echo "ok $number $name # SKIP" ;;
	*)
		failed=$((failed + 1))
		echo "not ok $number $name"
		;;
	esac
done
exit $((failed ? 1 : 0))
