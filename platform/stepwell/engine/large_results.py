"""Results that are too large for the journal: taken from an isolate piece by piece, kept as blobs, given back likewise.

The order that keeps promises: a blob is whole and on disk before the `done` that names it is drafted, so an entry never
points to what is not there. The sync takes a thread, since it may take as long as a disk likes; the isolate waits for
the acknowledgement meanwhile, as for any other. Nothing of it is ever in this process's memory as a whole.
"""

import asyncio
import codecs
from collections.abc import Callable
from typing import Any

from stepwell.engine import commands
from stepwell.engine.commands import Malformed
from stepwell.engine.live import Live
from stepwell.engine.parts import Parts
from stepwell.engine.seams import BlobWriter
from stepwell.engine.tasks import Tasks
from stepwell.store.json_text import encode

AT_ONCE = 100
PIECE_BYTES = 1_048_576

Kept = Callable[[str, list[list[Any]]], None]
"""Told the key of a step whose result is drafted, and the commands that were kept back until then."""
Trouble = Callable[[str], None]
"""Told why a result is not kept."""


class LargeResults:
    """Those of one isolate."""

    def __init__(self, live: Live, parts: Parts, on_kept: Kept, on_trouble: Trouble) -> None:
        self.live = live
        self._parts = parts
        self._on_kept = on_kept
        self._on_trouble = on_trouble
        self._writers: dict[str, BlobWriter] = {}
        self._keeping: dict[str, list[list[Any]]] = {}  # by key of a step: what was said about it meanwhile
        self._tasks = Tasks()
        self._closed = False

    @property
    def received(self) -> int:
        """Bytes under way."""
        return sum(writer.size for writer in self._writers.values())

    def take(self, command: list[Any]) -> None:
        """Take a piece of a result, or the word that it was the last. Raises Malformed."""
        try:
            (self._piece if command[0] == "chunk" else self._end)(command)
        except OSError as error:
            self._on_trouble(f"A result cannot be kept: {error.strerror}.")

    def holds(self, command: list[Any]) -> bool:
        """Keep back a command about a step whose result is on its way to disk: it comes after that."""
        held = self._keeping.get(command[1]) if isinstance(command[1], str) else None
        if held is not None:
            held.append(command)
        return held is not None

    def close(self) -> None:
        """Drop what was not finished."""
        self._closed = True
        for writer in self._writers.values():
            writer.drop()
        self._writers.clear()

    def _piece(self, command: list[Any]) -> None:
        _, raw_key, number, piece = command
        key = commands.text(raw_key)
        if number == 0:
            self._drop(key)
            if len(self._writers) >= AT_ONCE:
                raise Malformed(f"It sends more than {AT_ONCE} large results at once.")
            self._writers[key] = self._parts.blobs.writer(self.live.id)
        writer = self._writers.get(key)
        if writer is None or not isinstance(piece, str):
            raise Malformed(f"It sent a piece of a result of {key!r} that is none.")
        data = piece.encode("utf-8", "replace")
        if writer.size + len(data) > self._parts.blobs.most_bytes:
            raise Malformed(f"The result of {key!r} is larger than {self._parts.blobs.most_bytes:,} bytes.")
        writer.write(data)

    def _end(self, command: list[Any]) -> None:
        _, raw_key, name, fingerprint, number, size, seconds = command
        key, attempt, data = commands.done(self.live, ["do", raw_key, name, fingerprint, number, True, None, seconds])
        writer = self._writers.pop(key, None)
        if writer is None or writer.size != size:
            raise Malformed(f"It sent a result of {key!r} that is not whole.")
        del data["value"]
        self._keeping[key] = []
        self._tasks.start(self._keep(writer, key, attempt, data))

    async def _keep(self, writer: BlobWriter, key: str, attempt: int, data: dict[str, Any]) -> None:
        try:
            id = await asyncio.to_thread(writer.keep)
        except OSError as error:
            self._on_trouble(f"The result of {key!r} cannot be kept: {error.strerror}.")
            return
        if self._closed or self.live.gone or self.live.state.finished or not commands.owns(self.live, key):
            return
        data["blob"] = {"id": id, "size": writer.size}
        self._parts.commits.append(self.live, "done", key, data, attempt, ack=True)
        self._on_kept(key, self._keeping.pop(key))

    def _drop(self, key: str) -> None:
        writer = self._writers.pop(key, None)
        if writer is not None:
            writer.drop()

    def fetched(self, command: list[Any]) -> bytes:
        """Give the line with a piece of a blob: {text, next}, the offset of the one behind it or null.

        Raises Malformed, Unavailable.
        """
        _, id, offset = command
        data = self._parts.blobs.read(self.live.id, commands.text(id), commands.whole(offset), PIECE_BYTES)
        text, used = codecs.utf_8_decode(data, "strict", len(data) < PIECE_BYTES)
        last = len(data) < PIECE_BYTES
        return encode({"text": text, "next": None if last else offset + used}).encode() + b"\n"
