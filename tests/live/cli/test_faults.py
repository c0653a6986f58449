"""What goes wrong ends in one message with cause, fix and code, and leaves nothing half-written."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that another program listens at."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        yield other.getsockname()[1]


@pytest.fixture
def free_port() -> int:
    """A port where nothing answers."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        return int(other.getsockname()[1])


@pytest.fixture(scope="module")
def url(grid: Any) -> str:
    return str(grid.json("id", "--node", "Bob")["url"])


@pytest.mark.parametrize("how", [[], ["--detach"]], ids=["here", "in the background"])
@pytest.mark.parametrize("kind", ["domain", "gateway"])
def test_a_port_that_is_taken(shell: Any, taken: int, how: list[str], kind: str) -> None:
    done = shell("launch", "Eve", kind, "--port", str(taken), *how)

    done.is_one_message("P2P-0022", 1, str(taken), "--port")
    assert not (shell.base / "Eve").exists()
    shell("check").is_one_message("P2P-0023", 3)


@pytest.mark.parametrize("how", [[], ["--detach"], ["--reset"], ["--reset", "--detach"]], ids=" ".join)
def test_a_home_in_use(grid: Any, how: list[str]) -> None:
    before = grid.json("id", "--node", "Bob")

    grid("launch", "Bob", *how).is_one_message("P2P-0020", 1, "p2pgrid land")
    assert grid.json("id", "--node", "Bob") == before
    assert grid("check", "Bob", "--silent").code == 0


def test_a_bootstrap_that_cannot_be_reached(shell: Any, free_port: int) -> None:
    address = f"127.0.0.1:{free_port}"

    shell("search", "digits", "--bootstrap", address).is_one_message("P2P-0200", 4, address)
    shell("search", "digits").is_one_message("P2P-0200", 4, "--bootstrap")
    shell("launch", "Bob", "--bootstrap", address, "--detach").is_one_message("P2P-0200", 4, address)
    shell("check").is_one_message("P2P-0023", 3)


def test_a_bootstrap_that_is_away_when_a_node_comes_back(shell: Any, free_port: int) -> None:
    shell("launch", "Bob", "--detach")
    shell("land", "Bob")
    up = shell("launch", "Bob", "--bootstrap", f"127.0.0.1:{free_port}", "--detach")
    assert up.code == 0
    assert up.err.startswith("warning[P2P-0200]: ")


def test_a_wrong_password(grid: Any, url: str) -> None:
    wrong = {"P2PGRID_PASSWORD": "not-the-password"}
    words = ("--email", "sheldon@caltech.edu")

    grid("datasets", url, *words, **wrong).is_one_message("P2P-0403", 1)
    grid("requests", "--on", url, *words, **wrong).is_one_message("P2P-0403", 1)
    assert grid("requests", "--on", url, *words, "--json", **wrong).document["error"]["code"] == "P2P-0403"


def test_no_password_and_no_terminal_to_ask_on(grid: Any, url: str) -> None:
    grid("datasets", url, "--email", "a@b.org").is_one_message("P2P-0900", 2, "P2PGRID_PASSWORD")


def test_a_guest_where_an_account_is_needed(grid: Any, url: str) -> None:
    grid("requests", "--on", url).is_one_message("P2P-0703", 1, "--email")


def test_a_data_scientist_who_wants_to_decide(grid: Any, url: str) -> None:
    words = ("--on", url, "--email", "sheldon@caltech.edu")

    done = grid("requests", "approve", "abcd", *words, P2PGRID_PASSWORD="changethis")
    done.is_one_message("P2P-0400", 3)


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.npy", b"no array"), ("a.npz", b"no archive"), ("a.json", b"{"), ("a.parquet", b"PAR0"), ("a.csv", b"")],
)
def test_a_file_that_is_not_what_its_name_says(grid: Any, tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    before = grid.json("audit", "--node", "Jane", "--limit", "1000")["entries"][1:]

    grid("publish", str(tmp_path / name), "--node", "Jane").is_one_message("P2P-0002", 2, name)
    grid("publish", str(tmp_path / "missing.npy"), "--node", "Jane").is_one_message("P2P-0002", 2, "missing.npy")
    assert grid("datasets", "--node", "Jane").code == 3
    assert [e for e in before if e["action"] == "dataset.create"] == []


def test_nodes_that_nobody_knows(grid: Any, free_port: int) -> None:
    grid("id", "--node", "Nobody").is_one_message("P2P-0023", 3, "Nobody")
    grid("land", "Nobody").is_one_message("P2P-0023", 3)
    grid("check", "Nobody").is_one_message("P2P-0023", 3)
    grid("datasets", "Nobody").is_one_message("P2P-0023", 3)
    grid("publish", "sklearn:digits", "--node", "Nobody").is_one_message("P2P-0023", 3)
    grid("publish", "sklearn:digits").is_one_message("P2P-0023", 3, "--node", "Bob, Jane")
    grid("datasets", "00" * 20).is_one_message("P2P-0400", 3, "00" * 20)
    grid("datasets", f"127.0.0.1:{free_port}").is_one_message("P2P-0201", 4)
    grid("ping", f"127.0.0.1:{free_port}", "--node", "Bob").is_one_message("P2P-0201", 4)
    grid("launch", "../Bob").is_one_message("P2P-0013", 2)


def test_a_default_password_where_others_can_reach_it(shell: Any) -> None:
    for how in ([], ["--detach"]):
        shell("launch", "Bob", "--host", "0.0.0.0", *how).is_one_message("P2P-0024", 2, "P2PGRID_OWNER_PASSWORD")
        assert not (shell.base / "Bob").exists()


def test_a_result_file_that_cannot_be_written_costs_no_run(grid: Any, url: str, tmp_path: Path) -> None:
    words = ("--on", url, "--email", "sheldon@caltech.edu", "--out", str(tmp_path / "nowhere" / "a.npy"))

    grid("result", "abcd", *words, P2PGRID_PASSWORD="changethis").is_one_message("P2P-0901", 1)


def test_an_unhealthy_node(grid: Any, free_port: int) -> None:
    url = f"http://127.0.0.1:{free_port}"
    done = grid("check", url)

    assert done.code == 4
    assert "❌" in done.out
    assert done.err.startswith("error[P2P-0201]: ")
    assert grid("check", url, "--silent") == type(done)(4, "", "")
    assert grid("check", url, "--wait", "--timeout", "0.5", "--json").document["healthy"] is False


def test_signs_that_the_terminal_lacks(grid: Any) -> None:
    done = grid("check", "Bob", PYTHONIOENCODING="ascii")

    assert done.code == 0
    assert done.out.isascii()
    assert " ok " in done.out
