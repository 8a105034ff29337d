#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Bash completion with a stand-in for the tool: labels are others' text.

    completion.py OUT   nothing of OUT is needed

Neither root nor bash-completion is needed. Output is TAP.
"""

import fnmatch
import os
import shutil
import subprocess
import sys
import tempfile

from tap import Tap

HERE = os.path.dirname(os.path.abspath(__file__))
COMPLETION = os.path.join(HERE, "..", "bash-completion", "tapmig")

# What is offered, each with a zero behind it.
SCRIPT = """
_init_completion() {
	words=("${typed[@]}") cword=$((${#typed[@]} - 1))
	cur=${typed[cword]} prev=${typed[cword - 1]} COMPREPLY=()
}
_filedir() { :; }
compopt() { :; }
. "$1"
typed=("${@:2}")
_tapmig
[[ ${#COMPREPLY[@]} -eq 0 ]] || printf '%s\\0' "${COMPREPLY[@]}"
"""


def json_string(data):
    """As the tool writes it, see json_string() in output.c."""
    text = ""
    for c in data.decode(errors="replace"):
        if c in '"\\':
            text += "\\" + c
        elif c < " " or c == "\x7f":
            text += f"\\u{ord(c):04x}"
        else:
            text += "\\ufffd" if c == "\ufffd" else c
    return f'"{text}"'


class Tests:
    def __init__(self):
        self.dir = tempfile.mkdtemp(prefix="tapmig-completion.")
        self.tap = Tap()
        self.result = self.tap.result
        self.env = dict(os.environ, LC_ALL="C.UTF-8",
                        PATH=self.dir + ":" + os.environ["PATH"])
        self.script("tapmig", 'echo "$*" >"$0.args"; cat "$0.show"')

    def script(self, name, text):
        with open(os.path.join(self.dir, name), "w", encoding="ascii") as f:
            os.fchmod(f.fileno(), 0o755)
            f.write(f"#!/bin/sh\n{text}\n")

    def holds(self, *holds):
        """Holds of these labels and devices."""
        text = ",\n".join(
            '    {\n        "id": %d,\n        "label": %s,\n'
            '        "state": "frozen",\n        "ifname": %s\n    }' %
            (i + 7, json_string(label), json_string(dev))
            for i, (label, dev) in enumerate(holds))
        with open(os.path.join(self.dir, "tapmig.show"), "w",
                  encoding="utf-8") as f:
            f.write(f"[\n{text}\n]\n")

    def labels(self, *labels):
        self.holds(*((label, b"tap0") for label in labels))

    def offers(self, *words):
        """What is offered after these words."""
        run = subprocess.run(
            ["bash", "-c", SCRIPT, "bash", COMPLETION, "tapmig", *words],
            cwd=self.dir, env=self.env, check=False, stdin=subprocess.DEVNULL,
            capture_output=True)
        if run.returncode and run.stderr:
            self.tap.note(run.stderr.decode(errors="replace"))
        return run.stdout.split(b"\0")[:-1]

    def typed(self, word):
        """What a word means to the shell."""
        run = subprocess.run(["bash", "-c", b"printf %s " + word],
                             cwd=self.dir, env=self.env, check=False,
                             stdin=subprocess.DEVNULL, capture_output=True)
        return run.stdout

    def check(self, name, words, want):
        got = self.offers(*words)
        self.result(got == want, name, f"offered {got} instead of {want}")

    def hostile(self):
        bad = os.path.join(self.dir, "bad")
        evil = [f"$(touch {bad})", f"`touch {bad}`", f"x;touch {bad}",
                f"${{x[$(touch {bad})]}}", f"$[x[$(touch {bad})]]",
                f"'\"$(touch {bad})", f"\\$(touch {bad})",
                f"x\n$(touch {bad})", f"<(touch {bad})", "~root", "*"]
        evil = [text.encode() for text in evil]
        self.labels(*evil)
        for where in (["show", "label"], ["relay", "--label"]):
            name = f"{where[0]}_{where[1].strip('-')}"
            got = self.offers(*where, "")
            self.result(not os.path.exists(bad) and len(got) == len(evil),
                        f"labels_are_not_run_by_{name}", str(got))
            for word in got:
                self.typed(word)
            self.result(not os.path.exists(bad),
                        f"nor_when_they_are_entered_after_{name}", str(got))
            for quote in ("'", '"'):
                for word in self.offers(*where, quote):
                    self.typed(quote.encode() + word + quote.encode())
                self.result(not os.path.exists(bad),
                            f"nor_in_{ord(quote)}_after_{name}")
        # The kernel takes this as the name of a device.
        self.holds((b"x", b"$(touch${IFS}y)"))
        for where in (["show", "dev"], ["relay", "--dev"]):
            got = self.offers(*where, "")
            for word in got:
                self.typed(word)
            self.result(not os.path.exists(os.path.join(self.dir, "y")) and
                        len(got) == 1,
                        f"devices_are_not_run_by_{where[0]}", str(got))
        # Nor names of network namespaces, or of devices without a hold.
        self.script("ls", "echo '$(touch y)'")
        for where in (["-n"], ["freeze", "dev"]):
            self.check(f"names_are_not_run_by_{where[0].strip('-')}",
                       [*where, ""], [rb"\$\(touch\ y\)"])
        os.unlink(os.path.join(self.dir, "ls"))

    def correct(self):
        labels = [b"vm1/net0", b"vm 2/net 0", b"it's", b'the "second"', b"a\\b",
                  b"\\", b"web[1]", b"*", b"a?", b'",', b"a\tb", b"a\nb",
                  b"\\u0041", b"\\n", b"\x1b[1m", "b\u00fcro".encode(),
                  b"#x", b"!x", b"$HOME", b"trail\\\\\""]
        self.labels(b"", *labels)
        got = [self.typed(word) for word in self.offers("show", "label", "")]
        bad = [f"{label} became {word}" for label, word in zip(labels, got)
               if not fnmatch.fnmatchcase(
                   label.decode(), self.python_pattern(word.decode())) or
               sum(fnmatch.fnmatchcase(
                   other.decode(), self.python_pattern(word.decode()))
                   for other in labels) > 1]
        self.result(len(got) == len(labels) and not bad,
                    "labels_are_offered_as_what_selects_them",
                    "\n".join(bad) or f"{got}")
        self.labels(b"vm 1", b"vm 2", b"vm", b"wm")
        self.check("blanks_are_typed_with_a_backslash",
                   ["show", "label", "vm\\ "], [b"vm\\ 1", b"vm\\ 2"])
        self.check("or_in_quotes", ["show", "label", '"vm '],
                   [b"vm 1", b"vm 2"])
        self.check("or_in_single_ones", ["show", "label", "'vm"],
                   [b"vm 1", b"vm 2", b"vm"])
        self.labels(b"", b"b\xfcro")
        self.check("what_has_no_label_or_none_that_can_be_typed",
                   ["show", "label", ""], [])
        self.holds((b"one", b"tap0"), (b"two", b'd"\\[1]'))
        self.check("devices", ["thaw", "dev", ""],
                   [b"tap0", b'd\\"\\\\\\[1\\]'])
        self.check("numbers", ["-n", "ns 1", "thaw", "id", ""], [b"7", b"8"])
        with open(os.path.join(self.dir, "tapmig.args"),
                  encoding="ascii") as f:
            args = f.read()
        self.result(args == "-n ns 1 -j -p show\n",
                    "of_the_network_namespace_that_was_named", args)

    @staticmethod
    def python_pattern(pattern):
        """A pattern of fnmatch(3) for Python, which knows no backslash."""
        text, escaped = "", False
        for c in pattern:
            if not escaped and c == "\\":
                escaped = True
                continue
            text += f"[{c}]" if escaped and c in "*?[" else c
            escaped = False
        return text

    def main(self):
        self.hostile()
        self.correct()
        shutil.rmtree(self.dir)
        return self.tap.end()


if __name__ == "__main__":
    sys.exit(Tests().main())
