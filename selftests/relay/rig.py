# SPDX-License-Identifier: GPL-2.0-only
"""What the tests of the relay are made of: hosts, guests, relays, proxies.

Hosts are network namespaces: hostA, hostB, a client, and a switch between
them. The relays' own path is the veth pair "mgmt" (10.9.0.1, 10.9.0.2), or a
unix socket.
"""

import json
import os
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
RIG = os.path.join(HERE, "rig")
TAPMIG = os.environ.get("TAPMIG", "tapmig")
# Only a fault is meant to meet it: machines are slow.
STUCK = int(os.environ.get("RELAY_STUCK", "90"))
# Sizes of all kinds; g: large ones that the network card is to cut.
FLOWS = ("u:64", "u:200", "u:700", "u:1400", "g:8", "b:100", "m:100")
UNICAST = ("u:64", "u:200", "u:700", "u:1400", "g:8")
RATE = 3000


class Failure(Exception):
    pass


def expect(condition, text):
    if not condition:
        raise Failure(text)


def wait_for(condition, what):
    """For conditions without an event: a look now and then."""
    end = time.monotonic() + STUCK
    while not condition():
        if time.monotonic() > end:
            raise Failure("waited in vain for " + what)
        time.sleep(0.01)


def run(*command, check=True, text=None):
    r = subprocess.run(command, input=text or "", capture_output=True,
                       text=True, check=False)
    if check and r.returncode:
        raise Failure(f"{' '.join(command)}: {r.returncode}: "
                      f"{r.stdout}{r.stderr}")
    return r


# What runs a program on a host that is in another virtual machine.
REMOTE = {}


def in_netns(netns, *command):
    return REMOTE.get(netns, ()) + \
        (("ip", "netns", "exec", netns) if netns else ()) + command


def odd(*words):
    """Netlink is to a program as preload/odd.c says."""
    return ("env", f"LD_PRELOAD={os.path.join(HERE, 'odd.so')}",
            f"ODD={' '.join(words)}")


def holds(netns, *selector):
    """What "tapmig -j show" says."""
    r = run(*in_netns(netns, TAPMIG, "-j", "show", *selector), check=False)
    if r.returncode == 2:
        return []
    expect(not r.returncode, f"show: {r.stderr}")
    return json.loads(r.stdout)


def unload():
    """It is refused until the last hold is gone."""
    wait_for(lambda: not run("modprobe", "-r", "tapmig",
                             check=False).returncode, "the module's end")


def load():
    run("modprobe", "tapmig")


def brief(h):
    """A hold, without what is zero anyway, or not interesting."""
    dull = ("max_frozen_ms", "deadline_in_ms", "max_bytes", "max_packets",
            "owner_pid", "ifindex", "mac", "link_type", "deadline_action",
            "frozen_ns")
    return {k: v for k, v in h.items() if v and k not in dull}


# --- hosts --------------------------------------------------------------------

def ip(netns, *lines):
    run("ip", "-n", netns, "-batch", "-", text="\n".join(lines) + "\n")


def topology_up(far=False):
    """With "far", hostB is in another virtual machine."""
    near = ("hostA",) if far else ("hostA", "hostB")
    for ns in ("switch", "client", *near):
        run("ip", "netns", "add", ns)
        # Nothing on the wires but what the tests send.
        run("ip", "netns", "exec", ns, "sysctl", "-qw",
            "net.ipv6.conf.all.disable_ipv6=1",
            "net.ipv6.conf.default.disable_ipv6=1")
    bridge = "type bridge forward_delay 0 mcast_snooping 0"
    ip("switch", f"link add sw0 {bridge}", "link set sw0 up")
    for ns in ("client", *near):
        ip("switch", f"link add {ns} type veth peer name uplink netns {ns}",
           f"link set {ns} master sw0 up")
        ip(ns, "link set lo up", "link set uplink up")
    for ns in near:
        ip(ns, f"link add br0 {bridge}", "link set br0 up",
           "link set uplink master br0")
    if not far:
        ip("hostA", "link add mgmt type veth peer name mgmt netns hostB",
           "addr add 10.9.0.1/30 dev mgmt", "link set mgmt up")
        ip("hostB", "addr add 10.9.0.2/30 dev mgmt", "link set mgmt up")
    for ns in near:
        path = "/sys/class/net/uplink/brport/state"
        wait_for(lambda n=ns: run("ip", "netns", "exec", n, "cat",
                                  path).stdout.strip() == "3",
                 f"the bridge of {ns}")


def learning(on):
    """Off: the switch floods all frames for the guest to both hosts."""
    word = "on" if on else "off"
    ip("switch", *(f"link set dev {h} type bridge_slave learning {word}"
                   for h in ("hostA", "hostB")),
       "link set dev sw0 type bridge fdb_flush")


# --- processes ------------------------------------------------------------------

class Program:
    """A process that answers each line with a line."""

    def __init__(self, netns, *command):
        self.name = " ".join(command[1:3])
        self.process = subprocess.Popen(
            in_netns(netns, *command), stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.rest = b""
        self.answer()

    def answer(self, what="start"):
        end = time.monotonic() + STUCK
        out = self.process.stdout.fileno()
        while b"\n" not in self.rest:
            if not select.select([out], [], [],
                                 max(0, end - time.monotonic()))[0]:
                raise Failure(f"{self.name}: no answer to {what}")
            data = os.read(out, 65536)
            if not data:
                raise Failure(f"{self.name}: died at {what}: " +
                              self.process.stderr.read().decode())
            self.rest += data
        line, self.rest = self.rest.split(b"\n", 1)
        return line.decode()

    def try_ask(self, *words):
        text = " ".join(map(str, words))
        try:
            self.process.stdin.write(text.encode() + b"\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass
        return self.answer(text).split()

    def ask(self, *words):
        result = self.try_ask(*words)
        if result[0] != "ok":
            raise Failure(f"{self.name}: {' '.join(map(str, words))}: "
                          f"{' '.join(result)} {self.state()}")
        return result[1:]

    def state(self):
        return ""

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for f in (self.process.stdin, self.process.stdout,
                  self.process.stderr):
            try:
                f.close()
            except BrokenPipeError:
                pass


class Vmm(Program):
    def __init__(self, netns, log, queues=1, dev="tap0"):
        self.log = log
        self.netns = netns
        super().__init__(netns, RIG, "vmm", dev, "br0", str(queues), log)
        self.name = f"VMM {netns}"

    def state(self):
        return str([brief(h) for h in holds(self.netns)])

    def info(self):
        words = self.ask("info")
        return {k: int(v) for k, v in (w.split("=") for w in words)}

    def hold(self, role, label, **members):
        self.id = int(self.ask("hold", role, label,
                               *(f"{k}={v}" for k, v in members.items()))[0])

    def wait(self, name, op, value):
        """As long as a counter grows: a machine may be slow."""
        words = ("wait", name, op, value)
        if op == ">=":
            before = self.info()[name]
            while self.try_ask(*words)[0] != "ok":
                now = self.info()[name]
                expect(now > before, f"{self.name}: {' '.join(map(str, words))}"
                                     f": it stays at {now} {self.state()}")
                before = now
        else:
            self.ask(*words)


class Sender(Program):
    def __init__(self, flows, rate=RATE):
        self.flows = flows
        super().__init__("client", RIG, "send", "uplink", str(rate), *flows)
        self.name = "sender"

    def frames(self, n):
        self.ask("wait", n)


class Relay:
    """A relay. Its standard output is JSON."""

    def __init__(self, netns, *args, wrap=(), options=("-j",), stdin=None,
                 verbose=True):
        self.dir = tempfile.mkdtemp(prefix="relay")
        self.out = open(os.path.join(self.dir, "out"), "w+b")
        self.err = open(os.path.join(self.dir, "err"), "w+b")
        self.args = args
        command = (*wrap, TAPMIG, *options, "relay", *args)
        if verbose:
            command += ("--verbose",)
        self.process = subprocess.Popen(in_netns(netns, *command),
                                        stdin=stdin or subprocess.DEVNULL,
                                        stdout=self.out, stderr=self.err)

    @staticmethod
    def read(f):
        return os.pread(f.fileno(), 1 << 22, 0).decode(errors="replace")

    def said(self):
        return self.read(self.err)

    def printed(self):
        return self.read(self.out)

    def alive(self):
        return self.process.poll() is None

    def wait_said(self, *texts):
        def there():
            if any(t in self.said() for t in texts):
                return True
            if not self.alive():
                expect(any(t in self.said() for t in texts),
                       f"the relay ended: {self.said()}")
                return True
            return False
        wait_for(there, f"'{texts}' of a relay, which says: " +
                 self.said()[-1500:])

    def done(self):
        """The holds that are over so far."""
        text, found = self.printed(), []
        at = text.find("{")
        while at >= 0:
            try:
                value, end = json.JSONDecoder().raw_decode(text, at)
            except ValueError:
                break
            found.append(value)
            at = text.find("{", end)
        return found

    def wait_done(self, n=1):
        def there():
            if len(self.done()) >= n:
                return True
            expect(self.alive() or len(self.done()) >= n,
                   f"the relay ended: {self.process.returncode}: "
                   f"{self.said()[-1500:]}")
            return False
        try:
            wait_for(there, "the end of a hold")
        except Failure as e:
            raise Failure(f"{e}: {self.said()[-1500:]}") from e
        return self.done()

    def peak_kib(self):
        with open(f"/proc/{self.process.pid}/status") as f:
            for line in f:
                if line.startswith("VmHWM:"):
                    return int(line.split()[1])
        raise Failure("no VmHWM")

    def end(self, sig=signal.SIGINT):
        """Its exit status."""
        if self.alive():
            self.process.send_signal(sig)
        try:
            return self.process.wait(STUCK)
        except subprocess.TimeoutExpired:
            raise Failure(f"a relay goes on after signal {sig}") from None

    def kill(self):
        if self.alive():
            self.process.kill()
        self.process.wait()

    def close(self):
        self.kill()
        self.out.close()
        self.err.close()
        shutil.rmtree(self.dir, ignore_errors=True)


# --- between two relays -----------------------------------------------------------

class Proxy:
    """Stands between two relays: LISTEN is where one connects, TO the other.

    Stops after "limit" bytes from the side that connects, until go_on() or
    cut(); then, and after heal(), new connections are taken again. Keeps what
    the connecting side has sent in "record" if that is a list.
    """

    def __init__(self, listen, to, record=None, limit=None):
        self.to = to
        self.record = record
        self.limit = limit
        self.passed = 0
        self.lock = threading.Condition()
        self.pairs = []
        self.open = True
        self.connections = 0
        if os.path.exists(listen):
            os.unlink(listen)
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(listen)
        self.listener.listen()
        self.thread = threading.Thread(target=self.accept, daemon=True)
        self.thread.start()

    def accept(self):
        while True:
            try:
                near, _ = self.listener.accept()
            except OSError:
                return
            far = socket.socket(socket.AF_UNIX)
            with self.lock:
                usable = self.open
            try:
                if not usable:
                    raise OSError
                far.connect(self.to)
            except OSError:
                near.close()
                far.close()
                continue
            with self.lock:
                self.pairs.append((near, far))
                self.connections += 1
            for a, b, counted in ((near, far, True), (far, near, False)):
                threading.Thread(target=self.copy, args=(a, b, counted),
                                 daemon=True).start()

    def copy(self, a, b, counted):
        try:
            while True:
                room = 65536
                if counted:
                    with self.lock:
                        while self.limit is not None and \
                                self.passed >= self.limit:
                            self.lock.wait()
                        if self.limit is not None:
                            room = min(room, self.limit - self.passed)
                data = a.recv(room)
                if not data:
                    break
                if counted:
                    with self.lock:
                        self.passed += len(data)
                        if self.record is not None:
                            self.record.append(data)
                        self.lock.notify_all()
                b.sendall(data)
        except OSError:
            pass
        for s in (a, b):
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def wait_passed(self, n):
        with self.lock:
            if not self.lock.wait_for(lambda: self.passed >= n, STUCK):
                raise Failure(f"only {self.passed} of {n} bytes passed")

    def go_on(self, limit=None):
        with self.lock:
            self.limit = limit
            self.lock.notify_all()

    def cut(self, heal=False):
        with self.lock:
            self.open = heal
            pairs, self.pairs = self.pairs, []
            self.limit = None
            self.lock.notify_all()
        for pair in pairs:
            for s in pair:
                try:
                    s.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass

    def heal(self):
        with self.lock:
            self.open = True

    def close(self):
        self.cut()
        try:
            self.listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.listener.close()


# --- a guest moves ------------------------------------------------------------------

class Counts(dict):
    """sent, delivered, lost, duplicated, reordered, damaged, by kind too."""

    def __init__(self, text):
        super().__init__()
        self.kinds = {}
        names = ("sent", "delivered", "lost", "duplicated", "reordered")
        self.update({n: 0 for n in names})
        for line in text.splitlines():
            words = line.split()
            if words[0] == "damaged":
                self["damaged"] = int(words[1])
                continue
            kind = self.kinds.setdefault(words[1], {n: 0 for n in names})
            for n, value in zip(names, words[2:]):
                self[n] += int(value)
                kind[n] += int(value)


class Move:
    """One guest and its two hosts; what a test starts here ends with it."""

    def __init__(self, flows=FLOWS, rate=RATE, queues=(1, 1),
                 label="vm1/net0"):
        self.far = bool(REMOTE)
        self.dir = tempfile.mkdtemp(prefix="move")
        self.flows = flows
        self.rate = rate
        self.queues = queues
        self.label = label
        self.things = []
        self.relays = []
        self.a = self.b = self.sender = None
        self.flooded = 0
        self.logs = []

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        if kind:
            for r in self.relays:
                print(f"# relay {' '.join(r.args)}: "
                      f"{'runs' if r.alive() else r.process.returncode}")
                print("".join(f"#   {line}\n" for line in
                              (r.said() + r.printed())[-3000:].splitlines()))
            for ns in ("hostA", "hostB"):
                for h in holds(ns):
                    print(f"# {ns}: {brief(h)}")
        for t in reversed(self.things):
            if isinstance(t, Program):
                t.kill()
            else:
                t.close()
        for ns in ("hostA", "hostB"):
            for h in holds(ns):
                run(*in_netns(ns, TAPMIG, "discard", "id", str(h["id"])),
                    check=False)
        shutil.rmtree(self.dir, ignore_errors=True)

    def path(self, name):
        return os.path.join(self.dir, name)

    def add(self, thing):
        self.things.append(thing)
        if isinstance(thing, Relay):
            self.relays.append(thing)
        return thing

    def vmm(self, netns, queues=1, dev="tap0"):
        """Its log is counted after those of the VMMs before."""
        log = self.path(f"log{len(self.logs)}")
        if netns in REMOTE:
            log = "/tmp/" + log.replace("/", "-")
        self.logs.append(log)
        return self.add(Vmm(netns, log, queues, dev))

    def relay(self, netns, *args, **options):
        return self.add(Relay(netns, *args, **options))

    def proxy(self, listen, to, **options):
        return self.add(Proxy(listen, to, **options))

    # The steps of a migration, in order.

    def source_up(self, hold=True, **members):
        self.a = self.vmm("hostA", self.queues[0])
        self.sender = self.add(Sender(self.flows, self.rate))
        self.announce(self.a)
        self.a.ask("run")
        self.sender.ask("follow", self.a.log)
        self.sender.frames(len(self.flows))
        self.a.ask("wait-got", 1)
        self.sender.frames(100)
        if hold:
            self.hold_source(**members)

    def hold_source(self, **members):
        self.a.hold("source", self.label, **members)

    def announce(self, vmm):
        def heard():
            vmm.ask("announce")
            return self.sender.ask("announced") == ["1"]
        wait_for(heard, "an announcement")

    def redirect(self):
        """From now on the network sends to the destination.

        A frame on its way to the source while a switch there learns where the
        guest is now would be dropped by that switch.
        """
        self.sender.ask("pause")
        self.announce(self.b)
        self.sender.ask("go")

    def standby_up(self, hold=True, **members):
        self.flooded = int(self.sender.ask("mute")[0])
        self.b = self.vmm("hostB", self.queues[1])
        if hold:
            self.hold_standby(**members)
        self.sender.ask("unmute")
        # It hears what is flooded.
        if any(f[0] in "bm" for f in self.flows):
            self.sender.frames(2 * len(self.flows))

    def hold_standby(self, **members):
        self.b.hold("standby", self.label, **members)
        self.b.ask("freeze")

    def connect(self, *options, linger=500, via=None):
        """Two relays with a unix socket, or a proxy, between them."""
        path = self.path("socket")
        self.rb = self.relay("hostB", "--listen", f"unix:{path}", *options)
        self.ra = self.relay("hostA", "--connect", f"unix:{via or path}",
                             "--linger", str(linger), *options)

    def paired(self):
        self.a.wait("peer", "=", 1)
        self.b.wait("peer", "=", 1)

    def stop(self, detached=True):
        # What reaches the hosts further apart than the protocol allows for
        # cannot be told from what came after the freeze; on an emulated
        # machine that happens now and then.
        n = int(self.sender.ask("mute")[0]) - self.flooded
        if self.far:
            self.b.wait("captured", ">=", n)
        else:
            self.sender.frames(2 * len(self.flows))
        self.a.ask("prepare")
        self.a.ask("stop")
        self.a.ask("freeze", *(("detached",) if detached else ()))
        self.sender.ask("unmute")

    def start(self, announce=True):
        """The guest starts at the destination, which announces it before."""
        if announce:
            self.redirect()
            # The network needs a moment to change its mind.
            self.sender.frames(2 * len(self.flows))
        self.b.ask("thaw")
        self.b.ask("run")

    def in_step(self):
        self.b.wait("thaw_wait_us", ">=", 1)
        self.b.wait("delivered", ">=", 1)

    def fetch(self, vmm):
        """The log of a VMM elsewhere."""
        size = 8 * (1 + int(vmm.ask("got")[0]))
        data = subprocess.run(REMOTE[vmm.netns] +
                              ("head", "-c", str(size), vmm.log),
                              stdin=subprocess.DEVNULL,
                              capture_output=True, check=True).stdout
        expect(len(data) == size, f"{len(data)} of {size} bytes of a log")
        here = self.path("fetched")
        with open(here, "wb") as f:
            f.write(data)
        self.logs[self.logs.index(vmm.log)] = here

    def relays_done(self):
        a = self.ra.wait_done()[-1]
        b = self.rb.wait_done()[-1]
        expect(a["role"] == "source" and b["role"] == "standby",
               f"roles: {a} {b}")
        return a, b

    def finish(self, close=True, at=None):
        """The end of the traffic, and what became of it."""
        if close and self.a:
            self.a.kill()
        self.sender.ask("end", self.path("sent"))
        at = at or self.b
        at.ask("wait-ended", len(self.flows))
        at.ask("stop")
        if at.netns in REMOTE:
            self.fetch(at)
        return Counts(run(RIG, "count", self.path("sent"),
                          *self.logs).stdout)
