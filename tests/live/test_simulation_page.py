"""The page on simulations, as its reader would follow it: every snippet runs, every file it shows is one."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from p2pgrid.sim import plan

SNIPPETS = 3
PAGE = Path(__file__).resolve().parents[2] / "docs" / "simulation.md"


def blocks(kind: str) -> list[str]:
    """The page's fenced blocks of a kind, in order."""
    return re.findall(rf"^```{kind}\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("number", range(SNIPPETS))
def test_every_snippet_of_the_page_runs(number: int, tmp_path: Path) -> None:
    snippets = blocks("python")
    assert len(snippets) == SNIPPETS
    program = tmp_path / "snippet.py"
    program.write_text(snippets[number], encoding="utf-8")
    ended = subprocess.run([sys.executable, str(program)], cwd=tmp_path, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout
    assert not ended.stderr


def test_every_study_of_the_page_can_be_run(tmp_path: Path) -> None:
    (tmp_path / "rtt.csv").write_text("20\n35\n80\n")
    runs = []
    for study in blocks("toml"):
        path = tmp_path / "study.toml"
        path.write_text(study.replace("rtt.csv", str(tmp_path / "rtt.csv")), encoding="utf-8")
        runs.append(len(plan.read(str(path)).jobs()))
    assert runs == [3, 6]
