"""Reading addresses and deciding where to go."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.addresses import AddressPolicy, NodeAddress, kind_of, parse_address
from p2pgrid.errors import AddressRefused, BadNodeAddress


@pytest.mark.parametrize(
    ("text", "one_form"),
    [
        ("http://bobnode.herokuapp.com", "http://bobnode.herokuapp.com"),
        ("HTTP://Bob.Example.ORG.:80/", "http://bob.example.org"),
        ("https://bob.example:443/grid/", "https://bob.example/grid"),
        ("https://bob.example:80", "https://bob.example:80"),
        ("http://localhost:5001//", "http://localhost:5001"),
        ("http://localhost:5001/", "http://localhost:5001"),
        ("http://münchen.de", "http://xn--mnchen-3ya.de"),
        ("http://2130706433/", "http://127.0.0.1"),
        ("http://0x7f.1:8080", "http://127.0.0.1:8080"),
        ("http://0177.0.0.01", "http://127.0.0.1"),
        ("http://127.1", "http://127.0.0.1"),
        ("http://0xA9FEA9FE/latest", "http://169.254.169.254/latest"),
        ("http://１２７.0.0.1", "http://127.0.0.1"),
        ("http://127。0。0。1", "http://127.0.0.1"),
        ("http://[::FFFF:127.0.0.1]:90", "http://127.0.0.1:90"),
        ("http://[2001:DB8::0:1]/", "http://[2001:db8::1]"),
    ],
)
def test_each_address_has_one_form(text: str, one_form: str) -> None:
    assert parse_address(text).text == one_form


@pytest.mark.parametrize(
    "text",
    [
        None,
        7,
        ["http://bob"],
        "",
        "bob",
        "bob:5000",
        "ftp://bob",
        "file:///etc/passwd",
        "gopher://bob",
        "http:/bob",
        "http://",
        "http:///x",
        "http://user:secret@bob",
        "http://bob@evil",
        "http://bob?x=1",
        "http://bob#x",
        "http://bob\\@evil",
        "http://bob/../x",
        "http://bob/a//b",
        "http://bob/%2e%2e",
        "http://b%6fb",
        "http://bob:0",
        "http://bob:65536",
        "http://bob:",
        "http://bob:８0",
        "http://bob:+80",
        "http://bo b",
        " http://bob",
        "http://bob\n",
        "http://bob\r\nHost: evil",
        "http://bob\u200b.org",
        "http://256.1.1.1",
        "http://1.2.3.4.5",
        "http://4294967296",
        "http://09.0.0.1",
        "http://bob.0x",
        "http://[::1",
        "http://[::1%25eth0]",
        "http://[fe80::1%eth0]",
        "http://::1",
        "http://-bob.org",
        "http://" + "a" * 64 + ".org",
        "http://" + "a." * 130 + "org",
        "http://bob\ud800.org",
        "javascript:alert(1)",
    ],
)
def test_what_is_no_plain_http_url_is_refused(text: Any) -> None:
    with pytest.raises(BadNodeAddress):
        parse_address(text)


@given(st.text(max_size=300) | st.from_regex(r"https?://[\x00-\xff]{1,40}(:[0-9]{0,6})?(/.{0,20})?", fullmatch=True))
def test_any_text_is_an_address_in_its_one_form_or_refused(text: str) -> None:
    try:
        address = parse_address(text)
    except BadNodeAddress:
        return
    assert isinstance(address, NodeAddress)
    assert parse_address(address.text) == address
    assert address.text.isascii()


@pytest.mark.parametrize(
    ("ip", "kind"),
    [
        ("93.184.215.14", "public"),
        ("2606:2800:21f::1", "public"),
        ("127.0.0.1", "loopback"),
        ("127.8.8.8", "loopback"),
        ("::1", "loopback"),
        ("::ffff:127.0.0.1", "loopback"),
        ("10.1.2.3", "private"),
        ("172.16.0.1", "private"),
        ("192.168.1.1", "private"),
        ("100.64.0.1", "private"),
        ("198.18.0.1", "private"),
        ("fc00::1", "private"),
        ("fec0::1", "never"),
        ("169.254.169.254", "never"),
        ("::ffff:169.254.169.254", "never"),
        ("fd00:ec2::254", "never"),
        ("100.100.100.200", "never"),
        ("168.63.129.16", "never"),
        ("fe80::1", "never"),
        ("0.0.0.0", "never"),
        ("0.1.2.3", "never"),
        ("::", "never"),
        ("224.0.0.1", "never"),
        ("ff02::1", "never"),
        ("255.255.255.255", "never"),
        ("240.0.0.1", "never"),
        ("64:ff9b::7f00:1", "never"),
        ("64:ff9b::808:808", "public"),
        ("2002:7f00:1::", "never"),
        ("2002:a00:1::1", "never"),
        ("2001:0:7f00:1::", "never"),
        ("::7f00:1", "never"),
    ],
)
def test_kinds_of_addresses(ip: str, kind: str) -> None:
    assert kind_of(ipaddress.ip_address(ip)) == kind


@pytest.mark.parametrize(
    ("policy", "goes", "stays_away"),
    [
        (AddressPolicy(loopback=False, private=False), ["8.8.8.8"], ["127.0.0.1", "10.0.0.1", "169.254.169.254"]),
        (AddressPolicy(loopback=True, private=False), ["8.8.8.8", "127.0.0.1", "::1"], ["10.0.0.1", "169.254.1.1"]),
        (
            AddressPolicy(loopback=True, private=True),
            ["127.0.0.1", "10.0.0.1"],
            ["169.254.169.254", "0.0.0.0", "ff02::1"],
        ),
    ],
)
def test_where_a_gateway_goes(policy: AddressPolicy, goes: list[str], stays_away: list[str]) -> None:
    for text in goes:
        policy.check(ipaddress.ip_address(text))
    for text in stays_away:
        with pytest.raises(AddressRefused):
            policy.check(ipaddress.ip_address(text))


def test_addresses_of_one_network_are_counted_together() -> None:
    policy = AddressPolicy(loopback=True, private=True)
    assert policy.group(ipaddress.ip_address("127.0.0.1")) is None
    assert policy.group(ipaddress.ip_address("::ffff:9.9.9.9")) == "9.9.9.9"
    assert policy.group(ipaddress.ip_address("2606:1:2:3::1")) == policy.group(ipaddress.ip_address("2606:1:2:3:f::9"))
