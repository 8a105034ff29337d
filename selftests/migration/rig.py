# SPDX-License-Identifier: GPL-2.0-only
"""Networks, hosts, clients, and the guest that moves between the hosts."""

import ctypes
import json
import os
import select
import signal
import struct
import subprocess
import time

from hosts import REMOTE, in_host, ip, namespace, on_host, run
from qmp import Failure, Qemu, TIMEOUT

RUN = os.environ.get("TAPMIG_RUN", "/run/rig")
HOSTS = ("hostA", "hostB")
HOST_ADDRESS = {"hostA": "203.0.113.1", "hostB": "203.0.113.2"}
UUID = "1b4e28ba-2fa1-11d2-883f-0016d3cca427"
# What the labels of the holds begin with, before the number of the network.
LABEL = f"{UUID}/net"
RATE = 40
# How long a destination waits for the relay, in ms: machines are slow.
HOLD_WAIT = 60000
# A multi-queue card with vhost-net, and one that QEMU serves by itself.
NETS = (
    {"queues": 4, "vhost": True, "mac": "02:00:00:00:01:02",
     "client": "02:00:00:00:01:01", "net": "192.0.2"},
    {"queues": 1, "vhost": False, "mac": "02:00:00:00:02:02",
     "client": "02:00:00:00:02:01", "net": "198.51.100"},
)
# As in rig.h: so many flows, and after them one broadcast, one multicast.
UNICAST_FLOWS = 32
KINDS = ("unicast", "broadcast", "multicast")
FLOODED = {"broadcast": UNICAST_FLOWS, "multicast": UNICAST_FLOWS + 1}
# As in client.c: of so many frames one is one of these; of so many of the other
# flows one is echoed.
FLOODED_EACH = 6
ECHOED_EACH = 4
# Of struct probe, see rig.h.
PROBE_MAGIC = bytes.fromhex("7a9d3e02")
PROBE_END = 2


def card_name(net):
    """What the card of a network is called in what is printed."""
    return f"vhost={'on' if net['vhost'] else 'off'} queues={net['queues']}"


def cross():
    """The other card is the one with vhost-net."""
    for net in NETS:
        net["vhost"] = not net["vhost"]


def bridge(netns, name):
    ip(netns, "link", "add", name, "type", "bridge", "forward_delay", "0",
       "mcast_snooping", "0")
    ip(netns, "link", "set", name, "up")


def host_bridges(host):
    """The bridges of a host, with its TAPs; the uplinks are there.

    The switch can pass on an announcement of the guest while another processor
    still has a frame for its old host. The bridge there, had it learned from
    the announcement that the guest is elsewhere, would drop that frame before
    it comes to the TAP.
    """
    for n, net in enumerate(NETS):
        bridge(host, f"br{n}")
        ip(host, "link", "set", f"uplink{n}", "master", f"br{n}", "up")
        ip(host, "link", "set", f"uplink{n}", "type", "bridge_slave",
           "learning", "off")
        queues = ["multi_queue"] if net["queues"] > 1 else []
        ip(host, "tuntap", "add", f"tap{n}", "mode", "tap", "vnet_hdr",
           *queues)
        ip(host, "link", "set", f"tap{n}", "master", f"br{n}", "up")


def taps_down(host):
    for n in range(len(NETS)):
        ip(host, "link", "set", f"tap{n}", "down")


def tap_features(host):
    """What each TAP can take, after what its guest has asked for."""
    return [{line.strip() for line in
             run(*in_host(host, "ethtool", "-k", f"tap{n}")).decode()
             .splitlines()} for n in range(len(NETS))]


def client_address(n, device):
    net = NETS[n]
    ip("client", "link", "set", device, "address", net["client"], "up")
    ip("client", "addr", "add", f"{net['net']}.1/24", "broadcast", "+",
       "dev", device)
    ip("client", "neigh", "add", f"{net['net']}.2", "lladdr", net["mac"],
       "nud", "permanent", "dev", device)


def wire(near, near_name, far, far_name, vlan):
    """Between two namespaces; to one that is elsewhere it is a VLAN."""
    if far not in REMOTE:
        ip(near, "link", "add", near_name, "type", "veth",
           "peer", "name", far_name, "netns", far)
        return
    for name, host in (near_name, near), (far_name, far):
        run(*on_host(host, "ip", "link", "add", "link", "eth0", "name", name,
                     "netns", host, "type", "vlan", "id", str(vlan)))


def topology():
    """The switch and the client are here, and those hosts that are."""
    os.makedirs(RUN, exist_ok=True)
    for host in REMOTE:
        run(*on_host(host, "mkdir", "-p", RUN))
    for name in ("client", "switch", *HOSTS):
        namespace(name)
    wire("hostA", "mig", "hostB", "mig", 2)
    for n in range(len(NETS)):
        bridge("switch", f"sw{n}")
        for name in ("client", *HOSTS):
            wire("switch", f"{name}{n}", name, f"uplink{n}", 10 + n)
            ip("switch", "link", "set", f"{name}{n}", "master", f"sw{n}",
               "up")
        client_address(n, f"uplink{n}")
    for host in HOSTS:
        ip(host, "link", "set", "mig", "up")
        ip(host, "addr", "add", f"{HOST_ADDRESS[host]}/24", "dev", "mig")
        host_bridges(host)


def network_drops():
    """What each card and each machine has dropped so far, as they count it."""
    drops = {}
    namespaces = [(name, ("-n", name)) for name in ("client", "switch", *HOSTS)]
    if REMOTE:
        namespaces += [("hostA", ()), *((host, ()) for host in REMOTE)]
    for host, option in namespaces:
        for link in json.loads(run(*on_host(host, "ip", *option, "-s", "-j",
                                            "link"))):
            for way, stats in link.get("stats64", {}).items():
                where = f"{host}{'' if option else ' (machine)'} " \
                    f"{link['ifname']} {way}"
                drops[where] = stats["dropped"] + stats["errors"]
    for host in ("client", *REMOTE):
        table = run(*on_host(host, "cat", "/proc/net/softnet_stat")).decode()
        drops[f"backlog of {host} (machine)"] = sum(
            int(line.split()[column], 16)
            for line in table.splitlines() for column in (1, 10))
    return drops


class Client:
    """The traffic of one network."""

    def __init__(self, n, rate, probes):
        self.net = n
        self.process = subprocess.Popen(
            ["ip", "netns", "exec", "client", "./client", str(n), str(rate),
             *(["probes"] if probes else [])],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def tell(self, command):
        try:
            self.process.stdin.write(f"{command}\n".encode())
            self.process.stdin.flush()
        except BrokenPipeError as e:
            raise Failure("the client has ended") from e

    def line(self):
        if not select.select([self.process.stdout], [], [], TIMEOUT)[0]:
            raise Failure("the client is silent")
        line = self.process.stdout.readline().decode()
        if not line:
            raise Failure("the client has ended")
        return line.rstrip()


class Traffic:
    """The clients of networks, all if none is named, together."""

    def __init__(self, nets=range(len(NETS)), rate=RATE, probes=False):
        self.clients = [Client(n, rate, probes) for n in nets]
        self.run = 0

    def all(self, command):
        for c in self.clients:
            c.tell(command)
        return [c.line() for c in self.clients]

    def begin(self):
        self.run += 1
        self.all(f"begin {self.run}")

    def wait(self, frames):
        """Until so many more were sent; how many that are, in each."""
        return [int(line.split()[1]) for line in self.all(f"wait {frames}")]

    def stop(self):
        return [json.loads(line) for line in self.all("stop")]

    def end(self):
        for c in self.clients:
            stop_process(c.process)


class Guest:
    """Command lines of the QEMUs that the guest is in."""

    def __init__(self, qemu):
        self.program = [qemu]
        # Every other QEMU does not know the property.
        self.can_hold = True

    def arguments(self, incoming=False, hold=None, extra=(), fds=None):
        # While a booting guest finds its cards, a thread of another processor
        # can be at the wrong device with what it wanted from its own APIC: it
        # looks that up in the new map of devices with the number of the old.
        threads = "multi" if incoming else "single"
        a = ["-machine", "pc", "-accel", f"tcg,tb-size=64,thread={threads}",
             "-cpu", "qemu64", "-smp", "2", "-m", "128", "-nodefaults",
             "-no-user-config", "-display", "none", "-uuid", UUID,
             "-kernel", "guest-vmlinuz", "-initrd", "guest-initrd", "-append",
             "console=ttyS0 quiet panic=-1 tsc=reliable no_timer_check"]
        if incoming:
            a += ["-incoming", "defer"]
        for n, net in enumerate(NETS):
            dev = f"tap,id=net{n}"
            if fds:
                dev += f",fds={':'.join(map(str, fds[n]))}" \
                    if len(fds[n]) > 1 else f",fd={fds[n][0]}"
            else:
                dev += f",ifname=tap{n},script=no,downscript=no"
                if net["queues"] > 1:
                    dev += f",queues={net['queues']}"
            dev += f",vhost={'on' if net['vhost'] else 'off'}"
            if hold and self.can_hold:
                dev += f",migration-hold={hold}"
                if hold == "on":
                    dev += f",migration-hold-wait={HOLD_WAIT}"
            card = f"virtio-net-pci,netdev=net{n},mac={net['mac']}"
            card += f",addr={4 + n},romfile="
            if net["queues"] > 1:
                card += f",mq=on,vectors={2 * net['queues'] + 2}"
            # A guest that starts on a newer kernel is not to get what an older
            # one cannot do: QEMU would refuse it there.
            card += ",host_uso=off,guest_uso4=off,guest_uso6=off"
            card += ",queue_reset=off"
            a += ["-netdev", dev, "-device", card]
        return [*a, *extra]

    def boot(self, host, hold, state):
        """Start the guest, or bring it back from a file."""
        if not os.path.exists(state):
            q = self.start(host, incoming=False, hold=hold)
            try:
                q.wait_serial("guest: ready")
            except Failure:
                q.kill()
                raise
            return q
        q = self.start(host, hold=hold)
        q.command("migrate-incoming", uri=f"exec:cat {state}")
        q.wait("RESUME")
        return q

    def start(self, host, incoming=True, fds=None, **kwargs):
        q = Qemu(host, self.program,
                 self.arguments(incoming, fds=fds, **kwargs), RUN,
                 fds=[fd for net in fds or () for fd in net])
        q.capabilities()
        return q


def other(host):
    return HOSTS[1 - HOSTS.index(host)]


def stop_process(process):
    if process.poll() is None:
        os.kill(process.pid, signal.SIGTERM)
    try:
        process.wait(TIMEOUT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise Failure(f"{process.args} does not end")


def tapmig(host, *arguments):
    return run(*on_host(host, "tapmig", "-n", host, *arguments))


def holds(host):
    """What there is of holds on a host."""
    said = json.loads(tapmig(host, "-j", "-s", "show") or "[]")
    return said if isinstance(said, list) else said.get("holds", [said])


def wait_until(what, condition):
    """Of what has no event to wait for."""
    end = time.monotonic() + TIMEOUT
    while not condition():
        if time.monotonic() > end:
            raise Failure(f"{what}: not after {TIMEOUT} s")
        select.select([], [], [], 0.05)


class Relays:
    """A relay on each host, for one migration."""

    def __init__(self, source, destination, port):
        """The port is a number, or something else for a socket that is."""
        self.processes = {}
        self.rest = []
        uri = (f"tcp:{HOST_ADDRESS[destination]}:{port}", "--insecure") \
            if isinstance(port, int) else (f"unix:{RUN}/relay-{port}",)
        for host, way in ((destination, "--listen"), (source, "--connect")):
            self.processes[host] = subprocess.Popen(
                in_host(host, "tapmig", "relay", way, *uri,
                        "--verbose", "--label", f"{LABEL}*",
                        log=f"{RUN}/relay-{port}-{host}.log"),
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, bufsize=0)

    def results(self, count=len(NETS)):
        """What the relays say of each hold when it is over."""
        # Unbuffered: select() sees every line that was not read.
        lines = []
        for p in self.processes.values():
            for _ in range(count):
                if not select.select([p.stdout], [], [], TIMEOUT)[0]:
                    raise Failure("a relay does not come to its end")
                line = p.stdout.readline().decode()
                if not line:
                    raise Failure("a relay has ended")
                lines.append(line.rstrip())
        return lines

    def __enter__(self):
        return self

    def __exit__(self, failed, *_):
        for host, p in self.processes.items():
            stop_process(p)
            # What nobody has waited for.
            self.rest += p.stdout.read().decode().splitlines()
            p.stdout.close()
        for host, p in self.processes.items():
            # One that is elsewhere is killed.
            wanted = -signal.SIGKILL & 0xff if host in REMOTE else 0
            if p.returncode != wanted and not failed:
                raise Failure(f"the relay of {host}: status {p.returncode}")


class Hook:
    """The program for a QEMU that knows nothing of holds, at its monitor."""

    def __init__(self, side, qemu, *options, cards=len(NETS)):
        self.side = side
        self.process = subprocess.Popen(
            ["ip", "netns", "exec", qemu.host, "./tapmig-qmp", side,
             qemu.hook_path, *options] +
            [f"tap{n}={LABEL}{n}" for n in range(cards)],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, bufsize=0)

    def wait(self, text):
        while True:
            if not select.select([self.process.stdout], [], [], TIMEOUT)[0]:
                raise Failure(f"tapmig-qmp {self.side}: no '{text}'")
            line = self.process.stdout.readline().decode()
            if not line:
                raise Failure(f"tapmig-qmp {self.side} has ended")
            if line.rstrip() == text:
                return
            if line.rstrip() == "late":
                raise Failure("tapmig-qmp was not in time")

    def end(self, wanted=0):
        try:
            status = self.process.wait(TIMEOUT)
        except subprocess.TimeoutExpired:
            self.process.kill()
            status = self.process.wait()
        self.process.stdout.close()
        if status != wanted:
            raise Failure(f"tapmig-qmp {self.side}: status {status}")


def packets(pcapng):
    """What an export has: (queue, time in ns, frame) of each packet."""
    at = 0
    while at < len(pcapng):
        kind, length = struct.unpack_from("<II", pcapng, at)
        if kind == 6:
            high, low, size = struct.unpack_from("<III", pcapng, at + 12)
            said = {}
            option = at + 28 + (size + 3 & ~3)
            while option < at + length - 4:
                code, n = struct.unpack_from("<HH", pcapng, option)
                said[code] = int.from_bytes(pcapng[option + 4:option + 4 + n],
                                            "little")
                option += 4 + (n + 3 & ~3)
            yield said[6], high << 32 | low, pcapng[at + 28:at + 28 + size]
        at += length


class HeldFlow(list):
    """
    The frames of a flow that a hold has, in order: (number, queue, milliseconds
    after the first frame of all).
    """

    @property
    def first(self):
        return self[0][0]

    @property
    def queue(self):
        return self[0][1]

    @property
    def last(self):
        return max(number for number, _, _ in self)

    def __str__(self):
        """NUMBER@QUEUE+MS of each."""
        return " ".join(f"{number}@{queue}+{ms}" for number, queue, ms in self)


def held(host, n):
    """
    What is in a frozen hold: the queues at which frames have arrived; the flows
    with frames there, as HeldFlow; the size of the largest frame. What came
    from the other host does not count.
    """
    pcapng = tapmig(host, "export", "label", f"{LABEL}{n}", "-")
    queues, flows, largest, begin = set(), {}, 0, None
    for queue, time_ns, frame in packets(pcapng):
        queues.add(queue)
        largest = max(largest, len(frame))
        begin = begin or time_ns
        at = frame.find(PROBE_MAGIC)
        if at >= 0:
            flow, number = struct.unpack_from("!II", frame, at + 12)
            flows.setdefault(flow, HeldFlow()).append(
                (number, queue, (time_ns - begin) // 1000000))
    return queues, flows, largest


def first_unicast(flows):
    """The first that was held, as (number, flow): they are sent in turn."""
    return min(((held.first, flow) for flow, held in flows.items()
                if flow < UNICAST_FLOWS), default=None)


def queue_numbers(pid, ifname):
    """The queues that a process has open, as its file descriptors."""
    numbers = []
    for fd in sorted(map(int, os.listdir(f"/proc/{pid}/fd"))):
        with open(f"/proc/{pid}/fdinfo/{fd}") as f:
            if f"iff:\t{ifname}\n" in f.read():
                numbers.append(fd)
    return numbers


def tap_queues(pid, ifname):
    """The same, as file descriptors of ours."""
    pidfd = os.pidfd_open(pid)
    try:
        return [pidfd_getfd(pidfd, fd) for fd in queue_numbers(pid, ifname)]
    finally:
        os.close(pidfd)


def pidfd_getfd(pidfd, fd):
    number = 438
    libc = ctypes.CDLL(None, use_errno=True)
    ours = libc.syscall(number, pidfd, fd, 0)
    if ours < 0:
        raise Failure(f"pidfd_getfd: {os.strerror(ctypes.get_errno())}")
    return ours
