#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""The netlink family as a table in C, for kernel.c.

    spec.py SPEC >HEADER
"""

import sys

import yaml


def upper(name):
    return name.replace("-", "_").upper()


def attr(names, counts, attribute):
    """One attribute: type, kind, number of values or mask, nest."""
    name = attribute["name"]
    size = {"u16": 2, "u32": 4, "u64": 8}.get(attribute["type"], 0)
    checks = attribute.get("checks", {})
    enum = counts.get(attribute.get("enum"), 0)
    if attribute.get("enum-as-flags") or name == "flags":
        enum = -enum
    nest = attribute.get("nested-attributes")
    return (f'\t{{ "{name}", {names}_{upper(name)}, {size}, '
            f'{checks.get("exact-len", 0)}, {enum}, '
            f'{"set_" + nest if nest else "NULL"} }},')


def main(path):
    with open(path, encoding="utf-8") as f:
        spec = yaml.safe_load(f)
    family = upper(spec["name"])
    counts = {d["name"]: len(d["entries"]) for d in spec["definitions"]
              if "entries" in d}
    sets = {s["name"]: s["attributes"] for s in spec["attribute-sets"]}
    print("/* Made by spec.py. */")
    # Nests first.
    for name in sorted(sets, key=lambda n: any(
            "nested-attributes" in a for a in sets[n])):
        print(f"static const struct attr set_{name}[] = {{")
        for attribute in sets[name]:
            if attribute["type"] != "pad":
                print(attr(f"{family}_A_{upper(name)}", counts, attribute))
        print("\t{ 0 }\n};")
    print("static const struct op ops[] = {")
    for op in spec["operations"]["list"]:
        for kind in ("do", "dump"):
            if kind not in op:
                continue
            names = op[kind].get("request", {}).get("attributes", [])
            types = "".join(
                f"{family}_A_{upper(op['attribute-set'])}_{upper(n)}, "
                for n in names)
            print(f'\t{{ "{op["name"].replace("-", "_")}_{kind}", '
                  f'{family}_CMD_{upper(op["name"])}, '
                  f'{"true" if kind == "dump" else "false"}, '
                  f'set_{op["attribute-set"]}, {{ {types}0 }} }},')
    print("};")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
