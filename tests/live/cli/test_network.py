"""A node among others, from a shell: peers, ping by node and by tag, and tags."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from typing import Any

import pytest

from p2pgrid.home import Home

ALIVE = {"online", "busy"}
"""On a machine that has other things to do, ``busy`` is the truth."""


@pytest.fixture(scope="module")
def tagged(grid: Any) -> Any:
    """Bob and Jane hold a dataset each: one tag is both's, one each is their own."""
    for name, own in (("Bob", "#Mnist-Like"), ("Jane", "#census")):
        (grid.base.parent / f"{name}.txt").write_text("1 2 3")
        words = ("--node", name, "--tag", own, "--tag", "shared", "--mock", "none")
        grid.json("publish", str(grid.base.parent / f"{name}.txt"), "--name", f"of-{name}", *words)
    deadline = time.monotonic() + 20
    while len(grid.json("search", "shared")["results"]) < 2:
        assert time.monotonic() < deadline
    return {name: grid.json("id", "--node", name) for name in ("Bob", "Jane")}


def test_peers_tell_state_latency_and_last_seen(grid: Any, tagged: Any) -> None:
    (peer,) = grid.json("peers", "--node", "Jane")["peers"]
    assert (peer["name"], peer["id"]) == ("Bob", tagged["Bob"]["id"])
    assert peer["state"] in ALIVE
    assert peer["address"] == tagged["Bob"]["dht"]
    assert 0 < peer["latency_ms"] < 1000
    assert abs(time.time() - peer["last_seen"]) < 60

    done = grid("peers", "--node", "Jane", "--sort", "latency")
    assert done.code == 0
    assert done.out.splitlines()[0] == "Peers (1)"
    assert " ms " in done.out
    assert done.err in ("1 online, 0 busy, 0 offline\n", "0 online, 1 busy, 0 offline\n")


def test_one_node_is_pinged_by_address_id_beginning_and_name(grid: Any, tagged: Any) -> None:
    jane = tagged["Jane"]
    for target in (jane["dht"], jane["id"], jane["id"][:6], jane["id"][:6].upper(), "Jane"):
        pong = grid.json("ping", target, "--node", "Bob")
        assert (pong["id"], pong["name"]) == (jane["id"], "Jane")
        assert pong["state"] in ALIVE
        assert pong["rtt_ms"] > 0
    itself = grid.json("ping", tagged["Bob"]["id"], "--node", "Bob")
    assert (itself["name"], itself["rtt_ms"]) == ("Bob", 0.0)


@pytest.mark.parametrize("target", ["# Shared", "shared"])
@pytest.mark.parametrize("way", ["node", "guest"])
def test_a_tag_pings_every_node_that_lists_it(grid: Any, tagged: Any, target: str, way: str) -> None:
    how = ("--node", "Bob") if way == "node" else ("--bootstrap", tagged["Jane"]["dht"])
    found = grid.json("ping", target, *how)
    assert found["tag"] == "shared"
    assert {row["name"] for row in found["nodes"]} == {"Bob", "Jane"}
    assert {row["id"] for row in found["nodes"]} == {one["id"] for one in tagged.values()}
    assert {row["state"] for row in found["nodes"]} <= ALIVE

    done = grid("ping", target, *how)
    assert done.out.splitlines()[0] == "Nodes that list #shared (2)"
    assert done.err == "2 of 2 nodes answered\n"


def test_a_tag_or_word_that_is_nobodys(grid: Any, tagged: Any) -> None:
    grid("ping", "#giraffes", "--node", "Bob").is_one_message("P2P-0903", 3, "No node lists #giraffes")
    grid("ping", "Giraffe", "--node", "Bob").is_one_message("P2P-0903", 3, "'Giraffe'", "#giraffe", "p2pgrid peers")
    none = grid("ping", "#giraffes", "--node", "Bob", "--json")
    assert (none.code, none.document["nodes"]) == (3, [])
    grid("ping", "a/b").is_one_message("P2P-0012", 2)
    grid("ping", "#shared", "--node", "Nobody").is_one_message("P2P-0023", 3)


@pytest.mark.parametrize("way", ["node", "guest"])
def test_tags_are_completed_and_corrected(grid: Any, tagged: Any, way: str) -> None:
    how = ("--node", "Jane") if way == "node" else ("--bootstrap", tagged["Bob"]["dht"])
    everything = grid.json("tags", *how)
    assert {row["tag"] for row in everything["tags"]} == {"mnist-like", "census", "shared"}
    assert all(row["seen"] >= 1 for row in everything["tags"])
    for typed, tag in (("mni", "mnist-like"), ("#MNI", "mnist-like"), ("like", "mnist-like"), ("cesnus", "census")):
        found = grid.json("tags", typed, *how)
        assert (found["prefix"], [row["tag"] for row in found["tags"]]) == (typed, [tag])
    assert len(grid.json("tags", "--limit", "2", *how)["tags"]) == 2

    done = grid("tags", "mni", *how)
    assert "#mnist-like" in done.out
    nothing = grid("tags", "zzzz", "--json", *how)
    assert (nothing.code, nothing.document["tags"], nothing.document["error"]["code"]) == (3, [], "P2P-0903")


def test_nobody_to_ask_for_tags(shell: Any) -> None:
    shell("tags", "mni").is_one_message("P2P-0200", 4, "--bootstrap")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        way_in = f"127.0.0.1:{silent.getsockname()[1]}"
        shell("tags", "mni", "--bootstrap", way_in).is_one_message("P2P-0200", 4)


def test_a_shell_completes_tags_by_a_node_of_this_machine(grid: Any, tagged: Any) -> None:
    asked = {"_P2PGRID_COMPLETE": "complete_bash", "COMP_WORDS": "p2pgrid search mni", "COMP_CWORD": "2"}
    assert grid(**asked).out.split() == ["mnist-like"]


def test_a_node_that_died_is_offline_and_its_tag_unreachable(shell: Any) -> None:
    bob = shell.json("launch", "Bob", "--detach")
    jane = shell.json("launch", "Jane", "--detach", "--bootstrap", bob["dht"])
    (shell.base.parent / "d.txt").write_text("x")
    shell.json("publish", str(shell.base.parent / "d.txt"), "--node", "Jane", "--tag", "lost", "--mock", "none")
    deadline = time.monotonic() + 20
    while shell("ping", "#lost", "--node", "Bob").code != 0:
        assert time.monotonic() < deadline
    os.kill(Home("Jane", shell.base).running().pid, signal.SIGKILL)  # type: ignore[union-attr]

    done = shell("ping", "#lost", "--node", "Bob", "--json")
    assert (done.code, done.document["error"]["code"]) == (4, "P2P-0201")
    assert [(row["id"], row["state"], row["rtt_ms"]) for row in done.document["nodes"]] == [
        (jane["id"], "offline", None)
    ]
    told = shell("ping", "#lost", "--node", "Bob")
    assert (told.code, "offline" in told.out) == (4, True)
    assert "error[P2P-0201]: None of the 1 node" in told.err
    peers = json.loads(shell("peers", "--node", "Bob", "--json").out)["peers"]
    assert [(peer["id"], peer["state"]) for peer in peers] == [(jane["id"], "offline")]
