"""The one error tree: whose fault it is, what went wrong, what to do, and a stable code.

``LocalError`` is ours or our user's: it surfaces with a cause and a fix.  ``RemoteError`` is a peer's: whoever
meets it drops what the peer sent, counts it, and goes on.  Codes never change meaning; ``docs/errors.md``
lists them all.
"""

from __future__ import annotations

from typing import Any, ClassVar


class P2PError(Exception):
    """Root of the tree.

    ``cause`` says what happened in one sentence; ``fix`` says what a person can do about it.  ``exit_code``
    is what the command line ends with: 1 failed, 2 wrong use, 3 nothing found, 4 not reachable in time.
    """

    code: ClassVar[str] = "P2P-0000"
    default_fix: ClassVar[str] = "Report this with the command that led to it."
    exit_code: ClassVar[int] = 1

    def __init__(self, cause: str, *, fix: str | None = None) -> None:
        super().__init__(cause)
        self.cause = cause
        self.fix = fix or self.default_fix

    def __str__(self) -> str:
        return f"{self.cause} Fix: {self.fix} [{self.code}]"

    def _render_traceback_(self) -> list[str]:
        """What a notebook shows instead of a traceback through our own rooms (IPython's protocol)."""
        return [f"{type(self).__name__} [{self.code}]: {self.cause}", f"Fix: {self.fix}"]

    def to_wire(self) -> dict[str, str]:
        """The error as three strings, for an answer to a peer or ``--json``."""
        return {"code": self.code, "cause": self.cause, "fix": self.fix}


# ---------------------------------------------------------------- ours


class LocalError(P2PError):
    """Something here must change: an argument, a file, a setting, or the program."""

    code = "P2P-0001"


class InvalidInput(LocalError):
    """A value given by a caller or a file is not what is needed."""

    code = "P2P-0002"
    default_fix = "Correct the value and try again."
    exit_code = 2


class MissingExtra(LocalError):
    """An optional package is needed and not installed."""

    code = "P2P-0003"
    default_fix = "Install it with: pip install 'p2pgrid[frames]'"
    exit_code = 2


class InternalError(LocalError):
    """A fault of p2pgrid itself; the answer to a peer carries no more than that."""

    code = "P2P-0004"
    default_fix = "Look in the node's log; if it repeats, report it with that log."


class BadTag(InvalidInput):
    """A tag is empty, too long, or holds characters that cannot be shown."""

    code = "P2P-0010"
    default_fix = "Use 1 to 64 visible characters, such as #mnist."


class BadNodeId(InvalidInput):
    """A text is no node id."""

    code = "P2P-0011"
    default_fix = "Give the 40 hexadecimal digits that 'p2pgrid id' prints."


class BadAddress(InvalidInput):
    """A text is no host:port or URL."""

    code = "P2P-0012"
    default_fix = "Write it as host:port, for example 127.0.0.1:8080."


class BadConfig(InvalidInput):
    """A setting has a value that cannot be used."""

    code = "P2P-0013"
    default_fix = "Correct the setting in config.toml, the environment or the option."


class HomeInUse(LocalError):
    """A live node already owns this home folder."""

    code = "P2P-0020"
    default_fix = "Stop it with 'p2pgrid land NAME', or launch under another name."


class BadHome(LocalError):
    """A home folder, or a key file, cannot be made, read or trusted."""

    code = "P2P-0021"
    default_fix = "Check the folder's owner and permissions, or choose another with --home."


class PortTaken(LocalError):
    """The port is in use by another program."""

    code = "P2P-0022"
    default_fix = "Choose another with --port, or --port 0 for any free one."


class UnknownNode(LocalError):
    """No node of that name lives in the home folder, or none is running."""

    code = "P2P-0023"
    default_fix = "List them with 'p2pgrid check', start one with 'p2pgrid launch NAME'."
    exit_code = 3


class DefaultPassword(LocalError):
    """A node that others can reach still has the default password."""

    code = "P2P-0024"
    default_fix = "Set one: export P2PGRID_OWNER_PASSWORD=..., or launch with --host 127.0.0.1."
    exit_code = 2


class NoBootstrap(LocalError):
    """None of the given bootstrap addresses answered, or none is known."""

    code = "P2P-0200"
    default_fix = "Check that a node runs at that address: p2pgrid check http://HOST:PORT"
    exit_code = 4


class Unreachable(LocalError):
    """A node, gateway or peer did not answer in time."""

    code = "P2P-0201"
    default_fix = "Check the address and that the node is up: p2pgrid check http://HOST:PORT"
    exit_code = 4


class NotFound(LocalError):
    """The thing asked for does not exist, or the caller may not know of it."""

    code = "P2P-0400"
    default_fix = "Check the name or id."
    exit_code = 3


class Conflict(LocalError):
    """The thing exists already, or is in a state that does not allow this."""

    code = "P2P-0401"
    default_fix = "Look at its present state and choose another name or step."


class NotAllowed(LocalError):
    """The caller's role does not allow this."""

    code = "P2P-0402"
    default_fix = "Log in as somebody who may, or ask the data owner."


class WrongLogin(LocalError):
    """The e-mail and password, or the key, do not belong to an account here."""

    code = "P2P-0403"
    default_fix = "Check e-mail and password, or ask the data owner to register you."


class TooLarge(LocalError):
    """A value is over a named limit."""

    code = "P2P-0404"
    default_fix = "Send less, or ask the node's owner to raise the limit."


class PolicyRefused(LocalError):
    """An input or output policy does not allow this run or release."""

    code = "P2P-0405"
    default_fix = "Call the function with the inputs that its request names, within its policy."


class Pending(LocalError):
    """The request has not been decided yet."""

    code = "P2P-0406"
    default_fix = "Wait for the data owner; look with 'p2pgrid requests list'."


class Denied(LocalError):
    """The data owner denied the request; the cause carries the reason."""

    code = "P2P-0407"
    default_fix = "Change the function so that it answers the reason, and submit it again."


class StorageError(LocalError):
    """The database or an asset file cannot be read or written."""

    code = "P2P-0408"
    default_fix = "Check free space and permissions of the node's home; the log names the file."


class TooManyTries(LocalError):
    """Too many logins, or tries at a secret, failed from one place."""

    code = "P2P-0409"
    default_fix = "Wait as long as the cause says, then try again."


class DamagedLog(LocalError):
    """An audit log in which entries were changed, removed, inserted or moved."""

    code = "P2P-0420"
    default_fix = "Compare it with an exported copy; find out who could write to the node's database."


class JobCancelled(LocalError):
    """A job that somebody ended before it had a result."""

    code = "P2P-0430"
    default_fix = "Queue it again: job.retry(), or p2pgrid jobs retry JOB."


class JobInterrupted(LocalError):
    """A job whose node stopped while it ran."""

    code = "P2P-0431"
    default_fix = "Queue it again: job.retry(), or p2pgrid jobs retry JOB."


class ForeignOrigin(NotAllowed):
    """A web page of another site tries to use the node through somebody's browser."""

    code = "P2P-0302"
    default_fix = "Call the node by localhost or 127.0.0.1 on its own machine, elsewhere by the address it listens at."


class BadCode(InvalidInput):
    """Submitted code is not one plain function."""

    code = "P2P-0600"
    default_fix = "Send the source of one 'def' whose imports stand inside it."


class RunFailed(LocalError):
    """Submitted code raised an error, or ended without a result."""

    code = "P2P-0601"
    default_fix = "Run the function on the mock first: it must return a value."


class LimitExceeded(LocalError):
    """Submitted code was stopped at a limit of its run."""

    code = "P2P-0602"
    default_fix = "Use less time, memory or output, or ask the owner to raise the limit."


class NotConfined(LocalError):
    """This machine cannot run submitted code apart from the node."""

    code = "P2P-0603"
    default_fix = "Run it yourself and deposit the result."


class BadValue(InvalidInput):
    """A value has a type that cannot be stored or sent (nothing is ever pickled)."""

    code = "P2P-0700"
    default_fix = "Use numpy arrays, pandas frames, bytes, text, or JSON values."


class PrivateData(NotAllowed):
    """Private data was asked for by somebody who is not its owner."""

    code = "P2P-0701"
    default_fix = "Use asset.mock to try code, and pass the asset itself to an approved function."


class NoMock(NotFound):
    """The asset has no mock."""

    code = "P2P-0702"
    default_fix = "Ask the data owner for one; its shape and type are in the asset's description."


class NotLoggedIn(NotAllowed):
    """The call needs an account."""

    code = "P2P-0703"
    default_fix = "Log in first: p2pgrid.login(port=..., email=..., password=...)"


class SessionEnded(NotLoggedIn):
    """The session is over: by age, by silence, or because somebody ended it."""

    code = "P2P-0704"
    default_fix = "Log in again."


class GatewayRefused(LocalError):
    """The gateway answered, and did not take the call."""

    code = "P2P-0800"
    default_fix = "Read the cause; check the address that your node tells the gateway."


class BadGatewayCall(InvalidInput):
    """The body of a call to the gateway is not the JSON that the call takes."""

    code = "P2P-0801"
    default_fix = "Send the JSON object that docs/gateway.md shows for this call."


class BadNodeName(InvalidInput):
    """A node-id told to the gateway is no short visible text."""

    code = "P2P-0802"
    default_fix = "Use 1 to 64 visible characters, for example Bob."


class BadNodeAddress(InvalidInput):
    """A node-address told to the gateway is no plain http or https URL."""

    code = "P2P-0803"
    default_fix = "Write it as http://HOST:PORT, without user, query or fragment."


class AddressRefused(InvalidInput):
    """A node-address lies where this gateway does not go."""

    code = "P2P-0804"
    default_fix = "Join with a public address; for a private network start the gateway with --allow-private."


class BadQuery(InvalidInput):
    """A search query is no short list of tags."""

    code = "P2P-0805"
    default_fix = 'Send {"query": ["#mnist"]} with 1 to 16 tags.'


class NameTaken(Conflict):
    """The node-id belongs to another node, and the caller did not prove to be that one."""

    code = "P2P-0806"
    default_fix = "Join under another node-id, or with a record signed by the node's key that names the address."


class BadNodeProof(InvalidInput):
    """The signed record sent with a join does not prove the node-id."""

    code = "P2P-0807"
    default_fix = "Send the record that the node's GET /identity answers with, and its name or id as node-id."


class TooManyCalls(LocalError):
    """One address calls the gateway more often than its share."""

    code = "P2P-0808"
    default_fix = "Wait a few seconds and call again."


class GatewayFull(LocalError):
    """The gateway has reached a named limit of nodes or of searches under way."""

    code = "P2P-0809"
    default_fix = "Try again later, or use another gateway."


class CallTooLarge(TooLarge):
    """The body of a call to the gateway is over its limit."""

    code = "P2P-0810"
    default_fix = "Send at most 64 KiB."


class NoSuchCall(NotFound):
    """The gateway has no such path, or the path does not take that method."""

    code = "P2P-0811"
    default_fix = "The calls are listed in docs/gateway.md."


class ForeignPage(NotAllowed):
    """A web page of another site tries to use the gateway through somebody's browser."""

    code = "P2P-0812"
    default_fix = "Call the gateway by its own address; behind a proxy start it with --public."


class WrongUse(InvalidInput):
    """A command line that cannot be understood."""

    code = "P2P-0900"
    default_fix = "Look at: p2pgrid --help"


class CannotWrite(LocalError):
    """A file that was asked for cannot be written."""

    code = "P2P-0901"
    default_fix = "Choose another file with --out."


class NotInTime(LocalError):
    """What was waited for did not happen before the deadline."""

    code = "P2P-0902"
    default_fix = "Wait longer with --timeout SECONDS."
    exit_code = 4


class NothingFound(NotFound):
    """A search or a list is empty."""

    code = "P2P-0903"
    default_fix = "Try another tag, or ask another part of the grid with --bootstrap HOST:PORT."


class LaunchFailed(LocalError):
    """A node started in the background ended without saying why."""

    code = "P2P-0904"
    default_fix = "Run it in the foreground to see more: p2pgrid launch NAME"


class BrokenInvariant(LocalError):
    """A simulated node did what no node may do."""

    code = "P2P-0500"
    default_fix = "Report it with the experiment, its parameters and its seed; it happens again with the same."


class BadExperiment(InvalidInput):
    """No such experiment, or parameters that it cannot run with."""

    code = "P2P-0501"
    default_fix = "List the experiments and their parameters with: p2pgrid simulate --list"


# ---------------------------------------------------------------- theirs


class RemoteError(P2PError):
    """A peer sent what no honest, current peer sends: drop it, count it, go on.

    ``reason`` is the short word under which it is counted.
    """

    code = "P2P-0100"
    default_fix = "Nothing to do here: what the peer sent was dropped."
    reason: ClassVar[str] = "remote"


class Malformed(RemoteError):
    """Bytes that are no message of the protocol."""

    code = "P2P-0101"
    reason = "malformed"


class Oversized(RemoteError):
    """A message or a field over its limit."""

    code = "P2P-0102"
    reason = "oversized"


class BadSignature(RemoteError):
    """A signature that does not fit its key and bytes."""

    code = "P2P-0103"
    reason = "bad-signature"


class BadSeal(RemoteError):
    """A sealed packet or frame that does not open."""

    code = "P2P-0104"
    reason = "bad-seal"


class Replayed(RemoteError):
    """A packet, frame or handshake that was seen before."""

    code = "P2P-0105"
    reason = "replayed"


class Expired(RemoteError):
    """A record outside its time."""

    code = "P2P-0106"
    reason = "expired"


class RolledBack(RemoteError):
    """A record older than one already held."""

    code = "P2P-0107"
    reason = "rolled-back"


class WrongIdentity(RemoteError):
    """A peer whose key is not the one that was asked for."""

    code = "P2P-0108"
    reason = "wrong-identity"


class LimitReached(RemoteError):
    """A peer asks for more than its share of a bounded table or queue."""

    code = "P2P-0109"
    reason = "limit"


class Flooded(RemoteError):
    """A peer sends more than its share; what is over it is dropped before it is opened."""

    code = "P2P-0202"
    reason = "flooded"


class LinkClosed(RemoteError):
    """The peer closed the link while an answer was awaited."""

    code = "P2P-0110"
    default_fix = "Connect again; if it repeats, look at the other node's log."
    reason = "closed"
    exit_code = 4


class UnknownVersion(RemoteError):
    """A peer that speaks another version of the link protocol."""

    code = "P2P-0301"
    default_fix = "Bring both sides to the same version of p2pgrid."
    reason = "version"


# ---------------------------------------------------------------- the index


def all_errors(root: type[P2PError] = P2PError) -> dict[str, type[P2PError]]:
    """Every error class below ``root``, by its code: of those that share one, the class that gave it."""
    found: dict[str, type[P2PError]] = {}
    for child in root.__subclasses__():
        found.update(all_errors(child))
    return {**found, root.code: root}


def from_wire(raw: Any) -> P2PError:
    """Rebuild the error that a peer answered with; an unknown code becomes a plain ``RemoteError``."""
    if not isinstance(raw, dict):
        return RemoteError("The peer answered with an error that cannot be read.")
    cause = _visible(str(raw.get("cause", "no cause given"))[:2000])
    kind = all_errors().get(str(raw.get("code", "")), RemoteError)
    return kind(cause, fix=_visible(str(raw.get("fix", ""))[:500]) or None)


def _visible(text: str) -> str:
    """A stranger's text without what would steer a terminal: everything but lines and visible characters escaped."""
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)
