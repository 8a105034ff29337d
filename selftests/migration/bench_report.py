#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Put what was measured of migrations into a table, JSON, SVG and PNG.

    bench_report.py RUNS.jsonl RATE OUTPUT

OUTPUT is the name of the files, without .json, .svg and .png.
"""

import json
import math
import statistics
import sys

import matplotlib

matplotlib.use("Agg")
# After the choice of what draws.
import matplotlib.pyplot as plt  # noqa: E402

KINDS = [f"{name} vhost={vhost}" for vhost in ("on", "off")
         for name in ("stock", "tapmig")]
METRICS = (
    ("downtime_ms", "downtime, ms"),
    ("longest_gap_ms", "longest probe gap, ms"),
    ("lost", "frames lost"),
    ("duplicated", "frames doubled"),
    ("reordered", "frames reordered"),
    ("freeze_us", "added by freezing, µs"),
)
COLUMNS = 3
COLOURS = {"stock": "#b35806", "tapmig": "#2166ac"}


def p95(values):
    """The nearest rank."""
    return sorted(values)[math.ceil(0.95 * len(values)) - 1]


def summary(runs):
    """Median and 95th percentile of everything, of one kind."""
    return {"runs": len(runs), "sent": statistics.median(
        r["sent"] for r in runs), **{
            name: {"median": statistics.median(r[name] for r in runs),
                   "p95": p95([r[name] for r in runs])}
            for name, _ in METRICS}}


def table(said, interval):
    print(f"\nMedian / p95; a probe every {interval:g} ms to a card with 4 "
          "queues\n")
    print(f"{'':24}" + "".join(f"{k:>20}" for k in said))
    print(f"{'migrations':24}" +
          "".join(f"{s['runs']:>20}" for s in said.values()))
    for name, text in METRICS:
        print(f"{text:24}" + "".join(
            f"{s[name]['median']:>11g} / {s[name]['p95']:>6g}"
            for s in said.values()))


def plot(runs, interval, output):
    """Each migration a dot; a line at the median, a tick at p95."""
    figure, axes = plt.subplots(len(METRICS) // COLUMNS, COLUMNS,
                                figsize=(11, 8.4))
    for axis, (name, text) in zip(axes.flat, METRICS):
        for x, kind in enumerate(runs):
            values = [r[name] for r in runs[kind]]
            # Beside each other, in the order in which they were measured.
            xs = [x + 0.5 * ((i + 0.5) / len(values) - 0.5)
                  for i in range(len(values))]
            colour = COLOURS[kind.split()[0]]
            axis.plot(xs, values, "o", ms=4, alpha=0.6, color=colour)
            median = statistics.median(values)
            axis.plot([x - 0.35, x + 0.35], [median, median], color=colour,
                      lw=2)
            axis.annotate(f"{median:g}", (x + 0.36, median), fontsize=8,
                          va="center", color=colour)
            axis.plot([x + 0.2, x + 0.35], [p95(values)] * 2, color=colour,
                      lw=1)
        axis.set_title(text, fontsize=11)
        axis.set_xticks(range(len(runs)))
        axis.set_xticklabels([k.replace(" ", "\n") for k in runs],
                             fontsize=9)
        axis.set_xlim(-0.6, len(runs) - 0.2)
        if name.endswith(("_ms", "_us")):
            axis.set_ylim(bottom=0)
        else:
            # Where all are 0, too.
            axis.set_ylim(-0.5, max(axis.get_ylim()[1], 5))
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(axis="y", alpha=0.3)
    figure.suptitle("Live migrations, 4 queues, emulated machine; a probe "
                    f"every {interval:g} ms; lines are medians, ticks 95th "
                    "percentiles", fontsize=11)
    figure.tight_layout()
    for kind in "svg", "png":
        figure.savefig(f"{output}.{kind}", dpi=110)


def main():
    path, rate, output = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    with open(path) as f:
        measured = [r for r in map(json.loads, f)
                    if r["rate"] == rate and "took_us" in r]
    runs = {k: [r for r in measured if r["kind"] == k] for k in KINDS}
    runs = {k: r for k, r in runs.items() if r}
    if not runs:
        sys.exit("bench-migration: nothing was measured")
    said = {k: summary(r) for k, r in runs.items()}
    # As the client has sent them: it never does so faster than it was asked to.
    interval = round(statistics.median(r["interval_ms"] for r in measured), 1)
    with open(f"{output}.json", "w") as f:
        json.dump({"probe_interval_ms": interval, "queues": 4,
                   "summary": said, "runs": measured}, f, indent=1)
        f.write("\n")
    table(said, interval)
    plot(runs, interval, output)
    print(f"\nAll figures are in {output}.json, a plot in .svg and .png.")


if __name__ == "__main__":
    main()
