#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""The descriptions for syzkaller say all of both interfaces, and no more.

    check.py DESCRIPTIONS IOCTL-HEADER NETLINK-HEADER NETLINK-SPEC

Without syzkaller. Its compiler finds what is wrong in the descriptions; here it
is found that they have grown old.
"""

import re
import sys

import yaml

# What only the kernel says.
NEVER_SENT = {"state", "link-type"}


def read(path):
    with open(path, encoding="utf-8") as f:
        return f.read()


def upper(name):
    return name.replace("-", "_").upper()


def members(text):
    """Structures by name: the names of their members, in order."""
    found = {}
    for name, body in re.findall(r"^(?:struct )?(tapmig_\w+) \{\n(.*?)^\}",
                                 text, re.M | re.S):
        found[name] = [re.search(r"(\w+)(?:\[[^]]*\])*;", line).group(1)
                       if ";" in line else line.split()[0]
                       for line in body.splitlines() if line.strip()]
    return found


def from_header(header):
    """What has to be there for the ioctls."""
    for name in re.findall(r"#define (TAPMIG_\w+)\s+_IO\w*\(", header):
        yield f"ioctl${name}("
        yield f"cmd const[{name}]"
    yield from re.findall(r"#define (TAPMIG_\w+)\s+\(1U << \d+\)", header)


def from_spec(spec):
    """What has to be there for the netlink family."""
    sets = {s["name"]: s for s in spec["attribute-sets"]}
    enums = {d["name"]: d for d in spec["definitions"] if "entries" in d}
    family = upper(spec["name"])
    for name, enum in enums.items():
        if name not in NEVER_SENT:
            for entry in enum["entries"]:
                yield f"{family}_{upper(name)}_{upper(entry['name'])}"
    asked = {}
    for op in spec["operations"]["list"]:
        if "notify" in op:
            continue
        yield f"sendmsg${family}_CMD_{upper(op['name'])}("
        for kind in ("do", "dump"):
            for name in op.get(kind, {}).get("request",
                                             {}).get("attributes", []):
                asked.setdefault(op["attribute-set"], set()).add(name)
    for group in list(asked):
        for attribute in sets[group]["attributes"]:
            nested = attribute.get("nested-attributes")
            if nested and attribute["name"] in asked[group]:
                asked[nested] = {a["name"] for a in
                                 sets[nested]["attributes"]} - {"pad"}
    for group, names in asked.items():
        for name in names:
            name = f"{family}_A_{upper(group)}_{upper(name)}"
            yield re.compile(rf"^\t{name}\t+nl(attr|nest)\[{name}, ", re.M)


def main(descriptions, ioctls, netlink, spec):
    text = read(descriptions)
    header = read(ioctls)
    wrong = []
    for want in [*from_header(header), *from_spec(yaml.safe_load(read(spec)))]:
        if isinstance(want, re.Pattern):
            if not want.search(text):
                wrong.append(f"missing: {want.pattern}")
        elif not re.search(rf"{re.escape(want)}(\b|(?<=\W))", text):
            wrong.append(f"missing: {want}")
    described = members(text)
    for name, there in members(header).items():
        if described.get(name) != there:
            wrong.append(f"struct {name} has other members")
    known = set(re.findall(r"\bTAPMIG_\w+", header + read(netlink)))
    for name in sorted(set(re.findall(r"\bTAPMIG_\w+", text)) - known):
        wrong.append(f"unknown: {name}")
    for line in wrong:
        print(line)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
