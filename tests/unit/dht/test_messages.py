"""Messages and packets: round trips, and any bytes at all."""

from __future__ import annotations

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pgrid.dht import messages as m
from p2pgrid.dht import packets
from p2pgrid.dht.contacts import Contact, group_of, is_lan, is_local, may_tell, pack_endpoint, site_of, unpack_endpoint
from p2pgrid.errors import Malformed, Oversized, RemoteError
from p2pgrid.ids import normalise_tag

calls = st.integers(0, m.MAX_CALL - 1)
totals = st.integers(0, m.MAX_TOTAL - 1)
ranges = st.integers(0, m.MAX_HAVE - 1)
names = st.text(st.characters(codec="utf-8"), max_size=64)
tags = st.text("abcdefgh-09é漢", min_size=1, max_size=64).map(normalise_tag)
pairs = st.tuples(st.binary(max_size=640), st.binary(min_size=64, max_size=64))
packed = st.lists(st.sampled_from([38, 50]).flatmap(lambda n: st.binary(min_size=n, max_size=n)), max_size=8).map(tuple)
small_pairs = st.tuples(st.binary(max_size=60), st.binary(min_size=64, max_size=64))

every_message = st.one_of(
    st.builds(m.About, calls, names),
    st.builds(m.Ping, calls, st.booleans()),
    st.builds(m.FindNode, calls, st.binary(min_size=20, max_size=20), st.none() | ranges),
    st.builds(m.FindListings, calls, tags, calls, totals, st.integers(1, m.MAX_PAGE), ranges),
    st.builds(m.AddListing, calls, pairs),
    st.builds(m.SampleTags, calls, st.integers(1, m.MAX_TAGS)),
    st.builds(m.Pong, calls, st.integers(0, 255), st.integers(0, 2**62), names, st.none() | pairs),
    st.builds(m.Nodes, calls, packed),
    st.builds(m.Page, calls, totals, totals, st.lists(small_pairs, max_size=4).map(tuple), packed),
    st.builds(m.Stored, calls, st.integers(0, 255)),
    st.builds(m.Tags, calls, totals, st.lists(tags, max_size=4).map(tuple)),
)


@given(every_message)
def test_every_message_comes_back_as_it_went(message):
    assert m.decode(m.encode(message)) == message


@given(st.binary(max_size=1400))
def test_any_bytes_are_a_message_or_a_peers_fault(data):
    try:
        m.decode(data)
    except RemoteError:
        return


anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.binary(max_size=70)
    | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=12,
)


@given(st.integers(-1, 40), st.lists(anything, max_size=7))
def test_any_fields_are_a_message_or_a_peers_fault(kind, fields):
    try:
        m.decode(msgpack.packb([kind, 7, *fields]))
    except RemoteError:
        return


@given(every_message, st.data())
def test_cut_off_messages_are_malformed(message, data):
    encoded = m.encode(message)
    with pytest.raises((Malformed, Oversized)):
        m.decode(encoded[: data.draw(st.integers(0, len(encoded) - 1))])


def test_unknown_fields_are_ignored():
    assert m.decode(msgpack.packb([m.Ping.kind, 3, True, "later", 9])) == m.Ping(3, True)


@pytest.mark.parametrize(
    "fields",
    [
        [m.Nodes.kind, 1, [b"\0" * 38] * 10_000],
        [m.Nodes.kind, 1, [b"\0" * 38] * (m.MAX_CONTACTS + 1)],
        [m.Nodes.kind, 1, [b"short"]],
        [m.Page.kind, 1, 2**31, 0, [], []],
        [m.Page.kind, 1, 1, 0, [[b"r", b"s"]], []],
        [m.FindListings.kind, 1, "#MNIST", 0, 0, 5],
        [m.FindListings.kind, 1, "a\u200b", 0, 0, 5],
        [m.AddListing.kind, 1, [b"r" * 641, b"s" * 64]],
        [m.Pong.kind, 1, 0, 0, "n" * 65, None],
        [m.Ping.kind, True, True],
        [True, 1, 1],
        [99, 1, 1],
        {"kind": 1},
    ],
    ids=repr,
)
def test_reply_with_10000_peers_and_other_excesses(fields):
    with pytest.raises((Malformed, Oversized)):
        m.decode(msgpack.packb(fields))


def test_deeply_nested_frame():
    with pytest.raises((Malformed, Oversized)):
        m.decode(b"\x91" * 1200)


@given(st.binary(max_size=1300))
def test_any_datagram_has_a_kind_or_is_a_peers_fault(data):
    try:
        kind = packets.check_size(data)
    except RemoteError:
        return
    assert kind == data[0]


@given(st.binary(max_size=400))
def test_any_inner_bytes_are_read_or_a_peers_fault(data):
    for read in (packets.read_init, packets.read_accept):
        try:
            read(data)
        except RemoteError:
            continue


@given(st.integers(0, 2**60), st.integers(0, 255), st.integers(0, 65535), st.binary(max_size=300), st.integers(0, 1280))
def test_an_init_comes_back_whatever_its_padding(time, flags, http, request, size):
    init = packets.Init(time, flags, http, request)
    assert packets.read_init(packets.pack_init(init, size)) == init


@given(st.ip_addresses().map(str), st.integers(0, 65535))
def test_endpoints_come_back_or_are_refused(ip, port):
    try:
        assert unpack_endpoint(pack_endpoint((ip, port))) == (ip, port)
    except Malformed:
        return


@pytest.mark.parametrize("ip", ["0.0.0.0", "224.0.0.1", "255.255.255.255", "::", "ff02::1", "::ffff:1.2.3.4"])
def test_addresses_that_no_node_has(ip):
    with pytest.raises(Malformed):
        unpack_endpoint(pack_endpoint((ip, 4000)))
    with pytest.raises(Malformed):
        unpack_endpoint(pack_endpoint(("10.0.0.1", 0)))


def test_a_contacts_id_comes_from_its_key_alone():
    one = Contact(bytes(32), "10.0.0.1", 1)
    assert Contact.unpack(one.packed) == one
    assert Contact(bytes(32), "10.0.0.2", 2).id == one.id
    with pytest.raises(Malformed):
        Contact.unpack(one.packed + b"\0")


def test_groups_and_who_may_tell_of_whom():
    assert group_of(("8.0.0.1", 1)) == group_of(("8.0.0.200", 2)) != group_of(("8.0.1.1", 1))
    assert group_of(("2001:db8::1", 1)) == group_of(("2001:db8::ffff:1", 2)) != group_of(("2001:db8:0:1::1", 1))
    assert site_of(group_of(("2001:db8::1", 1))) == site_of(group_of(("2001:db8:0:1::1", 1)))
    assert site_of(group_of(("8.0.0.1", 1))) == b""
    for ip in ("10.0.0.1", "172.16.0.1", "172.31.9.9", "192.168.1.1", "169.254.1.1", "fe80::1", "fd00::1", "fc00::1"):
        near = ip[:-1] + "7"
        assert group_of((ip, 1)) == group_of((ip, 2)) != group_of((near, 1)), ip
        assert not is_local(group_of((ip, 1)))
        assert is_lan(ip)
    for ip in ("172.15.0.1", "172.32.0.1", "192.169.0.1", "169.253.0.1", "100.64.0.1", "fec0::1", "fe00::1"):
        assert group_of((ip, 1)) == group_of((ip[:-1] + "7", 2)), ip
    for ip in ("127.0.0.1", "::1"):
        assert group_of((ip, 1)) != group_of((ip, 2))
        assert is_local(group_of((ip, 1)))
        assert is_lan(ip)
    assert not is_lan("8.0.0.1")
    assert not is_lan("2001:db8::1")
    assert may_tell("127.0.0.1", "127.0.0.9")
    assert may_tell("127.0.0.1", "10.0.0.1")
    assert not may_tell("10.0.0.1", "127.0.0.1")
