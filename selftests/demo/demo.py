#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""A guest migrates under traffic, without tapmig and with it: one table.

Runs in the VM; leaves demo.json in /run/out.
"""

import json
import os
import platform
import sys
import time

import migration
import rig
from rig import KINDS, NETS

HALVES = (("stock", "off"), ("tapmig", "on"))
COUNTS = ("lost", "duplicated", "reordered")
# What is shown of each network.
TABLE = (
    ("sent", "frames sent"),
    ("delivered", "delivered"),
    ("lost", "lost"),
    ("duplicated", "doubled"),
    ("reordered", "reordered"),
    ("longest_gap_ms", "longest gap, ms"),
    ("pings_lost", "pings without answer"),
    ("stream", "TCP transfer"),
)


class Demo(migration.Rows):
    """Speaks to people rather than to a test runner."""

    def __init__(self):
        super().__init__()
        self.complaints = []
        self.downtimes = {}

    def say(self, text):
        print(f"  {time.monotonic() - self.start:6.1f} s  {text}", flush=True)

    def counts(self, name, results):
        pass

    def relay_result(self, lines):
        pass

    def verdict(self, name, net, complaints):
        self.complaints += [f"{name}, {rig.card_name(NETS[net])}: {c}"
                            for c in complaints]

    def arrived(self, q, hold):
        super().arrived(q, hold)
        self.downtimes[hold] = self.downtime_ms


def network(r):
    """What became of the frames of one network."""
    counts = {"sent": sum(r[kind]["sent"] for kind in KINDS)}
    for what in COUNTS:
        counts[what] = sum(r[kind][what] for kind in KINDS)
    counts["delivered"] = counts["sent"] - counts["lost"]
    counts["longest_gap_ms"] = r["longest_gap_ms"]
    counts["pings_lost"] = r["ping"]["lost"]
    counts["stream"] = "intact" if r["stream"]["intact"] else "damaged"
    return counts


def half(demo, name, hold):
    """The counts of all networks, and of each."""
    networks = [network(r) for r in demo.results[name]]
    said = {what: sum(n[what] for n in networks)
            for what in ("sent", "delivered", *COUNTS)}
    said["longest_gap_ms"] = max(n["longest_gap_ms"] for n in networks)
    said["downtime_ms"] = demo.downtimes[hold]
    said["networks"] = {rig.card_name(net): n for net, n in zip(NETS, networks)}
    return said


def print_table(halves):
    names = [rig.card_name(net) for net in NETS]
    print(f"\n  {'':21}" + "".join(f" {n:>22}" for n in names))
    print(f"  {'':21}" +
          "".join(f" {'stock':>11} {'tapmig':>10}" for _ in names))
    for what, text in TABLE:
        line = f"  {text:21}"
        for n in names:
            stock, ours = (halves[h]["networks"][n][what] for h, _ in HALVES)
            line += f" {stock:>11} {ours:>10}"
        print(line)
    print("  Both stop the guest for about as long; a gap is between two of its"
          "\n  answers. Frames are unicast, broadcast and multicast.\n")


def main():
    print("\n  Two hosts and a client on a switch; a guest with two network "
          f"cards,\n  traffic at both. Linux {platform.release()}.\n")
    rig.topology()
    demo = Demo()
    for name, hold in HALVES:
        judge = migration.baseline_precopy if hold == "off" else \
            migration.precopy
        demo.row(name, hold, judge)
    if demo.qemu:
        demo.qemu.quit()
    if all(name in demo.results for name, _ in HALVES):
        halves = {name: half(demo, name, hold) for name, hold in HALVES}
        print_table(halves)
        with open(os.path.join(migration.OUT, "demo.json"), "w") as f:
            json.dump(halves, f, indent=2)
            f.write("\n")
    for c in demo.complaints:
        print(f"demo: FAILED: {c}")
    if not demo.complaints:
        print("demo: passed: tapmig lost, doubled and reordered nothing; "
              f"stock lost {halves['stock']['lost']} frames")
    return 1 if demo.complaints else 0


if __name__ == "__main__":
    sys.exit(main())
