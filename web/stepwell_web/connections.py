"""Connections of one address: a process has only so many descriptors, and nobody may take them all.

What is counted is the peer: an IPv4 address, or an IPv6 network of 64 bits, which one host has to itself. The host's
own connections are not counted, nor those of a proxy that uvicorn trusts to say for whom it asks (FORWARDED_ALLOW_IPS):
it holds connections for everybody, and how many it lets one address have is its own setting.
"""

import asyncio
from collections import Counter
from ipaddress import IPv6Address, ip_address, ip_network

from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from stepwell_web.heads import BoundedHeads

REFUSED_SECONDS = 2.0
"""For which a connection too many is kept: its client has to send its request before it reads the refusal."""


class BoundedConnections(BoundedHeads):
    """Answers 429 to whoever has `most` connections open already. A class of its own for each server: see `bounded`."""

    most: int
    counted: Counter[str]
    _source: str | None = None
    _is_refused = _is_told = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Count it, or refuse it."""
        peer = transport.get_extra_info("peername")
        source = self.source_of(str(peer[0])) if isinstance(peer, tuple) else None
        if source is not None and self.counted[source] >= self.most:
            self._is_refused, self.head_seconds = True, REFUSED_SECONDS
        elif source is not None:
            self.counted[source] += 1
            self._source = source
        super().connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Count it no more."""
        if self._source is not None:
            self.counted[self._source] -= 1
            if not self.counted[self._source]:
                del self.counted[self._source]
            self._source = None
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what came, or say why nothing is taken."""
        if not self._is_refused:
            super().data_received(data)
        elif not self._is_told:
            self._is_told = True
            self.transport.write(_refusal(self.most))
            self.transport.write_eof()  # closed at once, what is still unread would have the refusal thrown away

    def source_of(self, address: str) -> str | None:
        """Return what connections from an address are counted as; None when they are not counted."""
        if isinstance(self.app, ProxyHeadersMiddleware) and address in self.app.trusted_hosts:
            return None
        return counted_as(address)


def bounded(most: int) -> type[BoundedConnections]:
    """Make the protocol of a server on which an address may have so many connections open."""
    return type("BoundedConnections", (BoundedConnections,), {"most": most, "counted": Counter()})


def counted_as(address: str) -> str | None:
    """Return an IPv4 address, or the network of an IPv6 one; None for the host itself."""
    found = ip_address(address.partition("%")[0])
    if isinstance(found, IPv6Address) and found.ipv4_mapped is not None:
        found = found.ipv4_mapped
    if found.is_loopback:
        return None
    return str(ip_network(f"{found}/64", strict=False)) if isinstance(found, IPv6Address) else str(found)


def _refusal(most: int) -> bytes:
    told = (
        f"Your address has {most} connections open here, which is all that it may. Close some and try again. "
        "Who runs this server may raise STEPWELL_CONNECTIONS_PER_ADDRESS.\n"
    )
    head = (
        "HTTP/1.1 429 Too Many Requests", "content-type: text/plain; charset=utf-8", f"content-length: {len(told)}",
        "retry-after: 5", "connection: close",
    )  # fmt: skip
    return "\r\n".join((*head, "", told)).encode()
