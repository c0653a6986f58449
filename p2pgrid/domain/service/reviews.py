"""What a reviewer wants to know of a request besides its code: what is new in it, what it lets in and out."""

from __future__ import annotations

import asyncio
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from p2pgrid.domain.diffs import unified
from p2pgrid.domain.fields import Args
from p2pgrid.domain.models import CodeRequest, moment
from p2pgrid.domain.policies import Rule
from p2pgrid.domain.policies.words import input_words, output_words
from p2pgrid.domain.service.door import Domain, Who, verb
from p2pgrid.domain.service.floors import rules_of
from p2pgrid.domain.service.requests import find_request
from p2pgrid.domain.storage.catalogue import asset_titles
from p2pgrid.domain.storage.tables import RequestRow

EARLIER = 20
"""Earlier versions that are named, the newest first."""


@verb("request.review")
async def review_request(domain: Domain, who: Who, args: Args) -> Any:
    """The diff against the same author's earlier version of the function (the newest, or that of ``against``), and what
    the policies let in and out, in words."""
    an_id, against = args.id("id"), args.maybe_id("against")

    def work(session: Session) -> tuple[CodeRequest, list[CodeRequest], CodeRequest | None, tuple[Rule, ...]]:
        row = find_request(session, who, an_id)
        same = select(RequestRow).where(RequestRow.account == row.account, RequestRow.function == row.function)
        same = same.where(RequestRow.position < row.position).order_by(RequestRow.position.desc()).limit(EARLIER)
        earlier = [item.value() for item in session.scalars(same)]
        chosen = find_request(session, who, against).value() if against else next(iter(earlier), None)
        request = row.value()
        return request, earlier, chosen, rules_of(session, request)

    request, earlier, chosen, rules = await domain.read(work)
    inputs = list(request.input_policy.inputs.values())
    titles = await domain.read(lambda session: asset_titles(session, inputs))
    return {
        "id": request.id,
        "earlier": [_version(item) for item in earlier],
        "against": chosen.id if chosen else None,
        "diff": await asyncio.to_thread(_diff, chosen, request) if chosen else "",
        "new_imports": _added(chosen, request, "imports"),
        "new_calls": _added(chosen, request, "calls"),
        "lets_in": input_words(request.input_policy, titles),
        "lets_out": output_words(request.output_policy, rules, request.spending.spent),
        "policy_code": _policy_code(request),
    }


def _version(request: CodeRequest) -> dict[str, Any]:
    return {"id": request.id, "status": request.status.value, "request_time": moment(request.requested_at)}


def _diff(old: CodeRequest, new: CodeRequest) -> str:
    return unified(_whole(old), _whole(new), f"{old.function} ({old.id[:8]})", f"{new.function} ({new.id[:8]})")


def _whole(request: CodeRequest) -> str:
    """The code, and that of its policies: a change of either is a change."""
    return "\n\n".join([request.source.rstrip("\n"), *(item["code"].rstrip("\n") for item in _policy_code(request))])


def _policy_code(request: CodeRequest) -> list[dict[str, Any]]:
    """The classes of its custom policies."""
    codes = [getattr(policy, "code", None) for policy in (request.input_policy, request.output_policy)]
    return [code.to_wire() for code in codes if code is not None]


def _added(old: CodeRequest | None, new: CodeRequest, what: str) -> list[str]:
    before = set(old.uses.get(what, ())) if old else set()
    return [name for name in new.uses.get(what, ()) if name not in before] if old else []
