"""Lines over an isolate's socket, bounded both ways: the other end is hostile until proven otherwise."""

import asyncio
import socket
from collections.abc import Callable

from stepwell.engine.specs import Limits

_RECEIVE_BYTES = 262_144
_USUAL_BYTES = 16_384
"""Above 128 KiB the C library maps each buffer anew, and gives it back: four calls of the system for a short line."""


class Lines:
    """The engine's end.

    Reads and writes right on the loop's selector: a transport would cost two more calls for each line.
    """

    def __init__(self, sock: socket.socket, limits: Limits) -> None:
        self._sock = sock
        self._limits = limits
        self._on_line: Callable[[bytes], None]
        self._on_end: Callable[[str], None]
        self._parts: list[bytes] = []
        self._size = 0
        self._room = _USUAL_BYTES
        self._out = bytearray()
        self._allowed = 0  # kept beyond the bound, since a journal may be long
        self._open = True
        self._loop = asyncio.get_running_loop()
        sock.setblocking(False)

    def listen(self, on_line: Callable[[bytes], None], on_end: Callable[[str], None]) -> None:
        """Begin to read: `on_line` gets each complete line; `on_end` is called once, with what went wrong or ""."""
        if self._open:
            self._on_line, self._on_end = on_line, on_end
            self._loop.add_reader(self._sock.fileno(), self._readable)

    def _readable(self) -> None:
        try:
            data = self._sock.recv(self._room)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if not data:
            self._end("")
            return
        self._room = _USUAL_BYTES if len(data) < _USUAL_BYTES else _RECEIVE_BYTES
        self._size += len(data)
        self._parts.append(data)
        if b"\n" in data:
            lines = b"".join(self._parts).split(b"\n")
            self._parts, self._size = [lines[-1]], len(lines[-1])
            for line in lines[:-1]:
                if not self._open:
                    return
                self._on_line(line)
        if self._size > self._limits.line_bytes:
            self._end(f"It sent a line of more than {self._limits.line_bytes} bytes.")

    def send(self, data: bytes, *, bounded: bool = True) -> None:
        """Send without waiting; what the other end does not take yet is kept, up to a bound unless told otherwise."""
        if not self._open:
            return
        if not self._out:
            try:
                sent = self._sock.send(data)
            except (BlockingIOError, InterruptedError):
                sent = 0
            except OSError:
                return  # the reader will see the end
            if sent == len(data):
                return
            data = data[sent:]
            self._loop.add_writer(self._sock.fileno(), self._writable)
        self._out += data
        if not bounded:
            self._allowed = len(self._out)
        if bounded and len(self._out) > self._limits.outgoing_bytes + self._allowed:
            self._end("It does not read what it is sent.")

    def _writable(self) -> None:
        try:
            with memoryview(self._out) as out:
                sent = self._sock.send(out)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self._out.clear()
            self._loop.remove_writer(self._sock.fileno())
            return
        del self._out[:sent]
        if not self._out:
            self._loop.remove_writer(self._sock.fileno())

    def _end(self, trouble: str) -> None:
        if self._open:
            self.close()
            self._on_end(trouble)

    def close(self) -> None:
        """Stop reading and writing, without calling `on_end`."""
        if self._open:
            self._open = False
            self._loop.remove_reader(self._sock.fileno())
            self._loop.remove_writer(self._sock.fileno())
            self._sock.close()
