"""Landlock: a process gives up every file but some folders to read, TCP, and signals to others (landlock(7))."""

from __future__ import annotations

import ctypes
import os
import stat
from collections.abc import Iterable
from typing import Final

CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
"""System call numbers, the same on every architecture."""
VERSION_FLAG: Final = 1
RULE_PATH_BENEATH: Final = 1

READ_FILE, READ_DIR = 1 << 2, 1 << 3
FILE_RIGHTS: Final = {1: 13, 2: 14, 3: 15, 5: 16}
"""ABI -> how many rights over files it knows: refer, truncate and ioctl came later."""
TCP_RIGHTS: Final = 0b11
SCOPES: Final = 0b11
"""Abstract UNIX sockets and signals."""


class _Attributes(ctypes.Structure):
    _fields_ = (("files", ctypes.c_uint64), ("network", ctypes.c_uint64), ("scopes", ctypes.c_uint64))


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed", ctypes.c_uint64), ("folder", ctypes.c_int32))


def _call(number: int, *args: object) -> int:
    return int(ctypes.CDLL(None, use_errno=True).syscall(number, *args))


def version() -> int:
    """The kernel's Landlock ABI; 0 when there is none, or it is turned off."""
    return max(0, _call(CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(VERSION_FLAG)))


def ruleset(readable: Iterable[str]) -> int:
    """A descriptor of rules: ``readable`` files and folders may be read, nothing else is allowed.

    Nothing may be executed: a library is mapped, which Landlock does not ask about.  Raises ``OSError``.
    """
    abi = version()
    if not abi:
        raise OSError("the kernel has no Landlock")
    rights = max(count for least, count in FILE_RIGHTS.items() if least <= abi)
    wanted = _Attributes((1 << rights) - 1, TCP_RIGHTS if abi >= 4 else 0, SCOPES if abi >= 6 else 0)
    size = 24 if abi >= 6 else 16 if abi >= 4 else 8
    rules = _call(CREATE_RULESET, ctypes.byref(wanted), ctypes.c_size_t(size), ctypes.c_uint32(0))
    if rules < 0:
        raise OSError(ctypes.get_errno(), "landlock_create_ruleset")
    for place in readable:
        _allow(rules, place)
    return rules


def _allow(rules: int, place: str) -> None:
    folder = os.open(place, os.O_PATH | os.O_CLOEXEC)
    try:
        allowed = READ_FILE | READ_DIR if stat.S_ISDIR(os.fstat(folder).st_mode) else READ_FILE
        rule = _PathBeneath(allowed, folder)
        if _call(ADD_RULE, rules, RULE_PATH_BENEATH, ctypes.byref(rule), ctypes.c_uint32(0)):
            raise OSError(ctypes.get_errno(), "landlock_add_rule")
    finally:
        os.close(folder)


def restrict(rules: int) -> None:
    """Live under ``rules`` from now on; needs no-new-privileges.  Raises ``OSError``."""
    if _call(RESTRICT_SELF, rules, ctypes.c_uint32(0)):
        raise OSError(ctypes.get_errno(), "landlock_restrict_self")
