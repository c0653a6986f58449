"""Every command: quick help with an example, --json, and one message with a code for wrong use."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from p2pgrid import __version__
from p2pgrid.cli.app import app
from p2pgrid.cli.options import each_by_itself
from p2pgrid.home import Home, RunState

COMMANDS = [
    ["launch"],
    ["check"],
    ["land"],
    ["id"],
    ["peers"],
    ["ping"],
    ["search"],
    ["tags"],
    ["submit"],
    ["result"],
    ["publish"],
    ["jobs", "list"],
    ["jobs", "show"],
    ["jobs", "start"],
    ["jobs", "logs"],
    ["jobs", "wait"],
    ["jobs", "result"],
    ["jobs", "cancel"],
    ["jobs", "retry"],
    ["audit", "show"],
    ["audit", "verify"],
    ["audit", "export"],
    ["datasets", "list"],
    ["datasets", "show"],
    ["datasets", "update"],
    ["datasets", "delete"],
    ["requests", "list"],
    ["requests", "show"],
    ["requests", "approve"],
    ["requests", "deny"],
    ["requests", "deposit"],
    ["accounts", "list"],
    ["accounts", "add"],
]
HEAVY = ("numpy", "pandas", "aiohttp", "sqlalchemy", "pydantic", "rich.markdown", "sklearn", "nacl")


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_each_command_has_help_with_an_example_and_json(words: list[str]) -> None:
    done = CliRunner().invoke(app, [*words, "--help"])

    assert done.exit_code == 0
    assert f"p2pgrid {words[0]}" in done.stdout.split("Examples:")[1]
    assert "--json" in done.stdout


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_the_help_fits_a_terminal_of_80_columns(words: list[str]) -> None:
    done = CliRunner().invoke(app, [*words, "--help"], env={"COLUMNS": "80"})

    assert [line for line in done.stdout.splitlines() if len(line) > 80] == []


def test_the_root_help_names_every_command() -> None:
    done = CliRunner().invoke(app, ["--help"])

    assert done.exit_code == 0
    for words in COMMANDS:
        assert f"  {words[0]} " in done.stdout


def test_no_command_at_all_is_wrong_use_and_shows_the_help() -> None:
    done = CliRunner().invoke(app, [])

    assert done.exit_code == 2
    assert "Commands:" in done.stdout


def test_the_version() -> None:
    done = CliRunner().invoke(app, ["--version"])

    assert (done.exit_code, done.stdout) == (0, f"p2pgrid {__version__}\n")


@pytest.mark.parametrize(
    "words",
    [
        ["frobnicate"],
        ["search"],
        ["search", "digits", "--limit", "0"],
        ["search", "digits", "--timeout", "-1"],
        ["launch", "Bob", "--port", "99999"],
        ["launch", "Bob", "planet"],
        ["submit", "study.py:mean"],
        ["requests", "deny", "3f2a"],
        ["requests", "frobnicate", "3f2a", "more"],
        ["search", "digits", "--nope"],
        ["requests", "3f2a"],
        ["jobs", "frobnicate"],
    ],
    ids=" ".join,
)
def test_wrong_use_is_one_message_with_a_code(words: list[str]) -> None:
    plain = CliRunner().invoke(app, words)
    as_json = CliRunner().invoke(app, [*words, "--json"])

    assert plain.exit_code == as_json.exit_code == 2
    assert plain.stdout == ""
    assert plain.stderr.startswith("error[P2P-0900]: ")
    assert "\nfix: Look at: p2pgrid" in plain.stderr
    assert json.loads(as_json.stdout)["error"]["code"] == "P2P-0900"
    assert as_json.stderr == ""


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["requests", "aprove", "3f2a"], "approve"),
        (["jobs", "strat", "3f2a"], "start"),
        (["audit", "verfy"], "verify"),
        (["accounts", "logut"], "logout"),
        (["datasets", "shwo", "digits"], "show"),
        (["datasets", "shwo"], "show"),
    ],
)
def test_a_slip_of_the_hand_in_a_command_is_told(words: list[str], meant: str) -> None:
    done = CliRunner().invoke(app, words)

    assert (done.exit_code, done.stdout) == (2, "")
    cause, fix = done.stderr.splitlines()
    assert cause == f"error[P2P-0900]: No such command '{words[1]}'."
    assert fix.startswith(f"fix: Did you mean '{meant}'? Look at: p2pgrid {words[0]} --help")
    assert ("or write: p2pgrid datasets list shwo" in fix) is (words[0] == "datasets")


def test_a_word_like_no_command_is_what_the_usual_command_takes(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["datasets", "Bob", "--home", str(tmp_path)])

    assert done.stderr.startswith("error[P2P-0023]: 'Bob' is none of your own nodes")


def test_a_limit_beside_a_class_of_ones_own_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("def f(x):\n    return 1\n\nclass P(CustomOutputPolicy):\n    pass\n")
    words = [f"{tmp_path}/a.py:f", "--to", "192.0.2.7:8080", "--dataset", "ages"]
    done = CliRunner().invoke(app, ["submit", *words, "--output-policy", f"{tmp_path}/a.py:P", "--limit", "3"])

    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith("error[P2P-0900]: A class of your own decides itself how many results come out")


def test_a_run_on_the_mock_takes_no_values() -> None:
    done = CliRunner().invoke(app, ["jobs", "start", "3f2a", "--mock", "--value", "factor=3"])

    assert done.exit_code == 2
    assert done.stderr.startswith("error[P2P-0900]: A run on the mock takes the examples")


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("p2pgrid sea", ["search"]),
        ("p2pgrid datasets ", ["list", "show", "update", "delete"]),
        ("p2pgrid audit verfy ", ["show", "verify", "export"]),
        ("p2pgrid id --node ", ["Alice", "Bob"]),
    ],
)
def test_shells_complete_commands_and_own_nodes(line: str, offered: list[str], tmp_path: Path) -> None:
    for name in ("Bob", "Alice"):
        Home(name, tmp_path).identity()
    words = line.split(" ")
    asked = {"_P2PGRID_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
    environment = {**os.environ, **asked, "P2PGRID_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", "p2pgrid"], capture_output=True, text=True, timeout=60, env=environment, check=True
    )

    assert done.stdout.split() == offered


@pytest.mark.parametrize(
    "words", [["search", "#own #my-tag-a"], ["search", "own,mine"], ["publish", "sklearn:digits", "--tag", "#a #b"]]
)
def test_several_tags_in_one_pair_of_quotes(words: list[str], tmp_path: Path) -> None:
    home = Home("Bob", tmp_path)
    with home.lock():
        home.identity()
        home.save_run(RunState(os.getpid(), "domain", "Bob", "00" * 20, "http://127.0.0.1:9", "127.0.0.1:9", 0.0))
        done = CliRunner().invoke(app, [*words, "--home", str(tmp_path)])

    assert done.exit_code == 2
    assert done.stderr.startswith("error[P2P-0010]: ")
    assert "fix: Quote each tag: '" in done.stderr


@pytest.mark.parametrize("text", ["C# ", "two words", "#one", " #one", "a#b"])
def test_what_is_one_tag_with_something_in_it(text: str) -> None:
    assert each_by_itself([text]) == [text]


@pytest.mark.parametrize("words", [["launch", "all"], ["launch", "all", "gateway"]])
def test_no_node_is_named_all(words: list[str], tmp_path: Path) -> None:
    done = CliRunner().invoke(app, [*words, "--home", str(tmp_path)])

    assert (done.exit_code, list(tmp_path.iterdir())) == (2, [])
    assert done.stderr.startswith("error[P2P-0013]: ")
    assert "land all" in done.stderr


def test_the_help_imports_nothing_heavy() -> None:
    program = (
        "import sys; from p2pgrid.cli.app import app\n"
        "try: app(['--help'])\n"
        "except SystemExit: pass\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)

    assert done.stderr.strip() == "[]"


def test_search_imports_neither_rich_nor_numpy_before_its_first_result() -> None:
    program = (
        "import sys; from p2pgrid.cli.app import app\n"
        "try: app(['search', 'digits', '--bootstrap', '127.0.0.1:9', '--json'])\n"
        "except SystemExit: pass\n"
        "print([name for name in ('numpy', 'rich', 'aiohttp', 'sqlalchemy') if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)

    assert done.stderr.strip() == "[]"


@pytest.mark.parametrize(("words", "not_said"), [(["digits"], "--bootstrap"), (["a", "b"], "--bootstrap")])
def test_a_search_through_a_gateway_that_finds_nothing(
    words: list[str], not_said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    async def nothing(gateway: str, tags: list[str], *, timeout: float) -> list[list[str]]:
        asked.append(gateway)
        return []

    monkeypatch.setattr("p2pgrid.client.search.through_gateway", nothing)
    done = CliRunner().invoke(app, ["search", *words, "--gateway", "127.0.0.1:5000"])

    assert (done.exit_code, asked) == (3, ["http://127.0.0.1:5000"])
    assert not_said not in done.stderr
