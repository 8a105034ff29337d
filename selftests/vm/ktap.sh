# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
#
# Test cases in shell: one KTAP line each.

ktap_n=0
ktap_failed=0

ktap_begin()
{
	echo "KTAP version 1"
}

ktap_result()
{
	ktap_n=$((ktap_n + 1))
	case $1 in
	0) echo "ok $ktap_n $2" ;;
	4) echo "ok $ktap_n $2 # SKIP${3:+ $3}" ;;
	*)
		ktap_failed=1
		echo "not ok $ktap_n $2"
		;;
	esac
}

# ktap_case NAME COMMAND…: passes if the command ends with 0, is skipped with
# 4. Its output is shown when it does not pass.
ktap_case()
{
	local name=$1 log rc=0 said
	shift

	log=$(mktemp)
	# In a process of its own, or "set -e" would not hold in functions.
	("$@") >"$log" 2>&1 </dev/null &
	wait $! || rc=$?
	said=
	[ "$rc" -ne 4 ] || said=$(tail -n 1 "$log")
	[ "$rc" -eq 0 ] || sed 's/^/# /' "$log"
	rm -f "$log"
	ktap_result "$rc" "$name" "$said"
}

ktap_only=()
ktap_names=()

# ktap_check NAME COMMAND…: a case, unless others are asked for in ktap_only.
ktap_check()
{
	ktap_names+=("$1")
	[ ${#ktap_only[@]} -eq 0 ] ||
		[[ " ${ktap_only[*]} " == *" $1 "* ]] || return 0
	ktap_case "$@"
}

# ktap_known: there is a case for each name in ktap_only.
ktap_known()
{
	local name

	for name in ${ktap_only[@]+"${ktap_only[@]}"}; do
		[[ " ${ktap_names[*]} " == *" $name "* ]] ||
			die "no case '$name' (there are: ${ktap_names[*]})"
	done
}

# ktap_end: the plan; fails if a case did.
ktap_end()
{
	echo "1..$ktap_n"
	return $ktap_failed
}
