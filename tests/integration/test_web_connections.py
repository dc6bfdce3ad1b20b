"""Connections of one address, counted by the server that people reach."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import httpx
import pytest
from live import wait_until
from protocols import served

from stepwell_web import connections
from stepwell_web.connections import BoundedConnections, bounded, counted_as

MOST = 3
ASK = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


def local(most: int = MOST) -> type[BoundedConnections]:
    """The server's protocol, for which this host is an address like any other."""

    class Local(bounded(most)):  # type: ignore[misc]
        def source_of(self, address: str) -> str:
            return address

    return Local


@contextmanager
def opened(place: tuple[str, int], number: int, counted: type[BoundedConnections]) -> Iterator[ExitStack]:
    with ExitStack() as stack:
        for _ in range(number):
            stack.enter_context(socket.create_connection(place, timeout=20))
        wait_until(lambda: counted.counted[place[0]] == number, 60, "connections")
        yield stack


def asked(place: tuple[str, int]) -> bytes:
    """Ask on a new connection; all that is answered until the server closes it, or the first piece."""
    with socket.create_connection(place, timeout=20) as one:
        one.sendall(ASK)
        answer = one.recv(65536)
        while answer.startswith(b"HTTP/1.1 429") and (more := one.recv(65536)):
            answer += more
        return answer


def test_a_connection_too_many_is_told_so_and_the_others_go_on() -> None:
    protocol = local()
    with served(protocol) as place, opened(place, MOST, protocol) as stack:
        answer = asked(place)
        assert answer.startswith(b"HTTP/1.1 429 Too Many Requests\r\n")
        head, _, told = answer.partition(b"\r\n\r\n")
        assert b"retry-after: 5" in head and f"content-length: {len(told)}".encode() in head
        assert b"Your address has 3 connections open here" in told and b"STEPWELL_CONNECTIONS_PER_ADDRESS" in told
        assert httpx_status(place) == 429
        stack.close()
        wait_until(lambda: not protocol.counted, 60, "connections to go")
        assert asked(place).startswith(b"HTTP/1.1 200 ")
        assert httpx_status(place) == 200


def httpx_status(place: tuple[str, int]) -> int:
    return httpx.get(f"http://{place[0]}:{place[1]}/", timeout=60).status_code


def test_a_connection_too_many_that_says_nothing_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "REFUSED_SECONDS", 0.1)
    protocol = local()
    with served(protocol) as place, opened(place, MOST, protocol):
        with socket.create_connection(place, timeout=20) as silent:
            assert silent.recv(100) == b""
        assert protocol.counted[place[0]] == MOST


def test_a_large_request_too_many_still_reads_its_answer() -> None:
    protocol = local()
    with served(protocol) as place, opened(place, MOST, protocol):
        assert httpx.post(f"http://{place[0]}:{place[1]}/", content=b"x" * 300_000, timeout=60).status_code == 429


def test_this_host_is_not_counted() -> None:
    protocol = bounded(1)
    with served(protocol) as place, ExitStack() as stack:
        for _ in range(5):
            one = stack.enter_context(socket.create_connection(place, timeout=20))
            one.sendall(ASK)
            assert one.recv(65536).startswith(b"HTTP/1.1 200 ")
        assert not protocol.counted


def test_a_trusted_proxy_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its addresses are those from which uvicorn takes `X-Forwarded-For`."""
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "10.0.0.0/8")
    seen: list[str | None] = []

    class Told(bounded(1)):  # type: ignore[misc]
        def source_of(self, address: str) -> str | None:
            seen.extend(super(Told, self).source_of(one) for one in ("10.1.2.3", "192.0.2.1"))
            return None

    with served(Told) as place:
        assert asked(place).startswith(b"HTTP/1.1 200 ")
    assert seen == [None, "192.0.2.1"]


@pytest.mark.parametrize(
    ("address", "counted"),
    [
        ("192.0.2.7", "192.0.2.7"), ("::ffff:192.0.2.7", "192.0.2.7"), ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"), ("127.0.0.1", None), ("127.8.0.1", None), ("::1", None),
        ("::ffff:127.0.0.1", None),
    ],
)  # fmt: skip
def test_what_an_address_is_counted_as(address: str, counted: str | None) -> None:
    assert counted_as(address) == counted
