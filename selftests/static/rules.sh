# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
#
# The project's own semantic patches: what the module has to keep to.

COCCI_DIR=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)/cocci

# own_rule NAME: fails if the rule finds anything in kmod/.
own_rule()
{
	local out

	out=$(spatch --very-quiet --cocci-file "$COCCI_DIR/$1.cocci" \
		--include-headers-for-types --local-includes -I kmod \
		kmod/*.[ch] 2>&1) || {
		echo "$out"
		return 1
	}
	echo "$out"
	[ -z "$out" ]
}
