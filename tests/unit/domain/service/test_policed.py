"""Policies around a run, with a real runner: values, custom classes, rules, floors, runs at the approval."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sqlalchemy import text

from p2pgrid import wire
from p2pgrid.domain.policies import Value
from p2pgrid.domain.policies.custom import MAX_PUBLIC
from p2pgrid.domain.runner import Runner, RunReport, RunSpec
from p2pgrid.domain.runner.spec import unavailable
from p2pgrid.domain.service.policed import read_decision, value_of
from p2pgrid.errors import (
    BadCode,
    Conflict,
    InvalidInput,
    NotAllowed,
    NotConfined,
    NotFound,
    Pending,
    PolicyRefused,
    RunFailed,
)

TIMES = "def f(data, factor):\n    return float(data.sum() * factor)\n"
FACTOR = {"type": "int", "low": 1, "high": 10, "example": value_of(2).to_wire()}
COUNTED = """class Counted(sy.CustomOutputPolicy):
    def __init__(self, n_calls=1):
        self.n_calls = n_calls
        self.state = {"counts": 0}

    def public_state(self):
        return f"{self.state['counts']} of {self.n_calls}"

    def is_valid(self, context):
        return self.state["counts"] < self.n_calls

    def apply_to_output(self, context, outputs, update_policy=True):
        if update_policy:
            self.state["counts"] += 1
        return {"number": self.state["counts"], "out": outputs, "who": context.requester}
"""
EVEN = """class OnlyEven(CustomInputPolicy):
    def __init__(self, least):
        self.least = least

    def is_valid(self, context, inputs):
        return inputs["factor"] >= self.least

    def filter_kwargs(self, kwargs, context, code_item=None):
        return {**kwargs, "factor": kwargs["factor"] // 2 * 2}
"""


@pytest.fixture
async def dataset(owner: Any) -> Any:
    people = pd.DataFrame({"region": ["n"] * 20 + ["s"] * 18 + ["w"] * 2, "income": np.arange(40) * 10.5})
    mock = pd.DataFrame({"region": ["n"] * 20 + ["s"] * 20, "income": np.ones(40)})
    side = [{"name": "people", "data": await owner.stage(people), "mock": await owner.stage(mock)}]
    return await owner("dataset.create", name="census", tags=[], assets=side)


@pytest.fixture
async def asset(owner: Any) -> str:
    return str((await owner.publish())["assets"][0]["id"])


def custom(code: str, name: str, **init: Any) -> dict[str, Any]:
    return {"name": name, "code": code, "init": init}


async def call(person: Any, request: Any, **values: Any) -> Any:
    inputs: dict[str, Any] = {name: {"asset": an_id} for name, an_id in request["inputs"].items()}
    inputs |= {name: {"value": value_of(value).to_wire()} for name, value in values.items()}
    return await person("code.call", id=request["code_id"], inputs=inputs)


async def answer(person: Any, request: Any, **values: Any) -> Any:
    return await person.result((await call(person, request, **values))["execution"])


async def trail(owner: Any, action: str) -> list[Any]:
    return [entry for entry in await owner("audit.list", limit=1000) if entry["action"] == action]


async def test_a_constant_is_fixed_and_a_value_of_ones_own_is_handed_in(owner: Any, scientist: Any, asset: str) -> None:
    code = "def f(data, factor, plus, label='x'):\n    return [float(data.sum() * factor + plus), label]\n"
    policy = {
        "kind": "MixedInputPolicy",
        "constants": {"plus": value_of(0.5).to_wire()},
        "user_owned": {"factor": FACTOR},
    }
    count = {"kind": "OutputPolicyExecuteCount", "limit": 2}
    request = await scientist.ask(asset, code=code, name="f", input_policy=policy, output_policy=count)
    assert request["mock_run"]["ok"], request["mock_run"]
    assert request["input_policy"] == policy | {"user_owned": {"factor": FACTOR | {"most": 1 << 20}}}
    await owner("request.approve", id=request["id"])
    for wrong in ({}, {"factor": 11}, {"factor": 2.5}, {"factor": True}, {"factor": 3, "plus": 1.0}, {"other": 1}):
        with pytest.raises(PolicyRefused):
            await call(scientist, request, **wrong)
    assert await answer(scientist, request, factor=3) == [18.5, "x"]
    assert await answer(scientist, request, factor=4, plus=0.5) == [24.5, "x"]
    assert await answer(scientist, request, factor=3) == [18.5, "x"], "what was released for these values"
    with pytest.raises(PolicyRefused, match="other values"):
        await call(scientist, request, factor=5)
    begun = await trail(owner, "code.run.begin")
    assert len({entry["details"]["given"] for entry in begun}) == 2
    assert "18.5" not in repr(begun)


async def test_a_value_of_ones_own_without_an_example_does_not_run_on_the_mock(scientist: Any, asset: str) -> None:
    policy = {"kind": "MixedInputPolicy", "user_owned": {"factor": {"type": "numpy", "most": 2000}}}
    request = await scientist.ask(asset, code=TIMES, name="f", input_policy=policy)
    assert request["mock_run"]["skipped"] == "no example"


async def test_an_array_of_ones_own_reaches_the_code_and_a_forged_one_does_not(
    owner: Any, scientist: Any, asset: str
) -> None:
    policy = {"kind": "MixedInputPolicy", "user_owned": {"factor": {"type": "numpy", "most": 2000}}}
    code = "def f(data, factor):\n    return float((data * factor).sum())\n"
    request = await scientist.ask(asset, code=code, name="f", input_policy=policy)
    await owner("request.approve", id=request["id"])
    forged = {"type": "numpy", "data": "AAAA"}
    inputs = {"data": {"asset": asset}, "factor": {"value": forged}}
    with pytest.raises(NotConfined):  # the run ends before the code begins
        await scientist("code.call", id=request["code_id"], inputs=inputs)
    with pytest.raises(PolicyRefused):
        await call(scientist, request, factor=np.zeros(1000))
    assert await answer(scientist, request, factor=np.array([1.0, 0.0, 2.0])) == 7.0


async def test_a_custom_input_policy_refuses_and_changes_values(owner: Any, scientist: Any, asset: str) -> None:
    owned = {"factor": {"type": "int", "example": value_of(4).to_wire(), "most": 100}}
    policy = {"kind": "CustomInputPolicy", "user_owned": owned, **custom(EVEN, "OnlyEven", least=2)}
    request = await scientist.ask(asset, code=TIMES, name="f", input_policy=policy)
    assert request["mock_run"]["ok"], request["mock_run"]
    await owner("request.approve", id=request["id"])
    with pytest.raises(PolicyRefused, match="OnlyEven refuses"):
        await call(scientist, request, factor=1)
    assert await trail(owner, "code.run") == []
    assert await answer(scientist, request, factor=5) == 24.0


async def test_a_custom_input_policy_cannot_point_at_another_asset(owner: Any, scientist: Any, asset: str) -> None:
    other = (await owner.publish(name="other", data=np.array([1000])))["assets"][0]["id"]
    code = EVEN.replace('{**kwargs, "factor"', f'{{"data": {{"asset": "{other}"}}, "factor"')
    owned = {"factor": {"type": "int", "most": 100}}
    policy = {"kind": "CustomInputPolicy", "user_owned": owned, **custom(code, "OnlyEven", least=0)}
    request = await scientist.ask(asset, code=TIMES, name="f", input_policy=policy)
    await owner("request.approve", id=request["id"])
    with pytest.raises(PolicyRefused):
        await call(scientist, request, factor=2)


async def test_the_state_of_a_custom_output_policy_is_spent_with_the_release(
    owner: Any, scientist: Any, asset: str, house: Any
) -> None:
    policy = {"kind": "CustomOutputPolicy", **custom(COUNTED, "Counted", n_calls=2)}
    request = await scientist.ask(asset, output_policy=policy)
    assert request["mock_run"]["policy"] == "would be released"
    assert request["policy_state"] == "", "the run on the mock spends nothing"
    await owner("request.approve", id=request["id"])
    assert await answer(scientist, request) == {"number": 1, "out": 6, "who": "jane@caltech.edu"}
    await house.close()
    for person in (owner, scientist):
        person.service = None
    owner.service = scientist.service = await house.open()
    assert (await answer(scientist, request))["number"] == 2
    assert (await scientist("request.get", id=request["id"]))["policy_state"] == "2 of 2"
    assert (await answer(scientist, request))["number"] == 2
    assert len(await trail(owner, "code.run")) == 2


async def test_calls_at_once_spend_the_state_of_a_custom_policy_once(owner: Any, scientist: Any, asset: str) -> None:
    policy = {"kind": "CustomOutputPolicy", **custom(COUNTED, "Counted")}
    request = await scientist.ask(asset, output_policy=policy)
    await owner("request.approve", id=request["id"])
    answers = await asyncio.gather(*(call(scientist, request) for _ in range(8)))
    assert len({found["execution"] for found in answers}) == 1
    assert len(await trail(owner, "code.run")) == len(await trail(owner, "result.release")) == 1


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("return None", "lets nothing"),
        ("raise ValueError(str(outputs))", "failed"),
        ("self.state = 'x' * 20000; return outputs", "over 16384"),
        ("self.state = object(); return outputs", "failed"),
        ("import os; os._exit(0)", "failed"),
        ("while True: outputs = [outputs, outputs]", "failed"),
    ],
)
async def test_a_custom_policy_that_misbehaves_lets_nothing_out(
    owner: Any, scientist: Any, asset: str, body: str, why: str
) -> None:
    head = "class Odd(CustomOutputPolicy):\n    def apply_to_output(self, context, outputs, update_policy=True):\n"
    code = f"{head}        {body}\n"
    request = await scientist.ask(asset, output_policy={"kind": "CustomOutputPolicy", **custom(code, "Odd")})
    assert why in request["mock_run"]["policy"]
    await owner("request.approve", id=request["id"])
    with pytest.raises(PolicyRefused, match="its output policy"):
        await call(scientist, request)
    held = await owner("request.get", id=request["id"])
    assert (held["released"], held["policy_state"], held["private_run"]["failure"]) == (0, "", "policy")


async def test_a_custom_policy_reads_no_file_and_reaches_no_key_of_the_node(
    owner: Any, scientist: Any, asset: str, house: Any
) -> None:
    secret: Path = house.folder / "secret.txt"
    await asyncio.to_thread(secret.write_text, "the node's key")
    tries = f"""class Thief(CustomOutputPolicy):
    def apply_to_output(self, context, outputs, update_policy=True):
        import os, socket
        found = []
        try:
            found.append(open({str(secret)!r}).read())
        except OSError:
            pass
        try:
            found.append(os.listdir({str(house.folder)!r})[0])
        except (OSError, IndexError):
            pass
        try:
            socket.create_connection(("127.0.0.1", 22), 1)
            found.append("network")
        except OSError:
            pass
        return found + [os.getppid() == {os.getpid()}]
"""
    request = await scientist.ask(asset, output_policy={"kind": "CustomOutputPolicy", **custom(tries, "Thief")})
    await owner("request.approve", id=request["id"])
    assert await answer(scientist, request) == [False]


@pytest.mark.parametrize(
    "code",
    [
        "class Other(CustomOutputPolicy):\n    pass\n",
        "class P:\n    pass\n",
        "class P(CustomInputPolicy):\n    pass\n",
        "import os\nclass P(CustomOutputPolicy):\n    pass\n",
        "class P(CustomOutputPolicy, metaclass=print):\n    pass\n",
        "class P(CustomOutputPolicy):\n    async def f(self): pass\n",
        "class P(",
        "def P(): pass\n",
    ],
)
async def test_what_is_no_custom_policy(scientist: Any, asset: str, code: str) -> None:
    with pytest.raises(BadCode):
        await scientist.ask(asset, output_policy={"kind": "CustomOutputPolicy", **custom(code, "P")})


HEAD = "def f(data):\n    return data.head(1)\n"
GROUPS = "def f(data):\n    return data.groupby('region').size().reset_index(name='count')\n"


@pytest.mark.parametrize(
    ("code", "rule"),
    [
        (HEAD, {"kind": "NoAssetRows"}),
        (GROUPS, {"kind": "MinimumCellCount", "least": 5}),
        (GROUPS, {"kind": "MinimumCellCount", "least": 5, "by": ["region"]}),
        ("def f(data):\n    return data['income'].tolist()\n", {"kind": "MinimumRows", "least": 2}),
        ("def f(data):\n    return data['income'].tolist()\n", {"kind": "MaximumResultSize", "values": 5}),
        ("def f(data):\n    return 'x' * 500\n", {"kind": "MaximumResultSize", "bytes": 200}),
    ],
)
@pytest.mark.parametrize("where", ["request", "approval", "dataset", "asset"])
async def test_a_rule_keeps_a_result_back_wherever_it_was_set(
    owner: Any, scientist: Any, dataset: Any, code: str, rule: dict[str, Any], where: str
) -> None:
    asset = dataset["assets"][0]["id"]
    policy = {"kind": "SingleExecutionExactOutput", "rules": [rule] if where == "request" else []}
    request = await scientist.ask(asset, code=code, name="f", output_policy=policy)
    if where in ("dataset", "asset"):
        name = "people" if where == "asset" else ""
        await owner("rules.set", dataset=dataset["id"], asset=name, rules=[rule])
    more = {"rules": [rule]} if where == "approval" else {}
    await owner("request.approve", id=request["id"], **more)
    with pytest.raises(PolicyRefused, match=f"kept back by {rule['kind']}"):
        await call(scientist, request)
    held = await owner("request.get", id=request["id"])
    assert (held["released"], held["private_run"]["failure"]) == (0, "rules")
    assert rule["kind"] in held["private_run"]["error"]


async def test_a_result_that_keeps_to_every_rule_comes_out(owner: Any, scientist: Any, dataset: Any) -> None:
    rules = [{"kind": "NoAssetRows"}, {"kind": "MinimumRows", "least": 10}, {"kind": "MaximumResultSize", "bytes": 99}]
    await owner("rules.set", dataset=dataset["id"], rules=rules)
    code = "def f(data):\n    return {'income': float(data['income'].mean())}\n"
    request = await scientist.ask(dataset["assets"][0]["id"], code=code, name="f")
    assert request["mock_run"]["policy"] == "would be released"
    await owner("request.approve", id=request["id"], rules=[{"kind": "MaximumResultSize", "values": 1}])
    assert await answer(scientist, request) == {"income": pytest.approx(204.75)}


async def test_rules_are_set_seen_and_taken_away(owner: Any, scientist: Any, dataset: Any) -> None:
    an_id = dataset["id"]
    with pytest.raises(NotFound):
        await owner("rules.set", dataset=an_id, asset="nothing", rules=[])
    with pytest.raises(NotAllowed):
        await scientist("rules.set", dataset=an_id, rules=[])
    unknown = [{"kind": "MinimumCellCount", "least": 5, "bye": ["region"]}], [{"kind": "NoAssetRows", "least": 5}]
    none = [{"kind": "Nothing"}], [{"kind": "MinimumRows"}], "NoAssetRows", [{"kind": "NoAssetRows"}] * 17
    for odd in (*none, *unknown):
        with pytest.raises(InvalidInput):
            await owner("rules.set", dataset=an_id, rules=odd)
    await owner("rules.set", dataset=an_id, rules=[{"kind": "NoAssetRows"}])
    (found,) = await scientist("rules.list")
    assert (found["dataset_name"], found["asset"], found["rules"]) == ("census", "", [{"kind": "NoAssetRows"}])
    assert await owner("rules.set", dataset=an_id, rules=[]) == []
    await owner("rules.set", dataset=an_id, rules=[{"kind": "NoAssetRows"}])
    await owner("dataset.delete", id=an_id)
    assert await owner("rules.list") == []


async def test_a_rule_by_columns_that_no_asset_has_is_refused_where_it_is_set(
    owner: Any, scientist: Any, dataset: Any
) -> None:
    def by(*names: str) -> list[dict[str, Any]]:
        return [{"kind": "MinimumCellCount", "least": 5, "by": list(names)}]

    request = await scientist.ask(dataset["assets"][0]["id"], code=GROUPS, name="f")
    for verb, target in (
        ("rules.set", {"dataset": dataset["id"]}),
        ("request.approve", {"id": request["id"]}),
        ("request.run", {"id": request["id"]}),
    ):
        with pytest.raises(InvalidInput, match="No asset has regoin, which") as caught:
            await owner(verb, **target, rules=by("region", "regoin"))
        assert "there are: region, income." in caught.value.fix
    assert (await owner("request.get", id=request["id"]))["status"] == "PENDING"
    policy = {"kind": "SingleExecutionExactOutput", "rules": by("regoin")}
    with pytest.raises(InvalidInput, match="No asset has regoin, which"):
        await scientist.ask(dataset["assets"][0]["id"], code=GROUPS, name="f", output_policy=policy)
    await owner("rules.set", dataset=dataset["id"], rules=by("region"))
    records = await owner.publish("records", [{"region": "north"}], [{"region": "south"}])  # columns nobody knows
    await owner("rules.set", dataset=records["id"], rules=by("anything"))


async def test_a_run_at_the_approval_waits_for_its_author_and_the_owner_reads_it(
    owner: Any, scientist: Any, asset: str
) -> None:
    request = await scientist.ask(asset)
    ready = await owner("request.run", id=request["id"])
    assert (ready["status"], ready["released"]) == ("APPROVED", 0)
    assert await owner.result(ready["ready"]) == 6
    with pytest.raises(NotFound):
        await scientist.result(ready["ready"])
    assert "ready" not in await scientist("request.get", id=request["id"])
    assert await answer(scientist, request) == 6
    assert len(await trail(owner, "code.run")) == 1
    assert (await owner("request.get", id=request["id"]))["ready"] is None


async def test_an_approval_is_withdrawn_before_a_release_and_not_after(owner: Any, scientist: Any, asset: str) -> None:
    request = await scientist.ask(asset)
    ready = await owner("request.run", id=request["id"])
    back = await owner("request.withdraw", id=request["id"])
    assert (back["status"], back["ready"]) == ("PENDING", None)
    with pytest.raises(NotFound):
        await owner.result(ready["ready"])
    with pytest.raises(Pending):
        await call(scientist, request)
    await owner("request.deny", id=request["id"], reason="no")
    assert (await owner("request.withdraw", id=request["id"]))["reason"] == ""
    await owner("request.approve", id=request["id"])
    assert await answer(scientist, request) == 6
    with pytest.raises(Conflict):
        await owner("request.withdraw", id=request["id"])
    await owner("request.deny", id=request["id"], reason="too late")
    assert await answer(scientist, request) == 6, "released for good"


async def test_a_run_at_the_approval_that_fails_approves_nothing(owner: Any, scientist: Any, asset: str) -> None:
    request = await scientist.ask(asset, code="def f(data):\n    return 1 / (data.sum() - 6)\n", name="f")
    with pytest.raises(RunFailed, match="MaximumResultSize"):
        await owner("request.run", id=request["id"], rules=[{"kind": "MaximumResultSize", "bytes": 1}])
    held = await owner("request.get", id=request["id"])
    assert (held["status"], held["ready"], held["private_run"]["failure"]) == ("PENDING", None, "rules")
    policy = {"kind": "MixedInputPolicy", "user_owned": {"factor": FACTOR}}
    other = await scientist.ask(asset, code=TIMES, name="f", input_policy=policy)
    with pytest.raises(Conflict, match="factor"):
        await owner("request.run", id=other["id"])


async def test_the_review_shows_what_changed_and_what_comes_out(owner: Any, scientist: Any, dataset: Any) -> None:
    asset = dataset["assets"][0]["id"]
    first = await scientist.ask(asset, code="def f(data):\n    return len(data)\n", name="f")
    code = "def f(data):\n    import math\n    return math.log(len(data))\n"
    policy = {"kind": "OutputPolicyExecuteCount", "limit": 3, "rules": [{"kind": "MinimumRows", "least": 10}]}
    second = await scientist.ask(asset, code=code, name="f", output_policy=policy)
    await owner("rules.set", dataset=dataset["id"], rules=[{"kind": "NoAssetRows"}])
    seen = await owner("request.review", id=second["id"])
    assert seen["against"] == first["id"]
    assert "-    return len(data)\n+    import math\n+    return math.log(len(data))" in seen["diff"]
    assert (seen["new_imports"], seen["new_calls"]) == (["math"], ["math.log"])
    assert seen["lets_in"] == ["data is the asset census/people."]
    assert [line.partition(":")[0] for line in seen["lets_out"]] == [
        "The exact result of each of 3 runs comes out.",
        "MinimumRows",
        "NoAssetRows",
    ]
    plain = await scientist("request.review", id=first["id"])
    assert (plain["against"], plain["diff"], plain["earlier"]) == (None, "", [])


async def test_a_stranger_reviews_no_request_of_somebody_else(
    owner: Any, scientist: Any, newcomer: Any, asset: str
) -> None:
    request, eve = await scientist.ask(asset), await newcomer("eve@x")
    with pytest.raises(NotFound):
        await eve("request.review", id=request["id"])
    own = await eve.ask(asset)
    with pytest.raises(NotFound):
        await eve("request.review", id=own["id"], against=request["id"])
    assert (await owner("request.review", id=own["id"]))["earlier"] == [], "versions are of one author"


async def test_run_times_are_coarse_for_a_data_scientist_and_exact_for_the_owner(
    owner: Any, scientist: Any, asset: str
) -> None:
    request = await scientist.ask(asset)
    assert request["mock_run"]["seconds"] in (0.1, 1.0, 5.0)
    exact = (await owner("request.get", id=request["id"]))["mock_run"]
    assert 0 < exact["seconds"] < request["mock_run"]["seconds"]
    assert exact["memory"] > 0
    assert request["mock_run"]["memory"] % (64 << 20) == 0


async def test_a_deposit_of_the_owner_stands_for_any_values(owner: Any, scientist: Any, asset: str) -> None:
    policy = {"kind": "MixedInputPolicy", "user_owned": {"factor": FACTOR}}
    request = await scientist.ask(asset, code=TIMES, name="f", input_policy=policy)
    await owner("request.deposit", id=request["id"], result=wire.pack_value("by hand"))
    assert await answer(scientist, request, factor=3) == "by hand"
    assert await answer(scientist, request, factor=3) == "by hand"


async def test_a_fault_while_a_result_is_judged_gives_back_no_run(
    owner: Any, scientist: Any, asset: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = {"kind": "OutputPolicyExecuteCount", "limit": 9, "rules": [{"kind": "MinimumRows", "least": 1}]}
    request = await scientist.ask(asset, output_policy=policy)
    await owner("request.approve", id=request["id"])
    monkeypatch.delattr(os, "memfd_create")  # the rules' run cannot be given the result
    for _ in range(3):
        with pytest.raises(NotConfined):
            await call(scientist, request)
    with pytest.raises(PolicyRefused, match="3 runs on the private data ended without a result"):
        await call(scientist, request)
    monkeypatch.undo()
    assert (await scientist("request.get", id=request["id"]))["failures"] == 3
    with pytest.raises(PolicyRefused, match="3 runs"):
        await call(scientist, request)
    await owner("request.approve", id=request["id"])
    assert await answer(scientist, request) == 6


async def test_an_approval_that_is_used_up_is_given_anew_with_its_rules(owner: Any, scientist: Any, asset: str) -> None:
    request = await scientist.ask(asset)
    await owner("request.approve", id=request["id"], rules=[{"kind": "MinimumRows", "least": 10}])
    with pytest.raises(Conflict):
        await owner("request.approve", id=request["id"])
    inputs = {name: {"asset": an_id} for name, an_id in request["inputs"].items()}
    job = await scientist("job.start", id=request["code_id"], inputs=inputs)
    assert (await scientist("job.wait", id=job["id"]))["status"] == "failed"
    for _ in range(2):
        with pytest.raises(PolicyRefused, match="kept back"):
            await call(scientist, request)
    with pytest.raises(PolicyRefused, match="3 runs on the private data ended without a result"):
        await scientist("job.retry", id=job["id"])
    held = await owner("request.approve", id=request["id"])
    assert (held["failures"], len(held["rules"])) == (0, 1)


async def test_a_custom_input_policy_cannot_leave_the_declared_range(owner: Any, scientist: Any, asset: str) -> None:
    code = EVEN.replace("kwargs['factor'] // 2 * 2", "").replace(
        'kwargs["factor"] // 2 * 2', "self.made[kwargs['factor']]"
    )
    made = "{1: 10**6, 2: 'x', 3: True, 4: 1e999, 5: 10}"
    code = code.replace("self.least = least", f"self.least, self.made = 0, {made}")
    policy = {
        "kind": "CustomInputPolicy",
        "user_owned": {"factor": {**FACTOR, "most": 100}},
        **custom(code, "OnlyEven", least=0),
    }
    request = await scientist.ask(asset, code=TIMES, name="f", input_policy=policy)
    assert "may not go in" in request["mock_run"]["error"]
    await owner("request.approve", id=request["id"])
    for factor in (1, 2, 3, 4):
        with pytest.raises(PolicyRefused):
            await call(scientist, request, factor=factor)
    assert await trail(owner, "code.run.begin") == []
    assert await answer(scientist, request, factor=5) == 60.0


async def test_a_value_that_is_no_number_is_refused_and_is_no_fault(owner: Any, scientist: Any, asset: str) -> None:
    owned = {"factor": {"type": "float", "most": 100}}
    policy = {"kind": "CustomInputPolicy", "user_owned": owned, **custom(EVEN, "OnlyEven", least=0)}
    request = await scientist.ask(asset, code=TIMES, name="f", input_policy=policy)
    await owner("request.approve", id=request["id"])
    for said in (b"NaN", b"Infinity", b"1e999"):
        inputs = {"data": {"asset": asset}, "factor": {"value": Value("json", said).to_wire()}}
        with pytest.raises(PolicyRefused, match="without NaN"):
            await scientist("code.call", id=request["code_id"], inputs=inputs)


async def test_a_result_that_cannot_be_kept_is_a_run_that_ended(
    owner: Any, scientist: Any, asset: str, house: Any
) -> None:
    request = await scientist.ask(asset)
    await owner("request.approve", id=request["id"])
    with owner.service._domain.storage.write() as session:
        session.execute(text("CREATE TRIGGER full BEFORE INSERT ON executions BEGIN SELECT RAISE(ABORT, 'full'); END"))
    with pytest.raises(NotConfined):
        await call(scientist, request)
    ended = await trail(owner, "code.run")
    assert [entry["details"]["ok"] for entry in ended] == [False]
    assert (await owner("request.get", id=request["id"]))["released"] == 0


def test_what_a_policy_says_moves_no_cursor() -> None:
    hidden = "\x1b[2J\u202eall good"
    said = {"out": None, "why": hidden, "state": "{}", "open": True, "public": hidden * 200}
    found = read_decision(wire.pack(said), 1000)
    assert found.state is not None
    for said_text in (found.why, found.state.public):
        assert "\x1b" not in said_text
        assert "\u202e" not in said_text
        assert "all good" in said_text
    assert len(found.state.public) <= MAX_PUBLIC


async def test_rules_set_while_a_run_waits_for_its_turn_hold_for_it(owner: Any, scientist: Any, dataset: Any) -> None:
    request = await scientist.ask(dataset["assets"][0]["id"], "def compute_sum(data):\n    return 'x' * 100\n")
    await owner("request.approve", id=request["id"])
    runner = owner.service._domain.runner
    for _ in range(runner._at_once):
        await runner._slots.acquire()
    calling = asyncio.create_task(call(scientist, request))
    async with asyncio.timeout(20):
        while not runner._inside:
            await owner("audit.list", limit=1)
    await owner("rules.set", dataset=dataset["id"], rules=[{"kind": "MaximumResultSize", "bytes": 10}])
    for _ in range(runner._at_once):
        runner._slots.release()
    with pytest.raises(PolicyRefused, match="MaximumResultSize"):
        await calling


SMALL = {"kind": "MaximumResultSize", "values": 5}
JANE, OWNER = ("jane@caltech.edu", "abc123"), ("info@openmined.org", "changethis")


class Faltering(Runner):
    """Cannot give the run that is the ``broken``-th from now; ``asked`` counts them."""

    broken: frozenset[int] = frozenset()
    asked = 0

    async def run(self, spec: RunSpec, *more: Any) -> RunReport:
        self.asked += 1
        if self.asked in self.broken:
            return unavailable("The run's process ended, and the run with it.")
        return await super().run(spec, *more)


@pytest.mark.parametrize(("broken", "comes_out"), [({2}, True), ({2, 3}, False)])
async def test_a_check_that_the_node_could_not_give_is_tried_once_more(
    house: Any, owner: Any, scientist: Any, asset: str, broken: set[int], comes_out: bool
) -> None:
    request = await scientist.ask(asset, output_policy={"kind": "SingleExecutionExactOutput", "rules": [SMALL]})
    await house.close()
    await house.runner.close()
    house.runner = Faltering(hide=[house.folder])
    owner.service = scientist.service = await house.open()
    await owner.login(*OWNER)
    await scientist.login(*JANE)
    await owner("request.approve", id=request["id"])
    house.runner.asked, house.runner.broken = 0, frozenset(broken)
    if comes_out:
        assert await answer(scientist, request) == 6
    else:
        with pytest.raises(NotConfined, match="cannot run code on its private data now"):
            await call(scientist, request)
    assert (await owner("request.get", id=request["id"]))["released"] == int(comes_out)
