"""Reading what callers send: bytes in, checked values out, or an error with its cause."""

from __future__ import annotations

import base64
import binascii
import unicodedata
from dataclasses import dataclass
from typing import Any

from gateway.addresses import IPAddress, NodeAddress, parse_address
from gateway.asking import read_json
from gateway.settings import MAX_NAME, MAX_QUERY
from p2pgrid.errors import BadGatewayCall, BadNodeName, BadNodeProof, BadQuery, BadTag, Malformed, RemoteError
from p2pgrid.ids import normalise_tag
from p2pgrid.records import NodeRecord, verify_node

_MAX_SEQ = 2**63 - 1
"""The largest number that the registry's column holds."""


@dataclass(frozen=True, slots=True)
class JoinCall:
    """A join as the caller wrote it; ``record`` was verified, and proves ``name``."""

    name: str
    address: NodeAddress
    record: NodeRecord | None

    def vouched(self, ips: tuple[IPAddress, ...]) -> bool:
        """Whether the record itself names this address.

        Anybody can fetch a node's record and send it on with an address of their own; so it proves only what is in it:
        the HTTP doors that the node's key has signed for.
        """
        if self.record is None or not ips or self.address.path:
            return False
        doors = {(_door(entry.ip), entry.http) for entry in self.record.addresses if entry.http}
        return all((_door(str(ip)), self.address.port) in doors for ip in ips)


def _door(ip: str) -> str:
    # 127.0.0.1 and ::1 are the same machine, and "localhost" leads to either.
    return "loopback" if ip == "::1" or ip.startswith("127.") else ip


def read_object(raw: bytes) -> dict[str, Any]:
    """A JSON object.  Raises ``BadGatewayCall``."""
    try:
        value = read_json(raw)
    except Malformed:
        raise BadGatewayCall("The body is no JSON.") from None
    if not isinstance(value, dict):
        raise BadGatewayCall("The body is JSON, but no object.")
    return value


def read_join(raw: bytes, *, wall: float) -> JoinCall:
    """The body of ``POST /join``.  Raises an ``InvalidInput``."""
    body = read_object(raw)
    for key in ("node-id", "node-address"):
        if key not in body:
            raise BadGatewayCall(f"The body has no {key}.")
    name = read_name(body["node-id"])
    address = parse_address(body["node-address"])
    pair = body.get("record")
    return JoinCall(name, address, None if pair is None else _read_record(pair, name, wall))


def read_name(value: Any) -> str:
    """A node-id: 1 to 64 visible characters; single spaces may stand inside.  Raises ``BadNodeName``."""
    if not isinstance(value, str):
        raise BadNodeName("The node-id is no text.")
    if len(value) > 4 * MAX_NAME:
        raise BadNodeName(f"The node-id has {len(value)} characters; at most {MAX_NAME} are taken.")
    name = unicodedata.normalize("NFC", value)
    if not 1 <= len(name) <= MAX_NAME:
        raise BadNodeName(f"The node-id has {len(name)} characters; 1 to {MAX_NAME} are taken.")
    if any(char != " " and unicodedata.category(char)[0] in "CZ" for char in name):
        raise BadNodeName(f"The node-id {name!r} holds characters that cannot be seen.")
    if name != " ".join(name.split()):
        raise BadNodeName(f"The node-id {name!r} has spaces at an end, or several in a row.")
    return name


def _read_record(pair: Any, name: str, wall: float) -> NodeRecord:
    if not (isinstance(pair, list) and len(pair) == 2 and all(isinstance(part, str) for part in pair)):
        raise BadNodeProof("The record is no list of two base64 texts.")
    try:
        raw = [base64.b64decode(part, validate=True) for part in pair]
    except (binascii.Error, ValueError):
        raise BadNodeProof("The record is no list of two base64 texts.") from None
    try:
        record = verify_node(raw, now=wall).record
    except RemoteError as error:
        raise BadNodeProof(f"The record does not hold: {error.cause}") from None
    if name not in (record.id.hex(), unicodedata.normalize("NFC", record.name)):
        raise BadNodeProof("The record is of another node: its id and name are not this node-id.")
    if record.seq > _MAX_SEQ:
        raise BadNodeProof("The record's sequence number is out of range.")
    return record


def read_query(raw: bytes) -> tuple[list[str], str]:
    """The body of ``POST /search``: the tags as written, and ``all`` or ``any``.  Raises an ``InvalidInput``."""
    body = read_object(raw)
    if "query" not in body:
        raise BadGatewayCall("The body has no query.")
    query = body["query"]
    if not isinstance(query, list) or not all(isinstance(tag, str) for tag in query):
        raise BadQuery("The query is no list of texts.")
    if not 1 <= len(query) <= MAX_QUERY:
        raise BadQuery(f"The query has {len(query)} tags; 1 to {MAX_QUERY} are taken.")
    try:
        for tag in query:
            normalise_tag(tag)
    except BadTag as error:
        raise BadQuery(error.cause) from None
    match = body.get("match", "all")
    if match not in ("all", "any"):
        raise BadQuery("The match is neither all nor any.")
    return query, match
