#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""A guest that libvirt manages migrates between two hosts, under traffic.

    libvirt.py [ROW...]

Runs in the VM, prints KTAP, as migration.py does. Each host has a libvirtd of
its own, and is set up as docs/libvirt.md says. One boot of the guest serves all
rows. The card with vhost-net has a TAP that libvirt makes and puts into a
bridge, the other one is there before (ethernet, managed='no').
"""

import json
import os
import re
import signal
import subprocess
import sys

import migration
import rig
from hosts import TIMEOUT, Failure, Lines, ip, run
from migration import AFTER, OUT, STOPPED, both_hosts, must_lose, nothing
from rig import HOST_ADDRESS, HOSTS, NETS, RUN, other, tapmig, wait_until

GUEST = "vm1"
ROOT = "/run/hosts/base"
BOOT = "/var/lib/libvirt/boot"
SERIAL = f"/var/log/libvirt/qemu/{GUEST}.serial"
MONITOR = f"/run/tapmig-qmp/{GUEST}.qmp"
# By TCG, see libvirt-emulator.sh.
PATCHED = "/usr/local/bin/tcg-hold"
STOCK = "/usr/local/bin/tcg-stock"
# What makes the holds: QEMU's property, nothing, tapmig-qmp. The emulator, what
# the labels begin with, what the XML has beside.
HOLDS = {
    "on": (PATCHED, f"{rig.UUID}/hostnet",
           f"<qemu:env name='TAPMIG_HOLD_WAIT' value='{rig.HOLD_WAIT}'/>"),
    "off": (STOCK, "", ""),
    "hook": (STOCK, f"{GUEST}/net",
             f"<qemu:arg value='-qmp'/>"
             f"<qemu:arg value='unix:{MONITOR},server=on,wait=off'/>"),
}
# As the package of the distribution makes it.
QEMU_UID = 64055
# MiB/s: a migration that does not come to its end.
SLOW = "1"

NAMESPACE = "xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'"
DOMAIN = f"""\
<domain type='kvm' {NAMESPACE}>
""" """\
  <name>{name}</name>
  <uuid>{uuid}</uuid>
  <memory unit='MiB'>128</memory>
  <vcpu>2</vcpu>
  <os>
    <type arch='x86_64' machine='pc'>hvm</type>
    <kernel>{boot}/guest-vmlinuz</kernel>
    <initrd>{boot}/guest-initrd</initrd>
    <cmdline>console=ttyS0 quiet panic=-1 tsc=reliable no_timer_check</cmdline>
  </os>
  <features>
    <acpi/>
    <apic/>
  </features>
  <cpu mode='custom' match='exact' check='none'><model>qemu64</model></cpu>
  <devices>
    <emulator>{emulator}</emulator>
    <controller type='usb' model='none'/>
    <memballoon model='none'/>
    <serial type='file'><source path='{serial}'/></serial>
{cards}  </devices>
  <qemu:commandline>{beside}</qemu:commandline>
</domain>
"""
CARDS = {
    True: """\
    <interface type='bridge'>
      <source bridge='br{n}'/>
      <target dev='tap{n}'/>
      <driver name='vhost' queues='{queues}'/>
""",
    False: """\
    <interface type='ethernet'>
      <target dev='tap{n}' managed='no'/>
      <driver name='qemu'/>
"""}
CARD = """\
      <mac address='{mac}'/>
      <model type='virtio'/>
      <rom enabled='no'/>
    </interface>
"""


def domain(hold):
    cards = "".join((CARDS[net["vhost"]] + CARD).format(n=n, **net)
                    for n, net in enumerate(NETS))
    emulator, _, beside = HOLDS[hold]
    return DOMAIN.format(name=GUEST, uuid=rig.UUID, boot=BOOT, serial=SERIAL,
                         emulator=emulator, cards=cards, beside=beside)


def changed(xml, hold):
    """The domain as it is, but for what makes holds."""
    emulator, _, beside = HOLDS[hold]
    xml = re.sub("<emulator>.*</emulator>", f"<emulator>{emulator}</emulator>",
                 xml)
    xml = re.sub("<qemu:commandline.*</qemu:commandline>|<qemu:commandline/>",
                 "", xml, flags=re.DOTALL)
    if "xmlns:qemu" not in xml:
        xml = xml.replace("<domain ", f"<domain {NAMESPACE} ", 1)
    return xml.replace("</domain>", f"<qemu:commandline>{beside}"
                       "</qemu:commandline></domain>")


class Host:
    """A host, and the libvirt there."""

    def __init__(self, name):
        self.name = name
        self.process = subprocess.Popen(
            ["./libvirt-host.sh", ROOT, name, HOST_ADDRESS[name], other(name),
             HOST_ADDRESS[other(name)]],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
        Lines(self.process, f"{name}'s libvirt").wait("^ready$")
        self.root = f"/proc/{self.process.pid}/root"
        for f in "guest-vmlinuz", "guest-initrd":
            self.run("cp", f"/run/payload/{f}", BOOT)
        self.events = None

    def listen(self):
        """From now on, what happens to guests here is heard of."""
        p = self.start("virsh", "event", "--all", "--loop")
        self.events = Lines(p, f"events of {self.name}")

    def inside(self, *command):
        return ["nsenter", f"--target={self.process.pid}", "--mount", "--net",
                "--uts", "--ipc", "--cgroup", *command]

    def run(self, *command):
        return run(*self.inside(*command)).decode()

    def start(self, *command):
        return subprocess.Popen(
            self.inside(*command), stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, bufsize=0)

    def virsh(self, *arguments):
        return self.run("virsh", *arguments)

    def guests(self):
        return self.virsh("list", "--all", "--name").split()

    def state(self):
        return self.virsh("domstate", GUEST).strip()

    def qemu_pid(self):
        with open(f"{self.root}/run/libvirt/qemu/{GUEST}.pid") as f:
            return int(f.read())

    def confined(self):
        """QEMU is shut in, as it is on the hosts of users."""
        pid = self.qemu_pid()
        devices = os.listdir(f"/proc/{pid}/root/dev")
        if os.stat(f"/proc/{pid}").st_uid != QEMU_UID:
            raise Failure("QEMU runs as another user")
        if "tapmig" not in devices or "net" in devices:
            raise Failure(f"QEMU has a /dev with {devices}")
        with open(f"/proc/{pid}/cgroup") as f:
            # That of the processors is below.
            group = os.path.dirname(f.read().strip().split("::")[1])
        programs = run("bpftool", "cgroup", "show", f"/sys/fs/cgroup{group}")
        if b"cgroup_device" not in programs:
            raise Failure(f"{group} may use all devices")
        with open(f"/proc/{pid}/attr/apparmor/current") as f:
            profile = f.read().strip()
        if profile != f":{self.name}:libvirt-{rig.UUID} (enforce)":
            raise Failure(f"QEMU has the profile {profile}")
        with open(f"/proc/{pid}/status") as f:
            # A filter of system calls.
            if not re.search(r"^Seccomp:\s2$", f.read(), re.MULTILINE):
                raise Failure("QEMU has no sandbox")

    def said(self, path):
        try:
            with open(f"{self.root}{path}", errors="replace") as f:
                return f.read()
        except FileNotFoundError:
            return ""

    def end(self):
        """All that runs there. What was logged stays."""
        for path in (SERIAL, f"/var/log/libvirt/qemu/{GUEST}.log",
                     f"/run/tapmig-hook/{GUEST}.log"):
            with open(f"{OUT}/{self.name}{path.replace('/', '-')}", "w") as f:
                f.write(self.said(path))
        if self.events:
            self.events.process.kill()
        with open(f"/sys/fs/cgroup/{self.name}/cgroup.kill", "w") as f:
            f.write("1")
        self.process.wait()


class Place:
    """Where the guest is; what migration.py has a QEMU for."""

    def __init__(self, host):
        self.host = host

    def quit(self):
        pass


class Rows(migration.Rows):
    def __init__(self, hosts):
        super().__init__()
        self.hosts = hosts
        self.migrations = []

    @property
    def here(self):
        return self.hosts[self.qemu.host]

    @property
    def there(self):
        return self.hosts[other(self.qemu.host)]

    def boot(self, hold):
        self.say(f"the guest boots, holds: {hold}")
        self.qemu, self.hold = Place(HOSTS[0]), hold
        with open(f"{RUN}/{GUEST}.xml", "w") as f:
            f.write(domain(hold))
        self.here.virsh("create", f"{RUN}/{GUEST}.xml")
        wait_until("the guest is ready",
                   lambda: "guest: ready" in self.here.said(SERIAL))
        self.here.confined()
        if not self.traffic:
            self.traffic = rig.Traffic()

    def migrate(self, *options):
        """Begin to, in precopy."""
        for host in self.hosts.values():
            host.events.forget()
        self.migrations.append(self.here.start(
            "virsh", "migrate", "--live", *options, GUEST,
            f"qemu+tcp://{self.there.name}/system"))
        return self.migrations[-1]

    def end_migration(self, process, wanted=True):
        try:
            said = process.communicate(timeout=TIMEOUT)[0].decode().strip()
        except subprocess.TimeoutExpired as e:
            raise Failure("virsh migrate does not end") from e
        self.migrations.remove(process)
        if wanted != (process.returncode == 0):
            raise Failure(f"virsh migrate: status {process.returncode}, {said}")
        return said

    def arrived(self, hold):
        self.qemu, self.hold = Place(self.there.name), hold

    def move(self, hold):
        """Without traffic, to an emulator of that kind."""
        self.say(f"the guest moves, holds: {hold}")
        xml = self.here.virsh("dumpxml", "--migratable", GUEST)
        with open(f"{RUN}/{GUEST}.xml", "w") as f:
            f.write(changed(xml, hold))
        self.end_migration(self.migrate("--xml", f"{RUN}/{GUEST}.xml"))
        self.arrived(hold)

    def give_up(self):
        for p in self.migrations:
            p.kill()
            p.communicate()
        self.migrations = []
        try:
            self.end_relays()
        except Failure as e:
            self.say(str(e))
        if self.traffic:
            self.traffic.end()
            self.traffic = None
        self.qemu = None
        for host in self.hosts.values():
            try:
                if GUEST in host.guests():
                    os.kill(host.qemu_pid(), signal.SIGKILL)
                    wait_until("the guest's end",
                               lambda h=host: GUEST not in h.guests())
                for h in rig.holds(host.name):
                    tapmig(host.name, "discard", "id", str(h["id"]))
            except (Failure, OSError) as e:
                self.say(str(e))


def in_precopy(rows, *options):
    """A migration under way, until the guest stops. Its virsh."""
    virsh = rows.migrate(*options)
    rows.here.events.wait("migration-iteration", bad="Stopped")
    return virsh


def at_the_stop(rows):
    """
    The guest is stopped; how many frames were sent just before. The relay is
    at work, but nobody has told the destination to let the guest run: the
    program that would is stopped too.
    """
    before = rows.traffic.wait(1)
    rows.here.events.wait("Suspended")
    rows.say(f"the guest is stopped, {before} frames")
    rows.traffic.wait(STOPPED)
    return nothing() if rows.hold == "off" else both_hosts(rows)


def runs_there(rows, virsh):
    rows.there.events.wait("Resumed")
    rows.say(f"it runs on {rows.there.name}")
    rows.traffic.wait(AFTER)
    rows.end_migration(virsh)
    rows.arrived(rows.hold)
    if rows.relays:
        rows.end_relays(wait=True)


def ordinary(rows, *options):
    if rows.hold == "on":
        rows.start_relays(rows.there.name)
    virsh = in_precopy(rows, *options)
    # It has the migration performed; what comes next is up to it.
    virsh.send_signal(signal.SIGSTOP)
    if rows.postcopy:
        rows.here.virsh("migrate-postcopy", GUEST)
    complaints = at_the_stop(rows)
    virsh.send_signal(signal.SIGCONT)
    runs_there(rows, virsh)
    return complaints


def baseline(rows):
    rows.judge = must_lose
    return ordinary(rows)


def precopy(rows):
    return ordinary(rows)


def postcopy(rows):
    rows.postcopy = True
    return ordinary(rows, "--postcopy")


def peer_to_peer(rows):
    """The daemons do it by themselves."""
    rows.start_relays(rows.there.name)
    runs_there(rows, in_precopy(rows, "--p2p"))
    return nothing()


def stays(rows, virsh):
    """The migration came to nothing: the guest runs on where it was."""
    rows.end_migration(virsh, wanted=False)
    state = rows.here.state()
    if state != "running":
        raise Failure(f"the guest is {state}")
    rows.say("it runs on, where it was")
    if GUEST in rows.there.guests():
        raise Failure(f"a guest is left on {rows.there.name}")
    rows.traffic.wait(AFTER)
    rows.end_relays()


def abort_in_precopy(rows):
    """By the user; the virsh that has the migration."""
    rows.start_relays(rows.there.name)
    virsh = in_precopy(rows, "--bandwidth", SLOW)
    rows.traffic.wait(STOPPED // 2)
    rows.here.virsh("domjobabort", GUEST)
    return virsh


def aborted(rows):
    stays(rows, abort_in_precopy(rows))
    return nothing()


def aborted_paused(rows):
    """A guest that was paused before: its frames are held."""
    rows.here.virsh("suspend", GUEST)
    rows.traffic.wait(STOPPED // 2)
    rows.start_relays(rows.there.name)
    virsh = in_precopy(rows, "--bandwidth", SLOW)
    rows.traffic.wait(STOPPED // 2)
    complaints = both_hosts(rows)
    rows.here.virsh("domjobabort", GUEST)
    rows.end_migration(virsh, wanted=False)
    rows.traffic.wait(STOPPED // 2)
    rows.here.virsh("resume", GUEST)
    rows.traffic.wait(AFTER)
    rows.end_relays()
    return complaints


def suspended(rows):
    """
    The user lets it run seconds after the migration. There is no TAP any more
    at the source then, where the network delivers to until it hears of the
    guest.
    """
    rows.judge = migration.at_most_stopped(rows)
    rows.start_relays(rows.there.name)
    virsh = in_precopy(rows, "--suspend")
    virsh.send_signal(signal.SIGSTOP)
    complaints = at_the_stop(rows)
    before = rows.traffic.wait(1)
    virsh.send_signal(signal.SIGCONT)
    rows.end_migration(virsh)
    rows.there.virsh("resume", GUEST)
    rows.arrived(rows.hold)
    after = rows.traffic.wait(1)
    rows.traffic.wait(AFTER)
    rows.stopped_frames = [b - a for a, b in zip(before, after)]
    rows.end_relays(wait=True)
    return complaints


def dumped(rows):
    """Written to a file, which takes a migration; it runs on then."""
    rows.here.events.forget()
    rows.traffic.wait(STOPPED // 2)
    rows.here.virsh("dump", GUEST, "/var/tmp/dump")
    rows.here.run("rm", "/var/tmp/dump")
    rows.traffic.wait(AFTER)
    return nothing()


def saved(rows):
    """To a file, and brought back: what came between is nobody's."""
    before = rows.traffic.wait(1)
    rows.here.virsh("save", GUEST, "/var/tmp/save")
    rows.traffic.wait(STOPPED // 2)
    rows.here.virsh("restore", "/var/tmp/save")
    after = rows.traffic.wait(1)
    rows.here.run("rm", "/var/tmp/save")
    rows.traffic.wait(AFTER)
    rows.stopped_frames = [b - a for a, b in zip(before, after)]
    rows.judge = migration.at_most_stopped(
        rows, *(f"{kind} lost" for kind in rig.FLOODED))
    return nothing()


def hooks_aborted(rows):
    """The program hears of it, and leaves the limits as they were."""
    before = limits(rows.here)
    hook = Hook(rows.here)
    stays(rows, abort_in_precopy(rows))
    hook.end(1)
    if limits(rows.here) != before:
        raise Failure(f"limits {limits(rows.here)}, before {before}")
    return nothing()


def destination_dies(rows):
    """When it has all of the guest, but before it runs there."""
    rows.start_relays(rows.there.name)
    virsh = in_precopy(rows)
    virsh.send_signal(signal.SIGSTOP)
    complaints = at_the_stop(rows)
    os.kill(rows.there.qemu_pid(), signal.SIGKILL)
    virsh.send_signal(signal.SIGCONT)
    stays(rows, virsh)
    return complaints


def limits(host):
    """Those of migrations, as QEMU has them."""
    said = json.loads(host.virsh("qemu-monitor-command", GUEST, json.dumps(
        {"execute": "query-migrate-parameters"})))["return"]
    return said["downtime-limit"], said["max-bandwidth"]


class Hook:
    """tapmig-qmp at the source; libvirt's hook starts that of the other."""

    def __init__(self, host):
        self.process = host.start(
            "tapmig-qmp", "source", MONITOR, "--patience", str(TIMEOUT),
            *(f"tap{n}={rig.LABEL}{n}" for n in range(len(NETS))))
        self.lines = Lines(self.process, "tapmig-qmp source")
        self.lines.wait("^ready$")

    def wait(self, text):
        self.lines.wait(f"^{text}$", bad="^(late|too much is left)$")

    def end(self, wanted):
        try:
            status = self.process.wait(TIMEOUT)
        except subprocess.TimeoutExpired:
            self.process.kill()
            status = self.process.wait()
        if status != wanted:
            raise Failure(f"tapmig-qmp: status {status}")


def hooks(rows):
    """QEMU as the distribution has it, tapmig-qmp beside it."""
    rows.judge = migration.all_delivered
    rows.start_relays(rows.there.name)
    hook = Hook(rows.here)
    virsh = rows.migrate()
    hook.wait("frozen")
    virsh.send_signal(signal.SIGSTOP)
    complaints = at_the_stop(rows)
    virsh.send_signal(signal.SIGCONT)
    runs_there(rows, virsh)
    hook.wait("completed")
    hook.end(0)
    return complaints


# The QEMU of the distribution has more than ours, which is built for the tests:
# guests go from ours to that, not back.
ROWS = {
    "libvirt-precopy": ("on", precopy),
    "libvirt-p2p": ("on", peer_to_peer),
    "libvirt-postcopy": ("on", postcopy),
    "libvirt-suspended": ("on", suspended),
    "libvirt-aborted": ("on", aborted),
    "libvirt-aborted-paused": ("on", aborted_paused),
    "libvirt-destination-dies": ("on", destination_dies),
    "libvirt-dumped": ("on", dumped),
    "libvirt-saved": ("on", saved),
    "libvirt-baseline": ("off", baseline),
    "libvirt-hooks-aborted": ("hook", hooks_aborted),
    "libvirt-hooks": ("hook", hooks),
}


def versions(host):
    print("#", host.virsh("version", "--daemon").replace("\n", "\n# "),
          flush=True)


def main():
    wanted = sys.argv[1:] or list(ROWS)
    print("KTAP version 1")
    print(f"1..{len(wanted) * len(NETS)}", flush=True)
    rig.topology()
    for host in HOSTS:
        # libvirt makes its own.
        ip(host, "link", "del", "tap0")
    hosts = {name: Host(name) for name in HOSTS}
    versions(hosts["hostA"])
    for host in hosts.values():
        host.listen()
    rows = Rows(hosts)
    for name in wanted:
        hold, function = ROWS[name]
        rig.LABEL = HOLDS[hold][1]
        rows.row(name, hold, function)
    rows.give_up()
    rows.table()
    for host in hosts.values():
        host.end()
    return 1 if rows.failed else 0


if __name__ == "__main__":
    sys.exit(main())
