"""The main job from a shell, on two real nodes: publish, search, submit, review, result."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

SCIENTIST = "sheldon@caltech.edu"
PASSWORD = {"P2PGRID_PASSWORD": "changethis"}
STUDY = """
def mean(ages):
    import numpy as np
    print("counted", len(ages))
    return float(np.mean(ages))

def whole(ages):
    return ages

def squares(ages):
    return ages ** 2

def fails(ages):
    print("got \\x1b[32m", len(ages))
    raise ValueError("no \\x1b[31m way")

def scaled(ages, factor, plus):
    return float(ages.sum() * factor + plus)

class Counted(CustomOutputPolicy):
    def __init__(self, n_calls=1):
        self.n_calls, self.done = n_calls, 0

    def is_valid(self, context):
        return self.done < self.n_calls

    def apply_to_output(self, context, outputs, update_policy=True):
        self.done += 1
        return [self.done, outputs]

def talks(ages):
    print("saw", len(ages))
    return len(ages)
"""


@pytest.fixture(scope="module")
def bob(grid: Any) -> Any:
    """Bob's addresses; he holds ages, which are private, with a mock."""
    np.save(grid.base.parent / "ages.npy", np.arange(20, 60))
    published = grid.json(
        "publish", str(grid.base.parent / "ages.npy"), "--node", "Bob", "--tag", "#Ages", "--tag", "people"
    )
    assert published["dataset"]["assets"][0]["mock"]
    (grid.base.parent / "study.py").write_text(STUDY)
    return grid.json("id", "--node", "Bob")


def submit(grid: Any, bob: Any, function: str, *more: str) -> Any:
    study = grid.base.parent / "study.py"
    words = ("--to", bob["url"], "--dataset", "ages", "--email", SCIENTIST, "--reason", "to learn", *more)
    return grid.json("submit", f"{study}:{function}", *words, **PASSWORD)["request"]


def result(grid: Any, bob: Any, request: Any, *more: str) -> Any:
    return grid("result", request["id"], "--on", bob["url"], "--email", SCIENTIST, *more, **PASSWORD)


def test_a_stranger_finds_the_dataset_through_either_node(grid: Any, bob: Any) -> None:
    jane = grid.json("id", "--node", "Jane")
    for way_in in (bob["dht"], jane["dht"]):
        found = grid.json("search", "#AGES", "--bootstrap", way_in, "--details")

        assert found["query"] == ["ages"]
        (item,) = found["results"]
        assert (item["dataset"], item["node"], item["node_id"], item["url"]) == ("ages", "Bob", bob["id"], bob["url"])
        assert item["datasets"][0]["assets"][0]["dtype"] == "int64"


def test_results_are_lines_for_people(grid: Any, bob: Any) -> None:
    done = grid("search", "ages", "people")

    assert done.code == 0
    assert done.out.split() == ["ages", "#ages", "#people", "Bob", bob["url"], bob["id"]]
    assert "1 found in" in done.err


def test_nothing_found_hints_at_any(grid: Any, bob: Any) -> None:
    grid("search", "ages", "giraffes").is_one_message("P2P-0903", 3, "#ages #giraffes", "--any")
    assert len(grid.json("search", "ages", "giraffes", "--any")["results"]) == 1

    nothing = grid("search", "giraffes", "--json")
    assert nothing.code == 3
    assert nothing.document["results"] == []
    assert nothing.document["error"]["code"] == "P2P-0903"


def test_a_guest_sees_what_is_there_and_not_what_is_in_it(grid: Any, bob: Any) -> None:
    listed = grid.json("datasets", bob["url"])
    assert listed["node"] == "Bob"
    assert [item["name"] for item in listed["datasets"]] == ["ages"]

    shown = grid.json("datasets", "show", "ages", "--on", bob["url"], "--email", SCIENTIST, **PASSWORD)
    asset = shown["dataset"]["assets"][0]
    assert asset["shape"] == [40]
    assert asset["preview"].startswith("array([")
    assert asset["preview"] != repr(np.arange(20, 25))


def test_submit_review_approve_result(grid: Any, bob: Any, tmp_path: Path) -> None:
    request = submit(grid, bob, "mean", "--asset", "ages", "--project", "Mean age")
    assert request["status"] == "PENDING"
    assert request["assets"] == {"ages": "ages/ages"}
    assert request["mock_run"]["ok"] is True

    result(grid, bob, request).is_one_message("P2P-0406", 1, "--wait")

    seen = grid("requests", "show", request["id"][:8], "--node", "Bob")
    assert "return float(np.mean(ages))" in seen.out
    assert "ages = ages/ages" in seen.out
    assert "to learn" in seen.out
    assert re.search(r"on the mock +│ ok in \d+\.\d\d s", seen.out)

    assert grid.json("requests", "approve", request["id"][:8], "--node", "Bob")["request"]["status"] == "APPROVED"

    assert result(grid, bob, request).out == "39.5\n"
    file = tmp_path / "mean.json"
    assert result(grid, bob, request, "--out", str(file)).code == 0
    assert json.loads(file.read_text()) == 39.5
    assert result(grid, bob, request, "--json").document["result"] == {"kind": "float", "value": 39.5}
    released = grid.json("requests", "show", request["id"], "--node", "Bob")["request"]["released"]
    assert released == 1
    seen = grid("requests", "show", request["id"], "--node", "Bob").out
    assert re.search(r"printed on the data +│ counted 40 ", seen)
    seen = grid("requests", "show", request["id"], "--on", bob["url"], "--email", SCIENTIST, **PASSWORD).out
    assert re.search(r"on the mock +│ ok in under [\d.]+ s, at most [\d.]+ MB of memory", seen)
    assert "on the data" not in seen


def test_waiting_for_the_verdict(grid: Any, bob: Any) -> None:
    request = submit(grid, bob, "squares", "--asset", "ages=ages")
    waiting = grid.start(
        "result", request["id"], "--on", bob["id"], "--email", SCIENTIST, "--wait", "--timeout", "50", **PASSWORD
    )
    grid.json("requests", "approve", request["id"], "--node", "Bob")
    out, err = waiting.communicate(timeout=60)

    assert (waiting.returncode, err) == (0, "")
    assert out.startswith("array([ 400,  441,")


def test_a_verdict_that_does_not_come_in_time(grid: Any, bob: Any) -> None:
    request = submit(grid, bob, "mean")

    result(grid, bob, request, "--wait", "--timeout", "0.5").is_one_message("P2P-0902", 4)


def test_a_denial_tells_its_reason_and_a_deposit_answers_after_all(grid: Any, bob: Any, tmp_path: Path) -> None:
    request = submit(grid, bob, "whole")
    grid.json("requests", "deny", request["id"], "--reason", "It returns every row.", "--node", "Bob")
    result(grid, bob, request).is_one_message("P2P-0407", 1, "It returns every row.")

    np.save(tmp_path / "rounded.npy", np.array([20, 30]))
    grid.json("requests", "deposit", request["id"], str(tmp_path / "rounded.npy"), "--node", "Bob")
    assert result(grid, bob, request).out == "array([20, 30])\n"
    kept = tmp_path / "kept.npy"
    assert result(grid, bob, request, "--out", str(kept)).code == 0
    assert np.load(kept).tolist() == [20, 30]


def test_a_function_that_fails_on_the_mock_is_said_so(grid: Any, bob: Any) -> None:
    words = ("--to", bob["url"], "--dataset", "ages", "--email", SCIENTIST)
    done = grid("submit", f"{grid.base.parent / 'study.py'}:fails", *words, **PASSWORD)

    assert done.code == 0
    assert done.err.startswith("It failed on the mock: correct it and submit again. What it printed:\ngot \\x1b[32m 40")
    assert "When it is approved" not in done.err
    assert "\x1b" not in done.out + done.err

    done = grid("submit", f"{grid.base.parent / 'study.py'}:talks", *words, **PASSWORD)
    assert "saw 40" in done.out
    assert done.err.startswith("When it is approved: p2pgrid result ")


def test_a_guest_reads_in_plain_words_what_an_account_is_for(grid: Any, bob: Any) -> None:
    shown = grid("datasets", "show", "ages", "--on", bob["url"])
    assert (shown.code, "(log in with --email to see the mock)" in shown.out) == (0, True)
    words = ("--to", bob["url"], "--dataset", "ages")
    done = grid("submit", f"{grid.base.parent / 'study.py'}:mean", *words)
    done.is_one_message("P2P-0703", 1, "This needs an account.", "--email")


def test_what_a_stranger_wrote_cannot_paint_the_owners_terminal(grid: Any, bob: Any) -> None:
    request = submit(grid, bob, "fails")
    assert request["mock_run"]["ok"] is False

    shown = grid("requests", "show", request["id"], "--node", "Bob").out + grid("requests", "--node", "Bob").out
    assert "\x1b" not in shown
    assert "\\x1b[31m" in shown


def test_the_owner_registers_somebody_and_reads_the_log(grid: Any, bob: Any) -> None:
    made = grid.json("accounts", "add", "jane@caltech.edu", "--name", "Jane Doe", "--generate", "--node", "Bob")
    assert made["account"]["role"] == "data scientist"

    accounts = grid.json("accounts", "--node", "Bob")["accounts"]
    assert "jane@caltech.edu" in [account["email"] for account in accounts]
    listed = grid("requests", "--on", bob["url"], "--email", "jane@caltech.edu", P2PGRID_PASSWORD=made["password"])
    assert listed.code == 3

    entries = grid.json("audit", "--node", "Bob", "--limit", "1000")["entries"]
    assert {"account.create", "dataset.create", "auth.login"} <= {entry["action"] for entry in entries}
    assert made["password"] not in json.dumps(entries)


def test_peers_and_pings(grid: Any, bob: Any) -> None:
    jane = grid.json("id", "--node", "Jane")
    assert [peer["id"] for peer in grid.json("peers", "--node", "Jane")["peers"]] == [bob["id"]]
    for target in (jane["dht"], jane["id"], "Jane"):
        assert grid.json("ping", target, "--node", "Bob")["id"] == jane["id"]
    assert grid.json("ping", bob["dht"], "--home", str(grid.base / "nowhere"))["name"] == "Bob"


def test_publishing_twice_under_one_name_changes_nothing(grid: Any, bob: Any) -> None:
    before = grid.json("datasets", "--node", "Bob")
    again = grid("publish", str(grid.base.parent / "ages.npy"), "--node", "Bob", "--tag", "ages")

    again.is_one_message("P2P-0401", 1, "'ages'", "--replace")
    assert grid.json("datasets", "--node", "Bob") == before


def test_policies_from_a_shell(grid: Any, bob: Any) -> None:
    study = grid.base.parent / "study.py"
    words = ("--constant", "plus=0.5", "--own", "factor=int:2")
    words += ("--output-policy", f"{study}:Counted", "--policy-arg", "n_calls=2")
    request = submit(grid, bob, "scaled", *words)
    assert request["mock_run"]["policy"] == "would be released"
    shown = grid.json("requests", "show", request["id"], "--node", "Bob")["request"]
    assert "plus is fixed: 0.5." in shown["review"]["lets_in"]
    assert "Counted(n_calls=2) decides" in shown["review"]["lets_out"][0]
    grid.json("requests", "approve", request["id"], "--rule", "MaximumResultSize:values=3", "--node", "Bob")
    result(grid, bob, request).is_one_message("P2P-0002", 2, "value of your own for factor", "--value factor=")
    total = float(np.arange(20, 60).sum())
    for count, factor in ((1, 3), (2, 5), (2, 5)):
        found = json.loads(result(grid, bob, request, "--value", f"factor={factor}", "--json").out)
        assert found["result"]["value"] == [count, total * factor + 0.5]


def test_an_owner_sets_rules_on_a_dataset_and_a_row_is_kept_back(grid: Any, bob: Any) -> None:
    (held,) = grid.json("rules", "set", "ages", "NoAssetRows", "MaximumResultSize=4096", "--node", "Bob")["rules"]
    assert [rule["kind"] for rule in held["rules"]] == ["NoAssetRows", "MaximumResultSize"]
    try:
        request = submit(grid, bob, "whole")
        assert "kept back: NoAssetRows" in request["mock_run"]["policy"]
        grid.json("requests", "approve", request["id"], "--node", "Bob")
        result(grid, bob, request).is_one_message("P2P-0405", 1, "kept back by NoAssetRows")
    finally:
        assert grid.json("rules", "clear", "ages", "--node", "Bob") == {"rules": []}
    grid.json("rules", "set", "ages", "NoAssetRows", "--node", "Bob")
    cleared = grid("rules", "clear", "ages", "--node", "Bob").out
    assert cleared.startswith("The rules of ages are cleared.\nNo rules are set")


def test_an_owner_looks_before_a_result_is_released_and_takes_it_back(grid: Any, bob: Any) -> None:
    request = submit(grid, bob, "mean")
    assert grid.json("requests", "approve", request["id"], "--run-now", "--node", "Bob")["request"]["ready"]
    assert grid.json("requests", "ready", request["id"], "--node", "Bob")["result"]["value"] == 39.5
    back = grid.json("requests", "withdraw", request["id"], "--node", "Bob")["request"]
    assert (back["status"], back["ready"]) == ("PENDING", "")
    grid.json("requests", "approve", request["id"], "--run-now", "--node", "Bob")
    assert json.loads(result(grid, bob, request, "--json").out)["result"]["value"] == 39.5
    grid("requests", "withdraw", request["id"], "--node", "Bob").is_one_message("P2P-0401", 1, "policy is spent")
