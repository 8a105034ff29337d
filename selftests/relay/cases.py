# SPDX-License-Identifier: GPL-2.0-only
"""Cases: functions that end without an exception if all is well. In KTAP."""

import sys
import time
import traceback

CASES = []
LONG = []
ROWS = []


def case(function):
    CASES.append(function)
    return function


def long_case(function):
    """For check-long."""
    LONG.append(function)
    return function


def row(fault, counts, **more):
    """A line of the table of failures."""
    words = [f"{n} {counts[n]}" for n in
             ("sent", "lost", "duplicated", "reordered")]
    words += [f"{n} {v}" for n, v in more.items()]
    ROWS.append((fault, counts))
    print(f"# row: {fault}: {', '.join(words)}", flush=True)


def main(names):
    """The cases of these names, "long", or all others; the exit status."""
    chosen = [c for c in CASES + LONG if c.__name__ in names]
    if not names:
        chosen = CASES
    elif names == ["long"]:
        chosen = LONG
    failed = 0
    print(f"KTAP version 1\n1..{len(chosen)}", flush=True)
    for n, c in enumerate(chosen, 1):
        start = time.monotonic()
        try:
            c()
            result = "ok"
        except Exception as e:
            failed += 1
            result = "not ok"
            for line in traceback.format_exc().splitlines()[-12:]:
                print(f"# {line}")
            print(f"# {e}")
        print(f"{result} {n} {c.__name__}\n"
              f"# time: {c.__name__}: {time.monotonic() - start:.1f} s",
              flush=True)
    return 1 if failed or not chosen else 0


def whole(counts, reordered=True):
    """Nothing lost, nothing twice, all in order."""
    wrong = [n for n in ("lost", "duplicated", "reordered", "damaged")
             if counts[n] and (reordered or n != "reordered")]
    if wrong or not counts["sent"]:
        raise AssertionError(f"{dict(counts)} {counts.kinds}")


if __name__ == "__main__":
    sys.exit(2)
