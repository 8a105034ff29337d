#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""QEMUs with migration-hold= in all states that a migration has.

    states.py [quick|long] [CASE...]

Runs in the VM, prints KTAP. The machines have no guest: what is looked at are
the holds, in the kernel and by query-tap-holds. With "long" those cases too
that take long, with "quick" but some that migration.py has no row for.
"""

import ctypes
import fcntl
import json
import os
import re
import select
import signal
import socket
import struct
import sys
import threading
import time
import traceback

import rig
from hosts import Failure, ip, namespace, run
from qmp import Qemu
from rig import HOSTS, RUN, UUID, holds, tapmig, wait_until

QEMU = os.path.abspath("./qemu/qemu-system-x86_64")
SOCKET = f"{RUN}/migration"
MIGRATION = f"unix:{SOCKET}"
CLONE_NEWNET = 0x40000000
PTRACE_SEIZE, PTRACE_INTERRUPT, PTRACE_DETACH = 0x4206, 0x4207, 17
WALL = 0x40000000
TUNSETIFF = 0x400454CA
IFF_TAP, IFF_MULTI_QUEUE, IFF_NO_PI, IFF_VNET_HDR = 2, 0x100, 0x1000, 0x4000
ETHERTYPE = 0x88b5
PPOLL = "271"
# Slow enough to stay in precopy for most of a minute, see speed().
SLOW = 1000
FAST = 10 ** 10

CASES = {}
LONG = set()
QUICK = set()


def case(function):
    CASES[function.__name__] = function
    return function


def long(function):
    LONG.add(function.__name__)
    return function


def quick(function):
    QUICK.add(function.__name__)
    return function


def expect(value, wanted, what):
    if value != wanted:
        raise Failure(f"{what}: {value}, not {wanted}")


def called(function, *arguments):
    """One of the C library that fails with -1."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc[function](*map(ctypes.c_long, arguments)) == -1:
        number = ctypes.get_errno()
        raise OSError(number, f"{function}: {os.strerror(number)}")


# Hosts

class Inside:
    """This process is on a host, for a while."""

    def __init__(self, host):
        self.host = host

    @staticmethod
    def enter(path):
        with open(path) as f:
            called("setns", f.fileno(), CLONE_NEWNET)

    def __enter__(self):
        self.enter(f"/run/netns/{self.host}")

    def __exit__(self, *_):
        self.enter("/proc/1/ns/net")


def tap_name(queues):
    return "tap0" if queues == 1 else "taps"


def topology():
    os.makedirs(RUN, exist_ok=True)
    for host in HOSTS:
        namespace(host)
        for queues in 1, 4:
            name = tap_name(queues)
            ip(host, "tuntap", "add", name, "mode", "tap", "vnet_hdr",
               *(["multi_queue"] if queues > 1 else []))
            ip(host, "link", "set", name, "up")


OTHER_ADDRESS = bytes((2, 0, 0, 0, 0, 2))
# What QEMU gives to a first card without another one.
GUEST_ADDRESS = bytes((0x52, 0x54, 0, 0x12, 0x34, 0x56))


def frame(n, source=OTHER_ADDRESS):
    return struct.pack("!6s6sHI46x", bytes((2, 0, 0, 0, 0, 1)), source,
                       ETHERTYPE, n)


def send(host, count, queues=1, source=OTHER_ADDRESS):
    """The network delivers some frames to the host's TAP."""
    with Inside(host):
        s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        s.bind((tap_name(queues), ETHERTYPE))
    with s:
        for n in range(count):
            s.send(frame(n, source))


def open_tap(host, queues):
    """The descriptors that a management passes."""
    flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR
    if queues > 1:
        flags |= IFF_MULTI_QUEUE
    fds = []
    with Inside(host):
        for _ in range(queues):
            fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
            fds.append(fd)
            fcntl.ioctl(fd, TUNSETIFF, struct.pack(
                "16sH22x", tap_name(queues).encode(), flags))
    return fds


def hold(host):
    """The only one there, as (state, role)."""
    there = holds(host)
    expect(len(there), 1, f"holds of {host}")
    return there[0]["state"], there[0]["role"]


def no_hold(host):
    expect([h["state"] for h in holds(host)], [], f"holds of {host}")


def wait_no_hold(*names):
    for host in names or HOSTS:
        wait_until(f"no hold on {host}", lambda h=host: not holds(h))


def discard(host):
    for h in holds(host):
        tapmig(host, "discard", "id", str(h["id"]))


# Machines

class Machine(Qemu):
    """A QEMU whose network card is net0."""

    all = []

    def __init__(self, host, *extra, queues=1, mode="on", fds=None,
                 spare=(), device=None, program=(QEMU,),
                 card="virtio-net-pci", accel="tcg"):
        self.queues = queues
        dev = "tap,id=net0"
        if fds:
            dev += f",fds={':'.join(map(str, fds))}" if len(fds) > 1 else \
                f",fd={fds[0]}"
        else:
            dev += f",ifname={tap_name(queues)},script=no,downscript=no"
            if queues > 1:
                dev += f",queues={queues}"
        if mode:
            dev += f",migration-hold={mode}"
        if device is not None:
            dev += f",tapmigfd={device}"
        card += ",netdev=net0,id=nic0,romfile="
        if queues > 1:
            card += f",mq=on,vectors={2 * queues + 2}"
        self.qtest = f"{RUN}/qtest{len(Machine.all)}"
        if accel == "qtest":
            extra += ("-qtest", f"unix:{self.qtest},server=on,wait=off")
        super().__init__(host, program, [
            "-machine", f"pc,accel={accel}", "-m", "64", "-nodefaults",
            "-display", "none", "-uuid", UUID, "-trace", "tap_hold_*",
            "-netdev", dev, "-device", card, *extra], RUN,
            fds=[*(fds or ()), *spare,
                 *(() if device is None else (device,))])
        Machine.all.append(self)
        self.capabilities()

    def hold(self, what):
        return self.command("query-tap-holds")[0][what]

    def counts(self):
        """Frames that it has held, and handed to its guest."""
        return self.hold("captured"), self.hold("delivered")

    def status(self):
        return self.command("query-status")["status"]

    def speed(self, bytes_a_second):
        """
        If it is slow, one buffer is sent every 100 ms, whatever the limit. As
        9 bytes stand for an empty page, thousands of them would fit into it:
        they are sent in full, which makes it 32 pages.
        """
        self.command("migrate-set-parameters", max_bandwidth=bytes_a_second,
                     zero_page_detection="none" if bytes_a_second == SLOW
                     else "legacy")

    def reach(self, *states):
        bad = {"failed", "cancelled", "completed"} - set(states)
        self.wait("MIGRATION", *states, bad=tuple(bad))

    def want_unplug(self):
        """The guest is asked, but there is none that would answer."""
        self.command("device_del", id="nic0")
        self.command("netdev_del", id="net0")

    def unplug(self):
        """What was asked for is done at a reset in any case."""
        self.command("system_reset")
        self.wait("DEVICE_DELETED")
        expect(self.command("query-tap-holds"), [], "query-tap-holds")

    def migrate(self, uri=MIGRATION):
        """It may have come here itself, with events of that."""
        self.events.clear()
        self.command("migrate", uri=uri)

    def stay_in_precopy(self, *capabilities, uri=MIGRATION):
        """Its migration begins, and does not get far."""
        self.capabilities(*capabilities)
        self.speed(SLOW)
        self.migrate(uri)
        self.reach("active")

    def reach_switchover(self, uri=MIGRATION):
        """Its migration begins, and waits when the guest is stopped."""
        self.capabilities("pause-before-switchover")
        self.migrate(uri)
        self.reach("pre-switchover")

    def switch_over(self, wanted="completed"):
        self.command("migrate-continue", state="pre-switchover")
        self.reach(wanted)

    def cancel(self):
        self.command("migrate_cancel")
        self.reach("cancelled")

    def runs(self):
        wait_until(f"{self.name} runs", lambda: self.status() == "running")

    def polled(self):
        """The descriptors that its main loop wants to read from."""
        def waits_for():
            with open(f"/proc/{self.pid}/syscall") as f:
                number, *arguments = f.read().split()
            if number != PPOLL:
                return None
            fds, count = (int(a, 16) for a in arguments[:2])
            with open(f"/proc/{self.pid}/mem", "rb", buffering=0) as f:
                f.seek(fds)
                return f.read(count * struct.calcsize("ihh"))

        # What it waits for again is what was looked at.
        while not (seen := waits_for()) or seen != waits_for():
            pass
        return {fd for fd, events, _ in struct.iter_unpack("ihh", seen)
                if events & select.POLLIN}

    def reads(self):
        """The number of queues that it wants to read from itself."""
        ours = rig.queue_numbers(self.pid, tap_name(self.queues))
        expect(len(ours), self.queues, "open queues")
        return len(self.polled().intersection(ours))

    def traced(self, event):
        """How often it came to that."""
        with open(self.log) as f:
            return f.read().count(f"\n{event} ")

    def hmp(self, line):
        return self.command("human-monitor-command", command_line=line)


def forget_socket():
    """A new one is to appear."""
    try:
        os.unlink(SOCKET)
    except FileNotFoundError:
        pass


def destination(*extra, host="hostB", uri=MIGRATION, **kwargs):
    forget_socket()
    return Machine(host, "-incoming", uri, *extra, **kwargs)


def pair(*extra, **kwargs):
    """A source, and a destination that waits."""
    return Machine("hostA", **kwargs), destination(*extra, **kwargs)


# Without a migration

@quick
@case
def stop_and_cont_make_no_hold():
    a = Machine("hostA")
    for _ in range(2):
        a.command("stop")
        no_hold("hostA")
        a.command("cont")
    a.command("system_reset")
    no_hold("hostA")
    a.quit()
    expect(a.traced("tap_hold_freeze"), 0, "frozen")


def disk():
    path = f"{RUN}/disk.qcow2"
    if not os.path.exists(path):
        # There is no qemu-img.
        a = Machine("hostA")
        for n, options in enumerate((
                {"driver": "file", "filename": path, "size": 0},
                {"driver": "qcow2", "file": "file", "size": 1 << 28})):
            if n:
                a.command("blockdev-add", driver="file", filename=path,
                          node_name="file")
            a.command("blockdev-create", job_id=f"j{n}", options=options)
            wait_until("a disk", lambda: a.command("query-jobs")[0]["status"]
                       == "concluded")
            a.command("job-dismiss", id=f"j{n}")
        a.quit()
    return ["-drive", f"file={path},if=none,id=disk,format=qcow2",
            "-device", "ide-hd,drive=disk"]


@case
def savevm_and_loadvm_make_no_hold():
    a = Machine("hostA", *disk())
    expect(a.hmp("savevm s"), "", "savevm")
    expect(a.hmp("loadvm s"), "", "loadvm")
    expect(a.status(), "running", "the guest")
    a.quit()
    b = Machine("hostA", *disk(), "-loadvm", "s")
    b.runs()
    no_hold("hostA")
    b.quit()
    for m in a, b:
        expect(m.traced("tap_hold_freeze"), 0, "frozen")


@quick
@case
def a_background_snapshot_makes_no_hold():
    a = Machine("hostA")
    a.capabilities("background-snapshot")
    a.command("migrate", uri="exec:cat >/dev/null")
    a.reach("completed")
    a.runs()
    no_hold("hostA")
    a.quit()
    expect(a.traced("tap_hold_freeze"), 0, "frozen")


# Before the switchover

@case
def cancelled_in_precopy_nothing_was_frozen():
    a, _ = pair()
    a.stay_in_precopy()
    expect(hold("hostA"), ("armed", "source"), "hold")
    a.cancel()
    wait_no_hold()
    expect(a.counts(), (0, 0), "held")
    expect(a.status(), "running", "the guest")
    a.quit()


@case
def quit_in_precopy_releases():
    a, _ = pair()
    a.stay_in_precopy()
    a.quit()
    wait_no_hold()


@case
def reset_in_precopy_changes_nothing():
    a, b = pair()
    a.stay_in_precopy()
    a.command("system_reset")
    expect(hold("hostA"), ("armed", "source"), "hold")
    a.speed(FAST)
    a.reach("completed")
    b.runs()
    expect(hold("hostA"), ("frozen", "source"), "hold")
    a.quit()
    b.quit()


@case
def unplugged_before_there_is_nothing_to_hold():
    a = Machine("hostA")
    a.want_unplug()
    a.unplug()
    a.command("migrate", uri="exec:cat >/dev/null")
    a.reach("completed")
    no_hold("hostA")
    a.quit()
    expect(a.traced("tap_hold_freeze"), 0, "frozen")


@case
def unplugged_in_precopy_it_releases():
    a, _ = pair()
    a.want_unplug()
    a.stay_in_precopy()
    expect(hold("hostA"), ("armed", "source"), "hold")
    a.unplug()
    no_hold("hostA")
    a.cancel()
    a.quit()
    wait_no_hold()


@case
def plugged_in_while_it_runs_it_is_held():
    a = Machine("hostA")
    a.want_unplug()
    a.unplug()
    a.command("netdev_add", type="tap", id="net0", ifname=tap_name(1),
              script="no", downscript="no", migration_hold="on")
    a.command("device_add", driver="virtio-net-pci", netdev="net0", id="nic1",
              romfile="")
    no_hold("hostA")
    a.stay_in_precopy(uri="exec:cat >/dev/null")
    expect(hold("hostA"), ("armed", "source"), "hold")
    a.cancel()
    wait_no_hold()
    a.quit()


@case
def stopped_in_precopy_it_is_frozen_until_cont():
    a, _ = pair()
    a.stay_in_precopy()
    a.command("stop")
    expect(hold("hostA"), ("frozen", "source"), "stopped")
    send("hostA", 2)
    a.command("cont")
    wait_until("armed", lambda: hold("hostA") == ("armed", "source"))
    expect(a.counts(), (2, 2), "held")
    a.command("stop")
    expect(hold("hostA"), ("frozen", "source"), "stopped again")
    a.cancel()
    wait_no_hold()
    expect(a.status(), "paused", "the guest")
    a.quit()


# A guest that the user had stopped

@case
def stopped_before_it_is_frozen_at_setup():
    a, b = pair()
    a.command("stop")
    no_hold("hostA")
    a.stay_in_precopy()
    expect(hold("hostA"), ("frozen", "source"), "hold")
    send("hostA", 2)
    a.speed(FAST)
    a.reach("completed")
    wait_until("paused", lambda: b.status() == "paused")
    expect(hold("hostB"), ("frozen", "standby"), "destination")
    b.command("cont")
    wait_no_hold("hostB")
    expect(a.hold("held-packets"), 2, "kept for the relay")
    b.quit()
    a.quit()


@case
def stopped_before_and_cancelled_it_gets_all_back():
    a, _ = pair()
    a.command("stop")
    a.stay_in_precopy()
    send("hostA", 2)
    a.cancel()
    wait_no_hold()
    expect(a.counts(), (2, 2), "held")
    expect(a.status(), "paused", "the guest")
    a.quit()


# In the switchover

def the_source_keeps_what_came(a, b, queues=1):
    expect(a.hold("state"), "none", "before")
    expect(hold("hostB"), ("frozen", "standby"), "destination")
    a.reach_switchover()
    expect(hold("hostA"), ("frozen", "source"), "source")
    expect(holds("hostA")[0]["queues"], queues, "queues")
    send("hostA", 5, queues)
    send("hostB", 2, queues)
    expect(a.hold("captured"), 5, "captured")
    expect(b.hold("captured"), 2, "captured")
    a.switch_over()
    wait_no_hold("hostB")
    expect(b.counts(), (2, 2), "destination")
    expect(a.hold("held-packets"), 5, "kept for the relay")
    if "state=frozen,held=5,captured=5" not in a.hmp("info network"):
        raise Failure("info network says nothing of it")
    a.quit()
    expect(hold("hostA"), ("dead", "source"), "QEMU has ended")
    expect(holds("hostA")[0]["held_packets"], 5, "still kept")
    b.quit()


@case
def completed_the_source_keeps_what_came(queues=1):
    the_source_keeps_what_came(*pair(queues=queues), queues)


@quick
@case
def what_the_guest_has_sent_does_not_come_back():
    a, b = pair()
    a.reach_switchover()
    send("hostB", 2, source=GUEST_ADDRESS)
    send("hostB", 3)
    a.switch_over()
    wait_no_hold("hostB")
    expect(b.counts(), (5, 3), "held and handed to the guest")
    a.quit()
    b.quit()


def traced_by_kernel(function):
    """What the module did meanwhile: the names of its events, in order."""
    def write(name, text):
        with open(f"/sys/kernel/tracing/{name}", "w") as f:
            f.write(text)

    write("trace", "")
    write("events/tapmig/enable", "1")
    try:
        function()
    finally:
        write("events/tapmig/enable", "0")
    with open("/sys/kernel/tracing/trace") as f:
        return re.findall(r": tapmig_(\w+): id=(\d+) ", f.read())


@quick
@case
def rings_are_enlarged_before_they_are_emptied():
    a, _ = pair()
    events = traced_by_kernel(a.reach_switchover)
    number = str(holds("hostA")[0]["id"])
    expect([name for name, h in events
            if h == number and name in ("prepare", "freeze")],
           ["prepare", "freeze"], "events")
    a.cancel()
    a.quit()


class Stopped:
    """A thread that does nothing, for a while. It must not have a lock."""

    def __init__(self, thread):
        self.thread = thread

    def __enter__(self):
        called("ptrace", PTRACE_SEIZE, self.thread, 0, 0)
        called("ptrace", PTRACE_INTERRUPT, self.thread, 0, 0)
        os.waitpid(self.thread, WALL)

    def __exit__(self, *_):
        called("ptrace", PTRACE_DETACH, self.thread, 0, 0)


@quick
@case
def while_a_processor_is_slow_to_stop_the_rings_are_large():
    a, b = pair(**IDLE)
    a.capabilities("pause-before-switchover")
    with Stopped(a.command("query-cpus-fast")[0]["thread-id"]):
        a.migrate()
        wait_until("it is to stop", lambda: a.status() == "finish-migrate")
        send("hostA", 1)
        wait_until("nobody reads", lambda: a.reads() == 0)
        # Three times what is in a ring.
        send("hostA", 3000)
        expect(hold("hostA"), ("armed", "source"), "hold")
    a.reach("pre-switchover")
    expect(a.hold("captured"), 3001, "held")
    a.cancel()
    b.ended()
    a.quit()
    wait_no_hold()


@quick
@case
def nobody_reads_while_it_is_frozen(queues=1):
    """It would take what is about to be held."""
    a, b = pair("-S", queues=queues)
    # A queue beyond the first is enabled by the guest, and there is none.
    # Their main loops look at what they wait for after they have answered.
    a.status()
    b.status()
    expect((a.reads(), b.reads()), (1, 0), "readers before")
    a.reach_switchover()
    expect((a.reads(), b.reads()), (0, 0), "readers in the switchover")
    a.switch_over()
    wait_until("paused", lambda: b.status() == "paused")
    expect((a.reads(), b.reads()), (0, 0), "readers afterwards")
    b.command("cont")
    wait_until("a reader", lambda: b.reads() == 1)
    expect(a.reads(), 0, "readers of the source")
    a.quit()
    b.quit()


@case
def nobody_reads_while_four_queues_are_frozen():
    nobody_reads_while_it_is_frozen(4)


@case
def completed_with_channels_for_memory_it_is_the_same():
    a, b = Machine("hostA"), destination(uri="defer")
    for m in a, b:
        m.capabilities("multifd")
    b.command("migrate-incoming", uri=MIGRATION)
    the_source_keeps_what_came(a, b)


@case
def completed_with_four_queues():
    completed_the_source_keeps_what_came(4)


@quick
@case
def killed_after_the_switchover_what_came_is_kept():
    a, b = pair()
    a.reach_switchover()
    send("hostA", 3)
    a.switch_over()
    a.kill()
    expect(hold("hostA"), ("dead", "source"), "hold")
    expect(holds("hostA")[0]["held_packets"], 3, "kept for the relay")
    b.runs()
    b.quit()


@quick
@case
def killed_after_it_had_found_it_frozen_what_came_is_kept():
    a, b = pair()
    a.stay_in_precopy()
    tapmig("hostA", "freeze", "id", str(holds("hostA")[0]["id"]))
    a.speed(FAST)
    a.reach("completed")
    send("hostA", 3)
    a.kill()
    expect(hold("hostA"), ("dead", "source"), "hold")
    expect_held("hostA", 0, 1, 2)
    b.runs()
    b.quit()


@case
def cancelled_in_the_switchover_it_gets_all_back(queues=1):
    a, _ = pair(queues=queues)
    a.reach_switchover()
    send("hostA", 3, queues)
    a.cancel()
    wait_no_hold()
    expect(a.counts(), (3, 3), "held")
    expect(a.status(), "running", "the guest")
    a.quit()


def expect_held(host, *numbers):
    """These frames of those that send() sends, in this order."""
    kept = tapmig(host, "export", "id", str(holds(host)[0]["id"]), "-")
    expect([f.hex() for _, _, f in rig.packets(kept)],
           [frame(n).hex() for n in numbers], "held")


# A card that nobody enables, as no processor runs, not even for a BIOS.
IDLE = {"card": "e1000", "accel": "qtest"}


def without_buffers(**machine):
    """A source whose card takes nothing: it has read the first of 3 frames."""
    a, b = pair(**(machine or IDLE))
    wait_until("it reads", lambda: a.reads() == 1)
    send("hostA", 3)
    wait_until("a frame is read", lambda: a.reads() == 0)
    return a, b


@quick
@case
def what_the_guest_had_no_buffer_for_is_held_first():
    a, b = without_buffers()
    a.reach_switchover()
    send("hostA", 1)
    expect_held("hostA", 0, 1, 2, 0)
    a.switch_over()
    expect_held("hostA", 0, 1, 2, 0)
    a.quit()
    b.quit()


@quick
@case
def what_the_guest_had_no_buffer_for_is_the_first_there():
    a, b = without_buffers()
    with rig.Relays("hostA", "hostB", "states") as relays:
        a.reach_switchover()
        for host in HOSTS:
            wait_until(f"a relay on {host}",
                       lambda h=host: "peer" in holds(h)[0]["flags"])
        send("hostA", 1)
        a.switch_over()
        relays.results(1)
    # There it is read, and has no room again.
    wait_until("a frame is read", lambda: b.reads() == 0)
    expect(b.hold("delivered"), 4, "delivered")
    a.quit()
    wait_no_hold()
    destination(host="hostA", **IDLE)
    b.reach_switchover()
    expect_held("hostB", 0, 1, 2, 0)
    b.quit()


@quick
@case
def what_the_guest_had_no_buffer_for_comes_back():
    a, _ = without_buffers()
    for _ in range(2):
        a.reach_switchover()
        expect_held("hostA", 0, 1, 2)
        a.cancel()
        a.runs()
        wait_no_hold("hostA")
        wait_until("a frame is read", lambda: a.reads() == 0)
        destination(**IDLE)
    a.quit()


def change_header(machine):
    """As a driver does: virtio-net headers get the number of buffers."""
    registers, address, data = 0xc000, 0xcf8, 0xcfc
    config = 0x80000000 | 8 << 11
    features, mrg_rxbuf = 4, 15
    with socket.socket(socket.AF_UNIX) as s, s.makefile("r") as answers:
        s.connect(machine.qtest)
        for line in (f"outl {address} {config | 0x10}",
                     f"outl {data} {registers}",
                     f"outl {address} {config | 4}", f"outw {data} 5",
                     f"outl {registers + features} {1 << mrg_rxbuf}"):
            s.sendall(f"{line}\n".encode())
            expect(answers.readline(), "OK\n", line)


@quick
@case
def what_was_read_with_a_shorter_header_is_held_as_it_was():
    a, b = without_buffers(
        card="virtio-net-pci,disable-modern=on,addr=8", accel="qtest")
    change_header(a)
    a.reach_switchover()
    expect_held("hostA", 0, 1, 2)
    a.cancel()
    a.quit()
    b.ended()


@quick
@case
def what_a_guest_that_was_paused_had_no_buffer_for_is_held_once():
    a, _ = without_buffers()
    a.command("stop")
    for _ in range(2):
        a.reach_switchover()
        expect_held("hostA", 0, 1, 2)
        a.cancel()
        wait_no_hold("hostA")
        destination(**IDLE)
    a.quit()


def has_deadline_of_minutes():
    expect(holds("hostA")[0]["deadline_in_ms"] > 4 * 60 * 1000, True,
           "deadline of minutes")


def has_minutes_for_the_switchover(a, b):
    a.reach_switchover()
    has_deadline_of_minutes()
    a.cancel()
    b.ended()
    a.quit()
    wait_no_hold()


@quick
@case
def a_network_that_stalls_in_the_switchover_does_not_thaw_it():
    """As long as it sends the state of devices, QEMU cannot renew."""
    has_minutes_for_the_switchover(*pair())


@quick
@case
def nor_if_the_guest_was_stopped_before():
    a, b = pair()
    a.command("stop")
    has_minutes_for_the_switchover(a, b)


@quick
@case
def nor_if_it_is_stopped_in_precopy():
    a, _ = pair()
    a.stay_in_precopy()
    a.command("stop")
    has_deadline_of_minutes()
    a.cancel()
    a.quit()
    wait_no_hold()


@quick
@case
def thawed_by_another_in_the_switchover_it_stays_so():
    """On one host that is the other process, before this one is done."""
    a, b = pair()
    a.reach_switchover()
    tapmig("hostA", "thaw", "id", str(holds("hostA")[0]["id"]), "wait")
    expect(a.hold("state"), "armed", "seen by QEMU")
    expect(hold("hostA"), ("armed", "source"), "hold")
    a.cancel()
    b.ended()
    a.quit()
    wait_no_hold()


@case
def the_destination_dies_in_the_switchover():
    a, b = pair()
    a.reach_switchover()
    send("hostA", 3)
    b.kill()
    no_hold("hostB")
    a.switch_over("failed")
    wait_no_hold()
    expect(a.counts(), (3, 3), "held")
    a.runs()
    a.quit()


class OneWay(threading.Thread):
    """A connection to the destination that loses what it answers."""

    uri = f"unix:{RUN}/one-way"

    def __init__(self):
        super().__init__(daemon=True)
        # Whether the source may learn that the destination has gone.
        self.told = threading.Event()
        try:
            os.unlink(self.uri[len("unix:"):])
        except FileNotFoundError:
            pass
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.uri[len("unix:"):])
        self.listener.listen()
        self.start()

    def run(self):
        source, _ = self.listener.accept()
        with self.listener, source, socket.socket(socket.AF_UNIX) as there:
            there.connect(SOCKET)
            while True:
                ready, _, _ = select.select([source, there], [], [])
                if there in ready and not there.recv(1 << 20):
                    # The destination has all it needs.
                    break
                if source in ready:
                    data = source.recv(1 << 20)
                    if not data:
                        break
                    there.sendall(data)
            self.told.wait()


@case
def failed_when_the_guest_has_left_it_is_thawed_only_by_a_guest():
    """
    The source does not learn that the other guest runs, and cannot have its
    disk back. If QEMU lets its guest go on nevertheless, that gets all.
    """
    a, b = Machine("hostA", *disk()), destination(*disk())
    for m in a, b:
        m.capabilities("return-path")
    way = OneWay()
    way.told.set()
    a.reach_switchover(way.uri)
    send("hostA", 3)
    a.switch_over("failed")
    way.join()
    b.runs()
    # Of the setup, and of the failure, after which nothing comes any more.
    wait_until("noticed", lambda: a.traced("tap_hold_notify") == 2)
    if a.status() == "running":
        wait_no_hold()
        expect(a.counts(), (3, 3), "held")
        a.quit()
    else:
        expect_held("hostA", 0, 1, 2)
        a.quit()
        expect(hold("hostA"), ("dead", "source"), "QEMU has ended")
        expect_held("hostA", 0, 1, 2)
    b.quit()


@quick
@case
def quit_in_the_switchover_releases():
    a, _ = pair()
    a.reach_switchover()
    send("hostA", 3)
    a.quit()
    wait_no_hold()


@quick
@case
def reset_in_the_switchover_changes_nothing():
    a, b = pair()
    a.reach_switchover()
    send("hostA", 2)
    a.command("system_reset")
    expect(hold("hostA"), ("frozen", "source"), "hold")
    a.switch_over()
    expect(a.hold("held-packets"), 2, "kept for the relay")
    b.runs()
    b.command("system_reset")
    wait_no_hold("hostB")
    a.quit()
    b.quit()


@quick
@case
def unplugged_in_the_switchover_it_releases():
    a, _ = pair()
    a.want_unplug()
    a.reach_switchover()
    send("hostA", 2)
    expect(hold("hostA"), ("frozen", "source"), "hold")
    a.unplug()
    no_hold("hostA")
    a.cancel()
    a.quit()
    wait_no_hold()


# Afterwards

@quick
@case
def undone_by_the_management_it_gets_all_back():
    a, b = pair()
    a.reach_switchover()
    send("hostA", 4)
    a.switch_over()
    b.kill()
    send("hostA", 1)
    # It is told that it has completed before it can go on.
    wait_until("postmigrate", lambda: a.status() == "postmigrate")
    a.command("cont")
    wait_no_hold()
    expect(a.counts(), (5, 5), "held")
    a.quit()


@case
def reset_after_it_has_left_changes_nothing():
    a, b = pair()
    a.reach_switchover()
    send("hostA", 2)
    a.switch_over()
    a.command("system_reset")
    expect(a.hold("held-packets"), 2, "kept for the relay")
    b.runs()
    a.quit()
    b.quit()


def unplug_after_it_has_left(a, b):
    a.want_unplug()
    a.reach_switchover()
    send("hostA", 2)
    a.switch_over()
    a.unplug()
    expect(hold("hostA"), ("dead", "source"), "hold")
    expect(holds("hostA")[0]["held_packets"], 2, "kept for the relay")
    b.runs()
    a.quit()
    b.quit()


@case
def there_back_and_there_again():
    a, b = pair()
    a.reach_switchover()
    a.cancel()
    b.ended()
    for _ in range(3):
        where = "hostA" if a.host == "hostB" else "hostB"
        b = destination(host=where)
        a.reach_switchover()
        send(a.host, 2)
        a.switch_over()
        b.runs()
        wait_no_hold(where)
        a.quit()
        discard(a.host)
        a = b
    a.quit()
    wait_no_hold()


@case
def unplugged_after_it_has_left_what_came_is_kept():
    unplug_after_it_has_left(*pair())


@case
def the_same_after_a_shutdown_that_did_not_end_it():
    """
    Without firmware: on this machine, SeaBIOS answers a reset with one of its
    own some time after, and that would unplug the card as well.
    """
    a = Machine("hostA", "-no-shutdown", accel="qtest")
    b = destination(accel="qtest")
    # As firmware sets up power management, and a guest shuts down by it.
    address, data, function, ports = 0xcf8, 0xcfc, 0x80000b00, 0x600
    for line in (f"o/w {address} {function | 0x40}", f"o/w {data} {ports}",
                 f"o/w {address} {function | 0x80}", f"o/b {data} 1",
                 f"o/h {ports + 4} 0x2000"):
        a.hmp(line)
    wait_until("shut down", lambda: a.status() == "shutdown")
    a.command("system_reset")
    a.wait("RESET")
    a.command("cont")
    unplug_after_it_has_left(a, b)


# Postcopy

def in_postcopy(*extra, speed=0):
    a, b = Machine("hostA", *extra), destination(*extra)
    a.command("migrate-set-parameters", max_postcopy_bandwidth=speed)
    b.capabilities("postcopy-ram")
    a.stay_in_precopy("postcopy-ram", "pause-before-switchover")
    a.command("migrate-start-postcopy")
    a.reach("pre-switchover")
    # Not that the other one needs memory for empty pages.
    a.speed(FAST)
    send("hostA", 4)
    expect(hold("hostA"), ("frozen", "source"), "source")
    a.switch_over("postcopy-active")
    wait_no_hold("hostB")
    return a, b


@case
def in_postcopy_the_source_keeps_what_came():
    a, b = in_postcopy()
    a.reach("completed")
    expect(a.hold("held-packets"), 4, "kept for the relay")
    a.quit()
    expect(holds("hostA")[0]["held_packets"], 4, "kept for the relay")
    b.quit()


@case
def quit_in_postcopy_keeps_what_came():
    a, _ = in_postcopy()
    a.quit()
    expect(hold("hostA"), ("dead", "source"), "hold")
    expect(holds("hostA")[0]["held_packets"], 4, "kept for the relay")


@case
def recovered_in_postcopy_the_source_keeps_what_came():
    # So much, and so slow, that it is not done before it is paused.
    a, b = in_postcopy("-m", "1024", speed=SLOW)
    a.command("migrate-pause")
    a.reach("postcopy-paused")
    b.reach("postcopy-paused")
    send("hostA", 1)
    expect(hold("hostA"), ("frozen", "source"), "while it is paused")
    uri = f"unix:{RUN}/recovery"
    b.command("migrate-recover", uri=uri)
    a.command("migrate-set-parameters", max_postcopy_bandwidth=0)
    a.command("migrate", uri=uri, resume=True)
    a.reach("completed")
    expect(hold("hostA"), ("frozen", "source"), "recovered")
    expect(a.hold("held-packets"), 5, "kept for the relay")
    a.quit()
    b.quit()


# The destination

@quick
@case
def quit_while_it_waits_releases():
    b = destination()
    send("hostB", 2)
    expect(hold("hostB"), ("frozen", "standby"), "hold")
    b.quit()
    wait_no_hold()


@case
def reset_while_it_waits_changes_nothing():
    a, b = pair()
    b.command("system_reset")
    expect(hold("hostB"), ("frozen", "standby"), "hold")
    a.migrate()
    a.reach("completed")
    wait_no_hold("hostB")
    a.quit()
    b.quit()


@case
def unplugged_while_it_waits_it_releases():
    b = destination(uri="defer")
    b.want_unplug()
    b.unplug()
    no_hold("hostB")
    expect(b.command("query-tap-holds"), [], "query-tap-holds")
    b.command("netdev_add", type="tap", id="net1", ifname=tap_name(1),
              script="no", downscript="no", migration_hold="on")
    expect(hold("hostB"), ("frozen", "standby"), "another one")
    b.quit()
    wait_no_hold()


@case
def deferred_it_is_frozen_before_migrate_incoming():
    a, b = Machine("hostA"), destination(uri="defer")
    expect(hold("hostB"), ("frozen", "standby"), "hold")
    send("hostB", 2)
    b.command("migrate-incoming", uri=MIGRATION)
    a.migrate()
    a.reach("completed")
    wait_no_hold("hostB")
    expect(b.counts(), (2, 2), "held")
    a.quit()
    b.quit()


@case
def started_later_it_is_frozen_until_cont():
    a, b = pair("-S")
    a.reach_switchover()
    a.switch_over()
    send("hostB", 2)
    wait_until("paused", lambda: b.status() == "paused")
    expect(hold("hostB"), ("frozen", "standby"), "hold")
    b.command("cont")
    wait_no_hold("hostB")
    expect(b.counts(), (2, 2), "held")
    a.quit()
    b.quit()


@case
def frozen_by_a_relay_when_the_guest_has_come_it_thaws():
    """One that tells a stand-by of a failure, and is late."""
    for _ in range(10):
        a, b = pair()
        a.reach_switchover()
        a.switch_over()
        b.wait("RESUME")
        # That is told just before it thaws. It would close the hold soon.
        b.runs()
        os.kill(b.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, b.pid, os.WSTOPPED | os.WNOWAIT)
        if holds("hostB"):
            break
        # It has: this was too slow.
        os.kill(b.pid, signal.SIGCONT)
        a.quit()
        b.quit()
    wait_until("armed", lambda: hold("hostB") == ("armed", "standby"))
    tapmig("hostB", "freeze", "id", str(holds("hostB")[0]["id"]))
    send("hostB", 2)
    os.kill(b.pid, signal.SIGCONT)
    wait_no_hold("hostB")
    expect(b.counts(), (2, 2), "held")
    a.quit()
    b.quit()


@case
def quit_before_it_is_started_releases():
    a, b = pair("-S")
    a.reach_switchover()
    a.switch_over()
    wait_until("paused", lambda: b.status() == "paused")
    b.quit()
    wait_no_hold("hostB")
    a.quit()


@case
def after_a_failure_that_does_not_end_it_it_is_frozen():
    a, b = Machine("hostA"), destination(uri="defer")
    b.command("migrate-incoming", uri=MIGRATION, exit_on_error=False)
    a.reach_switchover()
    a.cancel()
    b.reach("failed")
    expect(hold("hostB"), ("frozen", "standby"), "hold")
    b.quit()
    a.quit()
    wait_no_hold()


@quick
@case
def a_relay_that_has_gone_is_waited_for_as_long_as_was_asked():
    # More than without the option.
    wait_ms = 2000
    a = Machine("hostA")
    b = destination(mode=f"on,migration-hold-wait={wait_ms}")
    there = holds("hostB")[0]
    expect(there["wait_import_ms"], wait_ms, "wait")
    tapmig("hostB", "set", "id", str(there["id"]), "peer", "on")
    send("hostB", 2)
    a.migrate()
    a.reach("completed")
    b.runs()
    wait_until("handed over", lambda: b.counts() == (2, 2))
    if b.hold("thaw-us") < wait_ms * 1000:
        raise Failure(f"only {b.hold('thaw-us')} us later")
    expect(hold("hostB"), ("live", "standby"), "hold")
    a.quit()
    b.quit()
    no_hold("hostB")


@quick
@case
def what_exceeds_the_limit_is_not_held():
    limit = 1 << 20
    a, b = pair(mode=f"on,migration-hold-limit={limit}")
    a.reach_switchover()
    for host in HOSTS:
        expect(holds(host)[0]["max_bytes"], limit, f"limit of {host}")
    # Each takes more than half a KiB.
    send("hostA", 2048)
    there = a.hold("held-bytes")
    if not a.hold("dropped") or not limit // 2 < there <= limit:
        raise Failure(f"{there} bytes held, {a.hold('dropped')} dropped")
    a.cancel()
    b.ended()
    a.quit()
    wait_no_hold()


@case
def thawed_by_another_it_freezes_again():
    b = destination()
    for command in "thaw", "discard":
        send("hostB", 2)
        tapmig("hostB", command, "id", str(holds("hostB")[0]["id"]))
        wait_until("frozen again",
                   lambda: hold("hostB") == ("frozen", "standby"))
    b.quit()
    wait_no_hold()


# One host, one set of queues

def share(queues):
    """A source and a destination with the same queues."""
    fds = open_tap("hostA", queues)
    device = os.open("/dev/tapmig", os.O_RDWR)
    a = Machine("hostA", queues=queues, fds=fds, device=device)
    b = destination("-S", host="hostA", queues=queues, mode="local", fds=fds,
                    device=device)
    for fd in (*fds, device):
        os.close(fd)
    a.reach_switchover()
    expect(hold("hostA"), ("frozen", "source"), "the hold of both")
    send("hostA", 6, queues)
    expect(b.hold("captured"), 6, "seen by the other")
    expect(a.hold("hold-id"), b.hold("hold-id"), "the hold")
    return a, b


@case
def shared_the_other_gets_all(queues=1):
    a, b = share(queues)
    a.switch_over()
    a.quit()
    expect(hold("hostA"), ("frozen", "source"), "the hold of one")
    send("hostA", 2, queues)
    b.command("cont")
    wait_no_hold()
    expect(b.counts(), (8, 8), "held")
    b.quit()


@case
def shared_with_four_queues():
    shared_the_other_gets_all(4)


@quick
@case
def shared_what_the_guest_has_sent_does_not_come_back():
    a, b = share(1)
    send("hostA", 2, source=GUEST_ADDRESS)
    a.switch_over()
    a.quit()
    b.command("cont")
    wait_no_hold()
    expect(b.counts(), (8, 6), "held and handed to the guest")
    b.quit()


@case
def shared_and_cancelled_it_gets_all_back():
    a, b = share(1)
    a.cancel()
    b.ended()
    wait_no_hold()
    expect(a.counts(), (6, 6), "held")
    a.quit()


@case
def shared_and_the_other_dies():
    a, b = share(1)
    b.kill()
    a.switch_over("failed")
    wait_no_hold()
    expect(a.counts(), (6, 6), "held")
    a.quit()


@long
@case
def shared_by_cpr_transfer():
    memory = ["-machine", "aux-ram-share=on,memory-backend=ram", "-object",
              "memory-backend-memfd,id=ram,size=64M,share=on"]
    path = f"{RUN}/cpr"

    def channel(kind, name):
        return {"channel-type": kind, "addr": {
            "transport": "socket", "type": "unix", "path": name}}

    fds = open_tap("hostA", 1)
    device = os.open("/dev/tapmig", os.O_RDWR)
    a = Machine("hostA", *memory, fds=fds, device=device)
    a.command("migrate-set-parameters", mode="cpr-transfer")
    forget_socket()

    def begin():
        wait_until("a socket", lambda: os.path.exists(path))
        a.command("migrate", channels=[channel("main", SOCKET),
                                       channel("cpr", path)])

    # The other one has no monitor before something has come.
    thread = threading.Thread(target=begin)
    thread.start()
    b = Machine("hostA", *memory, "-incoming", MIGRATION, "-incoming",
                json.dumps(channel("cpr", path)), mode="local", fds=fds,
                device=device)
    thread.join()
    for fd in (*fds, device):
        os.close(fd)
    a.reach("completed")
    b.runs()
    a.quit()
    wait_no_hold()
    b.quit()


# A QEMU without the property, and a program at its monitor

@case
def a_program_that_comes_after_the_guest_thaws():
    a = Machine("hostA", mode=None)
    hook = rig.Hook("destination", a, cards=1)
    hook.wait("thawed")
    hook.end()
    wait_no_hold()
    a.quit()


def ended_in_the_migration(*options):
    """Its guest, after the program has been ended while it migrates slowly."""
    a, b = pair(mode=None)
    hook = rig.Hook("source", a, *options, cards=1)
    hook.wait("ready")
    a.stay_in_precopy("pause-before-switchover")
    hook.process.terminate()
    hook.end(1)
    wait_no_hold()
    return a, b


@case
def a_program_that_is_ended_cancels_what_nobody_would_go_on_with():
    a, b = ended_in_the_migration("--continue")
    a.reach("cancelled")
    expect(a.status(), "running", "the guest")
    a.quit()
    b.ended()


@case
def a_program_that_is_ended_leaves_the_migration_to_the_management():
    a, b = ended_in_the_migration()
    a.speed(FAST)
    a.reach("pre-switchover")
    a.switch_over()
    a.quit()
    b.quit()


# Who may, and what is refused

@case
def without_privileges_with_descriptors():
    """As libvirt starts it."""
    program = ("setpriv", "--reuid", "65534", "--regid", "65534",
               "--clear-groups", QEMU)
    run("chmod", "-R", "a+rX", "/run/payload", RUN)
    run("chmod", "a+rwx", RUN)
    machines = []
    forget_socket()
    for host, extra in ("hostA", ()), ("hostB", ("-incoming", MIGRATION)):
        fds = open_tap(host, 1)
        device = os.open("/dev/tapmig", os.O_RDWR)
        machines.append(Machine(host, *extra, fds=fds, device=device,
                                program=program))
        for fd in (*fds, device):
            os.close(fd)
    a, b = machines
    with open(f"/proc/{a.pid}/status") as f:
        expect("CapEff:\t0000000000000000\n" in f.read(), True, "no privilege")
    a.reach_switchover()
    send("hostA", 3)
    a.switch_over()
    wait_no_hold("hostB")
    expect(a.hold("held-packets"), 3, "kept for the relay")
    a.quit()
    b.quit()


def refused(function, text):
    try:
        function()
    except Failure as e:
        if text not in str(e):
            raise Failure(f"refused with '{e}', not '{text}'") from e
        return
    raise Failure(f"not refused, though '{text}'")


@case
def without_the_module_it_does_not_start():
    run("modprobe", "-r", "tapmig")
    try:
        refused(lambda: Machine("hostA"), "cannot open /dev/tapmig")
        Machine("hostA", mode=None).quit()
    finally:
        run("modprobe", "tapmig")


@case
def a_queue_in_a_hold_of_another_refuses_the_migration():
    a, _ = pair()
    tapmig("hostA", "freeze", "dev", tap_name(1))
    a.migrate()
    a.reach("failed")
    why = a.command("query-migrate")["error-desc"]
    expect("the TAP device is in a hold" in why, True, why)
    expect(a.status(), "running", "the guest")
    expect(a.reads(), 1, "readers")
    tapmig("hostA", "thaw", "dev", tap_name(1), "wait")
    a.quit()


@case
def on_a_hub_it_refuses_the_migration():
    a = Machine("hostA")
    a.command("device_del", id="nic0")
    a.command("system_reset")
    a.wait("DEVICE_DELETED")
    a.command("netdev_add", type="hubport", id="port", hubid=0, netdev="net0")
    a.migrate("exec:cat >/dev/null")
    a.reach("failed")
    why = a.command("query-migrate")["error-desc"]
    expect("cannot be used with hubs" in why, True, why)
    no_hold("hostA")
    a.quit()


@quick
@case
def queues_that_are_none_are_refused():
    spare = open_tap("hostA", 4)
    a = Machine("hostA", spare=spare)
    for queue in spare:
        os.close(queue)
    a.stay_in_precopy(uri="exec:cat >/dev/null")
    # Nothing is left of the first one.
    for queue in spare:
        refused(lambda q=queue: a.command(
            "netdev_add", type="tap", id="net1", fds=f"{q}:999",
            migration_hold="on"), "file descriptor 999")
        expect(hold("hostA"), ("armed", "source"), "hold")
    expect(len(rig.queue_numbers(a.pid, tap_name(4))), 0, "open queues")
    a.cancel()
    a.quit()
    wait_no_hold()


# Deadlines

def loses_to_the_deadline(a):
    os.kill(a.pid, signal.SIGSTOP)
    tapmig("hostA", "set", "id", str(holds("hostA")[0]["id"]),
           "max-frozen-ms", "300")
    wait_until("thawed", lambda: hold("hostA") == ("armed", "source"))


@long
@case
def a_process_that_hangs_freezes_again_after_the_deadline():
    a, b = pair()
    a.reach_switchover()
    send("hostA", 3)
    loses_to_the_deadline(a)
    send("hostA", 2)
    os.kill(a.pid, signal.SIGCONT)
    wait_until("frozen again",
               lambda: hold("hostA") == ("frozen", "source"))
    send("hostA", 1)
    a.switch_over()
    expect_held("hostA", 0, 1, 2, 0, 1, 0)
    a.quit()
    expect_held("hostA", 0, 1, 2, 0, 1, 0)
    b.quit()


@long
@case
def a_process_that_hangs_gets_all_back_if_it_is_cancelled():
    a, b = pair()
    a.reach_switchover()
    send("hostA", 3)
    loses_to_the_deadline(a)
    os.kill(a.pid, signal.SIGCONT)
    wait_until("frozen again",
               lambda: hold("hostA") == ("frozen", "source"))
    a.cancel()
    b.ended()
    wait_no_hold()
    # Those three were held twice.
    expect(a.counts(), (6, 6), "held")
    a.quit()


@long
@case
def the_deadline_is_renewed_while_it_may_be_needed():
    a, b = pair()
    a.reach_switchover()
    left = []

    def renewed():
        left.append(holds("hostA")[0]["deadline_in_ms"])
        return left[-1] > min(left)
    wait_until("renewed", renewed)
    a.cancel()
    b.ended()
    a.quit()


@long
@case
def shared_the_other_does_not_shorten_it():
    a, b = share(1)
    # So that it does not renew.
    os.kill(a.pid, signal.SIGSTOP)
    seen = b.traced("tap_hold_set")
    wait_until("renewed", lambda: b.traced("tap_hold_set") > seen)
    has_deadline_of_minutes()
    os.kill(a.pid, signal.SIGCONT)
    a.cancel()
    b.ended()
    a.quit()
    wait_no_hold()


@long
@case
def shared_with_a_process_that_hangs_the_other_is_not_cut_off():
    """The source has missed the deadline, and that the guest has left."""
    fds = open_tap("hostA", 1)
    device = os.open("/dev/tapmig", os.O_RDWR)
    a = Machine("hostA", fds=fds, device=device)
    b = destination("-S", host="hostA", mode="local", fds=fds, device=device)
    for fd in (*fds, device):
        os.close(fd)
    for m in a, b:
        m.capabilities("return-path")
    way = OneWay()
    a.reach_switchover(way.uri)
    send("hostA", 3)
    a.switch_over("device")
    wait_until("paused", lambda: b.status() == "paused")
    loses_to_the_deadline(a)
    b.command("cont")
    b.runs()
    os.kill(a.pid, signal.SIGCONT)
    expect(a.hold("state"), "armed", "seen by the source")
    expect(a.traced("tap_hold_freeze"), 1, "frozen by the source")
    way.told.set()
    a.reach("failed")
    b.quit()
    a.quit()
    wait_no_hold()


@long
@case
def when_no_guest_comes_any_more_what_was_moved_stays_there():
    """A source that went on would have it back, and the other one drop it."""
    later = f"{RUN}/later"
    with open(later, "w") as f:
        a = Machine("hostA", program=(
            "env", f"LD_PRELOAD={os.path.abspath('./later.so')}",
            f"LATER={later}", QEMU))
        b = destination("-S")
        with rig.Relays("hostA", "hostB", "later") as relays:
            a.reach_switchover()
            for host in HOSTS:
                wait_until(f"a relay on {host}",
                           lambda h=host: "peer" in holds(h)[0]["flags"])
            send("hostA", 3)
            a.switch_over()
            wait_until("moved", lambda: b.hold("imported") == 3)
            expect(hold("hostA"), ("frozen", "source"), "moved")
            f.truncate(10 * 60)
            wait_until("noticed", lambda: a.hold("state") != "frozen")
            expect(hold("hostA"), ("dead", "source"), "given up")
            tapmig("hostA", "set", "id", str(holds("hostA")[0]["id"]),
                   "max-frozen-ms", "100")
            relays.results(1)
    no_hold("hostA")
    b.command("cont")
    wait_no_hold("hostB")
    expect(b.counts(), (0, 3), "held, and handed to the guest")
    a.quit()
    b.quit()


@long
@case
def a_guest_that_runs_is_not_cut_off_for_ever():
    """QEMU renews what it has frozen itself."""
    a, b = pair()
    # Its socket fills up before the switchover.
    os.kill(b.pid, signal.SIGSTOP)
    a.stay_in_precopy()
    number = str(holds("hostA")[0]["id"])
    # Longer than it takes QEMU to renew.
    tapmig("hostA", "set", "id", number, "max-frozen-ms", "15000")
    tapmig("hostA", "freeze", "id", number)
    left = [15000]

    def thawed():
        there = holds("hostA")[0]
        if there["state"] != "frozen":
            return True
        left.append(there["deadline_in_ms"])
        if left[-1] > left[-2]:
            raise Failure(f"renewed: {left}")
        return False
    wait_until("thawed", thawed)
    os.kill(b.pid, signal.SIGCONT)
    a.cancel()
    b.ended()
    a.quit()


def after():
    """Nothing of it is left for the next one."""
    for m in Machine.all:
        if m.process.poll() is None:
            m.kill()
    Machine.all.clear()
    for host in HOSTS:
        discard(host)


def main():
    wanted = sys.argv[1:]
    amount = wanted.pop(0) if wanted[:1] in (["quick"], ["long"]) else None
    names = wanted or [n for n in CASES if amount == "long" or
                       n in QUICK or amount is None and n not in LONG]
    print("KTAP version 1")
    print(f"1..{len(names)}", flush=True)
    topology()
    failed = 0
    for number, name in enumerate(names, 1):
        start = time.monotonic()
        try:
            CASES[name]()
            word = "ok"
        except Exception as e:
            word = "not ok"
            failed += 1
            print(f"# {e}")
            for line in traceback.format_exc().splitlines():
                print(f"#   {line}")
            for host in HOSTS:
                print(f"#   {host}: {json.dumps(holds(host))}")
            for m in Machine.all:
                with open(m.log) as f:
                    for line in f.read().splitlines()[1:][-40:]:
                        print(f"#   {m.name}: {line}")
        after()
        print(f"{word} {number} states: {name} # "
              f"{time.monotonic() - start:.1f} s", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
