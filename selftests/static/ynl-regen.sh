#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# Generate policies and headers from the netlink specification, with the
# generator of the newest kernel source.
#
#   ynl-regen.sh           into the tree
#   ynl-regen.sh --check   compare with the tree; status 1 if it differs

set -euo pipefail
shopt -s inherit_errexit
# shellcheck source-path=SCRIPTDIR source=../vm/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../vm/lib.sh"

SPEC=uapi/netlink/tapmig.yaml
PYTHON=/usr/bin/python3

# MODE SIDE FILE
OUTPUTS='
uapi --header uapi/linux/tapmig_netlink.h
kernel --header kmod/tapmig-gen.h
kernel --source kmod/tapmig-gen.c
'

case ${1:-} in
''|--check) ;;
*) die "unknown option '$1'" ;;
esac
$PYTHON -c 'import yaml, jsonschema' 2>/dev/null ||
	die "python3-yaml or python3-jsonschema is missing (run 'make deps')"

source=$("$VM_DIR/kernel.sh" source)
work=$(mktemp -d)
trap 'rm -rf -- "$work"' EXIT

# The generator writes the specification's path below the next directory that
# looks like the top of a kernel tree, and wants its schema there.
mkdir -p "$work/$(dirname "$SPEC")" "$work/kmod" "$work/uapi/linux"
cp "$TOP_DIR/$SPEC" "$work/$SPEC"
cp "$source"/Documentation/netlink/*.yaml "$work/uapi/"
touch "$work/MAINTAINERS"

rc=0
while read -r mode side file; do
	[ -n "$mode" ] || continue
	$PYTHON -B "$source/tools/net/ynl/pyynl/ynl_gen_c.py" \
		--spec "$work/$SPEC" --mode "$mode" "$side" -o "$work/$file"
	sed -i 's,^/\* To regenerate run: .*,/* To regenerate run: make ynl-regen */,' \
		"$work/$file"
	if [ "${1:-}" = --check ]; then
		diff -u --label "$file" --label "$file (generated)" \
			"$TOP_DIR/$file" "$work/$file" || rc=1
	elif ! cmp -s "$work/$file" "$TOP_DIR/$file"; then
		cp "$work/$file" "$TOP_DIR/$file"
		say "  YNL     $file"
	fi
done <<<"$OUTPUTS"
exit $rc
