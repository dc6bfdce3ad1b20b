"""JSON lines over the isolate's socket: one array of entries in, one array of commands out. A long journal comes in
frames, see frames.py.

Commands are encoded one by one and joined, so a line never outgrows what the host accepts, and all commands of a drain
leave in one write. The socket is blocking: the host always reads. When it is gone, so is the isolate, at once and
without unwinding anything: that is what hibernation looks like from the inside.
"""

import json
import os
import socket
import threading
from collections import deque
from typing import Any

from stepwell.authoring.frames import entries_of

LINE_BYTES = 8 * 1_048_576
_RECEIVE_BYTES = 262_144
_USUAL_BYTES = 16_384
"""Above 128 KiB the C library maps each buffer anew, and gives it back: four calls of the system for a short line."""

encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode
decode = json.JSONDecoder().decode


class Wire:
    """The isolate's end of the socket. `put` and `flush` may be called from any thread."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(True)
        self.sock = sock
        self._buffer = b""
        self._room = _USUAL_BYTES
        self._kept: list[Any] = []  # lines that came while something else was awaited
        self._start()

    def _start(self) -> None:
        self._out: deque[str] = deque()
        self._lock = threading.Lock()

    def read_line(self) -> Any:
        """Block until one line or frame is there."""
        parts = [self._buffer]
        while b"\n" not in parts[-1]:
            parts.append(self._receive())
        line, _, self._buffer = b"".join(parts).partition(b"\n")
        return self._read_frame(int(line[1:])) if line.startswith(b"#") else decode(line.decode())

    def _read_frame(self, size: int) -> Any:
        parts, missing = [self._buffer], size - len(self._buffer)
        while missing > 0:
            parts.append(self._receive())
            missing -= len(parts[-1])
        whole = b"".join(parts)
        self._buffer = whole[size:]
        return entries_of(whole)

    def next_line(self) -> Any:
        """Give the next line, perhaps one that came while something was fetched."""
        return self._kept.pop(0) if self._kept else self.read_line()

    def fetch(self, id: str) -> str:
        """Ask the host for what it keeps beside the journal, and block until all of it is there."""
        pieces, offset = [], 0
        while offset is not None:
            with self._lock:  # right away, before what is put: during a replay nothing else may leave
                self.send_bytes(f"[{encode(['fetch', id, offset])}]\n".encode())
            while not isinstance(piece := self.read_line(), dict):
                self._kept.append(piece)
            pieces.append(piece["text"])
            offset = piece["next"]
        return "".join(pieces)

    def read_kept(self) -> list[Any]:
        """Give the lines that came while something was fetched."""
        kept, self._kept = self._kept, []
        return kept

    def read_ready(self) -> list[Any]:
        """Receive once and give the lines that are complete; for when the socket is readable."""
        self._buffer += self._receive()
        return self.read_buffered()

    def read_buffered(self) -> list[Any]:
        """Give the lines that came together with one that was read before."""
        lines, end, self._buffer = self._buffer.rpartition(b"\n")
        return [decode(line) for line in lines.decode().split("\n")] if end else []

    def _receive(self) -> bytes:
        try:
            data = self.sock.recv(self._room)
        except ConnectionError:
            data = b""
        if not data:
            os._exit(0)
        self._room = _USUAL_BYTES if len(data) < _USUAL_BYTES else _RECEIVE_BYTES
        return data

    def put(self, command: str) -> None:
        """Keep an encoded command for the next flush."""
        self._out.append(command)

    def flush(self) -> None:
        """Send everything kept, in order, as few lines as the size allows."""
        with self._lock:
            out = self._out
            line: list[str] = []
            size = 0
            while out:  # popped one by one: other threads append meanwhile
                command = out.popleft()
                length = len(command) if command.isascii() else 4 * len(command)
                if size + length > LINE_BYTES and line:
                    self._send(line)
                    line, size = [], 0
                line.append(command)
                size += length
            if line:
                self._send(line)

    def _send(self, commands: list[str]) -> None:
        # What is not valid Unicode was refused where it is a result; in messages and prints it becomes "?".
        self.send_bytes(("[" + ",".join(commands) + "]\n").encode("utf-8", "replace"))

    def send_bytes(self, data: bytes) -> None:
        """Send a whole line."""
        try:
            self.sock.sendall(data)
        except (ConnectionError, OSError):
            os._exit(0)
