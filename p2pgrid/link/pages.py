"""Web pages against the node on its reader's machine: which requests a browser was led to send."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from p2pgrid.errors import ForeignOrigin, NotAllowed

FORWARDED: Final = ("Forwarded", "X-Forwarded-For", "X-Real-IP", "Via")
"""Headers by which a proxy tells that it calls for somebody else."""


def refuse_foreign_page(host: str | None, origin: str | None, *, on_loopback: bool) -> None:
    """Raises ``ForeignOrigin`` for a request that a page of another site sent; both are headers as they came.

    A browser names the page's site in Origin, always when it opens a WebSocket and when it posts; our own programs
    send none.  A page whose name was led to 127.0.0.1 after it was loaded (DNS rebinding) agrees with its Origin, but
    names itself in Host: on loopback that must be this machine.
    """
    if on_loopback and not (host and _is_local(host)):
        raise ForeignOrigin(f"This node listens on loopback, and {(host or '')[:80]!r} is not there.")
    if origin is not None and (not host or origin.lower() not in (f"http://{host}".lower(), f"https://{host}".lower())):
        raise ForeignOrigin(f"A page of {origin[:80]!r} may not use this node.")


def refuse_far_caller(remote: str | None, headers: Mapping[str, str]) -> None:
    """Raises ``NotAllowed`` unless a program on this machine calls, for itself.

    A proxy on this machine calls for others and says so in a header; a page whose name was led to 127.0.0.1 names
    itself in Host.
    """
    address = (remote or "").removeprefix("::ffff:")
    forwarded = any(name in headers for name in FORWARDED)
    if forwarded or not _is_local(f"[{address}]" if ":" in address else address):
        raise NotAllowed(
            "This is for callers on the node's own machine.",
            fix='Ask from there, or let its owner set metrics = "all".',
        )
    refuse_foreign_page(headers.get("Host"), headers.get("Origin"), on_loopback=True)


def _is_local(host: str) -> bool:
    try:
        name = urlsplit(f"//{host}").hostname or ""
        return name == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
