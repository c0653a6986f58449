"""Key pairs that log in: as they are, or in a key file."""

from __future__ import annotations

from pathlib import Path

from p2pgrid.crypto import Identity
from p2pgrid.home import make_key, read_key

Key = Identity | str | Path
"""A key pair, or the path of its file."""


def key_pair(key: Key, *, make: bool = False) -> Identity:
    """The key pair itself; ``make``: a new one where there is no such file yet.  Raises ``BadHome``."""
    if isinstance(key, Identity):
        return key
    path = Path(key).expanduser()
    if make and not path.exists():
        make_key(path)
    return read_key(path)
