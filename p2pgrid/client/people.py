"""Accounts, sessions, settings and notifications, as a client of a domain sees them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, overload

from p2pgrid.client.bridge import Bridge, bridged, bridged_property
from p2pgrid.client.door import Door, Holder
from p2pgrid.client.keys import Key, key_pair
from p2pgrid.client.show import Row, Shown, ShownList
from p2pgrid.errors import NotFound, WrongLogin

ACCOUNT_KEY = b"account-key"


class _Held(Row):
    """A row that its domain can be asked to change."""

    def __init__(self, client: Holder, fields: Mapping[str, Any]) -> None:
        super().__init__(fields)
        self._client = client

    @property
    def _bridge(self) -> Bridge:
        return self._client._bridge

    @property
    def id(self) -> str:
        """Its id."""
        return str(self["id"])


class Session(_Held):
    """One login to a domain: how, since when and from where."""

    @bridged
    async def end(self) -> None:
        """Log it out."""
        await self._client.door.call("session.end", id=self.id)


class Sessions(ShownList[Session]):
    """Logins to one account, oldest first."""

    columns = ("id", "how", "remote", "since", "last_seen", "this")
    heading = "Sessions"


class Account(_Held):
    """Somebody who may log in to a domain; what is changed here, this object shows."""

    @property
    def name(self) -> str:
        """The person's name."""
        return str(self["name"])

    @property
    def email(self) -> str:
        """What they log in with."""
        return str(self["email"])

    @property
    def role(self) -> str:
        """Their role, in words."""
        return str(self["role"])

    @property
    def active(self) -> bool:
        """Whether they may log in."""
        return bool(self["active"])

    async def _change(self, verb: str, **args: Any) -> Account:
        self._fields = dict(await self._client.door.call(verb, account=self.id, **args))
        return self

    @bridged
    async def update(
        self,
        *,
        name: str | None = None,
        institution: str | None = None,
        website: str | None = None,
        mail: bool | None = None,
    ) -> Account:
        """Change what is given; ``mail``: whether notifications come as e-mails too."""
        return await self._change("account.update", name=name, institution=institution, website=website, mail=mail)

    @bridged
    async def set_role(self, role: str) -> Account:
        """Make them a guest, data scientist, data owner or admin."""
        return await self._change("account.set_role", role=role)

    @bridged
    async def activate(self) -> Account:
        """Let them in."""
        return await self._change("account.activate")

    @bridged
    async def deactivate(self) -> Account:
        """Log them out and let them in no more, until ``activate``; their requests stay as they are."""
        return await self._change("account.deactivate")

    @bridged
    async def reset_password(self) -> str:
        """A code with which they choose a new password, once, within a day: hand it over by a safe way."""
        return str((await self._client.door.call("account.reset", account=self.id))["code"])

    @bridged
    async def delete(self, password: str | None = None) -> None:
        """Delete the account for good; one's own needs the password.  Requests that wait are denied."""
        await self._client.door.call("account.delete", account=self.id, password=password)

    @bridged_property
    async def sessions(self) -> Sessions:
        """Where they are logged in."""
        found = await self._client.door.call("session.list", account=self.id)
        return Sessions([Session(self._client, raw) for raw in found])

    @bridged
    async def log_out_everywhere(self) -> int:
        """End all of these; the number of them."""
        return int((await self._client.door.call("session.end_all", account=self.id))["ended"])


class Accounts(ShownList[Account]):
    """The accounts of a domain, found by e-mail too."""

    columns = ("name", "email", "role", "institution", "active", "created_at", "last_login", "id")
    heading = "Accounts"

    @overload
    def __getitem__(self, key: int | str) -> Account: ...

    @overload
    def __getitem__(self, key: slice) -> ShownList[Account]: ...

    def __getitem__(self, key: int | str | slice) -> Account | ShownList[Account]:
        found = next((one for one in self if key == one.email), None) if isinstance(key, str) else None
        return found or super().__getitem__(key)


class Notification(_Held):
    """Something that one was told."""

    @bridged
    async def mark_as_read(self) -> None:
        """It is not new any more."""
        await self._client.door.call("notification.read", ids=[self.id])
        self._fields["read"] = True


class Notifications(ShownList[Notification]):
    """What one was told, newest first; ``unread_count`` counts all that is new, here or not."""

    columns = ("created_at", "text", "subject", "read")
    heading = "Notifications"

    def __init__(self, items: list[Notification], client: Holder | None = None, unread: int = 0) -> None:
        super().__init__(items)
        self._client, self.unread_count = client, unread

    @property
    def _bridge(self) -> Bridge:
        if self._client is None:
            raise NotFound("A part of the notifications cannot be asked.", fix="Ask client.notifications.")
        return self._client._bridge

    @property
    def unread(self) -> Notifications:
        """Those of them that are new."""
        return Notifications([one for one in self if not one["read"]], self._client, self.unread_count)

    @bridged
    async def mark_all_as_read(self) -> None:
        """Nothing is new any more."""
        if self._client is not None:
            await self._client.door.call("notification.read")
        for one in self:
            one._fields["read"] = True
        self.unread_count = 0


class Settings(Shown):
    """What owners may change while the domain runs: ``client.settings.set(sign_up="approval")``."""

    def __init__(self, client: Holder, raw: Mapping[str, Any]) -> None:
        self._client, self._raw = client, raw

    @property
    def _bridge(self) -> Bridge:
        return self._client._bridge

    def __getitem__(self, name: str) -> Any:
        return self._raw[name]

    @bridged
    async def set(self, /, **changes: Any) -> Settings:
        """Change settings, one after the other."""
        for name, value in changes.items():
            self._raw = await self._client.door.call("settings.set", name=name, value=value)
        return self

    def fields(self) -> Mapping[str, Any]:
        """All of them."""
        return self._raw


class PeopleCalls:
    """The part of a client that is about people: oneself first."""

    def __init__(self, door: Door, bridge: Bridge, account: Mapping[str, Any] | None) -> None:
        self.door, self.account = door, account
        self._bridge_used = bridge

    @property
    def _bridge(self) -> Bridge:
        return self._bridge_used

    @property
    def _holder(self) -> Holder:
        return self  # type: ignore[return-value]

    @bridged
    async def register(
        self, name: str, email: str, password: str, institution: str = "", website: str = "", role: str | None = None
    ) -> Account | str:
        """Make an account, a data scientist's unless ``role`` says otherwise.

        By an owner it is made at once.  A guest signs up, if the domain lets strangers: the answer then says how.
        """
        details: dict[str, Any] = {
            "name": name,
            "email": email,
            "password": password,
            "institution": institution,
            "website": website,
        }
        if role:
            details["role"] = role
        if self.account is not None:
            return Account(self._holder, await self.door.call("account.register", **details))
        answer = await self.door.call("account.sign_up", **details)
        return signed_up(str(answer["sign_up"]))

    @bridged
    async def set_password(self, old: str, new: str) -> None:
        """Change one's own password; all other sessions end."""
        await self.door.call("account.set_password", old=old, new=new)

    @bridged
    async def redeem(self, email: str, code: str, password: str) -> None:
        """Choose a new password with the code that an owner made; then log in with it."""
        await self.door.call("auth.redeem", email=email, code=code, password=password)

    @bridged
    async def set_email(self, email: str, password: str) -> None:
        """Change one's own e-mail, which is what one logs in with."""
        self.account = await self.door.call("account.set_email", email=email, password=password)

    @bridged
    async def set_key(self, key: Key | None, password: str) -> None:
        """Let ``key`` log in to one's own account, as in ``login(key=key)``; None: no key any more.

        The path of a key file that is not there makes one, readable by its owner only.  All other sessions end.
        Raises ``BadHome``.
        """
        if self.account is None:
            raise WrongLogin("A guest has no account that a key could open.")
        proof: dict[str, Any] = {}
        if key is not None:
            # The key that the link has proven, not one that the node tells: it could be that of another node, where
            # the signature would bind this key to somebody else's account.
            said = bytes.fromhex(str(self.account["id"])) + self.door.peer
            pair = key_pair(key, make=True)
            proof = {"key": pair.public, "signature": pair.sign(ACCOUNT_KEY, said)}
        self.account = await self.door.call("account.set_key", password=password, **proof)

    @bridged
    async def update(
        self,
        *,
        name: str | None = None,
        institution: str | None = None,
        website: str | None = None,
        mail: bool | None = None,
    ) -> Account:
        """Change what one says of oneself; ``mail``: whether notifications come as e-mails too."""
        new: dict[str, Any] = {"name": name, "institution": institution, "website": website, "mail": mail}
        account: dict[str, Any] = await self.door.call("account.update", **new)
        self.account = account
        return Account(self._holder, account)

    @bridged
    async def delete_account(self, password: str) -> None:
        """Delete one's own account for good."""
        await self.door.call("account.delete", password=password)
        self.account = None

    @bridged_property
    async def accounts(self) -> Accounts:
        """Every account of the domain; owners only."""
        found: list[Account] = []
        while len(page := await self.door.call("account.list", offset=len(found))) > 0:
            found += [Account(self._holder, raw) for raw in page]
        return Accounts(found)

    @bridged_property
    async def sessions(self) -> Sessions:
        """Where one is logged in; ``session.end()`` logs one of them out."""
        return Sessions([Session(self._holder, raw) for raw in await self.door.call("session.list")])

    @bridged
    async def log_out(self) -> None:
        """Go on as a guest."""
        await self.door.call("auth.logout")
        self.account = None

    @bridged
    async def log_out_everywhere(self) -> int:
        """End all one's sessions, this one too; the number of them."""
        ended = int((await self.door.call("session.end_all"))["ended"])
        self.account = None
        return ended

    @bridged_property
    async def notifications(self) -> Notifications:
        """What one was told, newest first, the last hundred."""
        answer = await self.door.call("notification.list")
        found = [Notification(self._holder, raw) for raw in answer["notifications"]]
        return Notifications(found, self._holder, int(answer["unread"]))

    @bridged_property
    async def settings(self) -> Settings:
        """What owners may change while the domain runs; owners only."""
        return Settings(self._holder, await self.door.call("settings.get"))


def signed_up(how: str) -> str:
    """What to tell somebody who signed up.  The domain does not say whether the e-mail had an account before."""
    if how == "open":
        return "Log in now. If that fails, the e-mail has an account here already."
    return "A data owner will look at it; then you can log in."
