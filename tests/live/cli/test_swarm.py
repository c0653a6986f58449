"""``p2pgrid swarm``: real nodes from one command, until it is told to end them."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest


@pytest.fixture(autouse=True)
def scratch(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """Where the commands make temporary folders; at the end there is none."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    yield folder
    assert list(folder.iterdir()) == []


@pytest.fixture
def numbers(tmp_path: Path) -> str:
    """A small file to publish."""
    np.save(tmp_path / "sevens.npy", np.arange(30.0))
    return str(tmp_path / "sevens.npy")


def doors(line: str) -> list[str]:
    """The addresses to go in through, from the line that tells that all are up."""
    assert "go in through" in line, line
    return re.findall(r"127\.0\.0\.1:\d+", line)


def udp_sockets(process: psutil.Process) -> int:
    try:
        return len(process.net_connections("udp"))
    except psutil.Error:
        return 0


def test_one_document(shell: Any) -> None:
    document = shell.json("swarm", "--nodes", "5")

    assert document["nodes"] == len(document["members"]) == 5
    assert 0 < document["seconds"] < 30
    addresses = [member["address"] for member in document["members"]]
    assert set(document["bootstrap"]) <= set(addresses)
    assert len(set(addresses)) == len({member["id"] for member in document["members"]}) == 5
    assert {member["state"] for member in document["members"]} == {"online"}


def test_a_table_of_all_nodes_in_two_processes(shell: Any, numbers: str) -> None:
    done = shell("swarm", "--nodes", "6", "--processes", "2", "--datasets", numbers)

    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("6 nodes up in ")
    for name in [f"node-{number}" for number in range(1, 7)]:
        assert name in done.out
    assert "sevens" in done.out
    assert set(doors(done.out.splitlines()[0])) <= set(re.findall(r"127\.0\.0\.1:\d+", done.out))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_kept_until_an_interrupt(begin: Any, family: Any, number: signal.Signals) -> None:
    process = begin("swarm", "--nodes", "7", "--processes", "2", "--keep")
    line = process.stdout.readline()
    assert line.startswith("7 nodes up in "), process.stderr.read()
    assert len(doors(line)) == 4
    begun = family(process)
    assert len(begun.look()) >= 2
    process.send_signal(number)
    out, err = process.communicate(timeout=20)

    assert (process.returncode, out, err) == (0, "", "until Ctrl-C\n")
    assert begun.ended()


def test_another_process_finds_a_dataset_of_a_kept_swarm(shell: Any, begin: Any, soon: Any, numbers: str) -> None:
    process = begin("swarm", "--nodes", "6", "--datasets", numbers, "--keep")
    door = doors(process.stdout.readline())[-1]
    tag = "sevens"

    def found() -> Any:
        done = shell("search", f"#{tag}", "--bootstrap", door, "--json")
        assert done.code in (0, 3), done
        return done.document["results"]

    [result] = soon(found)
    assert result["node"].startswith("node-")
    assert tag in result["tags"]
    assert [dataset["id"] for dataset in shell.json("datasets", result["url"])["datasets"]] == [result["dataset_id"]]
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 0


def test_the_table_at_a_terminal_lives_until_ctrl_c(watched: Any, family: Any) -> None:
    at = watched("swarm", "--nodes", "8", "--processes", "2", "--keep")
    assert at.read_until(lambda shown: b"8 of 8 nodes online" in b" ".join(shown.split())), at.shown
    assert all(f"node-{number}".encode() in at.shown for number in range(1, 9))
    drawn = at.shown.count(b"node-1")
    assert at.read_until(lambda shown: shown.count(b"node-1") > drawn), "it is drawn again"
    begun = family(at.process)
    assert len(begun.look()) >= 2
    at.type("\x03")

    assert at.end() == (0, "")
    assert b"Traceback" not in at.shown
    assert b"error[" not in at.shown
    assert begun.ended()


def worker(process: Any) -> psutil.Process:
    """The other process of a swarm in two."""
    [found] = [one for one in psutil.Process(process.pid).children() if "p2pgrid.sim.worker" in one.cmdline()]
    return found


def test_the_table_goes_on_without_a_process_that_is_killed(watched: Any) -> None:
    at = watched("swarm", "--nodes", "12", "--processes", "2", "--keep")
    assert at.read_until(lambda shown: b"12 of 12 nodes online" in b" ".join(shown.split())), at.shown
    worker(at.process).kill()
    assert at.read_until(lambda shown: b"8 of 12 nodes online" in b" ".join(shown.split())), at.shown
    drawn = at.shown.count(b"8 of 12")
    assert at.read_until(lambda shown: shown.count(b"8 of 12") > drawn + 1), "it goes on"
    at.type("\x03")

    assert at.end() == (0, "")
    assert at.shown.count(b"process 1 died, and 4 nodes with it") == 1
    assert b"error[" not in at.shown


def test_a_process_that_is_killed_is_told_once_without_a_terminal(begin: Any) -> None:
    process = begin("swarm", "--nodes", "12", "--processes", "2", "--keep")
    assert process.stdout.readline().startswith("12 nodes up in ")
    assert process.stderr.readline() == "until Ctrl-C\n"
    worker(process).kill()
    assert process.stderr.readline() == "process 1 died, and 4 nodes with it\n"
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=20) == ("", "")
    assert process.returncode == 0


def test_a_large_swarm_fits_the_terminal(watched: Any) -> None:
    at = watched("swarm", "--nodes", "60", "--keep")
    assert at.read_until(lambda shown: b"60 of 60 nodes online" in b" ".join(shown.split())), at.shown
    assert b"more" in at.shown
    at.type("\x03")
    assert at.end() == (0, "")


@pytest.mark.parametrize("processes", ["1", "2"])
def test_an_interrupt_while_it_starts_leaves_nothing(begin: Any, family: Any, soon: Any, processes: str) -> None:
    process = begin("swarm", "--nodes", "4000", "--processes", processes)
    begun = family(process)
    soon(lambda: len(begun.look()) >= int(processes) and udp_sockets(begun.members[0]) > 50)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)

    assert (process.returncode, out, err) == (130, "", "")
    assert begun.ended()


def test_ctrl_c_at_a_terminal_while_other_processes_start(watched: Any, family: Any, soon: Any) -> None:
    at = watched("swarm", "--nodes", "4000", "--processes", "4")
    begun = family(at.process)
    soon(lambda: len(begun.look()) >= 4)  # some have only just begun
    at.type("\x03")

    assert at.end() == (130, "")
    assert b"Traceback" not in at.shown, at.shown.decode()
    assert b"KeyboardInterrupt" not in at.shown
    assert begun.ended()


@pytest.mark.parametrize("processes", ["1", "2"])
def test_a_dataset_that_is_not_there(shell: Any, tmp_path: Path, processes: str) -> None:
    missing = str(tmp_path / "missing.npy")

    done = shell("swarm", "--nodes", "40", "--datasets", missing, "--processes", processes)
    done.is_one_message("P2P-0002", 2, "missing.npy")


def test_a_dataset_that_is_damaged(shell: Any, tmp_path: Path) -> None:
    (tmp_path / "damaged.npy").write_bytes(b"no array")

    done = shell("swarm", "--nodes", "3", "--datasets", str(tmp_path / "damaged.npy"), "--json")
    assert done.code == 2
    assert done.document["error"]["code"] == "P2P-0002"


def test_impossible_wishes(shell: Any, numbers: str) -> None:
    shell("swarm", "--nodes", "2", "--processes", "3").is_one_message("P2P-0002", 2, "processes")
    shell("swarm", "--nodes", "0").is_one_message("P2P-0900", 2, "--nodes")
    shell("swarm", "--nodes", "3", "-d", numbers, "-d", numbers).is_one_message("P2P-0002", 2, "same name")
    shell("swarm", "--nodes", "1", "-d", numbers, "-d", "sklearn:digits").is_one_message("P2P-0002", 2, "datasets")
    shell("swarm", "--nodes", "3", "--host", "192.0.2.77").is_one_message("P2P-0012", 2, "192.0.2.77")
