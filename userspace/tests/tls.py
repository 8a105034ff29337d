#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""TLS of the relay: who gets in, who does not, and what they are told.

    tls.py OUT      OUT has tests/tls

Certificates are made by certtool (gnutls-bin) as tapmig(8) tells to. Neither
root nor a network is needed: both ends are in one process. Output is TAP.
"""

import os
import shutil
import stat
import subprocess
import sys
import tempfile

from tap import Tap

SKIP = 4
# More than a record, not a multiple of anything.
BYTES = 300001


class Tests:
    def __init__(self, out):
        self.tls = os.path.join(out, "tests", "tls")
        self.dir = tempfile.mkdtemp()
        self.tap = Tap()
        self.result = self.tap.result
        self.env = {}

    def path(self, *names):
        return os.path.join(self.dir, *names)

    def write(self, name, text, mode=0o600):
        path = self.path(name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="ascii") as f:
            f.write(text)
        os.chmod(path, mode)
        return path

    def certtool(self, *args):
        run = subprocess.run(["certtool", *args], check=False,
                             stdin=subprocess.DEVNULL, capture_output=True)
        if run.returncode:
            sys.exit(f"certtool {' '.join(args)}: {run.stderr.decode()}")

    def key(self, name):
        self.certtool("--generate-privkey", "--key-type=ecdsa",
                      "--outfile", self.path(name + ".key"))
        os.chmod(self.path(name + ".key"), 0o600)

    def authority(self, name, text="ca\ncert_signing_key\ncrl_signing_key\n"):
        self.key(name)
        template = self.write(name + ".tmpl", f"cn = {name}\n" + text)
        self.certtool("--generate-self-signed",
                      "--load-privkey", self.path(name + ".key"),
                      "--template", template,
                      "--outfile", self.path(name + ".pem"))

    def certificate(self, name, text, ca="ca"):
        self.key(name)
        template = self.write(name + ".tmpl",
                              f"signing_key\n{text}")
        self.certtool("--generate-certificate",
                      "--load-ca-certificate", self.path(ca + ".pem"),
                      "--load-ca-privkey", self.path(ca + ".key"),
                      "--load-privkey", self.path(name + ".key"),
                      "--template", template,
                      "--outfile", self.path(name + ".pem"))

    def revocation(self, name, revoked, ca="ca", text="crl_next_update = 9\n"):
        template = self.write(name + ".tmpl", text + "crl_number = 1\n")
        self.certtool("--generate-crl",
                      "--load-ca-certificate", self.path(ca + ".pem"),
                      "--load-ca-privkey", self.path(ca + ".key"),
                      "--load-certificate", self.path(revoked + ".pem"),
                      "--template", template,
                      "--outfile", self.path(name + ".pem"))

    def creds(self, name, ca="ca", server=None, client=None, crl=None,
              libvirt=False):
        """A directory with the names that QEMU uses, or libvirt's."""
        dash = "" if libvirt else "-"
        files = {f"ca{dash}cert": f"{ca}.pem"}
        for role, who in (("server", server), ("client", client)):
            if who:
                files[f"{role}{dash}cert"] = f"{who}.pem"
                files[f"{role}{dash}key"] = f"{who}.key"
        if crl:
            files[f"ca{dash}crl"] = f"{crl}.pem"
        os.makedirs(self.path(name), exist_ok=True)
        for to, what in files.items():
            shutil.copy(self.path(what), self.path(name, to + ".pem"))
        return self.path(name)

    def make(self):
        past = ('activation_date = "2001-01-01 00:00:00"\n'
                'expiration_date = "2002-01-01 00:00:00"\n')
        future = ('activation_date = "2900-01-01 00:00:00"\n'
                  'expiration_date = "2901-01-01 00:00:00"\n')
        server = ("cn = dest\ndns_name = dest.example\n"
                  "ip_address = 192.0.2.1\nip_address = 2001:db8::1\n"
                  "tls_www_server\n")
        client = "cn = source\ntls_www_client\n"
        self.authority("ca")
        self.authority("other")
        self.authority("none", "")
        self.certificate("server", server)
        self.certificate("client", client)
        self.certificate("both", server + "tls_www_client\n")
        self.certificate("plain", "cn = dest.example\n")
        self.certificate("old_server", server + past)
        self.certificate("old_client", client + past)
        self.certificate("new_client", client + future)
        self.certificate("bad_client", client)
        self.certificate("bad_server", server)
        self.certificate("named_client", client + "dns_name = dest.example\n")
        self.certificate("odd_client",
                         "cn = \x1b[31mred\ntls_www_client\n", "other")
        self.certificate("other_server", server, "other")
        self.certificate("other_client", client, "other")
        with open(self.path("bad.pem"), "w", encoding="ascii") as f:
            for name in ("bad_client", "bad_server"):
                with open(self.path(name + ".pem"), encoding="ascii") as g:
                    f.write(g.read())
        self.revocation("crl", "bad")
        self.revocation("other_crl", "other_client", "other")
        self.revocation("old_crl", "bad_client", text=(
            'crl_this_update_date = "2001-01-01 00:00:00"\n'
            'crl_next_update_date = "2002-01-01 00:00:00"\n'))
        self.good = self.creds("good", "ca", "server", "client")

    def run(self, **args):
        words = [f"{k.replace('_', '-')}={v}" for k, v in args.items()
                 if v is not None]
        return subprocess.run([self.tls, *words], check=False,
                              env={**os.environ, **self.env},
                              stdin=subprocess.DEVNULL, capture_output=True)

    def session(self, name, server, client, hostname="dest.example", **args):
        """What both sides say at the end, as dictionaries, or None."""
        if os.path.isdir(server):
            args = {"server_creds": server, "client_creds": client,
                    "hostname": hostname, **args}
        else:
            args = {"server_psk": server, "client_psk": client, **args}
        run = self.run(**args)
        said = (run.stdout + run.stderr).decode(errors="replace")
        lines = run.stdout.decode(errors="replace").splitlines()
        if run.returncode or len(lines) != 2:
            self.result(False, name, f"status {run.returncode}: {said}")
            return None
        sides = []
        for line in lines:
            _, peer, sent, received, end, error = line.split("\t")
            sides.append({"peer": peer, "sent": int(sent), "end": end,
                          "received": int(received), "error": error})
        return *sides, said

    def passes(self, name, *args, peers=None, size=BYTES, **more):
        got = self.session(name, *args, bytes=size, **more)
        if not got:
            return
        server, client, said = got
        self.result(
            all(x["end"] == "eof" and not x["error"] and
                x["sent"] == x["received"] == size for x in got[:2]) and
            (not peers or (server["peer"], client["peer"]) == peers),
            name, said)

    def refused(self, name, by, text, *args, told=None, **more):
        """Neither side gets a byte, and both know why."""
        got = self.session(name, *args, bytes=BYTES, **more)
        if not got:
            return
        server, client, said = got
        side, other = (server, client) if by == "server" else (client, server)
        self.result(
            side["end"] == "refused" and text in side["error"] and
            not server["received"] and not client["received"] and
            not server["sent"] and not side["sent"] and
            other["end"] in ("refused", "error") and
            (told is None or told in other["error"]), name, said)

    def no_creds(self, name, text, **args):
        """Not loaded, and the message has all of the text."""
        run = self.run(**args)
        said = run.stderr.decode()
        self.result(run.returncode == 1 and not run.stdout and
                    all(x in said for x in text) and
                    said.startswith("tapmig: "), name, run)

    def certificates(self):
        self.passes("x509", self.good, self.good, peers=("source", "dest"))
        self.passes("x509_address", self.good, self.good, "192.0.2.1")
        self.passes("x509_address_of_ipv6", self.good, self.good,
                    "2001:db8::1")
        self.passes("x509_common_name",
                    self.creds("cn", "ca", "plain", "plain"), self.good)
        self.passes("x509_one_certificate_for_both",
                    self.creds("both", "ca", "both", "both"),
                    self.path("both"))
        self.passes("x509_names_of_libvirt",
                    self.creds("libvirt", "ca", "server", "client",
                               libvirt=True), self.path("libvirt"))
        self.passes("x509_revocations_of_others",
                    self.creds("crl", "ca", "server", "client", "crl"),
                    self.path("crl"))
        self.refused("x509_wrong_name", "client",
                     "'dest' does not name 'other.example'",
                     self.good, self.good, "other.example")
        self.refused("x509_wrong_address", "client", "'192.0.2.2'",
                     self.good, self.good, "192.0.2.2")
        self.refused("x509_no_name_to_compare", "client", "no name",
                     self.good, self.good, None)
        # Sides believe in themselves, but not in each other.
        other = self.creds("other", "other", "other_server", "other_client")
        shutil.copy(self.path("ca.pem"), self.path("both_cas.pem"))
        with open(self.path("both_cas.pem"), "a", encoding="ascii") as f, \
                open(self.path("other.pem"), encoding="ascii") as g:
            f.write(g.read())
        trusting = self.creds("trusting", "both_cas", "other_server",
                              "other_client")
        self.passes("x509_two_authorities", trusting, trusting)
        self.refused("x509_client_of_another_authority", "server",
                     "no certificate", self.good, trusting)
        self.refused("x509_server_of_another_authority", "client",
                     "was not issued by an authority of " +
                     self.path("good", "ca-cert.pem"), trusting, self.good,
                     told="CA is unknown")
        self.refused("x509_strangers", "client", "was not issued by",
                     other, self.good)

    def strangers(self):
        """Peers that ours could not be: they would refuse their own files."""
        creds = self.creds("strict", "ca", "server", "client", "crl")
        for name, who, text, told in (
                ("expired", "old_client", "has expired", "expired"),
                ("early", "new_client", "is not valid yet", "bad"),
                ("revoked", "bad_client", "has been revoked", "revoked"),
                ("server", "server", "is not meant for a TLS client", "bad"),
                ("stranger", "other_client", "was not issued by", "unknown"),
                ("printable", "odd_client", "of '?[31mred' was not", None),
                ("absent", None, "has no certificate",
                 None if self.env else "required")):
            where = self.creds("client_" + name, "ca", None, who)
            self.refused("x509_client_" + name, "server", text, creds, where,
                         told=told, careless="client")
        for name, who, text, told in (
                ("expired", "old_server", "has expired", "expired"),
                ("client", "named_client", "is not meant for a TLS server",
                 "bad"),
                ("revoked", "bad_server", "has been revoked", "revoked"),
                ("stranger", "other_server", "was not issued by",
                 "unknown")):
            where = self.creds("server_" + name, "ca", who)
            self.refused("x509_server_" + name, "client", text, where, creds,
                         told=told, careless="server")

    def own_files(self):
        def check(name, text, role="server", **files):
            where = self.creds("own_" + name, **files)
            other = {"server": "client", "client": "server"}[role]
            self.no_creds("own_" + name, [where] + text,
                          hostname="dest.example",
                          **{role + "_creds": where, "plain": other})

        check("empty", ["has neither server-cert.pem nor servercert.pem"])
        check("no_client", ["client-cert.pem nor clientcert.pem"], "client",
              server="server")
        check("expired", ["server-cert.pem: ", "has expired"],
              server="old_server")
        check("early", ["client-cert.pem: ", "is not valid yet"], "client",
              client="new_client")
        check("stranger", ["server-cert.pem: ", "was not issued by",
                           "ca-cert.pem"], server="other_server")
        check("purpose", ["server-cert.pem: ", "not meant for a TLS server"],
              server="client")
        check("purpose_of_client", ["not meant for a TLS client"], "client",
              client="server")
        check("revoked", ["client-cert.pem: ", "has been revoked",
                          "ca-crl.pem"], "client", client="bad_client",
              crl="crl")
        check("revocations_of_another",
              ["ca-crl.pem: list 1 is not signed by"], server="server",
              crl="other_crl")
        check("revocations_old", ["ca-crl.pem: list 1 is out of date"],
              server="server", crl="old_crl")
        check("no_authority", ["ca-cert.pem: certificate 1 is not that of"],
              ca="none", server="server")
        where = self.creds("own_key", "ca", "server")
        shutil.copy(self.path("client.key"),
                    self.path("own_key", "server-key.pem"))
        check("key", ["server-key.pem: this is not the key of"])
        for name, text in (("server-cert", "gibberish"), ("ca-cert", ""),
                           ("server-key", "gibberish"),
                           ("ca-crl", "gibberish")):
            where = self.creds("bad_" + name, "ca", "server")
            self.write(os.path.join(where, name + ".pem"), text)
            self.no_creds(f"own_bad_{name}", [f"{where}/{name}.pem: "],
                          server_creds=where, plain="client")
        self.no_creds("own_no_directory", ["/no/such/dir: No such file"],
                      server_creds="/no/such/dir", plain="client")
        where = self.creds("fifo", "ca", "server")
        os.unlink(self.path("fifo", "server-key.pem"))
        os.mkfifo(self.path("fifo", "server-key.pem"))
        self.no_creds("own_fifo", ["server-key.pem: not a regular file"],
                      server_creds=where, plain="client")

    def modes(self):
        where = self.creds("modes", "ca", "server", "client")
        key = self.path("modes", "server-key.pem")
        os.chmod(key, 0o640)
        got = self.session("key_for_the_group", where, self.good)
        self.result(got and "warning" not in got[2], "key_for_the_group", got)
        os.chmod(key, 0o644)
        got = self.session("key_for_everyone", where, self.good)
        self.result(got and got[0]["end"] == "eof" and
                    f"{key}: warning: every user of this host can read this "
                    "key (mode 0644)" in got[2],
                    "key_for_everyone_warns", got)
        os.chmod(key, 0o600)
        for name in ("ca-cert", "server-cert", "server-key"):
            path = self.path("modes", name + ".pem")
            os.chmod(path, 0o602)
            self.no_creds(f"writable_{name}",
                          [f"{path}: every user of this host can write it"],
                          server_creds=where, plain="client")
            os.chmod(path, 0o600)

    def keys(self):
        a, b = "0123456789abcdef" * 4, "fedcba9876543210" * 4
        one = self.write("one.psk", f"tapmig:{a}\n")
        two = self.write("two.psk", f"# hosts\n\nleft:{a}\r\nright:{b}")
        self.passes("psk", one, one, peers=("tapmig", "tapmig"))
        self.passes("psk_of_several", two, two, client_user="right",
                    peers=("right", "right"))
        self.passes("psk_only_user", one,
                    self.write("upper.psk", f"tapmig:{a.upper()}\n"))
        self.passes("psk_own_name", self.write(
            "three.psk", f"tapmig:{a}\nleft:{b}\n"), self.path("three.psk"),
            peers=("tapmig", "tapmig"))
        self.passes("psk_name_in_hexadecimal", self.write(
            "hex.psk", f"#00ff41:{a}\n"), self.path("hex.psk"),
            peers=("??A", "??A"))
        self.passes("psk_one_user_may_enter", two, two, client_user="left",
                    server_user="left")
        self.refused("psk_wrong_key", "server", "user 'tapmig' has another "
                     "key", one, self.write("wrong.psk", f"tapmig:{b}\n"))
        self.refused("psk_unknown_user", "server",
                     "user 'right' is not in " + one, one, two,
                     client_user="right")
        self.refused("psk_other_user_may_not_enter", "server",
                     "user 'right' is not let in", two, two,
                     client_user="right", server_user="left")
        odd = self.write("odd.psk", f"\x1b[31mred:{a}\n")
        self.refused("psk_name_is_printable", "server", "user '?[31mred'",
                     one, odd)
        got = self.session("psk_wrong_key_and_unknown_user_look_alike", one,
                           two, client_user="left")
        wrong = self.session("psk_wrong_key_and_unknown_user_look_alike", one,
                             self.path("wrong.psk"))
        self.result(got and wrong and got[1] == wrong[1],
                    "psk_wrong_key_and_unknown_user_look_alike", (got, wrong))
        for name, text, what in (
                ("form", f"left:{a}\nright\n", "line 2: not of the form"),
                ("no_name", f":{a}\n", "line 1: not of the form"),
                ("key", "left:xyz0\n", "line 1: the key is not hex"),
                ("odd_key", f"left:{a}0\n", "line 1: the key is not hex"),
                ("short", "left:0123456789abcdef\n", "the key is too short"),
                ("twice", f"left:{a}\n#6c656674:{b}\n",
                 "line 2: this user had a line before"),
                ("long", "x" * 129 + f":{a}\n", "name of the user is too"),
                ("empty", "# nothing\n", "has no keys"),
                ("zero", f"left:{a}\n\0", "not a text file")):
            path = self.write(f"bad_{name}.psk", text)
            self.no_creds(f"psk_file_{name}", [path, what], server_psk=path,
                          plain="client")
        self.no_creds("psk_file_absent", ["/no/such: No such file"],
                      server_psk="/no/such", plain="client")
        self.no_creds("psk_no_such_user", [two, "has no user 'up'"],
                      client_psk=two, client_user="up", plain="server")
        self.no_creds("psk_no_such_user_at_the_server",
                      [two, "has no user 'up'"],
                      server_psk=two, server_user="up", plain="client")
        self.no_creds("psk_which_user", [two, "has 2 users", "--tls-user"],
                      client_psk=two, plain="server")
        os.chmod(one, 0o644)
        got = self.session("psk_for_everyone", one, one)
        self.result(got and got[0]["end"] == "eof" and
                    f"{one}: warning: every" in got[2],
                    "psk_for_everyone_warns", got)
        os.chmod(one, 0o600)
        self.one_psk = one

    def kinds(self):
        run = self.run(server_creds=self.good, client_psk=self.one_psk)
        lines = [x.split("\t") for x in run.stdout.decode().splitlines()]
        self.result(len(lines) == 2 and all(
            x[4] == "refused" and x[2] == x[3] == "0" for x in lines),
            "a_key_where_certificates_are_wanted", run)
        run = self.run(server_psk=self.one_psk, client_creds=self.good,
                       hostname="dest.example")
        lines = [x.split("\t") for x in run.stdout.decode().splitlines()]
        self.result(len(lines) == 2 and all(
            x[4] == "refused" and x[2] == x[3] == "0" for x in lines),
            "a_certificate_where_keys_are_wanted", run)
        self.no_creds("certificates_and_keys", ["either"],
                      server_creds=self.good, server_psk=self.one_psk,
                      plain="client")

    def plain(self):
        for kind, creds in (("creds", self.good), ("psk", self.one_psk)):
            for speaker, other in (("server", "client"),
                                   ("client", "server")):
                name = f"plain_{speaker}_{kind}"
                run = self.run(**{f"{other}_{kind}": creds},
                               hostname="dest.example", plain=speaker,
                               bytes=10)
                lines = [x.split("\t") for x in
                         run.stdout.decode().splitlines()]
                if len(lines) != 2:
                    self.result(False, name, run)
                    continue
                tls = next(x for x in lines if x[0] == other)
                raw = next(x for x in lines if x[0] == speaker)
                self.result(
                    tls[4] == "refused" and tls[2] == tls[3] == "0" and
                    tls[5] == "the peer does not speak TLS" and
                    (speaker == "server" or raw[3] == "0"), name, run)

    def lines_of_all_kinds(self):
        for kind, creds in (("x509", self.good), ("psk", self.one_psk)):
            for name, size, args in (
                    ("partial_writes", 1 << 20, {"sndbuf": 1}),
                    ("pieces_of_1", 20001, {"chunk": 1}),
                    ("pieces_of_7", BYTES, {"chunk": 7, "sndbuf": 1}),
                    ("pieces_of_1000", BYTES, {"chunk": 1000}),
                    ("much", 32 << 20, {})):
                self.passes(f"{kind}_{name}", creds, creds, size=size, **args)

    def cut_lines(self):
        """Cut at every place: never taken for the end, never stuck."""
        for kind, creds in (("x509", self.good), ("psk", self.one_psk)):
            name = f"{kind}_cut_anywhere"
            bad = []
            for cut in [*range(1, 200), *range(200, 4000, 101), 20000]:
                got = self.session(name, creds, creds, bytes=BYTES, cut=cut)
                if not got:
                    return
                if any(x["end"] not in ("refused", "error") or
                       not x["error"] for x in got[:2]) or \
                        "cut off" not in got[0]["error"]:
                    bad.append(f"{cut}: {got[2]}")
            self.result(not bad, name, "\n".join(bad))
            for mute, other in (("server", 1), ("client", 0)):
                name = f"{kind}_cut_after_all_by_the_{mute}"
                got = self.session(name, creds, creds, bytes=BYTES, mute=mute)
                if got:
                    self.result(
                        got[1 - other]["end"] == "mute" and
                        got[other]["end"] == "error" and
                        "cut off" in got[other]["error"] and
                        got[other]["received"] == BYTES, name, got)

    def changed_bytes(self):
        """A byte changed on the way is seen, and nothing after it taken.

        Those that nobody relies on (versions in the heads of records) may
        pass, and then everything arrives; a length that has grown leaves both
        waiting, which is for a timeout of the caller.
        """
        for kind, creds in (("x509", self.good), ("psk", self.one_psk)):
            name = f"{kind}_changed_anywhere"
            bad = []
            for flip in [*range(1, 400, 3), *range(400, 4000, 101), 20000]:
                got = self.session(name, creds, creds, bytes=BYTES, flip=flip)
                if not got:
                    return
                server, client, said = got
                if flip < 2000 and server["end"] == client["end"] == "eof":
                    passed = server["received"] == BYTES
                else:
                    passed = server["end"] in ("refused", "error", "stuck") \
                        and server["received"] < flip
                if not passed:
                    bad.append(f"{flip}: {said}")
            self.result(not bad, name, "\n".join(bad))

    def older_version(self):
        """TLS 1.2 alone, then nothing that we would take."""
        config = self.write("gnutls.conf",
                            "[overrides]\ndisabled-version = tls1.3\n")
        self.env = {"GNUTLS_SYSTEM_PRIORITY_FILE": config}
        prefix = "tls12_"
        result = self.result
        self.result = lambda good, name, why="": result(good, prefix + name,
                                                        why)
        self.passes("x509", self.good, self.good, peers=("source", "dest"))
        self.passes("psk", self.one_psk, self.one_psk)
        self.passes("partial_writes", self.good, self.good, sndbuf=1)
        self.refused("wrong_name", "client", "does not name",
                     self.good, self.good, "other.example")
        self.refused("psk_wrong_key", "server", "has another key",
                     self.one_psk, self.path("wrong.psk"))
        self.strangers()
        self.cut_lines()
        self.write("gnutls.conf", "[overrides]\ndisabled-version = tls1.3\n"
                   "disabled-version = tls1.2\n")
        self.no_creds("nothing_older", ["TLS"], server_creds=self.good,
                      plain="client")
        self.result = result
        self.env = {}

    def main(self):
        self.make()
        self.certificates()
        self.strangers()
        self.own_files()
        self.modes()
        self.keys()
        self.kinds()
        self.plain()
        self.lines_of_all_kinds()
        self.cut_lines()
        self.changed_bytes()
        self.older_version()
        shutil.rmtree(self.dir)
        return self.tap.end()


if __name__ == "__main__":
    if len(sys.argv) != 2 or not stat.S_ISDIR(os.stat(sys.argv[1]).st_mode):
        sys.exit(__doc__)
    if not shutil.which("certtool"):
        print("certtool is missing")
        sys.exit(SKIP)
    sys.exit(Tests(sys.argv[1]).main())
