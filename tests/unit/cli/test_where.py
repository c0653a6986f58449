"""Which node a person means."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from p2pgrid.cli.where import Place, Target, address, ask_password, find_place, own_place, start_again
from p2pgrid.errors import BadAddress, NoBootstrap, UnknownNode, WrongUse
from p2pgrid.home import Home, RunState


@contextmanager
def up(base: Path, name: str, kind: str = "domain") -> Iterator[Home]:
    home = Home(name, base)
    an_id = home.identity().id.hex()
    with home.lock():
        home.save_run(RunState(os.getpid(), kind, name, an_id, "http://127.0.0.1:7", "127.0.0.1:7", 0.0))
        yield home


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("http://192.0.2.7:8080", "http://192.0.2.7:8080"),
        ("https://bob.example/", "https://bob.example"),
        ("192.0.2.7:8080", "http://192.0.2.7:8080"),
        ("[2001:db8::1]:8080", "http://[2001:db8::1]:8080"),
        ("bob.example:80", "http://bob.example:80"),
    ],
)
async def test_an_address(text: str, url: str, tmp_path: Path) -> None:
    assert await find_place(text, tmp_path) == Place(text, url)


async def test_an_own_node_is_pinned_to_its_key_and_its_owners_key_is_the_login(tmp_path: Path) -> None:
    with up(tmp_path, "Bob") as home:
        place = await find_place("Bob", tmp_path)
        only = own_place(None, tmp_path)

    assert (place.url, place.expect) == ("http://127.0.0.1:7", home.identity().id)
    assert place.key is not None
    assert place.key.public == home.owner().public
    assert only.label == "Bob"


async def test_an_own_node_that_is_down(tmp_path: Path) -> None:
    with up(tmp_path, "Bob"):
        pass  # now nobody holds its lock, so what its run state says is stale
    with pytest.raises(UnknownNode, match="not running") as raised:
        await find_place("Bob", tmp_path)
    assert raised.value.fix == "Start it as before."  # no settings are kept: something else than 'launch' started it
    Home("Bob", tmp_path).config.write_text("")
    with pytest.raises(UnknownNode, match="p2pgrid launch Bob"):
        await find_place("Bob", tmp_path)


def test_a_name_with_blanks_is_quoted_where_it_is_to_be_typed(tmp_path: Path) -> None:
    home = Home("My node", tmp_path)
    home.identity()
    home.config.write_text("")
    assert start_again(home) == "Start it with: p2pgrid launch 'My node'"


@pytest.mark.parametrize("on", ["192.0.2.7:8080", "http://192.0.2.7:8080", "ab" * 20])
def test_an_address_that_leads_there_from_anywhere_is_told_on(on: str, tmp_path: Path) -> None:
    assert address(Target(None, on, None, tmp_path)) == on


@pytest.mark.parametrize("target", [("Bob", None), (None, "Bob"), (None, None)])
def test_an_own_node_is_told_on_by_its_url(target: tuple[str | None, str | None], tmp_path: Path) -> None:
    with up(tmp_path, "Bob"):
        assert address(Target(*target, None, tmp_path)) == "http://127.0.0.1:7"


async def test_a_gateway_is_no_domain(tmp_path: Path) -> None:
    with up(tmp_path, "Gate", "gateway"), pytest.raises(UnknownNode, match="is a gateway"):
        own_place("Gate", tmp_path)


@pytest.mark.parametrize("text", ["Nobody", "", "../Bob", "a/b", "x" * 100])
async def test_nothing_of_that_name(text: str, tmp_path: Path) -> None:
    with pytest.raises(UnknownNode):
        await find_place(text, tmp_path)


async def test_another_scheme(tmp_path: Path) -> None:
    with pytest.raises(BadAddress):
        await find_place("ftp://bob.example", tmp_path)


@pytest.mark.parametrize("text", ["http://[", "http://", "http://[::1", "http://:80", "http://x:port"])
async def test_what_is_no_address(text: str, tmp_path: Path) -> None:
    with pytest.raises(BadAddress, match="HOST:PORT"):
        await find_place(text, tmp_path)


@pytest.mark.parametrize("text", ["127.0.0.1:99999", "127.0.0.1:999999", "127.0.0.1:0", "http://127.0.0.1:65536"])
async def test_a_number_that_is_no_port(text: str, tmp_path: Path) -> None:
    with pytest.raises(BadAddress, match="1 to 65535"):
        await find_place(text, tmp_path)


async def test_an_id_needs_a_way_into_the_grid(tmp_path: Path) -> None:
    with pytest.raises(NoBootstrap):
        await find_place("ab" * 20, tmp_path)


def test_a_password_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("P2PGRID_PASSWORD", "correct horse")

    assert ask_password("Password") == "correct horse"


def test_without_a_terminal_a_password_is_not_waited_for() -> None:
    with pytest.raises(WrongUse, match="no terminal"):
        ask_password("Password")
