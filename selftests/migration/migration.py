#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""A guest migrates between two hosts, over and over, under traffic.

    migration.py [pair|crossed|stock] [ROW...]

Runs in the VM, prints KTAP: for each row a case for each of the guest's
network cards. One boot of the guest serves all rows. What was counted goes to
/run/out/migration.json. With "pair", host B is in another VM; with "crossed",
vhost-net is at the card with one queue; with "stock", QEMU is one without our
patches, and the rows are those that want nothing of them.
"""

import copy
import json
import os
import sys
import time

import hosts
import rig
from hosts import REMOTE, TIMEOUT, Failure
from rig import FLOODED, HOST_ADDRESS, KINDS, NETS, other, tapmig

OUT = "/run/out"
PORT = 4444
# Frames that are sent before, during and after the stop, in each network.
BEFORE, STOPPED, AFTER = 20, 80, 60
# During a stop of 20 seconds.
LONG_STOPPED = 20 * rig.RATE
# The largest frame without offloads.
FRAME = 1514
# At a row, while the guest has forgotten what it had counted.
ATTEMPTS = 3
# A guest that has booted already; where to leave one.
STATE = "./guest-state"
SAVE_STATE = os.environ.get("SAVE_STATE")


class Rows:
    def __init__(self):
        self.guest = rig.Guest("./qemu/qemu-system-x86_64")
        self.traffic = None
        self.qemu = None
        self.hold = None
        self.port = PORT
        self.case = 0
        self.failed = 0
        self.results = {}
        self.start = time.monotonic()
        self.others = []
        self.relays = None
        self.downtime_ms = None
        # Of each network: what was held of its flows, see rig.held().
        self.held = [{} for _ in NETS]
        # Bytes of the largest frame that was held in any row.
        self.largest = [0 for _ in NETS]
        # Queue of a flow, as far as seen: by host, network, flow.
        self.queues = {}
        # In each network: frames sent when the guest ran at the destination,
        # and how many were sent while there was nobody to read them.
        self.ran_at = self.stopped_frames = [0 for _ in NETS]

    def say(self, text):
        print(f"# {time.monotonic() - self.start:6.1f} s  {text}", flush=True)

    # The guest's way between the hosts

    def boot(self, hold):
        """Start the guest on host A."""
        self.say(f"the guest boots, migration-hold={hold}")
        self.qemu = self.guest.boot("hostA", hold, STATE)
        self.hold = hold
        if SAVE_STATE and hold in (None, "off"):
            self.qemu.save(SAVE_STATE)
        if not self.traffic:
            self.traffic = rig.Traffic()

    def destination(self, hold, host=None, fds=None, extra=()):
        """A QEMU that waits for the guest."""
        host = host or other(self.qemu.host)
        q = self.guest.start(host, hold=hold, fds=fds, extra=extra)
        self.others.append(q)
        self.say(f"{q.name} waits on {host}")
        return q

    def start_relays(self, destination):
        self.port += 1
        self.relays = rig.Relays(self.qemu.host, destination, self.port)

    def end_relays(self, wait=False):
        """Where the guest stays, they have nothing to wait for."""
        if not self.relays:
            return
        relays, self.relays = self.relays, None
        with relays:
            if wait:
                self.relay_result(relays.results())
        for line in relays.rest:
            self.say(f"relay: {line}")
            if line.startswith("done "):
                raise Failure(f"the relay has moved what it must not: {line}")

    def connect(self, q, *capabilities, pause=True):
        """Begin to migrate to it."""
        source = self.qemu
        self.port += 1
        uri = f"tcp:{HOST_ADDRESS[q.host]}:{self.port}"
        pauses = ["pause-before-switchover"]
        off = [] if pause else pauses
        if not capabilities:
            off.append("postcopy-ram")
        source.capabilities(*pauses if pause else [], *capabilities, off=off)
        q.capabilities(*capabilities)
        q.command("migrate-incoming", uri=uri)
        source.events.clear()
        source.command("migrate", uri=uri)

    def reach_stop(self):
        """The guest is stopped; how many frames were sent just before."""
        bad = ("failed", "cancelled")
        self.qemu.wait("MIGRATION", "active", bad=bad)
        if self.postcopy:
            self.qemu.command("migrate-start-postcopy")
        before = self.traffic.wait(1)
        self.qemu.wait("MIGRATION", "pre-switchover", bad=bad)
        self.say(f"the guest is stopped, {before} frames")
        return before

    def go_on(self):
        self.qemu.command("migrate-continue", state="pre-switchover")

    def arrived(self, q, hold):
        """The guest is there: its old QEMU ends."""
        for end in self.qemu, q:
            end.wait_migration("completed")
        self.downtime_ms = self.qemu.command("query-migrate")["downtime"]
        self.say("the migration is complete")
        self.qemu.quit()
        self.others.remove(q)
        self.qemu, self.hold = q, hold

    def move(self, hold):
        """Without traffic, to a QEMU with that property."""
        self.say(f"the guest moves to a QEMU with migration-hold="
                 f"{hold}")
        source = self.qemu.host
        q = self.destination(hold)
        self.postcopy = False
        self.connect(q)
        self.qemu.wait("MIGRATION", "pre-switchover",
                       bad=("failed", "completed"))
        self.go_on()
        q.wait("RESUME")
        self.arrived(q, hold)
        discard_all(source)

    def give_up(self):
        """After a row that has failed half-way."""
        for q in [*self.others, self.qemu]:
            if q:
                q.kill()
        self.others = []
        self.qemu = None
        try:
            self.end_relays()
        except Failure as e:
            self.say(str(e))
        if self.traffic:
            self.traffic.end()
            self.traffic = None
        for host in rig.HOSTS:
            try:
                discard_all(host)
            except Failure as e:
                self.say(str(e))

    # Verdicts

    def relay_result(self, lines):
        for line in lines:
            print(f"#   relay: {line}")
        all_moved(lines)

    def counts(self, name, results):
        for n, (net, r) in enumerate(zip(NETS, results)):
            text = f"{name}, {rig.card_name(net)}:"
            for kind in KINDS:
                c = r[kind]
                text += (f" {kind} {c['sent']} sent {c['lost']} lost "
                         f"{c['duplicated']} twice {c['reordered']} late;")
            text += (f" echo {r['echo']['lost']}/{r['echo']['sent']} lost;"
                     f" ping {r['ping']['lost']}/{r['ping']['sent']} lost;"
                     f" stream {r['stream']['bytes']} B "
                     f"{'intact' if r['stream']['intact'] else 'DAMAGED'};"
                     f" longest gap {r['longest_gap_ms']} ms;"
                     f" in the guest {r['guest']['queued'] >> 10} KiB waited,"
                     f" {r['guest']['dropped']} dropped,"
                     f" {r['guest']['stale']} of another run")
            print(f"# {text}")
            for flow, (sent, *bad, latest, missing) in enumerate(r["flows"]):
                if r["reported"] and any(bad):
                    print(f"#   flow {flow}: {sent} sent, {bad[0]} lost, from "
                          f"{missing}, {bad[1]} twice, {bad[2]} late, up to "
                          f"{latest}; held: {self.held[n].get(flow)}, of all: "
                          f"{rig.first_unicast(self.held[n])}")

    def table(self):
        """What became of the frames, stock and with holds."""
        print(f"# {'':50}  sent  lost twice  late")
        for name, results in self.results.items():
            for net, r in zip(NETS, results):
                print(f"# {f'{name}, {rig.card_name(net)}':50}" + "".join(
                    f"{total(r, what):6}" for what in
                    ("sent", "lost", "duplicated", "reordered")))
        sys.stdout.flush()

    def say_drops(self, before):
        """What the network has lost before a TAP is nobody's loss there.

        It drops announcements where nobody wants them, too.
        """
        for where, n in rig.network_drops().items():
            if n != before.get(where, 0):
                print(f"#   {where}: {n - before.get(where, 0)} dropped")

    def verdict(self, name, net, complaints):
        self.case += 1
        text = f"{self.case} {name}, {rig.card_name(NETS[net])}"
        for c in complaints:
            print(f"# {c}")
        if complaints:
            self.failed += 1
        print(f"{'not ok' if complaints else 'ok'} {text}", flush=True)

    def row(self, name, source_hold, function):
        """Run it; verdicts for all networks."""
        before = time.monotonic()
        for left in reversed(range(ATTEMPTS)):
            shown, complaints, fault = self.run(name, source_hold, function)
            if not fault or not left:
                break
            for c in sum(complaints, []):
                print(f"# {c}")
            print("# that says nothing of what has arrived: QEMU, emulated, "
                  "has not moved all memory of the guest; once more")
        for n in range(len(NETS)):
            self.verdict(shown, n, complaints[n])
        self.say(f"{shown}: took {time.monotonic() - before:.1f} s")
        with open(f"{OUT}/migration.json", "w") as f:
            json.dump(self.results, f, indent=1)

    def run(self, name, source_hold, function):
        """(name, complaints, whether all these are of the guest's memory)."""
        complaints = [[] for _ in NETS]
        shown = name
        fault = False
        self.postcopy = False
        self.judge = whole
        self.held = [{} for _ in NETS]
        self.stopped_frames = [0 for _ in NETS]
        try:
            if not self.qemu:
                self.boot(source_hold)
            elif self.hold != source_hold:
                self.move(source_hold)
            if REMOTE:
                shown += f", {hosts.kernel(self.qemu.host)} to " \
                    f"{hosts.kernel(other(self.qemu.host))}"
            self.say(f"{shown}: the guest is on {self.qemu.host}")
            drops = rig.network_drops()
            self.traffic.begin()
            self.traffic.wait(BEFORE)
            failure = None
            try:
                complaints = function(self)
            except Failure as e:
                failure = e
            results = self.traffic.stop()
            self.say("all has arrived")
            self.results[shown] = results
            self.counts(shown, results)
            if any(total(r, "lost") for r in results):
                self.say_drops(drops)
            for n, r in enumerate(results):
                complaints[n] += dropped_by_rig(r)
            fault = not (failure or any(complaints)) and \
                any(forgotten(r) or r["stream"]["forgotten"]
                    for r in results) and \
                not any(self.judge(n, remembered(r))
                        for n, r in enumerate(results))
            for n, r in enumerate(results):
                complaints[n] += self.judge(n, r)
            if failure:
                raise failure
        except Failure as e:
            for c in complaints:
                c.append(str(e))
            self.give_up()
        return shown, complaints, fault and any(complaints)


def discard_all(host):
    """Without a relay they are kept for minutes, with labels used again."""
    for h in rig.holds(host):
        tapmig(host, "discard", "id", str(h["id"]))


def dropped_by_rig(r):
    """
    Complaints of frames that a socket or a card of the rig itself has dropped.
    They are among the lost, so nothing that is said of loss holds then.
    """
    return [f"the {who}'s own sockets or cards have dropped "
            f"{r[who]['dropped']} frames: the rig is at fault"
            for who in ("guest", "client") if r[who]["dropped"]]


def all_moved(lines):
    """
    By what the relays say, all that was held has come to the other host. The
    guest alone does not show it: what TCP loses is sent anew.
    """
    packets = {"source": [], "standby": []}
    for line in lines:
        result, role, *words = line.split()
        said = dict(zip(words[::2], words[1::2]))
        if result != "done" or said["dropped"] != "0" or said["refused"] != "0":
            raise Failure(f"the relay of the {role} has lost some: {line}")
        packets[role].append((said["label"], int(said["packets"])))
    here, there = (sorted(p) for p in packets.values())
    if here != there:
        raise Failure(f"the source has moved {here}, the standby got {there}")


def total(r, what):
    return sum(r[kind][what] for kind in KINDS)


def forgotten(r):
    """
    Frames that the guest has counted, and no longer knows of which flow; less
    than none, if it is the count that was not moved.
    """
    known = sum(sent - lost + twice for sent, lost, twice, *_ in r["flows"])
    return r["guest"]["counted"] - known


def remembered(r):
    """
    The same, if what is missing is what the guest has forgotten. The thread of
    an emulated processor can be held up between its look whether a page is
    noted as written and the write, or the entry of its TLB for many writes:
    they are not noticed then, and not moved. If the count itself was not, it
    cannot tell how many frames the guest had also known in that page.
    """
    r = copy.deepcopy(r)
    r["stream"]["intact"] |= r["stream"]["forgotten"]
    gone = forgotten(r)
    if not r["reported"] or (gone >= 0 and total(r, "lost") != gone):
        return r
    for kind in KINDS:
        r[kind]["lost"] = 0
    r["guest"]["counted"] -= gone
    return r


def whole(n, r, may=()):
    """What is wrong, where nothing but that may be lost, doubled, late."""
    bad = []
    if not r["reported"]:
        return ["the guest does not answer"]
    if not r["ended"]:
        bad.append("not all flows came to their end")
    for kind in KINDS:
        for what in ("lost", "duplicated", "reordered"):
            if r[kind][what] and f"{kind} {what}" not in may:
                bad.append(f"{kind}: {r[kind][what]} {what}")
    if forgotten(r):
        bad.append(f"the guest has counted {forgotten(r)} more than it knows "
                   "of all flows: not all of its memory was moved")
    if r["guest"]["damaged"]:
        bad.append(f"{r['guest']['damaged']} frames came damaged")
    if not r["stream"]["intact"]:
        bad.append("the stream is not intact" +
                   (", by one of the guest's two digests: not all of its "
                    "memory was moved" if r["stream"]["forgotten"] else ""))
    for what in ("echo", "ping"):
        if r[what]["lost"] and what not in may:
            bad.append(f"{what}: {r[what]['lost']} not answered")
    return bad


def must_lose(n, r):
    """What is wrong, where the stock kernel must have shown its loss."""
    if not r["reported"]:
        return ["the guest does not answer"]
    return [] if r["unicast"]["lost"] else \
        ["nothing was lost: nothing is shown"]


def all_delivered(n, r):
    """
    The same of what goes to the guest. It runs for a while without hearing
    anything, such as the client's address: it may have to drop its answers.
    """
    return whole(n, r, ("echo", "ping"))


def recorded(n, r):
    """It is shown what the stock kernel does; it need not be bad."""
    return [] if r["reported"] else ["the guest does not answer"]


def whole_but_in_the_guest(rows):
    """
    Two hosts spread flows over queues in different ways. What vhost-net had
    put into the guest's ring of one queue before it was stopped, and the guest
    had not taken yet, can be overtaken there, in the guest, by what comes
    through the ring of another queue later: such a frame has a number below
    all that were held of its flow, and the flow has different queues. All
    others have to be in order.
    """
    here, there = rows.qemu.host, other(rows.qemu.host)

    def in_the_guest(n, flow, latest):
        held = rows.held[n].get(flow)
        then = rows.queues.get((there, n, flow))
        return held and latest < held.first and NETS[n]["queues"] > 1 and \
            held.queue != then

    def judge(n, r):
        bad = whole(n, r, [f"{kind} reordered" for kind in KINDS])
        overtaken = 0
        for flow, (_, _, _, count, latest, _) in enumerate(r["flows"]):
            if count and in_the_guest(n, flow, latest):
                overtaken += count
            elif count:
                bad.append(f"flow {flow}: {count} reordered, up to {latest}; "
                           f"held {rows.held[n].get(flow)}")
        if overtaken:
            rows.say(f"{rig.card_name(NETS[n])}: {overtaken} that were with "
                     f"the guest when it left {here} were overtaken there")
        return bad
    return judge


# Rows

def nothing():
    return [[] for _ in NETS]


def all_queues(rows, host):
    """What is wrong: frames must be held at all queues of each card."""
    complaints = nothing()
    for n, net in enumerate(NETS):
        queues, rows.held[n], size = rig.held(host, n)
        rows.largest[n] = max(rows.largest[n], size)
        for flow, held in rows.held[n].items():
            rows.queues[host, n, flow] = held.queue
        rows.say(f"{rig.card_name(net)}: frames are held at queues "
                 f"{sorted(queues)}, up to {size} bytes")
        if queues != set(range(net["queues"])):
            complaints[n].append(f"only queues {sorted(queues)} hold frames")
    return complaints


def both_hosts(rows):
    """
    The same, and what is flooded must be held here and there: that each is
    delivered once shows nothing otherwise. What is held here up to one number
    and there up to a higher one was held twice.
    """
    here = rows.qemu.host
    complaints = all_queues(rows, here)
    for n, held in enumerate(rows.held):
        _, there, _ = rig.held(other(here), n)
        for kind, flow in FLOODED.items():
            if flow not in held or flow not in there or \
               there[flow].last < held[flow].first:
                complaints[n].append(
                    f"no {kind} was held twice: here {held.get(flow)}, there "
                    f"{there.get(flow)}")
    return complaints


def ordinary(rows, hold, relay=True, extra=(), stopped=STOPPED):
    """A migration with a stop of so many frames."""
    complaints = nothing()
    source = rows.qemu
    if hold == "on" and relay:
        rows.start_relays(other(source.host))
    q = rows.destination(hold, extra=extra)
    rows.connect(q, *["postcopy-ram"] if rows.postcopy else [])
    rows.reach_stop()
    rows.traffic.wait(stopped)
    if hold == "on":
        complaints = both_hosts(rows)
    rows.go_on()
    if "-S" in extra:
        source.wait_migration("completed")
        rows.say("complete, but it does not run yet")
        rows.traffic.wait(STOPPED)
        q.command("cont")
    q.wait("RESUME")
    # The event comes first. When this is answered, it is announced too.
    q.command("query-status")
    rows.say(f"it runs on {q.host}")
    rows.ran_at = rows.traffic.wait(1)
    rows.say(f"{rows.ran_at} frames were sent")
    rows.traffic.wait(AFTER)
    rows.arrived(q, hold)
    rows.end_relays(wait=True)
    return complaints


def baseline_precopy(rows):
    rows.judge = must_lose
    return ordinary(rows, "off")


def baseline_postcopy(rows):
    rows.judge = must_lose
    rows.postcopy = True
    return ordinary(rows, "off")


def baseline_cancel(rows):
    rows.judge = recorded
    return cancel(rows)


def baseline_started_later(rows):
    rows.judge = recorded
    return started_later(rows)


def precopy(rows, stopped=STOPPED):
    if REMOTE:
        rows.judge = whole_but_in_the_guest(rows)
    return ordinary(rows, "on", stopped=stopped)


def long_stop(rows):
    """All that came meanwhile reaches the guest at once."""
    return precopy(rows, LONG_STOPPED)


def postcopy(rows):
    rows.postcopy = True
    return ordinary(rows, "on")


def started_later(rows):
    """-S: the management lets it run seconds after the migration."""
    return ordinary(rows, rows.hold, extra=["-S"])


def relay_absent(rows):
    """
    Not worse than stock: of what is sent to the guest, that is lost which came
    to the source from the first held frame on, until the guest ran elsewhere.
    What was flooded is at the destination as well, and of what came before the
    stop, which the guest has seen, nobody there knows.
    """
    source = rows.qemu.host
    at_most = at_most_stopped(
        rows, *(f"{kind} duplicated" for kind in FLOODED))

    def judge(n, r):
        bad = at_most(n, r)
        for kind, flow in FLOODED.items():
            held = rows.held[n].get(flow)
            first = held.first if held else 0
            if r[kind]["duplicated"] > first:
                bad.append(f"{kind}: {r[kind]['duplicated']} duplicated, of "
                           f"{first} that came before the stop")
        return bad
    rows.judge = judge
    complaints = ordinary(rows, "on", relay=False)
    for n, at in enumerate(rows.ran_at):
        seq, flow = rig.first_unicast(rows.held[n]) or (at, 0)
        rows.stopped_frames[n] = max(
            0, at - at // rig.FLOODED_EACH - (seq * rig.UNICAST_FLOWS + flow))
    discard_all(source)
    return complaints


def at_most_stopped(rows, *may):
    """
    The same as whole(), but what came while nobody could read it is lost, and
    its echoes. So are pings.
    """
    def judge(n, r):
        bad = whole(n, r, ("unicast lost", "echo", "ping", *may))
        lost, sent = total(r, "lost"), rows.stopped_frames[n]
        if lost > sent:
            bad.append(f"{lost} lost, of {sent} that were sent meanwhile")
        asked = sum(lost for _, lost, *_ in
                    r["flows"][:rig.UNICAST_FLOWS:rig.ECHOED_EACH])
        if r["echo"]["lost"] > asked:
            bad.append(f"echo: {r['echo']['lost']} not answered, of {asked} "
                       "that were lost")
        return bad
    return judge


def back_at_the_source(rows, q):
    """The guest runs where it was; the other QEMU is of no use any more."""
    rows.qemu.wait("RESUME")
    rows.say("it runs on, where it was")
    q.kill()
    rows.others.remove(q)
    rows.traffic.wait(AFTER)
    rows.end_relays()


def held_in_switchover(rows):
    """The guest is stopped, frames are held: the other QEMU, complaints."""
    complaints = nothing()
    if rows.hold == "on":
        rows.start_relays(other(rows.qemu.host))
    q = rows.destination(rows.hold)
    rows.connect(q)
    rows.reach_stop()
    rows.traffic.wait(STOPPED)
    if rows.hold == "on":
        complaints = both_hosts(rows)
    rows.qemu.events.clear()
    return q, complaints


def cancel(rows):
    """In the middle of the switchover."""
    q, complaints = held_in_switchover(rows)
    rows.qemu.command("migrate_cancel")
    back_at_the_source(rows, q)
    return complaints


def destination_dies(rows):
    """Before the guest runs there."""
    q, complaints = held_in_switchover(rows)
    q.kill()
    rows.go_on()
    back_at_the_source(rows, q)
    return complaints


def paused(rows):
    """The user had paused the guest before."""
    source = rows.qemu
    source.command("stop")
    rows.traffic.wait(STOPPED // 2)
    rows.start_relays(other(source.host))
    q = rows.destination("on")
    rows.connect(q)
    rows.reach_stop()
    rows.traffic.wait(STOPPED // 2)
    complaints = both_hosts(rows)
    rows.go_on()
    source.wait_migration("completed")
    q.wait_migration("completed")
    rows.traffic.wait(STOPPED // 2)
    q.command("cont")
    q.wait("RESUME")
    rows.say(f"it runs on {q.host}")
    rows.traffic.wait(AFTER)
    rows.arrived(q, "on")
    rows.end_relays(wait=True)
    return complaints


def local(rows):
    """To another QEMU on the same host, with the same queues."""
    source = rows.qemu
    before = rig.tap_features(source.host)
    fds = [rig.tap_queues(source.pid, f"tap{n}") for n in range(len(NETS))]
    q = rows.destination("local", host=source.host, fds=fds)
    for fd in [fd for net in fds for fd in net]:
        os.close(fd)
    rows.connect(q)
    rows.reach_stop()
    rows.traffic.wait(STOPPED)
    # All of them would have had room in the queues as well.
    complaints = all_queues(rows, source.host)
    rows.go_on()
    q.wait("RESUME")
    rows.say("it runs in the other QEMU")
    rows.traffic.wait(AFTER)
    rows.arrived(q, "local")
    for n, after in enumerate(rig.tap_features(q.host)):
        if "tx-tcp-segmentation: on" not in before[n]:
            complaints[n].append("the guest takes no offloads")
        for line in sorted(before[n] ^ after):
            complaints[n].append(f"of one only: {line}")
    return complaints


def hooks_freeze(rows):
    """
    Holds made by a program at the monitor; QEMU knows nothing of them. The
    other QEMU, the two programs, complaints.
    """
    source = rows.qemu
    rows.start_relays(other(source.host))
    # Until it is frozen, its QEMU would read what comes.
    rig.taps_down(other(source.host))
    q = rows.destination("off")
    there = rig.Hook("destination", q)
    there.wait("up")
    # Under emulation what is left takes longer, and a look, too.
    here = rig.Hook("source", source, "--patience", str(TIMEOUT),
                    "--early", "5")
    here.wait("ready")
    rows.connect(q)
    here.wait("frozen")
    rows.reach_stop()
    rows.traffic.wait(STOPPED)
    return q, here, there, both_hosts(rows)


def unpatched(rows):
    rows.judge = all_delivered
    q, here, there, complaints = hooks_freeze(rows)
    rows.go_on()
    q.wait("RESUME")
    there.wait("thawed")
    rows.say(f"it runs on {q.host}")
    rows.traffic.wait(AFTER)
    here.wait("completed")
    rows.arrived(q, "off")
    rows.end_relays(wait=True)
    here.end()
    there.end()
    return complaints


def unpatched_cancel(rows):
    rows.judge = all_delivered
    q, here, there, complaints = hooks_freeze(rows)
    rows.qemu.events.clear()
    rows.qemu.command("migrate_cancel")
    here.wait("thawed")
    back_at_the_source(rows, q)
    here.end(1)
    there.end(1)
    return complaints


def large_frames(rows):
    """
    In some row at least a frame was held that only a guest with offloads gets.
    One that is slow has not answered yet to what came before it was stopped:
    then no more is sent to it, so not in each.
    """
    for n, size in enumerate(rows.largest):
        rows.verdict("large-frames", n, [] if size > FRAME else
                     [f"none that was held has more than {size} bytes"])


ROWS = {
    "baseline-precopy": ("off", baseline_precopy),
    "baseline-postcopy": ("off", baseline_postcopy),
    "baseline-cancel": ("off", baseline_cancel),
    "baseline-started-later": ("off", baseline_started_later),
    "unpatched": ("off", unpatched),
    "unpatched-cancel": ("off", unpatched_cancel),
    "precopy": ("on", precopy),
    "long-stop": ("on", long_stop),
    "postcopy": ("on", postcopy),
    "cancel": ("on", cancel),
    "destination-dies": ("on", destination_dies),
    "started-later": ("on", started_later),
    "paused": ("on", paused),
    "relay-absent": ("on", relay_absent),
    "local": ("on", local),
}
# There, and back.
PAIR_ROWS = ("precopy", "long-stop")
STOCK_ROWS = [name for name, (hold, _) in ROWS.items() if hold == "off"]


def main():
    wanted = sys.argv[1:]
    stock = wanted[:1] == ["stock"]
    if wanted[:1] == ["pair"]:
        REMOTE["hostB"] = ("./remote.py",)
        wanted = wanted[1:] or PAIR_ROWS
    elif wanted[:1] == ["crossed"]:
        rig.cross()
        wanted = wanted[1:]
    elif stock:
        wanted = wanted[1:] or STOCK_ROWS
        patched = [name for name in wanted if name not in STOCK_ROWS]
        if patched:
            sys.exit(f"stock: not without the patches: {', '.join(patched)}")
    wanted = wanted or list(ROWS)
    all_rows = wanted == list(ROWS)
    print("KTAP version 1")
    print(f"1..{(len(wanted) + all_rows) * len(NETS)}", flush=True)
    rig.topology()
    rows = Rows()
    rows.guest.can_hold = not stock
    for name in wanted:
        hold, function = ROWS[name]
        rows.row(name, hold, function)
    if rows.qemu:
        rows.qemu.quit()
    rows.table()
    if all_rows:
        large_frames(rows)
    return 1 if rows.failed else 0


if __name__ == "__main__":
    sys.exit(main())
