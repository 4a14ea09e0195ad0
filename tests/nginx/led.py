#!/usr/bin/env python3
"""Holds where nginx led each product against where it must: led.py PHASE FIRST SECOND DIRECTORY

PHASE is `both` or `again`, when both instances are there, or which one is left: `first`, `second`. What
was done in a phase is in DIRECTORY/led-PHASE.
"""

import collections
import sys

# A share that a fair hash falls below once in many thousand runs, with 40 products.
SHARE_MIN = 0.1


def places(directory, phase):
    """Where the calls of each product were answered; what met nobody, or an end, is not counted."""
    found = collections.defaultdict(set)
    with open(f"{directory}/led-{phase}") as lines:
        for line in lines:
            # Time, addresses (several, where some were not reached), status, and more; see docs/nginx.conf.
            words, product, _ = line.rsplit('"', 2)
            _, *addresses, status, _, _, _ = words.split()
            if status == "200" and product != "-":
                found[product].add(addresses[-1])
    return found


def main(phase, first, second, directory):
    found = places(directory, phase)
    torn = {product: at for product, at in found.items() if len(at) != 1}
    if not found or torn:
        sys.exit(f"{phase}: {len(found)} products, of which at several instances: {torn}")
    homes = {product: next(iter(at)) for product, at in found.items()}
    counts = collections.Counter(homes.values())
    print(f"{phase}: {len(homes)} products, {counts[first]} at the first instance, {counts[second]} at the second")
    if phase in ("first", "second"):
        if set(homes.values()) != {first if phase == "first" else second}:
            sys.exit(f"{phase}: {homes}")
        return
    if min(counts[first], counts[second]) < SHARE_MIN * len(homes):
        sys.exit("one instance has next to nothing")
    if phase == "again":
        before = {product: next(iter(at)) for product, at in places(directory, "both").items()}
        moved = [product for product in homes if product in before and before[product] != homes[product]]
        if moved:
            sys.exit(f"not back where they were: {moved}")


main(*sys.argv[1:])
