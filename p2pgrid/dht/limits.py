"""Every bound and period of the DHT, by name.

The defaults suit a node in a grid of 3 to 10,000; a test or an experiment hands in others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

MAX_DATAGRAM: Final = 1280
"""Bytes of any datagram: the least MTU of IPv6 (RFC 8200, section 5), so that nothing is fragmented."""

K: Final = 16
"""Bucket size, contacts in an answer, holders of a listing (Kademlia's k; 16 packed IPv4 contacts are 608 bytes)."""

ALPHA: Final = 3
"""First questions of a sweep, in flight at the same time (Kademlia's alpha).  A lookup of nodes has ``paths``."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one node.  Times in seconds, sizes in entries unless the name says bytes."""

    k: int = K
    alpha: int = ALPHA
    cache: int = 8
    """Replacements kept beside each bucket."""
    bucket_group: int = 2
    """Peers of one address group (/24 or /64; see ``contacts.group_of``) in one bucket, waiting ones included."""
    table_group: int = 10
    """And in the whole table.  Of one /48, four times as many in each."""
    paths: int = 4
    """Disjoint paths of a lookup (S/Kademlia's d), one request in flight on each."""
    range_asked: int = 3
    """Peers that a search hears in each distance range near a tag, when they answer."""
    range_places: int = 6
    """Peers in each distance range near a tag that hold a listing, half as many in a far one, beside the ``k`` nearest.
    With 0 there are only those."""
    sweep: int = 8
    """Requests of one sweep in flight at most: ``alpha`` at first, one more for each answer."""
    lookup_asked: int = 96
    """Peers that one lookup or search asks at most; a search for thousands of listings asks on."""
    lookup_ip: int = 2
    """Contacts of one IP address that one lookup asks without an answer (not counted on a LAN or on one machine)."""
    lookup_group: int = 4
    """The same of one address group (/24 or /64).  Of one /48, four times as many."""
    join: int = 4
    """Peers nearest to a new node that its first lookup looks for; they and later lookups make the rest known."""
    calls: int = 1024
    """Requests in flight."""
    waiting: int = 65_536
    """Requests that wait until fewer are in flight."""

    sessions: int = 1024
    handshakes: int = 256
    """Handshakes that we began and that are not answered yet."""
    session_life: float = 6 * 3600.0
    """After this, new keys are agreed."""
    session_idle: float = 1800.0
    """A session without a packet for this long is dropped; longer than from one probe to the next."""
    secret_life: float = 120.0
    """Cookies, tickets and ephemeral keys live for one to two of these."""
    init_slack: float = 600.0
    """Seconds that a stranger's clock may be off."""
    seen: int = 4096
    """Handshakes and tickets remembered against replays, per generation."""
    unproven_rate: float = 400.0
    """Handshakes per second answered without a cookie; over it a cookie is asked for first."""
    unproven_burst: float = 1024.0
    peer_rate: float = 1000.0
    """Packets per second that a peer may bring, in all its sessions, beside the answers that we asked for."""
    peer_burst: int = 2048
    group_handshake_rate: float = 100.0
    """Handshakes per second from one address group whose address is proven; for more no keys are agreed."""
    group_handshake_burst: float = 512.0
    groups: int = 1024
    """Address groups whose handshakes are counted."""
    move_after: float = 1500.0
    """A peer heard within this time keeps its address and its place in the table until it fails there; longer than from
    one probe to the next."""
    silent_pause: float = 60.0
    """An address that answered none of our tries is not tried again for so long."""
    silent_addresses: int = 1024
    hint_rate: float = 50.0
    """"Unknown session" hints per second."""

    try_first: float = 0.25
    """Wait for the first answer of a peer never heard."""
    try_least: float = 0.03
    hasty_least: float = 0.02
    """The same where others can answer as well, and are asked then."""
    try_stranger: float = 0.2
    """A handshake is not tried again before this: it costs both sides 100 times a packet, and haste feeds a jam."""
    try_most: float = 3.0
    tries: int = 3

    tag_listings: int = 512
    tag_publisher_listings: int = 16
    tag_group_listings: int = 128
    """Of one tag's places, for one address group (/24 or /48; see ``contacts.share_of``)."""
    publisher_listings: int = 256
    group_listings: int = 4096
    total_listings: int = 8192
    total_bytes: int = 4 << 20
    tenure: float = 3600.0
    """A listing held this long gives way to a newcomer when nobody has more places than others: ``listing_ttl``."""
    listing_ttl: int = 3600
    """What we ask for our own listings."""
    page: int = 16
    """Listings in one answer, if the datagram holds them."""

    probe_gap: float = 5.0
    """A turn of upkeep in this time, and up to a minute when all is calm (``health.calm_turn``): what an idle
    node sends does not grow with its table."""
    probes: int = 2
    """Peers asked in one turn whether they are there, beside one that failed to answer."""
    probe_age: float = 15.0
    """A peer that was probed, or answered anything, within this time needs no probe; what it asks us does not count."""
    busy: float = 0.1
    """A peer is ``busy`` when the median of its last three round trips is over this, and we when our timer is late."""
    refresh: float = 3600.0
    """A bucket without a lookup for this long gets one."""
    fails: int = 3
    """Unanswered requests in a row after which a peer leaves the table, when somebody else did answer."""
    gone: int = 64
    """Peers remembered as ``offline`` after they left the table."""
    gone_life: float = 3600.0
    """And for how long."""
    lost_after: float = 300.0
    """Of those, the ones that had been known for so long are tried again: after a partition they lead back."""
    rejoin_first: float = 2.0
    rejoin_most: float = 300.0
    votes: int = 32
    """Address groups whose word on our address is remembered."""
    announcements: int = 2048
    """Listings of ours.  At this number 12 rounds begin in 5 seconds, all the time."""


DEFAULT: Final = Limits()
