# SPDX-License-Identifier: GPL-2.0-only
"""Programs on the hosts, which are network namespaces.

A host can be in another virtual machine: what runs there is started by
REMOTE, see ../vm/pair.sh.
"""

import os
import re
import select
import subprocess
import time

# Nothing takes as long: machines may be busy, and nobody waits for the end of
# it where all is well.
TIMEOUT = 600
# Hosts that are elsewhere, and the program that brings others there.
REMOTE = {}
# Standard error of a program, on its own host: remote ones have but one stream.
LOGGED = ("sh", "-c", 'log=$1; shift; exec "$@" 2>>"$log"', "sh")


class Failure(Exception):
    """What was waited for did not happen."""


def on_host(host, *command):
    """The command as one that runs where the host is."""
    return [*REMOTE.get(host, ()), *command]


def in_host(host, *command, log=None):
    """The command as one that runs in the network of the host."""
    return on_host(host, *((*LOGGED, log) if log else ()),
                   "ip", "netns", "exec", host, *command)


def run(*command, **kwargs):
    done = subprocess.run(command, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          check=False, **kwargs)
    if done.returncode:
        # Of a remote program, both are one.
        text = (done.stderr or done.stdout).decode().strip()
        raise Failure(f"{' '.join(command)}: {text}")
    return done.stdout


def ip(host, *arguments):
    return run(*on_host(host, "ip", "-n", host, *arguments))


def namespace(name):
    run(*on_host(name, "ip", "netns", "add", name))
    # Nothing on the wires but what the rig sends.
    run(*in_host(name, "sysctl", "-qw",
                 "net.ipv6.conf.all.disable_ipv6=1",
                 "net.ipv6.conf.default.disable_ipv6=1"))
    ip(name, "link", "set", "lo", "up")


def kernel(host):
    """Its version."""
    return run(*on_host(host, "uname", "-r")).decode().split("-")[0] \
        .split("+")[0].strip()


class Lines:
    """What a program says, line by line."""

    def __init__(self, process, name):
        self.process = process
        self.name = name
        self.buffer = b""

    def line(self):
        end = time.monotonic() + TIMEOUT
        while b"\n" not in self.buffer:
            left = end - time.monotonic()
            if left <= 0 or not select.select([self.process.stdout], [], [],
                                              left)[0]:
                raise Failure(f"{self.name} is silent")
            data = os.read(self.process.stdout.fileno(), 65536)
            if not data:
                raise Failure(f"{self.name} has ended")
            self.buffer += data
        line, self.buffer = self.buffer.split(b"\n", 1)
        return line.decode().strip()

    def wait(self, wanted, bad=None):
        """The next one that matches."""
        while True:
            line = self.line()
            if re.search(wanted, line):
                return line
            if bad and re.search(bad, line):
                raise Failure(f"{self.name}: '{line}' instead of '{wanted}'")

    def forget(self):
        """What was said so far."""
        while select.select([self.process.stdout], [], [], 0)[0]:
            if not os.read(self.process.stdout.fileno(), 65536):
                raise Failure(f"{self.name} has ended")
        self.buffer = b""
