#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Measures live migrations, one after the other.

    bench.py DONE.jsonl RUNS WARMUPS RATE

Runs in the VM. DONE has what was measured before. Prints a line "run: JSON" for
each migration. The probes go to the card with four queues.
"""

import json
import re
import sys
import time

import migration
import rig
from qmp import Failure
from rig import NETS, other

TRACING = "/sys/kernel/tracing"
# One card of the guest has probes; this many before and after the migration.
PROBED = 0
BEFORE, AFTER = 50, 100
# The ioctls of QEMU that are between its stop and its start elsewhere.
MAGIC = 0xb7
IN_DOWNTIME = {0x42: "prepare", 0x43: "freeze", 0x44: "thaw"}
IOCTL = re.compile(r"-(\d+) +\[\d+\].* (\d+\.\d+): sys_ioctl"
                   r"(?:\(fd: \w+, cmd: (\w+)| -> )")
# At the end of a freeze, when the guest runs already: how long it had to wait,
# for the relay above all, and for how long nobody could send to it.
THAWED = re.compile(r": tapmig_thaw: .* wait_ns=(\d+) locked_ns=(\d+)$")
EVENTS = ("syscalls/sys_enter_ioctl", "syscalls/sys_exit_ioctl",
          "tapmig/tapmig_thaw")


def tracefs(name, text):
    with open(f"{TRACING}/{name}", "w") as f:
        f.write(text)


def start_tracing():
    tracefs("tracing_on", "0")
    tracefs("trace", "")
    for event in EVENTS:
        tracefs(f"events/{event}/enable", "1")
    tracefs("tracing_on", "1")


def traced_us(hold):
    """
    How long our ioctls took, in all, each kind; what it was to wait and to be
    locked, of the holds that took longest. What was not seen did not take no
    time.
    """
    tracefs("tracing_on", "0")
    began, took = {}, {}
    with open(f"{TRACING}/trace") as f:
        for line in f:
            match = THAWED.search(line)
            if match:
                for what, ns in zip(("wait", "locked"), match.groups()):
                    took[what] = max(took.get(what, 0), round(int(ns) / 1e3))
                continue
            match = IOCTL.search(line)
            if not match:
                continue
            task, at, command = match.groups()
            if command is None:
                what, then = began.pop(task, (None, None))
                if what:
                    took[what] = took.get(what, 0) + \
                        round((float(at) - then) * 1e6)
                continue
            number = int(command, 16)
            if number >> 8 & 0xff == MAGIC and number & 0xff in IN_DOWNTIME:
                began[task] = IN_DOWNTIME[number & 0xff], float(at)
            else:
                began.pop(task, None)
    wanted = {*IN_DOWNTIME.values(), "wait", "locked"} if hold == "on" \
        else set()
    if set(took) != wanted:
        raise Failure(f"traced: {sorted(took)} instead of {sorted(wanted)}")
    return took


class Bench(migration.Rows):
    def __init__(self, rate):
        super().__init__()
        self.rate = rate

    def relay_result(self, lines):
        pass

    def one(self, hold):
        """A migration to the other host under probes: what was measured."""
        source = self.qemu
        if hold == "on":
            self.start_relays(other(source.host))
        q = self.destination(hold)
        self.traffic.begin()
        self.traffic.wait(BEFORE)
        start_tracing()
        self.connect(q, pause=False)
        q.wait("RESUME")
        self.traffic.wait(AFTER)
        self.arrived(q, hold)
        result = self.traffic.stop()[0]
        self.end_relays(wait=True)
        took = traced_us(hold)
        if not result["reported"]:
            raise Failure("the guest does not answer")
        for complaint in migration.dropped_by_rig(result):
            raise Failure(complaint)
        counts = result["unicast"]
        return {"downtime_ms": self.downtime_ms,
                "longest_gap_ms": result["longest_gap_ms"],
                "interval_ms": result["interval_us"] / 1000,
                **counts, "echoes_lost": result["echo"]["lost"],
                "took_us": took, "freeze_us": sum(took.values())}

    def series(self, kind, hold, warmups, runs):
        """Of one kind; a migration that fails is not counted."""
        if not runs:
            return
        if self.qemu and self.hold != hold:
            self.move(hold)
        failures = 0
        done = -warmups
        while done < runs:
            try:
                if not self.qemu:
                    self.boot(hold)
                measured = self.one(hold)
            except Failure as e:
                self.say(f"{kind}: {e}")
                failures += 1
                self.failed += 1
                self.give_up()
                if failures > 3:
                    return
                continue
            done += 1
            if done > 0:
                print("run: " + json.dumps(
                    {"kind": kind, "rate": self.rate, **measured}),
                    flush=True)

    def boot(self, hold):
        self.traffic = self.traffic or rig.Traffic([PROBED], self.rate,
                                                   probes=True)
        super().boot(hold)


def main():
    path, runs, warmups, rate = sys.argv[1], *map(int, sys.argv[2:])
    with open(path) as f:
        done = [r["kind"] for r in map(json.loads, f)
                if r["rate"] == rate and "took_us" in r]
    rig.topology()
    bench = Bench(rate)
    start = time.monotonic()
    for vhost in "on", "off":
        for net in NETS:
            net["vhost"] = vhost == "on"
        for name, hold in ("stock", "off"), ("tapmig", "on"):
            kind = f"{name} vhost={vhost}"
            bench.series(kind, hold, warmups,
                         max(0, runs - done.count(kind)))
        if bench.qemu:
            bench.qemu.quit()
            bench.qemu = None
    bench.say(f"all in {time.monotonic() - start:.0f} s")
    return 1 if bench.failed else 0


if __name__ == "__main__":
    sys.exit(main())
