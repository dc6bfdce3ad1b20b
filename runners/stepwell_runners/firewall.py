"""What containers with a network may not reach: this host, and whatever is not public.

Rules of the kernel in a table of the state directory's own, beside those of the container engine and the operator: what
either drops stays dropped. They go by the names of our bridges, hold for containers that outlive a server, and are
looked for before each container is made, as somebody may have cleared the host's rules. They are the promise that
isolates have (see egress), without lists of hosts.

Openings are the name servers that the engine gives to containers, the package indexes of this host, its proxy, and what
the operator names. Not every host takes rules: an ordinary user's server may not make any, and an engine elsewhere, or
on the other side of a container's wall, forwards packets where no rule of ours is. Then `problem` says why.
"""

import errno
import ipaddress
import json
import logging
import os
import re
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from stepwell.errors import Invalid
from stepwell_runners import nftables, package_index
from stepwell_runners.nftables import Address, Chain, Rule

log = logging.getLogger(__name__)

ANY = "any"
_PRIVATE = (
    "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "168.63.129.16/32", "169.254.0.0/16", "172.16.0.0/12",
    "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24",
    "203.0.113.0/24", "224.0.0.0/3", "2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20",
)  # fmt: skip
PRIVATE: tuple[Address, ...] = tuple(ipaddress.ip_network(text) for text in _PRIVATE)
PUBLIC6 = ipaddress.IPv6Network("2000::/3")
_RESOLVERS = (Path("/etc/resolv.conf"), Path("/run/systemd/resolve/resolv.conf"))
_ENGINE = Path("/etc/docker/daemon.json")
_DNS = 53
_NAMES_SECONDS = 300.0  # for which the addresses of indexes and proxies are taken to be the same
_CANNOT = (errno.EPERM, errno.EACCES, errno.EPROTONOSUPPORT, errno.ENOENT, errno.EOPNOTSUPP, errno.EAFNOSUPPORT)


@dataclass(frozen=True)
class Opening:
    """A place that may be reached though it is not public; every port of it without one."""

    network: Address
    port: int | None = None

    def rules(self) -> Iterator[Rule]:
        """Give what lets packets through."""
        if self.port is None:
            yield [nftables.to(self.network), nftables.accept()]
        else:
            for protocol in (nftables.TCP, nftables.UDP):
                yield [nftables.to(self.network), nftables.port(protocol, self.port), nftables.accept()]


def networks_of(text: str) -> tuple[Opening, ...] | None:
    """Return the places that an operator names, like "10.1.0.0/16, 192.168.5.7"; None for `any`. Raises Invalid."""
    if text.strip().lower() == ANY:
        return None
    try:
        return tuple(Opening(ipaddress.ip_network(part)) for part in re.split(r"[\s,]+", text.strip()) if part)
    except ValueError as error:
        raise Invalid(
            f"STEPWELL_CONTAINERS_REACH: {error}. Write addresses and networks like 10.1.0.0/16, or {ANY!r}."
        ) from error


class Firewall:
    """The table of one state directory. Used by any thread."""

    def __init__(
        self,
        name: str,
        interfaces: Iterable[tuple[str, bool]],
        reach: tuple[Opening, ...] | None = (),
        *,
        local: bool = True,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """`interfaces` are names of bridges, whole or how they begin; `reach` what is open besides, None everything."""
        self._table = f"stepwell-{name}"
        self._interfaces = tuple(interfaces)
        self._reach = reach
        self._local = local
        self._now = now
        self._named: tuple[float, tuple[Opening, ...]] | None = None
        self._held: tuple[Opening, ...] | None = None
        self._busy = threading.Lock()
        self.problem: str | None = None

    def put_up(self, bridge: str) -> None:
        """Have the kernel hold the rules, if it can, now that a bridge of ours is there; `problem` tells."""
        if self._reach is None:
            return
        with self._busy:
            problem = self._put_up(bridge, self._reach)
            if problem and problem != self.problem:
                log.warning("Containers reach this host and private addresses: %s.", problem)
            self.problem = problem

    def take_down(self) -> None:
        """Remove the rules. Called when no container of ours is left."""
        with self._busy:
            self._held = None
            try:
                nftables.remove(self._table)
            except OSError as error:
                if error.errno not in _CANNOT:
                    log.warning("The rules of table inet %s are left behind: %s", self._table, error)

    def _put_up(self, bridge: str, reach: tuple[Opening, ...]) -> str | None:
        if problem := out_of_reach(bridge, local=self._local):
            return problem
        if self._named is None or self._now() - self._named[0] > _NAMES_SECONDS:
            self._named = (self._now(), hosts_of_this_host())
        openings = tuple(dict.fromkeys((*reach, *servers_of_this_host(), *self._named[1])))
        try:
            if self._held != openings or not nftables.holds(self._table):
                nftables.replace(self._table, chains(self._interfaces, openings))
                self._held = openings
        except OSError as error:
            return why_not(error)
        return None


def out_of_reach(bridge: str, *, local: bool) -> str | None:
    """Say why rules of this kernel mean nothing to an engine's bridge; None when they do."""
    if not local:
        return "the container engine is elsewhere"
    try:
        socket.if_nametoindex(bridge)
    except OSError:
        return "the container engine makes its bridges in another network namespace than the server's"
    return None


def trial() -> str | None:
    """Say why this kernel takes no rules from us; None when it does. Leaves nothing."""
    name = f"stepwell-trial-{os.getpid()}"
    try:
        nftables.replace(name, chains([("stepwell-none", True), ("stepwell-no", False)], [Opening(PRIVATE[0], _DNS)]))
        nftables.remove(name)
    except OSError as error:
        return why_not(error)
    return None


def why_not(error: OSError) -> str:
    """Say why a host takes no rules."""
    if error.errno in (errno.EPERM, errno.EACCES):
        return "only root with CAP_NET_ADMIN may make rules of the packet filter"
    return f"the kernel takes no rules of its packet filter nf_tables ({error.strerror or error})"


def chains(interfaces: Iterable[tuple[str, bool]], openings: Iterable[Opening]) -> list[Chain]:
    """Return the table: what comes from our bridges goes to public addresses, to openings, and nowhere else."""
    come = [nftables.interface(nftables.IIFNAME, name, whole=whole) for name, whole in interfaces]
    within: list[Rule] = [
        [
            nftables.interface(nftables.IIFNAME, name, whole=False),
            nftables.interface(nftables.OIFNAME, name, whole=False),
            nftables.accept(),
        ]
        for name, whole in interfaces
        if not whole  # of an attempt, where containers are to reach each other: the engine keeps two such apart
    ]
    allowed: list[Rule] = [[nftables.answers(), nftables.accept()]]
    for one in openings:
        allowed += one.rules()
    private: list[Rule] = [[nftables.to(network), nftables.reject()] for network in PRIVATE]
    return [
        Chain("outside", [*allowed, *private, [nftables.not_to(PUBLIC6), nftables.reject()]]),
        Chain("host", [*allowed, [nftables.neighbours(), nftables.accept()], [nftables.reject()]]),
        Chain("forward", [*within, *([one, nftables.goto("outside")] for one in come)], nftables.FORWARD),
        Chain("input", [[one, nftables.goto("host")] for one in come], nftables.INPUT),
    ]


def servers_of_this_host() -> list[Opening]:
    """Return the name servers that are not public."""
    return _closed(Opening(ipaddress.ip_network(one), _DNS) for one in name_servers())


def hosts_of_this_host() -> tuple[Opening, ...]:
    """Return package indexes and the proxy, where they are not public; asks for their names."""
    hosts = sorted({*package_index.hosts(), *_proxies()})
    return tuple(_closed(one for host in hosts for one in _addresses_of(host)))


def _closed(found: Iterable[Opening]) -> list[Opening]:
    """Leave out what needs no opening."""
    return [one for one in found if any(_overlaps(one.network, private) for private in PRIVATE)]


def _overlaps(one: Address, other: Address) -> bool:
    if isinstance(one, ipaddress.IPv4Network):
        return isinstance(other, ipaddress.IPv4Network) and one.overlaps(other)
    return not one.subnet_of(PUBLIC6) or (isinstance(other, ipaddress.IPv6Network) and one.overlaps(other))


def name_servers() -> list[str]:
    """Return the addresses that the engine gives to containers as name servers; a loopback's is of the host alone."""
    found = (ipaddress.ip_address(one) for one in _told_servers())
    return [str(one) for one in dict.fromkeys(found) if not one.is_loopback]


def _told_servers() -> Iterator[str]:
    for file in _RESOLVERS:
        for line in _read(file).splitlines():
            word, _, rest = line.strip().partition(" ")
            if word == "nameserver" and (address := rest.strip().partition("%")[0]):
                yield from _literal(address)
    try:
        told = json.loads(_read(_ENGINE) or "{}").get("dns", [])
    except (ValueError, AttributeError):
        return  # dockerd itself refuses to start with such a file
    for address in told if isinstance(told, list) else ():
        yield from _literal(str(address))


def _literal(address: str) -> Iterator[str]:
    try:
        yield str(ipaddress.ip_address(address))
    except ValueError:
        return


def _read(file: Path) -> str:
    try:
        return file.read_text(errors="replace")
    except OSError:
        return ""


def _proxies() -> Iterator[str]:
    for name in ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"):
        parts = urlsplit(os.environ.get(name, ""))
        if parts.hostname:
            yield f"{parts.hostname}:{parts.port or 3128}"


def _addresses_of(host: str) -> Iterator[Opening]:
    """Give what a host:port is by name; nothing where nobody knows it now."""
    name, _, port = host.rpartition(":")
    try:
        found = socket.getaddrinfo(name.strip("[]"), int(port), type=socket.SOCK_STREAM)
    except OSError:
        return
    for entry in found:
        yield Opening(ipaddress.ip_network(str(entry[4][0]).partition("%")[0]), int(port))
