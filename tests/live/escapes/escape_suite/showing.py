"""What a reviewer gets to see of a request: at a terminal, and in a notebook."""

from __future__ import annotations

import contextlib
import datetime as dt
import io
from collections.abc import Mapping
from typing import Any

DEFAULTS: Mapping[str, str] = {
    "name": "f",
    "code": "def f():\n    return 1",
    "purpose": "a mean",
    "requested_by": "Ann <ann@example.org>",
    "title": "MNIST",
    "reason": "",
}


def bare(fields: Mapping[str, str], output: str, error: str) -> tuple[str, str]:
    """Printed and pasted as it came."""
    texts = [*{**DEFAULTS, **fields}.values(), output, error]
    return "\n".join(texts), "".join(f"<td>{text}</td>" for text in texts)


def ours(fields: Mapping[str, str], output: str, error: str) -> tuple[str, str]:
    """By every door that shows a stranger's texts: client objects, tables, the command line."""
    from p2pgrid.client.requests import Request, Requests, UserCode, UserCodes
    from p2pgrid.client.show import Row, ShownList, table_html, table_text

    raw = _request({**DEFAULTS, **fields}, output, error)
    request: Any = Request(None, raw)  # type: ignore[arg-type]
    code = UserCode(None, {**raw, "id": raw["code_id"]})  # type: ignore[arg-type]
    row = Row({"name": raw["title"], "output": output, "error": error})
    things: list[Any] = [request, Requests([request]), code, UserCodes([code]), request.changes, row, ShownList([row])]
    columns = (raw["title"], "output")
    shown = [repr(thing) for thing in things]
    pages = [thing._repr_html_() for thing in things]
    shown += [table_text(columns, [[output, error]], raw["title"]), _command_line(raw)]
    pages.append(table_html(columns, [[output, error]], raw["title"]))
    return "\n".join(shown), "\n".join(pages)


def _request(fields: Mapping[str, str], output: str, error: str) -> dict[str, Any]:
    run = {"ok": not error, "error": error, "output": output, "result_shape": fields["title"], "seconds": 0.1}
    return {
        **fields,
        "id": "0" * 32,
        "code_id": "1" * 32,
        "status": "PENDING",
        "request_time": dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
        "inputs": {fields["name"]: fields["title"]},
        "input_policy": fields["title"],
        "output_policy": fields["title"],
        "policy_state": fields["title"],
        "environment": fields["title"],
        "note": fields["purpose"],
        "ready": "",
        "released": 0,
        "failures": 3,
        "coarse": False,
        "imports": [fields["name"]],
        "calls": [fields["name"]],
        "verify_key": fields["title"],
        "mock_run": run,
        "private_run": run,
    }


def _review(raw: Mapping[str, Any]) -> dict[str, Any]:
    """What the node says beside a request, with the same texts in every place."""
    texts = [raw["name"], raw["title"], raw["purpose"]]
    return {
        "lets_in": texts,
        "lets_out": texts,
        "policy_code": [{"name": raw["name"], "code": raw["code"]}],
        "new_imports": texts,
        "new_calls": texts,
        "against": raw["name"],
        "diff": raw["code"],
    }


def _command_line(raw: Mapping[str, Any]) -> str:
    """What ``p2pgrid requests show`` prints."""
    from p2pgrid.cli.output import Out
    from p2pgrid.cli.requests import print_request

    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        print_request(Out(as_json=False), dict(raw), {raw["name"]: raw["title"]}, _review(raw))
    return out.getvalue()
