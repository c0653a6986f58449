"""What every verb is given: who calls, with which arguments, and the parts of the domain."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import MappingProxyType, ModuleType
from typing import Any, Final, Protocol, TypeVar
from weakref import WeakValueDictionary

from sqlalchemy import insert
from sqlalchemy.orm import Session

from p2pgrid import crypto
from p2pgrid.domain import audit
from p2pgrid.domain.accounts import PERMISSIONS, Role
from p2pgrid.domain.fields import Args
from p2pgrid.domain.models import Account
from p2pgrid.domain.notices import NOTICES
from p2pgrid.domain.runner.spec import Limits, RunReport, RunSpec
from p2pgrid.domain.service.anchor import Anchor, newest
from p2pgrid.domain.service.post import Post, notify
from p2pgrid.domain.service.queue import Queue
from p2pgrid.domain.sessions import Sessions
from p2pgrid.domain.settings import DomainSettings
from p2pgrid.domain.storage import Storage
from p2pgrid.domain.storage.catalogue import Catalogue
from p2pgrid.domain.storage.database import DatabaseAway
from p2pgrid.domain.storage.tables import AuditRow
from p2pgrid.domain.tally import Tally
from p2pgrid.domain.throttle import Throttle
from p2pgrid.errors import NotLoggedIn, TooManyTries

T = TypeVar("T")
log = logging.getLogger(__name__)

FIRST_WAIT: Final = 0.5
LAST_WAIT: Final = 30.0
"""Seconds until a write is tried again while the database is away, or until another one gets through; they double."""
NEWEST: Final = "newest"
"""Where a session keeps what its next audit entry is chained to."""
HASHING_AT_ONCE: Final = 2
"""Password checks under way; each takes 64 MiB and about 80 ms of a core."""
HASHING_WAITING: Final = 64
LIST_BYTES: Final = 2 << 20
"""Bytes of long texts (code, output, descriptions) in one list; a frame of the link carries 4 MiB."""


class CallerLike(Protocol):
    """Whoever calls: a link's peer, or a ``Caller``."""

    @property
    def key(self) -> bytes:
        """Their Ed25519 public key, proven; empty when there is none."""

    @property
    def remote(self) -> str:
        """The address they come from."""

    @property
    def state(self) -> dict[str, Any]:
        """Notes on this session, kept as long as it lasts."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody who calls without a link, such as a program of the node's own."""

    key: bytes = b""
    remote: str = ""
    state: dict[str, Any] = field(default_factory=dict, repr=False)


class CodeRunner(Protocol):
    """Runs submitted code apart from the node."""

    async def run(
        self,
        spec: RunSpec,
        begin: Callable[[], Awaitable[None]] | None = None,
        on_output: Callable[[str], None] | None = None,
    ) -> RunReport:
        """However the code behaves, the answer is a report.  ``begin`` is awaited before anything starts.

        ``on_output`` is called with pieces of printable text while the code prints.
        """

    async def tier(self) -> TierLike:
        """How well runs are confined."""

    @property
    def environments(self) -> tuple[str, ...]:
        """Names of the sets of packages that a run may ask for."""


class TierLike(Protocol):
    """One of ``runner.TIERS``, what makes it that, and why it is not a better one."""

    @property
    def name(self) -> str: ...
    @property
    def layers(self) -> tuple[str, ...]: ...
    @property
    def why(self) -> str: ...


@dataclass(frozen=True, slots=True)
class DomainLimits:
    """How much a domain takes on."""

    datasets: int = 100_000
    dataset_bytes: int = 128 << 10
    assets: int = 256
    accounts: int = 100_000
    projects_each: int = 1000
    pending_each: int = 100
    requests_each: int = 10_000
    failed_runs: int = 3
    """Private runs without a result after which a request needs a new verdict: each may tell a bit of the data."""
    result_bytes: int = 16 << 20
    login_tries: int = 10
    login_window: float = 60.0
    strange_logins: int = 100
    """Failed logins to one account from places where its person never was, after which such places wait."""
    strange_window: float = 3600.0
    places_each: int = 32
    sign_ups: int = 5
    sign_up_window: float = 3600.0
    sign_ups_waiting: int = 1000
    sessions_each: int = 100
    notices_each: int = 1000
    mails_each: int = 50
    mails: int = 10_000
    reset_hours: int = 24
    guesses: int = 20
    guess_window: float = 3600.0
    throttled: int = 4096
    jobs_at_once: int = 2
    jobs_running_each: int = 1
    jobs_each: int = 20
    """Jobs of one account that wait or run."""
    jobs_kept: int = 200
    """Jobs of one account that are kept after they ended."""
    noted_failures: int = 100
    """Failed logins that the audit log tells each by itself in ``noted_window`` seconds; of more, how many."""
    noted_window: float = 4 * 3600.0
    mock_run: Limits = field(default_factory=Limits)
    private_run: Limits = field(default_factory=lambda: Limits(wall_seconds=300.0, cpu_seconds=300))


@dataclass(frozen=True, slots=True)
class Who:
    """The caller of one verb, and the account they are logged in to."""

    caller: CallerLike
    account: Account | None

    @property
    def person(self) -> Account:
        """The account.  Raises ``NotLoggedIn``."""
        if self.account is None:
            raise NotLoggedIn("This needs an account.")
        return self.account

    @property
    def owns(self) -> bool:
        """Whether they may see what is private here."""
        return self.account is not None and self.account.role >= Role.DATA_OWNER

    @property
    def label(self) -> str:
        """How the audit log names them."""
        return self.account.email if self.account else "guest"


class Domain:
    """The parts of one domain, and the few ways in which every verb uses them.  Belongs to one event loop."""

    def __init__(
        self,
        storage: Storage,
        runner: CodeRunner,
        *,
        identity: crypto.Identity,
        name: str,
        clock: Callable[[], float],
        random: crypto.Random,
        loopback: bool,
        dev_mode: bool,
        limits: DomainLimits,
    ) -> None:
        self.storage, self.runner, self.identity, self.name = storage, runner, identity, name
        self.clock, self.random, self.loopback, self.dev_mode, self.limits = clock, random, loopback, dev_mode, limits
        self.catalogue = Catalogue(storage)
        self.logins = Throttle(tries=limits.login_tries, window=limits.login_window, most=limits.throttled)
        self.strange = Throttle(tries=limits.strange_logins, window=limits.strange_window, most=limits.throttled)
        self.sign_ups = Throttle(tries=limits.sign_ups, window=limits.sign_up_window, most=limits.throttled)
        self.sessions, self.settings = Sessions(limits.sessions_each), DomainSettings()
        self.home_key: str | None = None
        """The key in the node's home, in hexadecimal, once it logs in to the owner's account."""
        self.post: Post | None = None
        self.guesses = Throttle(tries=limits.guesses, window=limits.guess_window, most=limits.throttled)
        self.failed_logins = Tally(most=limits.noted_failures, window=limits.noted_window)
        self.queue = Queue(at_once=limits.jobs_at_once, each=limits.jobs_running_each)
        self.anchor = Anchor(storage, identity, clock)
        self.watchers: list[Callable[[], None]] = []
        self.written = 0
        """Transactions so far; one that is committed is counted before anybody can know of it."""
        self._hashing, self._hashes = asyncio.Semaphore(HASHING_AT_ONCE), 0
        self._writer, self._back = asyncio.Lock(), asyncio.Event()
        self._writes: set[asyncio.Task[Any]] = set()
        self._works: set[asyncio.Task[Any]] = set()
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def new_id(self) -> str:
        """32 hexadecimal digits of a uuid4 (RFC 9562, section 5.4)."""
        raw = bytearray(self.random(16))
        raw[6], raw[8] = raw[6] & 0x0F | 0x40, raw[8] & 0x3F | 0x80
        return raw.hex()

    async def read(self, work: Callable[[Session], T]) -> T:
        """Do ``work`` in a reading transaction, off the event loop."""

        def whole() -> T:
            with self.storage.read() as session:
                return work(session)

        return await asyncio.to_thread(whole)

    async def write(self, work: Callable[[Session], T], then: Callable[[T], None] | None = None) -> T:
        """Do ``work`` in one transaction, off the event loop, one writer at a time; then ``then`` on the loop.

        Once begun it goes on to its end even if the caller gives up: what is committed and what is in memory agree.
        """
        return await self._kept(self._write(work, then), self._writes)

    async def insist(self, work: Callable[[Session], T], what: str, patience: float = math.inf) -> T:
        """``write``, tried again while the database is away, for ``patience`` seconds at most.

        The answer of a commit may be lost: ``work`` must bear being done again after it was done.
        ``what``: for the log.
        """
        wait, waited = FIRST_WAIT, 0.0
        while True:
            try:
                done = await self.write(work)
            except DatabaseAway as error:
                if waited >= patience:
                    raise
                if not waited:
                    log.warning("%s waits for the database: %s", what, error.cause)
            else:
                if waited:
                    log.warning("%s waited for the database, and is done", what)
                return done
            begun, back, least = time.monotonic(), self._back, max(FIRST_WAIT, wait / 4)
            await asyncio.sleep(least)  # what fails by itself must not be tried whenever something else goes well
            # Not wait_for, which may lose a cancellation before Python 3.12.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait - least):
                    await back.wait()
            waited += time.monotonic() - begun
            wait = min(2 * wait, LAST_WAIT)

    async def finish(self, work: Coroutine[Any, Any, T]) -> T:
        """Do ``work`` to its end even if the caller gives up.  ``settle`` ends it early."""
        return await self._kept(work, self._works)

    async def _kept(self, work: Coroutine[Any, Any, T], among: set[asyncio.Task[Any]]) -> T:
        task = asyncio.create_task(work)
        among.add(task)
        task.add_done_callback(among.discard)
        task.add_done_callback(_fetched)
        return await asyncio.shield(task)

    async def _write(self, work: Callable[[Session], T], then: Callable[[T], None] | None) -> T:
        def whole() -> T:
            with self.storage.write() as session:
                return work(session)

        async with self._writer:
            try:
                value = await asyncio.to_thread(whole)
            finally:
                self.written += 1
            self._back.set()  # whoever waits for the database need not wait longer
            self._back = asyncio.Event()
            self.anchor.note()
            if then is not None:
                then(value)
            return value

    async def settle(self) -> None:
        """End what ``finish`` does, and wait until every write that has begun is done."""
        while self._works:
            for task in self._works:
                task.cancel()
            await asyncio.wait(tuple(self._works))
        while self._writes:
            await asyncio.wait(tuple(self._writes))
        await self.anchor.settle()

    async def hashing(self, work: Callable[[], T]) -> T:
        """Work on a password hash, a few at once.  Raises ``TooManyTries`` when too many wait."""
        if self._hashes >= HASHING_AT_ONCE + HASHING_WAITING:
            raise TooManyTries("Too many logins are under way here; try again in 5 seconds.")
        self._hashes += 1
        try:
            async with self._hashing:
                return await asyncio.to_thread(work)
        finally:
            self._hashes -= 1

    @asynccontextmanager
    async def turn(self, subject: str) -> AsyncIterator[None]:
        """Be the only one to work on ``subject``; others wait."""
        lock = self._turns.setdefault(subject, asyncio.Lock())
        async with lock:
            yield

    def record(self, session: Session, who: str, action: str, subject: str, **details: Any) -> None:
        """Append to the audit log, and tell whom ``NOTICES`` names, in the transaction of what is recorded."""
        last = session.info[NEWEST] if NEWEST in session.info else newest(session)
        sealed = audit.seal(
            self.identity, last, time=self.clock(), actor=who, action=action, subject=subject, details=details
        )
        row = {"seq": sealed.seq, "body": sealed.body, "hash": sealed.hash, "signature": sealed.signature}
        session.connection().execute(insert(AuditRow.__table__), row)  # type: ignore[arg-type]
        session.info[NEWEST] = audit.Newest(sealed.seq, sealed.hash)
        if action in NOTICES:
            notify(self, session, who, action, subject)

    def changed(self) -> None:
        """Tell who watches that the datasets are others than before."""
        loop = asyncio.get_running_loop()
        for watcher in self.watchers:
            loop.call_soon(watcher)


def _fetched(task: asyncio.Task[Any]) -> None:
    """Take a task's fault, which a caller that gave up does not."""
    if not task.cancelled():
        task.exception()


Work = Callable[[Domain, Who, Args], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Verb:
    """One row of the table: name, least role, function."""

    name: str
    least: Role
    work: Work


def verb(name: str) -> Callable[[Work], Verb]:
    """Make a function a verb, with the least role that ``PERMISSIONS`` gives it."""
    return lambda work: Verb(name, PERMISSIONS[name], work)


def table(*modules: ModuleType) -> Mapping[str, Verb]:
    """The verbs that the modules define, by name."""
    found = [value for module in modules for value in vars(module).values() if isinstance(value, Verb)]
    return MappingProxyType({row.name: row for row in found})


def fit(rows: list[dict[str, Any]], weight: Callable[[dict[str, Any]], int], cut: Mapping[str, Any]) -> None:
    """Keep a list within ``LIST_BYTES``: the first rows stay whole, later ones get ``cut`` and ``"cut": True``."""
    left = LIST_BYTES
    for row in rows:
        left -= weight(row)
        if left < 0:
            row.update(cut, cut=True)
