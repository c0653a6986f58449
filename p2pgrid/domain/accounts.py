"""Who may do what: roles, the permission table, e-mail addresses and passwords."""

from __future__ import annotations

import hmac
import unicodedata
from collections.abc import Mapping
from enum import IntEnum, StrEnum
from types import MappingProxyType
from typing import Final

from p2pgrid import crypto
from p2pgrid.errors import InvalidInput, NotAllowed, NotLoggedIn

OWNER_EMAIL: Final = "info@openmined.org"
SCIENTIST_EMAIL: Final = "sheldon@caltech.edu"
"""The second default account; it exists in dev mode only."""

DEFAULT_PASSWORD: Final = "changethis"  # noqa: S105 - public by design, refused off loopback
DEFAULT_HASH: Final = (
    "$argon2id$v=19$m=65536,t=2,p=1$d3W1MFAYoAOfio+1Oyi82g$T+5m59Y44IAwuyeBfCF7MYwdaBuC/YGkJuC/h/9nKng"
)
"""The hash of the default password.  It is a constant: the password is public, so a salt of its own would hide
nothing, every account that still has it can be told by this hash, and hundreds of fresh domains need not hash it."""

ABSENT_HASH: Final = "$argon2id$v=19$m=65536,t=2,p=1$q4gTkli/lzJgxWC3DWMOFQ$fccfkKiv4n27e0gehUDGjDZ/VIKsYgT9xk1Y3z4wwIQ"
"""What a login for an unknown e-mail is checked against, so that it takes as long as any other.  It opens nothing."""

MAX_EMAIL: Final = 254
"""RFC 5321, section 4.5.3.1.3, less the angle brackets."""
MIN_PASSWORD: Final = 6
MAX_PASSWORD: Final = 1024


class Role(IntEnum):
    """Roles in ascending order: each may do what the ones below it may."""

    GUEST = 0
    DATA_SCIENTIST = 1
    DATA_OWNER = 2
    ADMIN = 3

    @property
    def words(self) -> str:
        """The role as people read it."""
        return self.name.lower().replace("_", " ")


class Guests(StrEnum):
    """What somebody without an account may look at; a setting."""

    NOTHING = "nothing"
    METADATA = "metadata"
    MOCKS = "mocks"


PERMISSIONS: Final[Mapping[str, Role]] = MappingProxyType(
    {
        "auth.login": Role.GUEST,
        "auth.key": Role.GUEST,
        "auth.whoami": Role.GUEST,
        "auth.logout": Role.GUEST,
        "auth.redeem": Role.GUEST,
        "session.list": Role.GUEST,
        "session.end": Role.GUEST,
        "session.end_all": Role.GUEST,
        "account.sign_up": Role.GUEST,
        "account.register": Role.DATA_OWNER,
        "account.list": Role.DATA_OWNER,
        "account.update": Role.GUEST,
        "account.set_password": Role.GUEST,
        "account.set_email": Role.GUEST,
        "account.set_key": Role.GUEST,
        "account.set_role": Role.DATA_OWNER,
        "account.activate": Role.DATA_OWNER,
        "account.deactivate": Role.DATA_OWNER,
        "account.reset": Role.DATA_OWNER,
        "account.delete": Role.GUEST,
        "notification.list": Role.GUEST,
        "notification.read": Role.GUEST,
        "settings.get": Role.DATA_OWNER,
        "settings.set": Role.DATA_OWNER,
        "node.metadata": Role.GUEST,
        "node.confinement": Role.GUEST,
        "dataset.list": Role.GUEST,
        "dataset.search": Role.GUEST,
        "dataset.get": Role.GUEST,
        "dataset.create": Role.DATA_OWNER,
        "dataset.update": Role.DATA_OWNER,
        "dataset.replace": Role.DATA_OWNER,
        "dataset.delete": Role.DATA_OWNER,
        "blob.put": Role.DATA_OWNER,
        "asset.read": Role.DATA_SCIENTIST,
        "project.create": Role.DATA_SCIENTIST,
        "project.list": Role.DATA_SCIENTIST,
        "project.get": Role.DATA_SCIENTIST,
        "request.create": Role.DATA_SCIENTIST,
        "request.list": Role.DATA_SCIENTIST,
        "request.get": Role.DATA_SCIENTIST,
        "request.proof": Role.DATA_SCIENTIST,
        "request.approve": Role.DATA_OWNER,
        "request.deny": Role.DATA_OWNER,
        "request.deposit": Role.DATA_OWNER,
        "request.withdraw": Role.DATA_OWNER,
        "request.run": Role.DATA_OWNER,
        "request.review": Role.DATA_SCIENTIST,
        "rules.set": Role.DATA_OWNER,
        "rules.list": Role.DATA_SCIENTIST,
        "code.list": Role.DATA_SCIENTIST,
        "code.call": Role.DATA_SCIENTIST,
        "result.read": Role.DATA_SCIENTIST,
        "job.start": Role.DATA_SCIENTIST,
        "job.list": Role.DATA_SCIENTIST,
        "job.get": Role.DATA_SCIENTIST,
        "job.wait": Role.DATA_SCIENTIST,
        "job.logs": Role.DATA_SCIENTIST,
        "job.cancel": Role.DATA_SCIENTIST,
        "job.retry": Role.DATA_SCIENTIST,
        "audit.list": Role.DATA_OWNER,
        "audit.export": Role.DATA_OWNER,
        "audit.verify": Role.DATA_OWNER,
    }
)
"""The least role for each verb.  Somebody who has not logged in is a guest, and a verb on one's own account then finds
none."""

DOORSTEP: Final = frozenset(
    {"auth.login", "auth.key", "auth.whoami", "auth.logout", "auth.redeem", "account.sign_up", "node.metadata"}
)
"""What a visitor without an account may always call: the ways in, and the node's name."""
LOOKS: Final[Mapping[Guests, frozenset[str]]] = MappingProxyType(
    {
        Guests.NOTHING: DOORSTEP,
        Guests.METADATA: frozenset(verb for verb, least in PERMISSIONS.items() if least is Role.GUEST),
        Guests.MOCKS: frozenset(verb for verb, least in PERMISSIONS.items() if least is Role.GUEST) | {"asset.read"},
    }
)
"""The verbs of a visitor without an account, for each value of the setting ``guests``."""

MANAGES: Final[Mapping[Role, frozenset[Role]]] = MappingProxyType(
    {
        Role.GUEST: frozenset(),
        Role.DATA_SCIENTIST: frozenset(),
        Role.DATA_OWNER: frozenset({Role.GUEST, Role.DATA_SCIENTIST}),
        Role.ADMIN: frozenset(Role),
    }
)
"""Whose accounts a role may make, change and close, its own account aside: an admin everybody's, an owner those of
the roles below, so that no owner can step into the shoes of another."""


def permit(verb: str, role: Role | None, guests: Guests = Guests.METADATA) -> None:
    """Raise ``NotLoggedIn`` or ``NotAllowed`` unless ``role`` (None: not logged in) may use ``verb``."""
    least = PERMISSIONS[verb]
    if verb in LOOKS[guests] if role is None else role >= least:
        return
    if role is None:
        raise NotLoggedIn(f"{verb} needs an account.")
    raise NotAllowed(f"{verb} needs the role {least.words}; yours is {role.words}.")


def manage(role: Role, other: Role, what: str) -> None:
    """Raise ``NotAllowed`` unless ``role`` may do ``what`` to somebody else's account of the role ``other``."""
    if other not in MANAGES[role]:
        raise NotAllowed(f"A {role.words} cannot {what} an account with the role {other.words}.")


def parse_role(text: str) -> Role:
    """A role from its words, in any case, with spaces, underscores or dashes.  Raises ``InvalidInput``."""
    name = text.strip().upper().replace(" ", "_").replace("-", "_")
    if name not in Role.__members__:
        raise InvalidInput(f"{text[:40]!r} is no role; roles are {', '.join(role.words for role in Role)}.")
    return Role[name]


def normalise_email(raw: str) -> str:
    """The one form of an e-mail address: NFKC, trimmed, casefolded.  Raises ``InvalidInput``."""
    text = unicodedata.normalize("NFKC", raw).strip().casefold()
    name, at, host = text.rpartition("@")
    shown = all(char.isprintable() and not char.isspace() for char in text)
    if not (name and at and host and shown and "@" not in name) or len(text) > MAX_EMAIL:
        raise InvalidInput(f"{raw[:60]!r} is no e-mail address.")
    return text


def normalise_password(raw: str) -> str:
    """A password in NFC, as RFC 8265 has it, so that each keyboard's way to write it is the same."""
    return unicodedata.normalize("NFC", raw)


def check_new_password(raw: str) -> str:
    """A password that may be chosen, normalised.  Raises ``InvalidInput``; never shows it."""
    password = normalise_password(raw)
    if not MIN_PASSWORD <= len(password) <= MAX_PASSWORD:
        raise InvalidInput(f"A password has {MIN_PASSWORD} to {MAX_PASSWORD} characters.")
    return password


def check_chosen(raw: str) -> str:
    """A password that somebody chooses for themselves: not the one that everybody knows.  Raises ``InvalidInput``."""
    password = check_new_password(raw)
    if password == DEFAULT_PASSWORD:
        raise InvalidInput("That is the default password, which everybody knows.")
    return password


def hash_for(password: str) -> str:
    """The hash to keep for a normalised password; about 80 ms and 64 MiB unless it is the default one."""
    if hmac.compare_digest(password.encode(), DEFAULT_PASSWORD.encode()):
        return DEFAULT_HASH
    return crypto.hash_password(password)


def opens(hashed: str | None, password: str) -> bool:
    """Whether a normalised password fits; as slow for an account that does not exist (None)."""
    fits = crypto.check_password(hashed or ABSENT_HASH, password)
    return fits and hashed is not None
