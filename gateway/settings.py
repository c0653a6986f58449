"""What a gateway is told at its start, and every named limit it keeps."""

from __future__ import annotations

import ipaddress
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from p2pgrid.errors import BadConfig

MAX_BODY: Final = 64 * 1024
"""Bytes of a request to the gateway, and of a node's answer to it."""
MAX_NODES: Final = 10_000
MAX_NODES_PER_IP: Final = 64
"""Entries that may point at one IPv4 address or one IPv6 /64; loopback is not counted."""
MAX_NAMES_PER_ADDRESS: Final = 4
MAX_NAME: Final = 64
MAX_ADDRESS: Final = 256
MAX_QUERY: Final = 16
MAX_TAGS: Final = 10_000
"""Tags in one answer of ``/search-available-tags``."""
PAGE: Final = 1_000
"""Nodes in one answer of ``/health-check``."""
HTML_ROWS: Final = 500

BUSY_MS: Final = 100.0
"""From this latency on a node is busy (the data sheet of the seeds: online under 100 ms)."""
OFFLINE_KEEP: Final = 24 * 3600.0
"""Seconds after which a node that no longer answers is forgotten."""
UNSEEN_KEEP: Final = 3600.0
"""Seconds after which a node that never answered is forgotten."""
MISSES_BEFORE_DROP: Final = 3
"""Probes that must have failed since the gateway's start before it forgets a node."""
HOUSEKEEPING: Final = 60.0
RETRY_FIRST: Final = 1.0
RETRY_MOST: Final = 6
"""An offline node is tried after 1, 2, 4, ... seconds, at most this many probe intervals apart."""

ASKS_AT_ONCE: Final = 256
PROBES_AT_ONCE: Final = 64
JOINS_AT_ONCE: Final = 64
SEARCHES_AT_ONCE: Final = 32
LOOKUPS_AT_ONCE: Final = 32
OWN_LAG: Final = 0.1
"""Seconds by which a deadline may be noticed late before the gateway takes the blame for a missing answer itself."""
MAX_IPS: Final = 4
"""Addresses of one name that are tried."""
PIN_FRESH: Final = 60.0
"""Seconds for which a looked-up and checked address is used without asking the name system again."""
PIN_STALE: Final = 3600.0
"""Seconds for which it is still used when the name system does not answer."""

STRIKES_TO_BENCH: Final = 2
BENCH_FIRST: Final = 10.0
BENCH_MOST: Final = 120.0
"""A node that lets two searches in a row wait is left out for 10 s, then 20 s, ... up to 2 minutes.

After that it is asked again, on trial: no search waits for it before it has answered one in time.
"""

BACKLOG: Final = 256

BODY_DEADLINE: Final = 10.0
"""Seconds in which the body of a request must have arrived."""
SHUTDOWN: Final = 2.0
"""Seconds that requests under way get when the gateway stops."""

RATE_SOURCES: Final = 4_096
"""Callers whose rate is remembered; the longest silent one is forgotten first."""


@dataclass(frozen=True, slots=True)
class Rate:
    """A token bucket: ``burst`` calls at once, then ``per_second``."""

    burst: float
    per_second: float


JOIN_RATE: Final = Rate(60, 1)
SEARCH_RATE: Final = Rate(120, 20)
LOOPBACK_RATE: Final = Rate(10_000, 1_000)
"""On the gateway's own machine only a runaway loop is slowed down."""


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    """How one gateway runs.  Raises ``BadConfig`` on a value that cannot be used.

    ``home`` is its own folder (default: ``gateway`` in the user's data folder of p2pgrid); ``port`` 0 takes any free
    one.  ``probe_interval`` and ``deadline`` are seconds.  ``allow_private`` lets nodes join from private networks;
    ``public`` applies the rules of a public gateway even on a loopback host (for one behind a reverse proxy).
    The rates are for one source each, ``loopback_rate`` for all callers on this machine together.
    """

    host: str = "127.0.0.1"
    port: int = 5000
    home: Path | None = None
    allow_private: bool = False
    public: bool = False
    probe_interval: float = 10.0
    deadline: float = 2.0
    log_json: bool = False
    join_rate: Rate = JOIN_RATE
    search_rate: Rate = SEARCH_RATE
    loopback_rate: Rate = LOOPBACK_RATE

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65_535:
            raise BadConfig(f"Port {self.port} is not between 0 and 65535.")
        for name, least, most in (("probe_interval", 0.05, 86_400.0), ("deadline", 0.05, 60.0)):
            value = getattr(self, name)
            if not (math.isfinite(value) and least <= value <= most):
                raise BadConfig(f"{name} is {value}; it must be between {least} and {most:.0f} seconds.")
        if not self.host or any(char.isspace() for char in self.host):
            raise BadConfig(f"{self.host[:60]!r} is no host to listen on.")

    @property
    def on_loopback(self) -> bool:
        """Whether only this machine can reach the gateway, and nothing forwards to it."""
        if self.public:
            return False
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    def folder(self) -> Path:
        """The home folder."""
        if self.home is not None:
            return Path(self.home)
        from platformdirs import user_data_path

        return user_data_path("p2pgrid") / "gateway"
