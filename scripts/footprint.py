"""Whether what a user installs stays small: under 45 distributions and 120 MB without pip and compiled caches."""

from __future__ import annotations

import importlib
import sys
from importlib.metadata import distributions
from pathlib import Path

MOST_DISTRIBUTIONS = 45
MOST_MEGABYTES = 120
NOT_OURS = {"pip", "setuptools", "wheel"}


def main() -> int:
    """Print both figures; 1 when one is over its bound."""
    found = {dist.metadata["Name"]: dist for dist in distributions() if dist.metadata["Name"] not in NOT_OURS}
    files = {Path(str(file.locate())).resolve() for dist in found.values() for file in dist.files or ()}
    size = sum(file.stat().st_size for file in files if file.is_file() and file.suffix != ".pyc") / 1e6
    print(f"{len(found)} distributions (most {MOST_DISTRIBUTIONS}), {size:.0f} MB (most {MOST_MEGABYTES})")
    for module in ("p2pgrid", "p2pgrid.node", "p2pgrid.cli", "gateway"):
        importlib.import_module(module)
    return int(len(found) > MOST_DISTRIBUTIONS or size > MOST_MEGABYTES)


if __name__ == "__main__":
    sys.exit(main())
