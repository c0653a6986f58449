"""Verbs on accounts: making, changing and closing them."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable
from typing import Any, Final

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from p2pgrid import crypto
from p2pgrid.domain import accounts
from p2pgrid.domain.accounts import Role
from p2pgrid.domain.fields import Args
from p2pgrid.domain.models import Account
from p2pgrid.domain.service.door import Domain, Who, verb
from p2pgrid.domain.service.logins import HOUR, SESSION, end_sessions, prove, target
from p2pgrid.domain.settings import SignUp
from p2pgrid.domain.states import Status
from p2pgrid.domain.storage.tables import AccountRow, LoginPlaceRow, MailRow, NoticeRow, ProjectRow, RequestRow
from p2pgrid.domain.throttle import origin
from p2pgrid.errors import BadSignature, Conflict, InvalidInput, NotAllowed, TooLarge, TooManyTries

MAX_TEXT: Final = 200
MAX_URL: Final = 500
KEY_CONTEXT: Final = b"account-key"
CODE_BYTES: Final = 15
WEBSITE: Final = re.compile(r"(https?://)?[\w.-]+(:\d{1,5})?([/?#]\S*)?", re.IGNORECASE)
GONE: Final = "a deleted account"
NO_HASH: Final = "!"
"""Where no password opens an account."""


@verb("account.sign_up")
async def sign_up(domain: Domain, who: Who, args: Args) -> Any:
    """Ask for an account of one's own, always a data scientist's, where the setting ``sign_up`` lets strangers.

    The answer, and the work behind it, is the same whether the e-mail has an account already.
    """
    if domain.settings.sign_up is SignUp.CLOSED:
        raise NotAllowed("Nobody signs up here by themselves.", fix="Ask the data owner for an account.")
    if args.has("role"):
        raise NotAllowed("Who signs up becomes a data scientist; a role cannot be asked for.")
    wait = domain.sign_ups.take(origin(who.caller.remote), domain.clock())
    if wait:
        raise TooManyTries(f"Too many accounts were asked for from your address; wait {wait:.0f} seconds.")
    email, fields = _read_person(args)
    hashed = await _read_hash(domain, args)
    opened = domain.settings.sign_up is SignUp.OPEN

    def work(session: Session) -> None:
        if session.scalars(select(AccountRow.id).where(AccountRow.email == email)).first():
            domain.record(session, "guest", "account.sign_up.taken", "", remote=who.caller.remote[:64])
            return
        closed = select(func.count()).select_from(AccountRow).where(~AccountRow.active, AccountRow.last_login.is_(None))
        waiting = session.scalars(closed.where(AccountRow.deleted_at.is_(None))).one()
        if not opened and waiting >= domain.limits.sign_ups_waiting:
            raise TooLarge(f"{waiting} accounts wait for the data owner already.")
        add_account(
            domain,
            session,
            "guest",
            email,
            hashed,
            Role.DATA_SCIENTIST,
            action="account.sign_up",
            active=opened,
            **fields,
        )

    await domain.write(work)
    return {"email": email, "sign_up": domain.settings.sign_up.value}


@verb("account.register")
async def register(domain: Domain, who: Who, args: Args) -> Any:
    """Make an account of a role that one manages."""
    role = accounts.parse_role(args.text("role", 40, default=Role.DATA_SCIENTIST.words))
    accounts.manage(who.person.role, role, "make")
    email, fields = _read_person(args)
    hashed = await _read_hash(domain, args)
    return (
        await domain.write(lambda session: add_account(domain, session, who.label, email, hashed, role, **fields))
    ).to_wire()


@verb("account.list")
async def list_accounts(domain: Domain, who: Who, args: Args) -> Any:
    """Accounts in order of their making: ``limit`` (1000) from ``offset`` (0)."""
    limit, offset = args.number("limit", 1, 1000, default=1000), args.number("offset", 0, 2**31, default=0)
    query = select(AccountRow).where(AccountRow.deleted_at.is_(None)).order_by(AccountRow.created_at, AccountRow.id)
    query = query.limit(limit).offset(offset)
    found = await domain.read(lambda session: [row.value() for row in session.scalars(query)])
    return [account.to_wire() for account in found]


@verb("account.update")
async def update(domain: Domain, who: Who, args: Args) -> Any:
    """Change ``name``, ``institution``, ``website`` or ``mail`` (are e-mails wanted?); what is left out stays."""
    account = await target(domain, who, args, "change")
    new: dict[str, Any] = {}
    if args.has("name"):
        new["name"] = args.label("name", MAX_TEXT)
    if args.has("institution"):
        new["institution"] = _line(args, "institution", MAX_TEXT)
    if args.has("website"):
        new["website"] = _website(args)
    if args.has("mail"):
        new["mail"] = args.raw("mail")
        if type(new["mail"]) is not bool:
            raise InvalidInput("account.update: mail must be true or false.")

    def change(session: Session, row: AccountRow) -> None:
        for name, value in new.items():
            setattr(row, name, value)
        domain.record(session, who.label, "account.update", row.id, fields=sorted(new))

    return (await _change(domain, account, change)).to_wire()


@verb("account.set_password")
async def set_password(domain: Domain, who: Who, args: Args) -> Any:
    """Change one's own password; all other sessions end, this one goes on."""
    old = accounts.normalise_password(args.text("old", accounts.MAX_PASSWORD))
    new = accounts.check_chosen(args.text("new", accounts.MAX_PASSWORD))
    account = await prove(domain, who, who.person.email, old)
    hashed = await domain.hashing(lambda: accounts.hash_for(new))
    changed = await domain.write(lambda session: change_password(domain, session, who.label, account, hashed))
    held = who.caller.state[SESSION]
    end_sessions(domain, account.id, "the password was changed", but=held)
    held.epoch = changed.epoch
    return changed.to_wire()


@verb("account.set_email")
async def set_email(domain: Domain, who: Who, args: Args) -> Any:
    """Change one's own e-mail; needs the password.  The old address is told too."""
    password = accounts.normalise_password(args.text("password", accounts.MAX_PASSWORD))
    email = accounts.normalise_email(args.text("email", accounts.MAX_EMAIL * 2))
    account = await prove(domain, who, who.person.email, password)
    # Whether another account has it would be told by each try: few are mistakes, many are a search.
    wait = domain.guesses.take(f"email of {account.id}", domain.clock())
    if wait:
        raise TooManyTries(f"The e-mail was changed, or tried to, too often; wait {wait:.0f} seconds.")

    def change(session: Session, row: AccountRow) -> None:
        if session.scalars(select(AccountRow.id).where(AccountRow.email == email, AccountRow.id != row.id)).first():
            raise Conflict("That e-mail cannot be used here.")
        domain.record(session, who.label, "account.email", row.id, email=email)
        row.email = email

    return (await _change(domain, account, change)).to_wire()


@verb("account.set_key")
async def set_key(domain: Domain, who: Who, args: Args) -> Any:
    """Let a key log in to one's own account, or none any more (without ``key``); needs the password.

    The key signs the account's id and the node's: nobody takes another's key for theirs.  All other sessions end, and
    a code for a new password with them: whoever had the former key may have made one.
    """
    password = accounts.normalise_password(args.text("password", accounts.MAX_PASSWORD))
    account = await prove(domain, who, who.person.email, password)
    key = None
    if args.has("key"):
        key = args.blob("key", crypto.KEY_BYTES, least=crypto.KEY_BYTES)
        signature = args.blob("signature", crypto.SIGNATURE_BYTES, least=crypto.SIGNATURE_BYTES)
        try:
            crypto.verify(key, KEY_CONTEXT, bytes.fromhex(account.id) + domain.identity.public, signature)
        except BadSignature:
            raise InvalidInput("The key did not sign for this account.") from None
    if domain.home_key is not None and account.verify_key == domain.home_key:
        raise NotAllowed(
            "The key in the node's own home logs in to this account; its commands need it.",
            fix="Make an account of your own: p2pgrid accounts add EMAIL --role admin",
        )

    def change(session: Session, row: AccountRow) -> None:
        text = key.hex() if key else None
        if (
            text
            and session.scalars(
                select(AccountRow.id).where(AccountRow.verify_key == text, AccountRow.id != row.id)
            ).first()
        ):
            raise Conflict("The key logs in to another account here.")
        row.verify_key, row.epoch = text, row.epoch + 1
        row.reset_hash = row.reset_until = None
        domain.record(session, who.label, "account.key", row.id, key=text or "")

    changed = await _change(domain, account, change)
    held = who.caller.state[SESSION]
    end_sessions(domain, account.id, "the key that logs in was changed", but=held)
    held.epoch = changed.epoch
    return changed.to_wire()


@verb("account.set_role")
async def set_role(domain: Domain, who: Who, args: Args) -> Any:
    """Give an account another role; both the old and the new one must be among those that the caller manages."""
    role = accounts.parse_role(args.text("role", 40))
    account = await target(domain, who, args, "change the role of")
    accounts.manage(who.person.role, account.role, "change the role of")
    accounts.manage(who.person.role, role, "make")

    def change(session: Session, row: AccountRow) -> None:
        row.role = int(role)
        _keep_an_admin(session)
        domain.record(session, who.label, "account.role", row.id, role=role.words, before=account.role.words)

    return (await _change(domain, account, change)).to_wire()


@verb("account.activate")
async def activate(domain: Domain, who: Who, args: Args) -> Any:
    """Open an account that waits or was closed."""
    account = await target(domain, who, args, "open")

    def change(session: Session, row: AccountRow) -> None:
        row.active = True
        domain.record(session, who.label, "account.activate", row.id)

    return (await _change(domain, account, change)).to_wire()


@verb("account.deactivate")
async def deactivate(domain: Domain, who: Who, args: Args) -> Any:
    """Close an account for a while: its sessions end and nobody logs in; its requests stay as they are."""
    account = await target(domain, who, args, "close")

    def change(session: Session, row: AccountRow) -> None:
        row.active, row.epoch = False, row.epoch + 1
        _keep_an_admin(session)
        domain.record(session, who.label, "account.deactivate", row.id)

    changed = await _change(domain, account, change)
    end_sessions(domain, account.id, "the account was closed")
    return changed.to_wire()


@verb("account.reset")
async def reset(domain: Domain, who: Who, args: Args) -> Any:
    """Make a code with which the person chooses a new password, once; the old password opens until then."""
    account = await target(domain, who, args, "reset the password of")
    if account.id == who.person.id and who.caller.state[SESSION].how != "auth.key":
        # Otherwise whoever sits down at a session that was left open would need no password to take the account.
        raise NotAllowed("A code for one's own account needs a login by key.", fix="Ask another admin for a code.")
    code, until = secrets.token_urlsafe(CODE_BYTES), domain.clock() + domain.limits.reset_hours * HOUR

    def change(session: Session, row: AccountRow) -> None:
        row.reset_hash, row.reset_until = crypto.digest(code.encode()).hex(), until
        domain.record(session, who.label, "account.reset", row.id)

    await _change(domain, account, change)
    return {"email": account.email, "code": code, "hours": domain.limits.reset_hours}


@verb("account.delete")
async def delete_account(domain: Domain, who: Who, args: Args) -> Any:
    """Delete an account that one manages, or one's own with ``password``; there is no way back.

    What tells of the person goes.  Requests that wait are denied, approvals end, results that were released stay with
    the owners, and the audit log keeps what it says.
    """
    account = await target(domain, who, args, "delete")
    if account.id == who.person.id:
        await prove(
            domain, who, account.email, accounts.normalise_password(args.text("password", accounts.MAX_PASSWORD))
        )

    def change(session: Session, row: AccountRow) -> None:
        domain.record(session, who.label, "account.delete", row.id)
        _close_requests(domain, session, row.id)
        _forget_person(domain, session, row)
        _keep_an_admin(session)

    await _change(domain, account, change)
    end_sessions(domain, account.id, "the account was deleted")
    return {"id": account.id}


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
        "datasets": len(domain.catalogue.index.entries),
        "sign_up": domain.settings.sign_up.value,
        "guests": domain.settings.guests.value,
    }


@verb("node.confinement")
async def confinement(domain: Domain, who: Who, args: Args) -> Any:
    """How well submitted code is confined here: ``tier``, ``layers``, and ``why`` it is not a better one."""
    tier = await domain.runner.tier()
    return {"tier": tier.name, "layers": list(tier.layers), "why": tier.why}


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
    active: bool = True,
    action: str = "account.create",
) -> Account:
    """Insert an account and its audit entry.  Raises ``Conflict`` when the e-mail is taken, ``TooLarge``."""
    if session.scalars(select(AccountRow.id).where(AccountRow.email == email)).first():
        raise Conflict(f"There is an account for {email} already.")
    if session.scalars(select(func.count()).select_from(AccountRow)).one() >= domain.limits.accounts:
        raise TooLarge(f"The domain has {domain.limits.accounts} accounts already.")
    row = AccountRow(
        id=domain.new_id(),
        name=name,
        email=email,
        role=int(role),
        institution=institution,
        website=website,
        created_at=domain.clock(),
        epoch=0,
        password_hash=hashed,
        active=active,
        mail=True,
    )
    session.add(row)
    session.flush()
    domain.record(session, actor, action, row.id, email=email, role=role.words)
    return row.value()


def change_password(domain: Domain, session: Session, actor: str, account: Account, hashed: str) -> Account:
    """Replace a password's hash.  Raises ``Conflict`` when it was replaced meanwhile."""
    row = session.get_one(AccountRow, account.id)
    if row.epoch != account.epoch:
        raise Conflict("The password was changed meanwhile.")
    row.password_hash, row.epoch = hashed, row.epoch + 1
    row.reset_hash = row.reset_until = None
    domain.record(session, actor, "account.password", account.id)
    session.flush()
    return row.value()


async def _change(domain: Domain, account: Account, change: Callable[[Session, AccountRow], None]) -> Account:
    """Change one row in a transaction of its own.  Raises ``Conflict`` when its rights changed since it was read."""

    def work(session: Session) -> Account:
        row = session.get_one(AccountRow, account.id)
        if (row.epoch, row.role, row.deleted_at) != (account.epoch, int(account.role), None):
            raise Conflict("The account was changed meanwhile.")
        change(session, row)
        session.flush()
        return row.value()

    return await domain.write(work)


def _read_person(args: Args) -> tuple[str, dict[str, Any]]:
    email = accounts.normalise_email(args.text("email", accounts.MAX_EMAIL * 2))
    institution, website = _line(args, "institution", MAX_TEXT), _website(args)
    return email, {"name": args.label("name", MAX_TEXT), "institution": institution, "website": website}


async def _read_hash(domain: Domain, args: Args) -> str:
    password = accounts.check_new_password(args.text("password", accounts.MAX_PASSWORD))
    return await domain.hashing(lambda: accounts.hash_for(password))


def _line(args: Args, name: str, most: int) -> str:
    """One line of printable text, or nothing."""
    text = args.text(name, most, default="").strip()
    if not text.isprintable():
        raise InvalidInput(f"{name} must be one line of printable characters.")
    return text


def _website(args: Args) -> str:
    """An http(s) address, or nothing: a page links to it, and a link may run what it holds."""
    text = _line(args, "website", MAX_URL)
    if text and not WEBSITE.fullmatch(text):
        raise InvalidInput("website must be an http:// or https:// address.")
    return text if "://" in text or not text else f"https://{text}"


def _keep_an_admin(session: Session) -> None:
    """Raise ``Conflict`` when nobody would be left who manages everybody."""
    session.flush()
    query = select(AccountRow.id).where(AccountRow.role == int(Role.ADMIN), AccountRow.active)
    if session.scalars(query.where(AccountRow.deleted_at.is_(None))).first() is None:
        raise Conflict("This is the last admin of the domain.", fix="Make somebody else an admin first.")


def _close_requests(domain: Domain, session: Session, account: str) -> None:
    for row in session.scalars(select(RequestRow).where(RequestRow.account == account)):
        if row.status != Status.DENIED.value:
            row.status, row.denial, row.runnable = Status.DENIED.value, "The account of its author was deleted.", False
            row.updated_at = domain.clock()
            domain.record(session, "node", "request.close", row.id)
        row.requested_by, row.statement = GONE, b""


def _forget_person(domain: Domain, session: Session, row: AccountRow) -> None:
    for table in (LoginPlaceRow, MailRow, NoticeRow):
        session.execute(delete(table).where(table.account == row.id))
    for project in session.scalars(select(ProjectRow).where(ProjectRow.account == row.id)):
        project.created_by = GONE
    row.name, row.email, row.institution, row.website = GONE, f"deleted:{row.id}", "", ""
    row.verify_key = row.reset_hash = row.reset_until = row.last_login = None
    row.password_hash, row.active, row.epoch, row.deleted_at = NO_HASH, False, row.epoch + 1, domain.clock()
