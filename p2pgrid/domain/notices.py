"""What people are told of: one table from what happened to who hears of it and in which words.

A notice names what happened and the id of the thing.  No data, no code, no result, no reason and no name that somebody
else chose: it may leave the node as an e-mail.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import Any, Final

from p2pgrid.domain.models import moment


class Audience(Enum):
    """Who hears of it."""

    OWNERS = "owners"
    """Everybody who may decide on requests, but who did it."""
    AUTHOR = "author"
    """Who sent the request, even when they are an owner; not who did it."""
    PERSON = "person"
    """Whose account it is about, also when they did it: somebody else may have."""


@dataclass(frozen=True, slots=True)
class Telling:
    """Who is told, and what."""

    audience: Audience
    text: str


NOTICES: Final[Mapping[str, Telling]] = MappingProxyType(
    {
        "request.create": Telling(Audience.OWNERS, "A new code request waits for a verdict."),
        "request.approve": Telling(Audience.AUTHOR, "Your code request was approved."),
        "request.deny": Telling(Audience.AUTHOR, "Your code request was denied; the reason stands with it."),
        "request.deposit": Telling(Audience.AUTHOR, "The result of your code request is ready."),
        "request.withdraw": Telling(Audience.AUTHOR, "The verdict on your code request was undone; it waits again."),
        "job.end": Telling(Audience.AUTHOR, "A job of yours ended."),
        "account.sign_up": Telling(Audience.OWNERS, "Somebody asks for an account."),
        "account.create": Telling(Audience.PERSON, "You have an account here."),
        "account.activate": Telling(Audience.PERSON, "Your account was opened."),
        "account.role": Telling(Audience.PERSON, "Your role here was changed."),
        "account.password": Telling(Audience.PERSON, "The password of your account was changed."),
        "account.email": Telling(Audience.PERSON, "The e-mail address of your account was changed."),
        "account.key": Telling(Audience.PERSON, "The key that logs in to your account was changed."),
        "account.reset": Telling(Audience.PERSON, "A code to reset the password of your account was made."),
        "settings.set": Telling(Audience.OWNERS, "A setting of the domain was changed."),
    }
)
"""By the action that the audit log records, so that nothing is told that is not on record."""

RETRIES: Final = (60.0, 300.0, 1800.0, 7200.0, 43_200.0)
"""Seconds before an e-mail that could not be sent is tried again; after the last of them it is given up."""


@dataclass(frozen=True, slots=True)
class Notice:
    """One thing that one person is told.  ``subject`` is the id of what it is about."""

    id: str
    kind: str
    subject: str
    created_at: float
    read_at: float | None

    def to_wire(self) -> dict[str, Any]:
        """For its person, and as JSON for the portal."""
        telling = NOTICES.get(self.kind)
        return {
            "id": self.id,
            "kind": self.kind,
            "subject": self.subject,
            "text": telling.text if telling else "",
            "created_at": moment(self.created_at),
            "read": self.read_at is not None,
        }


def letter(kind: str, subject: str, domain: str, email: str) -> tuple[str, str]:
    """The subject line and the body of an e-mail."""
    text = NOTICES[kind].text
    body = (
        f"{text}\n\n"
        f"Domain: {domain}\nAbout: {kind.partition('.')[0]} {subject}\nAccount: {email}\n\n"
        "Log in to the domain to see more. Nobody asks you for your password by e-mail.\n"
        "To get no more of these: p2pgrid accounts update --no-mail\n"
    )
    return f"[{domain}] {text}", body


def next_try(tries: int) -> float | None:
    """Seconds to wait after ``tries`` failures (1 or more); None: give it up."""
    return RETRIES[tries - 1] if tries <= len(RETRIES) else None
