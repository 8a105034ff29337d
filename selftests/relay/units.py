# SPDX-License-Identifier: GPL-2.0-only
"""The relay as a service: what its unit allows must be enough for it.

A service manager of its own runs in namespaces for processes and mounts, over
the files of the virtual machine, with its own idea of what is installed.
"""

import os
import shutil
import socket
import subprocess

from cases import case, row, whole
from faults import PKI, STOPPED
from rig import HERE, Failure, Move, expect, load, run, unload, wait_for

SYSTEMD = "/usr/lib/systemd/systemd"
INSTALLED = os.path.join(HERE, "installed")
CONF = "/etc/tapmig/relay"
CREDS = "/etc/pki/tapmig"
ADDRESS = "tcp:127.0.0.1:4977"
LISTEN = "tapmig-relay@listen.service"
CONNECT = "tapmig-relay@connect.service"
# They would change the machine, not only what the service manager sees.
MASKED = ("systemd-modules-load.service", "systemd-sysctl.service",
          "systemd-tmpfiles-clean.timer", "systemd-tmpfiles-setup-dev.service",
          "systemd-tmpfiles-setup.service")


def write(path, text):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="ascii") as f:
        f.write(text)


class Services:
    """Ends with the test, and with it all that it has started."""

    def __init__(self, log):
        shutil.copytree(INSTALLED, "/", dirs_exist_ok=True, symlinks=True)
        shutil.copytree(PKI, CREDS, dirs_exist_ok=True)
        write("/etc/machine-id", "7461706d6967746170646d6967746170\n")
        for name in MASKED:
            path = os.path.join("/etc/systemd/system", name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            if not os.path.islink(path):
                os.symlink("/dev/null", path)
        self.log = os.open(log, os.O_RDWR | os.O_CREAT, 0o600)
        self.process = subprocess.Popen(
            ("unshare", "--fork", "--pid", "--mount", "--mount-proc",
             "--cgroup", "--kill-child", "env", "-i", "container=tapmig",
             "PATH=/usr/sbin:/usr/bin", SYSTEMD, "--system",
             "--unit=basic.target", "--log-target=console",
             "--show-status=no"),
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        try:
            wait_for(self.up, "the service manager")
        except Failure as e:
            said = self.said()
            self.close()
            raise Failure(f"{e}: {said}") from None

    def up(self):
        if self.process.poll() is not None:
            raise Failure("it has ended")
        return self.ctl("is-active", "basic.target",
                        check=False).strip() == "active"

    def ctl(self, *args, check=True):
        """It talks to those only whom it can name."""
        pid = self.process.pid
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as f:
            inside = f.read().split()
        if not inside:
            return ""
        return run("nsenter", "-t", inside[0], "-m", "-p", "systemctl",
                   "--no-pager", *args, check=check).stdout

    def value(self, unit, name):
        return self.ctl("show", "--value", "-p", name, unit).strip()

    def kill(self, unit):
        """As a crash would; it is started again."""
        pid = self.value(unit, "MainPID")
        self.ctl("kill", "--kill-who=main", "-s", "KILL", unit)
        wait_for(lambda: self.value(unit, "ActiveState") == "active" and
                 self.value(unit, "MainPID") not in ("0", pid),
                 f"another process of {unit}")

    def restarts(self, unit, more_than):
        """How often it was started again, when that is more."""
        found = []

        def more():
            found.append(int(self.value(unit, "NRestarts")))
            return found[-1] > more_than
        wait_for(more, f"more than {more_than} attempts to start {unit}")
        return found[-1]

    def said(self):
        return os.pread(self.log, 1 << 20, 0).decode(errors="replace")

    def close(self):
        self.process.kill()
        self.process.wait()
        os.close(self.log)


@case
def service_units_move_all_and_come_back():
    listen = f"{ADDRESS} --netns hostB --tls-creds {CREDS}"
    connect = f"{ADDRESS} --netns hostA --tls-creds {CREDS} --linger 500"
    write(f"{CONF}/listen.conf", f'RELAY_ARGS="--listen {listen}"\n')
    write(f"{CONF}/connect.conf", f'RELAY_ARGS="--connect {connect}"\n')
    with Move() as m:
        # It takes a while until a service is up again.
        m.source_up(max_bytes=300 << 20)
        m.standby_up(max_bytes=300 << 20)
        services = m.add(Services(m.path("log")))
        try:
            services.ctl("start", LISTEN, CONNECT)
            m.paired()
            m.stop()
            m.sender.frames(STOPPED // 2)
            services.kill(CONNECT)
            m.sender.frames(STOPPED // 2)
            services.kill(LISTEN)
            m.start()
            m.in_step()
            m.sender.frames(100)
            counts = m.finish()
            for unit in CONNECT, LISTEN:
                services.ctl("stop", unit)
                state = [services.value(unit, name)
                         for name in ("ActiveState", "Result")]
                expect(state == ["inactive", "success"], f"{unit}: {state}")
        except Failure:
            print("".join(f"# {line}\n" for line in
                          services.said()[-4000:].splitlines()))
            print(services.ctl("status", "-l", LISTEN, CONNECT, check=False))
            raise
        row("none but SIGKILL of each service", counts)
        whole(counts)


def answers():
    host, port = ADDRESS.split(":")[1:]
    try:
        with socket.create_connection((host, int(port)), 60) as s:
            return bool(s.recv(1))
    except ConnectionRefusedError:
        return False


@case
def a_service_comes_back_after_an_upgrade_of_the_module():
    write(f"{CONF}/listen.conf",
          f'RELAY_ARGS="--listen {ADDRESS} --netns hostB"\n')
    with Move() as m:
        services = m.add(Services(m.path("log")))
        services.ctl("start", LISTEN)
        wait_for(answers, "the service")
        unload()
        try:
            # It is tried more often than a service may fail by default.
            tries = 0
            while tries <= 6:
                tries = services.restarts(LISTEN, tries)
            expect(not answers(), "it answers without a module")
        finally:
            load()
        wait_for(answers, "the service")
        services.ctl("stop", LISTEN)
