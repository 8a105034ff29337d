#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Put the figures of the benchmarks into a table and a JSON file.

    report.py JSON TCG.tsv UML.tsv
"""

import json
import os
import sys

ROWS = [
    ("Capture, one sender, 60 bytes", [
        ("capture/ring", "held / stock ring"),
        ("capture/ring-qdisc", "the same, sent through the qdisc"),
        ("capture/plug", "held / plug qdisc"),
        ("capture/reader", "sender: held / ring with a read() loop"),
        ("capture/reader-all", "sent, thawed, read / sent, read at once"),
    ]),
    ("Thaw of 10,000 frames", [
        ("thaw/ring", "thaw / sending a frame to the stock ring"),
        ("thaw/locked", "ring locked at most"),
        ("thaw/locked-frames", "ring locked, as frames of a sender"),
        ("thaw-load1/locked", "ring locked, a sender goes on"),
        ("thaw-load2/locked", "ring locked, two senders go on"),
    ]),
    ("Export and import / memcpy of the same bytes (time)", [
        ("export60/memcpy", "export, 60 bytes"),
        ("export1514/memcpy", "export, 1514 bytes"),
        ("export60000/memcpy", "export, 60,000 bytes"),
        ("import60/memcpy", "import, 60 bytes"),
        ("import1514/memcpy", "import, 1514 bytes"),
        ("import60000/memcpy", "import, 60,000 bytes"),
    ]),
    ("Relay over loopback / plain TCP of the same bytes (time)", [
        ("relay60/tcp", "60 bytes"),
        ("relay1514/tcp", "1514 bytes"),
        ("relay-tls1514/tcp", "1514 bytes, with TLS"),
        ("relay/in-step", "last frame, thaw / round trip of TCP"),
        ("relay/one-frame", "one frame, until the standby has it"),
    ]),
    ("Frames per second / without the module", [
        ("senders1/loaded", "1 sender, module loaded"),
        ("senders2/loaded", "2 senders, module loaded"),
        ("senders8/loaded", "8 senders, module loaded"),
        ("senders1/armed", "1 sender, hold armed"),
        ("senders2/armed", "2 senders, hold armed"),
        ("senders8/armed", "8 senders, hold armed"),
        ("senders1-nobody/loaded", "1 sender, nobody waits, loaded"),
        ("senders1-nobody/armed", "1 sender, nobody waits, armed"),
    ]),
    ("Cost per frame, many / few (1.0: linear)", [
        (f"linear-{what}/{of}", f"{what}, {name}")
        for of, name in (("100k-10k", "100,000 / 10,000"),
                         ("1M-100k", "1,000,000 / 100,000"),
                         ("2M-1M", "2,000,000 / 1,000,000"),
                         ("large", "gigabytes / a sixteenth"))
        for what in ("capture", "thaw", "read", "export", "import")
    ] + [("linear-locked/1M", "ring locked at most, 1,000,000 frames")]),
]


def load(path):
    """Return the figures of one run."""
    run = {"conditions": {}, "ratios": {}, "values": {}}
    if not os.path.exists(path):
        return run
    with open(path, encoding="utf-8") as file:
        for line in file:
            word = line.rstrip("\n").split("\t")
            if word[0] == "ratio":
                run["ratios"][word[1]] = {
                    "ratio": float(word[2]),
                    "quartiles": [float(word[3]), float(word[4])],
                    "best": float(word[5]),
                    "rounds": int(word[6]),
                    "measured": float(word[7]),
                    "reference": float(word[8]),
                    "unit": word[9],
                }
            elif word[0] == "value":
                run["values"][word[1]] = {
                    "median": float(word[2]),
                    "min": float(word[3]),
                    "max": float(word[4]),
                    "rounds": int(word[5]),
                    "unit": word[6],
                }
            elif word[0] == "text" and word[1] != "time":
                run["conditions"][word[1]] = word[2]
    return run


def cell(run, name):
    """Return a figure as it stands in the table."""
    if name in run["ratios"]:
        r = run["ratios"][name]
        low, high = r["quartiles"]
        if r["rounds"] == 1:
            return f"{r['ratio']:.2f}"
        return f"{r['ratio']:.2f} ({low:.2f}-{high:.2f}) {r['best']:.2f}"
    if name in run["values"]:
        v = run["values"][name]
        if v["unit"] == "ns":
            return f"{v['median'] / 1000:.1f} us (max {v['max'] / 1000:.1f})"
        return f"{v['median']:.1f} {v['unit']}"
    return "-"


def main():
    """Do it."""
    names = ("tcg", "uml")
    runs = {n: load(p) for n, p in zip(names, sys.argv[2:])}
    with open(sys.argv[1], "w", encoding="utf-8") as file:
        json.dump(runs, file, indent=2)
        file.write("\n")

    print()
    print(f"{'':44} {'emulated':>22} {'User Mode Linux':>22}")
    for what in ("kernel", "processors", "memory"):
        conditions = [runs[n]["conditions"].get(what, "-") for n in names]
        print(f"  {what:42} {conditions[0]:>22} {conditions[1]:>22}")
    for title, rows in ROWS:
        shown = [(text, [cell(runs[n], name) for n in names])
                 for name, text in rows]
        if all(c == ["-", "-"] for _, c in shown):
            continue
        print(title)
        for text, (tcg, uml) in shown:
            if (tcg, uml) != ("-", "-"):
                print(f"  {text:42} {tcg:>22} {uml:>22}")
    for what in ("frames", "memory"):
        held = runs["tcg"]["conditions"].get(f"large/{what}")
        if held:
            print(f"  {'large frames held, ' + what:42} {held:>22}")
    print("Medians of all rounds, in brackets the quartiles; then the ratio")
    print("of the best rounds of each. Where few frames fit a cache and many")
    print("do not, each of the many costs more, but no more for even more.")
    print(f"All figures are in {sys.argv[1]}.")


main()
