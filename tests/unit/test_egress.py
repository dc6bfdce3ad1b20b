"""What the proxy of isolates lets out, decided without a network."""

import asyncio
import errno
import os
import socket

import pytest

from stepwell_runners import egress
from stepwell_runners.connections import MOST_PLACES, Connections
from stepwell_runners.egress import EgressProxy, literal_of, not_public, parse, refusal
from stepwell_runners.spec import Connection, Egress


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
    assert refusal(Egress(), "example.org", 443) is None


@pytest.mark.parametrize(
    ("place", "allowed"),
    [
        ("example.org:443", True),
        ("EXAMPLE.org.:80", True),
        ("example.org:8443", True),
        ("www.example.org:443", False),
        ("a.example.net:443", True),
        ("a.b.example.net:443", True),
        ("example.net:443", False),
        ("badexample.net:443", False),
        ("example.org:22", False),
        ("git.example.org:22", True),
        ("git.example.org:443", False),
        ("2606:4700::1111:443", True),
    ],
)
def test_list_allows_its_names_ports_and_the_subdomains_of_its_stars(place: str, allowed: bool) -> None:
    host, _, port = place.rpartition(":")
    egress = Egress(frozenset({"example.org", "*.example.net", "git.example.org:22", "2606:4700::1111"}))
    assert (refusal(egress, host, int(port)) is None) is allowed


@pytest.mark.parametrize("port", [1, 22, 23, 25, 139, 445, 465, 587, 993])
def test_ports_of_mail_shells_and_file_servers_have_to_be_named(port: int) -> None:
    assert f"example.org:{port}" in str(refusal(Egress(), "example.org", port))
    assert refusal(Egress(frozenset({"*", f"example.org:{port}"})), "example.org", port) is None


class Names:
    """A name server that answers differently each time, and what was connected to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> None:
        self.answers, self.connected = list(answers), list[str]()
        monkeypatch.setattr(socket, "getaddrinfo", self.resolve)
        monkeypatch.setattr(asyncio, "open_connection", self.connect)

    def resolve(self, host: str, port: int, **_: object) -> list[tuple[object, ...]]:
        return [(2, 1, 6, "", (address, port)) for address in self.answers.pop(0)]

    async def connect(self, host: str, port: int) -> tuple[str, str]:
        self.connected.append(host)
        return "reader", "writer"


async def test_a_name_that_answers_differently_the_second_time_gains_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    names = Names(monkeypatch, ["151.101.0.223"], ["127.0.0.1"], ["169.254.169.254"])
    proxy, request = EgressProxy(), egress.Request("rebinds.example", 80, b"")
    await proxy.connect(request, Egress())
    assert names.connected == ["151.101.0.223"]
    for _ in range(2):
        with pytest.raises(egress._Refusal, match="not a public address"):
            await proxy.connect(request, Egress())
    assert names.connected == ["151.101.0.223"]


async def test_of_several_addresses_only_public_ones_are_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    names = Names(monkeypatch, ["10.0.0.1", "::ffff:127.0.0.1", "151.101.0.223"])
    await EgressProxy().connect(egress.Request("mixed.example", 443, b""), Egress())
    assert names.connected == ["151.101.0.223"]


@pytest.mark.parametrize(
    "head",
    [
        b"GET http://a.example/ HTTP/1.1\r\nX: 1\nHost: b.example\r\n",
        b"GET http://a.example/ HTTP/1.1\nHost: b.example\r\n",
        b"GET http://a.example/\x00 HTTP/1.1\r\n",
        b"CONNECT a.example:0 HTTP/1.1\r\n",
        b"CONNECT a.example:65536 HTTP/1.1\r\n",
        b"CONNECT a.example:-1 HTTP/1.1\r\n",
    ],
)
def test_requests_that_somebody_else_may_read_differently_are_refused(head: bytes) -> None:
    with pytest.raises(ValueError):
        parse(head)


def test_connections_are_listed_once_each_and_counted() -> None:
    notes: list[str] = []
    connections = Connections(notes.append)
    for _ in range(3):
        connections.seen(Connection("files.example", 443))
    connections.seen(Connection("::1", 80, "::1: ::1 is not a public address"))
    connections.seen(Connection("a\nforged", 80, "no connection: unknown"))
    connections.finish()
    assert notes == [
        "network: files.example:443",
        "network: [::1]:80 refused (::1 is not a public address)",
        "network: 'a\\nforged':80 refused (no connection: unknown)",
        "network: files.example:443 3 times",
    ]


def test_a_step_cannot_fill_its_log_with_connections() -> None:
    notes: list[str] = []
    connections = Connections(notes.append)
    for number in range(1_000):
        connections.seen(Connection(f"h{number}.example", 443))
    connections.finish()
    assert len(notes) == MOST_PLACES + 1
    assert notes[-1] == "network: 800 more connections to places that are not listed"


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


async def test_a_closed_listener_takes_nothing_from_whoever_gets_its_descriptor_next() -> None:
    number = socket.create_server(("127.0.0.1", 0)).detach()
    close = EgressProxy().serve(number, Egress())
    await asyncio.sleep(0)  # it accepts now
    close()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        if ours.fileno() != number:
            os.dup2(ours.fileno(), number)
        heard = asyncio.Event()
        asyncio.get_running_loop().add_reader(number, heard.set)
        theirs.send(b"x")
        async with asyncio.timeout(5):
            await heard.wait()
        asyncio.get_running_loop().remove_reader(number)
        if ours.fileno() != number:
            os.close(number)


async def _asked(port: int) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"CONNECT 10.0.0.1:443 HTTP/1.1\r\n\r\n")
    answer = await reader.read()
    writer.close()
    return answer


async def test_steps_cannot_take_all_descriptors_of_the_server() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    port, proxy = listener.getsockname()[1], EgressProxy()
    close, proxy.room = proxy.serve(listener.detach(), Egress()), 1
    _, waiting = await asyncio.open_connection("127.0.0.1", port)  # and says nothing
    while proxy.room:
        await asyncio.sleep(0)
    assert b"503 Service Unavailable" in await _asked(port)
    waiting.close()
    while proxy.room < 1:
        await asyncio.sleep(0)
    assert b"403 Forbidden" in await _asked(port)
    close()


async def test_a_listener_without_a_descriptor_goes_on_when_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = asyncio.get_running_loop()
    accept, failures = loop.sock_accept, [OSError(errno.EMFILE, "Too many open files")]

    async def fail_first(sock: socket.socket) -> tuple[socket.socket, object]:
        if failures:
            raise failures.pop()
        return await accept(sock)

    monkeypatch.setattr(loop, "sock_accept", fail_first)
    monkeypatch.setattr(egress, "_PAUSE_SECONDS", 0.0)
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    close = EgressProxy().serve(listener.detach(), Egress())
    assert b"403 Forbidden" in await _asked(port)
    close()
