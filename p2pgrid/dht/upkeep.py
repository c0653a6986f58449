"""What a node does by itself, one small thing at a time: probe, refresh, republish, forget, join again.

A few probes and at most one refresh in a turn, spread by chance: what an idle node sends does not grow with its table
or with the network, so an idle network cannot storm.  A turn takes ``probe_gap`` seconds, and longer when all is calm.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from math import ceil, inf
from operator import attrgetter
from typing import TYPE_CHECKING, Final

from p2pgrid.dht.announcements import Announcement
from p2pgrid.dht.contacts import Contact, Endpoint, Peer
from p2pgrid.dht.health import CALM_PEERS, CALM_ROUND, calm_turn, probe_round, probes, quickest_round
from p2pgrid.dht.limits import Limits
from p2pgrid.dht.messages import Pong
from p2pgrid.dht.routing import Bucket
from p2pgrid.ids import ID_BYTES

if TYPE_CHECKING:
    from p2pgrid.dht.engine import Engine

FORGET_EVERY: Final = 300.0
THIN_PAUSE: Final = 30.0
"""Seconds between two lookups of a range whose peers die."""
KEPT_ROUNDS: Final = 6
KEPT_WITHIN: Final = 120.0
"""While rounds are shorter than this, as so many peers die, our listings are placed anew every so many of them."""
FIRST_ROUND: Final = 60.0
SLOWER: Final = 0.1
QUICKER: Final = 0.8
"""Seconds of the first round of probes.  Each probe that is answered makes rounds longer, by such a part of the time in
which the peer was not heard; each peer found dead makes them so much shorter.  So where peers come and go two probes in
seven find a dead one, however long they stay."""
SORTED_AGAIN: Final = 4
"""Times in a round that those to be probed are put in order: most were heard meanwhile, and are passed over."""
SOON: Final = 1.0
MANY_FAIL: Final = 16
"""When more than this part of the table did not answer when last asked, the others are asked without delay."""
SOONER: Final = 0.85
"""Of two that know each other the one that was asked asks after this part of a round: so they take turns."""
REFRESH_SPREAD: Final = 0.25
"""By so much of ``refresh`` a range waits less for its next lookup, by chance: many who joined together part."""
FILL_AFTER: Final = 8.0
FILL_WITHIN: Final = 30.0
"""Seconds after a join in which the table is filled: not at once, as where many join together, all would."""
FEW: Final = 8
SMALL: Final = 5
"""log2 of the nodes of a small grid."""
MAX_BOOTSTRAP: Final = 64
SEEK_FIRST: Final = 15.0
SEEK_MOST: Final = 240.0
"""Lost peers are tried again one at a time, after the first pause when one has come back, else ever more rarely."""
REPUBLISH_AT_ONCE: Final = 4
"""Rounds of our own listings under way at the same time, when they are few."""

_PROBED: Final = attrgetter("probed")


class Upkeep:
    """Timers of one engine; ``due`` is the next."""

    __slots__ = (
        "_bootstrap",
        "_cut_off",
        "_engine",
        "_failing",
        "_filled_at",
        "_forget",
        "_joining",
        "_limits",
        "_own_at",
        "_rejoin",
        "_rejoin_at",
        "_round",
        "_round_at",
        "_saved",
        "_seek",
        "_seek_at",
        "_sweep",
        "_tick",
        "_within",
        "due",
    )

    def __init__(self, engine: Engine, limits: Limits, now: float) -> None:
        self._engine, self._limits = engine, limits
        self._within = FIRST_ROUND
        """Seconds of a round that suits how many peers are found dead."""
        self._tick = now + limits.probe_gap * engine.chance()
        self._forget = now + FORGET_EVERY
        self._bootstrap: tuple[Endpoint, ...] = ()
        self._saved: tuple[Contact, ...] = ()
        self._joining = False
        self._cut_off = False
        """Whether nobody in the table answered when last asked."""
        self._rejoin = limits.rejoin_first
        self._rejoin_at = now
        self._seek = SEEK_FIRST
        self._seek_at = now
        self._failing: dict[bytes, Peer] = {}
        """Who did not answer when last asked; those that did since, or left the table, are taken out at each turn."""
        self._round: deque[Peer] = deque()
        """Whom to probe next; all were looked at when the round began, as that is most of what a turn costs."""
        self._round_at = now
        """When that was."""
        self._own_at = inf
        """When to look our own neighbourhood up."""
        self._filled_at = -inf
        """When a join ended, since which every range is to be well filled."""
        self._sweep = inf
        """When the next listing expires."""
        self.due = self._tick

    def run(self, now: float) -> None:
        """Do what is due."""
        if now < self.due:
            return
        try:
            self._run(now)
        finally:
            self.due = min(self._tick, self._sweep)

    def _run(self, now: float) -> None:
        self._sweep = self._engine.sweep(now)
        if now >= self._tick:
            self._tick = now + self._limits.probe_gap  # whatever fails below
            if now >= self._forget:
                self._forget = now + FORGET_EVERY
                self._engine.drop_idle(now)
            table = self._engine.table
            self._failing = {i: peer for i, peer in self._failing.items() if peer.fails and table.get(i) is peer}
            self._republish(now)
            if self._engine.profile.card.server:
                self._probe(now)
                self._refresh(now)
                self._seek_lost(now)
            before, self._cut_off = self._cut_off, all(peer.fails for peer in table.peers())
            if self._cut_off and not self._joining:
                self._join_again(now)
            elif before:  # some whom we lost meanwhile lost us as well, and are left alone for a while
                self._own_at = now + self._limits.silent_pause + FILL_AFTER * self._engine.chance()
            calm = not self._busy(now)
            turn = calm_turn(len(table), self._limits, self._within) if calm else self._limits.probe_gap
            self._tick = now + turn * (0.75 + 0.5 * self._engine.chance())
            if calm and self._engine.gone_peers.waiting():
                self._tick = min(self._tick, max(self._seek_at, now + self._limits.probe_gap))

    def _busy(self, now: float) -> bool:
        """Whether there is more to do than to probe."""
        engine = self._engine
        if self._failing or self._own_at < inf or len(engine.publisher.announcements) > REPUBLISH_AT_ONCE:
            return True
        return bool(engine.table.stale(now, self._limits.refresh))

    def join(
        self,
        bootstrap: Sequence[Endpoint],
        saved: Sequence[Contact],
        ended: Callable[[bool, float], None],
        now: float,
        met: Callable[[], None] = lambda: None,
    ) -> None:
        """Greet and ask; ``ended`` hears whether anybody answered, when our own neighbourhood is known.

        ``met`` is told of each answer on the way.
        """
        engine = self._engine
        self._bootstrap = tuple(dict.fromkeys((*self._bootstrap, *bootstrap)))[-MAX_BOOTSTRAP:]
        self._saved = tuple(dict.fromkeys((*saved, *self._saved)))[:MAX_BOOTSTRAP]
        self._joining = True

        def over(answered: list[Contact], at: float) -> None:
            self._joining = False
            if answered:
                self._rejoin = self._limits.rejoin_first
                self._fill(at)
            ended(bool(answered), at)

        operation = engine.begin_join(len(bootstrap), len(saved) + len(engine.table), met, over)
        for endpoint in bootstrap:
            engine.greet(endpoint, operation.greeted, now)
        operation.begin(now, saved)

    def met_somebody(self, now: float) -> None:
        """A new peer is in the table: learn its name soon if there are few, so that a small grid is shown whole."""
        if len(self._engine.table) <= FEW:
            self.hurry(now)

    def doubt(self, peer: Peer, now: float) -> None:
        """It did not answer: it is asked again until it does, or leaves the table."""
        self._failing[peer.id] = peer
        self._tick = min(self._tick, now + self._limits.probe_gap)
        self.due = min(self.due, self._tick)

    def lost(self, bucket: Bucket, now: float) -> None:
        """Somebody left this range dead: when few are left it is looked up soon, for those that came since."""
        if (
            self._engine.profile.card.server
        ):  # a client probes nobody, so that nothing would make its rounds longer again
            self._within *= QUICKER
        if len(bucket) < self._limits.k // 4 and now - bucket.last_updated >= THIN_PAUSE:
            bucket.last_updated = min(bucket.last_updated, now - self._limits.refresh)

    def hurry(self, now: float) -> None:
        """There is something to do: let the next turn come soon."""
        self._tick = min(self._tick, now + SOON)
        self.due = min(self.due, self._tick)

    def _join_again(self, now: float) -> None:
        """Nobody is left: ask where we began, ever more rarely."""
        if now < self._rejoin_at or not (self._bootstrap or self._saved):
            return
        self._rejoin_at = now + self._rejoin
        self._rejoin = min(2 * self._rejoin, self._limits.rejoin_most)
        self.join(self._bootstrap, self._saved, lambda joined, at: None, now)

    def _fill(self, now: float) -> None:
        """After a join, look our own and far ranges up soon, spread by chance, so that every range is known."""
        engine, limits = self._engine, self._limits
        wanted = self._well_filled()
        self._filled_at = now
        self._own_at = now + FILL_AFTER + (FILL_WITHIN - FILL_AFTER) * engine.chance()
        for bucket in engine.table.buckets:
            soon = FILL_AFTER + (FILL_WITHIN - FILL_AFTER) * engine.chance()
            if len(bucket) < wanted:
                bucket.last_updated = min(bucket.last_updated, now - limits.refresh + soon)

    def _well_filled(self) -> int:
        """Peers of a range that are worth a lookup: in a small grid, which is shown whole, all of them."""
        return self._limits.k if self._engine.depth() <= SMALL else 3 * self._limits.k // 4

    def _probe(self, now: float) -> None:
        for peer in self._whom(now):
            peer.probed = now
            self._engine.ping(peer, False, partial(self._lives, now - peer.heard), now)

    def _lives(self, unheard: float, pong: Pong | None, rtt: float) -> None:
        """A probe of a peer that was not heard for so many seconds has ended."""
        if pong is not None:
            self._within = min(CALM_ROUND, self._within + SLOWER * min(unheard, self._within))

    def _every(self, size: int) -> float:
        """Seconds within which each of so many peers is to be heard."""
        limits = self._limits
        quickest = quickest_round(size, limits)
        if MANY_FAIL * len(self._failing) > size:
            return quickest
        self._within = max(self._within, quickest)
        return min(self._within, probe_round(size, limits))

    def _whom(self, now: float) -> list[Peer]:
        """The peers to probe: those that were not heard for longest, and one that failed.

        Not more of those, as half of a table that dies would keep us from hearing the rest, and while nobody is heard,
        nobody is blamed.
        """
        limits, table = self._limits, self._engine.table
        failed = [peer for peer in self._failing.values() if now - peer.probed >= limits.probe_gap]
        chosen: list[Peer] = []
        size = len(table)
        every = self._every(size)

        def due(peer: Peer) -> float:
            return self._due(peer, size, every)

        if size <= CALM_PEERS or not self._round or now - self._round_at >= every / SORTED_AGAIN:
            self._round, self._round_at = deque(sorted(table.peers(), key=due)), now
        while self._round and len(chosen) < probes(size, limits):
            peer = self._round.popleft()
            if table.get(peer.id) is not peer:
                continue
            if peer.fails:  # from before it came into the table
                self._failing[peer.id] = peer
            elif due(peer) <= now:
                chosen.append(peer)
            elif peer.heard <= self._round_at:  # nor is any after it; who was heard since is one for the next round
                self._round.appendleft(peer)
                break
        return chosen + ([min(failed, key=_PROBED)] if failed else [])

    def _due(self, peer: Peer, size: int, every: float) -> float:
        """When this one of so many peers is to be probed, each of which is to be heard ``every`` so many seconds."""
        if size > CALM_PEERS:  # who was asked is the next to ask
            asker = peer.heard <= peer.probed
            return peer.heard + every if asker else min(peer.heard + SOONER * every, peer.probed + 2 * every)
        # So that a small grid is shown with its names at once, who told none yet is asked soon.
        return peer.probed + (self._limits.probe_age if size > FEW or peer.seq else SOON)

    def _refresh(self, now: float) -> None:
        engine = self._engine
        if not len(engine.table):
            return
        if now >= self._own_at:
            self._look_around(self._near(), now)
        elif stale := engine.table.stale(now, self._limits.refresh):
            self._look_up(stale[0], now)

    def _look_up(self, bucket: Bucket, now: float) -> None:
        engine, limits = self._engine, self._limits
        near = self._near()
        if bucket in near:
            self._look_around(near, now)
            return
        wanted = self._well_filled() if bucket.last_updated < self._filled_at else limits.k // 4
        bucket.last_updated = self._looked_up(now)
        # One with enough peers that live needs none: they were all heard of late (as in BitTorrent's BEP 5).
        if len(bucket) < wanted or any(peer.fails for peer in bucket.nodes.values()):
            engine.walk(self._point_in(bucket), lambda found, at: None, now, self._well_filled())

    def _look_around(self, near: list[Bucket], now: float) -> None:
        """One lookup around us shows all these ranges.  In a small grid, that is everybody."""
        engine = self._engine
        self._own_at = inf
        for bucket in near:
            bucket.last_updated = self._looked_up(now)
        everybody = 2 ** (SMALL + 1) if engine.depth() <= SMALL else self._limits.k
        engine.walk(engine.own_id(), lambda found, at: None, now, everybody)

    def _near(self) -> list[Bucket]:
        """The ranges next to us that have ``k`` peers together, at most."""
        buckets = self._engine.table.buckets
        at, peers = len(buckets) - 1, len(buckets[-1])
        while at and (peers := peers + len(buckets[at - 1])) <= self._limits.k:
            at -= 1
        return buckets[at:]

    def _looked_up(self, now: float) -> float:
        return now - REFRESH_SPREAD * self._limits.refresh * self._engine.chance()

    def _seek_lost(self, now: float) -> None:
        """Try a peer again that was lost: after a partition, one that answers leads back to all the others."""
        engine = self._engine
        if now < self._seek_at or (lost := engine.gone_peers.again()) is None:
            return
        self._seek_at = now + self._seek
        self._seek = min(2 * self._seek, SEEK_MOST)

        def answered(pong: Pong | None, rtt: float) -> None:
            if pong is not None:
                engine.gone_peers.back(lost.id)  # once, also when it came back as a client and is in no table
                self._seek, self._seek_at = SEEK_FIRST, 0.0
                self.hurry(now + rtt)
                engine.walk(engine.own_id(), lambda found, at: None, now + rtt)

        engine.ping(lost, False, answered, now)

    def _point_in(self, bucket: Bucket) -> bytes:
        lower, upper = bucket.range
        spread = int(self._engine.chance() * 2**32) * 2**128 + int(self._engine.chance() * 2**32)
        return (lower + spread % (upper - lower + 1)).to_bytes(ID_BYTES, "big")

    def _republish(self, now: float) -> None:
        """Begin a few rounds: of the listings that are due, then of those that more nodes could hold.

        In a grid of twice as many nodes, half of those that a search asks came later, and hold nothing.
        """
        engine = self._engine
        publisher = engine.publisher
        announcements = publisher.announcements.all()
        possible = publisher.possible_holders()
        holders_live = KEPT_ROUNDS * self._within if self._within < KEPT_WITHIN else inf
        waiting: list[tuple[bool, float, int]] = []
        for number, one in enumerate(announcements):
            due = min(one.due, one.begun + holders_live) <= now or publisher.announcements.odd(one)
            scarce = len(one.held) < possible or engine.depth() > one.depth
            if not one.busy and (due or (scarce and one.again <= now)):
                waiting.append((not due, one.due if due else one.again, number))
        if not waiting:
            return
        room = max(0, self._rounds(len(announcements)) - sum(one.busy for one in announcements))
        for _, _, number in sorted(waiting)[:room]:
            self._publish(announcements[number], now)

    def _rounds(self, count: int) -> int:
        """Rounds under way at the same time: as many as so many listings need when they are spread evenly."""
        longest, shortest = 1.25 * self._limits.probe_gap, 0.9 * self._limits.listing_ttl / 3
        return max(REPUBLISH_AT_ONCE, ceil(count * longest / shortest))

    def _publish(self, one: Announcement, now: float) -> None:
        try:
            self._engine.publisher.publish(one, lambda held, at: None, now)
        except Exception as error:  # one that cannot be placed must not silence the others
            one.busy, one.listing = False, None
            one.due = one.again = now + self._limits.listing_ttl / 3
            self._engine.fault(error)
