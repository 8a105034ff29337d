# SPDX-License-Identifier: GPL-2.0-only
"""The protocol: a peer that keeps to it, and many that do not."""

import json
import os
import resource
import select
import signal
import struct
import subprocess
import time

import peer as p
from cases import case, long_case
from peer import (ARMED, CODES, DEAD, DETACHED, FROZEN, LIVE, MESSAGE, SOURCE,
                  STANDBY, THAWING, Closed, Peer, Silent, block, interface,
                  message, offer, option, packet, section)
from rig import (HERE, STUCK, TAPMIG, Failure, Move, expect, holds, in_netns,
                 odd, run, wait_for)

FORGE = os.path.join(HERE, "forge.py")
# What the relay says first to who connects.
CONNECTS = """if True:
    import socket, sys
    s = socket.socket(socket.AF_UNIX)
    s.connect(sys.argv[1])
    print(s.recv(4096).hex(), end="")
"""
S_LABEL, D_LABEL = "s/net0", "d/net0"
FIRST = 65537
# What a relay says when its peer closes: the latter if it left a PING unread.
GONE = ("has closed", "connection lost")
HELD = 60
# A frame for the guest of the tests; the end of its payload is free.
FRAME = bytes.fromhex("020000000002" "020000000001" "88b5") + bytes(46)


class Target:
    """A relay in front of a source and a standby hold, both frozen."""

    def __init__(self, linger=500, wrap=(), options=()):
        self.m = Move(flows=("u:64", "u:900"), rate=2000)
        try:
            self.set_up(self.m, linger, wrap, options)
        except BaseException as e:
            self.m.__exit__(type(e), e, None)
            raise

    def set_up(self, m, linger, wrap, options):
        m.source_up(hold=False)
        self.a = m.a
        self.b = m.vmm("hostA", dev="tap1")
        self.a.hold("source", S_LABEL)
        self.b.hold("standby", D_LABEL)
        self.b.ask("freeze")
        m.stop()
        m.sender.frames(HELD)
        self.held = self.quiet()
        self.path = m.path("socket")
        self.relay = m.relay("hostA", "--listen", f"unix:{self.path}",
                             "--linger", str(linger), *options, wrap=wrap)
        self.before = self.state()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        return self.m.__exit__(*error)

    def quiet(self):
        """Nothing more comes; how many the source has captured."""
        n = int(self.m.sender.ask("pause")[0]) - int(self.a.ask("got")[0])
        self.a.wait("captured", "=", n)
        return n

    def state(self):
        """What a peer that misbehaves must not change."""
        found = []
        for h in sorted(holds("hostA"), key=lambda h: h["id"]):
            # The next session takes up the one that is open.
            h["flags"] = [f for f in h["flags"]
                          if f not in ("peer", "importing")]
            for name in ("deadline_in_ms", "frozen_for_ms", "exported"):
                h.pop(name, None)
            found.append(h)
        return found

    def peer(self, **options):
        return Peer(self.path, **options)

    def reset(self):
        """The standby as it was before."""
        if self.state() != self.before:
            self.b.ask("discard")
            self.b.ask("freeze")
            self.before = self.state()


def keep_alive(peer):
    """Who reads much must not be silent for 10 s."""
    if len(peer.seen) % 500 == 0:
        peer.send(message("PING", 1))


def ready(peer, n=2):
    """The relay's offers: handle by label."""
    while len(peer.offers) < n:
        peer.next()
        keep_alive(peer)
    return {o[9].decode(): h for h, o in peer.offers.items()}


def pair_as_standby(peer, frozen_ns=1, handle=7):
    """(channel, handle of the source); the relay opens the channel."""
    handles = ready(peer)
    peer.send(offer(handle, STANDBY, FROZEN, S_LABEL.encode(),
                    frozen_ns=frozen_ns))
    link, options = peer.until("INTERFACE")
    expect(link == 1 and options[3] == S_LABEL.encode(), f"{options}")
    channel, source, standby = peer.until("PAIR")
    expect((source, standby) == (handles[S_LABEL], handle),
           f"PAIR {channel} {source} {standby}")
    peer.send(message("PAIRED", channel))
    return channel


def pair_as_source(peer, channel=0, handle=8, state=FROZEN, frozen_ns=1):
    handles = ready(peer)
    peer.send(offer(handle, SOURCE, state, D_LABEL.encode(),
                    frozen_ns=frozen_ns),
              interface(label=D_LABEL.encode()),
              message("PAIR", channel, handle, handles[D_LABEL]))
    expect(peer.until("PAIRED") == (channel,), "PAIRED")
    return handles[D_LABEL]


def stopped(relay, stop):
    """Have the relay see several things at once when it goes on."""
    pid = relay.process.pid
    os.kill(pid, signal.SIGSTOP if stop else signal.SIGCONT)
    if stop:
        os.waitid(os.P_PID, pid, os.WSTOPPED | os.WNOWAIT)


def begin(peer, channel=0, age=0):
    peer.send(message("BEGIN", channel, 0, p.monotonic() + peer.skew - age))


# --- peers that keep to the rules ------------------------------------------------------

@case
def standby_peer_gets_everything_in_order():
    with Target() as t:
        peer = t.peer(skew=3600 * 10**9)
        values = peer.next()
        expect(values[0] == "SECTION", f"{values}")
        application = values[1][1].get(4, b"")
        expect(application.startswith(b"tapmig "), f"{application}")
        name, values = peer.next()
        expect(name == "HELLO" and values[:2] == (1, 0), f"{name} {values}")
        handles = ready(peer)
        o = peer.offers[handles[S_LABEL]]
        expect(o[2:5] == (SOURCE, FROZEN, 0),
               f"{o}")
        channel = pair_as_standby(peer)
        # It is marked while the peer waits for BEGIN.
        chan, zero, when = peer.until("BEGIN")
        expect((chan, zero) == (channel, 0), "BEGIN")
        before = (p.monotonic() - when) / 10**6
        frozen = holds("hostA", "label", S_LABEL)[0]["frozen_for_ms"]
        after = (p.monotonic() - when) / 10**6
        expect(before <= frozen < after + 2000,
               f"{before} to {after} ms, {frozen} ms")
        expect("peer" in holds("hostA", "label", S_LABEL)[0]["flags"],
               "no PEER")
        numbers = [peer.until("PACKET")[1] for _ in range(t.held)]
        expect(numbers == list(range(FIRST, FIRST + t.held)), f"{numbers}")
        peer.send(message("ACK", channel, 0, numbers[-1]))
        # New ones come as they arrive.
        t.m.sender.frames(5)
        total = t.quiet()
        for n in range(FIRST + t.held, FIRST + total):
            expect(peer.until("PACKET")[1] == n, f"not {n}")
        peer.send(message("ACK", channel, 0, FIRST + total - 1),
                  message("SYNC_REQUEST", channel))
        expect(peer.until("SYNC") == (channel, 0, FIRST + total - 1), "SYNC")
        # Nothing is gone yet.
        expect(t.a.info()["held_packets"] == total, "committed too early")
        # One that is late: both are there when it goes on.
        stopped(t.relay, True)
        peer.send(message("SYNCED", channel))
        t.m.sender.frames(1)
        last = FIRST + t.quiet() - 1
        stopped(t.relay, False)
        late = peer.until("PACKET")[1]
        expect(late == FIRST + total, f"late {late}")
        while late < last:
            late = peer.until("PACKET")[1]
        peer.send(message("ACK", channel, 0, late))
        expect(peer.until("END") == (channel, 0), "END")
        expect(t.a.info()["held_packets"] > total, "committed before ENDED")
        peer.send(message("ENDED", channel, 0, late - FIRST + 1, 0, 0, 1, 0,
                          0, 0, 0))
        t.a.wait("held_packets", "=", 0)
        done = t.relay.wait_done()[-1]
        expect((done["result"], done["packets"], done["role"]) ==
               ("done", late - FIRST + 1, "source"), f"{done}")
        peer.close()


@case
def frames_and_metadata_survive_the_wire():
    with Target() as t:
        peer = t.peer()
        channel = pair_as_standby(peer)
        peer.until("BEGIN", where=lambda v: v[0] == channel)
        for n in range(t.held):
            _, number, data, whole, options = peer.until("PACKET")
            expect(len(data) == whole and data[:12] == FRAME[:12], "frame")
            expect(options[6] == bytes(4), f"queue {options[6]}")
            meta = options[0x8001]
            version, zero, mask = struct.unpack_from("<BBH", meta)
            # A partial checksum, as the sender of these frames makes it.
            flags, gso, hdr_len, gso_size, start, offset = \
                struct.unpack_from("<BBHHHH", meta, 20)
            expect((version, zero, mask & 1) == (1, 0, 1), f"{meta}")
            expect((flags, gso, start, offset) == (1, 0, 34, 6), f"{meta}")
        peer.close()


@case
def resumes_after_the_last_ack():
    with Target() as t:
        instance = os.urandom(16)
        peer = t.peer(instance=instance)
        channel = pair_as_standby(peer, frozen_ns=5)
        for _ in range(t.held):
            peer.until("PACKET")
        peer.send(message("ACK", channel, 0, FIRST + 19))
        # The ACK was read if a later PING was answered.
        peer.send(message("PING", 4242))
        peer.until("PONG", where=lambda v: v[0] == 4242)
        peer.close()
        again = t.peer(instance=instance)
        pair_as_standby(again, frozen_ns=5)
        again.until("BEGIN")
        number = again.until("PACKET")[1]
        expect(FIRST <= number <= FIRST + 20, f"resumed at {number}")
        expect(number == FIRST + 20, f"resumed at {number}, after an ACK")
        again.close()
        # Another process, or another freeze, has nothing of it.
        for options, frozen in (({}, 5), ({"instance": instance}, 6)):
            other = t.peer(**options)
            pair_as_standby(other, frozen_ns=frozen)
            other.until("BEGIN")
            number = other.until("PACKET")[1]
            expect(number == FIRST, f"{options}: begins at {number}")
            other.close()


@case
def given_back_late_is_sent_whoever_has_read_it():
    """Of these the kernel shows another reader only what none has seen."""
    with Move(flows=("u:64",), rate=2000) as m:
        m.source_up(hold=False)
        m.a.hold("source", S_LABEL)
        frozen = m.vmm("hostA", dev="tap1")
        frozen.hold("standby", D_LABEL)
        m.sender.ask("pause")
        m.a.ask("stop")
        m.sender.ask("go")
        m.sender.frames(200)
        m.a.ask("take-batch")
        m.a.ask("freeze")
        m.sender.frames(50)
        m.sender.ask("pause")
        path = m.path("socket")
        m.relay("hostA", "--listen", f"unix:{path}")
        instance = os.urandom(16)
        peer = Peer(path, instance)
        channel = pair_as_standby(peer)
        first = peer.until("PACKET")[1]
        expect(first == FIRST, f"begins with {first}")
        peer.send(message("ACK", channel, 0, FIRST),
                  message("PING", 4242))
        peer.until("PONG", where=lambda v: v[0] == 4242)
        peer.close()
        m.a.ask("give-back")
        run(*in_netns("hostA", TAPMIG, "export", "label", S_LABEL,
                      m.path("export")))
        peer = Peer(path, instance)
        channel = pair_as_standby(peer)
        peer.until("BEGIN")
        numbers = [peer.until("PACKET")[1]]
        while numbers[-1] != FIRST + 1:
            numbers.append(peer.until("PACKET")[1])
        expect(len(numbers) > 50 and numbers[-2] == FIRST - 1 and
               numbers == sorted(numbers), f"{numbers}")
        # They may be the last that there are.
        peer.send(message("ACK", channel, 0, FIRST - 1), message("PING", 77))
        peer.until("PONG", where=lambda v: v[0] == 77)
        peer.close()


@long_case
def channels_run_out_while_packets_move():
    with Target() as t:
        other = t.m.vmm("hostA", dev="tap2")
        other.hold("source", "other")
        peer = t.peer()
        moving = pair_as_standby(peer)
        peer.until("PACKET")
        # Each PAIR is refused, and can be tried again.
        standby = offer(9, STANDBY, FROZEN, b"other", frozen_ns=1)
        ready(peer, 3)
        peer.send(standby)
        channel = moving
        while channel < 4095:
            channel = peer.until("PAIR")[0]
            peer.send(message("UNPAIR", channel, 1), message("WITHDRAW", 9),
                      standby)
        # No more numbers; but what moves goes on.
        t.m.sender.frames(3)
        last = FIRST + t.quiet() - 1
        peer.until("PACKET", where=lambda v: v[1] == last)
        peer.send(message("ACK", moving, 0, last))
        t.a.ask("discard")
        expect(peer.until("END") == (moving, 3), "END")
        peer.send(message("ENDED", moving, *[0] * 9))
        told = peer.end()
        expect("new connection" in told, f"BYE {told}")
        peer.close()


@case
def new_connection_replaces_the_old_one():
    with Target() as t:
        instance = os.urandom(16)
        old = t.peer(instance=instance)
        pair_as_source(old)
        begin(old)
        old.send(packet(0, FIRST, FRAME))
        old.until("ACK")
        # The old one is still open, as after a break that nobody noticed.
        new = t.peer(instance=instance)
        pair_as_source(new)
        begin(new)
        new.send(packet(0, FIRST, FRAME), packet(0, FIRST + 1, FRAME))
        new.until("ACK", where=lambda v: v[2] == FIRST + 1)
        expect(t.b.info()["imported"] == 2, "imports")
        expect(t.b.info()["resent"] == 1, "resent")
        # Somebody else is refused.
        stranger = t.peer()
        handles = ready(stranger)
        stranger.send(offer(8, SOURCE, FROZEN, D_LABEL.encode(), frozen_ns=1),
                      interface(label=D_LABEL.encode()),
                      message("PAIR", 0, 8, handles[D_LABEL]))
        values = stranger.until("UNPAIR")
        expect(values[:2] == (0, 1) and values[2], f"UNPAIR {values}")
        # Until it is free again.
        new.close()
        handle = handles[D_LABEL]
        expect(stranger.until("WITHDRAW") == (handle,), "WITHDRAW")
        expect(stranger.until("OFFER")[0] == handle, "OFFER")
        stranger.send(interface(label=D_LABEL.encode()),
                      message("PAIR", 1, 8, handle))
        expect(stranger.until("PAIRED") == (1,), "PAIRED")
        for x in (old, stranger):
            x.close()


@case
def refused_standby_is_tried_when_it_is_offered_anew():
    with Target() as t:
        peer = t.peer()
        ready(peer)
        standby = offer(7, STANDBY, FROZEN, S_LABEL.encode(), frozen_ns=1)
        peer.send(standby)
        channel = peer.until("PAIR")[0]
        peer.send(message("UNPAIR", channel, 1, text="paired already"),
                  standby, message("PING", 77))
        peer.until("PONG", where=lambda v: v[0] == 77)
        expect(peer.seen.count("PAIR") == 1, f"{peer.seen}")
        peer.send(message("WITHDRAW", 7), standby)
        expect(peer.until("PAIR") == (channel + 1, ready(peer)[S_LABEL], 7),
               "PAIR")
        peer.close()


@case
def a_source_that_could_not_be_read_is_tried_again():
    """Before the guest starts there, and after it; nobody has to ask."""
    with Target() as t:
        peer = t.peer()
        channel = pair_as_standby(peer)
        peer.until("PACKET", where=lambda v: v[1] == FIRST + t.held - 1)
        pid = t.relay.process.pid
        for state in FROZEN, LIVE:
            # What is open already goes on: a new export needs a socket.
            peer.send(message("UNPAIR", channel, 1),
                      message("WITHDRAW", 7),
                      offer(7, STANDBY, state, S_LABEL.encode(), frozen_ns=1))
            channel = peer.until("PAIR")[0]
            limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
            used = {int(n) for n in os.listdir(f"/proc/{pid}/fd")}
            free = min(set(range(len(used) + 1)) - used)
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (free, limits[1]))
            peer.send(message("PAIRED", channel))
            values = peer.until("UNPAIR")
            expect(values[:2] == (channel, 0) and values[2], f"{values}")
            resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
            channel = peer.until("PAIR", where=lambda v: v[2] == 7)[0]
            peer.send(message("PAIRED", channel))
            peer.until("BEGIN", where=lambda v, c=channel: v[0] == c)
            peer.until("PACKET")
        peer.close()


def up_to_synced(t, peer, channel):
    """All is there, and in step; since when, at the earliest."""
    for _ in range(t.held):
        last = peer.until("PACKET")[1]
    peer.send(message("ACK", channel, 0, last),
              message("SYNC_REQUEST", channel))
    expect(peer.until("SYNC")[2] == last, "SYNC")
    since = time.monotonic()
    peer.send(message("SYNCED", channel))
    return since


def stopped_before_the_end(relay, since):
    """Stop it. Was that before it could find that it was quiet, 500 ms?"""
    stopped(relay, True)
    return time.monotonic() - since < 0.4


def up_to_end(t, peer, channel):
    """The same; END has come."""
    up_to_synced(t, peer, channel)
    expect(peer.until("END") == (channel, 0), "END")


@case
def end_is_sent_again_until_it_has_arrived():
    for gone in (False, True):
        with Target() as t:
            instance = os.urandom(16)
            peer = t.peer(instance=instance)
            up_to_end(t, peer, pair_as_standby(peer))
            peer.close()
            # END was lost: the standby is as it was.
            peer = t.peer(instance=instance)
            channel = pair_as_standby(peer)
            peer.until("BEGIN")
            peer.send(message("SYNC_REQUEST", channel))
            peer.until("SYNC")
            peer.send(message("SYNCED", channel))
            expect(peer.until("END") == (channel, 0), "END")
            peer.close()
            expect(t.a.info()["held_packets"] == t.held, "not held any more")
            # ENDED was lost: it takes no packets any more, or is gone.
            peer = t.peer(instance=instance)
            if not gone:
                peer.send(offer(7, STANDBY, ARMED, S_LABEL.encode(),
                                frozen_ns=1))
            peer.until("OFFER", where=lambda v: v[9] == S_LABEL.encode() and
                       v[3] == ARMED)
            expect(not t.a.info()["held_packets"], "still held")
            done = t.relay.wait_done()
            expect([(d["result"], d["packets"], d["discarded"])
                    for d in done] == [("done", t.held, 0)], f"{done}")
            peer.close()


@case
def unpair_instead_of_ended_is_an_end():
    with Target() as t:
        peer = t.peer()
        channel = pair_as_standby(peer)
        up_to_end(t, peer, channel)
        peer.send(message("UNPAIR", channel, 1, text="it is gone"))
        t.a.wait("held_packets", "=", 0)
        expect(t.relay.wait_done()[-1]["result"] == "done", "not done")
        peer.close()


@case
def second_standby_before_the_first_packet_is_refused():
    with Target() as t:
        peer, other = t.peer(), t.peer()
        ready(other)
        standby = offer(7, STANDBY, FROZEN, S_LABEL.encode(), frozen_ns=1)
        ready(peer)
        peer.send(standby)
        channel = peer.until("PAIR")[0]
        other.send(standby, message("PING", 77))
        other.until("PONG", where=lambda v: v[0] == 77)
        peer.send(message("PAIRED", channel))
        values = peer.until("UNPAIR")
        expect("several standby" in values[2], f"UNPAIR {values}")
        expect("BEGIN" not in peer.seen, f"{peer.seen}")
        # When only one is left, it is taken.
        other.close()
        channel = peer.until("PAIR")[0]
        peer.send(message("PAIRED", channel))
        peer.until("BEGIN")
        peer.close()


@case
def full_standby_peer_is_tried_again():
    with Target() as t:
        peer = t.peer()
        channel = pair_as_standby(peer)
        for _ in range(10):
            peer.until("PACKET")
        peer.send(message("ACK", channel, 0, FIRST + 9),
                  message("FULL", channel), message("PING", 77))
        peer.until("PONG", where=lambda v: v[0] == 77)
        t.m.sender.frames(3)
        t.m.sender.ask("pause")
        try:
            peer.until("BEGIN", timeout=1)
            raise AssertionError("it goes on before MORE")
        except Silent:
            pass
        peer.send(message("MORE", channel))
        peer.until("BEGIN")
        number = peer.until("PACKET")[1]
        expect(number == FIRST + 10, f"goes on at {number}")
        peer.close()


@case
def sync_comes_after_all_that_is_held():
    """Also what the relay has not seen yet when it is asked."""
    with Target() as t:
        peer = t.peer()
        channel = pair_as_standby(peer)
        for _ in range(t.held):
            peer.until("PACKET")
        peer.send(message("ACK", channel, 0, FIRST + t.held - 1),
                  message("PING", 4242))
        peer.until("PONG", where=lambda v: v[0] == 4242)
        stopped(t.relay, True)
        t.m.sender.frames(20)
        total = t.quiet()
        peer.send(message("SYNC_REQUEST", channel))
        stopped(t.relay, False)
        for n in range(FIRST + t.held, FIRST + total):
            name, values = peer.next()
            while name == "PING":
                name, values = peer.next()
            expect((name, values[1]) == ("PACKET", n), f"{name} {values}")
        expect(peer.until("SYNC") == (channel, 0, FIRST + total - 1), "SYNC")
        peer.close()


def came_while_it_could_not_run(t):
    """False if this test was too slow to stop it twice before the end."""
    peer = t.peer()
    channel = pair_as_standby(peer)
    since = up_to_synced(t, peer, channel)
    peer.send(message("PING", 4242))
    peer.until("PONG", where=lambda v: v[0] == 4242)
    for _ in range(2):
        if not stopped_before_the_end(t.relay, since):
            return False
        t.m.sender.frames(20)
        last = FIRST + t.quiet() - 1
        # No event tells that 500 ms, after which it is quiet, are over.
        time.sleep(0.7)
        since = time.monotonic()
        stopped(t.relay, False)
        name, values = peer.next()
        while name != "PACKET" or values[1] != last:
            expect(name in ("PACKET", "PING"), f"{name} {values}")
            name, values = peer.next()
    peer.send(message("ACK", channel, 0, last))
    expect(peer.until("END") == (channel, 0), "END")
    peer.close()
    return True


@case
def what_came_while_it_could_not_run_was_not_the_end():
    for _ in range(10):
        with Target(linger=60000) as t:
            if came_while_it_could_not_run(t):
                return
    raise Failure("it was never stopped in time")


def end_after_packets_that_were_held_up(t):
    """How long after, in seconds; nothing if this test was too slow."""
    peer = t.peer()
    channel = pair_as_standby(peer)
    since = up_to_synced(t, peer, channel)
    # One export, of more than the connection takes unread.
    if not stopped_before_the_end(t.relay, since):
        return []
    t.m.sender.frames(2000)
    last = FIRST + t.quiet() - 1
    # That may have taken long: it hears something at once.
    peer.send(message("PING", 1))
    stopped(t.relay, False)
    # No event tells that 500 ms, after which it is quiet, are over.
    time.sleep(1)
    peer.until("PACKET", where=lambda v: v[1] == last)
    came = time.monotonic()
    peer.send(message("ACK", channel, 0, last))
    expect(peer.until("END") == (channel, 0), "END")
    peer.close()
    return [time.monotonic() - came]


@case
def late_packets_that_the_connection_held_up_are_not_the_last():
    """That they were sent is what was late, not that nothing came."""
    waited = []
    # 500 ms; less if this test could not run when the last packet came.
    for _ in range(10):
        if len(waited) == 3 or max(waited, default=0) >= 0.3:
            break
        with Target(linger=60000, options=("--buffer", "64k")) as t:
            waited += end_after_packets_that_were_held_up(t)
    expect(max(waited, default=0) >= 0.3, f"END after {waited}")


def sleeps(process):
    with open(f"/proc/{process.pid}/stat", encoding="ascii") as f:
        return f.read().rpartition(")")[2].split()[0] == "S"


@case
def a_freeze_that_is_undone_at_once_leaves_it_asleep():
    """Before the source is old enough for the packets to go."""
    with Target() as t:
        t.a.ask("thaw")
        peer = t.peer()
        channel = pair_as_standby(peer)
        source = ready(peer)[S_LABEL]
        undone = tries = 0
        stuck = time.monotonic() + STUCK
        while tries < 40 or (not undone and time.monotonic() < stuck):
            tries += 1
            seen = len(peer.seen)
            t.a.wait("state", "=", "armed")
            t.a.ask("freeze")
            peer.until("OFFER", where=lambda v: v[0] == source and
                       v[3] == FROZEN)
            t.a.ask("thaw")
            peer.until("OFFER", where=lambda v: v[0] == source and
                       v[3] != FROZEN)
            if "BEGIN" in peer.seen[seen:]:
                # It was not quick enough.
                peer.until("END")
                peer.send(message("ENDED", channel, *[0] * 9))
                continue
            undone += 1
            # Nothing tells when it sleeps: look, and often. One that does
            # not uses the processor.
            begun = cpu_ns(t.relay.process)
            end = time.monotonic() + STUCK
            asleep = 0
            while asleep < 20 and time.monotonic() < end and \
                    cpu_ns(t.relay.process) - begun < 10**9:
                asleep += sleeps(t.relay.process)
                time.sleep(0.001)
            expect(asleep == 20, f"asleep {asleep} times, undone {undone}")
        print(f"# {undone} of {tries} undone")
        expect(undone, f"{peer.seen}")
        peer.close()


@case
def several_standby_holds_with_one_label_are_refused():
    with Target() as t:
        peer = t.peer()
        ready(peer)
        label = S_LABEL.encode()
        peer.send(offer(7, STANDBY, FROZEN, label, frozen_ns=1),
                  offer(8, STANDBY, FROZEN, label, frozen_ns=1))
        t.relay.wait_said("several standby holds")
        peer.send(message("PING", 4242))
        peer.until("PONG", where=lambda v: v[0] == 4242)
        expect("PAIR" not in peer.seen, f"{peer.seen}")
        # But all others being detached.
        peer.send(offer(7, STANDBY, FROZEN, label, flags=DETACHED,
                        frozen_ns=1))
        expect(peer.until("PAIR")[2] == 8, "paired with a detached one")
        peer.close()


def fill(t):
    """A peer that has sent 100 packets, of which 50 have room."""
    t.b.ask("set", "max_packets=50")
    peer = t.peer()
    pair_as_source(peer)
    begin(peer)
    peer.send(*(packet(0, FIRST + n, FRAME) for n in range(100)))
    return peer


def send_until_taken(peer, first, last):
    """What is not acknowledged goes once more for each MORE."""
    while first <= last:
        name, values = peer.next()
        if name == "ACK":
            first = values[2] + 1
        elif name == "MORE":
            begin(peer)
            peer.send(*(packet(0, n, FRAME) for n in range(first, last + 1)))


@case
def full_standby_says_so_and_asks_for_more():
    with Target() as t:
        peer = fill(t)
        peer.until("FULL")
        taken = t.b.info()["pending_imports"]
        expect(0 < taken <= 50, f"{t.b.info()}")
        t.b.ask("thaw")
        t.b.ask("run")
        send_until_taken(peer, FIRST + taken, FIRST + 99)
        t.b.wait("imported", "=", 100)
        t.b.wait("late", "=", 100 - taken)
        peer.close()


@case
def full_standby_that_gets_room_asks_for_more():
    with Target() as t:
        peer = fill(t)
        for _ in range(2):
            peer.until("FULL")
            peer.until("MORE")
            begin(peer)
            peer.send(packet(0, FIRST + 50, FRAME))
        peer.until("FULL")
        t.b.ask("set", "max_packets=100")
        send_until_taken(peer, FIRST + 50, FIRST + 99)
        info = t.b.info()
        expect(info["state"] == FROZEN and info["pending_imports"] == 100,
               f"{info}")
        expect(t.relay.said().count("is full") == 1, t.relay.said())
        peer.close()


@case
def full_standby_asks_once():
    """That it has thawed makes no second MORE of one that is under way."""
    with Target() as t:
        peer = fill(t)
        peer.until("MORE")
        t.b.ask("thaw")
        t.b.ask("run")
        t.b.wait("state", "=", "live")
        peer.send(message("PING", 77))
        peer.until("PONG", where=lambda v: v[0] == 77)
        # Events are read before the network: the relay knows it.
        expect(peer.seen.count("MORE") == 1, f"{peer.seen}")
        peer.close()


@case
def thawed_source_ends_with_reason_2():
    with Target() as t:
        peer = t.peer()
        channel = pair_as_standby(peer)
        peer.until("PACKET")
        t.a.ask("thaw")
        t.a.ask("run")
        expect(peer.until("END") == (channel, 2), "END")
        peer.send(message("ENDED", channel, *[0] * 9))
        freezes_again(t, peer, channel)
        peer.close()


def half_way(t, frozen_ns=5, **options):
    """Another connection: some packets, and the channel."""
    peer = t.peer(**options)
    channel = pair_as_standby(peer, frozen_ns=frozen_ns)
    peer.until("BEGIN")
    peer.until("PACKET", where=lambda v: v[1] == FIRST + 9)
    peer.send(message("ACK", channel, 0, FIRST + 9), message("PING", 77))
    peer.until("PONG", where=lambda v: v[0] == 77)
    return peer, channel


def told_at_last(peer, reason, frozen_ns=5):
    """It has the packets of a freeze that is over: it hears so, once."""
    channel = pair_as_standby(peer, frozen_ns=frozen_ns)
    expect(peer.until("BEGIN")[0] == channel, "BEGIN")
    name, values = peer.next()
    while name == "PING":
        name, values = peer.next()
    expect((name, values) == ("END", (channel, reason)), f"{name} {values}")
    return channel


def ended(peer, channel):
    peer.send(message("ENDED", channel, *[0] * 9), message("PING", 78))
    peer.until("PONG", where=lambda v: v[0] == 78)


def freezes_again(t, peer, channel):
    """The channel is good for another transfer, from its first packet on."""
    t.a.ask("wait-got", t.held)
    t.a.wait("state", "=", "armed")
    t.a.ask("stop")
    t.a.ask("freeze")
    t.m.sender.frames(3)
    t.m.sender.ask("pause")
    expect(peer.until("BEGIN")[0] == channel, "BEGIN")
    number = peer.until("PACKET")[1]
    expect(number == FIRST + t.held, f"begins with {number}")


@case
def what_went_back_unheard_is_told_when_the_connection_is_back():
    """To the same relay, and to one that was started anew."""
    for same in (True, False):
        instance = os.urandom(16)
        with Target() as t:
            peer, _ = half_way(t, instance=instance)
            peer.close()
            t.relay.wait_said(*GONE)
            t.a.ask("thaw")
            t.a.ask("run")
            t.a.wait("state", "=", "armed")
            peer = t.peer(instance=instance if same else None)
            channel = told_at_last(peer, 2)
            # END, or ENDED, is lost: once more.
            peer.close()
            peer = t.peer(instance=instance if same else None)
            channel = told_at_last(peer, 2)
            expect(not t.relay.done(), f"{t.relay.done()}")
            ended(peer, channel)
            done = t.relay.wait_done()
            expect([d["result"] for d in done] == ["cancelled"], f"{done}")
            freezes_again(t, peer, channel)
            peer.close()


@case
def what_went_back_is_told_again_until_it_is_answered():
    """But not to a standby that was frozen anew: it has been told."""
    for frozen_ns in (5, 6):
        instance = os.urandom(16)
        with Target() as t:
            peer, channel = half_way(t, instance=instance)
            t.a.ask("thaw")
            t.a.ask("run")
            expect(peer.until("END") == (channel, 2), "END")
            peer.close()
            peer = t.peer(instance=instance)
            if frozen_ns == 5:
                ended(peer, told_at_last(peer, 2))
                channel = 0
            else:
                channel = pair_as_standby(peer, frozen_ns=frozen_ns)
                # All is on offer when a PING has been answered.
                while not t.relay.done():
                    peer.until("PING")
            done = t.relay.wait_done()
            expect([d["result"] for d in done] == ["cancelled"], f"{done}")
            expect(peer.seen.count("END") == (frozen_ns == 5), f"{peer.seen}")
            freezes_again(t, peer, channel)
            peer.close()


@case
def what_was_discarded_unheard_is_told_as_such():
    """Nobody has it but the standby: it keeps it."""
    with Target() as t:
        peer, _ = half_way(t)
        peer.close()
        t.relay.wait_said(*GONE)
        t.a.ask("discard")
        # Later freezes of the source do not change that.
        t.a.ask("freeze")
        t.a.ask("thaw")
        t.a.wait("state", "=", "armed")
        peer = t.peer()
        ended(peer, told_at_last(peer, 3))
        done = t.relay.wait_done()
        expect([d["result"] for d in done] == ["discarded"], f"{done}")
        peer.close()


@case
def another_freeze_says_more_than_the_end_of_one():
    """The receiver frees what it has at BEGIN, which must not wait."""
    with Target() as t:
        peer, _ = half_way(t)
        peer.close()
        t.relay.wait_said(*GONE)
        t.a.ask("thaw")
        t.a.wait("state", "=", "armed")
        t.a.ask("freeze")
        t.m.sender.frames(3)
        t.m.sender.ask("pause")
        peer = t.peer()
        pair_as_standby(peer, frozen_ns=5)
        peer.until("BEGIN")
        number = peer.until("PACKET")[1]
        expect(number == FIRST + t.held, f"begins with {number}")
        expect("END" not in peer.seen, f"{peer.seen}")
        # It was frozen anew for that; and then this freeze is over too.
        peer.send(offer(7, STANDBY, FROZEN, S_LABEL.encode(), frozen_ns=9),
                  message("PING", 77))
        peer.until("PONG", where=lambda v: v[0] == 77)
        peer.close()
        wait_for(lambda: sum(map(t.relay.said().count, GONE)) == 2, "the end")
        t.a.ask("thaw")
        t.a.wait("state", "=", "armed")
        peer = t.peer()
        ended(peer, told_at_last(peer, 2, frozen_ns=9))
        peer.close()


@case
def what_went_back_while_the_standby_is_full_is_told():
    """MORE comes before the relay has heard of the thaw, or of the end."""
    for reason in 1, 2:
        path = f"/tmp/late{os.getpid()}"
        with Target(wrap=odd(f"late={path}")) as t:
            peer, channel = half_way(t)
            peer.send(message("FULL", channel), message("PING", 79))
            peer.until("PONG", where=lambda v: v[0] == 79)
            with open(path, "x", encoding="ascii"):
                pass
            try:
                if reason == 1:
                    t.a.ask("close")
                    run(*in_netns("hostA", TAPMIG, "discard", "label",
                                  S_LABEL))
                else:
                    t.a.ask("thaw")
                peer.send(message("MORE", channel), message("PING", 80))
                peer.until("PONG", where=lambda v: v[0] == 80)
            finally:
                os.unlink(path)
            expect(peer.until("BEGIN")[0] == channel, "BEGIN")
            expect(peer.until("END") == (channel, reason), f"{peer.seen}")
            ended(peer, channel)
            t.relay.wait_done()
            peer.close()


@case
def discarded_source_ends_with_reason_3():
    with Target() as t:
        peer = t.peer()
        channel = pair_as_standby(peer)
        peer.until("PACKET")
        t.a.ask("discard")
        expect(peer.until("END") == (channel, 3), "END")
        peer.send(message("ENDED", channel, *[0] * 9))
        peer.close()


@case
def gone_source_ends_with_reason_1():
    with Target() as t:
        peer = t.peer()
        channel = pair_as_standby(peer)
        peer.until("PACKET")
        t.m.things.remove(t.a)
        # It was frozen as detached: the packets stay, the process goes.
        t.a.kill()
        peer.until("OFFER", where=lambda v: v[3] == DEAD)
        for h in holds("hostA", "label", S_LABEL):
            run(*in_netns("hostA", TAPMIG, "discard", "id", str(h["id"])))
        end = peer.until("END")
        expect(end[0] == channel and end[1] in (1, 3), f"{end}")
        peer.send(message("ENDED", channel, *[0] * 9))
        while "WITHDRAW" not in peer.seen:
            peer.next()
        peer.close()


@case
def source_peer_delivers_in_order():
    with Target() as t:
        peer = t.peer(skew=7200 * 10**9)
        pair_as_source(peer)
        expect("peer" in holds("hostA", "label", D_LABEL)[0]["flags"],
               "no PEER after PAIRED")
        begin(peer)
        peer.send(*(packet(0, FIRST + n, FRAME) for n in range(100)))
        peer.until("ACK", where=lambda v: v[2] == FIRST + 99)
        info = t.b.info()
        expect(info["pending_imports"] == info["imported"] == 100, f"{info}")
        t.b.ask("thaw")
        t.b.ask("run")
        expect(peer.until("SYNC_REQUEST") == (0,), "SYNC_REQUEST")
        expect(not t.b.info()["delivered"], "it did not wait")
        peer.send(packet(0, FIRST + 100, FRAME),
                  message("SYNC", 0, 0, FIRST + 100))
        peer.until("ACK", where=lambda v: v[2] == FIRST + 100)
        expect(peer.until("SYNCED") == (0,), "SYNCED")
        t.b.wait("delivered", ">=", 101)
        expect(holds("hostA", "label", D_LABEL)[0]["state"] == "live",
               "not live")
        peer.send(packet(0, FIRST + 101, FRAME))
        peer.until("ACK", where=lambda v: v[2] == FIRST + 101)
        t.b.wait("late", "=", 1)
        peer.send(message("END", 0, 0))
        ended = peer.until("ENDED")
        # imported, resent, flooded, late, late-skipped, own, lost, refused
        expect(ended == (0, 0, 102, 0, 0, 1, 0, 0, 0, 0), f"{ended}")
        t.b.wait("state", "=", "armed")
        done = t.relay.wait_done()[-1]
        expect((done["result"], done["packets"], done["late"]) ==
               ("done", 102, 1), f"{done}")
        peer.close()


SEND = """
import socket, sys
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
s.bind((sys.argv[1], 0))
for frame in sys.argv[2:]:
    s.send(bytes.fromhex(frame))
"""


def from_sync_to_ended(peer, last):
    """The standby asks whether that is all, which it is; the summary."""
    peer.until("SYNC_REQUEST")
    peer.send(message("SYNC", 0, 0, last))
    peer.until("SYNCED")
    peer.send(message("END", 0, 0))
    return peer.until("ENDED")


def arrived_apart(difference, ago=10**9):
    """What comes of unicasts that both hosts got so many ns apart."""
    ahead = 5 * 3600 * 10**9
    frames = [FRAME[:-1] + bytes([n]) for n in range(10)]
    with Target() as t:
        peer = t.peer(skew=7200 * 10**9)
        frozen = p.monotonic() - ago
        pair_as_source(peer, frozen_ns=time.time_ns() - ago + ahead)
        before = t.b.info()["captured"]
        run(*in_netns("hostA", "python3", "-c", SEND, "tap1"),
            *(f.hex() for f in frames))
        t.b.wait("captured", "=", before + 10)
        path = t.m.path("held")
        run(*in_netns("hostA", TAPMIG, "export", "label", D_LABEL, path))
        said = json.loads(run(TAPMIG, "-j", "-s", "import", "check",
                              path).stdout)
        times = [k["time_ns"] for k in said["list"][-10:]]
        begin(peer, age=p.monotonic() - frozen)
        peer.send(*(packet(0, FIRST + n, f, now=when + ahead - difference)
                    for n, (f, when) in enumerate(zip(frames, times))))
        peer.until("ACK", where=lambda v: v[2] == FIRST + 9)
        t.b.ask("thaw")
        ended = from_sync_to_ended(peer, FIRST + 9)
        peer.close()
        return ended


@case
def times_are_of_the_sources_clock():
    """A unicast that both hosts got is known by when each of them got it."""
    # When each question for the clock takes 40 ms, it is as far off.
    for _ in range(4):
        ended = arrived_apart(0)
        if ended[4]:
            break
    expect(ended[2] == 10 and ended[4] == 10, f"{ended}")
    ended = arrived_apart(5 * 10**8)
    expect(ended[2] == 10 and ended[4] == 0, f"{ended}")


@case
def what_came_before_a_reset_is_imported():
    """The host of the source may be gone for good."""
    with Target() as t:
        peer = t.peer()
        pair_as_source(peer)
        begin(peer)
        # Closed with something unread, it is reset.
        peer.send(message("PING", 77))
        select.select([peer.socket], [], [])
        stopped(t.relay, True)
        peer.send(*(packet(0, FIRST + n, FRAME) for n in range(10)))
        peer.close()
        stopped(t.relay, False)
        t.relay.wait_said("connection lost")
        expect(t.b.info()["imported"] == 10, f"{t.b.info()}")


@case
def segments_and_repeats_are_counted_once():
    with Target() as t:
        peer = t.peer()
        pair_as_source(peer)
        begin(peer)

        def segment(i):
            return struct.pack("<BBHHH", 1, 0, 16, i, 3) + bytes(24)
        parts = [packet(0, FIRST, FRAME, segment(i)) for i in range(3)]
        peer.send(*parts, packet(0, FIRST + 1, FRAME))
        peer.until("ACK", where=lambda v: v[2] == FIRST + 1)
        begin(peer)
        peer.send(*parts, packet(0, FIRST + 1, FRAME),
                  packet(0, FIRST + 2, FRAME))
        peer.until("ACK", where=lambda v: v[2] == FIRST + 2)
        info = t.b.info()
        expect(info["pending_imports"] == 5, f"{info}")
        peer.close()


@case
def what_the_kernel_refuses_is_counted():
    with Target() as t:
        peer = t.peer()
        pair_as_source(peer)
        begin(peer)
        # A checksum beyond the end of the frame, an unknown kind of GSO.
        bad = (struct.pack("<BBHHHHHHHI", 1, 0, 1, 0, 0, 0, 0, 0, 0, 0) +
               struct.pack("<BBHHHH", 1, 0, 0, 0, 5000, 6) + bytes(2),
               struct.pack("<BBHHHHHHHI", 1, 0, 1, 0, 0, 0, 0, 0, 0, 0) +
               struct.pack("<BBHHHH", 0, 77, 54, 100, 0, 0) + bytes(2))
        peer.send(packet(0, FIRST, FRAME), packet(0, FIRST + 1, FRAME, bad[0]),
                  packet(0, FIRST + 2, FRAME, bad[1]),
                  packet(0, FIRST + 3, FRAME))
        peer.until("ACK", where=lambda v: v[2] == FIRST + 3)
        expect(t.b.info()["imported"] == 2, f"{t.b.info()}")
        t.b.ask("thaw")
        t.b.ask("run")
        ended = from_sync_to_ended(peer, FIRST + 3)
        expect((ended[2], ended[9]) == (2, 2), f"{ended}")
        peer.close()


@case
def a_long_frame_that_is_refused_leaves_nothing_behind():
    """It comes in chunks where the kernel takes no message of its length."""
    with Target(wrap=odd("narrow")) as t:
        peer = t.peer()
        pair_as_source(peer)
        begin(peer)
        frame = FRAME + bytes(500000 - len(FRAME))
        # The header is looked at when all of the frame is there.
        bad = struct.pack("<BBHHHHHHHI", 1, 0, 1, 0, 0, 0, 0, 0, 0, 0) + \
            struct.pack("<BBHHHH", 0, 77, 54, 100, 0, 0) + bytes(2)
        peer.send(packet(0, FIRST, frame, bad),
                  *(packet(0, FIRST + n, FRAME) for n in (1, 2)),
                  packet(0, FIRST + 3, frame))
        peer.until("ACK", where=lambda v: v[2] == FIRST + 3)
        expect(t.b.info()["imported"] == 3, f"{t.b.info()}")
        peer.send(message("END", 0, 0))
        ended = peer.until("ENDED")
        expect((ended[2], ended[9]) == (3, 1), f"{ended}")
        peer.close()


@case
def cancelled_import_is_freed_and_can_begin_again():
    with Target() as t:
        peer = t.peer()
        pair_as_source(peer)
        for _ in range(2):
            begin(peer)
            peer.send(*(packet(0, FIRST + n, FRAME) for n in range(50)))
            peer.until("ACK", where=lambda v: v[2] == FIRST + 49)
            t.b.wait("pending_imports", "=", 50)
            peer.send(message("END", 0, 2))
            peer.until("ENDED")
            t.b.wait("pending_imports", "=", 0)
            t.b.wait("state", "=", "frozen")
        expect(not t.b.info()["delivered"], "delivered")
        # Its own frames go on as if nothing had been.
        t.b.ask("thaw")
        peer.close()


@case
def a_pinned_standby_ends_when_cancelled_and_that_is_said():
    with Target() as t:
        peer = t.peer()
        ready(peer)
        t.b.ask("close")
        peer.until("WITHDRAW")
        run(*in_netns("hostA", TAPMIG, "freeze", "dev", "tap1", "role",
                      "standby", "label", D_LABEL))
        peer.until("OFFER", where=lambda v: v[9] == D_LABEL.encode() and
                   v[3] == FROZEN)
        pair_as_source(peer)
        begin(peer)
        peer.send(packet(0, FIRST, FRAME))
        peer.until("ACK")
        peer.send(message("END", 0, 2))
        peer.until("ENDED")
        t.relay.wait_said("freeze it anew")
        expect(not holds("hostA", "label", D_LABEL), "it is still there")
        # One that is frozen anew is taken.
        run(*in_netns("hostA", TAPMIG, "freeze", "dev", "tap1", "role",
                      "standby", "label", D_LABEL))
        peer.until("OFFER", where=lambda v: v[9] == D_LABEL.encode() and
                   v[3] == FROZEN)
        pair_as_source(peer, channel=1)
        peer.close()


def summaries_of_two_freezes(at_once):
    """
    The first drops packets for want of room, the second nothing. At once: it
    begins before the peer has answered to the end of the first.
    """
    with Target() as t:
        peer = t.peer()
        channel = pair_as_standby(peer)
        ended = message("ENDED", channel, *[0] * 9)
        peer.until("PACKET")
        t.a.ask("set", f"max_packets={t.held}")
        t.m.sender.frames(20)
        t.m.sender.ask("pause")
        t.a.ask("thaw")
        t.a.ask("run")
        expect(peer.until("END") == (channel, 2), "END")
        t.a.ask("wait-got", t.held)
        t.a.wait("state", "=", "armed")
        dropped = t.a.info()["dropped"]
        if not at_once:
            peer.send(ended)
            t.relay.wait_done(1)
        t.a.ask("stop")
        t.a.ask("freeze")
        if at_once:
            peer.until("OFFER", where=lambda v: v[3] == FROZEN and
                       v[9] == S_LABEL.encode())
            peer.send(ended)
        peer.until("BEGIN")
        t.a.ask("discard")
        expect(peer.until("END")[0] == channel, "END")
        peer.send(ended)
        done = [d["dropped"] for d in t.relay.wait_done(2)]
        expect(dropped and done == [dropped, 0], f"{dropped}: {done}")
        peer.close()


@case
def the_summary_has_what_this_freeze_has_dropped():
    summaries_of_two_freezes(at_once=False)


@case
def the_summary_has_what_the_freeze_before_has_dropped():
    summaries_of_two_freezes(at_once=True)


def as_source(peer, state, channel=0, frozen_ns=1, flags=0):
    """Offered, and a channel opened; the handle of the standby."""
    handle = ready(peer)[D_LABEL]
    peer.send(offer(8, SOURCE, state, D_LABEL.encode(), flags=flags,
                    frozen_ns=frozen_ns),
              interface(label=D_LABEL.encode()),
              message("PAIR", channel, 8, handle))
    return handle


@case
def live_source_goes_before_a_dead_one():
    """That one was there first, and has sent what it had."""
    with Target() as t:
        dead, live = t.peer(), t.peer()
        as_source(dead, DEAD)
        dead.until("PAIRED")
        begin(dead)
        dead.send(*(packet(0, FIRST + n, FRAME) for n in range(50)))
        dead.until("ACK", where=lambda v: v[2] == FIRST + 49)
        handle = as_source(live, ARMED, frozen_ns=0)
        live.until("PAIRED")
        values = dead.until("UNPAIR")
        expect(values[:2] == (0, 1) and "another source" in values[2],
               f"UNPAIR {values}")
        dead.send(interface(label=D_LABEL.encode()),
                  message("PAIR", 1, 8, handle))
        values = dead.until("UNPAIR")
        expect(values[:2] == (1, 1) and "another source" in values[2],
               f"UNPAIR {values}")
        live.send(offer(8, SOURCE, FROZEN, D_LABEL.encode(), flags=DETACHED,
                        frozen_ns=2))
        begin(live)
        live.send(*(packet(0, FIRST + n, FRAME) for n in range(30)))
        live.until("ACK", where=lambda v: v[2] == FIRST + 29)
        info = t.b.info()
        expect((info["pending_imports"], info["resent"]) == (30, 0), f"{info}")
        # One that has begun, and lives, stays.
        other = t.peer()
        as_source(other, ARMED, frozen_ns=0)
        values = other.until("UNPAIR")
        expect("already" in values[2], f"UNPAIR {values}")
        for x in (dead, live, other):
            x.close()


@case
def equal_sources_are_refused_until_one_is_left():
    with Target() as t:
        x, y, z = t.peer(), t.peer(), t.peer()
        for peer in (x, y, z):
            ready(peer)
            peer.send(offer(8, SOURCE, ARMED, D_LABEL.encode()),
                      message("PING", 77))
            peer.until("PONG", where=lambda v: v[0] == 77)
        handle = as_source(x, ARMED)
        values = x.until("UNPAIR")
        expect("several sources" in values[2], f"UNPAIR {values}")
        # One dies, one goes: each time it is worth another try.
        y.send(offer(8, SOURCE, DEAD, D_LABEL.encode()))
        expect(x.until("WITHDRAW") == (handle,), "WITHDRAW")
        expect(x.until("OFFER")[0] == handle, "OFFER")
        z.close()
        expect(x.until("WITHDRAW") == (handle,), "WITHDRAW")
        expect(x.until("OFFER")[0] == handle, "OFFER")
        as_source(x, ARMED, channel=1)
        x.until("PAIRED")
        # Another one after that, but before the first packet.
        late = t.peer()
        ready(late)
        late.send(offer(8, SOURCE, ARMED, D_LABEL.encode()),
                  message("PING", 77))
        late.until("PONG", where=lambda v: v[0] == 77)
        x.send(offer(8, SOURCE, FROZEN, D_LABEL.encode(), frozen_ns=5))
        begin(x, 1)
        values = x.until("UNPAIR")
        expect("several source" in values[2], f"UNPAIR {values}")
        expect("importing" not in
               holds("hostA", "label", D_LABEL)[0]["flags"], "it has begun")
        for peer in (x, y, late):
            peer.close()


@case
def two_freezes_of_a_source_are_not_mixed():
    """Both have the same numbers, and nothing has said that one is over."""
    with Target() as t:
        for frozen_ns, n in ((1, 50), (2, 30), (2, 40)):
            peer = t.peer()
            pair_as_source(peer, frozen_ns=frozen_ns)
            begin(peer)
            peer.send(*(packet(0, FIRST + i, FRAME) for i in range(n)))
            peer.until("ACK", where=lambda v, n=n: v[2] == FIRST + n - 1)
            t.b.wait("pending_imports", "=", n)
            peer.close()
        info = t.b.info()
        expect((info["imported"], info["resent"]) == (90, 30), f"{info}")
        # The guest starts: what it has cannot be taken back.
        peer = t.peer()
        pair_as_source(peer, frozen_ns=2)
        t.b.ask("thaw")
        t.b.wait("state", "=", "thawing")
        peer.close()
        peer = t.peer()
        pair_as_source(peer, state=FROZEN, frozen_ns=3)
        begin(peer)
        values = peer.until("UNPAIR")
        expect("another freeze" in values[2], f"{values}")
        peer.close()


@case
def a_standby_that_is_frozen_anew_is_offered_after_unpair():
    """Or its source would take the refusal for that of the new freeze."""
    with Target() as t:
        peer = t.peer()
        handle = pair_as_source(peer, frozen_ns=5)
        begin(peer)
        peer.send(message("PING", 77))
        peer.until("PONG", where=lambda v: v[0] == 77)
        old = holds("hostA", "label", D_LABEL)[0]["frozen_ns"]
        stopped(t.relay, True)
        t.b.ask("discard")
        t.b.ask("freeze")
        stopped(t.relay, False)
        peer.until("UNPAIR")
        new = holds("hostA", "label", D_LABEL)[0]["frozen_ns"]
        expect(new != old, f"frozen at {new} still")
        peer.until("OFFER", where=lambda v: v[0] == handle and
                   v[3] == FROZEN and new in v)
        peer.close()


@case
def unpaired_can_be_paired_again():
    with Target() as t:
        peer = t.peer()
        handle = pair_as_source(peer)
        peer.send(p.message("UNPAIR", 0, 0, text="once more..."))
        peer.send(interface(label=D_LABEL.encode()),
                  message("PAIR", 1, 8, handle))
        expect(peer.until("PAIRED") == (1,), "PAIRED")
        begin(peer, 1)
        # What is still under way in the old one is nobody's business.
        peer.send(packet(0, FIRST, FRAME), packet(1, FIRST + 1, FRAME))
        peer.until("ACK", where=lambda v: v == (1, 0, FIRST + 1))
        expect(t.b.info()["imported"] == 1, f"{t.b.info()}")
        peer.close()


@case
def no_paired_before_the_clocks_are_known():
    with Target() as t:
        peer = t.peer(ping=False)
        handles = ready(peer)
        peer.send(offer(8, SOURCE, FROZEN, D_LABEL.encode(), frozen_ns=1),
                  interface(label=D_LABEL.encode()),
                  message("PAIR", 0, 8, handles[D_LABEL]),
                  message("PING", 99))
        peer.until("PONG", where=lambda v: v[0] == 99)
        expect("PAIRED" not in peer.seen, "PAIRED without PONG")
        peer.close()


@case
def no_more_is_offered_than_a_peer_takes():
    with Target() as t:
        many = t.m.vmm("hostA", dev="tap2")
        # Nor what has no label.
        run(*in_netns("hostA", TAPMIG, "freeze", "dev", "tap2"))
        many.ask("many", 4100)
        t.relay.wait_said("more than 4096")
        peer = t.peer()
        ready(peer, 4096)
        peer.send(message("PING", 77))
        peer.until("PONG", where=lambda v: v[0] == 77)
        labels = {o[9] for o in peer.offers.values()}
        expect(len(peer.offers) == 4096 and b"" not in labels and
               b"many/0" in labels, f"{len(peer.offers)}")
        # One takes the place of one that is gone.
        many.ask("close")
        gone = peer.until("WITHDRAW")
        expect(peer.until("OFFER")[9] not in labels, "not a new one")
        expect(len(peer.offers) == 4096 and gone[0] not in peer.offers,
               f"{len(peer.offers)}")
        expect(t.relay.said().count("more than 4096") == 1, "said again")
        peer.close()


def cpu_ns(process):
    with open(f"/proc/{process.pid}/schedstat", encoding="ascii") as f:
        return int(f.read().split()[0])


@case
def a_change_costs_in_proportion_to_the_holds():
    """Also of users who are not to keep the relay from others' packets."""
    costs = []
    for count in 100, 2000:
        with Target() as t:
            t.m.vmm("hostA", dev="tap2").ask("many", count)
            peer = t.peer()
            ready(peer, count + 2)
            # Standby holds of the peer, too.
            peer.send(*(offer(1000 + n, STANDBY, DEAD, f"many/{n}".encode(),
                              frozen_ns=1) for n in range(count)))
            spent = []
            for n in range(41):
                state = THAWING if n % 2 else FROZEN
                peer.send(offer(7, STANDBY, state, b"none", frozen_ns=1),
                          message("PING", 77 + n))
                peer.until("PONG", where=lambda v, n=n: v[0] == 77 + n)
                if n % 4 == 0:
                    spent.append(cpu_ns(t.relay.process))
            # In an emulated machine some take longer for other reasons.
            rounds = [b - a for a, b in zip(spent, spent[1:])]
            print(f"# {count} holds, ns for 4 changes: {rounds}")
            costs.append(min(rounds))
            peer.close()
    few, many = costs
    # Squared it would be 400.
    expect(many < 80 * few, f"{costs}")


@case
def offers_follow_the_holds():
    with Target() as t:
        peer = t.peer()
        handles = ready(peer)
        t.b.ask("thaw")
        peer.until("OFFER", where=lambda v: v[0] == handles[D_LABEL] and
                   v[3] not in (FROZEN, THAWING))
        t.b.ask("freeze")
        peer.until("OFFER", where=lambda v: v[0] == handles[D_LABEL] and
                   v[3] == FROZEN)
        t.b.ask("close")
        expect(peer.until("WITHDRAW") == (handles[D_LABEL],), "WITHDRAW")
        peer.close()


@case
def forged_netlink_messages_are_not_heard():
    """Sent by who rules the network namespace, but not the host."""
    with Target() as t:
        said = run(*in_netns("hostA", "python3", FORGE)).stdout
        sockets, taken, group = map(int, said.split())
        expect(sockets >= 2 and not taken and group <= 32, said)
        peer = t.peer()
        pair_as_source(peer)
        begin(peer)
        peer.send(packet(0, FIRST, FRAME))
        peer.until("ACK")
        expect({o[9].decode() for o in peer.offers.values()} ==
               {S_LABEL, D_LABEL}, f"{peer.offers}")
        expect(t.relay.alive() and "forged" not in t.relay.said(),
               t.relay.said())
        peer.close()


@case
def holds_that_come_and_go_keep_nobody_waiting():
    """Whoever has /dev/tapmig can make sure that each dump is interrupted."""
    restless = odd("restless")
    with Target(wrap=restless) as t:
        peer = t.peer()
        ready(peer)
        peer.close()
        done = run(*in_netns("hostA", "timeout", "20", *restless, TAPMIG,
                             "thaw", "label", "d/*"), check=False)
        expect(not done.returncode, f"thaw: {done}")
        done = run(*in_netns("hostA", "timeout", "20", *restless, TAPMIG,
                             "thaw", "label", "none"), check=False)
        expect(done.returncode == 2, f"thaw: {done}")
        monitor = subprocess.Popen(
            in_netns("hostA", "timeout", str(STUCK), *restless, TAPMIG,
                     "monitor"), stdout=subprocess.PIPE, text=True)
        # It has said all of that when it is ready, or when it is killed.
        said = []
        while not said or said[-1] not in ("ready\n", ""):
            said.append(monitor.stdout.readline())
        monitor.send_signal(signal.SIGINT)
        said.append(monitor.communicate()[0])
        expect(len([x for x in said if "exists" in x]) == 2 and
               "ready\n" in said, f"monitor: {monitor.returncode}, {said}")


@case
def keeps_the_connection_alive():
    with Target() as t:
        peer = t.peer()
        ready(peer)
        for _ in range(2):
            peer.until("PING", timeout=10)
        expect(t.relay.alive(), "ended")
        peer.close()


# --- peers that do not -------------------------------------------------------------------

SHARED = []


def target():
    """One relay has to bear all of them."""
    if not SHARED:
        SHARED.append(Target())
    return SHARED[0]


def end_target():
    while SHARED:
        SHARED.pop().__exit__(None, None, None)


def ends(act, hello=True, timeout=30, quick=False):
    """What act() does to a connection ends that, and nothing else."""
    t = target()
    said = len(t.relay.said())
    peer = t.peer(hello=hello)
    try:
        # Whatever was said too early is refused all the same.
        act(peer)
        told = peer.end(timeout)
        peer.close()
        expect(told, f"no BYE with a reason: {peer.seen}")
        wait_for(lambda: len(t.relay.said()) > said, "a message")
        lines = t.relay.said()[said:].splitlines()
        expect(any(x.startswith("tapmig: ") for x in lines), f"{lines}")
        expect(t.relay.alive(), f"the relay has ended: {t.relay.said()}")
        if not quick:
            unchanged()
    except BaseException:
        print("# " + t.relay.said()[said:].replace("\n", "\n# "))
        raise
    finally:
        peer.close()
        if not quick:
            t.reset()


def unchanged():
    """The holds are as they were, the relay takes the next peer."""
    t = target()
    expect(t.relay.alive(), f"the relay has ended: {t.relay.said()}")
    expect(t.state() == t.before, f"{t.state()}\n# before: {t.before}")
    peer = t.peer()
    ready(peer)
    peer.close()


def hostile(name, **options):
    def wrap(act):
        def run_it():
            ends(act, **options)
        run_it.__name__ = name
        case(run_it)
        return act
    return wrap


# A correct body of each message, for a connection without a channel.
BODIES = {
    "HELLO": struct.pack("<II16s", 1, 0, bytes(16)),
    "PING": bytes(8), "PONG": bytes(16), "BYE": b"",
    "OFFER": struct.pack("<IIBBBBIQQ", 9, 0, SOURCE, FROZEN, 0, 4, 65536,
                         64 << 20, 1) + b"test",
    "WITHDRAW": bytes(4), "PAIR": bytes(12), "PAIRED": bytes(4),
    "UNPAIR": bytes(8), "BEGIN": bytes(16), "ACK": bytes(16),
    "FULL": bytes(4), "MORE": bytes(4), "SYNC_REQUEST": bytes(4),
    "SYNC": bytes(16), "SYNCED": bytes(4), "END": bytes(8),
    "ENDED": bytes(72),
}


def raw(name, body):
    return block(MESSAGE + CODES[name], body)


def every_message(change, hello=True, skip=()):
    def test():
        for name, body in BODIES.items():
            if name in skip:
                continue

            def act(peer, name=name, body=body):
                if not hello:
                    peer.send(section())
                peer.send(raw(name, change(body)))
            try:
                ends(act, hello=hello, quick=True)
            except Exception as e:
                raise AssertionError(f"{name}: {e}") from e
        unchanged()
    return test


@case
def every_message_truncated():
    every_message(lambda body: body[:-4], skip=("BYE",))()


@case
def every_message_oversized():
    every_message(lambda body: body + bytes(4), skip=("BYE", "UNPAIR"))()


@case
def every_message_before_hello():
    every_message(lambda body: body, hello=False, skip=("HELLO", "BYE"))()


@case
def texts_of_more_than_256_bytes():
    for name, at in (("BYE", 0), ("UNPAIR", 8)):
        ends(lambda peer: peer.send(raw(name, bytes(at) + b"x" * 260)))


@case
def reserved_bits_in_every_message():
    for name, at in (("HELLO", 4), ("BEGIN", 4), ("ACK", 4), ("SYNC", 4),
                     ("ENDED", 4)):
        body = bytearray(BODIES[name])
        body[at] = 1

        def act(peer, name=name, body=bytes(body)):
            if name == "HELLO":
                peer.send(section())
            peer.send(raw(name, body))
        try:
            ends(act, hello=name != "HELLO")
        except Exception as e:
            raise AssertionError(f"{name}: {e}") from e


@case
def other_versions():
    for version in (0, 2, 0xFFFFFFFF):
        ends(lambda peer, v=version: peer.send(
            section(), raw("HELLO", struct.pack("<II16s", v, 0, bytes(16)))),
            hello=False)


@hostile("second_section")
def _(peer):
    peer.send(section())


@hostile("second_hello")
def _(peer):
    peer.send(message("HELLO", 1, 0, bytes(16)))


@case
def unknown_codes():
    for code in (0, 19, 255):
        ends(lambda peer, c=code: peer.send(block(MESSAGE + c, bytes(4))))


@case
def unknown_blocks():
    for kind in (5, 0xBAD, 0x80000001, 0x0A0D0D0D):
        ends(lambda peer, k=kind: peer.send(block(k, bytes(16))))


@hostile("message_before_the_section", hello=False)
def _(peer):
    peer.send(message("HELLO", 1, 0, bytes(16)))


@case
def packets_of_channels_never_opened():
    for channel in (0, 1, 4096, 0xFFFFFFFF):
        ends(lambda peer, c=channel: peer.send(packet(c, FIRST, FRAME)))


@hostile("packet_of_a_channel_without_pair")
def _(peer):
    peer.send(interface(), packet(0, FIRST, FRAME))


@hostile("packet_of_a_channel_not_begun")
def _(peer):
    pair_as_source(peer)
    peer.send(packet(0, FIRST, FRAME))


@case
def pair_of_what_was_not_offered():
    def channel_unknown(peer):
        handles = ready(peer)
        peer.send(offer(8, SOURCE, FROZEN, D_LABEL.encode()),
                  message("PAIR", 0, 8, handles[D_LABEL]))

    def handle_unknown(peer):
        handles = ready(peer)
        peer.send(interface(), message("PAIR", 0, 8, handles[D_LABEL]))
    for act in (channel_unknown, handle_unknown):
        ends(act)


@case
def pair_with_a_hold_that_is_gone_is_answered():
    """No error of the protocol: holds come and go."""
    t = target()
    peer = t.peer()
    ready(peer)
    peer.send(offer(8, SOURCE, FROZEN, D_LABEL.encode()),
              interface(), message("PAIR", 0, 8, 424242))
    values = peer.until("UNPAIR")
    expect(values[:2] == (0, 1), f"UNPAIR {values}")
    expect(t.state() == t.before, f"{t.state()}")
    peer.close()


@hostile("pair_of_different_labels")
def _(peer):
    handles = ready(peer)
    peer.send(offer(9, SOURCE, FROZEN, b"other"),
              interface(), message("PAIR", 0, 9, handles[D_LABEL]))


@hostile("pair_of_two_sources")
def _(peer):
    handles = ready(peer)
    peer.send(offer(9, SOURCE, FROZEN, S_LABEL.encode()),
              interface(), message("PAIR", 0, 9, handles[S_LABEL]))


@case
def messages_for_channels_that_do_not_exist():
    for m in (message("PAIRED", 0), message("UNPAIR", 0, 0),
              message("UNPAIR", 0, 1), message("BEGIN", 0, 0, 1),
              message("ACK", 0, 0, FIRST), message("FULL", 0),
              message("MORE", 0), message("SYNC_REQUEST", 0),
              message("SYNC", 0, 0, 0), message("SYNCED", 0),
              message("END", 0, 0), message("ENDED", 0, 0, *[0] * 8)):
        ends(lambda peer, m=m: peer.send(m), quick=True)
    unchanged()


@hostile("ack_beyond_what_was_sent")
def _(peer):
    channel = pair_as_standby(peer)
    peer.until("PACKET")
    peer.send(message("ACK", channel, 0, FIRST + 100000))


@hostile("ack_before_begin")
def _(peer):
    handles = ready(peer)
    peer.send(offer(7, STANDBY, FROZEN, S_LABEL.encode(), frozen_ns=1))
    channel = peer.until("PAIR")[0]
    peer.send(message("ACK", channel, 0, FIRST))


@hostile("synced_without_sync")
def _(peer):
    channel = pair_as_standby(peer)
    peer.until("PACKET")
    peer.send(message("SYNCED", channel))


@hostile("ended_without_end")
def _(peer):
    channel = pair_as_standby(peer)
    peer.until("PACKET")
    peer.send(message("ENDED", channel, 0, *[0] * 8))


@hostile("more_without_full")
def _(peer):
    channel = pair_as_standby(peer)
    peer.until("PACKET")
    peer.send(message("MORE", channel))


@hostile("sync_without_request")
def _(peer):
    pair_as_source(peer)
    begin(peer)
    peer.send(message("SYNC", 0, 0, 0))


@case
def offers_out_of_range():
    def one(**change):
        fields = {"handle": 9, "flags": 0, "role": SOURCE, "state": FROZEN,
                  "link": 0, "size": 4}
        fields.update(change)
        body = struct.pack("<IIBBBBIQQ", fields["handle"], fields["flags"],
                           fields["role"], fields["state"], fields["link"],
                           fields["size"], 65536, 64 << 20, 1) + b"test"
        return raw("OFFER", body)
    for change in ({"role": 2}, {"state": 5}, {"link": 2}, {"size": 5},
                   {"size": 64}, {"size": 255}):
        ends(lambda peer, c=change: peer.send(one(**c)))


@hostile("label_of_64_bytes")
def _(peer):
    peer.send(offer(9, SOURCE, FROZEN, b"x" * 64))


@hostile("more_than_4096_offers")
def _(peer):
    for n in range(4097):
        peer.send(offer(n + 1, SOURCE, FROZEN, b"l%d" % n))


@case
def block_lengths():
    for size in (0, 4, 8, 11, 13, 14, (1 << 20) + 4, 1 << 31, 0xFFFFFFFC,
                 0xFFFFFFFF):
        ends(lambda peer, s=size: peer.send(
            struct.pack("<II", MESSAGE + CODES["PING"], s) + bytes(8)),
            quick=True)
    # The two lengths of a block differ.
    ends(lambda peer: peer.send(
        message("PING", 0)[:-4] + struct.pack("<I", 24)))


@hostile("endless_blocks")
def _(peer):
    # More than any buffer, for as long as it is read.
    peer.socket.settimeout(5)
    blob = block(6, struct.pack("<IIIII", 0, 0, 0, 1 << 19, 1 << 19) +
                 bytes(1 << 19)) * 2
    try:
        for _ in range(64):
            peer.send(blob)
    except OSError:
        pass


@case
def packets_with_wrong_lengths():
    def with_sizes(captured, whole, kept):
        body = struct.pack("<IIIII", 0, 0, 0, captured, whole) + bytes(kept)
        body += option(5, struct.pack("<Q", FIRST)) + option(0, b"")
        return block(6, body)
    bad = [with_sizes(1000, 1000, 60), with_sizes(0xFFFFFFFF, 60, 60),
           with_sizes(60, 100, 60), with_sizes(60, 524289, 60),
           block(6, bytes(8)),
           # No number, number 0, and one that is too large.
           block(6, struct.pack("<IIIII", 0, 0, 0, 60, 60) + FRAME),
           packet(0, 0, FRAME), packet(0, 1 << 31, FRAME),
           # Metadata of another version, length, and with unknown members.
           packet(0, FIRST, FRAME, b"\x02" + bytes(31)),
           packet(0, FIRST, FRAME, b"\x01" + bytes(27)),
           packet(0, FIRST, FRAME, b"\x01\0\xff\xff" + bytes(28)),
           packet(0, FIRST, FRAME[:10])]
    for i, b in enumerate(bad):
        t = target()
        peer = t.peer()
        pair_as_source(peer)
        begin(peer)
        peer.send(b)
        reason = peer.end(30)
        peer.close()
        expect(reason, f"packet {i}: no BYE: {peer.seen}")
        expect(t.relay.alive(), f"packet {i}: the relay has ended")
        expect(not t.b.info()["imported"], f"packet {i}: imported")
        t.reset()


@case
def segments_in_the_wrong_order_are_refused():
    """By the kernel; whether that ends the session is the relay's choice."""
    t = target()
    peer = t.peer()
    pair_as_source(peer)
    begin(peer)
    body = struct.pack("<BBHHH", 1, 0, 16, 2, 3) + bytes(24)
    peer.send(packet(0, FIRST, FRAME, body))
    try:
        peer.until("ACK", where=lambda v: v[2] == FIRST)
    except Closed:
        pass
    peer.close()
    expect(t.relay.alive() and not t.b.info()["imported"], f"{t.b.info()}")
    t.reset()


@case
def half_a_hello_and_silence():
    t = target()
    nothing = t.peer(hello=False, ping=False)
    half = t.peer(hello=False, ping=False)
    half.send(section(), message("HELLO", 1, 0, bytes(16))[:20])
    mute = t.peer(ping=False)
    start = time.monotonic()
    reasons = [who.end(30) for who in (nothing, half, mute)]
    expect(all("HELLO" in r for r in reasons[:2]), f"{reasons}")
    expect(time.monotonic() - start > 5, "it did not wait")
    expect(t.relay.alive() and t.state() == t.before, f"{t.state()}")
    for who in (nothing, half, mute):
        who.close()


@case
def other_things_than_a_stream():
    plain = section(b"Dumpcap") + interface() + packet(0, FIRST, FRAME)
    pcap = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1) + \
        struct.pack("<IIII", 0, 0, 60, 60) + FRAME
    for data in (plain, pcap, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
                 bytes(4096), b"\xff" * 4096, os.urandom(65536),
                 b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64)):
        try:
            ends(lambda peer, d=data: peer.send(d), hello=False)
        except Exception as e:
            raise AssertionError(f"{data[:16]}: {e}") from e


@case
def connections_that_end_at_once():
    t = target()
    for i in range(50):
        peer = t.peer(hello=i % 2)
        if i % 3 == 0:
            peer.send(section()[:20])
        peer.close()
    peer = t.peer()
    ready(peer)
    peer.close()
    expect(t.relay.alive() and t.state() == t.before, f"{t.state()}")


def sends_until_closed(peer, data, times):
    """Reads nothing meanwhile; the relay has to give it up."""
    try:
        for _ in range(times):
            peer.socket.sendall(data)
    except (BrokenPipeError, ConnectionResetError):
        return True
    return False


def many_pings(t):
    peer = t.peer(ping=False)
    ready(peer)
    # Each makes the relay answer with more than it was sent.
    expect(sends_until_closed(peer, message("PING", 1) * 4096, 400),
           "the relay has answers for who does not read")
    peer.close()


def many_offers(t):
    peer = t.peer()
    ready(peer)
    for _ in range(2):
        for n in range(1, 4097):
            peer.send(offer(n, SOURCE, FROZEN, b"%063d" % n, frozen_ns=1))
        for n in range(1, 4097):
            peer.send(message("WITHDRAW", n))
    peer.send(message("PING", 4242))
    peer.until("PONG", where=lambda v: v[0] == 4242)
    peer.close()


def many_channels(t):
    peer = t.peer()
    to = pair_as_source(peer)
    for n in range(1, 4096):
        peer.send(interface(label=D_LABEL.encode()),
                  message("PAIR", n, 8, to))
    name, values = peer.next()
    while name != "UNPAIR" or values[0] != 4095:
        keep_alive(peer)
        name, values = peer.next()
    peer.close()


def many_large_packets(t):
    peer = t.peer()
    pair_as_source(peer)
    begin(peer)
    frame = FRAME + bytes(p.FRAME_MAX - len(FRAME))
    # More than the hold takes; what comes after that is ignored.
    for n in range(200):
        peer.send(packet(0, FIRST + n, frame))
    peer.until("FULL")
    peer.close()
    t.reset()


def half_of_a_block(t):
    peers = []
    for _ in range(4):
        # Each takes the place of the one before.
        peers.append(t.peer(instance=bytes(range(16))))
        ready(peers[-1])
        peers[-1].send(struct.pack("<II", 6, p.BLOCK_MAX),
                       bytes(p.BLOCK_MAX - 12),
                       struct.pack("<I", 0)[:2])
    for peer in peers:
        peer.close()


@case
def random_changes_in_a_good_stream():
    """Whatever becomes of the connection, the relay lives."""
    import random
    chance = random.Random(20260101)
    t = target()
    handles = None
    for _ in range(30):
        peer = t.peer(hello=False)
        if handles is None:
            peer.send(section(), message("HELLO", 1, 0, bytes(16)))
            handles = ready(peer)
            peer.close()
            continue
        stream = bytearray(
            section() + message("HELLO", 1, 0, bytes(16)) +
            message("PING", 1) +
            offer(8, SOURCE, FROZEN, D_LABEL.encode(), frozen_ns=1) +
            interface(label=D_LABEL.encode()) +
            message("PAIR", 0, 8, handles[D_LABEL]) +
            message("PONG", 1, 1) +
            offer(7, STANDBY, FROZEN, S_LABEL.encode(), frozen_ns=1) +
            message("WITHDRAW", 8))
        for _ in range(chance.randint(1, 4)):
            stream[chance.randrange(len(stream))] = chance.randrange(256)
        peer.send(bytes(stream))
        peer.send(b"\xff" * 12)
        peer.end(30)
        peer.close()
        expect(t.relay.alive(), f"the relay has ended at {stream.hex()}")
    expect(t.a.info()["held_packets"] == t.held, "packets are gone")
    t.reset()


@case
def relay_has_survived_all():
    t = target()
    held = t.a.info()["held_packets"]
    status = t.relay.end()
    end_target()
    expect(held == t.held, f"{held} of {t.held} are held")
    expect(status == 0, f"exit status {status}")


@case
def no_peer_makes_the_relay_grow():
    """Beyond what it keeps for one connection: see bound."""
    with Target(options=("--buffer", "64K")) as t:
        peer = t.peer()
        pair_as_source(peer)
        begin(peer)
        peer.send(packet(0, FIRST, FRAME))
        peer.until("ACK")
        peer.close()
        t.reset()
        before = t.relay.peak_kib()
        # What waits to be written, 64 KiB and 2 MiB, in a power of two; a block
        # that is read, one that is made; packets on their way to the kernel;
        # offers and channels, 256 bytes each.
        bound = 4096 + 2048 + 1024 + 1024 + 1024 + 1024
        grown = []
        for act in (many_pings, many_offers, many_channels,
                    many_large_packets, half_of_a_block) * 3:
            act(t)
            expect(t.relay.alive(), f"ended: {t.relay.said()}")
            grown.append(t.relay.peak_kib() - before)
        print(f"# {grown} KiB, the bound is {bound}")
        expect(grown[-1] < bound, f"{grown} KiB, not less than {bound}")


@case
def strangers_at_a_unix_socket_are_refused():
    """Whatever became of the rights of the socket."""
    for runs in 0, 1234:
        with Move() as m:
            os.chmod(m.dir, 0o777)
            path = m.path("socket")
            wrap = ()
            if runs:
                wrap = ("setpriv", "--reuid", str(runs), "--clear-groups",
                        "--inh-caps", "+net_admin", "--ambient-caps",
                        "+net_admin")
            relay = m.relay("hostA", "--listen", f"unix:{path}", wrap=wrap)
            relay.wait_said("listening")
            expect(os.stat(path).st_uid == runs, "the relay is not of whom")
            expect(os.stat(path).st_mode & 0o777 == 0o600, "for others too")
            os.chmod(path, 0o666)
            for uid in (0, 1234, 65534):
                said = relay.said()
                heard = run("setpriv", "--reuid", str(uid), "--clear-groups",
                            "python3", "-c", CONNECTS, path).stdout
                refused = "refused: it is not root, nor who runs this" in \
                    relay.said()[len(said):]
                expect((heard == "", refused) == (uid not in (0, runs),) * 2,
                       f"{uid}, a relay of {runs}: {heard} "
                       f"{relay.said()[len(said):]}")
