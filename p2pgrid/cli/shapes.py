"""What a domain answers with, read once into the plain documents that ``--json`` prints and tables are made of.

A node may be a stranger's: what does not have the shape is ``Malformed``, and never a traceback.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from p2pgrid.client.runs import is_coarse
from p2pgrid.errors import Malformed

T = TypeVar("T")
Raw = Mapping[str, Any]


def read(shape: Callable[[Raw], T], raw: Any) -> T:
    """One answer in its shape.  Raises ``Malformed``."""
    try:
        return shape(raw)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise Malformed("The node answered with something that cannot be read.") from error


def read_list(shape: Callable[[Raw], T], raw: Any) -> list[T]:
    """A list of answers in their shape.  Raises ``Malformed``."""
    if not isinstance(raw, (list, tuple)):
        raise Malformed("The node answered with something that is no list.")
    return [read(shape, item) for item in raw]


def dataset(raw: Raw) -> dict[str, Any]:
    """A dataset with its assets."""
    return {
        "id": str(raw["id"]),
        "name": str(raw["name"]),
        "description": str(raw.get("description") or ""),
        "tags": [str(tag).lstrip("#") for tag in raw.get("tags") or ()],
        "citation": str(raw.get("citation") or ""),
        "url": str(raw.get("url") or ""),
        "contributors": [
            {key: str(person.get(key) or "") for key in ("name", "email", "role")}
            for person in raw.get("contributors") or ()
        ],
        "created_at": text(raw.get("created_at")),
        "version": int(raw.get("version") or 1),
        "assets": [asset(item) for item in raw["assets"]],
    }


def page(raw: Raw) -> dict[str, Any]:
    """A page of datasets."""
    return {"datasets": [dataset(item) for item in raw["datasets"]], "total": int(raw["total"])}


def asset(raw: Raw) -> dict[str, Any]:
    """One asset: what may be known of it, and its mock's description."""
    meta, mock = raw["meta"], raw.get("mock")
    return {
        "id": str(raw["id"]),
        "name": str(raw["name"]),
        "description": str(raw.get("description") or ""),
        "kind": str(meta["kind"]),
        "shape": [int(side) for side in meta["shape"]],
        "dtype": str(meta["dtype"]),
        "columns": [[str(name), str(kind)] for name, kind in meta.get("columns") or ()],
        "size": int(meta.get("size") or 0),
        "mock": dict(mock) if mock else None,
    }


def request(raw: Raw) -> dict[str, Any]:
    """A code request: ``purpose`` is its author's reason, ``reason`` the owner's; what the function did on the mock."""
    run, private_run = raw.get("mock_run") or {}, raw.get("private_run") or {}
    return {
        "id": str(raw["id"]),
        "name": str(raw["name"]),
        "status": str(raw["status"]),
        "purpose": str(raw.get("purpose") or ""),
        "reason": str(raw.get("reason") or ""),
        "note": str(raw.get("note") or ""),
        "environment": str(raw.get("environment") or ""),
        "requested_by": str(raw.get("requested_by") or ""),
        "request_time": text(raw.get("request_time")),
        "updated_at": text(raw.get("updated_at")),
        "project": raw.get("project"),
        "code_id": str(raw["code_id"]),
        "code": str(raw.get("code") or ""),
        "imports": [str(name) for name in raw.get("imports") or ()],
        "calls": [str(name) for name in raw.get("calls") or ()],
        "inputs": {str(name): str(value) for name, value in raw["inputs"].items()},
        "input_policy": policy(raw.get("input_policy")),
        "output_policy": policy(raw.get("output_policy")),
        "released": int(raw.get("released") or 0),
        "failures": int(raw.get("failures") or 0),
        "verify_key": str(raw.get("requesting_user_verify_key") or ""),
        "mock_run": {str(key): value for key, value in run.items()},
        "private_run": {str(key): value for key, value in private_run.items()},
        "coarse": is_coarse(raw),
        "rules": [{str(key): value for key, value in rule.items()} for rule in raw.get("rules") or ()],
        "policy_state": str(raw.get("policy_state") or ""),
        "ready": str(raw.get("ready") or ""),
        "values": _values(raw.get("input_policy")),
    }


def _values(raw: Any) -> list[str]:
    """The arguments that the author hands in at each call."""
    return [str(name) for name in raw.get("user_owned") or ()] if isinstance(raw, Mapping) else []


def account(raw: Raw) -> dict[str, Any]:
    """A person's account."""
    names = ("id", "name", "email", "role", "institution", "website")
    return {
        **{name: str(raw.get(name) or "") for name in names},
        "active": raw.get("active") is not False,
        "mail": raw.get("mail") is True,
        "created_at": text(raw.get("created_at")),
        "last_login": text(raw.get("last_login")),
    }


def session(raw: Raw) -> dict[str, Any]:
    """A login."""
    return {
        **{name: str(raw.get(name) or "") for name in ("id", "account", "how", "remote", "key")},
        "since": text(raw.get("since")),
        "last_seen": text(raw.get("last_seen")),
        "this": raw.get("this") is True,
    }


def notification(raw: Raw) -> dict[str, Any]:
    """Something that one was told."""
    return {
        **{name: str(raw[name]) for name in ("id", "kind", "subject", "text")},
        "created_at": text(raw.get("created_at")),
        "read": raw.get("read") is True,
    }


def entry(raw: Raw) -> dict[str, Any]:
    """One line of the audit log."""
    return {
        "seq": int(raw["seq"]),
        "time": text(raw.get("time")),
        "actor": str(raw["actor"]),
        "action": str(raw["action"]),
        "subject": str(raw.get("subject") or ""),
        "details": {str(key): value for key, value in raw["details"].items()},
        "hash": str(raw.get("hash") or ""),
    }


def job(raw: Raw) -> dict[str, Any]:
    """A job; ``on`` is ``data`` or ``mock``."""
    error = raw.get("error")
    return {
        "id": str(raw["id"]),
        "function": str(raw["function"]),
        "on": str(raw["on"]),
        "status": str(raw["status"]),
        "ahead": int(raw.get("ahead") or 0),
        "seconds": float(raw.get("seconds") or 0.0),
        "tries": int(raw.get("tries") or 0),
        "requested_by": str(raw.get("requested_by") or ""),
        "queued_at": text(raw.get("queued_at")),
        "request": str(raw["request"]),
        "execution": str(raw["execution"]) if raw.get("execution") else None,
        "error": {key: str(error[key]) for key in ("code", "cause", "fix")} if error else None,
    }


def findings(raw: Raw) -> dict[str, Any]:
    """What a check of the audit log found."""
    flaws = [raw["flaw"]] if raw.get("flaw") else []
    read = [{"seq": int(flaw["seq"]), "why": str(flaw["why"])} for flaw in (*flaws, *raw["gaps"])]
    return {
        "intact": bool(raw["intact"]) and not read,
        "entries": int(raw["entries"]),
        "hash": str(raw["hash"]),
        "flaw": read[0] if flaws else None,
        "gaps": read[len(flaws) :],
    }


def policy(raw: Any) -> str:
    """A policy in one word, and what it is given in brackets: ``OutputPolicyExecuteCount(limit=3, NoAssetRows)``."""
    if not isinstance(raw, Mapping):
        return str(raw or "")
    plain = [f"{key}={value}" for key, value in raw.items() if key not in ("kind", "code") and _is_plain(value)]
    rules = raw.get("rules") or ()
    plain += [str(rule.get("kind")) for rule in rules if isinstance(rule, Mapping)] if isinstance(rules, list) else []
    values = [str(name) for key in ("constants", "user_owned") for name in raw.get(key) or ()]
    rest = ", ".join([*plain, *values])
    return f"{raw.get('kind', '')}{f'({rest})' if rest else ''}"


def _is_plain(value: Any) -> bool:
    return isinstance(value, (str, int, float))


def review(raw: Raw) -> dict[str, Any]:
    """What a reviewer wants to know of a request besides its code."""
    lists = ("new_imports", "new_calls", "lets_in", "lets_out")
    return {
        "earlier": [str(item["id"]) for item in raw.get("earlier") or ()],
        "against": text(raw.get("against")),
        "diff": str(raw.get("diff") or ""),
        **{name: [str(item) for item in raw.get(name) or ()] for name in lists},
        "policy_code": [
            {"name": str(item["name"]), "code": str(item["code"]), "init": dict(item.get("init") or {})}
            for item in raw.get("policy_code") or ()
        ],
    }


def rules(raw: Raw) -> dict[str, Any]:
    """The output rules under every request on a dataset, or on an asset of it."""
    return {
        "dataset": str(raw["dataset_name"]),
        "dataset_id": str(raw["dataset"]),
        "asset": str(raw.get("asset") or ""),
        "rules": [{str(key): value for key, value in rule.items()} for rule in raw["rules"]],
        "words": [str(line) for line in raw.get("words") or ()],
        "set_by": str(raw.get("set_by") or ""),
        "set_at": text(raw.get("set_at")),
    }


def text(value: Any) -> str:
    """A moment or a number as text."""
    isoformat = getattr(value, "isoformat", None)
    return isoformat(timespec="seconds") if isoformat else str(value or "")
