# SPDX-License-Identifier: GPL-2.0-only
"""Programs on the hosts, which are network namespaces.

A host can be in another virtual machine: what runs there is started by
REMOTE, see ../vm/pair.sh.
"""

import subprocess

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
