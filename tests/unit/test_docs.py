"""What the README and docs say, against what there is: links, commands, options, codes, tests, and the quickstart."""

from __future__ import annotations

import importlib
import os
import re
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from p2pgrid.cli.app import app
from p2pgrid.errors import all_errors

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").rglob("*.md"))]
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
README_PORT = "8080"
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
WORD = re.compile(r"[a-z][a-z-]*")


def text_of(page: Path) -> str:
    """A page."""
    return page.read_text(encoding="utf-8")


def without_code(page: Path) -> str:
    """A page's prose: no fenced blocks, no code in a line."""
    return re.sub(r"`[^`\n]*`", "", FENCED.sub("", text_of(page)))


def anchor(heading: str) -> str:
    """The anchor that GitHub gives to a heading."""
    plain = re.sub(r"[^\w\- ]", "", heading.strip().lower())
    return plain.replace(" ", "-")


def anchors(page: Path) -> set[str]:
    """Every anchor of a page."""
    return {anchor(title) for title in re.findall(r"^#+ (.+)$", FENCED.sub("", text_of(page)), re.MULTILINE)}


def commands(page: Path) -> Iterator[str]:
    """Each ``p2pgrid ...`` that a reader may type: in a console block, or as code in a line of prose."""
    for kind, block in FENCED.findall(text_of(page)):
        if kind in ("console", "bash", "sh", "shell", ""):
            for line in re.sub(r"\\\n", " ", block).splitlines():
                found = re.match(r"(?:\w*\$ )?(?:\w+=(?:'[^']*'|\S*) )*(p2pgrid .*)", line.strip())
                if found:
                    yield found[1]
    for code in re.findall(r"`([^`\n]+)`", FENCED.sub("", text_of(page))):
        if code.startswith("p2pgrid "):
            yield code


@pytest.mark.parametrize("name", NAMES)
def test_relative_links_lead_somewhere(name: str) -> None:
    page = ROOT / name
    for target in re.findall(r"\]\(([^)\s]+)\)", without_code(page)):
        if "://" in target or target.startswith("mailto:"):
            continue
        path, _, wanted = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        assert found.exists(), f"{name} links to {target}"
        assert found == ROOT or ROOT in found.parents, f"{name} links out of the project: {target}"
        if wanted and found.suffix == ".md":
            assert wanted in anchors(found), f"{name} links to {target}; there is {sorted(anchors(found))}"


def test_every_page_is_reached_from_the_readme() -> None:
    reached, waiting = {README}, [README]
    while waiting:
        page = waiting.pop()
        for target in re.findall(r"\]\(([^)\s#]+)", without_code(page)):
            found = (page.parent / target).resolve()
            found = found / "index.md" if found.is_dir() and (found / "index.md").exists() else found
            if found.suffix == ".md" and found.exists() and found not in reached:
                reached.add(found)
                waiting.append(found)
    assert [page.name for page in PAGES if page not in reached] == []


@pytest.mark.parametrize("name", NAMES)
def test_error_codes_exist(name: str) -> None:
    known = all_errors()
    assert [code for code in re.findall(r"P2P-\d{4}", text_of(ROOT / name)) if code not in known] == []


@pytest.mark.parametrize("name", NAMES)
def test_commands_and_their_options_exist(name: str) -> None:
    for line in commands(ROOT / name):
        _must_exist(get_command(app), line, name)


def _must_exist(command: Any, line: str, name: str) -> None:
    try:
        words = shlex.split(line, comments=True)[1:]
    except ValueError:
        pytest.fail(f"{name}: {line!r} is no command line")
    while getattr(command, "commands", None) and words and WORD.fullmatch(words[0]):
        known = command.commands
        usual = getattr(command, "usual", "list")
        if words[0] not in known and usual in known:  # a group's usual command may be left out
            command = known[usual]
            break
        assert words[0] in known, f"{name}: {line!r} names no command"
        command, words = known[words[0]], words[1:]
    usual = getattr(command, "usual", "list")
    if usual in getattr(command, "commands", {}):
        command = command.commands[usual]
    options = {flag for parameter in command.params for flag in (*parameter.opts, *parameter.secondary_opts)}
    for word in words:
        flag = word.partition("=")[0]
        if re.fullmatch(r"--?[a-z][\w-]*", flag) and flag not in ("--help", "-h"):
            assert flag in options, f"{name}: {line!r} uses {flag}"


@pytest.mark.parametrize("name", NAMES)
def test_modules_and_files_that_are_named_exist(name: str) -> None:
    for code in re.findall(r"`([^`\n]+)`", FENCED.sub("", text_of(ROOT / name))):
        if re.fullmatch(r"(p2pgrid|gateway|scripts|tests|docs)/[\w./-]+", code):
            assert (ROOT / code).exists(), f"{name} names {code}"
        if re.fullmatch(r"p2pgrid(\.[a-z_]\w*)+(\.[A-Z]\w*)?", code):
            assert _named(code), f"{name} names {code}"


def _named(dotted: str) -> bool:
    """Whether a module or something in it has this name."""
    parts = dotted.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:cut]))
        except ImportError:
            continue
        for part in parts[cut:]:
            found = getattr(found, part, None)
        return found is not None
    return False


@pytest.mark.parametrize("name", NAMES)
def test_tests_that_are_named_exist(name: str) -> None:
    written = "\n".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "tests").rglob("test_*.py")))
    defined = set(re.findall(r"^\s*(?:async )?def (test_\w+)\(", written, re.MULTILINE))
    named = re.findall(r"`(test_\w+)`", text_of(ROOT / name))
    assert [test for test in named if test not in defined] == []


def test_the_readmes_quickstart_runs(tmp_path: Path) -> None:
    (snippet,) = [block for kind, block in FENCED.findall(text_of(README)) if kind == "python"]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    *before, last, end = snippet.strip().splitlines()
    said = last.partition("  # ")
    told = [*before, f"print({said[0].strip()})", end]
    script = tmp_path / "quickstart.py"
    script.write_text("\n".join(told).replace(README_PORT, port), encoding="utf-8")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("P2PGRID_")}
    done = subprocess.run(
        [sys.executable, "-W", "error", str(script)],
        env={**kept, "P2PGRID_HOME": str(tmp_path / "home")},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert said[2].strip() == "6"
    assert done.stdout.splitlines()[-1] == "6", done.stdout


UNITS = {"": 1, "B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "s": 1, "min": 60, "h": 3600}
LIMIT_ROW = re.compile(r"^\| [^|]+ \| ([\d,]+) ?(\w*) \| `([\w.]+)` \|$", re.MULTILINE)


def test_limits_of_the_operations_page_are_those_of_the_code() -> None:
    rows = LIMIT_ROW.findall(text_of(ROOT / "docs" / "operations.md"))
    assert len(rows) > 40
    for number, unit, dotted in rows:
        assert int(number.replace(",", "")) * UNITS[unit] == _value(dotted), dotted


def _value(dotted: str) -> Any:
    """A constant of a module, or the default of a field of a dataclass there."""
    owner, _, last = dotted.rpartition(".")
    try:
        return getattr(importlib.import_module(owner), last)
    except ImportError:
        module, _, kind = owner.rpartition(".")
        fields = getattr(importlib.import_module(module), kind).__dataclass_fields__
        return fields[last].default


def test_settings_of_the_operations_page_are_those_of_the_code() -> None:
    from p2pgrid.config import NodeSettings

    told = re.findall(r"^\| `(\w+)` \| `P2PGRID_(\w+)` \|", text_of(ROOT / "docs" / "operations.md"), re.MULTILINE)
    assert [name for name, _ in told] == list(NodeSettings.model_fields)
    assert [variable.lower() for _, variable in told] == list(NodeSettings.model_fields)
