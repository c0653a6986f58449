"""A client of one domain: log in, look at data, send functions, decide on them."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

from p2pgrid import crypto
from p2pgrid.client.audit import Audit
from p2pgrid.client.bridge import Bridge, Here, bridged, bridged_property
from p2pgrid.client.door import Door
from p2pgrid.client.functions import GridFunction
from p2pgrid.client.held import AssetPointer, HeldAsset, HeldDataset, HeldDatasets
from p2pgrid.client.jobs import Job, Jobs
from p2pgrid.client.keys import Key, key_pair
from p2pgrid.client.people import PeopleCalls
from p2pgrid.client.policies import rule_wires
from p2pgrid.client.projects import Project, Projects
from p2pgrid.client.requests import Request, Requests, UserCode, UserCodes, submit
from p2pgrid.client.show import Row, Shown, ShownList
from p2pgrid.client.upload import upload
from p2pgrid.client.values import Dataset
from p2pgrid.domain.accounts import normalise_email
from p2pgrid.domain.policies import Rule
from p2pgrid.errors import BadAddress, InvalidInput, Malformed, NotFound, WrongLogin
from p2pgrid.ids import NodeId


class Metadata(Shown):
    """What a node says of itself."""

    def __init__(self, raw: Mapping[str, Any]) -> None:
        self._raw = dict(raw)

    def __getattr__(self, name: str) -> Any:
        try:
            return self.__dict__["_raw"][name]
        except KeyError:
            raise AttributeError(name) from None

    def fields(self) -> Mapping[str, Any]:
        """All of it."""
        return self._raw


class RuleSets(ShownList[Row]):
    """Output rules that hold for every request on a dataset, or on one asset of it."""

    columns = ("dataset_name", "asset", "rules", "set_by", "set_at")
    heading = "Rules"


def rule_fields(raw: Mapping[str, Any]) -> dict[str, Any]:
    """One set of rules, in words."""
    return {**raw, "rules": "; ".join(str(line) for line in raw["words"])}


class DomainClient(PeopleCalls, Shown):
    """What ``login`` returns: one person's way into one domain."""

    def __init__(self, door: Door, bridge: Bridge, metadata: Mapping[str, Any], account: Mapping[str, Any] | None):
        super().__init__(door, bridge, account)
        self.metadata = Metadata(metadata)

    @property
    def id(self) -> str:
        """The node's id, in hexadecimal."""
        return str(self.metadata.id)

    @property
    def name(self) -> str:
        """The node's label."""
        return str(self.metadata.name)

    @property
    def email(self) -> str:
        """Who is logged in; empty for a guest."""
        return str(self.account["email"]) if self.account else ""

    @property
    def role(self) -> str:
        """The role of who is logged in."""
        return str(self.account["role"]) if self.account else "guest"

    @property
    def is_owner(self) -> bool:
        """Whether this account may read private data and decide on requests."""
        return self.role in ("data owner", "admin")

    @bridged_property
    async def datasets(self) -> HeldDatasets:
        """What the domain holds: names, shapes, mocks."""
        return await self._datasets()

    @bridged
    async def search_datasets(self, text: str = "", *, tags: Iterable[str] = (), match: str = "all") -> HeldDatasets:
        """Datasets that have every word of ``text`` in name, tags or description, and all (or any) of the tags.

        A word is found by its beginning.  The domain does the search; many datasets need not come here.
        """
        return await self._datasets(text=text, tags=list(tags), match=match)

    async def _datasets(self, **wanted: Any) -> HeldDatasets:
        # What is left out of a brief row is asked for when it is first looked at, which needs a bridge that waits.
        rows = await self.door.datasets(brief=not isinstance(self._bridge, Here), **wanted)
        return HeldDatasets([HeldDataset(self, raw) for raw in rows])

    @bridged
    async def upload_dataset(self, dataset: Dataset, *, progress: bool = True) -> HeldDataset:
        """Bring a dataset to the domain: all of it or nothing.  Owners only; the name must be new."""
        return HeldDataset(self, await upload(self.door, dataset, show=progress))

    @bridged
    async def replace_dataset(self, dataset: Dataset, *, progress: bool = True) -> HeldDataset:
        """Make the next version of the dataset of that name, with these assets: all of it or nothing.  Owners only.

        Equal assets stay the same; requests that are open go on with the version that they were written for.
        What is said of the dataset stays; see ``HeldDataset.update``.
        """
        return HeldDataset(self, await upload(self.door, dataset, show=progress, verb="dataset.replace"))

    @bridged_property
    async def projects(self) -> Projects:
        """All projects for an owner, one's own for a data scientist."""
        return Projects([Project.held(self, raw) for raw in await self.door.call("project.list")])

    @bridged
    async def get_project(self, name: str) -> Project:
        """The project of that name.  Raises ``NotFound``."""
        return Project.held(self, await self.door.call("project.get", name=name))

    @bridged
    async def submit(self, function: GridFunction, reason: str = "") -> Request:
        """Send a function outside any project."""
        return await submit(self, function, project=None, reason=reason)

    @bridged_property
    async def requests(self) -> Requests:
        """All requests for an owner, one's own for a data scientist."""
        return Requests([Request(self, raw) for raw in await self.door.rows("request.list")])

    @bridged
    async def get_request(self, id: str) -> Request:
        """One request by its id, or the beginning of it.  Raises ``NotFound``."""
        found = [raw for raw in await self.door.rows("request.list") if str(raw["id"]).startswith(id)]
        if len(found) != 1:
            raise NotFound(f"{len(found) or 'No'} requests here have an id that starts with {id!r}.")
        return Request(self, found[0])

    @bridged
    async def set_rules(
        self, dataset: HeldDataset | str, *rules: Rule, asset: HeldAsset | AssetPointer | str = ""
    ) -> RuleSets:
        """Set the output rules under every request on a dataset, or on one ``asset`` of it; without any, none.

        Both may be given by name.
        """
        wires = rule_wires(rules)
        title = asset if isinstance(asset, str) else asset.name
        raw = await self.door.call("rules.set", dataset=await self._dataset_id(dataset), asset=title, rules=wires)
        return RuleSets(Row(rule_fields(item)) for item in raw)

    async def _dataset_id(self, dataset: Any) -> str:
        """The id of a dataset that is given by itself or by name.  Raises ``InvalidInput`` or ``NotFound``."""
        if isinstance(dataset, HeldDataset):
            return dataset.id
        if not isinstance(dataset, str):
            fix = 'Give the dataset or its name: owner.set_rules("ages", MinimumRows(10), asset="years")'
            raise InvalidInput(f"Rules are set on a dataset; this has the type {type(dataset).__name__}.", fix=fix)
        return str((await self.door.call("dataset.get", name=dataset))["id"])

    @bridged_property
    async def rules(self) -> RuleSets:
        """The output rules that are set here under every request on a dataset."""
        return RuleSets(Row(rule_fields(item)) for item in await self.door.call("rules.list"))

    @bridged_property
    async def code(self) -> UserCodes:
        """Submitted functions, each callable by its name."""
        return UserCodes([UserCode(self, raw) for raw in await self.door.rows("code.list")])

    @bridged_property
    async def jobs(self) -> Jobs:
        """Queued, running and ended jobs: all for an owner, one's own for a data scientist."""
        return Jobs([Job(self, raw) for raw in await self.door.call("job.list")])

    @property
    def audit(self) -> Audit:
        """The domain's audit log; owners only.  ``client.audit()`` gives the newest entries."""
        return Audit(self)

    @bridged
    async def close(self) -> None:
        """Let go of the link."""
        await self.door.close()

    def fields(self) -> Mapping[str, Any]:
        """Where, and as whom."""
        return {"name": self.name, "id": self.id, "account": self.email or "guest", "role": self.role}


async def open_client(
    bridge: Bridge,
    url: str,
    *,
    email: str | None = None,
    password: str | None = None,
    key: Key | None = None,
    expect: NodeId | None = None,
    timeout: float = 10.0,
) -> DomainClient:
    """Link to the node at ``url`` and log in: with e-mail and password, with a key, or as a guest.

    ``key``: a key pair, or the path of a key file; with ``email`` it must be that account's.  ``expect`` pins the
    node's id.  Raises ``Unreachable``, ``WrongIdentity``, ``WrongLogin``, or ``BadHome`` for a key file.
    """
    from p2pgrid.link.http import connect

    identity = key_pair(key) if key is not None else crypto.Identity.generate(secrets.token_bytes)
    link = await connect(url, identity, expect=expect, timeout=timeout)
    door = Door(link, identity, link.peer)
    try:
        account = await _login(door, email, password, by_key=key is not None)
        return DomainClient(door, bridge, await door.call("node.metadata"), account)
    except BaseException:
        await door.close()
        raise


async def _login(door: Door, email: str | None, password: str | None, *, by_key: bool) -> dict[str, Any] | None:
    """The account that these open; None is a guest.  Raises ``WrongLogin`` or ``Malformed``."""
    if email is None and password is not None:
        raise WrongLogin("A password was given without an e-mail.", fix="Give the e-mail of the account too.")
    if email is not None and password is not None:
        account = await door.call("auth.login", email=email, password=password)
    elif by_key:
        account = await door.call("auth.key")
    elif email is not None:
        raise WrongLogin("An e-mail was given without a password.", fix="Give a password, or a key.")
    else:
        return None
    if not isinstance(account, dict) or not isinstance(account.get("email"), str):
        raise Malformed("The node told of no account at the login.")
    if email is not None and account["email"] != normalise_email(email):
        raise WrongLogin(
            f"This is not the login of {email}.", fix="Give the key file, or the password, of this account."
        )
    return account


def node_url(url: str | None, port: int | None) -> str:
    """The address of a node's HTTP door from what a person gives.  Raises ``BadAddress``."""
    text = url or "127.0.0.1"
    if "://" not in text:
        text = f"http://{text}"
    text = text.rstrip("/").replace("://localhost", "://127.0.0.1")
    whole = f"{text}:{port}" if port else text
    fix = "Write it as http://HOST:PORT."
    try:
        parts = urlsplit(whole)
        is_url = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:  # half an IPv6 address
        is_url = False
    if not is_url:
        raise BadAddress(f"{whole[:80]!r} is no http address of a node.", fix=fix)
    try:
        is_port = parts.port != 0
    except ValueError:
        is_port = False
    if not is_port:
        raise BadAddress(f"The port in {whole[:80]!r} is none: ports are 1 to 65535.", fix=fix)
    return whole
