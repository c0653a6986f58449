"""Notices into people's boxes, and e-mails out of a queue in the database."""

from __future__ import annotations

import asyncio
import logging
import smtplib
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.utils import formatdate
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, urlsplit

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from p2pgrid.domain.accounts import Role
from p2pgrid.domain.notices import NOTICES, Audience, letter, next_try
from p2pgrid.domain.storage.tables import AccountRow, MailRow, NoticeRow, RequestRow
from p2pgrid.errors import BadConfig

if TYPE_CHECKING:
    from p2pgrid.domain.service.door import Domain

log = logging.getLogger(__name__)

SMTP_TIMEOUT: Final = 15.0
AT_ONCE: Final = 20
"""E-mails of one connection to the server."""
MOST_TOLD: Final = 100
"""Owners who are told of one thing."""
LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class Post:
    """The way to a mail server.  ``tls``: from the first byte, else by STARTTLS, which only one here may lack."""

    host: str
    port: int
    sender: str
    tls: bool
    user: str = ""
    password: str = field(default="", repr=False)

    @classmethod
    def parse(cls, url: str, sender: str) -> Post:
        """From ``smtp://`` (STARTTLS) or ``smtps://`` with user, password, host and port.  Raises ``BadConfig``."""
        fix = "Write it as smtps://USER:PASSWORD@HOST:465 or smtp://USER:PASSWORD@HOST:587."
        try:
            parts = urlsplit(url)
            host, port, tls = parts.hostname, parts.port, parts.scheme == "smtps"
        except ValueError:
            raise BadConfig("smtp_url cannot be read.", fix=fix) from None
        if parts.scheme not in ("smtp", "smtps") or not host or not sender:
            raise BadConfig("smtp_url is no address of a mail server, or smtp_from is not set.", fix=fix)
        user, password = unquote(parts.username or ""), unquote(parts.password or "")
        return cls(host, port or (465 if tls else 587), sender, tls, user, password)

    def send(self, letters: list[tuple[str, str, str]]) -> list[str]:
        """Send (to, subject, body) each; for each what went wrong, or nothing.  Blocks, each step for 15 s at most.

        Raises ``OSError`` or ``smtplib.SMTPException`` when the server cannot be used at all.
        """
        with self._connected() as server:
            return [self._send_one(server, *one) for one in letters]

    def _connected(self) -> smtplib.SMTP:
        context = ssl.create_default_context()
        if self.tls:
            server: smtplib.SMTP = smtplib.SMTP_SSL(self.host, self.port, timeout=SMTP_TIMEOUT, context=context)
        else:
            server = smtplib.SMTP(self.host, self.port, timeout=SMTP_TIMEOUT)
        try:
            if not self.tls:
                server.ehlo()
                # Without TLS whoever sits between reads letters and password; nobody does on this machine.
                if server.has_extn("starttls") or self.host not in LOOPBACK:
                    server.starttls(context=context)
            if self.user:
                server.login(self.user, self.password)
        except BaseException:
            server.close()
            raise
        return server

    def _send_one(self, server: smtplib.SMTP, to: str, subject: str, body: str) -> str:
        message = EmailMessage()
        try:
            message["From"], message["To"], message["Subject"] = self.sender, to, subject
            message["Date"], message["Auto-Submitted"] = formatdate(), "auto-generated"
            message.set_content(body)
            server.send_message(message)
        except smtplib.SMTPServerDisconnected:
            raise
        except (smtplib.SMTPException, ValueError) as error:
            return _brief(error)
        return ""


def notify(domain: Domain, session: Session, actor: str, action: str, subject: str) -> None:
    """Put a notice into the box of everybody whom it concerns, and an e-mail into the queue where they want one."""
    for row in _audience(session, NOTICES[action].audience, actor, subject):
        _deliver(domain, session, row, action, subject)
    session.flush()


def _audience(session: Session, audience: Audience, actor: str, subject: str) -> list[AccountRow]:
    query = select(AccountRow).where(AccountRow.active, AccountRow.deleted_at.is_(None)).order_by(AccountRow.created_at)
    if audience is Audience.OWNERS:
        query = query.where(AccountRow.role >= int(Role.DATA_OWNER), AccountRow.email != actor)
    elif audience is Audience.AUTHOR:
        author = select(RequestRow.account).where(RequestRow.id == subject).scalar_subquery()
        query = query.where(AccountRow.id == author, AccountRow.email != actor)
    elif actor == "node":  # what it does at its start is no news for who started it
        return []
    else:
        query = query.where(AccountRow.id == subject)
    return list(session.scalars(query.limit(MOST_TOLD)))


def _deliver(domain: Domain, session: Session, row: AccountRow, action: str, subject: str) -> None:
    now = domain.clock()
    position = (session.scalar(select(func.max(NoticeRow.position))) or 0) + 1
    notice = {"account": row.id, "kind": action, "subject": subject}
    session.add(NoticeRow(id=domain.new_id(), position=position, created_at=now, **notice))
    session.flush()
    own = select(NoticeRow.id).where(NoticeRow.account == row.id).order_by(NoticeRow.position.desc())
    for old in session.scalars(own.offset(domain.limits.notices_each).limit(10)).all():
        session.execute(delete(NoticeRow).where(NoticeRow.id == old))
    if domain.post is None or not row.mail:
        return
    waiting = select(func.count()).select_from(MailRow)
    each = session.scalars(waiting.where(MailRow.account == row.id)).one()
    if each < domain.limits.mails_each and session.scalars(waiting).one() < domain.limits.mails:
        session.add(MailRow(id=domain.new_id(), email=row.email, tries=0, due_at=now, **notice))


async def send_due(domain: Domain) -> int:
    """Send the e-mails whose time has come; the number of those that left.  What fails is tried again later.

    An e-mail is taken out of the queue after the server took it: a crash between the two sends it twice, never not.
    """
    post, now = domain.post, domain.clock()
    if post is None:
        return 0
    query = select(MailRow).where(MailRow.due_at <= now).order_by(MailRow.due_at).limit(AT_ONCE)

    def due(session: Session) -> list[tuple[str, tuple[str, str, str]]]:
        return [
            (row.id, (row.email, *letter(row.kind, row.subject, domain.name, row.email)))
            for row in session.scalars(query)
            if row.kind in NOTICES
        ]

    found = await domain.read(due)
    if not found:
        return 0
    try:
        ends = await asyncio.to_thread(post.send, [one for _, one in found])
    except (OSError, smtplib.SMTPException) as error:
        log.warning("e-mail cannot be sent through %s:%s: %s", post.host, post.port, _brief(error))
        ends = [_brief(error)] * len(found)
    await domain.write(_settled(now, {an_id: end for (an_id, _), end in zip(found, ends, strict=True)}))
    return sum(not end for end in ends)


def _settled(now: float, ends: dict[str, str]) -> Callable[[Session], None]:
    def work(session: Session) -> None:
        for an_id, end in ends.items():
            row = session.get(MailRow, an_id)
            if row is None:  # its account was deleted meanwhile
                continue
            wait = next_try(row.tries + 1) if end else None
            if wait is None:
                if end:
                    log.warning("an e-mail was given up after %s tries: %s", row.tries + 1, end)
                session.delete(row)
            else:
                row.tries, row.due_at = row.tries + 1, now + wait

    return work


def _brief(error: Exception) -> str:
    """What went wrong, without what the server said: an answer may repeat an address or a credential."""
    code = getattr(error, "smtp_code", None)
    return f"{type(error).__name__} {code}" if code else type(error).__name__
