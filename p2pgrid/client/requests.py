"""Code requests, their verdicts, and the results that came of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from p2pgrid import assets, wire
from p2pgrid.client.bridge import Bridge, bridged
from p2pgrid.client.door import RUN_TIMEOUT, Holder
from p2pgrid.client.functions import GridFunction
from p2pgrid.client.held import AssetPointer, HeldAsset
from p2pgrid.client.show import Shown, ShownList, clean
from p2pgrid.domain.review import statement
from p2pgrid.errors import BadCode, InvalidInput

CODE_REQUEST: Final = b"code-request"
SUBMIT_TIMEOUT: Final = 120.0
"""Seconds: the answer waits for the run on the mock."""


class RequestStatus(Enum):
    """Where a request stands."""

    PENDING = "PENDING"
    APPROVED = "APPROVED"
    DENIED = "DENIED"


class ActionObject(Shown):
    """A result that a domain released, or, as ``ActionObject.empty()``, the absence of a mock."""

    def __init__(self, client: Holder, execution: str) -> None:
        self._client = client
        self.id = execution

    @staticmethod
    def empty() -> Any:
        """Says that an asset has no mock: ``Asset(..., mock=ActionObject.empty())``."""
        from p2pgrid.client.values import EMPTY

        return EMPTY

    @property
    def _bridge(self) -> Bridge:
        return self._client._bridge

    def get_from(self, client: Holder) -> Any:
        """The value, fetched as ``client``."""
        return client._bridge.run(client.door.read_result(self.id))

    @bridged
    async def get(self) -> Any:
        """The value, fetched as whoever called the function."""
        return await self._client.door.read_result(self.id)

    def fields(self) -> Mapping[str, Any]:
        """Where the value is."""
        return {"id": self.id, "value": "released; .get() fetches it"}

    def __repr__(self) -> str:
        return f"<released result {clean(self.id)}; .get() fetches it>"


class UserCode(Shown):
    """A submitted function.  Calling it asks its domain for the result."""

    def __init__(self, client: Holder, raw: Mapping[str, Any]) -> None:
        self._client = client
        self.id = str(raw["id"])
        self.name = str(raw["name"])
        self.code = str(raw["code"])
        self.status = str(raw.get("status", ""))
        self.approved = bool(raw.get("approved", False))

    @property
    def _bridge(self) -> Bridge:
        return self._client._bridge

    @property
    def unsafe_function(self) -> Callable[..., Any]:
        """The function itself, to run in this very process on whatever it is given: read it first."""
        return local_function(self.code, self.name)

    @bridged
    async def __call__(self, /, *unnamed: Any, **inputs: Any) -> ActionObject:
        """Run the approved function at its domain, or get what was released before.

        Each input is an asset, a pointer, or the private value itself; only its digest is sent.
        Raises ``Pending``, ``Denied``, ``PolicyRefused`` or ``RunFailed``.
        """
        if unnamed:
            raise InvalidInput(f"{self.name} got an input without a name.", fix=f"Name it: {self.name}(data=asset)")
        named = {name: input_reference(value) for name, value in inputs.items()}
        answer = await self._client.door.call("code.call", id=self.id, inputs=named, timeout=RUN_TIMEOUT)
        return ActionObject(self._client, str(answer["execution"]))

    def fields(self) -> Mapping[str, Any]:
        """Its name, where it stands, and the code."""
        return {"id": self.id, "service_func_name": self.name, "status": self.status, "code": self.code}


class UserCodes(ShownList[UserCode]):
    """Submitted functions, each an attribute: ``client.code.compute_sum(data=asset)`` calls the newest of the name."""

    columns = ("id", "service_func_name", "status")

    def __getattr__(self, name: str) -> UserCode:
        for code in reversed(self.__dict__.get("_items", ())):
            if code.name == name:
                return code  # type: ignore[no-any-return]
        raise AttributeError(f"no function named {name!r} was submitted here")

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *(code.name for code in self)]


@dataclass(frozen=True, slots=True)
class UserCodeStatusChange(Shown):
    """What a code request asks to change: the status of its code."""

    link: UserCode

    def fields(self) -> Mapping[str, Any]:
        """The code, and where it stands."""
        return {"change": "status of code", "code": self.link.name, "status": self.link.status}

    def __repr__(self) -> str:
        return f"UserCodeStatusChange({clean(self.link.name)})"


class Changes(ShownList[UserCodeStatusChange]):
    """What a request asks to change."""

    columns = ("change", "code", "status")


class Request(Shown):
    """A code request as the domain holds it; a verdict brings this object up to date."""

    def __init__(self, client: Holder, raw: Mapping[str, Any]) -> None:
        self._client = client
        self._read(raw)

    def _read(self, raw: Mapping[str, Any]) -> None:
        self._raw = raw
        self.id = str(raw["id"])
        self.name = str(raw["name"])
        self.status = RequestStatus(raw["status"])
        self.reason = str(raw.get("reason") or "")
        self.purpose = str(raw.get("purpose") or "")
        self.requested_by = str(raw.get("requested_by") or "")
        self.mock_run: Mapping[str, Any] = raw.get("mock_run") or {}

    @property
    def _bridge(self) -> Bridge:
        return self._client._bridge

    @property
    def code(self) -> UserCode:
        """The function that it is about."""
        raw = {**self._raw, "id": self._raw["code_id"], "approved": self.status is RequestStatus.APPROVED}
        return UserCode(self._client, raw)

    @property
    def changes(self) -> Changes:
        """What approving it would change."""
        return Changes([UserCodeStatusChange(self.code)])

    @bridged
    async def approve(self) -> Request:
        """Let the function run on the private data, within its policies."""
        self._read(await self._client.door.call("request.approve", id=self.id))
        return self

    @bridged
    async def deny(self, reason: str) -> Request:
        """Say no, and why."""
        self._read(await self._client.door.call("request.deny", id=self.id, reason=reason))
        return self

    @bridged
    async def accept_by_depositing_result(self, result: Any) -> Request:
        """Answer with a result that the owner made; the function does not run."""
        self._read(await self._client.door.call("request.deposit", id=self.id, result=wire.pack_value(result)))
        return self

    def fields(self) -> Mapping[str, Any]:
        """Where it stands, who asks, and what the function did on the mock."""
        return {
            "id": self.id,
            "request_time": self._raw.get("request_time"),
            "updated_at": self._raw.get("updated_at"),
            "status": str(self.status),
            "purpose": self.purpose,
            "reason": self.reason,
            "changes": str(list(self.changes)),
            "requested_by": self.requested_by,
            "requesting_user_verify_key": self._raw.get("requesting_user_verify_key"),
            "mock_run": mock_run_text(self.mock_run),
        }


async def submit(client: Holder, function: GridFunction, *, project: str | None, reason: str) -> Request:
    """Send a function, signed by the client's key; the answer tells what it did on the mock."""
    if not isinstance(function, GridFunction):
        raise InvalidInput(
            f"{getattr(function, '__name__', function)!r} is not bound to any data.",
            fix="Decorate it: @grid_function(input_policy=ExactMatch(data=asset))",
        )
    asked: dict[str, Any] = {
        "project": project,
        "name": function.name,
        "code": function.code,
        "inputs": dict(function.input_policy.inputs),
        "input_policy": function.input_policy.kind,
        "output_policy": function.output_policy.kind,
        "reason": reason,
    }
    identity = client.door.identity
    signature = identity.sign(CODE_REQUEST, statement(**asked))
    call = client.door.call("request.create", **asked, key=identity.public, signature=signature, timeout=SUBMIT_TIMEOUT)
    return Request(client, await call)


class Requests(ShownList[Request]):
    """Code requests, oldest first."""

    columns = ("id", "request_time", "status", "function", "requested_by", "reason", "mock_run")

    def rows(self) -> Iterator[list[Any]]:
        """Short enough for one line each."""
        for item in self:
            fields = {**item.fields(), "status": item.status.value, "function": item.name}
            yield [fields[column] for column in self.columns]


def mock_run_text(report: Mapping[str, Any]) -> str:
    """One line on what the function did on the mock."""
    if not report:
        return "not run"
    if report.get("ok"):
        return f"ok: {clean(report.get('result_shape') or report.get('result') or 'a value')}"
    return f"failed: {clean(report.get('error') or 'no reason given')}"


def input_reference(value: Any) -> dict[str, str]:
    """How an input is named to a domain: by asset id, or by the digest of its content."""
    if isinstance(value, (HeldAsset, AssetPointer)):
        return {"asset": value.asset_id}
    return {"digest": assets.dump(value).meta.digest}


def local_function(code: str, name: str) -> Callable[..., Any]:
    """The function that submitted source defines, without its decorators, for the owner's own process."""
    import ast

    try:
        tree = ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise BadCode("The submitted code is no Python.") from error
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            node.decorator_list = []
    namespace: dict[str, Any] = {"__name__": "submitted"}
    exec(compile(tree, "<submitted code>", "exec"), namespace)  # noqa: S102 - the owner asked for just that
    function = namespace.get(name)
    if not callable(function):
        raise BadCode(f"The submitted code defines no function named {name}.")
    return function  # type: ignore[no-any-return]
