"""Verbs on logins and accounts."""

from __future__ import annotations

import hmac
from typing import Any, Final

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from p2pgrid.domain import accounts
from p2pgrid.domain.accounts import Role
from p2pgrid.domain.fields import Args
from p2pgrid.domain.models import Account
from p2pgrid.domain.service.door import Domain, Who, verb
from p2pgrid.domain.storage.tables import AccountRow
from p2pgrid.domain.throttle import origin
from p2pgrid.errors import Conflict, InvalidInput, NotAllowed, TooLarge, TooManyTries, WrongLogin

SESSION: Final = "p2pgrid.account"
MAX_TEXT: Final = 200


@verb("auth.login")
async def login(domain: Domain, who: Who, args: Args) -> Any:
    """Log in with e-mail and password.  Raises ``WrongLogin``, after the same work whether the account exists."""
    email = accounts.normalise_email(args.text("email", accounts.MAX_EMAIL * 2))
    password = accounts.normalise_password(args.text("password", accounts.MAX_PASSWORD))
    account = await _prove(domain, who, email, password)
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
        raise WrongLogin("The caller's key belongs to no account here.")
    return await _enter(domain, who, account, "auth.key")


@verb("auth.whoami")
async def whoami(domain: Domain, who: Who, args: Args) -> Any:
    """The account that this session is logged in to."""
    return who.person.to_wire()


@verb("account.register")
async def register(domain: Domain, who: Who, args: Args) -> Any:
    """Make an account of a role that is not above one's own."""
    role = accounts.parse_role(args.text("role", 40, default=Role.DATA_SCIENTIST.words))
    if role > who.person.role:
        raise NotAllowed(f"A {who.person.role.words} cannot make an account with the role {role.words}.")
    name, email = args.label("name", MAX_TEXT), accounts.normalise_email(args.text("email", accounts.MAX_EMAIL * 2))
    institution = args.text("institution", MAX_TEXT, default="")
    website = args.text("website", 500, default="")
    password = accounts.check_new_password(args.text("password", accounts.MAX_PASSWORD))
    hashed = await domain.hashing(lambda: accounts.hash_for(password))

    def work(session: Session) -> Account:
        if session.scalars(select(func.count()).select_from(AccountRow)).one() >= domain.limits.accounts:
            raise TooLarge(f"The domain has {domain.limits.accounts} accounts already.")
        return add_account(
            domain, session, who.label, email, hashed, role, name=name, institution=institution, website=website
        )

    return (await domain.write(work)).to_wire()


@verb("account.list")
async def list_accounts(domain: Domain, who: Who, args: Args) -> Any:
    """Accounts in order of their making: ``limit`` (1000) from ``offset`` (0)."""
    limit, offset = args.number("limit", 1, 1000, default=1000), args.number("offset", 0, 2**31, default=0)
    query = select(AccountRow).order_by(AccountRow.created_at, AccountRow.id).limit(limit).offset(offset)
    found = await domain.read(lambda session: [row.value() for row in session.scalars(query)])
    return [account.to_wire() for account in found]


@verb("account.set_password")
async def set_password(domain: Domain, who: Who, args: Args) -> Any:
    """Change one's own password; sessions that began with the old one end, this one goes on."""
    old = accounts.normalise_password(args.text("old", accounts.MAX_PASSWORD))
    new = accounts.check_new_password(args.text("new", accounts.MAX_PASSWORD))
    if new == accounts.DEFAULT_PASSWORD:
        raise InvalidInput("That is the default password, which everybody knows.")
    account = await _prove(domain, who, who.person.email, old)
    hashed = await domain.hashing(lambda: accounts.hash_for(new))

    def work(session: Session) -> Account:
        return change_password(domain, session, who.label, account, hashed)

    changed = await domain.write(work)
    _remember(who, changed)
    return changed.to_wire()


@verb("node.metadata")
async def metadata(domain: Domain, who: Who, args: Args) -> Any:
    """What the node says of itself to anyone."""
    from p2pgrid import __version__

    return {
        "name": domain.name,
        "id": domain.identity.id.hex(),
        "key": domain.identity.public.hex(),
        "version": __version__,
        "dev_mode": domain.dev_mode,
        "datasets": len(domain.catalogue.datasets),
    }


def resolve(session: Session, who: Any) -> Account | None:
    """The account that a session's notes name, unless its password changed since."""
    noted = who.state.get(SESSION)
    if noted is None:
        return None
    row = session.get(AccountRow, noted[0])
    return row.value() if row is not None and row.epoch == noted[1] else None


def add_account(
    domain: Domain,
    session: Session,
    actor: str,
    email: str,
    hashed: str,
    role: Role,
    *,
    name: str,
    institution: str = "",
    website: str = "",
    verify_key: bytes | None = None,
) -> Account:
    """Insert an account and its audit entry.  Raises ``Conflict`` when the e-mail is taken."""
    if session.scalars(select(AccountRow.id).where(AccountRow.email == email)).first():
        raise Conflict(f"There is an account for {email} already.")
    row = AccountRow(
        id=domain.new_id(),
        name=name,
        email=email,
        role=int(role),
        institution=institution,
        website=website,
        verify_key=verify_key.hex() if verify_key else None,
        created_at=domain.clock(),
        epoch=0,
        password_hash=hashed,
    )
    session.add(row)
    session.flush()
    domain.record(session, actor, "account.create", row.id, email=email, role=role.words)
    return row.value()


def change_password(domain: Domain, session: Session, actor: str, account: Account, hashed: str) -> Account:
    """Replace a password's hash.  Raises ``Conflict`` when it was replaced meanwhile."""
    row = session.get_one(AccountRow, account.id)
    if row.epoch != account.epoch:
        raise Conflict("The password was changed meanwhile.")
    row.password_hash, row.epoch = hashed, row.epoch + 1
    domain.record(session, actor, "account.password", account.id)
    session.flush()
    return row.value()


async def _prove(domain: Domain, who: Who, email: str, password: str) -> Account:
    """The account that a password opens.  Failures count against where the caller comes from, never the account."""
    place = origin(who.caller.remote)
    wait = domain.logins.take(place, domain.clock())
    if wait:
        raise TooManyTries(f"Too many logins from {place or 'here'} failed; wait {wait:.0f} seconds.")

    def find(session: Session) -> tuple[Account, str] | None:
        row = session.scalars(select(AccountRow).where(AccountRow.email == email)).first()
        return (row.value(), row.password_hash) if row else None

    found = await domain.read(find)
    hashed = found[1] if found else None
    fits = await domain.hashing(lambda: accounts.opens(hashed, password))
    default = hashed is not None and hmac.compare_digest(hashed, accounts.DEFAULT_HASH)
    # The default passwords are public: they open only where nobody else comes, and the test account in dev mode.
    open_to_all = default and not (domain.loopback and (domain.dev_mode or email != accounts.SCIENTIST_EMAIL))
    if found is None or not fits or open_to_all:
        raise WrongLogin("The e-mail and password do not belong to an account here.")
    domain.logins.give_back(place)
    return found[0]


async def _enter(domain: Domain, who: Who, account: Account, how: str) -> dict[str, Any]:
    def work(session: Session) -> None:
        domain.record(session, account.email, how, account.id, remote=who.caller.remote[:64])

    await domain.write(work)
    _remember(who, account)
    return account.to_wire()


def _remember(who: Who, account: Account) -> None:
    who.caller.state[SESSION] = (account.id, account.epoch)
