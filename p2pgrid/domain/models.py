"""What a domain holds, as frozen values, and how each one looks to a caller.

Ids are 32 hexadecimal digits (uuid4); times are seconds since the epoch inside and UTC datetimes outside.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from p2pgrid.assets import AssetMeta
from p2pgrid.domain.accounts import Role
from p2pgrid.domain.measures import coarse_run
from p2pgrid.domain.policies import InputPolicy, OutputPolicy, PolicyState, Rule, Spending
from p2pgrid.domain.states import Status


@dataclass(frozen=True, slots=True)
class Account:
    """A person here.  The password's hash is not part of it: it never leaves the storage.

    ``verify_key``: the Ed25519 key, in hexadecimal, that logs in without a password.  ``epoch`` rises with each change
    of the password and ends the sessions that began before.  Who is not ``active`` cannot log in.  ``mail``: whether
    they want their notifications as e-mails too.
    """

    id: str
    name: str
    email: str
    role: Role
    institution: str
    website: str
    verify_key: str | None
    created_at: float
    epoch: int
    active: bool
    mail: bool
    last_login: float | None

    def to_wire(self) -> dict[str, Any]:
        """For the person and for owners."""
        return {
            "id": self.id,
            "name": self.name,
            "email": self.email,
            "role": self.role.words,
            "institution": self.institution,
            "website": self.website,
            "verify_key": self.verify_key,
            "created_at": moment(self.created_at),
            "active": self.active,
            "mail": self.mail,
            "last_login": None if self.last_login is None else moment(self.last_login),
        }


@dataclass(frozen=True, slots=True)
class Contributor:
    """Somebody to ask about a dataset."""

    role: str
    name: str
    email: str

    def to_wire(self) -> dict[str, str]:
        """For everybody."""
        return {"role": self.role, "name": self.name, "email": self.email}


@dataclass(frozen=True, slots=True)
class AssetInfo:
    """One private object of a dataset and its mock, without their bytes.

    ``version``: of the dataset in which it came.  ``retired``: the one that replaced it; it is kept for requests only.
    """

    id: str
    name: str
    description: str
    data: AssetMeta
    mock: AssetMeta | None
    version: int = 1
    retired: int | None = None

    def to_wire(self, *, private: bool) -> dict[str, Any]:
        """The digest of private content is for its owner only: it would confirm a guess of that content."""
        meta = self.data.to_wire()
        if not private:
            del meta["digest"]
        mock = self.mock.to_wire() if self.mock else None
        return {
            "id": self.id,
            "name": self.name,
            "description": self.description,
            "meta": meta,
            "mock": mock,
            "version": self.version,
        }

    def to_public(self) -> dict[str, Any]:
        """For the search of the JSON door."""
        shape, dtype = list(self.data.shape), self.data.dtype
        return {"name": self.name, "shape": shape, "dtype": dtype, "mock": self.mock is not None}


@dataclass(frozen=True, slots=True)
class Dataset:
    """A named collection of assets, found by its tags."""

    id: str
    name: str
    description: str
    citation: str
    url: str
    tags: tuple[str, ...]
    contributors: tuple[Contributor, ...]
    created_at: float
    created_by: str
    assets: tuple[AssetInfo, ...]
    version: int = 1
    updated_at: float | None = None

    def to_wire(self, *, private: bool) -> dict[str, Any]:
        """``private``: for an owner."""
        return {
            "id": self.id,
            "name": self.name,
            "description": self.description,
            "citation": self.citation,
            "url": self.url,
            "tags": list(self.tags),
            "contributors": [person.to_wire() for person in self.contributors],
            "created_at": moment(self.created_at),
            "created_by": self.created_by,
            "version": self.version,
            "updated_at": None if self.updated_at is None else moment(self.updated_at),
            "assets": [asset.to_wire(private=private) for asset in self.assets],
        }

    def to_public(self) -> dict[str, Any]:
        """For the search of the JSON door."""
        return {
            "id": self.id,
            "name": self.name,
            "description": self.description,
            "tags": list(self.tags),
            "assets": [asset.to_public() for asset in self.assets],
        }


@dataclass(frozen=True, slots=True)
class Project:
    """The scope of a data scientist's requests."""

    id: str
    name: str
    description: str
    created_by: str
    created_at: float

    def to_wire(self) -> dict[str, Any]:
        """For its maker and for owners."""
        return {
            "id": self.id,
            "name": self.name,
            "description": self.description,
            "created_by": self.created_by,
            "created_at": moment(self.created_at),
            "events": [],
        }


@dataclass(frozen=True, slots=True)
class CodeRequest:
    """A function that waits for, or has got, its verdict.

    ``source`` is what was sent, ``runnable`` what runs.  ``environment`` names the packages that it runs with; empty
    for the node's own.  ``purpose`` is the requester's reason, ``denial`` the owner's.
    ``mock_run`` and ``private_run`` report on runs; the private one may tell of the data and is for owners.
    ``failures`` counts private runs without a result since the approval.  ``rules``: those the owner set at the
    approval.  ``ready``: the execution that waits to be released.
    """

    id: str
    code_id: str
    project: str | None
    function: str
    source: str
    runnable: str
    uses: Mapping[str, Any]
    input_policy: InputPolicy
    output_policy: OutputPolicy
    rules: tuple[Rule, ...]
    policy_state: PolicyState | None
    status: Status
    purpose: str
    environment: str
    denial: str | None
    account: str
    requested_by: str
    verify_key: str
    requested_at: float
    updated_at: float | None
    mock_run: Mapping[str, Any] | None
    private_run: Mapping[str, Any] | None
    spending: Spending
    failures: int
    ready: str | None
    note: str = ""
    """What became of its inputs since it was sent."""

    def to_wire(self, *, private: bool) -> dict[str, Any]:
        """For its author, or ``private``: for an owner."""
        answer = {
            "id": self.id,
            "project": self.project,
            "code_id": self.code_id,
            "name": self.function,
            "code": self.source,
            "inputs": dict(self.input_policy.inputs),
            "input_policy": self.input_policy.to_wire(),
            "output_policy": self.output_policy.to_wire(),
            "status": self.status.value,
            "reason": self.denial or "",
            "purpose": self.purpose,
            "environment": self.environment,
            "requested_by": self.requested_by,
            "requesting_user_verify_key": self.verify_key,
            "request_time": moment(self.requested_at),
            "updated_at": None if self.updated_at is None else moment(self.updated_at),
            "failures": self.failures,
            "mock_run": _shown(self.mock_run, private),
            "imports": list(self.uses.get("imports", ())),
            "calls": list(self.uses.get("calls", ())),
            "released": self.spending.spent,
            "tier": _tier(self.private_run or self.mock_run or {}),
            "rules": [rule.to_wire() for rule in self.rules],
            "policy_state": self.policy_state.public if self.policy_state else "",
            "note": self.note,
        }
        if private:
            answer["private_run"] = _shown(self.private_run, private)
            answer["ready"] = self.ready
        return answer

    def to_code(self) -> dict[str, Any]:
        """The function alone, as ``code.list`` shows it."""
        return {
            "id": self.code_id,
            "name": self.function,
            "code": self.source,
            "request": self.id,
            "status": self.status.value,
            "approved": self.status is Status.APPROVED,
            "values": [*self.input_policy.constants, *self.input_policy.user_owned],
        }


@dataclass(frozen=True, slots=True)
class Execution:
    """One result: of a run or a deposit.  ``serial`` counts the releases of a request; None: not released yet.

    ``inline`` is the result itself, of a small one that a call is answered with.
    """

    id: str
    request: str
    source: str
    serial: int | None
    size: int
    created_at: float
    inline: bytes | None = field(default=None, repr=False)

    def to_wire(self) -> dict[str, Any]:
        """What a call of code answers."""
        told = {"execution": self.id, "size": self.size}
        return told if self.inline is None else {**told, "result": self.inline}


def _shown(run: Mapping[str, Any] | None, private: bool) -> dict[str, Any] | None:
    """A report on a run; its measures are coarse but for owners."""
    if run is None:
        return None
    return dict(run) if private else coarse_run(run)


def _tier(report: Mapping[str, Any]) -> str:
    """The tier that a run was confined in; empty for one that did not come to it."""
    return str(report.get("tier", "")) if report.get("confinement") else ""


def moment(seconds: float) -> dt.datetime:
    """Seconds since the epoch as a UTC datetime, to the microsecond."""
    return dt.datetime.fromtimestamp(seconds, dt.UTC)
