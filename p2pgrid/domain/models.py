"""What a domain holds, as frozen values, and how each one looks to a caller.

Ids are 32 hexadecimal digits (uuid4); times are seconds since the epoch inside and UTC datetimes outside.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from p2pgrid.assets import AssetMeta
from p2pgrid.domain.accounts import Role
from p2pgrid.domain.policies import ExactMatch, OutputPolicy, Spending
from p2pgrid.domain.states import Status


@dataclass(frozen=True, slots=True)
class Account:
    """A person here.  The password's hash is not part of it: it never leaves the storage.

    ``verify_key``: the Ed25519 key, in hexadecimal, that logs in without a password.  ``epoch`` rises with each change
    of the password and ends the sessions that began before.
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
    """One private object of a dataset and its mock, without their bytes."""

    id: str
    name: str
    description: str
    data: AssetMeta
    mock: AssetMeta | None

    def to_wire(self, *, private: bool) -> dict[str, Any]:
        """The digest of private content is for its owner only: it would confirm a guess of that content."""
        meta = self.data.to_wire()
        if not private:
            del meta["digest"]
        mock = self.mock.to_wire() if self.mock else None
        return {"id": self.id, "name": self.name, "description": self.description, "meta": meta, "mock": mock}

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

    ``source`` is what was sent, ``runnable`` what runs.  ``purpose`` is the requester's reason, ``denial`` the owner's.
    ``mock_run`` and ``private_run`` report on runs; the private one may tell of the data and is for owners.
    ``failures`` counts private runs without a result since the approval.
    """

    id: str
    code_id: str
    project: str | None
    function: str
    source: str
    runnable: str
    uses: Mapping[str, Any]
    input_policy: ExactMatch
    output_policy: OutputPolicy
    status: Status
    purpose: str
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

    def to_wire(self, *, private: bool) -> dict[str, Any]:
        """For its author, or ``private``: for an owner."""
        answer = {
            "id": self.id,
            "project": self.project,
            "code_id": self.code_id,
            "name": self.function,
            "code": self.source,
            "inputs": dict(self.input_policy.inputs),
            "input_policy": self.input_policy.kind,
            "output_policy": self.output_policy.to_wire(),
            "status": self.status.value,
            "reason": self.denial or "",
            "purpose": self.purpose,
            "requested_by": self.requested_by,
            "requesting_user_verify_key": self.verify_key,
            "request_time": moment(self.requested_at),
            "updated_at": None if self.updated_at is None else moment(self.updated_at),
            "mock_run": None if self.mock_run is None else dict(self.mock_run),
            "imports": list(self.uses.get("imports", ())),
            "calls": list(self.uses.get("calls", ())),
            "released": self.spending.spent,
        }
        if private:
            answer["private_run"] = None if self.private_run is None else dict(self.private_run)
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
        }


@dataclass(frozen=True, slots=True)
class Execution:
    """One result: of a run or a deposit.  ``serial`` counts the releases of a request; None: not released yet."""

    id: str
    request: str
    source: str
    serial: int | None
    size: int
    created_at: float

    def to_wire(self) -> dict[str, Any]:
        """What a call of code answers."""
        return {"execution": self.id, "size": self.size}


def moment(seconds: float) -> dt.datetime:
    """Seconds since the epoch as a UTC datetime, to the microsecond."""
    return dt.datetime.fromtimestamp(seconds, dt.UTC)
