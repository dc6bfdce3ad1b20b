"""What the proxy of isolates lets out, decided without a network."""

import pytest

from stepwell_runners import egress
from stepwell_runners.egress import EgressProxy, allows, literal_of, not_public, parse
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
        "::7f00:1",
        "fec0::1",
        "168.63.129.16",
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


@pytest.mark.parametrize("host", ["127.0.0.1", "2130706433", "0x7f000001", "0x7f.1", "127.1", "0177.0.0.1"])
def test_an_address_is_known_in_every_spelling(host: str) -> None:
    assert literal_of(host) == "127.0.0.1"


def test_a_name_is_no_address() -> None:
    assert literal_of("example.org") is literal_of("bücher.example") is None


@pytest.mark.parametrize("host", ["0x7f.1", "2130706433", "localhost", "a.localhost.", "metadata.google.internal"])
async def test_no_spelling_of_a_local_host_goes_through_the_operators_proxy(host: str) -> None:
    proxy = EgressProxy(upstream="http://127.0.0.1:9")
    with pytest.raises(egress._Refusal) as refused:
        await proxy.connect(egress.Request(host, 80, b""), Egress())
    assert refused.value.status == 403


async def test_an_address_of_this_host_is_not_reached_even_if_public(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(egress, "not_public", lambda address: None)  # as if the host's own were public
    with pytest.raises(egress._Refusal, match="is this host"):
        await EgressProxy().connect(egress.Request("127.0.0.1", 80, b""), Egress())


def test_the_host_that_was_judged_is_the_host_that_is_asked() -> None:
    request = parse(b"GET http://allowed.example:8080/x HTTP/1.1\r\nhost : other.example\r\nHost: third\r\n")
    assert request.head.lower().count(b"host") == 1 and b"Host: allowed.example:8080\r\n" in request.head
