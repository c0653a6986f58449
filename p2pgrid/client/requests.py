"""Code requests, their verdicts, and the results that came of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from p2pgrid import assets, crypto, wire
from p2pgrid.client.bridge import Bridge, bridged, bridged_property
from p2pgrid.client.door import RUN_TIMEOUT, Holder
from p2pgrid.client.functions import GridFunction
from p2pgrid.client.held import AssetPointer, HeldAsset
from p2pgrid.client.jobs import Job
from p2pgrid.client.policies import rule_wires, value_wire
from p2pgrid.client.runs import printed
from p2pgrid.client.show import Code, Diff, NoSuchName, Shown, ShownList, clean
from p2pgrid.domain.policies import Rule
from p2pgrid.domain.review import statement
from p2pgrid.errors import BadCode, BadSignature, InvalidInput, Malformed, NotFound

CODE_REQUEST: Final = b"code-request"
CONFINED: Final = {
    "strong": "tier strong",
    "kernel": "tier kernel: without namespaces",
    "none": "none: the node's owner lets approved code run unconfined",
}
SELDOM: Final = frozenset({"policy_state", "printed on the mock", "private_run", "printed on the data"})
"""Fields of a request that are shown only where there is something in them."""
SHOWN_OUTPUT: Final = 2_000
"""Characters of what a run printed that a request shows; ``request.mock_run["output"]`` has all."""
SUBMIT_TIMEOUT: Final = 120.0
"""Seconds: the answer waits for the run on the mock."""


class RequestStatus(Enum):
    """Where a request stands."""

    PENDING = "PENDING"
    APPROVED = "APPROVED"
    DENIED = "DENIED"


class ActionObject(Shown):
    """A result that a domain released, or, as ``ActionObject.empty()``, the absence of a mock."""

    def __init__(self, client: Holder, execution: str, result: bytes | None = None) -> None:
        self._client, self._result = client, result
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
        if self._result is not None:  # it came with the call's answer
            return wire.unpack_value(self._result)
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
        self._values = {str(name) for name in raw.get("values") or ()}

    @property
    def _bridge(self) -> Bridge:
        return self._client._bridge

    @property
    def unsafe_function(self) -> Callable[..., Any]:
        """The function itself, to run in this very process on whatever it is given: read it first."""
        return local_function(self.code, self.name)

    @bridged
    async def __call__(self, /, *unnamed: Any, blocking: bool = True, **inputs: Any) -> Any:
        """Run the approved function at its domain, or get what was released before: an ``ActionObject``.

        Each input is an asset, a pointer, or the private value itself, of which only the digest is sent; and a value of
        one's own where the input policy asks for one.
        With ``blocking=False`` the run is queued, and the answer is its ``Job``.
        Raises ``Pending``, ``Denied``, ``PolicyRefused`` or ``RunFailed``.
        """
        if unnamed:
            raise InvalidInput(f"{self.name} got an input without a name.", fix=f"Name it: {self.name}(data=asset)")
        named = {
            name: {"value": value_wire(value)} if name in self._values else input_reference(value)
            for name, value in inputs.items()
        }
        if not blocking:
            return Job(self._client, await self._client.door.call("job.start", id=self.id, inputs=named))
        answer = await self._client.door.call("code.call", id=self.id, inputs=named, timeout=RUN_TIMEOUT)
        result = answer.get("result")
        return ActionObject(self._client, str(answer["execution"]), result if isinstance(result, bytes) else None)

    @bridged
    async def run_on_mock(self) -> Job:
        """Queue a run on the mock, whose output its author may read while it runs."""
        return Job(self._client, await self._client.door.call("job.start", id=self.id, on="mock"))

    def fields(self) -> Mapping[str, Any]:
        """Its name, where it stands, and the code."""
        return {"id": self.id, "service_func_name": self.name, "status": self.status, "code": Code(self.code)}


class UserCodes(ShownList[UserCode]):
    """Submitted functions, each an attribute: ``client.code.compute_sum(data=asset)`` calls the newest of the name."""

    columns = ("id", "service_func_name", "status")
    heading = "Code"

    def __getattr__(self, name: str) -> UserCode:
        for code in reversed(self.__dict__.get("_items", ())):
            if code.name == name:
                return code  # type: ignore[no-any-return]
        raise NoSuchName(
            f"No function named {name!r} was submitted here.", fix="Look at client.code for those that were."
        )

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
    heading = "Changes"


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
        self.environment = str(raw.get("environment") or "")
        self.note = str(raw.get("note") or "")
        self.requested_by = str(raw.get("requested_by") or "")
        self.mock_run: Mapping[str, Any] = raw.get("mock_run") or {}
        self.private_run: Mapping[str, Any] = raw.get("private_run") or {}
        self.policy_state = str(raw.get("policy_state") or "")

    @property
    def _bridge(self) -> Bridge:
        return self._client._bridge

    @property
    def code(self) -> UserCode:
        """The function that it is about."""
        raw = {**self._raw, "id": self._raw["code_id"], "approved": self.status is RequestStatus.APPROVED}
        raw["values"] = value_names(self._raw.get("input_policy"))
        return UserCode(self._client, raw)

    @property
    def changes(self) -> Changes:
        """What approving it would change."""
        return Changes([UserCodeStatusChange(self.code)])

    @bridged_property
    async def review(self) -> Review:
        """What is new in it since its author's last version, and what its policies let in and out, in words."""
        return Review(await self._client.door.call("request.review", id=self.id))

    @bridged
    async def approve(self, run_now: bool = False, rules: Iterable[Rule] = ()) -> Request:
        """Let the function run on the private data, within its policies and ``rules``, when its author calls.

        ``run_now``: run it first, and approve only if there is a result; ``ready_result`` shows it to the owner, and
        its author's call releases it.
        """
        args: dict[str, Any] = {"id": self.id, "rules": rule_wires(rules)}
        if run_now:
            self._read(await self._client.door.call("request.run", **args, timeout=RUN_TIMEOUT))
        else:
            self._read(await self._client.door.call("request.approve", **args))
        return self

    @bridged
    async def withdraw(self) -> Request:
        """Undo the verdict: the request waits again.  Not after a release, which is for good."""
        self._read(await self._client.door.call("request.withdraw", id=self.id))
        return self

    @bridged_property
    async def ready_result(self) -> Any:
        """The value that waits to be released, for the owner.  Raises ``NotFound``."""
        ready = self._raw.get("ready")
        if not ready:
            raise NotFound("No result of this request waits to be released.", fix="Approve it with run_now=True.")
        return await self._client.door.read_result(str(ready))

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

    @bridged
    async def verify_signature(self) -> str:
        """Check that who asks has signed this very code and these inputs, for this node; the key that did.

        Raises ``BadSignature``.  The key is in the audit log's entry of the login that it was sent from.
        """
        proof = await self._client.door.call("request.proof", id=self.id)
        return check_proof(proof, self._raw, self._client.door.node)

    def fields(self) -> Mapping[str, Any]:
        """Where it stands, who asks for what, what the function did in its runs, and its code."""
        told = {
            "id": self.id,
            "function": self.name,
            "request_time": self._raw.get("request_time"),
            "updated_at": self._raw.get("updated_at"),
            "status": self.status.value,
            "purpose": self.purpose,
            "environment": self.environment,
            "reason": self.reason,
            "note": self.note,
            "changes": f"status of the code {self.name}",
            "requested_by": self.requested_by,
            "requesting_user_verify_key": self._raw.get("requesting_user_verify_key"),
            "inputs": "\n".join(f"{name} = {asset}" for name, asset in (self._raw.get("inputs") or {}).items()),
            "input_policy": policy_text(self._raw.get("input_policy")),
            "output_policy": policy_text(self._raw.get("output_policy")),
            "policy_state": self.policy_state,
            "confinement": CONFINED.get(str(self._raw.get("tier")), ""),
            "mock_run": mock_run_text(self.mock_run),
            "printed on the mock": printed(self.mock_run, SHOWN_OUTPUT),
            "private_run": mock_run_text(self.private_run) if self.private_run else "",
            "printed on the data": printed(self.private_run, SHOWN_OUTPUT),
            "code": Code(self._raw.get("code") or ""),
        }
        return {name: value for name, value in told.items() if value or name not in SELDOM}


class Review(Shown):
    """What a reviewer wants to know besides the code."""

    def __init__(self, raw: Mapping[str, Any]) -> None:
        self.against = str(raw.get("against") or "")
        self.earlier = [str(item["id"]) for item in raw.get("earlier") or ()]
        self.diff = Diff(raw.get("diff") or "")
        self.new_imports = [str(name) for name in raw.get("new_imports") or ()]
        self.new_calls = [str(name) for name in raw.get("new_calls") or ()]
        self.lets_in = [str(line) for line in raw.get("lets_in") or ()]
        self.lets_out = [str(line) for line in raw.get("lets_out") or ()]
        self.policy_code = Code("\n\n".join(str(item["code"]) for item in raw.get("policy_code") or ()))

    def fields(self) -> Mapping[str, Any]:
        """The diff last, since it is long."""
        shown: dict[str, Any] = {
            "lets_in": "\n".join(self.lets_in),
            "lets_out": "\n".join(self.lets_out),
            "earlier versions": len(self.earlier),
        }
        if self.against:
            shown["new imports"] = ", ".join(self.new_imports)
            shown["new calls"] = ", ".join(self.new_calls)
            shown["diff"] = self.diff
        return {**shown, "policy code": self.policy_code} if self.policy_code else shown


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
        "input_policy": function.input_policy.to_wire(),
        "output_policy": function.output_policy.to_wire(),
        "reason": reason,
        "environment": function.environment,
    }
    identity = client.door.identity
    signature = identity.sign(CODE_REQUEST, statement(node=client.door.node, account=client.email, **asked))
    call = client.door.call("request.create", **asked, key=identity.public, signature=signature, timeout=SUBMIT_TIMEOUT)
    return Request(client, await call)


def check_proof(proof: Mapping[str, Any], shown: Mapping[str, Any], node: str) -> str:
    """The key that signed what ``shown`` shows of a request to ``node``.  Raises ``BadSignature`` or ``Malformed``."""
    try:
        said, key = wire.unpack(proof["statement"], limit=wire.MAX_VALUE_BYTES), bytes(proof["key"])
        crypto.verify(key, CODE_REQUEST, proof["statement"], proof["signature"])
        signed = {name: said[name] for name in ("node", "account", "name", "code", "inputs", "environment")}
    except (KeyError, TypeError, ValueError) as error:
        raise Malformed("The proof of a request cannot be read.") from error
    told = {
        **{name: shown[name] for name in ("name", "code", "inputs", "environment")},
        "account": shown["requested_by"],
        "node": node,
    }
    wrong = sorted(name for name in told if told[name] != signed[name])
    if wrong:
        raise BadSignature(f"What was signed is not what is shown: {', '.join(wrong)}.")
    return key.hex()


class Requests(ShownList[Request]):
    """Code requests, oldest first."""

    columns = ("id", "request_time", "status", "function", "requested_by", "purpose", "mock_run")
    heading = "Requests"


def mock_run_text(report: Mapping[str, Any]) -> str:
    """One line on what the function did in a run, such as the one on the mock."""
    if not report:
        return "not run"
    if report.get("ok"):
        kept = f"; {clean(report['policy'])}" if "back" in str(report.get("policy") or "") else ""
        return f"ok: {clean(report.get('result_shape') or report.get('result') or 'a value')}{kept}"
    return f"failed: {clean(report.get('error') or 'no reason given')}"


def policy_text(raw: Any) -> str:
    """A policy in one line: its name, a class's name, and its limit and rules."""
    if not isinstance(raw, Mapping):
        return str(raw or "")
    rules = ", ".join(str(rule.get("kind")) for rule in raw.get("rules") or ())
    parts = [str(raw[key]) for key in ("name", "limit") if raw.get(key)] + [rules] * bool(rules)
    return str(raw.get("kind", "")) + (f"({', '.join(parts)})" if parts else "")


def value_names(raw: Any) -> list[str]:
    """The arguments that an input policy gives no asset but a value."""
    return [*raw.get("constants", ()), *raw.get("user_owned", ())] if isinstance(raw, Mapping) else []


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
