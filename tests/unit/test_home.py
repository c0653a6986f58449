"""The home folder: keys, the lock of a live node, the run state, atomic files."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from p2pgrid import home as home_module
from p2pgrid.errors import BadConfig, BadHome, HomeInUse, UnknownNode
from p2pgrid.home import Home, RunState, base_folder, homes, own_home, write_atomically

STATE = RunState(
    pid=1, kind="domain", name="alice", id="00" * 20, url="http://127.0.0.1:1", dht="127.0.0.1:1", started=1.0
)

HOLDER = """
import subprocess, sys, time
from p2pgrid.home import Home, RunState
home = Home(sys.argv[1])
with home.lock():
    home.identity()
    home.save_run(RunState(**{state!r}))
    if sys.argv[2:] == ["with-child"]:
        child = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
        print(child.pid, flush=True)
    else:
        print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def live_process(name: str, *extra: str) -> Iterator[subprocess.Popen[str]]:
    """A real process that holds a node's home."""
    code = HOLDER.replace("{state!r}", repr(asdict(STATE)))
    with subprocess.Popen(
        [sys.executable, "-c", code, name, *extra], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


# ---------------------------------------------------------------- folders and names


def test_the_base_folder_is_given_or_named_by_the_environment_or_the_platforms(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert base_folder(tmp_path / "given") == tmp_path / "given"
    assert base_folder() == Path(os.environ["P2PGRID_HOME"])
    monkeypatch.delenv("P2PGRID_HOME")
    assert base_folder().name == "p2pgrid"


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", ".hidden", "-x", " a", "a ", "a\n", "a\x00", "x" * 65])
def test_a_name_that_is_no_folder_of_its_own_is_refused(name: str) -> None:
    with pytest.raises(BadConfig):
        Home(name)


@pytest.mark.parametrize("name", ["alice", "Bob_2", "UCSF node 1", "josé", "a@b.org", "x" * 64, "7"])
def test_usual_names_are_fine(name: str) -> None:
    assert Home(name).path.name == name


def test_nothing_is_made_before_it_is_needed() -> None:
    home = Home("alice")
    assert not home.exists
    assert home.running() is None
    assert not home.in_use
    assert home.load_peers() == []
    assert homes() == []
    home.wipe()
    assert not base_folder().exists()


def test_a_folder_that_cannot_be_made_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BadHome, match="cannot be made"):
        Home("alice", tmp_path / "file").identity()
    (tmp_path / "alice").write_text("")
    with pytest.raises(BadHome, match="cannot be made"):
        Home("alice", tmp_path).identity()


# ---------------------------------------------------------------- keys


def test_a_key_is_made_once_for_its_owners_eyes_only() -> None:
    home = Home("alice")
    identity = home.identity()
    assert mode(home.path / "node.key") == 0o600
    assert mode(home.path) == 0o700
    assert home.exists
    assert home.identity().public == identity.public
    assert home.owner().public != identity.public
    assert mode(home.path / "owner.key") == 0o600
    assert sorted(entry.name for entry in home.path.iterdir()) == ["node.key", "owner.key"]


def test_two_programs_that_make_the_key_at_once_get_the_same_one() -> None:
    start, keys = threading.Barrier(8), []

    def make() -> None:
        home = Home("alice")
        start.wait()
        keys.append(home.owner().public)

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(keys) == {Home("alice").owner().public}
    assert len(keys) == 8


@pytest.mark.parametrize("content", ["", "zz" * 32, "00" * 31, "00" * 33, "é", "00" * 10_000])
def test_a_damaged_key_file_is_one_clear_error_and_is_kept(content: str) -> None:
    home = Home("alice")
    home.make()
    path = home.path / "node.key"
    path.write_text(content, encoding="utf-8")
    path.chmod(0o600)
    with pytest.raises(BadHome, match=r"node\.key cannot be used") as caught:
        home.identity()
    assert "backup" in caught.value.fix
    assert path.read_text(encoding="utf-8") == content


@pytest.mark.parametrize("loose", [0o644, 0o640, 0o604, 0o660, 0o666])
def test_a_key_file_that_others_can_read_is_refused(loose: int) -> None:
    home = Home("alice")
    home.identity()
    (home.path / "node.key").chmod(loose)
    with pytest.raises(BadHome, match="read by others") as caught:
        home.identity()
    assert "chmod 600" in caught.value.fix


def test_no_key_shows_in_a_repr_or_an_error() -> None:
    home = Home("alice")
    seed = home.identity().seed.hex()
    (home.path / "node.key").write_text(seed + "x")
    with pytest.raises(BadHome) as caught:
        home.identity()
    chain = [caught.value, caught.value.__cause__]
    assert all(seed not in f"{error!r} {error}" for error in chain)
    assert seed not in repr(home)


# ---------------------------------------------------------------- the lock and the run state


def test_the_lock_keeps_a_second_node_out() -> None:
    home = Home("alice")
    with home.lock():
        assert home.in_use
        with pytest.raises(HomeInUse), Home("alice").lock():
            pass
        with Home("bob").lock():
            pass
    assert not home.in_use
    with home.lock():
        pass


def test_the_lock_keeps_a_second_process_out_until_that_dies() -> None:
    home = Home("alice")
    with live_process("alice") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        assert home.running() == STATE
        with pytest.raises(HomeInUse), home.lock():
            pass
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert (home.path / "run.json").exists()
        assert home.running() is None
        with home.lock():
            assert home.running() is None


def test_what_a_killed_node_left_behind_does_not_pass_for_the_next_one() -> None:
    home = Home("alice")
    home.make()
    home.save_run(STATE)
    with home.lock():
        assert home.running() is None
        new = replace(STATE, pid=2)
        home.save_run(new)
        assert home.running() == new
    assert home.running() is None


def test_a_child_that_outlives_a_killed_node_does_not_hold_its_home() -> None:
    home = Home("alice")
    with live_process("alice", "with-child") as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        try:
            assert not home.in_use
        finally:
            os.kill(child, signal.SIGKILL)


def test_looking_at_a_home_does_not_keep_its_node_from_starting() -> None:
    """Programs that wait for a node look again and again; each look takes the lock for an instant."""
    home = Home("alice")
    with home.lock():
        pass
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            assert home.in_use in (True, False)

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        for _ in range(300):
            with home.lock():
                pass
    finally:
        done.set()
        watcher.join()


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "{}", '{"pid": 1, "more": 2}', "\x00"])
def test_a_damaged_run_state_is_none(text: str) -> None:
    home = Home("alice")
    with home.lock():
        (home.path / "run.json").write_text(text)
        assert home.running() is None


def test_a_node_that_landed_is_not_running() -> None:
    home = Home("alice")
    with home.lock():
        home.save_run(STATE)
        assert home.running() == STATE
        home.clear_run()
        home.clear_run()
        assert home.running() is None


# ---------------------------------------------------------------- wiping


def test_wiping_forgets_everything() -> None:
    home = Home("alice")
    before = home.identity().public
    home.assets.mkdir()
    (home.assets / "a.npy").write_text("x")
    outside = base_folder() / "outside"
    outside.mkdir()
    (outside / "kept").write_text("x")
    (home.path / "link").symlink_to(outside)
    home.wipe()
    assert [entry.name for entry in home.path.iterdir()] == ["lock"]
    assert (outside / "kept").exists()
    assert home.identity().public != before


def test_wiping_is_refused_while_a_node_is_live() -> None:
    home = Home("alice")
    with live_process("alice") as process:
        assert process.stdout is not None
        process.stdout.readline()
        before = home.identity().public
        with pytest.raises(HomeInUse):
            home.wipe()
        assert home.identity().public == before
        assert home.running() == STATE


# ---------------------------------------------------------------- peers and files


def test_peers_are_kept_for_the_next_start() -> None:
    home = Home("alice")
    home.make()
    home.save_peers([b"a", b"b" * 1000])
    assert home.load_peers() == [b"a", b"b" * 1000]
    assert mode(home.path / "peers") == 0o600


@pytest.mark.parametrize("data", [b"", b"\xc1", b"\x01", b"\x92\x01\xc4\x01a", b"\x91" * 5000])
def test_damaged_peers_are_no_peers(data: bytes) -> None:
    home = Home("alice")
    home.make()
    (home.path / "peers").write_bytes(data)
    assert all(isinstance(peer, bytes) for peer in home.load_peers())


def test_an_atomic_write_replaces_the_whole_file_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("a much longer text before")
    path.chmod(0o644)
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"
    assert mode(path) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_an_atomic_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / "in-the-way"
    folder.mkdir()
    (folder / "old").write_text("old")
    with pytest.raises(BadHome, match="cannot be written"):
        write_atomically(folder, b"new")
    assert sorted(entry.name for entry in tmp_path.rglob("*")) == ["in-the-way", "old"]
    with pytest.raises(BadHome, match="cannot be written"):
        write_atomically(tmp_path / "no" / "folder", b"new")


def test_an_atomic_write_that_is_interrupted_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(handle: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(home_module.os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "file", b"new")
    assert list(tmp_path.iterdir()) == []


def test_an_atomic_write_may_keep_what_is_there(tmp_path: Path) -> None:
    write_atomically(tmp_path / "file", b"first", replace=False)
    write_atomically(tmp_path / "file", b"second", replace=False)
    assert (tmp_path / "file").read_bytes() == b"first"
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]


# ---------------------------------------------------------------- choosing one's own


def test_the_only_node_needs_no_name() -> None:
    with pytest.raises(UnknownNode, match="No node lives"):
        own_home(None)
    Home("alice").identity()
    assert own_home(None).name == "alice"
    Home("bob").identity()
    with pytest.raises(UnknownNode, match="alice, bob"):
        own_home(None)
    assert own_home("bob").name == "bob"
    with pytest.raises(UnknownNode, match="carol"):
        own_home("carol")


def test_the_only_live_node_needs_no_name() -> None:
    for name in ("alice", "bob"):
        Home(name).identity()
    with Home("bob").lock():
        Home("bob").save_run(STATE)
        assert own_home(None).name == "bob"


def test_other_folders_beside_the_nodes_do_no_harm() -> None:
    Home("bob").identity()
    Home("alice").identity()
    for odd in (".Trash", "-x", "empty"):
        (base_folder() / odd).mkdir()
        (base_folder() / odd / ("node.key" if odd != "empty" else "other")).write_text("")
    (base_folder() / "file").write_text("")
    assert [home.name for home in homes()] == ["alice", "bob"]
