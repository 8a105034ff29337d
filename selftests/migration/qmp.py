# SPDX-License-Identifier: GPL-2.0-only
"""A QEMU, and the monitor to speak to it."""

import json
import os
import select
import subprocess
import time

from hosts import REMOTE, TIMEOUT, Failure, Lines, in_host


class Monitor:
    """The monitor at standard input and output; keeps the events that come."""

    def __init__(self, process):
        self.process = process
        self.events = []
        self.lines = Lines(process, "QEMU")
        self.read_message()
        self.command("qmp_capabilities")

    def read_message(self):
        return json.loads(self.lines.line())

    def command(self, name, **arguments):
        arguments = {k.replace("_", "-"): v for k, v in arguments.items()}
        try:
            self.process.stdin.write(json.dumps(
                {"execute": name, "arguments": arguments}).encode())
        except BrokenPipeError as e:
            raise Failure(f"{name}: QEMU has gone") from e
        while True:
            message = self.read_message()
            if "event" in message:
                self.events.append(message)
            elif "error" in message:
                raise Failure(f"{name}: {message['error']['desc']}")
            elif "return" in message:
                return message["return"]

    def wait(self, name, *wanted, bad=()):
        """The next event NAME, of MIGRATION one of the wanted states."""
        while True:
            while self.events:
                event = self.events.pop(0)
                if event["event"] != name:
                    continue
                status = event.get("data", {}).get("status")
                if status in bad:
                    raise Failure(f"migration: {status} instead of {wanted}")
                if not wanted or status in wanted:
                    return event
            message = self.read_message()
            if "event" in message:
                self.events.append(message)


class Qemu:
    """A QEMU process in the network namespace of a host."""

    count = 0

    def __init__(self, host, program, arguments, workdir, fds=()):
        Qemu.count += 1
        self.host = host
        self.name = f"qemu{Qemu.count}"
        self.serial = f"{workdir}/{self.name}.serial"
        self.log = f"{workdir}/{self.name}.log"
        self.hook_path = f"{workdir}/{self.name}.hook"
        command = in_host(host, *program, *arguments,
                          "-serial", f"file:{self.serial}",
                          "-qmp", "stdio",
                          "-qmp", f"unix:{self.hook_path},server=on,wait=off",
                          log=self.log)
        with open(self.log, "w") as log:
            log.write(" ".join(command) + "\n")
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            pass_fds=fds, bufsize=0)
        try:
            self.monitor = Monitor(self.process)
        except Failure as e:
            self.kill()
            with open(self.log) as log:
                raise Failure(f"{e}: {log.read()}")
        self.command = self.monitor.command
        self.wait = self.monitor.wait
        self.events = self.monitor.events

    @property
    def pid(self):
        """That of a local one: what starts it becomes it."""
        return self.process.pid

    def wait_serial(self, text):
        end = time.monotonic() + TIMEOUT
        while True:
            try:
                with open(self.serial, errors="replace") as f:
                    said = f.read()
            except FileNotFoundError:
                said = ""
            if text in said:
                return
            if self.process.poll() is not None or time.monotonic() > end:
                raise Failure(f"the guest did not say '{text}': {said}")
            select.select([], [], [], 0.2)

    def capabilities(self, *on, off=()):
        self.command("migrate-set-capabilities", capabilities=[
            {"capability": c, "state": True} for c in ("events", *on)] + [
            {"capability": c, "state": False} for c in off])

    def wait_migration(self, wanted):
        """Whether or not it has been told by an event."""
        end = time.monotonic() + TIMEOUT
        while True:
            status = self.command("query-migrate").get("status")
            if status == wanted:
                return
            if status in ("failed", "cancelled", "completed") or \
               time.monotonic() > end:
                raise Failure(f"migration: {status} instead of {wanted}")
            select.select([], [], [], 0.02)

    def save(self, path):
        """Write the running guest to a file."""
        self.command("migrate", uri=f"exec:cat >{path}.new")
        self.wait("MIGRATION", "completed", bad=("failed",))
        while True:
            try:
                # Its completion is told before it is complete.
                self.command("cont")
                break
            except Failure as e:
                if "finalized" not in str(e):
                    raise
                select.select([], [], [], 0.05)
        os.rename(f"{path}.new", path)

    def quit(self):
        try:
            self.command("quit")
        except (Failure, OSError):
            pass
        self.ended()

    def kill(self):
        if self.host in REMOTE:
            self.process.terminate()
        else:
            self.process.kill()
        self.ended()

    def ended(self):
        try:
            self.process.wait(TIMEOUT)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise Failure(f"{self.name} does not end")
        finally:
            self.process.stdin.close()
            self.process.stdout.close()
