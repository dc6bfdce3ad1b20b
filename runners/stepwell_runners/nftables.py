"""Rules of the kernel's packet filter, as messages to it: the part of nftables that a firewall for containers needs.

No program is asked: `nft` is on few hosts, and what a kernel is told in one batch it takes as a whole or not at all.
"""

import errno
import os
import socket
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network

Address = IPv4Network | IPv6Network
Expression = bytes
Rule = Sequence[Expression]

INPUT, FORWARD = 1, 2  # hooks
IIFNAME, OIFNAME = 6, 7
TCP, UDP, ICMP6 = 6, 17, 58
IPV4, IPV6 = 2, 10

_NETFILTER = 12
_INET = 1
_BEGIN, _END = 0x10, 0x11
_SUBSYSTEM = 10
_NEW_TABLE, _GET_TABLE, _DEL_TABLE, _NEW_CHAIN, _NEW_RULE = 0, 1, 2, 3, 6
_REQUEST, _ACK, _CREATE, _APPEND = 0x1, 0x4, 0x400, 0x800
_NESTED = 0x8000
_ERROR = 2
_PROTOCOL_FAMILY, _PROTOCOL = 15, 16  # what `meta` tells
_EQUAL, _UNEQUAL, _GREATER = 0, 1, 5
_ACCEPT, _GOTO = 1, -4
_REGISTER = struct.pack(">I", 1)
_ESTABLISHED = 0x2 | 0x4  # and related
_PROHIBITED = 3  # the answer of a router that may not
_SECONDS = 5
_NAME_BYTES = 16


@dataclass(frozen=True)
class Chain:
    """Rules in order; a `hook` has the kernel begin here."""

    name: str
    rules: Sequence[Rule]
    hook: int | None = None


def interface(key: int, name: str, *, whole: bool) -> Expression:
    """Match the interface by its name, or by how that begins."""
    value = name.encode().ljust(_NAME_BYTES, b"\0") if whole else name.encode()
    return _meta(key) + _compare(value)


def to(network: Address) -> Expression:
    """Match packets to an address of a network."""
    version, offset = (IPV4, 16) if network.version == 4 else (IPV6, 24)
    return _meta(_PROTOCOL_FAMILY) + _compare(bytes([version])) + _within(network, offset, _EQUAL)


def not_to(network: IPv6Network) -> Expression:
    """Match packets of its version to any other address."""
    return _meta(_PROTOCOL_FAMILY) + _compare(bytes([IPV6])) + _within(network, 24, _UNEQUAL)


def port(protocol: int, number: int) -> Expression:
    """Match packets of a protocol to a port."""
    return _meta(_PROTOCOL) + _compare(bytes([protocol])) + _payload(2, 2, 2) + _compare(struct.pack(">H", number))


def neighbours() -> Expression:
    """Match what IPv6 has instead of ARP."""
    first, last = bytes([133]), bytes([136])
    kind = _payload(2, 0, 1) + _compare(first, _GREATER) + _compare(last, 3)
    return _meta(_PROTOCOL) + _compare(bytes([ICMP6])) + kind


def answers() -> Expression:
    """Match packets of connections that the kernel knows already."""
    state = _expression("ct", _attribute(1, _REGISTER), _attribute(2, struct.pack(">I", 0)))
    mask = _data(struct.pack("=I", _ESTABLISHED))
    masked = _bits(4, mask)
    return state + masked + _compare(bytes(4), _UNEQUAL)


def accept() -> Expression:
    """Have the packet judged by others."""
    return _verdict(_ACCEPT)


def goto(chain: str) -> Expression:
    """Go on in another chain, for good."""
    return _verdict(_GOTO, _attribute(2, _text(chain)))


def reject() -> Expression:
    """Tell the sender that it is prohibited."""
    return _expression("reject", _attribute(1, struct.pack(">I", 2)), _attribute(2, bytes([_PROHIBITED])))


def replace(table: str, chains: Sequence[Chain]) -> None:
    """Have the kernel hold this table and no other of its name. Raises OSError where it does not."""
    name = _attribute(1, _text(table))
    messages = [(_NEW_TABLE, _CREATE, name), (_DEL_TABLE, 0, name), (_NEW_TABLE, _CREATE, name)]
    for chain in chains:
        where = b""
        if chain.hook is not None:
            where = _nested(4, _attribute(1, struct.pack(">I", chain.hook)), _attribute(2, struct.pack(">i", -10)))
            where += _attribute(7, _text("filter"))
        messages.append((_NEW_CHAIN, _CREATE, name + _attribute(3, _text(chain.name)) + where))
    for chain in chains:
        for rule in chain.rules:
            expressions = _nested(4, *rule)
            messages.append((_NEW_RULE, _CREATE | _APPEND, name + _attribute(2, _text(chain.name)) + expressions))
    _commit(messages)


def remove(table: str) -> None:
    """Have the kernel forget a table, if it holds one of that name. Raises OSError where it does not let us."""
    name = _attribute(1, _text(table))
    _commit([(_NEW_TABLE, _CREATE, name), (_DEL_TABLE, 0, name)])


def holds(table: str) -> bool:
    """Say whether the kernel holds a table of this name. Raises OSError where it does not say."""
    with _opened() as kernel:
        kernel.send(_message(_GET_TABLE, 0, _attribute(1, _text(table)), 1))
        kind, code = next(_answers(kernel))[1:]
    if kind != _ERROR:
        return True
    if code != errno.ENOENT:
        raise OSError(code, os.strerror(code))
    return False


def _commit(messages: Sequence[tuple[int, int, bytes]]) -> None:
    batch = [_header(_BEGIN, 0, _SUBSYSTEM)]
    batch += [_message(kind, flags | _ACK, body, seq) for seq, (kind, flags, body) in enumerate(messages, 1)]
    batch.append(_header(_END, len(messages) + 1, _SUBSYSTEM))
    with _opened() as kernel:
        kernel.send(b"".join(batch))
        for sequence, _, code in _answers(kernel):
            if code:
                raise OSError(code, os.strerror(code))
            if sequence == len(messages):
                return


def _opened() -> socket.socket:
    kernel = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETFILTER)
    kernel.settimeout(_SECONDS)
    kernel.bind((0, 0))
    return kernel


def _answers(kernel: socket.socket) -> Iterator[tuple[int, int, int]]:
    """Give number, kind and error of each answer."""
    while True:
        data = kernel.recv(1 << 16)
        while data:
            length, kind, _, sequence = struct.unpack_from("=IHHI", data)
            code = -struct.unpack_from("=i", data, 16)[0] if kind == _ERROR else 0
            yield sequence, kind, code
            data = data[(length + 3) & ~3 :]


def _header(kind: int, sequence: int, resource: int) -> bytes:
    return struct.pack("=IHHII", 20, kind, _REQUEST, sequence, 0) + struct.pack(">BBH", 0, 0, resource)


def _message(kind: int, flags: int, body: bytes, sequence: int) -> bytes:
    payload = struct.pack(">BBH", _INET, 0, 0) + body
    return struct.pack("=IHHII", 16 + len(payload), _SUBSYSTEM << 8 | kind, _REQUEST | flags, sequence, 0) + payload


def _attribute(kind: int, value: bytes) -> bytes:
    length = 4 + len(value)
    return struct.pack("=HH", length, kind) + value + bytes(-length % 4)


def _nested(kind: int, *parts: bytes) -> bytes:
    return _attribute(kind | _NESTED, b"".join(parts))


def _text(value: str) -> bytes:
    return value.encode() + b"\0"


def _data(value: bytes) -> bytes:
    return _attribute(1, value)


def _expression(name: str, *attributes: bytes) -> Expression:
    return _nested(1, _attribute(1, _text(name)), _nested(2, *attributes))


def _meta(key: int) -> Expression:
    return _expression("meta", _attribute(1, _REGISTER), _attribute(2, struct.pack(">I", key)))


def _payload(base: int, offset: int, length: int) -> Expression:
    numbers = (_attribute(kind, struct.pack(">I", value)) for kind, value in ((2, base), (3, offset), (4, length)))
    return _expression("payload", _attribute(1, _REGISTER), *numbers)


def _bits(length: int, mask: bytes) -> Expression:
    """Keep the bits of a mask."""
    size = _attribute(3, struct.pack(">I", length))
    same = _nested(5, _data(bytes(length)))
    return _expression("bitwise", _attribute(1, _REGISTER), _attribute(2, _REGISTER), size, _nested(4, mask), same)


def _within(network: Address, offset: int, how: int) -> Expression:
    """Compare the destination's bits that a network's mask keeps."""
    address, mask = network.network_address.packed, network.netmask.packed
    return _payload(1, offset, len(address)) + _bits(len(address), _data(mask)) + _compare(address, how)


def _compare(value: bytes, how: int = _EQUAL) -> Expression:
    operation = _attribute(2, struct.pack(">I", how))
    return _expression("cmp", _attribute(1, _REGISTER), operation, _nested(3, _data(value)))


def _verdict(code: int, more: bytes = b"") -> Expression:
    verdict = _nested(2, _attribute(1, struct.pack(">i", code)) + more)
    return _expression("immediate", _attribute(1, bytes(4)), _nested(2, verdict))
