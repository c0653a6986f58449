"""What a domain holds, and requests to it, as its client sees them: over a channel written here."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from p2pgrid import assets, crypto, wire
from p2pgrid.client.audit import AuditEntry, AuditLog
from p2pgrid.client.bridge import Bridge, portal
from p2pgrid.client.domain import DomainClient
from p2pgrid.client.door import Door
from p2pgrid.client.functions import ExactMatch, grid_function
from p2pgrid.client.held import AssetPointer, HeldAsset, HeldDataset, HeldDatasets
from p2pgrid.client.projects import Project
from p2pgrid.client.requests import (
    ActionObject,
    Request,
    Requests,
    UserCode,
    UserCodes,
    input_reference,
    local_function,
    mock_run_text,
)
from p2pgrid.client.upload import upload
from p2pgrid.client.values import Asset, Dataset
from p2pgrid.crypto import Identity
from p2pgrid.domain.policies import MinimumRows
from p2pgrid.errors import BadCode, Conflict, InvalidInput, NoMock, NotFound, P2PError, PrivateData

REAL, MOCK = np.arange(5), np.arange(5) * 0
WHO = Identity(bytes(32))
HOSTILE = "\x1b[2J\u202e<script>alert(1)</script>"


class Grid:
    """A channel that answers from a table, and remembers what it was asked."""

    def __init__(self, **answers: Any) -> None:
        self.answers = answers
        self.asked: list[tuple[str, dict[str, Any]]] = []

    async def call(self, verb: str, args: dict[str, Any], *, timeout: float = 0.0) -> Any:
        self.asked.append((verb, args))
        answer = self.answers[verb.replace(".", "_")]
        answer = answer(args) if callable(answer) else answer
        if isinstance(answer, P2PError):
            raise answer
        return answer

    async def close(self) -> None:
        return None


class Person:
    """Whoever holds the door."""

    def __init__(self, channel: Grid, *, owner: bool = False) -> None:
        self.door, self.email, self.is_owner = Door(channel, WHO), "jane@caltech.edu", owner

    @property
    def _bridge(self) -> Bridge:
        return portal()


def serve(value: Any) -> Any:
    raw = assets.dump(value).tobytes()
    return lambda args: {"data": raw[args["offset"] : args["offset"] + args["limit"]], "total": len(raw)}


def asset_row(**more: Any) -> dict[str, Any]:
    meta, mock = assets.dump(REAL).meta.to_wire(), assets.dump(MOCK).meta.to_wire()
    return {"id": "aa" * 16, "name": "ages", "description": "of people", "meta": meta, "mock": mock, **more}


def dataset_row(**more: Any) -> dict[str, Any]:
    row = {"id": "bb" * 16, "name": "study", "description": "d", "tags": ["medical"], "assets": [asset_row()]}
    return {**row, "contributors": [{"name": "Jane", "role": "Uploader"}], **more}


def request_row(**more: Any) -> dict[str, Any]:
    row = {"id": "cc" * 16, "code_id": "dd" * 16, "name": "f", "code": "def f(x):\n    return 1\n", "status": "PENDING"}
    return {**row, **more}


# ---------------------------------------------------------------- datasets and assets


def test_rules_are_set_on_a_dataset_or_asset_by_itself_or_by_name() -> None:
    channel = Grid(dataset_get=dataset_row(), rules_set=[])
    owner = DomainClient(Door(channel, WHO), portal(), {}, {"email": "jane@caltech.edu", "role": "admin"})
    held = HeldDataset(owner, dataset_row())
    for dataset, asset in ((held, held.assets["ages"]), ("study", "ages")):
        owner.set_rules(dataset, MinimumRows(10), asset=asset)
        verb, told = channel.asked[-1]
        assert (verb, told["dataset"], told["asset"]) == ("rules.set", held.id, "ages")
    with pytest.raises(InvalidInput, match=r"owner\.set_rules"):
        owner.set_rules(held.assets["ages"], MinimumRows(10))


def test_a_table_of_datasets_names_their_assets_wherever_the_row_came_from() -> None:
    brief = {**dataset_row(name="many"), "brief": True, "asset_names": ["a", "b", "c", "d"], "asset_count": 9}
    del brief["assets"]
    held = HeldDatasets([HeldDataset(Person(Grid()), row) for row in (dataset_row(), brief)])
    assert [row[3] for row in held.rows()] == ["ages", "a, b, c, d and 5 more"]
    assert repr(held).startswith("Datasets (2)")


@pytest.mark.parametrize("odd", [5, None, "abc", [5], {"a": 1}, HOSTILE, ["x"] * 1000])
def test_odd_names_and_counts_of_assets_are_shown_or_left_out(odd: Any) -> None:
    rows = [{**dataset_row(), "brief": True, "asset_names": odd, "asset_count": odd, "assets": []}]
    held = HeldDatasets([HeldDataset(Person(Grid()), row) for row in rows])
    assert "<script>" not in held._repr_html_()
    assert len(next(held.rows())[3]) < 100


@pytest.mark.parametrize(
    "odd", [5, None, "abc", [5], HOSTILE, {5: [{}]}, {"a" * 999: "b" * 999}, dict.fromkeys(range(9999))]
)
def test_odd_details_of_an_audit_entry_are_shown_or_left_out(odd: Any) -> None:
    entry = {
        "seq": 3,
        "time": None,
        "actor": "guest",
        "action": "auth.failed",
        "subject": "",
        "hash": "",
        "details": odd,
    }
    (row,) = AuditLog([AuditEntry(entry)]).rows()
    assert len(row[-1]) < 1000
    assert next(AuditLog([AuditEntry({"seq": 3})]).rows())[-1] == ""


def test_the_audit_log_is_a_table_with_details() -> None:
    entry = {"seq": 3, "time": None, "actor": "guest", "action": "auth.failed", "subject": "", "hash": "00" * 32}
    log = AuditLog([AuditEntry({**entry, "details": {"remote": "192.0.2.1", "why": HOSTILE}})])
    assert "Audit log (1)" in repr(log)
    assert "remote=192.0.2.1, why=" in log._repr_html_()
    assert "<script>" not in log._repr_html_()
    assert "\x1b" not in repr(log)


def test_everybody_sees_the_mock_and_only_its_owner_the_data() -> None:
    channel = Grid(asset_read=lambda args: serve(MOCK if args["side"] == "mock" else REAL)(args))
    np.testing.assert_array_equal(HeldAsset(Person(channel), asset_row()).mock, MOCK)
    np.testing.assert_array_equal(HeldAsset(Person(channel, owner=True), asset_row()).data, REAL)
    assert {args["side"] for _, args in channel.asked} == {"mock", "data"}


def test_for_everybody_else_data_is_a_pointer_that_holds_no_values() -> None:
    channel = Grid()
    pointer = HeldAsset(Person(channel), asset_row()).data
    assert isinstance(pointer, AssetPointer)
    assert channel.asked == []
    with pytest.raises(PrivateData):
        np.asarray(pointer)
    with pytest.raises(PrivateData):
        np.mean(pointer)  # type: ignore[call-overload]
    assert "ages" in repr(pointer)
    touches: list[Callable[[Any], Any]] = [
        lambda data: data.mean(), len, list, sum, lambda data: data[0], lambda data: data + 1, lambda data: data > 1,
    ]  # fmt: skip
    for touch in touches:
        with pytest.raises(PrivateData, match="holds no values"):
            touch(pointer)
    assert pointer
    assert not hasattr(pointer, "mean")
    assert not hasattr(pointer, "_ipython_display_")
    assert copy.copy(pointer).asset_id == pointer.asset_id


def test_an_asset_without_mock_says_so() -> None:
    held = HeldAsset(Person(Grid()), asset_row(mock=None))
    assert not held.has_mock
    with pytest.raises(NoMock, match="ages"):
        held.mock  # noqa: B018 - the look is the test


def test_an_asset_tells_its_schema() -> None:
    held = HeldAsset(Person(Grid()), asset_row())
    assert (held.shape, held.dtype, held.has_mock, held.asset_id) == ((5,), "int64", True, held.id)
    assert "(5,)" in repr(held)


def test_datasets_are_searched_by_name_description_and_tag() -> None:
    person = Person(Grid())
    held = HeldDatasets(
        HeldDataset(person, dataset_row(name=name, tags=[tag])) for name, tag in [("A", "x"), ("B", "y")]
    )
    assert [dataset.name for dataset in held.search("#Y")] == ["B"]
    assert [dataset.name for dataset in held.search("a")] == ["A"]
    assert len(held.search("d")) == 2
    assert held["A"].tags == ["#x"]


def test_what_a_hostile_domain_wrote_is_only_shown() -> None:
    person = Person(Grid())
    row = asset_row(name=HOSTILE, description=HOSTILE)
    row["meta"] = {**row["meta"], "columns": [[HOSTILE, HOSTILE]], "dtype": HOSTILE}
    dataset = HeldDataset(
        person,
        dataset_row(
            name=HOSTILE, url=HOSTILE, tags=[HOSTILE], assets=[row], contributors=[{"name": HOSTILE, "role": HOSTILE}]
        ),
    )
    request = Request(person, request_row(name=HOSTILE, reason=HOSTILE, code=HOSTILE, mock_run={"error": HOSTILE}))
    shown = [dataset, dataset.assets, dataset.assets[0], dataset.assets[0].pointer, HeldDatasets([dataset])]
    shown += [request, Requests([request]), request.code, request.changes, UserCodes([request.code])]
    shown += [ActionObject(person, HOSTILE)]
    for item in shown:
        assert all(line.isprintable() for line in repr(item).splitlines()), type(item)
        page = getattr(item, "_repr_html_", lambda: "")()
        assert "<script" not in page
        assert "\x1b" not in page


# ---------------------------------------------------------------- uploading


async def test_an_upload_stages_every_side_and_creates_the_dataset_last() -> None:
    channel = Grid(blob_put={}, dataset_create={"id": "x"})
    dataset = Dataset("study", [Asset("a", REAL, mock=MOCK), Asset("b", b"raw")], "about", tags=["#Medical"])
    assert await upload(Door(channel, WHO), dataset, show=False) == {"id": "x"}
    verbs = [verb for verb, _ in channel.asked]
    assert verbs[-1] == "dataset.create"
    assert set(verbs[:-1]) == {"blob.put"}
    created = channel.asked[-1][1]
    assert (created["name"], created["tags"]) == ("study", ["medical"])
    assert [asset["mock"] is None for asset in created["assets"]] == [False, True]
    assert created["assets"][0]["data"]["meta"] == assets.dump(REAL).meta.to_wire()


async def test_an_upload_shows_its_progress_where_a_person_looks_on(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # as a terminal
    channel = Grid(blob_put={}, dataset_create={"id": "x"})
    await upload(Door(channel, WHO), Dataset("study", [Asset("a\x1b[2J[bold]", REAL)]), show=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert "Uploading: a\\x1b[2J[bold]" in err
    monkeypatch.delenv("FORCE_COLOR")
    await upload(Door(channel, WHO), Dataset("study", [Asset("a", REAL)]), show=True)
    assert capsys.readouterr().err == ""


# ---------------------------------------------------------------- requests, code, projects


def test_verdicts_bring_the_request_up_to_date() -> None:
    channel = Grid(
        request_approve=request_row(status="APPROVED"),
        request_deny=lambda args: request_row(status="DENIED", reason=args["reason"]),
        request_deposit=request_row(status="APPROVED"),
    )
    request = Request(Person(channel, owner=True), request_row())
    assert not request.code.approved
    assert request.approve() is request
    assert (request.status.value, request.code.approved) == ("APPROVED", True)
    assert request.deny("too wide").reason == "too wide"
    assert request.status.value == "DENIED"
    request.accept_by_depositing_result(np.arange(3))
    np.testing.assert_array_equal(wire.unpack_value(channel.asked[-1][1]["result"]), np.arange(3))


def test_a_call_names_its_inputs_by_id_or_digest_and_never_sends_them() -> None:
    channel = Grid(code_call={"execution": "ee" * 16, "size": 1}, result_read=serve_result(42))
    person = Person(channel)
    code = request_code(person)
    result = code(a=HeldAsset(person, asset_row()), b=AssetPointer("ff" * 16, "b"), c=REAL)
    assert channel.asked[0][1]["inputs"] == {
        "a": {"asset": "aa" * 16},
        "b": {"asset": "ff" * 16},
        "c": {"digest": assets.dump(REAL).meta.digest},
    }
    assert result.get() == result.get_from(person) == 42  # type: ignore[arg-type]


def serve_result(value: Any) -> Any:
    raw = wire.pack_value(value)
    return lambda args: {"data": raw[args["offset"] : args["offset"] + args["limit"]], "total": len(raw)}


def request_code(person: Person) -> UserCode:
    return Request(person, request_row()).code


def test_the_private_value_is_the_same_input_as_its_asset() -> None:
    assert input_reference(np.asfortranarray(REAL))["digest"] == asset_row()["meta"]["digest"]


def test_code_is_found_by_name_newest_first() -> None:
    person = Person(Grid())
    codes = UserCodes(UserCode(person, {"id": str(n), "name": "f", "code": ""}) for n in range(3))
    assert codes.f.id == "2"
    assert "f" in dir(codes)
    with pytest.raises(AttributeError, match="No function named 'g'") as caught:
        codes.g  # noqa: B018 - the look is the test
    assert isinstance(caught.value, NotFound)
    assert not hasattr(codes, "_ipython_display_")
    assert copy.copy(codes).f.id == "2"


def test_submitted_code_runs_here_without_its_decorators() -> None:
    code = (
        "@sy.syft_function(input_policy=sy.ExactMatch(data=asset))\ndef f(data):\n    import math\n    return math.pi\n"
    )
    assert local_function(code, "f")(data=1) == pytest.approx(3.14159, abs=1e-4)


@pytest.mark.parametrize("code", ["", "def g(): pass", "f = 5", "def f(:", "\x00", "(" * 10_000])
def test_code_that_is_not_the_function_is_a_clear_error(code: str) -> None:
    with pytest.raises(BadCode):
        local_function(code, "f")


@pytest.mark.parametrize(
    ("report", "text"),
    [
        ({}, "not run"),
        ({"ok": True, "result_shape": "(3,)"}, "ok: (3,)"),
        ({"ok": True}, "ok: a value"),
        ({"ok": False, "error": "boom\x1b"}, "failed: boom\\x1b"),
        ({"ok": False}, "failed: no reason given"),
    ],
)
def test_the_mock_run_in_one_line(report: dict[str, Any], text: str) -> None:
    assert mock_run_text(report) == text


def test_a_request_shows_what_its_reviewer_needs() -> None:
    run = {"ok": True, "output": "<b>counted</b>\n" * 300}
    row = request_row(
        status="APPROVED",
        inputs={"x": "aa" * 16},
        purpose="to <i>learn</i>",
        mock_run=run,
        private_run={"ok": False, "error": "no way", "output": "secret \x1b[31m"},
    )
    request = Request(Person(Grid()), row)

    text, page = repr(request), request._repr_html_()
    for words in ("APPROVED", "to <i>learn</i>", f"x = {'aa' * 16}", "failed: no way", "secret \\x1b[31m", "def f(x):"):
        assert words in text
    assert "... 2,500 more characters" in text
    assert "RequestStatus" not in text
    assert "UserCodeStatusChange" not in text
    assert "2,500 more characters" in page
    assert not any(tag in page for tag in ("<script", "<b>", "<i>", "\x1b"))
    assert ">def</span>" in page
    assert "to <i>learn</i>" in repr(Requests([request]))
    assert "printed on the data" not in repr(Request(Person(Grid()), request_row(mock_run=run)))


def test_a_request_is_signed_by_who_asks() -> None:
    from p2pgrid.domain.review import statement

    channel = Grid(
        project_create=lambda args: {**args, "created_by": "jane@caltech.edu"},
        request_create=request_row(mock_run={"ok": True}),
    )
    person = Person(channel)

    @grid_function(input_policy=ExactMatch(data=AssetPointer("aa" * 16, "ages")))
    def f(data: object) -> object:
        return data

    project = Project("study", members=[person]).start()
    request = project.create_code_request(f, person, reason="to learn")
    assert request.status.value == "PENDING"
    asked = dict(channel.asked[-1][1])
    key, signature = asked.pop("key"), asked.pop("signature")
    assert key == WHO.public
    assert asked["project"] == project.id
    crypto.verify(key, b"code-request", statement(node="", account="jane@caltech.edu", **asked), signature)


def test_a_project_has_a_name_and_one_member() -> None:
    person = Person(Grid(project_create=Conflict("The name is taken.")))
    with pytest.raises(InvalidInput):
        Project("", members=[person])
    for members in ([], [person, person]):
        with pytest.raises(InvalidInput, match="one member"):
            Project("study", members=members)
    with pytest.raises(Conflict):
        Project("study", members=[person]).start()
