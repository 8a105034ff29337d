#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# What a user of dkms does, with the dkms of each release, its own trees, and
# the headers of a stock kernel; then load that very file in the VM. In KTAP.

set -euo pipefail
shopt -s inherit_errexit
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source-path=SCRIPTDIR source=ktap.sh
. "$VM_DIR/ktap.sh"

version=$(sed -n 's/^PACKAGE_VERSION="\(.*\)"/\1/p' "$TOP_DIR/dkms.conf")
work=$(mktemp -d)
scratch=()
trap 'rm -rf -- "$work" ${scratch[@]+"${scratch[@]}"}' EXIT

# dkms_do COMMAND [OPTION…]
dkms_do()
{
	echo "+ dkms $*"
	in_root "$root" /usr/sbin/dkms "$@" \
		--dkmstree "$in/dkms" --sourcetree "$in/src" \
		--installtree "$in/modules" </dev/null
}

# setup SERIES
setup()
{
	root=$("$VM_DIR/kernel.sh" root "$1")
	release=$("$VM_DIR/kernel.sh" release "$1")
	mkdir -p "$root/build"
	dir=$(mktemp -d "$root/build/dkms.XXXXXX")
	in=${dir#"$root"}
	scratch+=("$dir")
	mkdir -p "$dir"/{tree,dkms,src,modules}
	tree_files | tar -c -C "$TOP_DIR" -T - | tar -x -C "$dir/tree"
	# What the header packages install.
	mkdir "$dir/modules/$release"
	ln -s "/usr/src/linux-headers-$release" "$dir/modules/$release/build"
}

add_build_install()
{
	local module=(-m tapmig -v "$version")

	in_root "$root" /usr/sbin/dkms --version
	dkms_do add "$in/tree"
	dkms_do build "${module[@]}" -k "$release" || {
		cat "$dir/dkms/tapmig/$version/build/make.log"
		return 1
	}
	dkms_do install "${module[@]}" -k "$release" --no-depmod
	dkms_do status | tee "$work/status"
	grep -q "^tapmig/$version, $release.*: installed" "$work/status"
	find "$dir/modules/$release" -name 'tapmig.ko*' \
		-exec cp -t "$work" {} +
	[ ! -f "$work/tapmig.ko.xz" ] || xz -d "$work/tapmig.ko.xz"
	[ -f "$work/tapmig.ko" ]
}

module_loads()
{
	local sum

	sum=$(sha256sum <"$work/tapmig.ko")
	# shellcheck disable=SC2016 # for the shell in the VM
	"$VM_DIR/run.sh" --kernel "$1" --module "$work/tapmig.ko" \
		--timeout 120 -- bash -ec '
		f=$(modinfo -n tapmig)
		[ "$(sha256sum <$f)" = "$1" ]
		[ "$(modinfo -F version tapmig)" = "$2" ]
		modprobe tapmig
		[ -c /dev/tapmig ]
		modprobe -r tapmig' x "$sum" "$version"
}

remove_leaves_nothing()
{
	dkms_do remove -m tapmig -v "$version" --all
	[ -z "$(find "$dir/modules" -name 'tapmig.ko*')" ]
	[ ! -d "$dir/dkms/tapmig" ]
}

ktap_begin
for series in "${TEST_SERIES[@]}"; do
	setup "$series"
	rm -f "$work/tapmig.ko"
	ktap_case "add_build_install_$series" add_build_install
	ktap_case "module_loads_$series" module_loads "$series"
	ktap_case "remove_leaves_nothing_$series" remove_leaves_nothing
done
ktap_end
