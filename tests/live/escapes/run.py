"""The escape suite by hand: a table of every attack by each way and user.

python tests/live/escapes/run.py [--way bare] [--user root] [ATTACK ...]
"""

from __future__ import annotations

import argparse
import sys

from escape_suite.attacks import ATTACKS
from escape_suite.matrix import Matrix
from escape_suite.model import USERS, WAYS
from escape_suite.page import table


def main() -> int:
    """Print the table; 1 if an attack came through a tier."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--way", action="append", choices=WAYS)
    parser.add_argument("--user", action="append", choices=USERS)
    parser.add_argument("--why", action="store_true", help="print the evidence of each attack")
    parser.add_argument("attack", nargs="*", help="names; all when none is given")
    parser.add_argument("--table", action="store_true", help="print the families as docs/threat-model.md has them")
    given = parser.parse_args()
    if given.table:
        print(table())
        return 0
    if unknown := set(given.attack) - set(ATTACKS):
        parser.error(f"no such attack: {', '.join(sorted(unknown))}")
    matrix = Matrix(given.attack, given.way or WAYS, given.user or USERS)
    try:
        outcomes = matrix.outcomes()
    finally:
        matrix.close()
    words = {(item.way, item.user): {one.attack: _word(one) for one in item.verdicts} for item in outcomes}
    print(f"{'attack':64}" + "".join(f"{way + '/' + user:13}" for way, user in words))
    for name in given.attack or ATTACKS:
        print(
            f"{ATTACKS[name].family + ' ' + name:64}"
            + "".join(f"{found.get(name, '-'):13}" for found in words.values())
        )
    for item in outcomes:
        through = sum(one.succeeded for one in item.verdicts)
        took = sum(one.seconds for one in item.verdicts)
        print(
            f"{item.way}/{item.user}: {through} of {len(item.verdicts)} came through, in {took:.0f} s "
            f"{item.unavailable}{item.fault}"
        )
        for one in item.verdicts:
            if given.why or one.fault:
                print(f"  {one.attack}: {one.seconds:.2f} s {one.evidence}{one.fault}")
    return any(
        one.succeeded and not ATTACKS[one.attack].allowed
        for item in outcomes
        if item.way != "bare"
        for one in item.verdicts
    )


def _word(verdict: object) -> str:
    if verdict.fault:  # type: ignore[attr-defined]
        return "fault"
    return "came through" if verdict.succeeded else "stopped"  # type: ignore[attr-defined]


if __name__ == "__main__":
    sys.exit(main())
