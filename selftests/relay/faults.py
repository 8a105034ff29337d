# SPDX-License-Identifier: GPL-2.0-only
"""Migrations with the relay, and all that can go wrong with it."""

import os
import re
import shutil
import signal
import socket
import subprocess

from cases import case, long_case, row, whole
from rig import (RIG, STUCK, TAPMIG, UNICAST, Counts, Move, Sender, Vmm,
                 expect, holds, in_netns, ip, learning, load, run, unload,
                 wait_for)

# More than a ring has entries: without a hold much would be lost.
STOPPED = 1500


def moved(m, frames=STOPPED):
    """A migration up to its start at the destination, relays being there."""
    m.paired()
    m.stop()
    m.sender.frames(frames)
    m.start()
    m.in_step()
    m.sender.frames(100)


def checked(m, fault, done=True, **more):
    if done:
        a, b = m.relays_done()
        expect(a["result"] == "done" and b["result"] == "done", f"{a} {b}")
        more.setdefault("resent", b["resent"])
    counts = m.finish()
    row(fault, counts, **more)
    whole(counts)
    return counts


# --- nothing goes wrong -----------------------------------------------------------

@case
def stock_kernel_loses():
    with Move() as m:
        m.source_up(hold=False)
        m.standby_up(hold=False)
        m.a.ask("stop")
        m.sender.frames(STOPPED)
        m.redirect()
        m.sender.frames(14)
        m.b.ask("run")
        m.sender.frames(100)
        counts = m.finish()
        row("no hold, no relay (stock kernel)", counts)
        expect(counts["lost"] > STOPPED / 2, f"lost only {counts['lost']}")


@case
def relay_moves_all():
    with Move() as m:
        m.source_up()
        m.standby_up()
        m.connect()
        moved(m)
        a, b = m.relays_done()
        ia, ib = m.a.info(), m.b.info()
        # All that was sent has been committed and discarded.
        expect(not ia["held_packets"], f"{ia['held_packets']} are held")
        expect(a["packets"] == b["packets"] == ib["imported"], f"{a} {b} {ib}")
        expect(a["packets"] > STOPPED and a["bytes"] > 64 * STOPPED, f"{a}")
        expect(not (b["resent"] or a["dropped"] or b["refused"]), f"{a} {b}")
        expect(a["label"] == b["label"] == "vm1/net0", f"{a} {b}")
        expect(a["dev"] == b["dev"] == "tap0", f"{a} {b}")
        expect(a["longest_wait_ms"] > 0, f"{a}")
        expect(b["duplicates"] == ib["flooded"] > 0, f"{b} {ib}")
        expect(ib["state"] == 0, f"state {ib['state']}")
        counts = m.finish()
        row("none", counts)
        whole(counts)
        expect(m.ra.end() == 0 and m.rb.end() == 0, "exit status")


@case
def one_queue_to_four():
    with Move(queues=(1, 4)) as m:
        m.source_up()
        m.standby_up()
        m.connect()
        moved(m)
        checked(m, "none, 1 queue to 4")


@long_case
def four_queues_to_one():
    with Move(queues=(4, 1)) as m:
        m.source_up()
        m.standby_up()
        m.connect()
        moved(m)
        checked(m, "none, 4 queues to 1")


@case
def source_listens():
    with Move() as m:
        m.source_up()
        m.standby_up()
        path = m.path("socket")
        m.ra = m.relay("hostA", "--listen", f"unix:{path}", "--linger", "500")
        m.rb = m.relay("hostB", "--connect", f"unix:{path}")
        moved(m)
        checked(m, "none, the source listens")


@case
def relays_come_before_holds_and_listener_last():
    with Move() as m:
        path = m.path("socket")
        m.ra = m.relay("hostA", "--connect", f"unix:{path}", "--linger",
                       "500")
        m.source_up(hold=False)
        m.standby_up()
        m.rb = m.relay("hostB", "--listen", f"unix:{path}")
        m.ra.wait_said("onnected")
        m.hold_source()
        moved(m)
        checked(m, "none, relays started before the holds")


def late_frames():
    """False if none came for 500 ms before the last: that was the end."""
    with Move(flows=UNICAST) as m:
        m.source_up()
        m.standby_up()
        m.connect(linger=60000)
        m.paired()
        m.stop()
        m.sender.frames(STOPPED)
        # The network goes on sending to the source for a while.
        m.start(announce=False)
        m.in_step()
        m.sender.frames(500)
        m.sender.ask("pause")
        if m.ra.done():
            return False
        m.b.ask("wait-got", sent_chunks(m))
        m.redirect()
        m.sender.frames(100)
        a, b = m.relays_done()
        expect(b["late"] > 0, f"{b}")
        checked(m, "none, 500 frames after the start", late=b["late"])
    return True


@case
def late_frames_arrive():
    expect(any(late_frames() for _ in range(3)), "it ended too early each time")


def sent_chunks(m):
    """Chunks of the frames sent so far that are not with the old guest."""
    frames = int(m.sender.ask("pause")[0])
    sizes = [int(f[2:]) if f[0] == "g" else 1 for f in m.flows]
    rounds, rest = divmod(frames, len(sizes))
    return rounds * sum(sizes) + sum(sizes[:rest]) - int(m.a.ask("got")[0])


@case
def tcp_over_loopback_with_netns_by_name_and_pid():
    with Move() as m:
        m.source_up()
        m.standby_up()
        address = "tcp:127.0.0.1:7707"
        m.rb = m.relay(None, "--listen", address, "--netns", "hostB")
        m.ra = m.relay(None, "--connect", address, "--linger", "500",
                       "--netns", str(m.a.process.pid))
        moved(m)
        checked(m, "none, TCP over loopback")


@case
def standard_input_and_output():
    with Move() as m:
        m.source_up()
        m.standby_up()
        listener = " ".join(in_netns("hostB", TAPMIG, "relay", "--listen",
                                     "-"))
        m.ra = m.relay("hostA", "--connect", f"exec:{listener}", "--linger",
                       "500")
        moved(m)
        a = m.ra.wait_done()[-1]
        expect(a["result"] == "done", f"{a}")
        checked(m, "none, exec: and standard input", done=False)
        # What the listener has to say of its hold goes to standard error.
        expect(m.ra.end() == 0, "exit status")
        expect("vm1/net0" in m.ra.said(), "the listener says nothing")


@case
def cloned_traffic_with_dedup_all():
    with Move() as m:
        learning(False)
        try:
            m.source_up()
            m.standby_up(dedup=1)
            m.connect()
            moved(m)
            checked(m, "all traffic cloned to both, dedup=all")
        finally:
            learning(True)


@case
def unknown_unicast_reaches_both():
    with Move() as m:
        learning(False)
        try:
            m.source_up()
            m.standby_up()
            m.connect()
            moved(m)
            checked(m, "unicast flooded to both, dedup=multicast")
        finally:
            learning(True)


# --- connections ---------------------------------------------------------------------

def through_proxy(m, **options):
    """Relays with a proxy between them; returns the proxy."""
    path = m.path("proxy")
    proxy = m.proxy(path, m.path("socket"), **options)
    m.connect(via=path)
    return proxy


def stop_half_way(m, size):
    """Stop the guest; that many bytes of what follows reach the other relay."""
    proxy = through_proxy(m)
    m.paired()
    m.stop()
    limit = proxy.passed + size
    proxy.go_on(limit=limit)
    m.sender.frames(STOPPED)
    proxy.wait_passed(limit)
    return proxy


@case
def connection_cut_and_restored():
    with Move() as m:
        m.source_up()
        m.standby_up()
        proxy = through_proxy(m)
        m.paired()
        m.stop()
        proxy.go_on(limit=proxy.passed + 400000)
        m.sender.frames(STOPPED)
        proxy.wait_passed(400000)
        proxy.cut(heal=True)
        m.sender.frames(200)
        m.start()
        m.in_step()
        m.sender.frames(100)
        checked(m, "connection cut and restored in the middle")
        expect(proxy.connections >= 2, "no second connection")


@long_case
def connection_cut_five_times():
    with Move() as m:
        m.source_up()
        m.standby_up()
        proxy = through_proxy(m)
        m.paired()
        m.stop()
        # In the middle of blocks, mostly.
        for n in (90001, 130003, 170005, 210007, 250009):
            proxy.go_on(limit=proxy.passed + n)
            m.sender.frames(300)
            proxy.wait_passed(proxy.limit)
            proxy.cut(heal=True)
            before = proxy.connections
            wait_for(lambda: proxy.connections > before, "a new connection")
        m.sender.frames(600)
        m.start()
        m.in_step()
        m.sender.frames(100)
        checked(m, "connection cut five times")


@case
def connection_cut_for_good():
    with Move(flows=UNICAST) as m:
        m.source_up()
        m.standby_up(wait_import_ms=1000)
        proxy = stop_half_way(m, 400000)
        proxy.cut()
        m.start(announce=False)
        # It gives up waiting, and has what came.
        m.in_step()
        ib = m.b.info()
        expect(0 < ib["delivered"] == ib["imported"] < STOPPED, f"{ib}")
        expect(ib["thaw_wait_us"] >= 900000, f"waited {ib['thaw_wait_us']}")
        m.b.ask("wait-got", ib["delivered"])
        # The source has kept everything.
        ia = m.a.info()
        expect(ia["held_packets"] == ia["captured"] >= STOPPED, f"{ia}")
        m.b.kill()
        m.logs.pop()
        m.a.ask("thaw")
        m.a.ask("run")
        counts = m.finish(close=False, at=m.a)
        row("connection cut for good, the source thaws", counts,
            at_destination=ib["delivered"])
        whole(counts)


def killed(side):
    with Move() as m:
        m.source_up()
        m.standby_up()
        proxy = stop_half_way(m, 400000)
        relay = m.ra if side == "source" else m.rb
        relay.kill()
        if side == "source":
            m.ra = m.relay("hostA", *relay.args)
        else:
            m.rb = m.relay("hostB", *relay.args)
        proxy.go_on()
        m.sender.frames(200)
        m.start()
        m.in_step()
        m.sender.frames(100)
        checked(m, f"relay of the {side} killed and restarted")


@case
def source_relay_killed_and_restarted():
    killed("source")


@case
def standby_relay_killed_and_restarted():
    killed("destination")


@case
def relay_interrupted_loses_nothing():
    with Move() as m:
        m.source_up()
        m.standby_up()
        proxy = stop_half_way(m, 200000)
        status = m.ra.end(signal.SIGINT), m.rb.end(signal.SIGTERM)
        expect(status == (0, 0), f"exit status {status}")
        ia = m.a.info()
        expect(ia["held_packets"] == ia["captured"], f"{ia}")
        expect(m.b.info()["state"] == 1, "the standby is not frozen")
        ra, rb = m.ra.args, m.rb.args
        proxy.go_on()
        m.rb = m.relay("hostB", *rb)
        m.ra = m.relay("hostA", *ra)
        m.start()
        m.in_step()
        m.sender.frames(100)
        checked(m, "both relays interrupted (SIGINT, SIGTERM), restarted")


# --- interruptions -------------------------------------------------------------------

HERE = os.path.dirname(os.path.abspath(__file__))


def lose_events(m, relay):
    """It has stopped: more happens than it is told of."""
    for i in range(8):
        m.vmm("hostA", dev=f"many{i}").hold("source", f"many{i}")
    relay.process.send_signal(signal.SIGSTOP)

    def lost():
        run(*in_netns("hostA", "sh", "-ec",
                      "for i in 1 2 3 4 5 6 7 8; do for on in on off; do "
                      f"{TAPMIG} set label 'many*' peer $on; done; done"))
        said = run(*in_netns("hostA", "cat", "/proc/net/netlink")).stdout
        return any(x[1] == "16" and x[8] != "0"
                   for x in map(str.split, said.splitlines()))
    wait_for(lost, "events that are lost")
    for t in m.things:
        if isinstance(t, Vmm):
            t.kill()


@case
def relays_end_with_the_module():
    """Nothing would reach them after it: of one that is loaded anew neither."""
    with Move() as m:
        creds = ("--tls-creds", PKI)
        tls_relays(m, creds, creds)
        m.ra.wait_said("onnected")
        alone = m.relay(None, "--listen", f"unix:{m.path('alone')}",
                        "--netns", "hostB", "--netns", "hostA")
        wait_for(lambda: os.path.exists(m.path("alone")), "a socket")
        stopped = m.relay("hostA", "--listen", f"unix:{m.path('stopped')}")
        wait_for(lambda: os.path.exists(m.path("stopped")), "a socket")
        lose_events(m, stopped)
        unload()
        load()
        stopped.process.send_signal(signal.SIGCONT)
        for r in m.ra, m.rb, alone, stopped:
            status = r.process.wait(STUCK)
            expect(status == 1 and "the tapmig module was unloaded" in r.said(),
                   f"exit status {status}: {r.said()}")
        expect("events were lost" in stopped.said(), stopped.said())
        m.source_up()
        m.standby_up()
        tls_relays(m, creds, creds)
        moved(m)
        checked(m, "the module is loaded anew before, and the relays started")


def hiccup(seed):
    """Calls are interrupted; sockets give and take a few bytes at a time."""
    return ("env", f"LD_PRELOAD={os.path.join(HERE, 'hiccup.so')}",
            f"HICCUP={seed}")


def after_hiccups(m, fault, processes):
    moved(m)
    checked(m, fault, done=False)
    said = ""
    for r in m.relays:
        expect(r.end() == 0, "exit status")
        said += r.said()
    # It went on as if nothing was the matter.
    expect("lost" not in said and "error" not in said, said)
    numbers = re.findall(r"hiccup: (\d+) interrupted, (\d+) shortened", said)
    enough = [n for n in numbers if min(map(int, n)) >= 100]
    print(f"# hiccups: {numbers}")
    expect(len(enough) >= processes, f"{numbers}")


@case
def calls_are_interrupted_and_fall_short():
    with Move() as m:
        m.source_up()
        m.standby_up()
        path = m.path("socket")
        m.rb = m.relay("hostB", "--listen", f"unix:{path}", wrap=hiccup(1))
        m.ra = m.relay("hostA", "--connect", f"unix:{path}", "--linger",
                       "500", wrap=hiccup(2))
        after_hiccups(m, "calls interrupted, few bytes at a time", 2)


@case
def calls_are_interrupted_and_fall_short_with_tls():
    creds = ("--tls-creds", os.path.join(HERE, "pki"))
    address = "tcp:10.9.0.2:7709"
    with Move() as m:
        m.source_up()
        m.standby_up()
        m.rb = m.relay("hostB", "--listen", address, *creds, wrap=hiccup(3))
        m.ra = m.relay("hostA", "--connect", address, "--linger", "500",
                       *creds, wrap=hiccup(4))
        after_hiccups(m, "the same with TLS", 2)


@case
def calls_are_interrupted_and_fall_short_in_pipes():
    with Move() as m:
        m.source_up()
        m.standby_up()
        # cat makes pipes of the socket that exec: gives it.
        listener = " ".join(in_netns("hostB", *hiccup(5), TAPMIG, "relay",
                                     "--listen", "-"))
        m.ra = m.relay("hostA", "--connect", f"exec:cat | {listener} | cat",
                       "--linger", "500", wrap=hiccup(6))
        after_hiccups(m, "the same with pipes", 1)


# --- memory that is not to be had ----------------------------------------------------

def without_memory(m, side, n):
    """The relay of one side does not get what it asks for as the n-th.

    Says if it has asked as often. Then it ends, or goes on by itself.
    """
    wrap = ("env", f"LD_PRELOAD={os.path.join(HERE, 'scarce.so')}",
            f"SCARCE={n}")
    address = f"unix:{m.path('socket')}"
    rb = m.relay("hostB", "--listen", address,
                 wrap=wrap if side == "destination" else ())
    ra = m.relay("hostA", "--connect", address, "--linger", "500",
                 wrap=wrap if side == "source" else ())
    scarce = ra if side == "source" else rb
    m.sender.ask("go")
    m.sender.frames(20)
    m.sender.ask("pause")
    wait_for(lambda: not scarce.alive() or
             m.b.info()["imported"] >= m.a.info()["captured"],
             "the end of a relay, or of what it has to move")
    said = scarce.said()
    failed = "scarce:" in said
    expect(failed or scarce.alive(), f"it has ended: {said}")
    expect(scarce.alive() or scarce.process.returncode == 1,
           f"{scarce.process.returncode}: {said}")
    expect(not failed or "out of memory" in said, said)
    for r in (ra, rb):
        r.end()
    return failed


@long_case
def memory_runs_out_once():
    with Move() as m:
        m.source_up()
        m.standby_up(wait_import_ms=60000)
        m.stop()
        for side in ("source", "destination"):
            n = 1
            while without_memory(m, side, n):
                n += 1
            print(f"# {side}: {n - 1} requests")
        m.sender.ask("go")
        m.connect()
        m.start()
        m.in_step()
        m.sender.frames(100)
        checked(m, "no memory, once for each request", done=False)


# --- hosts ---------------------------------------------------------------------------

def migrates_after_all(m):
    """The second try of it goes through."""
    moved(m)
    m.ra.wait_done(2)
    m.rb.wait_done(2)


@case
def source_cancels_after_half_was_sent():
    with Move() as m:
        m.source_up()
        m.standby_up()
        proxy = through_proxy(m)
        m.paired()
        m.stop()
        limit = proxy.passed + 400000
        proxy.go_on(limit=limit)
        m.sender.frames(STOPPED)
        m.b.wait("imported", ">=", 100)
        # Some of it is there, more is on its way.
        m.a.ask("thaw")
        m.a.ask("run")
        proxy.go_on()
        # The copies die, the channel goes on.
        m.b.wait("discarded", ">=", 100)
        m.b.wait("pending_imports", "=", 0)
        m.b.wait("state", "=", "frozen")
        ib = m.b.info()
        expect(not ib["delivered"], f"{ib}")
        m.sender.frames(200)
        a = m.ra.wait_done()[-1]
        expect(a["result"] == "cancelled", f"{a}")
        migrates_after_all(m)
        counts = checked(m, "source cancels after half, then migrates")
        expect(counts["sent"] > 2 * STOPPED, f"{counts}")


@case
def source_cancels_while_the_connection_is_down():
    """With the standby's relay as it was, and started anew."""
    for anew in (False, True):
        with Move() as m:
            m.source_up()
            m.standby_up()
            proxy = stop_half_way(m, 400000)
            m.b.wait("imported", ">=", 100)
            proxy.cut()
            m.a.ask("thaw")
            m.a.ask("run")
            m.sender.frames(200)
            if anew:
                m.rb.kill()
                m.rb = m.relay("hostB", *m.rb.args)
            proxy.heal()
            m.b.wait("discarded", ">=", 100)
            m.b.wait("pending_imports", "=", 0)
            m.b.wait("state", "=", "frozen")
            a = m.ra.wait_done()[-1]
            expect(a["result"] == "cancelled", f"{a}")
            migrates_after_all(m)
            checked(m, "source cancels while the connection is down" +
                    (", the standby's relay is killed" if anew else ""))


@case
def source_thaws_while_relay_reads():
    with Move() as m:
        m.source_up()
        m.standby_up()
        m.connect()
        m.paired()
        m.stop()
        m.sender.frames(2 * STOPPED)
        # The relay is at it.
        m.a.wait("exported", ">=", 100)
        m.a.ask("thaw")
        m.a.ask("run")
        m.sender.frames(200)
        a = m.ra.wait_done()[-1]
        expect(a["result"] == "cancelled", f"{a}")
        m.b.wait("pending_imports", "=", 0)
        expect(not m.b.info()["delivered"], "delivered at the destination")
        m.logs.pop()
        counts = m.finish(close=False, at=m.a)
        row("source thaws while the relay reads", counts)
        whole(counts)


def destination_dies(imported):
    with Move() as m:
        m.source_up()
        m.standby_up()
        m.connect()
        m.paired()
        if imported:
            m.stop()
            m.sender.frames(STOPPED)
            m.b.wait("imported", ">=", 500)
        m.b.kill()
        m.logs.pop()
        if not imported:
            m.stop()
            m.sender.frames(STOPPED)
        wait_for(lambda: not holds("hostB"), "the end of the standby")
        m.rb.wait_said("vm1/net0")
        ia = m.a.info()
        expect(ia["held_packets"] == ia["captured"] >= STOPPED, f"{ia}")
        m.a.ask("thaw")
        m.a.ask("run")
        counts = m.finish(close=False, at=m.a)
        row("destination VMM dies " + ("after" if imported else "before") +
            " import, source thaws", counts)
        whole(counts)
        expect(m.ra.alive() and m.rb.alive(), "a relay has ended")


@case
def destination_dies_before_import():
    destination_dies(False)


@case
def destination_dies_after_import():
    destination_dies(True)


def source_ends(how):
    with Move() as m:
        m.source_up()
        m.standby_up()
        proxy = stop_half_way(m, 200000)
        m.redirect()
        m.sender.frames(14)
        if how == "killed":
            m.a.kill()
        else:
            m.a.process.stdin.close()
            m.a.process.wait()
        expect([h["state"] for h in holds("hostA")] == ["dead"],
               f"{holds('hostA')}")
        proxy.go_on()
        m.start()
        m.in_step()
        m.sender.frames(100)
        checked(m, f"source VMM {how} with frames to send (detached)")
        wait_for(lambda: not holds("hostA"), "the end of the hold")


@case
def source_exits_with_frames_to_send():
    source_ends("exits")


@case
def source_killed_with_frames_to_send():
    source_ends("killed")


@case
def destination_full():
    with Move(flows=UNICAST) as m:
        m.source_up()
        m.standby_up(max_packets=500, wait_import_ms=2000)
        m.connect(linger=60000)
        m.paired()
        m.stop()
        m.sender.frames(STOPPED)
        m.b.wait("imported", ">=", 100)
        m.rb.wait_said("room", "full")
        # What does not fit comes when the guest has read.
        m.start(announce=False)
        m.sender.ask("pause")
        m.b.ask("wait-got", sent_chunks(m))
        m.redirect()
        m.sender.frames(100)
        checked(m, "destination's hold full (500 packets)")


# --- time --------------------------------------------------------------------------

def shifted(side):
    wrap = ("unshare", "--time", "--monotonic", "7200", "--fork",
            "--kill-child")
    with Move() as m:
        m.source_up()
        m.standby_up()
        # There is much from before the freeze, that must not come twice.
        m.sender.frames(500)
        path = m.path("socket")
        m.rb = m.relay("hostB", "--listen", f"unix:{path}",
                       wrap=wrap if side == "destination" else ())
        m.ra = m.relay("hostA", "--connect", f"unix:{path}", "--linger",
                       "500", wrap=wrap if side == "source" else ())
        moved(m)
        checked(m, f"clock of the {side} ahead by two hours")


@case
def source_clock_ahead():
    shifted("source")


@case
def destination_clock_ahead():
    shifted("destination")


@case
def import_begins_after_the_guest_has_started():
    with Move(flows=UNICAST) as m:
        m.source_up()
        m.standby_up(wait_import_ms=200)
        proxy = through_proxy(m)
        m.paired()
        proxy.go_on(limit=proxy.passed)
        m.stop()
        m.sender.frames(STOPPED)
        m.start(announce=False)
        m.b.wait("state", "=", "live")
        expect(not m.b.info()["imported"], "something was imported")
        m.sender.ask("pause")
        proxy.go_on()
        m.b.ask("wait-got", sent_chunks(m))
        m.redirect()
        m.sender.frames(100)
        a, b = m.relays_done()
        expect(b["late"] >= STOPPED, f"{b}")
        checked(m, "import-begin after the guest's start", late=b["late"])


@case
def relays_started_after_the_guest():
    with Move(flows=UNICAST) as m:
        m.source_up()
        m.standby_up(wait_import_ms=200)
        m.stop()
        m.sender.frames(STOPPED)
        m.start()
        m.b.wait("state", "=", "armed")
        held = m.a.info()["held_packets"]
        m.connect()
        m.rb.wait_said("vm1/net0")
        m.ra.wait_said("vm1/net0")
        m.sender.frames(300)
        # Too late; but the source keeps what it has, until it is told.
        expect(m.a.info()["held_packets"] >= held, "the source has lost some")
        expect(m.ra.alive() and m.rb.alive(), "a relay has ended")


def path_loses(percent):
    """20 ms and 10 Mbit/s between the relays, too."""
    for ns in ("hostA", "hostB"):
        run("ip", "netns", "exec", ns, "tc", "qdisc", "replace", "dev",
            "mgmt", "root", "netem", "delay", "20ms", "loss", f"{percent}%",
            "rate", "10mbit", "limit", "100000")


def slow_path(m):
    path_loses(1)
    m.rb = m.relay("hostB", "--listen", "tcp:10.9.0.2:7707", "--insecure")
    m.ra = m.relay("hostA", "--connect", "tcp:10.9.0.2:7707", "--insecure",
                   "--linger", "60000")


def fast_path():
    for ns in ("hostA", "hostB"):
        run("ip", "netns", "exec", ns, "tc", "qdisc", "del", "dev", "mgmt",
            "root")


@long_case
def slow_and_lossy_path():
    with Move(flows=UNICAST) as m:
        try:
            m.source_up()
            m.standby_up()
            slow_path(m)
            moved(m)
            a, _ = m.relays_done()
            checked(m, "20 ms, 1 % loss, 10 Mbit/s", wait_ms=a[
                "longest_wait_ms"])
        finally:
            fast_path()


@long_case
def slow_path_and_the_wait_expires():
    with Move(flows=UNICAST) as m:
        try:
            m.source_up()
            m.standby_up(wait_import_ms=200)
            slow_path(m)
            m.paired()
            m.stop()
            m.sender.frames(STOPPED)
            m.b.wait("imported", ">=", 1)
            # However slow the machine is, what follows comes late.
            path_loses(100)
            m.sender.frames(STOPPED)
            m.start()
            m.b.wait("state", "=", "live")
            path_loses(1)
            m.sender.frames(100)
            _, b = m.relays_done()
            expect(b["late"] > 0, f"{b}")
            counts = m.finish()
            row("20 ms, 1 % loss, 10 Mbit/s, the wait expires", counts,
                late=b["late"])
            # What comes late is behind what came directly.
            whole(counts, reordered=False)
        finally:
            fast_path()


# --- several ------------------------------------------------------------------------

class Fleet:
    """Several guests without a migration of unicast: they hear broadcast."""

    def __init__(self, m, n):
        self.m = m
        self.guests = []
        m.sender = None
        for i in range(n):
            a = m.vmm("hostA", dev=f"tap{i}")
            if not m.sender:
                m.sender = m.add(Sender(m.flows, m.rate))
                m.announce(a)
            a.ask("run")
            a.hold("source", f"vm{i}/net0", mac=0)
            b = m.vmm("hostB", dev=f"tap{i}")
            b.hold("standby", f"vm{i}/net0", mac=0)
            b.ask("freeze")
            self.guests.append((a, b))

    def move(self):
        for a, b in self.guests:
            a.wait("peer", "=", 1)
            b.wait("peer", "=", 1)
        self.m.sender.frames(100)
        # As in Move.stop().
        self.m.sender.ask("pause")
        for a, _ in self.guests:
            a.ask("wait-got", 1)
            a.ask("prepare")
            a.ask("stop")
            a.ask("freeze", "detached")
        self.m.sender.frames(1500)
        for _, b in self.guests:
            b.ask("thaw")
            b.ask("run")
        for _, b in self.guests:
            b.wait("delivered", ">=", 1)
        self.m.sender.frames(100)

    def counts(self):
        self.m.sender.ask("end", self.m.path("sent"))
        for _, b in self.guests:
            b.ask("wait-ended", len(self.m.flows))
            b.ask("stop")
        return [Counts(run(RIG, "count", self.m.path("sent"), a.log,
                           b.log).stdout) for a, b in self.guests]


# They are there when the first frame is sent, or miss some of them.
FLOODED = ("b:64", "m:900", "b:1400")


@case
def several_holds_over_one_connection():
    with Move(flows=FLOODED) as m:
        fleet = Fleet(m, 3)
        path = m.path("socket")
        m.rb = m.relay("hostB", "--listen", f"unix:{path}")
        # One too few for all of them, if nobody asks for more.
        m.ra = m.relay("hostA", "--connect", f"unix:{path}", "--linger",
                       "500", wrap=("prlimit", "--nofile=9:1024"))
        fleet.move()
        m.ra.wait_done(3)
        done = m.rb.wait_done(3)
        expect(sorted(d["label"] for d in done) ==
               ["vm0/net0", "vm1/net0", "vm2/net0"], f"{done}")
        expect("open files" not in m.ra.said(), m.ra.said())
        for counts in fleet.counts():
            row("none, three holds over one connection", counts)
            whole(counts)


@long_case
def two_connections_with_labels():
    with Move(flows=FLOODED) as m:
        fleet = Fleet(m, 2)
        relays = []
        for i in range(2):
            path = m.path(f"socket{i}")
            relays.append((
                m.relay("hostB", "--listen", f"unix:{path}", "--label",
                        f"vm{i}/*"),
                m.relay("hostA", "--connect", f"unix:{path}", "--linger",
                        "500", "--dev", f"tap{i}")))
        fleet.move()
        for i, pair in enumerate(relays):
            for r in pair:
                done = r.wait_done()
                expect([d["label"] for d in done] == [f"vm{i}/net0"],
                       f"{done}")
        for counts in fleet.counts():
            row("none, two connections", counts)
            whole(counts)


@case
def two_connections_to_one_listener():
    with Move(flows=FLOODED) as m:
        fleet = Fleet(m, 2)
        path = m.path("socket")
        m.relay("hostB", "--listen", f"unix:{path}")
        for i in range(2):
            m.relay("hostA", "--connect", f"unix:{path}", "--linger", "500",
                    "--label", f"vm{i}/*")
        fleet.move()
        m.relays[0].wait_done(2)
        for counts in fleet.counts():
            row("none, two connections to one listener", counts)
            whole(counts)


@case
def ambiguous_labels_are_refused():
    with Move() as m:
        m.source_up()
        m.standby_up()
        other = m.vmm("hostB", dev="tap1")
        m.logs.pop()
        other.hold("standby", m.label)
        other.ask("freeze")
        m.connect()
        m.rb.wait_said("vm1/net0")
        m.ra.wait_said("vm1/net0")
        m.sender.frames(200)
        for v in (m.a, m.b, other):
            flags = holds(v.netns, "id", str(v.id))[0]["flags"]
            expect("peer" not in flags, f"{v.netns}: {flags}")
        # When only one is left, it is taken.
        other.kill()
        moved(m)
        checked(m, "none, after an ambiguous label")


# --- what else there is --------------------------------------------------------------

@case
def recorded_stream_opens_elsewhere():
    with Move() as m:
        m.source_up()
        m.standby_up()
        record = []
        through_proxy(m, record=record)
        moved(m, 300)
        a, _ = m.relays_done()
        with open(m.path("stream.pcapng"), "wb") as f:
            f.write(b"".join(record))
        for program in (["tcpdump", "-Z", "root", "-n", "-r"],
                        ["tshark", "-n", "-r"]):
            r = run(*program, m.path("stream.pcapng"))
            lines = [x for x in r.stdout.splitlines() if x.strip()]
            expect(len(lines) == a["packets"],
                   f"{program[0]} shows {len(lines)} of {a['packets']}")
        checked(m, "none, recorded")


def peak_memory(max_bytes, enough):
    with Move(flows=("g:45",), rate=300) as m:
        m.source_up(max_bytes=max_bytes)
        m.standby_up(max_bytes=2 * max_bytes)
        # Held before a relay is there: it finds all of it at once.
        m.stop()
        m.a.wait("captured", ">=", 1)
        # So many at once that they do not fill it, however late we look.
        m.sender.ask("pause")
        m.sender.ask("rate", 0)
        while m.a.info()["held_bytes"] < enough:
            m.sender.ask("only", enough >> 17)
        m.sender.ask("rate", 300)
        m.connect()
        m.paired()
        m.b.wait("imported", ">=", m.a.info()["held_packets"])
        m.start()
        m.in_step()
        m.relays_done()
        peak = max(m.ra.peak_kib(), m.rb.peak_kib())
        counts = m.finish()
        row(f"none, {enough >> 20} MiB held", counts, peak_kib=peak)
        whole(counts)
        return peak


def memory(mib):
    small = peak_memory(64 << 20, 2 << 20)
    large = peak_memory(500 << 20, mib << 20)
    # 4 MiB, and what a frame of any size may take.
    expect(large < small + 6 * 1024, f"{small} KiB, {large} KiB")


@case
def memory_does_not_grow_with_the_hold():
    memory(40)


@long_case
def memory_does_not_grow_with_a_large_hold():
    memory(200)


@case
def one_line_for_each_hold():
    with Move() as m:
        m.source_up()
        m.standby_up()
        path = m.path("socket")
        m.rb = m.relay("hostB", "--listen", f"unix:{path}", "--once",
                       options=(), verbose=False)
        m.ra = m.relay("hostA", "--connect", f"unix:{path}", "--linger",
                       "500", "--once", options=(), verbose=False)
        moved(m, 500)
        # With --once they end by themselves.
        for r in (m.ra, m.rb):
            status = r.process.wait(60)
            expect(status == 0, f"exit status {status}: {r.said()}")
            lines = r.printed().splitlines()
            expect(len(lines) == 1 and "vm1/net0" in lines[0], f"{lines}")
        checked(m, "none, --once", done=False)


class Unread:
    """A pipe that is full. A relay that is wrapped with it prints there."""

    def __init__(self):
        self.reader, self.writer = os.pipe()
        for end in (self.reader, self.writer):
            os.set_blocking(end, False)
        try:
            while True:
                os.write(self.writer, b"x" * 4096)
        except BlockingIOError:
            pass
        # Opened once more, it blocks.
        path = f"/proc/{os.getpid()}/fd/{self.writer}"
        self.wrap = ("sh", "-c", f'exec "$@" >{path} 2>&1', "sh")

    def read(self):
        data = b""
        try:
            while piece := os.read(self.reader, 65536):
                data += piece
        except BlockingIOError:
            pass
        return data.decode()

    def close(self):
        os.close(self.reader)
        os.close(self.writer)


@case
def nobody_reads_what_the_relays_print():
    with Move() as m:
        m.source_up()
        m.standby_up()
        path = m.path("socket")
        pipes = [m.add(Unread()) for _ in range(2)]
        m.rb = m.relay("hostB", "--listen", f"unix:{path}",
                       wrap=pipes[0].wrap)
        m.ra = m.relay("hostA", "--connect", f"unix:{path}", "--linger",
                       "500", wrap=pipes[1].wrap)
        moved(m)
        wait_for(lambda: not m.a.info()["held_packets"], "the commit")
        said = [pipe.read() for pipe in pipes]
        for r in m.relays:
            expect(r.end() == 0, "exit status")
        for before, pipe in zip(said, pipes):
            text = (before + pipe.read()).strip("x")
            expect("lines were dropped" in text, text)
        checked(m, "nobody reads what the relays print", done=False)


@case
def once_is_over_when_nothing_will_be_moved():
    with Move() as m:
        m.source_up()
        m.standby_up()
        m.connect("--once")
        m.paired()
        # Cancelled before its guest was stopped.
        m.a.ask("close")
        status = m.ra.process.wait(60)
        expect(status == 0, f"exit status {status}: {m.ra.said()}")
        expect(m.rb.alive(), m.rb.said())


@case
def bad_arguments_are_refused():
    for args, words in (
            ((), ("--listen", "--connect")),
            (("--listen", "tcp:127.0.0.1:1", "--connect", "-"), ()),
            (("--listen", "tcp:127.0.0.1"), ("127.0.0.1",)),
            (("--listen", "udp:127.0.0.1:1"), ("udp",)),
            (("--listen", "tcp:127.0.0.1:99999"), ("99999",)),
            (("--listen", "exec:true"), ()),
            (("--listen", "-", "--linger", "x"), ("linger",)),
            (("--listen", "-", "--buffer", "1Q"), ("buffer",)),
            (("--listen", "-", "--netns", "no-such-ns"), ("no-such-ns",)),
            (("--listen", "-", "--netns", "hostB", "--netns",
              "/run/netns/hostB"), ("given already, as 'hostB'",)),
            (("--listen", "unix:/no/such/dir/socket"), ("/no/such/dir",)),
            (("--listen", "tcp:10.9.0.1:7707"), ("--insecure",)),
            (("--connect", "tcp:10.9.0.2:7707"), ("--insecure",)),
            (("--listen", "tcp:0.0.0.0:7707"), ("--insecure",)),
            (("--listen", "-", "--tls-creds", "/no/such"), ())):
        r = subprocess.run(in_netns("hostA", TAPMIG, "relay", *args),
                           capture_output=True, text=True, timeout=20,
                           stdin=subprocess.DEVNULL, check=False)
        expect(r.returncode == 1, f"{args}: {r.returncode} {r.stderr}")
        expect(r.stderr.strip() and not r.stdout, f"{args}: {r.stderr}")
        expect(any(w in r.stderr for w in words) or not words,
               f"{args}: {r.stderr}")


@case
def why_connecting_fails_at_once_is_said():
    with Move() as m:
        # There is no way to it.
        m.ra = m.relay("hostA", "--connect", "tcp:198.51.100.1:7707",
                       "--insecure", verbose=False)
        m.ra.wait_said("unreachable")
        expect("198.51.100.1:7707" in m.ra.said(), m.ra.said())
        expect(m.ra.end() == 0, "exit status")


@case
def a_listener_that_hangs_up_is_named():
    with Move() as m:
        path = m.path("socket")
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path)
            listener.listen()
            listener.settimeout(60)
            m.ra = m.relay("hostA", "--connect", f"unix:{path}", verbose=False)
            peers = []
            for _ in range(3):
                peers.append(listener.accept()[0])
                peers[-1].shutdown(socket.SHUT_WR)
        m.ra.wait_said("before HELLO")
        expect(m.ra.said().count("before HELLO") == 1, m.ra.said())
        expect(m.ra.end() == 0, "exit status")
        for peer in peers:
            peer.close()


class Names:
    """What a host knows of names, beside what its name server says."""

    # Nobody has it: what is sent there is lost.
    SERVER = "192.0.2.53"

    def __init__(self, host, hosts=""):
        self.host = host
        self.dir = f"/etc/netns/{host}"
        os.makedirs(self.dir)
        self.write("resolv.conf", f"nameserver {self.SERVER}\n"
                   "options timeout:30 attempts:5\n")
        self.write("nsswitch.conf", "hosts: files dns\n")
        self.write("hosts", hosts)
        ip(host, f"route add {self.SERVER} dev mgmt",
           f"neigh add {self.SERVER} lladdr 02:00:00:00:00:53 dev mgmt")

    def write(self, name, text):
        # It is mounted on the file of the other hosts.
        for path in (f"/etc/{name}", f"{self.dir}/{name}"):
            with open(path, "a", encoding="ascii"):
                pass
        with open(f"{self.dir}/{name}", "w", encoding="ascii") as f:
            f.write(text)

    def asks(self):
        peer = socket.inet_aton(self.SERVER)[::-1].hex().upper()
        return peer + ":0035" in run(
            *in_netns(self.host, "cat", "/proc/net/udp")).stdout

    def close(self):
        ip(self.host, f"neigh del {self.SERVER} dev mgmt",
           f"route del {self.SERVER} dev mgmt")
        shutil.rmtree(self.dir)


@case
def plain_tcp_with_insecure():
    with Move() as m:
        m.add(Names("hostA", "10.9.0.2 relay-b.test\n"))
        m.source_up()
        m.standby_up()
        m.rb = m.relay("hostB", "--listen", "tcp:10.9.0.2:7707",
                       "--insecure")
        m.ra = m.relay("hostA", "--connect", "tcp:relay-b.test:7707",
                       "--insecure", "--linger", "500")
        moved(m)
        checked(m, "none, plain TCP")


@case
def a_name_server_that_does_not_answer():
    with Move() as m:
        names = m.add(Names("hostA"))
        m.ra = m.relay("hostA", "--connect", "tcp:relay-b.test:7707",
                       "--insecure")
        wait_for(names.asks, "a question to the name server")
        # For so long nothing else must wait: it would be stuck.
        m.source_up()
        m.ra.wait_said("source, armed")
        expect(names.asks(), "nobody asks any more")
        expect(m.ra.end(signal.SIGTERM) == 0, "exit status")
        wait_for(lambda: not names.asks(), "the end of who asks")


# --- TLS -----------------------------------------------------------------------------

PKI = os.path.join(HERE, "pki")
ADDRESS = "tcp:10.9.0.2:7708"


def tls_relays(m, listener, connector):
    m.rb = m.relay("hostB", "--listen", ADDRESS, *listener)
    m.ra = m.relay("hostA", "--connect", ADDRESS, "--linger", "500",
                   *connector)


@case
def tls_with_certificates():
    creds = ("--tls-creds", PKI)
    with Move() as m:
        m.source_up()
        m.standby_up()
        tls_relays(m, creds, creds)
        moved(m)
        checked(m, "none, TLS with certificates")


@case
def tls_with_a_key():
    with Move() as m:
        m.source_up()
        m.standby_up()
        keys = m.path("keys.psk")
        with open(keys, "w", encoding="ascii") as f:
            f.write("relay:" + os.urandom(32).hex() + "\n")
        psk = ("--tls-psk", keys, "--tls-user", "relay")
        tls_relays(m, ("--tls-psk", keys), psk)
        moved(m)
        checked(m, "none, TLS with a shared key")


def refused(listener, connector, fault, by_client=None):
    """Neither hold learns of the peer, and both relays go on."""
    with Move() as m:
        m.source_up()
        m.standby_up()
        tls_relays(m, listener, connector)
        if by_client:
            m.ra.wait_said(by_client)
        else:
            m.rb.wait_said("TLS", "ertificate")
        m.stop()
        m.sender.frames(200)
        for v in (m.a, m.b):
            flags = holds(v.netns, "id", str(v.id))[0]["flags"]
            expect("peer" not in flags, f"{v.netns}: {flags}")
        expect(not m.b.info()["imported"], "something was imported")
        expect(m.rb.alive(), "the listener has ended")
        m.ra.kill()
        # The next one is taken.
        good = listener if "--tls-creds" in listener else ()
        m.ra = m.relay("hostA", "--connect", ADDRESS, "--linger", "500",
                       *good)
        m.paired()
        m.sender.frames(500)
        m.start()
        m.in_step()
        m.sender.frames(100)
        checked(m, fault)


@case
def tls_of_another_authority_is_refused():
    """The client does not trust the server."""
    other = ("--tls-creds", os.path.join(PKI, "other"))
    refused(("--tls-creds", PKI), other, "a peer of another authority first",
            by_client="ertificate")


@case
def tls_client_of_another_authority_is_refused():
    """The server does not trust the client."""
    mixed = ("--tls-creds", os.path.join(PKI, "mixed"))
    refused(("--tls-creds", PKI), mixed,
            "a peer with a foreign certificate first")


@case
def no_tls_to_a_tls_listener_is_refused():
    refused(("--tls-creds", PKI), ("--insecure",),
            "a peer without TLS first")


@case
def server_of_another_name_is_refused():
    with Move() as m:
        m.source_up()
        m.standby_up()
        creds = ("--tls-creds", PKI)
        tls_relays(m, creds, (*creds, "--tls-hostname", "elsewhere.example"))
        m.ra.wait_said("elsewhere.example", "ertificate")
        m.stop()
        m.sender.frames(200)
        flags = holds("hostA", "id", str(m.a.id))[0]["flags"]
        expect("peer" not in flags, f"{flags}")
