"""Datasets that change, from a shell: folders and files, words to search by, next versions, deletion."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

SCIENTIST = "sheldon@caltech.edu"
PASSWORD = {"P2PGRID_PASSWORD": "changethis"}
STUDY = """
def lines(scans):
    return {name: len(file.read().splitlines()) for name, file in scans.items()}
"""


def scans(folder: Path, text: str) -> str:
    (folder / "2024").mkdir(parents=True)
    (folder / "2024" / "one.txt").write_text(text)
    (folder / "two.txt").write_text(text * 2)
    return str(folder)


def test_a_folder_is_published_asked_about_replaced_and_deleted(grid: Any, tmp_path: Path) -> None:
    bob = grid.json("id", "--node", "Bob")
    real, mock = scans(tmp_path / "scans", "a\nb\n"), scans(tmp_path / "fake", "x\n")
    person = ("--contributor", "Ada <ada@x.org>")
    made = grid.json("publish", real, "--mock", mock, "--node", "Bob", "--tag", "mri", *person)["dataset"]
    assert (made["name"], made["version"], made["assets"][0]["kind"]) == ("scans", 1, "folder")
    assert made["contributors"] == [{"name": "Ada", "email": "ada@x.org", "role": "Uploader"}]
    (tmp_path / "study.py").write_text(STUDY)
    words = ("--to", bob["url"], "--dataset", "scans", "--email", SCIENTIST)
    asked = grid.json("submit", f"{tmp_path}/study.py:lines", *words, **PASSWORD)["request"]
    assert asked["mock_run"]["ok"], asked

    other = scans(tmp_path / "next", "c\n")
    newer = ("publish", other, "--name", "scans", "--mock", mock, "--node", "Bob", "--replace")
    replaced = grid.json(*newer, "--description", "# Scans\n\nof *brains*")["dataset"]
    assert (replaced["version"], replaced["tags"]) == (2, ["mri"])
    assert [asset["name"] for asset in replaced["assets"]] == ["scans"], "an only asset keeps its name, and its rules"
    assert "version 2" in grid.json("requests", "show", asked["id"], "--node", "Bob")["request"]["note"]
    shown = grid("datasets", "show", "scans", "--node", "Bob")
    assert "brains" in shown.out
    assert "*brains*" not in shown.out

    grid.json("requests", "approve", asked["id"], "--node", "Bob")
    done = grid.json("result", asked["id"], "--on", bob["url"], "--email", SCIENTIST, **PASSWORD)
    assert done["result"]["value"] == {"2024/one.txt": 2, "two.txt": 4}  # of the version that it was written for

    words = ("datasets", "delete", "scans", "--node", "Bob")
    grid(*words).is_one_message("P2P-0900", 2, "--yes")
    assert grid(*words, "--json").document["error"]["code"] == "P2P-0900"
    gone = grid.json("datasets", "delete", replaced["id"][:8], "--yes", "--node", "Bob")
    assert gone == {"deleted": replaced["id"], "name": "scans"}
    assert grid("datasets", "show", "scans", "--node", "Bob").code == 3


def test_datasets_are_changed_and_found_by_their_words(grid: Any, tmp_path: Path) -> None:
    np.save(tmp_path / "rates.npy", np.arange(50.0))
    pd.DataFrame({"a": [1, 2]}).to_csv(tmp_path / "table.csv", index=False)
    kept = grid.json("publish", str(tmp_path / "table.csv"), "--as", "file", "--mock", "none", "--node", "Bob")
    assert kept["dataset"]["assets"][0]["kind"] == "file"
    grid.json("publish", str(tmp_path / "rates.npy"), "--node", "Jane", "--tag", "heart")
    (tmp_path / "about.md").write_text("Beats of **forty** people")
    words = ("--name", "Heart rates", "--description", f"@{tmp_path}/about.md", "--tag", "pulse")
    changed = grid.json("datasets", "update", "rates", "--node", "Jane", *words)["dataset"]
    assert (changed["name"], changed["tags"], changed["version"]) == ("Heart rates", ["pulse"], 1)
    found = grid.json("datasets", "list", "--node", "Jane", "--search", "FORTY hear")
    assert ([item["id"] for item in found["datasets"]], found["total"]) == ([changed["id"]], 1)
    assert grid("datasets", "list", "--node", "Jane", "--search", "kidney").code == 3
    assert grid("datasets", "list", "--node", "Jane", "--offset", "9").code == 3
    assert grid("datasets", "update", "Heart rates", "--node", "Jane").code == 2
