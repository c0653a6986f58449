"""Which tags the grid has: a sample over peers spread across the id space, and what a person may have meant.

What peers name is hearsay, and nothing is signed: a tag counts by how many address groups name it, a peer is drawn
from as often as every other, and a single voice fills but a part of what is shown.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Final

from p2pgrid.dht.calls import Call
from p2pgrid.dht.contacts import Contact, may_tell, share_of
from p2pgrid.dht.messages import MAX_TAGS, Answer, FindNode, Nodes, SampleTags, Tags
from p2pgrid.dht.operations import MAKE_CALL, Asker, Operation
from p2pgrid.errors import RemoteError
from p2pgrid.ids import ID_BYTES, Tag

POINTS: Final = 16
"""Places of the id space around which peers are asked."""
MOST_PEERS: Final = 32
"""Peers that one sample draws from."""
MOST_DRAWS: Final = 128
"""Draws of one sample from all of them, 32 tags each at most."""
MOST_EACH: Final = 512
"""Tags that count of one peer."""
MOST_HEARD: Final = 256
"""Contacts that one sample remembers."""
MOST_OF_GROUP: Final = 2
"""Peers of one address group among those drawn from."""
AT_ONCE: Final = 8
"""Requests of one sample in flight."""
SHARE: Final = 4
"""Tags that nobody but one address group names fill at most one part in so many, while there are others."""
LIKE: Final = 0.7
"""Similarity (0 to 1, as ``difflib`` counts it) from which a tag may be a misspelling: one wrong letter of four."""

OWN: Final = b""
"""The voice of our own store."""


@dataclass(frozen=True, slots=True)
class TagSample:
    """A tag of the grid.  ``seen``: how many address groups named it, of the few that were asked."""

    tag: Tag
    seen: int


class Source:
    """One peer, and what it named so far."""

    __slots__ = ("contact", "group", "tags")

    def __init__(self, contact: Contact) -> None:
        self.contact = contact
        self.group = share_of(contact.endpoint)
        self.tags: set[Tag] = set()


class Sample(Operation):
    """Draw tags from peers near evenly spaced points; ``named`` grows until ``ended`` is called."""

    __slots__ = ("_draws", "_ended", "_finds", "_flying", "_free", "_groups", "_heard", "_points", "_sources", "named")

    def __init__(self, asker: Asker, offset: int, own: Collection[Tag], ended: Callable[[float], None]) -> None:
        """``offset``: any number; it turns the points, so that two samples ask different peers."""
        super().__init__(asker)
        step = 2 ** (8 * ID_BYTES) // POINTS
        self._points = [offset % step + number * step for number in range(POINTS)]
        self._ended = ended
        self._finds: deque[tuple[Contact, int]] = deque()
        self._heard: dict[bytes, Contact] = {}
        self._sources: dict[bytes, Source] = {}
        self._free: deque[Source] = deque()
        """Sources that may be drawn from again, the least drawn from first."""
        self._groups: Counter[bytes] = Counter()
        self._flying = 0
        self._draws = MOST_DRAWS
        self.named: dict[Tag, set[bytes]] = {tag: {OWN} for tag in own}
        """Every tag heard, and the address groups that named it."""

    def begin(self, now: float) -> None:
        """Start from what is known."""
        for point in self._points:
            near = self.asker.seeds(point.to_bytes(ID_BYTES, "big"))
            for contact in near:
                self._heard.setdefault(contact.id, contact)
            if near:
                self._finds.append((near[0], point))
        self._step(now)

    def answered(self, call: Call, answer: Answer, now: float) -> None:
        if self.over:
            return
        self._flying -= 1
        if isinstance(answer, Nodes):
            self._hear(call.contact, answer.contacts)
        elif isinstance(answer, Tags):
            self._take(self._sources[call.contact.id], answer)
        self._step(now)

    def failed(self, call: Call, now: float) -> None:
        if not self.over:
            self._flying -= 1
            self._step(now)

    def _step(self, now: float) -> None:
        while not self.over and self._flying < AT_ONCE:
            if self._finds:
                contact, point = self._finds.popleft()
                self._flying += 1
                self.asker.ask(contact, FindNode(MAKE_CALL, point.to_bytes(ID_BYTES, "big")), self, now)
            elif (source := self._next()) is not None:
                self._flying += 1
                self._draws -= 1
                self.asker.ask(source.contact, SampleTags(MAKE_CALL, MAX_TAGS), self, now)
            else:
                break
        if not self.over and not self._flying:
            self.close()
            self._ended(now)

    def _next(self) -> Source | None:
        """Whom to draw from: somebody new while there are some, then each in turn who had more."""
        if self._draws <= 0:
            return None
        if len(self._sources) < MOST_PEERS and (fresh := self._fresh()) is not None:
            source = self._sources[fresh.id] = Source(fresh)
            self._groups[source.group] += 1
            return source
        return self._free.popleft() if self._free else None

    def _fresh(self) -> Contact | None:
        """The nearest to the next point of those not asked yet whose address group has room."""
        point = self._points[len(self._sources) % POINTS]
        fits = [
            contact
            for contact in self._heard.values()
            if contact.id not in self._sources and self._groups[share_of(contact.endpoint)] < MOST_OF_GROUP
        ]
        return min(fits, key=lambda contact: contact.long_id ^ point, default=None)

    def _hear(self, teller: Contact, told: Sequence[bytes]) -> None:
        for packed in told:
            if len(self._heard) >= MOST_HEARD:
                return
            try:
                contact = Contact.unpack(packed)
            except RemoteError as error:
                self.asker.blame(error)
                continue
            if contact.id != self.asker.own_id() and may_tell(teller.ip, contact.ip):
                self._heard.setdefault(contact.id, contact)

    def _take(self, source: Source, answer: Tags) -> None:
        before = len(source.tags)
        for tag in answer.tags:
            if len(source.tags) < MOST_EACH:
                source.tags.add(tag)
                self.named.setdefault(tag, set()).add(source.group)
        # It had more, and what it gave was not all old: it has its turn again.
        if before < len(source.tags) < min(answer.total, MOST_EACH):
            self._free.append(source)


def best(named: Mapping[Tag, Collection[bytes]], text: str, limit: int) -> list[TagSample]:
    """The tags that ``text`` (normalised, or empty) may begin or mean, the likeliest first, at most ``limit``.

    The tag itself, those that begin with it, those with a word that does, those that hold it, those spelt alike; among
    equals what most address groups named.  What one group alone names beyond its share comes last.
    """
    ranked: list[tuple[float, int, Tag]] = []
    matcher = SequenceMatcher(None, b=text, autojunk=False)
    for tag, groups in named.items():
        rank = _rank(tag, text, matcher)
        if rank is not None:
            ranked.append((rank, -len(groups), tag))
    alone: Counter[bytes] = Counter()
    kept: list[TagSample] = []
    spare: list[TagSample] = []
    for _, seen, tag in sorted(ranked):
        row = kept
        if seen == -1:
            (voice,) = named[tag]
            alone[voice] += 1
            row = kept if voice == OWN or alone[voice] <= max(1, limit // SHARE) else spare
        row.append(TagSample(tag, -seen))
    return [*kept, *spare][:limit]


def _rank(tag: Tag, text: str, matcher: SequenceMatcher[str]) -> float | None:
    """How far a tag is from what was typed: 0 is the same, 4 and more is spelt alike, None is another word."""
    if tag.startswith(text):
        return 0.0 if tag == text else 1.0
    if text in tag:
        return 2.0 if f"-{text}" in tag else 3.0
    alike = max(_likeness(matcher, tag), _likeness(matcher, tag[: len(text)]))
    return 5.0 - alike if alike >= LIKE else None


def _likeness(matcher: SequenceMatcher[str], tag: str) -> float:
    matcher.set_seq1(tag)
    # The two quick bounds spare nearly every tag the slow comparison.
    if matcher.real_quick_ratio() < LIKE or matcher.quick_ratio() < LIKE:
        return 0.0
    return matcher.ratio()
