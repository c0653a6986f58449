"""Lists that a domain cuts to keep its answer short reach a client whole."""

from __future__ import annotations

from typing import Any

import numpy as np

import p2pgrid
from p2pgrid import aio

OWNER = {"email": "info@openmined.org", "password": "changethis"}
REQUESTS = 40


class Source(p2pgrid.GridFunction):
    """A function from its text."""

    def __init__(self, code: str, name: str, asset: Any) -> None:
        self.code, self.name = code, name
        self.input_policy, self.output_policy = p2pgrid.ExactMatch(data=asset), p2pgrid.SingleExecutionExactOutput()


async def test_code_that_a_list_cuts_is_never_shown_as_empty(tmp_path: Any) -> None:
    node = await aio.launch(name="alice", home=tmp_path)
    owner = await aio.login(url=node.url, **OWNER)
    await owner.upload_dataset(p2pgrid.Dataset("d", [p2pgrid.Asset("a", np.arange(3))]), progress=False)
    asset = (await owner.datasets)[0].assets[0]
    sent = []
    for number in range(REQUESTS):
        code = f"def f{number}(data):\n    return 1\n" + f"    # {'x' * 110}\n" * 520
        sent.append(code)
        await owner.submit(Source(code, f"f{number}", asset))
    requests, codes = await owner.requests, await owner.code
    assert sorted(item.code.code for item in requests) == sorted(sent)
    assert sorted(item.code for item in codes) == sorted(sent)
    await owner.close()
    await node.land()
