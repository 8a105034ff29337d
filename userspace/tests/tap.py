# SPDX-License-Identifier: GPL-2.0-only
"""Results of tests: kept until all are known, then printed as TAP."""


class Tap:
    def __init__(self):
        self.lines = []
        self.count = 0
        self.failed = False

    def result(self, good, name, why="", skip=None):
        self.count += 1
        line = f"{'ok' if good else 'not ok'} {self.count} {name}"
        self.lines.append(line + (f" # SKIP {skip}" if skip else ""))
        if not good:
            self.failed = True
            self.note(why)

    def note(self, text):
        self.lines += ["# " + line for line in str(text).splitlines()]

    def end(self):
        """Print all; the exit status."""
        print("\n".join(["TAP version 13", f"1..{self.count}", *self.lines]))
        return 1 if self.failed else 0
