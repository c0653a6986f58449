"""Who is logged in: a bounded table of sessions that end by age, by silence, or because somebody says so.

A session is no token.  It is a note that the domain keeps beside one link, whose peer has proven a key; its id only
names it in a list.  So there is nothing to steal, to guess or to prepare for somebody else, and with its link it goes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakValueDictionary

from p2pgrid.domain.models import Account, moment


@dataclass(slots=True, weakref_slot=True, eq=False)
class Session:
    """One login.  ``epoch`` is the account's at that time; ``over`` says why it ended, empty while it lasts.

    ``known`` is the account as it was after so many transactions.
    """

    id: str
    account: str
    epoch: int
    key: bytes
    remote: str
    how: str
    since: float
    seen: float
    over: str = ""
    known: tuple[int, Account] | None = field(default=None, repr=False)

    def to_wire(self) -> dict[str, Any]:
        """For its person and for those who manage accounts."""
        return {
            "id": self.id,
            "account": self.account,
            "how": self.how,
            "remote": self.remote,
            "key": self.key.hex(),
            "since": moment(self.since),
            "last_seen": moment(self.seen),
        }


class Sessions:
    """The sessions of one domain, at most ``each`` of an account: one more ends the one that was silent longest.

    Whoever logged in holds the session (a link's notes do); the table only knows of those that are held.
    """

    def __init__(self, each: int) -> None:
        self._each = each
        self._known: WeakValueDictionary[str, Session] = WeakValueDictionary()

    def begin(self, session: Session) -> Session:
        """Take note of a login."""
        held = sorted(self.of(session.account), key=lambda one: one.seen)
        for one in held[: max(0, len(held) + 1 - self._each)]:
            self.end(one, "others of the account took its place")
        self._known[session.id] = session
        return session

    def lasts(self, session: Session, now: float, *, life: float, idle: float) -> bool:
        """Whether the session goes on; one that is over by ``life`` or ``idle`` (seconds) ends here."""
        if not session.over and now - session.since >= life:
            self.end(session, "its time was over")
        if not session.over and now - session.seen >= idle:
            self.end(session, "it was silent for too long")
        return not session.over

    def use(self, session: Session, now: float) -> None:
        """Somebody called by it."""
        session.seen = max(now, session.seen)

    def end(self, session: Session, why: str) -> None:
        """End one; told once."""
        session.over = session.over or why
        self._known.pop(session.id, None)

    def find(self, an_id: str) -> Session | None:
        """The session of that id, if it lasts."""
        return self._known.get(an_id)

    def of(self, account: str | None = None) -> list[Session]:
        """Those of an account, or all, oldest first."""
        return sorted((one for one in self if account in (None, one.account)), key=lambda one: (one.since, one.id))

    def __iter__(self) -> Iterator[Session]:
        return iter(list(self._known.values()))

    def __len__(self) -> int:
        return len(self._known)
