#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# A host with libvirt, in the VM: a root file system of its own, and all
# namespaces that let two daemons take themselves for two machines. What is
# installed on it is what docs/libvirt.md says.
#
#   libvirt-host.sh ROOT HOST ADDRESS OTHER-HOST OTHER-ADDRESS
#
# ROOT is a read-only file system for all hosts. Runs until its standard input
# ends; says "ready" when the daemon may be asked.

set -euo pipefail

base=$1 host=$2 address=$3 other=$4 other_address=$5
dir=/run/hosts/$host
root=$dir/root
payload=$PWD
log=/run/rig/libvirtd-$host.log
apparmor=/sys/kernel/security/apparmor

if [ -z "${IN_NAMESPACES:-}" ]; then
	# libvirt makes groups below that of its daemon's namespace.
	echo "+cpu +memory +pids" >/sys/fs/cgroup/cgroup.subtree_control
	mkdir -p "/sys/fs/cgroup/$host"
	echo $$ >"/sys/fs/cgroup/$host/cgroup.procs"
	# Profiles of its own: those of a guest have the same name on both.
	mkdir "$apparmor/policy/namespaces/$host"
	echo "exec :$host://unconfined" >/proc/self/attr/apparmor/exec
	IN_NAMESPACES=1 exec ip netns exec "$host" \
		unshare --mount --uts --ipc --cgroup "$0" "$@"
fi

echo "$host" >/proc/sys/kernel/hostname
mkdir -p "$root" "$dir"/{upper,work}
mount --make-rprivate /
mount -t overlay -o "lowerdir=$base,upperdir=$dir/upper,workdir=$dir/work" \
	"$host" "$root"
mount --rbind /proc "$root/proc"
mount -t sysfs sysfs "$root/sys"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
mount -t securityfs securityfs "$root/sys/kernel/security"
mount --rbind /dev "$root/dev"
mount -t tmpfs -o mode=755 run "$root/run"
# Who has groups below has no processes itself.
mkdir "$root/sys/fs/cgroup/daemons"
echo $$ >"$root/sys/fs/cgroup/daemons/cgroup.procs"
mkdir -p "$root"/run/{rig,payload}
mount --bind /run/rig "$root/run/rig"
mount --bind "$payload" "$root/run/payload"
cd "$root"
mkdir -p mnt
pivot_root . mnt
umount -l mnt

# As the packages of the distribution do when they are installed.
rm -rf /var/run
ln -s /run /var/run
kvm=$(awk -F : '$1 == "kvm" { print $3 }' /etc/group)
echo "libvirt-qemu:x:64055:$kvm:libvirt:/var/lib/libvirt:/usr/sbin/nologin" \
	>>/etc/passwd
printf '%s\n' libvirt-qemu:x:64055:libvirt-qemu libvirt:x:994: >>/etc/group
mkdir -p /var/{cache,lib,log}/libvirt/qemu /etc/libvirt/hooks
chown libvirt-qemu:libvirt-qemu /var/lib/libvirt/qemu
chmod 750 /var/lib/libvirt/qemu
printf '%s\n' "127.0.0.1 localhost" "$address $host" \
	"$other_address $other" >/etc/hosts

# As the rules for udev do.
chgrp kvm /dev/{kvm,tapmig}
chmod 660 /dev/{kvm,tapmig}

# QEMU with the patches in the place of the distribution's own.
mv /usr/bin/qemu-system-x86_64 /usr/bin/qemu-system-x86_64.stock
ln -s /run/payload/qemu/qemu-system-x86_64 /usr/bin/qemu-system-x86_64
mkdir -p /usr/local/{bin,sbin}
install -m 755 /run/payload/bin/tapmig /usr/local/sbin/
install -m 755 /run/payload/{qemu-migration-hold,tapmig-qmp} /usr/local/bin/
install -m 755 /run/payload/libvirt-hook-qemu /etc/libvirt/hooks/qemu
for name in tcg-hold tcg-stock; do
	install -m 755 /run/payload/libvirt-emulator.sh "/usr/local/bin/$name"
done
install -d -o libvirt-qemu -g kvm -m 750 /run/tapmig-qmp

local=/etc/apparmor.d/local/usr.sbin.libvirtd
guests=/etc/apparmor.d/abstractions/libvirt-qemu.d
mkdir -p "$guests" "${local%/*}" /etc/apparmor.d/libvirt
cp /run/payload/apparmor-libvirt-qemu "$guests/tapmig"
cp /run/payload/apparmor-libvirtd "$local"
# What only the tests have.
printf '%s PUx,\n' /usr/local/bin/tcg-* /run/payload/qemu/qemu-* >>"$local"
cat >"$guests/tests" <<END
/usr/local/bin/tcg-* rix,
/usr/bin/qemu-system-x86_64.stock rmix,
/run/payload/qemu/** rmix,
END
for profile in usr.sbin.libvirtd usr.lib.libvirt.virt-aa-helper; do
	apparmor_parser --replace "/etc/apparmor.d/$profile"
done

cat >>/etc/libvirt/libvirtd.conf <<END
host_uuid = "$(cat /proc/sys/kernel/random/uuid)"
listen_tls = 0
listen_tcp = 1
auth_tcp = "none"
auth_unix_rw = "none"
log_filters = "1:qemu.qemu_migration 3:*"
log_outputs = "1:file:$log"
END
cat >>/etc/libvirt/qemu.conf <<END
cgroup_device_acl = [
    "/dev/null", "/dev/full", "/dev/zero", "/dev/random", "/dev/urandom",
    "/dev/ptmx", "/dev/kvm", "/dev/userfaultfd", "/dev/tapmig"
]
END

# Not with the tests' own programs.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin
virtlogd --daemon
libvirtd --listen --daemon
echo ready
cat >/dev/null
