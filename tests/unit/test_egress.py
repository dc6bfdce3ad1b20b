"""What the proxy of isolates lets out, decided without a network."""

import pytest

from stepwell_runners.egress import allows, not_public, parse
from stepwell_runners.spec import Egress


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "0.0.0.0",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "100.64.0.1",
        "169.254.169.254",
        "203.0.113.7",
        "224.0.0.1",
        "255.255.255.255",
        "::1",
        "::",
        "fe80::1",
        "fe80::1%eth0",
        "fd00:ec2::254",
        "ff02::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::1",
        "2002:7f00:1::",
        "2001:0:1::1",
    ],
)
def test_addresses_that_are_not_public_are_refused(address: str) -> None:
    assert not_public(address)


@pytest.mark.parametrize("address", ["1.1.1.1", "151.101.0.223", "2606:4700::1111", "::ffff:1.1.1.1"])
def test_public_addresses_are_allowed(address: str) -> None:
    assert not_public(address) is None


def test_no_list_allows_every_name() -> None:
    assert allows(Egress(), "example.org")


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("example.org", True),
        ("EXAMPLE.org.", True),
        ("www.example.org", False),
        ("a.example.net", True),
        ("a.b.example.net", True),
        ("example.net", False),
        ("badexample.net", False),
    ],
)
def test_list_allows_its_names_and_the_subdomains_of_its_stars(host: str, allowed: bool) -> None:
    assert allows(Egress(frozenset({"example.org", "*.example.net"})), host) is allowed


def test_connect_names_host_and_port() -> None:
    request = parse(b"CONNECT [2606:4700::1111]:443 HTTP/1.1\r\nHost: x\r\n")
    assert (request.host, request.port, request.head) == ("2606:4700::1111", 443, b"")


def test_plain_request_is_passed_on_in_origin_form_without_the_proxys_own_fields() -> None:
    head = b"GET http://example.org/a?b=c HTTP/1.1\r\nHost: example.org\r\nProxy-Authorization: Basic eA==\r\n"
    request = parse(head)
    assert (request.host, request.port) == ("example.org", 80)
    assert request.head == b"GET /a?b=c HTTP/1.1\r\nHost: example.org\r\nConnection: close\r\n\r\n"


@pytest.mark.parametrize("head", [b"", b"GET / HTTP/1.1\r\n", b"CONNECT example.org HTTP/1.1\r\n", b"\xff\xfe x y\r\n"])
def test_what_is_not_a_proxy_request_is_refused(head: bytes) -> None:
    with pytest.raises(ValueError):
        parse(head)
