"""The way out of an isolate: a real proxy inside a real network namespace."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from walled import isolates, python

from stepwell_runners.connections import Connections
from stepwell_runners.isolates import ZygoteIsolates
from stepwell_runners.spec import Connection, Egress

pytestmark = pytest.mark.root

FETCH = """
import urllib.request, urllib.error
try: print(urllib.request.urlopen({url!r}, timeout=60).read().decode())
except urllib.error.HTTPError as error: print(error.code, error.read().decode())
except OSError as error: print(error)
"""


@asynccontextmanager
async def _server() -> AsyncIterator[int]:
    """A web server on the host's loopback, as an isolate would like to reach it."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        body = b"inside " + head.split(b" ")[1]
        if b"/elsewhere " in head:
            writer.write(b"HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/latest/\r\nContent-Length: 0\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()


@asynccontextmanager
async def _isolates(directory: Path, *exceptions: str) -> AsyncIterator[ZygoteIsolates]:
    where = isolates(directory, exceptions=frozenset(exceptions), upstream=None)
    await where.start()
    yield where
    await where.stop()


async def test_loopback_of_the_host_is_refused_and_listed(tmp_path: Path) -> None:
    seen: list[Connection] = []
    async with _server() as port, _isolates(tmp_path) as where:
        url = f"http://localtest.me.invalid:{port}/"
        await python(where, FETCH.format(url=url), network=Egress(None, seen.append))
        ended = await python(where, FETCH.format(url=f"http://0.0.0.0:{port}/"), network=Egress(None, seen.append))
    assert ended.text.startswith("403 ")
    assert "not a public address" in ended.text
    assert [connection.port for connection in seen] == [port, port]
    assert all(connection.refused for connection in seen)


@pytest.mark.parametrize("host", ["169.254.169.254", "10.0.0.1", "[::ffff:127.0.0.1]", "[64:ff9b::7f00:1]", "0x7f.1"])
async def test_addresses_inside_are_refused_in_every_spelling(host: str, tmp_path: Path) -> None:
    async with _isolates(tmp_path) as where:
        ended = await python(where, FETCH.format(url=f"http://{host}/"), network=Egress())
    assert ended.text.startswith(("403 ", "502 "))


async def test_exception_of_the_operator_is_reached_by_both_methods(tmp_path: Path) -> None:
    tunnel = """
import http.client
c = http.client.HTTPConnection('127.0.0.1', 3128); c.set_tunnel('localhost', {port}); c.request('GET', '/tunnelled')
print(c.getresponse().read().decode())
"""
    async with _server() as port, _isolates(tmp_path, f"localhost:{port}") as where:
        # Programs do not send `localhost` to a proxy by themselves, so this one is told to.
        code = f"import os; os.environ['no_proxy'] = ''\n{FETCH.format(url=f'http://localhost:{port}/plain')}"
        connections = Connections(lambda _: None)
        plain = await python(where, code, network=Egress(None, connections.seen))
        tunnelled = await python(where, tunnel.format(port=port), network=Egress(None, connections.seen))
    assert plain.text == "inside /plain\n"
    assert tunnelled.text == "inside /tunnelled\n"
    facts = connections.facts()
    assert facts is not None
    [place] = facts["places"]
    assert (place["host"], place["port"], place["refused"], place["count"]) == ("localhost", port, None, 2)
    answers = sum(len(f"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {n}\r\n\r\n") + n for n in (13, 17))
    assert place["received"] == answers
    assert place["sent"] > len("GET /plain HTTP/1.1GET /tunnelled HTTP/1.1")


async def test_redirect_to_an_address_inside_is_refused_as_if_asked_for(tmp_path: Path) -> None:
    seen: list[Connection] = []
    async with _server() as port, _isolates(tmp_path, f"localhost:{port}") as where:
        code = f"import os; os.environ['no_proxy'] = ''\n{FETCH.format(url=f'http://localhost:{port}/elsewhere')}"
        ended = await python(where, code, network=Egress(None, seen.append))
    assert ended.text.startswith("403 stepwell: 169.254.169.254")
    assert [(connection.host, connection.refused is None) for connection in seen] == [
        ("localhost", True), ("169.254.169.254", False),
    ]  # fmt: skip


async def test_list_of_a_step_is_kept_to(tmp_path: Path) -> None:
    async with _server() as port, _isolates(tmp_path, f"localhost:{port}") as where:
        code = f"import os; os.environ['no_proxy'] = ''\n{FETCH.format(url=f'http://localhost:{port}/')}"
        ended = await python(where, code, network=Egress(frozenset({"example.org"})))
    assert "403 stepwell: localhost is not in this step's network list" in ended.text


async def test_without_network_there_is_no_proxy(tmp_path: Path) -> None:
    async with _isolates(tmp_path) as where:
        ended = await python(where, "import socket; socket.create_connection(('127.0.0.1', 3128))")
    assert "ConnectionRefusedError" in ended.text
