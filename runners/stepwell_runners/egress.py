"""The way out of an isolate: an HTTP proxy in the runner, on a listener inside the isolate's own network.

It resolves a name once, judges the addresses it got, and connects to the very address it judged, so that a name which
answers differently the second time (DNS rebinding) gains nothing. It serves programs that know a proxy: pip, npm, git,
curl.

What is refused: everything not public (loopback, private, link-local, the metadata addresses of clouds, carrier NAT,
documentation, multicast) and every form of IPv6 that carries an IPv4 address inside, for a gateway may unpack it:
`is_global` accepts NAT64 and 6to4. Ports below 1024 other than the web's have to be named by the step: mail, remote
shells and file servers are what a stranger's code would be abused for. `exceptions` are hosts the operator vouches for,
such as a package index on the own network. Behind an upstream proxy it is that proxy which resolves names; literal
addresses are judged all the same.
"""

import asyncio
import base64
import ipaddress
import re
import resource
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

from stepwell_runners.spec import PROXY_PORT, Connection, Egress, Traffic

_HEAD_BYTES = 16 << 10
_HEAD_SECONDS, _CONNECT_SECONDS = 15.0, 20.0
_CHUNK = 1 << 16
_CONNECTIONS = 64  # at a time, per isolate
_SHARE = 8  # the part of this process's descriptors that connections of all isolates together may take
_PAUSE_SECONDS = 0.2
_CARRIERS = tuple(
    ipaddress.ip_network(text) for text in ("::/96", "64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32")
)
_CLOUDS = tuple(ipaddress.ip_network(text) for text in ("168.63.129.16/32", "fec0::/10"))  # public by name only
_LOCAL_NAMES = (".localhost", ".local", ".internal", ".localdomain")
_RESOLVERS = 16

_WEB = (80, 443)
_WITH_PORT = re.compile(r"([^:]+|\[.*\]):[0-9]{1,5}")
_CONTROL = re.compile(rb"[\x00\r\n]")

_OWN_FIELDS = (b"connection", b"proxy-connection", b"proxy-authorization", b"host")
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class _Refusal(Exception):
    """Why a connection is not made, with the status that says so."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


@dataclass(frozen=True)
class Request:
    """The head of a proxy request: `head` is what to send on, empty for CONNECT."""

    host: str
    port: int
    head: bytes


def not_public(address: str) -> str | None:
    """Why this address must not be reached; None when it may."""
    parsed = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return not_public(str(parsed.ipv4_mapped))
        if any(parsed in network for network in _CARRIERS):
            return f"{address} carries another address inside"
    if parsed.is_multicast or not parsed.is_global or any(parsed in network for network in _CLOUDS):
        return f"{address} is not a public address"
    return None


def _is_ours(address: str) -> bool:
    """Say whether this host has the address: what listens on it may be shut off from everybody but the host."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as anything:
        try:
            anything.connect((address, 9))  # sends nothing: the kernel only looks up the way
        except OSError:
            return False
        return str(anything.getsockname()[0]) == address


def literal_of(host: str) -> str | None:
    """Return the address that a host is written as, in any of the forms that C libraries take: 0x7f.1, 2130706433."""
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        pass
    try:
        return socket.inet_ntoa(socket.inet_aton(host))
    except (OSError, UnicodeEncodeError):
        return None


def refusal(egress: Egress, host: str, port: int) -> str | None:
    """Why the step's own list does not let it there; None when it does.

    Entries are `host`, `*.host` or `*`, each perhaps with `:port`; of no list it is `*`.
    """
    name = host.lower().rstrip(".")
    listed = False
    for entry in ("*",) if egress.hosts is None else egress.hosts:
        pattern, colon, only = entry.lower().rpartition(":") if _WITH_PORT.fullmatch(entry) else (entry.lower(), "", "")
        pattern = pattern.strip("[]")
        if pattern not in ("*", name) and not (pattern.startswith("*.") and name.endswith(pattern[1:])):
            continue
        if not colon and (port in _WEB or port >= 1024):
            return None
        if colon and int(only) == port:
            return None
        listed = True
    if listed:
        return f"port {port} of {host} is not in this step's network list: add {f'{host}:{port}'!r} to network="
    return f"{host} is not in this step's network list"


def parse(head: bytes) -> Request:
    """Read the head of a request to a proxy. Raises ValueError."""
    first, *fields = head.removesuffix(b"\r\n").split(b"\r\n")
    if any(_CONTROL.search(line) for line in (first, *fields)):
        raise ValueError("a line of the request holds a control character")
    method, target, version = first.decode("ascii").split(" ")
    if method == "CONNECT":
        parts = urlsplit(f"//{target}")
        if not parts.hostname or not parts.port:
            raise ValueError(f"CONNECT needs host:port, not {target!r}")
        return Request(parts.hostname, parts.port, b"")
    parts = urlsplit(target)
    if parts.scheme != "http" or not parts.hostname:
        raise ValueError(f"not a request to a proxy: {target[:80]!r}")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    kept = [line for line in fields if line and line.split(b":")[0].strip().lower() not in _OWN_FIELDS]
    name = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    host = f"Host: {name}:{parts.port}" if parts.port else f"Host: {name}"  # what was judged, not what they say
    lines = [f"{method} {path} {version}".encode(), host.encode(), *kept, b"Connection: close", b"", b""]
    return Request(parts.hostname, parts.port or 80, b"\r\n".join(lines))


def proxy_environment() -> dict[str, str]:
    """Variables by which programs find the proxy."""
    proxy = f"http://127.0.0.1:{PROXY_PORT}"
    names = ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "all_proxy")
    return dict.fromkeys(names, proxy) | {"no_proxy": "localhost,127.0.0.1", "NO_PROXY": "localhost,127.0.0.1"}


class EgressProxy:
    """Serves the isolates of one runner; all on one event loop."""

    def __init__(self, exceptions: frozenset[str] = frozenset(), upstream: str | None = None) -> None:
        self.exceptions = frozenset(name.lower() for name in exceptions)
        self.upstream = urlsplit(upstream) if upstream else None
        self.room = resource.getrlimit(resource.RLIMIT_NOFILE)[0] // _SHARE // 2  # connections, two descriptors each
        self._resolvers = ThreadPoolExecutor(_RESOLVERS, "egress")  # slow names must not hold up the engine's own work

    def serve(self, listener: int, egress: Egress) -> Callable[[], None]:
        """Accept on this descriptor until the returned function is called."""
        return _Listener(self, socket.socket(fileno=listener), egress).close

    async def connect(self, request: Request, egress: Egress) -> tuple[Streams, Traffic]:
        """Judge and connect. Raises _Refusal; tells `egress.seen` either way."""
        refused: str | None = None
        traffic: Traffic | None = None
        try:
            self._check(request, egress)
            async with asyncio.timeout(_CONNECT_SECONDS):
                streams = await self._reach(request)
        except (OSError, TimeoutError) as error:
            refused = f"no connection: {error or 'timed out'}"
            raise _Refusal(502, f"{request.host}:{request.port}: {refused}") from error
        except _Refusal as error:
            refused = str(error)
            raise
        finally:
            if egress.seen is not None:
                traffic = egress.seen(Connection(request.host, request.port, refused))
        return streams, traffic or Traffic()

    def _trusts(self, request: Request) -> bool:
        return bool({request.host.lower(), f"{request.host.lower()}:{request.port}"} & self.exceptions)

    def _check(self, request: Request, egress: Egress) -> None:
        if egress.hosts is None and self._trusts(request):
            return
        if reason := refusal(egress, request.host, request.port):
            raise _Refusal(403, reason)

    async def _reach(self, request: Request) -> Streams:
        trusted = self._trusts(request)
        if self.upstream is not None and not trusted:
            if address := literal_of(request.host):
                self._judge(request, [address])
            elif f".{request.host.lower().rstrip('.')}".endswith(_LOCAL_NAMES):
                raise _Refusal(403, f"{request.host} is a name of the local network")
            return await self._through(request)
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(
            self._resolvers, lambda: socket.getaddrinfo(request.host, request.port, type=socket.SOCK_STREAM)
        )
        addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        return await self._first(addresses if trusted else self._judge(request, addresses), request.port)

    def _judge(self, request: Request, addresses: list[str]) -> list[str]:
        reasons = {address: not_public(address) for address in addresses}
        for address in addresses:
            if reasons[address] is None and _is_ours(address):
                reasons[address] = f"{address} is this host"
        public = [address for address, reason in reasons.items() if reason is None]
        if not public:
            raise _Refusal(403, f"{request.host}: {'; '.join(filter(None, reasons.values()))}")
        return public

    async def _first(self, addresses: list[str], port: int) -> Streams:
        failure: OSError = OSError("no address")
        for address in addresses:
            try:
                return await asyncio.open_connection(address, port)
            except OSError as error:
                failure = error
        raise failure

    async def _through(self, request: Request) -> Streams:
        """Through the operator's own proxy."""
        assert self.upstream is not None
        reader, writer = await asyncio.open_connection(self.upstream.hostname, self.upstream.port or 3128)
        target = f"[{request.host}]" if ":" in request.host else request.host
        lines = [f"CONNECT {target}:{request.port} HTTP/1.1", f"Host: {target}:{request.port}"]
        if self.upstream.username:
            credentials = f"{self.upstream.username}:{self.upstream.password or ''}"
            lines.append(f"Proxy-Authorization: Basic {base64.b64encode(credentials.encode()).decode()}")
        writer.write("\r\n".join([*lines, "", ""]).encode())
        answer = await reader.readuntil(b"\r\n\r\n")
        if answer.split(b" ")[1:2] != [b"200"]:
            writer.close()
            raise OSError(f"the upstream proxy answered {answer.splitlines()[0].decode('latin-1')!r}")
        return reader, writer


class _Listener:
    """The proxy as one isolate sees it."""

    def __init__(self, proxy: EgressProxy, sock: socket.socket, egress: Egress) -> None:
        sock.setblocking(False)
        self.proxy, self.sock, self.egress = proxy, sock, egress
        self.tasks: set[asyncio.Task[None]] = set()
        self.accepting = asyncio.create_task(self._accept())

    def close(self) -> None:
        """The isolate is gone, and so are its connections.

        The loop is told before the descriptor is closed: a cancelled `sock_accept` tells it a moment later, and whoever
        has got the number by then would never hear of anything again.
        """
        asyncio.get_running_loop().remove_reader(self.sock)
        self.accepting.cancel()
        for task in self.tasks:
            task.cancel()
        self.sock.close()

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                client, _ = await loop.sock_accept(self.sock)
            except OSError:  # no descriptor is left: it will be asked again
                await asyncio.sleep(_PAUSE_SECONDS)
                continue
            if len(self.tasks) >= _CONNECTIONS:
                client.close()
                continue
            task = asyncio.create_task(self._serve(client))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)

    async def _serve(self, client: socket.socket) -> None:
        self.proxy.room -= 1
        try:
            await self._converse(client)
        finally:
            self.proxy.room += 1

    async def _converse(self, client: socket.socket) -> None:
        reader, writer = await asyncio.open_connection(sock=client, limit=_HEAD_BYTES)
        try:
            async with asyncio.timeout(_HEAD_SECONDS):
                head = await reader.readuntil(b"\r\n\r\n")
            if self.proxy.room < 0:
                raise _Refusal(503, "the steps of this runner have too many connections at once")
            request = parse(head[:-2])
            outside, traffic = await self.proxy.connect(request, self.egress)
        except _Refusal as refusal:
            await _answer(writer, refusal.status, str(refusal))
        except (ValueError, asyncio.LimitOverrunError) as error:
            await _answer(writer, 400, str(error))
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            writer.close()
        else:
            await _join(request, (reader, writer), outside, traffic)
        finally:
            writer.close()


async def _answer(writer: asyncio.StreamWriter, status: int, reason: str) -> None:
    body = f"stepwell: {reason}\n".encode()
    text = {400: "Bad Request", 403: "Forbidden", 502: "Bad Gateway", 503: "Service Unavailable"}[status]
    fields = f"Content-Type: text/plain\r\nContent-Length: {len(body)}\r\nConnection: close\r\n"
    head = f"HTTP/1.1 {status} {text}\r\n{fields}\r\n"
    with suppress(OSError):
        writer.write(head.encode() + body)
        await writer.drain()


async def _join(request: Request, inside: Streams, outside: Streams, traffic: Traffic) -> None:
    """Copy both ways until both ends have finished."""

    def sent(size: int) -> None:
        traffic.sent += size

    def received(size: int) -> None:
        traffic.received += size

    try:
        if request.head:
            outside[1].write(request.head)
            sent(len(request.head))
        else:
            inside[1].write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        async with asyncio.TaskGroup() as group:
            group.create_task(_copy(inside[0], outside[1], sent))
            group.create_task(_copy(outside[0], inside[1], received))
    except* OSError:
        pass  # one end hung up; the other is closed below
    finally:
        outside[1].close()


async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter, told: Callable[[int], None]) -> None:
    while chunk := await source.read(_CHUNK):
        told(len(chunk))
        target.write(chunk)
        await target.drain()
    if target.can_write_eof():
        target.write_eof()
