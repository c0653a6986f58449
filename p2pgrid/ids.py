"""Node ids, the distance between them, and tags."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable
from typing import NewType

from p2pgrid.errors import BadNodeId, BadTag

ID_BYTES = 20
"""Width of the id space: 160 bits, as in Kademlia (Maymounkov and Mazieres, 2002) and its Python package."""

TAG_MAX = 64
NAME_MAX = 64
NAME_PATTERN = r"\w([\w .@-]*[\w.@-])?"
"""What a node may be called: the name is a folder's name, and is shown to everybody."""

NodeId = NewType("NodeId", bytes)
Tag = NewType("Tag", str)

_LEADING = re.compile(r"^[#\s]+")
_BETWEEN = re.compile(r"[\s,]+")
_AROUND = re.compile(r"^\w+://|/.*$")
_GAPS = re.compile(r"[\s_]")
_PLAIN = re.compile(r"[a-z0-9.+-]{1,64}")
"""Tags that are in their one form without a further look: nothing in them has another form."""
_UNSHOWN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
_BLANK = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180d\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
"""What shows nothing: Unicode's Default_Ignorable_Code_Point beyond ``_UNSHOWN``, and blank Braille."""


def node_id(public_key: bytes) -> NodeId:
    """First 20 bytes of BLAKE2b-256 over a 32-byte Ed25519 public key."""
    return NodeId(hashlib.blake2b(public_key, digest_size=32).digest()[:ID_BYTES])


def parse_node_id(text: str) -> NodeId:
    """A node id from its 40 hexadecimal digits.  Raises ``BadNodeId``."""
    try:
        raw = bytes.fromhex(text.strip())
    except ValueError:
        raw = b""
    if len(raw) != ID_BYTES:
        raise BadNodeId(f"{text[:60]!r} is no node id.")
    return NodeId(raw)


def distance(a: bytes, b: bytes) -> int:
    """XOR of two ids read as big-endian integers."""
    return int.from_bytes(a, "big") ^ int.from_bytes(b, "big")


def short(an_id: bytes) -> str:
    """The first eight hexadecimal digits, for tables and log lines."""
    return an_id.hex()[:8]


def normalise_tag(raw: str) -> Tag:
    """The one form of a tag: ``#MNIST``, ``mnist`` and ``Mnist `` are the same.

    NFKC, casefold, trim, leading ``#`` dropped, spaces and underscores to ``-``; 1 to 64 characters, none of
    them invisible (control and format characters would let two tags look alike).  Raises ``BadTag``.
    """
    if not isinstance(raw, str):
        raise BadTag(f"A tag is a text, not {type(raw).__name__}.")
    if _PLAIN.fullmatch(raw):
        return Tag(raw)
    if len(raw) > 4 * TAG_MAX:
        raise BadTag(f"A tag of {len(raw)} characters is too long.")
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", raw).casefold())
    text = _GAPS.sub("-", _LEADING.sub("", text.strip()))
    if not 1 <= len(text) <= TAG_MAX:
        raise BadTag(f"{raw[:80]!r} has {len(text)} characters as a tag.")
    if _BLANK.search(text) or any(unicodedata.category(char) in _UNSHOWN for char in text):
        raise BadTag(f"{raw[:80]!r} holds characters that cannot be shown.")
    return Tag(text)


def normalise_tags(raw: Iterable[str]) -> tuple[Tag, ...]:
    """Each tag once, in the order given; a text is one tag, not a row of letters."""
    raw = (raw,) if isinstance(raw, str) else raw
    return tuple(dict.fromkeys(normalise_tag(tag) for tag in raw))


def host_ports(raw: str | Iterable[str]) -> tuple[str, ...]:
    """host:port texts from one text (commas or spaces between them) or several; a URL's scheme and path are dropped."""
    texts = _BETWEEN.split(raw) if isinstance(raw, str) else raw
    return tuple(_AROUND.sub("", str(text).strip()) for text in texts if str(text).strip())


def tag_key(tag: Tag) -> NodeId:
    """Where a tag lives in the id space: BLAKE2b-160 of the normalised tag, keyed apart from node ids."""
    return NodeId(hashlib.blake2b(tag.encode(), digest_size=ID_BYTES, person=b"p2pgrid-tag").digest())
