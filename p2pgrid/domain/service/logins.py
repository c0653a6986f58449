"""Verbs on logins and sessions."""

from __future__ import annotations

import hmac
from typing import Any, Final

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from p2pgrid import crypto
from p2pgrid.domain import accounts, sessions
from p2pgrid.domain.fields import Args
from p2pgrid.domain.models import Account
from p2pgrid.domain.service.door import CallerLike, Domain, Who, verb
from p2pgrid.domain.storage.tables import AccountRow, LoginPlaceRow
from p2pgrid.domain.throttle import origin
from p2pgrid.errors import NotAllowed, NotFound, TooManyTries, WrongLogin

SESSION: Final = "p2pgrid.session"
"""Where a caller's notes hold its session."""
HOUR: Final = 3600.0


@verb("auth.login")
async def login(domain: Domain, who: Who, args: Args) -> Any:
    """Log in with e-mail and password.  Raises ``WrongLogin``, after the same work whether the account exists."""
    email = accounts.normalise_email(args.text("email", accounts.MAX_EMAIL * 2))
    password = accounts.normalise_password(args.text("password", accounts.MAX_PASSWORD))
    account = await prove(domain, who, email, password)
    return await _enter(domain, who, account, "auth.login")


@verb("auth.key")
async def key(domain: Domain, who: Who, args: Args) -> Any:
    """Log in as the account of the link's proven key.  Raises ``WrongLogin``."""
    proven = who.caller.key.hex()
    if not proven:
        raise WrongLogin("The caller has proven no key.")

    def find(session: Session) -> Account | None:
        row = session.scalars(select(AccountRow).where(AccountRow.verify_key == proven)).first()
        return row.value() if row else None

    account = await domain.read(find)
    if account is None:
        await _note_failure(domain, who, None)
        raise WrongLogin("The caller's key belongs to no account here.")
    return await _enter(domain, who, account, "auth.key")


@verb("auth.whoami")
async def whoami(domain: Domain, who: Who, args: Args) -> Any:
    """The account that this session is logged in to."""
    return who.person.to_wire()


@verb("auth.logout")
async def logout(domain: Domain, who: Who, args: Args) -> Any:
    """End this session; the link goes on as a guest's."""
    held = who.caller.state.pop(SESSION, None)
    if held is None or held.over:
        return {"ended": 0}
    domain.sessions.end(held, "its person logged out")
    await domain.write(lambda session: domain.record(session, who.label, "auth.logout", held.account))
    return {"ended": 1}


@verb("auth.redeem")
async def redeem(domain: Domain, who: Who, args: Args) -> Any:
    """Choose a new password with the code that an owner made, once; a key logs in no more.  Raises ``WrongLogin``.

    Somebody who needs a code may have lost more than a password.
    """
    email = accounts.normalise_email(args.text("email", accounts.MAX_EMAIL * 2))
    code = crypto.digest(args.text("code", 200).strip().encode()).hex()
    password = accounts.check_chosen(args.text("password", accounts.MAX_PASSWORD))
    place = _take(domain, who)
    # The hash is made before anybody looks, so that a wrong code takes as long as a right one.
    hashed = await domain.hashing(lambda: accounts.hash_for(password))

    def work(session: Session) -> Account | None:
        row = session.scalars(select(AccountRow).where(AccountRow.email == email)).first()
        held = row.reset_hash or "" if row else ""
        if row is None or not hmac.compare_digest(held, code) or (row.reset_until or 0.0) <= domain.clock():
            return None
        row.reset_hash = row.reset_until = None
        row.password_hash, row.epoch = hashed, row.epoch + 1
        if row.verify_key != domain.home_key:
            row.verify_key = None
        domain.record(session, row.email, "account.password", row.id, by="code")
        return row.value()

    account = await domain.write(work)
    if account is None:
        await _note_failure(domain, who, None)
        raise WrongLogin("The e-mail and code do not belong together, or the code was used or is too old.")
    domain.logins.give_back(place)
    end_sessions(domain, account.id, "the password was changed")
    return {"email": account.email}


@verb("session.list")
async def list_sessions(domain: Domain, who: Who, args: Args) -> Any:
    """The sessions of one's own account, or of ``account`` (an id or an e-mail)."""
    account = await target(domain, who, args, "look into the sessions of")
    own = who.caller.state[SESSION].id
    found = [held for held in domain.sessions.of(account.id) if lasts(domain, held)]
    return [{**held.to_wire(), "this": held.id == own} for held in found]


@verb("session.end")
async def end_session(domain: Domain, who: Who, args: Args) -> Any:
    """End a session by its id: one's own, or of an account that one manages.  Raises ``NotFound``."""
    an_id = args.id("id")
    held = domain.sessions.find(an_id)
    if held is not None and held.account != who.person.id:
        of = held.account
        other = await domain.read(lambda session: session.get_one(AccountRow, of).value())
        if other.role not in accounts.MANAGES[who.person.role]:
            held = None  # that it exists is none of theirs to know
    if held is None:
        raise NotFound(f"There is no session {an_id} here.")
    account = held.account
    domain.sessions.end(held, "its person ended it" if account == who.person.id else "an owner ended it")
    await domain.write(lambda session: domain.record(session, who.label, "session.end", account, id=an_id))
    return {"ended": 1}


@verb("session.end_all")
async def end_all(domain: Domain, who: Who, args: Args) -> Any:
    """Log out everywhere, here too: one's own account, or ``account``.  Keys and passwords still log in."""
    account = await target(domain, who, args, "end the sessions of")
    count = end_sessions(domain, account.id, "its account was logged out everywhere")
    await domain.write(lambda session: domain.record(session, who.label, "session.end_all", account.id, count=count))
    return {"ended": count}


def lasts(domain: Domain, held: sessions.Session) -> bool:
    """Whether a session goes on, under the settings of now."""
    life, idle = domain.settings.session_hours * HOUR, domain.settings.idle_hours * HOUR
    return domain.sessions.lasts(held, domain.clock(), life=life, idle=idle)


async def resolve(domain: Domain, caller: CallerLike) -> Account | None:
    """The account that a caller's session is of, unless it is over, or its account changed since."""
    held: sessions.Session | None = caller.state.get(SESSION)
    if held is None or not lasts(domain, held):
        return None

    def find(session: Session) -> Account | None:
        row = session.get(AccountRow, held.account)
        return row.value() if row else None

    written = domain.written
    if held.known is not None and held.known[0] == written:
        account: Account | None = held.known[1]  # nothing at all was changed since
    else:
        account = await domain.read(find)
    if account is None or account.epoch != held.epoch or not account.active:
        domain.sessions.end(held, "the account was changed")
        return None
    held.known = (written, account)
    domain.sessions.use(held, domain.clock())
    return account


def end_sessions(domain: Domain, account: str, why: str, *, but: Any = None) -> int:
    """End every session of an account; how many there were."""
    ending = [held for held in domain.sessions.of(account) if held is not but]
    for held in ending:
        domain.sessions.end(held, why)
    return len(ending)


async def target(domain: Domain, who: Who, args: Args, what: str) -> Account:
    """The account that ``account`` names by id or e-mail, which the caller must manage; without it their own."""
    if not args.has("account"):
        return who.person
    named = args.text("account", accounts.MAX_EMAIL * 2).strip()

    def find(session: Session) -> Account | None:
        by = AccountRow.email == accounts.normalise_email(named) if "@" in named else AccountRow.id == named
        row = session.scalars(select(AccountRow).where(by, AccountRow.deleted_at.is_(None))).first()
        return row.value() if row else None

    if not accounts.MANAGES[who.person.role] and named not in (who.person.id, who.person.email):
        raise NotAllowed(f"A {who.person.role.words} cannot {what} another account.")
    found = await domain.read(find)
    if found is None:
        raise NotFound(f"There is no account {named[:80]!r} here.")
    if found.id != who.person.id:
        accounts.manage(who.person.role, found.role, what)
    return found


async def prove(domain: Domain, who: Who, email: str, password: str) -> Account:
    """The account that a password opens.

    Failures count against where the caller comes from, whatever the account.  They also count against the account, but
    only for places where its person never was: guesses from a thousand addresses end there, and keep nobody out of
    where they always log in, nor one who logs in by key.
    """
    place = _take(domain, who)

    def find(session: Session) -> tuple[Account, str, bool] | None:
        row = session.scalars(select(AccountRow).where(AccountRow.email == email)).first()
        if row is None:
            return None
        return row.value(), row.password_hash, session.get(LoginPlaceRow, (row.id, place)) is not None

    found = await domain.read(find)
    at_home = found is not None and found[2]
    if not at_home and (wait := domain.strange.take(email, domain.clock())):
        raise TooManyTries(
            f"Too many logins as this e-mail failed from places where it is new; wait {wait:.0f} seconds.",
            fix="Log in from where you did before, or by key, or wait.",
        )
    hashed = found[1] if found else None
    fits = await domain.hashing(lambda: accounts.opens(hashed, password))
    default = hashed is not None and hmac.compare_digest(hashed, accounts.DEFAULT_HASH)
    # The default passwords are public: they open only where nobody else comes, and the test account in dev mode.
    open_to_all = default and not (domain.loopback and (domain.dev_mode or email != accounts.SCIENTIST_EMAIL))
    if found is None or not fits or open_to_all:
        await _note_failure(domain, who, found[0] if found else None)
        raise WrongLogin("The e-mail and password do not belong to an account here.")
    domain.logins.give_back(place)
    if not at_home:
        domain.strange.give_back(email)
    return found[0]


def _take(domain: Domain, who: Who) -> str:
    """Count a try against where it comes from.  Raises ``TooManyTries``."""
    place = origin(who.caller.remote)
    wait = domain.logins.take(place, domain.clock())
    if wait:
        raise TooManyTries(f"Too many logins from {place or 'here'} failed; wait {wait:.0f} seconds.")
    return place


async def _enter(domain: Domain, who: Who, account: Account, how: str) -> dict[str, Any]:
    if not account.active:
        raise NotAllowed("This account is closed, or waits for a data owner to open it.", fix="Ask the data owner.")
    place, now, person_key = origin(who.caller.remote), domain.clock(), who.caller.key.hex()

    def work(session: Session) -> Account:
        row = session.get_one(AccountRow, account.id)
        row.last_login = now
        _remember_place(session, account.id, place, now, domain.limits.places_each)
        domain.record(session, account.email, how, account.id, remote=who.caller.remote[:64], key=person_key)
        return row.value()

    entered = await domain.write(work)
    before = who.caller.state.get(SESSION)
    if before is not None:
        domain.sessions.end(before, "another login took its place")
    begun = sessions.Session(
        domain.new_id(), account.id, account.epoch, who.caller.key, who.caller.remote[:64], how, now, now
    )
    who.caller.state[SESSION] = domain.sessions.begin(begun)
    return entered.to_wire()


def _remember_place(session: Session, account: str, place: str, now: float, most: int) -> None:
    session.merge(LoginPlaceRow(account=account, place=place, seen_at=now))
    session.flush()
    own = select(LoginPlaceRow.place).where(LoginPlaceRow.account == account)
    for old in session.scalars(own.order_by(LoginPlaceRow.seen_at.desc()).offset(most)).all():
        session.execute(delete(LoginPlaceRow).where(LoginPlaceRow.account == account, LoginPlaceRow.place == old))


async def _note_failure(domain: Domain, who: Who, account: Account | None) -> None:
    """Record a failed login.  What was typed is not kept: people type passwords into the wrong field."""
    untold = domain.failed_logins.take(domain.clock())
    if untold is None:
        return
    details = {"remote": who.caller.remote[:64], **({"untold": untold} if untold else {})}
    subject = account.id if account else "no account"
    await domain.write(lambda session: domain.record(session, "guest", "auth.failed", subject, **details))


async def tell_failures(domain: Domain) -> None:
    """Record how many failed logins were only counted; the node is about to close."""
    if untold := domain.failed_logins.rest():
        await domain.write(lambda session: domain.record(session, "node", "auth.failed", "many", untold=untold))
