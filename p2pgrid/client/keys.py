"""Key pairs that log in: as they are, or in a key file."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from p2pgrid.crypto import Identity
from p2pgrid.errors import BadHome
from p2pgrid.home import make_key, read_key

WHICH: Final = "Check the path. A new key file is made by: p2pgrid accounts set-key FILE --email EMAIL --on NODE"
Key = Identity | str | Path
"""A key pair, or the path of its file."""


def key_pair(key: Key, *, make: bool = False) -> Identity:
    """The key pair itself; ``make``: a new one where there is no such file yet.  Raises ``BadHome``."""
    if isinstance(key, Identity):
        return key
    path = key_path(key)
    if make and not path.exists():
        if not path.parent.is_dir():
            raise BadHome(f"There is no folder {path.parent} for a key file.", fix="Make it first, or name another.")
        make_key(path)
    return read_key(path, lost=WHICH)


def key_path(text: str | Path) -> Path:
    """Where a key file lies, whatever the present folder.  Raises ``BadHome``."""
    try:
        return Path(text).expanduser().absolute()
    except RuntimeError:
        raise BadHome(f"The key file {str(text)!r} is in the home of nobody here.", fix=WHICH) from None
