"""Sets of packages that an owner made, and runs that ask for one by name."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from p2pgrid import wire
from p2pgrid.domain.runner import Runner, RunSpec
from p2pgrid.environments import MARK, Environments, last_words
from p2pgrid.errors import Conflict, InvalidInput, NotFound, StorageError


@pytest.mark.slow
async def test_a_run_in_an_environment_of_its_own(tmp_path: Path) -> None:
    environments = Environments(tmp_path / "node" / "environments")
    made = environments.add("numerals", ["roman>=4"])
    assert environments.all() == [made]
    with pytest.raises(Conflict):
        environments.add("numerals", [])
    runner = Runner(hide=[tmp_path / "node"], environments=environments)
    code = "def f():\n    import roman, sys\n    return [roman.toRoman(2026), 'sklearn' in sys.modules]"
    try:
        inside = await runner.run(RunSpec(code, "f", environment="numerals"))
        outside = await runner.run(RunSpec(code, "f"))
        nowhere = await runner.run(RunSpec(code, "f", environment="another"))
        (tmp_path / "node" / "key").write_text("very-secret")
        reads = f"def f(): return open({str(tmp_path / 'node' / 'key')!r}).read()"
        secret = await runner.run(RunSpec(reads, "f", environment="numerals"))
        python, before = runner._zygotes["numerals", "mock"]
        os.utime(python.modules[-1])  # as if a package had come or gone
        again = await runner.run(RunSpec(code, "f", environment="numerals"))
        after = runner._zygotes["numerals", "mock"][1]
    finally:
        await runner.close()
    assert inside.ok, inside
    assert wire.unpack_value(inside.result or b"") == ["MMXXVI", False]
    assert "No module named 'roman'" in outside.error
    assert (nowhere.failure, "no environment 'another'" in nowhere.error) == ("unavailable", True)
    assert again.ok
    assert after is not before, "runs begin in the packages of now"
    assert not before.alive
    assert not secret.ok, "the home around an environment stays hidden"
    environments.remove("numerals")
    assert not list((tmp_path / "node" / "environments").iterdir())


def test_a_package_that_does_not_exist_leaves_nothing(tmp_path: Path) -> None:
    environments = Environments(tmp_path)
    with pytest.raises(StorageError, match=r"could not install [^\n]*$"):
        environments.add("broken", ["./no-such-folder"])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["", "../up", "Big", ".hidden", "a/b", "x" * 65])
def test_names_that_are_none(tmp_path: Path, name: str) -> None:
    environments = Environments(tmp_path / "environments")
    with pytest.raises(InvalidInput):
        environments.add(name, [])
    with pytest.raises(NotFound):
        environments.remove(name)
    assert name not in environments


def test_of_what_pip_says_the_errors_are_told() -> None:
    log = (
        "WARNING: Retrying\n  noise\nERROR: Could not find it (from versions: none)\nERROR: No matching distribution\n"
    )
    assert last_words(log) == "Could not find it (from versions: none) No matching distribution"
    assert last_words("one\n  killed\n") == "killed"
    assert last_words("") == "it did not say why."


def test_an_option_is_no_package(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="no package"):
        Environments(tmp_path).add("x", ["--index-url=http://127.0.0.1:9"])


def test_an_environment_that_was_not_finished_is_none(tmp_path: Path) -> None:
    for name, text in (("begun", None), ("garbage", "{"), ("number", "7")):
        (tmp_path / name).mkdir()
        if text is not None:
            (tmp_path / name / MARK).write_text(text)
    found = Environments(tmp_path)
    assert "begun" not in found
    assert "garbage" not in found
    assert "number" not in found
