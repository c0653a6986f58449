"""What owners change while the domain runs: each setting with its kind, its limits and its default."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import Any, Final

from p2pgrid.domain.accounts import Guests
from p2pgrid.errors import InvalidInput

MOST_HOURS: Final = 24 * 365


class SignUp(StrEnum):
    """Who may make an account without an owner."""

    CLOSED = "closed"
    """Nobody: owners register people."""
    APPROVAL = "approval"
    """Anybody may ask; an owner lets them in."""
    OPEN = "open"
    """Anybody, as a data scientist."""


@dataclass(frozen=True, slots=True)
class DomainSettings:
    """The settings of a domain, as they are now.  The defaults let nobody in whom no owner knows."""

    sign_up: SignUp = SignUp.CLOSED
    guests: Guests = Guests.METADATA
    session_hours: int = 168
    """Hours after which a session ends, whatever it does."""
    idle_hours: int = 24
    """Hours without a call after which it ends."""

    def to_wire(self) -> dict[str, Any]:
        """Names and plain values."""
        return asdict(self)

    def changed(self, name: str, value: Any) -> DomainSettings:
        """With one setting changed.  Raises ``InvalidInput``."""
        known = {field.name for field in fields(self)}
        if name not in known:
            raise InvalidInput(f"{name[:40]!r} is no setting; settings are {', '.join(sorted(known))}.")
        return DomainSettings(**{**asdict(self), name: READERS[name](name, value)})


def _hours(name: str, value: Any) -> int:
    number = int(value) if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 6 else value
    if type(number) is not int or not 1 <= number <= MOST_HOURS:
        raise InvalidInput(f"{name} is a whole number of hours from 1 to {MOST_HOURS}.")
    return number


def _sign_up(name: str, value: Any) -> SignUp:
    if value not in tuple(SignUp):
        raise InvalidInput(f"{name} is one of {', '.join(SignUp)}.")
    return SignUp(value)


def _guests(name: str, value: Any) -> Guests:
    if value not in tuple(Guests):
        raise InvalidInput(f"{name} is one of {', '.join(Guests)}.")
    return Guests(value)


READERS: Final[Mapping[str, Any]] = {
    "sign_up": _sign_up,
    "guests": _guests,
    "session_hours": _hours,
    "idle_hours": _hours,
}
