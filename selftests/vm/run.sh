#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# Boot a stock kernel in QEMU and run one command there, as root.
#
#   run.sh --kernel SERIES [options] -- COMMAND [ARG…]
#
# SERIES can also be a directory as kernel.sh makes it: vmlinuz,
# modules.squashfs, and usr/lib/modules/RELEASE.
#
#   --payload DIR     what the command needs; it is started in a copy of it,
#                     /run/payload
#   --disk-in TAR     the same, packed already
#   --module FILE.ko  install this module in the VM (not loaded; repeatable)
#   --out DIR         keep the logs, and what the command leaves in /run/out,
#                     there: console.log, output.log, out/
#   --mem MIB         memory (2048)
#   --cpus N          processors (2)
#   --timeout S       kill it after that long (600)
#   --append WORDS    more kernel parameters
#   --disk NAME=FILE  a read-only disk with that serial number (repeatable)
#   --netdev OPTIONS  a network card with this backend, eth0 in the VM
#   --races-of MODULE a data race that KCSAN reports counts only if one of the
#                     two accesses is in this module
#
# The command's output appears on stdout as it comes. The exit status is that
# of the command, or 125 if the VM did not come to its end, or if the kernel
# warned of something. It never comes from text on the console.
#
# Emulation has a rare fault of its own: when the kernel patches code that
# another processor runs, that one can go on seeing the breakpoint that was
# there for a moment, and the kernel dies of an int3 that it does not know, in
# a function of its own. The VM is started again when that happens before the
# command has begun; after that, the status is 122. An int3 in the module tapmig
# or where there is no function is a failure like any other: 7.3 fills the code
# of a module that has gone with them, so whatever still runs there dies so.

set -euo pipefail
shopt -s inherit_errexit
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

FAILED=125
EMULATION_FAILED=122
EMULATION_FAULT='(Oops: )?int3: 0000 \[#1\]'

# What a healthy kernel does not print, nor one that looks for errors on end.
# Lockdep and UBSAN leave no other trace: what was dropped may have been theirs.
TROUBLE='WARNING:|BUG:|Oops|Call Trace|possible recursive|unreferenced object'
TROUBLE+='|UBSAN:|KASAN:|Kernel panic|soft lockup|detected (expedited )?stall'
TROUBLE+='|blocked for more than|general protection fault'
TROUBLE+='|waiting for .* to become free|leaked reference'
TROUBLE+='|printk messages dropped|Cannot allocate a kmemleak_object'
TROUBLE+='|Kernel memory leak detector disabled'

# D, W, B, L in the taint mask: died, warned, bad page, lock-up.
TAINT_MASK=$(((1 << 7) | (1 << 9) | (1 << 5) | (1 << 14)))

fail()
{
	say "run.sh: $*"
	if [ -s "$dir/console.log" ]; then
		say "run.sh: the end of the console:"
		tail -n "${TAPMIG_CONSOLE_LINES:-40}" "$dir/console.log" |
			tr -d '\r' >&2
	fi
	[ -z "$out" ] || say "run.sh: logs are in $dir"
	exit $FAILED
}

kernel='' payload='' disk_in='' out='' mem=2048 cpus=2 timeout=600 append=''
netdev='' races_of=''
modules=() extra_disks=()
while [ $# -gt 0 ]; do
	case $1 in
	--) shift; break ;;
	--kernel|--payload|--disk-in|--module|--out|--mem|--cpus|--timeout| \
	--append|--disk|--netdev|--races-of)
		[ $# -ge 2 ] || die "$1 needs a value" ;;&
	--kernel) kernel=$2 ;;
	--payload) payload=$2 ;;
	--disk-in) disk_in=$2 ;;
	--module) modules+=("$2") ;;
	--out) out=$2 ;;
	--mem) mem=$2 ;;
	--cpus) cpus=$2 ;;
	--timeout) timeout=$2 ;;
	--append) append=$2 ;;
	--disk) extra_disks+=("$2") ;;
	--netdev) netdev=$2 ;;
	--races-of) races_of=$2 ;;
	*) die "unknown option '$1' (is '--' missing before the command?)" ;;
	esac
	shift 2
done
[ -n "$kernel" ] || die "no --kernel"
[ $# -gt 0 ] || die "no command"
[ -z "$payload" ] || [ -d "$payload" ] || die "no directory $payload"
[ -z "$disk_in" ] || [ -f "$disk_in" ] || die "no file $disk_in"
[ -z "$payload" ] || [ -z "$disk_in" ] ||
	die "--payload and --disk-in exclude each other"
for n in "$mem" "$cpus" "$timeout"; do
	[[ $n =~ ^[1-9][0-9]*$ ]] || die "'$n' is not a number"
done
for m in ${modules[@]+"${modules[@]}"}; do
	[ -f "$m" ] || die "no module $m"
done
for d in ${extra_disks[@]+"${extra_disks[@]}"}; do
	[ -f "${d#*=}" ] || die "no disk image ${d#*=}"
done
need qemu-system-x86_64 busybox cpio tar modprobe depmod

if [ -f "$kernel/vmlinuz" ]; then
	image=$(cd "$kernel" && pwd)
	release=$(basename "$image"/usr/lib/modules/*)
else
	image=$("$VM_DIR/kernel.sh" image "$kernel")
	release=$("$VM_DIR/kernel.sh" release "$kernel")
fi
rootfs=$("$VM_DIR/rootfs.sh")

mkdir -p "$CACHE/run"
find "$CACHE/run" -mindepth 1 -maxdepth 1 -mmin +1440 -exec rm -rf -- {} +
work=$(mktemp -d "$CACHE/run/XXXXXX")
vm=
trap '[ -z "$vm" ] || kill "$vm" 2>/dev/null || :; rm -rf -- "$work"' EXIT
trap 'exit 143' TERM
trap 'exit 130' INT
if [ -n "$out" ]; then
	mkdir -p "$out"
	dir=$(cd "$out" && pwd)
	rm -rf -- "${dir:?}"/{console.log,output.log,status,out}
else
	dir=$work
fi

# The payload, the modules in it.
if [ -n "$disk_in" ]; then
	cp "$disk_in" "$work/payload.tar"
else
	tar -c -C "${payload:-$(mktemp -d "$work/none.XXXX")}" \
		--owner=0 --group=0 --exclude=./.modules \
		-f "$work/payload.tar" .
fi
if [ ${#modules[@]} -gt 0 ]; then
	# Dependencies are worked out here, over all modules of the kernel:
	# depmod takes long under emulation.
	base=$work/base/lib/modules/$release
	mkdir -p "$work/base/lib/modules" "$work/extra/.modules/updates"
	cp -al "$image/usr/lib/modules/$release" "$base" 2>/dev/null ||
		cp -a "$image/usr/lib/modules/$release" "$base"
	rm -f "$base"/modules.{dep,alias,symbols,softdep,devname}{,.bin}
	mkdir -p "$base/updates"
	for m in "${modules[@]}"; do
		cp "$m" "$base/updates/"
		cp "$m" "$work/extra/.modules/updates/"
	done
	PATH=$PATH:/usr/sbin:/sbin depmod -b "$work/base" "$release"
	cp "$base"/modules.{dep,alias,symbols,softdep,devname}* \
		"$work/extra/.modules/"
	rm -rf "$work/base"
	tar -r -C "$work/extra" --owner=0 --group=0 -f "$work/payload.tar" \
		.modules
fi
truncate -s %1M "$work/payload.tar"
truncate -s 4G "$work/results.tar"

# The initramfs: busybox, the modules for the disks, the command.
ird=$work/initramfs
mkdir -p "$ird/bin" "$ird/modules"
cp "$(command -v busybox)" "$ird/bin/busybox"
install -m 755 "$VM_DIR/initramfs-init" "$ird/init"
cp "$VM_DIR/vm-init" "$ird/vm-init"
printf '%q ' "$@" >"$ird/vm-command"
n=100
for m in virtio_pci virtio_blk squashfs overlay; do
	PATH=$PATH:/usr/sbin:/sbin modprobe -d "$image" -S "$release" \
		--show-depends -a "$m"
done | awk '$1 == "insmod" && !seen[$2]++ { print $2 }' >"$work/list"
while read -r m; do
	cp "$m" "$ird/modules/$((n++))-${m##*/}"
done <"$work/list"
(cd "$ird" && find . | cpio -o -H newc --quiet) >"$work/initrd"

disk()
{
	printf '%s\n' -drive "if=none,format=raw,id=$1,file=$2,$3" \
		-device "virtio-blk-pci,drive=$1,serial=$1"
}

mapfile -t disks < <(
	disk root "$rootfs" readonly=on
	disk modules "$image/modules.squashfs" readonly=on
	disk payload "$work/payload.tar" readonly=on
	disk results "$work/results.tar" cache=unsafe
	for d in ${extra_disks[@]+"${extra_disks[@]}"}; do
		disk "${d%%=*}" "${d#*=}" readonly=on
	done
)

# What the kernel would measure itself, badly when this machine is busy.
tsc_khz=$("$VM_DIR/tsc-khz.py" 2>/dev/null || :)

# The other processors start when the kernel has done patching itself. Whatever
# may take its time on a busy machine has a minute: lock-ups, stalls of RCU and
# of work items.
parameters=(
	console=ttyS0 8250.nr_uarts=4 loglevel=5
	panic=-1 oops=panic panic_on_warn=1 hung_task_panic=1
	softlockup_panic=1 watchdog_thresh=30 rcupdate.rcu_cpu_stall_timeout=60
	workqueue.watchdog_thresh=60 log_buf_len=1M maxcpus=1
	mitigations=off random.trust_cpu=on tsc=reliable net.ifnames=0
	no_timer_check
	${tsc_khz:+"tsc_early_khz=$tsc_khz"}
)

# Emulation always: the kernels do not boot on every /dev/kvm. Five-level
# page tables only make it slower.
# shellcheck disable=SC2054 # commas belong to the options
qemu=(
	qemu-system-x86_64 -accel tcg,thread=multi -cpu max,la57=off
	-machine pc -smp "$cpus" -m "$mem"
	-nodefaults -no-user-config -no-reboot -display none -nic none
	-kernel "$image/vmlinuz" -initrd "$work/initrd"
	-append "${parameters[*]} $append"
	-chardev "file,id=console,path=$dir/console.log"
	-chardev "file,id=status,path=$dir/status"
	-chardev file,id=output,path=/dev/stdout
	-serial chardev:console -serial chardev:status -serial chardev:output
	"${disks[@]}"
)
[ -z "$netdev" ] || qemu+=(
	-netdev "$netdev,id=net0"
	-device "virtio-net-pci,netdev=net0,romfile="
)

boot()
{
	local tee

	rm -f "$dir/console.log" "$dir/status"
	exec {stream}> >(exec tee "$dir/output.log")
	tee=$!
	setpriv --pdeathsig TERM timeout -k 5 "$timeout" "${qemu[@]}" \
		</dev/null 1>&"$stream" 2>"$work/qemu.log" &
	vm=$!
	exec {stream}>&-
	rc=0
	wait "$vm" || rc=$?
	vm=
	wait "$tee" || :
	[ ! -s "$work/qemu.log" ] || sed 's/^/qemu: /' "$work/qemu.log" >&2
	status=$(cat "$dir/status" 2>/dev/null || :)
}

# emulation_failed: has the kernel died of that fault? The first RIP after it
# says where.
emulation_failed()
{
	local rip

	rip=$(sed -nE "/$EMULATION_FAULT/,\$ { /RIP: 0010:/ { p; q } }" \
		"$dir/console.log")
	case $rip in
	''|*'RIP: 0010:0x'*|*'[tapmig]'*) return 1 ;;
	esac
}

for try in 1 2 3; do
	boot
	if [ "$rc" -ne 0 ] || [ -n "$status" ] || ! emulation_failed; then
		break
	fi
	if grep -q 'tapmig-vm: up' "$dir/console.log"; then
		FAILED=$EMULATION_FAILED
		break
	fi
	say "run.sh: the emulation failed (attempt $try), starting again"
done

case $rc in
124|137) fail "no end after $timeout s, killed" ;;
esac
[ "$rc" -eq 0 ] || fail "QEMU ended with status $rc"
if ! [[ $status =~ ^exit\ ([0-9]+)\ taint\ ([0-9]+)$ ]]; then
	fail "the VM died: ${status:-no exit status}"
fi
command_rc=${BASH_REMATCH[1]} taint=${BASH_REMATCH[2]}
if [ -n "$out" ]; then
	mkdir -p "$dir/out"
	tar -x -C "$dir/out" --no-same-owner -f "$work/results.tar"
fi
# complaints [oom=1]: the first lines of trouble, in what is on stdin. With that,
# where the killer of processes was called from is none: tests that have it come
# keep that off the console.
complaints()
{
	awk -v trouble="$TROUBLE" -v module="$races_of" '
		/ invoked oom-killer: / { killer = oom }
		/ut of memory: Killed process / { killer = 0 }
		$0 !~ trouble || (killer && /Call Trace/) { next }
		module && /BUG: KCSAN: / && !index($0, "[" module "]") { next }
		++n <= 5 { print NR ":" $0 }' "$@" -
}

trouble=$(complaints <"$dir/console.log")
# Not all of it is for the console.
[ -n "$trouble" ] || trouble=$(tar -x -O -f "$work/results.tar" ./dmesg.txt |
	complaints oom=1)
if [ -n "$trouble" ]; then
	say "$trouble"
	fail "the kernel complained"
fi
[ $((taint & TAINT_MASK)) -eq 0 ] || fail "the kernel is tainted: $taint"
exit "$command_rc"
