"""Which node a command means, and how to get in there.

A node is named by: the name of one of your own (the key in its home is the login), an ``http(s)://`` URL,
``host:port``, or a node id of 40 hexadecimal digits, which is looked up through the grid and pinned.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar, cast

from p2pgrid.errors import NotFound, UnknownNode, WrongUse

if TYPE_CHECKING:
    from p2pgrid.client.domain import DomainClient
    from p2pgrid.crypto import Identity
    from p2pgrid.dht import DhtNode
    from p2pgrid.home import Home, RunState
    from p2pgrid.ids import NodeId

PASSWORD_VARIABLE: Final = "P2PGRID_PASSWORD"  # noqa: S105 - its name, not its value
KEY_VARIABLE: Final = "P2PGRID_KEY_FILE"
FIND_TIMEOUT: Final = 5.0
LINK_TIMEOUT: Final = 10.0
HEX_ID: Final = re.compile(r"[0-9a-fA-F]{40}")
HOST_PORT: Final = re.compile(r"(\[[0-9a-fA-F:.%]+\]|[\w.-]+):\d+")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Place:
    """A node to link to: its HTTP door, the id that it must prove, and the owner's key when it is one's own."""

    label: str
    url: str
    expect: NodeId | None = None
    key: Identity | None = None


def own_place(name: str | None, base: Path | None) -> Place:
    """One of the nodes in the home folder, which must be up.  Raises ``UnknownNode``."""
    from p2pgrid.home import Home, own_home

    if name is not None and (state := Home(name, base).running()) is not None:
        return _place_at(Home(name, base), state)
    home = own_home(name, base)
    return _place_at(home, running(home))


def running(home: Home) -> RunState:
    """How to reach an own node.  Raises ``UnknownNode`` when it is not up."""
    state = home.running()
    if state is None:
        raise UnknownNode(f"The node {home.name!r} is not running.", fix=start_again(home))
    return state


def start_again(home: Home) -> str:
    """How a node that is down comes up: a home without settings was not made by ``p2pgrid launch``."""
    name = shlex.quote(home.name)
    return f"Start it with: p2pgrid launch {name}" if home.config.exists() else "Start it as before."


def _place_at(home: Home, state: RunState) -> Place:
    if state.kind != "domain":
        raise UnknownNode(
            f"{home.name!r} is a {state.kind}, which has no accounts, datasets or requests.", fix="Name a domain."
        )
    return Place(home.name, state.url, home.identity().id, home.owner())


def address(target: Target) -> str:
    """What somebody else gives as ``--on`` to get there: of one's own node its URL, for its name is only known here."""
    from p2pgrid.home import is_name

    if target.on and (HEX_ID.fullmatch(target.on) or not is_name(target.on)):
        return shlex.quote(target.on)
    return own_place(target.on or target.node, target.home).url


async def find_place(text: str, base: Path | None, bootstrap: Sequence[str] = ()) -> Place:
    """The node that a person named.  Raises ``UnknownNode``, ``NotFound`` or ``NoBootstrap``."""
    from p2pgrid.client.domain import node_url
    from p2pgrid.home import Home, is_name

    if HEX_ID.fullmatch(text):
        return await _by_id(text, base, bootstrap)
    if "://" in text or HOST_PORT.fullmatch(text):
        return Place(text, node_url(text, None))
    if is_name(text):
        home = Home(text, base)
        if home.exists or home.running():
            return _place_at(home, running(home))
    raise UnknownNode(
        f"{text[:80]!r} is none of your own nodes, no URL, no host:port and no node id.",
        fix="Give the URL or the node id that 'p2pgrid search' prints.",
    )


async def _by_id(text: str, base: Path | None, bootstrap: Sequence[str]) -> Place:
    from p2pgrid.ids import parse_node_id

    wanted = parse_node_id(text)
    async with client_node(base, bootstrap) as node:
        found = await node.find(wanted, FIND_TIMEOUT)
    url = next((address.url for address in found.record.addresses if address.url), None) if found else None
    if found is None or url is None:
        raise NotFound(f"No node with the id {text} was found on the grid.", fix="Check the id; is the node up?")
    return Place(found.record.name, url, wanted)


@asynccontextmanager
async def client_node(base: Path | None, bootstrap: Sequence[str] = ()) -> AsyncIterator[DhtNode]:
    """A guest of the DHT that enters nobody's table.  Raises ``NoBootstrap``."""
    from p2pgrid.client.search import host_towards, known_ways_in
    from p2pgrid.dht import DhtNode
    from p2pgrid.errors import NoBootstrap
    from p2pgrid.ids import host_ports

    ways_in = host_ports(bootstrap) or host_ports(known_ways_in(base))
    if not ways_in:
        raise NoBootstrap("No node of the grid is known.", fix="Give one with --bootstrap HOST:PORT.")
    node = await DhtNode.start(host_towards(ways_in), 0, bootstrap=ways_in, mode="client")
    try:
        if not node.joined:
            raise NoBootstrap(f"None of these addresses answered: {', '.join(map(str, ways_in))}.")
        yield node
    finally:
        await node.close()


@dataclass(frozen=True, slots=True)
class Login:
    """Who somebody says to be, and the key or else the password that proves it."""

    email: str
    password: str | None = field(default=None, repr=False)
    key: Identity | None = field(default=None, repr=False)


def login_as(email: str | None, *, by_password: bool = False) -> Login | None:
    """The login for ``--email``, by the key file that ``$P2PGRID_KEY_FILE`` names, or by password; ``None`` is a guest.

    It may ask for the password, so call it before a spinner turns.
    """
    if not email:
        return None
    path = os.environ.get(KEY_VARIABLE)
    if path and not by_password:
        from p2pgrid.client.keys import key_pair

        return Login(email, key=key_pair(path))
    return Login(email, ask_password(f"Password of {email}"))


@dataclass(frozen=True, slots=True)
class Target:
    """What ``--node``, ``--on``, ``--email`` and ``--home`` say: where to go, and as whom."""

    node: str | None
    on: str | None
    login: Login | None
    home: Path | None

    @property
    def words(self) -> str:
        """The options that lead another command there, as one types them; a space before each."""
        said = {"node": self.node, "on": self.on, "email": self.login.email if self.login else None}
        return "".join(f" --{name} {shlex.quote(value)}" for name, value in said.items() if value)


@asynccontextmanager
async def visit(place: Place, login: Login | None = None) -> AsyncIterator[DomainClient]:
    """A client of the node: logged in, or with the key of its owner, or as a guest.

    Raises ``Unreachable``, ``WrongIdentity`` or ``WrongLogin``.
    """
    from p2pgrid.client.bridge import Here
    from p2pgrid.client.domain import open_client

    client = await open_client(
        Here(),
        place.url,
        email=login.email if login else None,
        password=login.password if login else None,
        key=login.key if login else place.key,
        expect=place.expect,
        timeout=LINK_TIMEOUT,
    )
    try:
        yield client
    finally:
        await client.door.close()


@asynccontextmanager
async def visit_target(target: Target) -> AsyncIterator[DomainClient]:
    """A client of the node that ``--on`` or ``--node`` names; of the only own one without either."""
    place = await find_place(target.on, target.home) if target.on else own_place(target.node, target.home)
    async with visit(place, target.login) as client:
        yield client


def ask_password(prompt: str, *, confirm: bool = False) -> str:
    """A password from the environment, else from the terminal; never from the command line."""
    given = os.environ.get(PASSWORD_VARIABLE)
    if given:
        return given
    if not sys.stdin.isatty():
        fix = f"Set it in the environment: export {PASSWORD_VARIABLE}=..."
        raise WrongUse("A password is needed, and there is no terminal to ask on.", fix=fix)
    return typed_password(prompt, confirm=confirm)


def typed_password(prompt: str, *, confirm: bool) -> str:
    """A password from the terminal, which does not show it."""
    import getpass  # noqa: F401 - else it is imported after the prompt was shown, and an interrupt would meet that

    import typer

    return str(typer.prompt(prompt, hide_input=True, confirmation_prompt=confirm, err=True))


async def awaited(value: T) -> T:
    """The value of a call over ``Here``: what is typed as a value there is a coroutine to be awaited."""
    return await cast(Awaitable[T], value)
