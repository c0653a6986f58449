"""What a domain answers with, read once into the plain documents that ``--json`` prints and tables are made of.

A node may be a stranger's: what does not have the shape is ``Malformed``, and never a traceback.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

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
        "assets": [asset(item) for item in raw["assets"]],
    }


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
        "verify_key": str(raw.get("requesting_user_verify_key") or ""),
        "mock_run": {str(key): value for key, value in run.items()},
        "private_run": {str(key): value for key, value in private_run.items()},
    }


def account(raw: Raw) -> dict[str, Any]:
    """A person's account."""
    names = ("id", "name", "email", "role", "institution", "website")
    return {**{name: str(raw.get(name) or "") for name in names}, "created_at": text(raw.get("created_at"))}


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


def policy(raw: Any) -> str:
    """A policy in one word, and its limit if it has one."""
    if not isinstance(raw, Mapping):
        return str(raw or "")
    rest = ", ".join(f"{key}={value}" for key, value in raw.items() if key != "kind" and not isinstance(value, Mapping))
    return f"{raw.get('kind', '')}{f'({rest})' if rest else ''}"


def text(value: Any) -> str:
    """A moment or a number as text."""
    isoformat = getattr(value, "isoformat", None)
    return isoformat(timespec="seconds") if isoformat else str(value or "")
