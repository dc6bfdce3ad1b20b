"""The only entry in an isolate: serve one description or one turn over a socket, then vanish.

`serve` is called in a process forked from the zygote, or by `python -s -P -m stepwell.authoring.isolate FD`. Whoever
starts the interpreter must fix PYTHONHASHSEED (sets of text are ordered by it) and must not pass -I or -E, which
ignore it. The process never outlives the socket: when the host closes it, `os._exit` ends everything at once and
nothing is unwound in the author's code.

The journal follows the head line as one array of entries. A head that says `early` comes before the host has read all
of it: it is sent in frames, up to an empty array, and meanwhile the code is loaded, and what has
come is replayed. Then nothing begins, and nothing is said, before one more array of entries, which may be empty.
"""

import asyncio
import gc
import io
import os
import socket
import sys
import traceback
from collections.abc import Iterable, Iterator
from typing import Any, NoReturn

from stepwell.authoring import ordered, warming
from stepwell.authoring.code import Files, LoadFailed, load_all, load_entry, misspelt, refused
from stepwell.authoring.guard import Guard
from stepwell.authoring.outer import Outer
from stepwell.authoring.outline import outline
from stepwell.authoring.pipeline import PipelineRefused, declaration
from stepwell.authoring.prints import Prints
from stepwell.authoring.step_calls import unknown_call
from stepwell.authoring.turn import Turn
from stepwell.authoring.watchdog import Watchdog
from stepwell.authoring.wire import Wire, encode


def warm_up() -> Iterator[list[Any]]:
    """Do, part by part, in the process that isolates are forked from what they would else do each for itself."""
    yield from warming.warm_up(play)
    Guard().install()
    yield ["guarded"]
    Outer.make_ahead()
    yield ["made ahead"]


def rehearse() -> None:
    """Play one turn in a process that will serve one: what it writes to is no longer shared with others then."""
    for _ in warming.warm_up(play, 1):
        pass


def serve(sock: socket.socket) -> NoReturn:
    """Serve the one request of a fresh process. Never returns."""
    try:
        wire = Wire(sock)
        head = wire.read_line()
        if head["mode"] == "describe":
            sys.stdout = sys.stderr = _Nowhere()
            wire.send_bytes(encode(describe(head)).encode("utf-8", "replace") + b"\n")
            _idle(wire)
        _turn(wire, head)
    except BaseException:
        traceback.print_exc(file=sys.__stderr__)
    os._exit(1)


def describe(head: dict[str, Any]) -> dict[str, Any]:
    """Import the pipelines and say what they declare."""
    files = Files(head.get("root", ".stepwell"), head["files"])
    try:
        path, found = load_all(files, head.get("entry") or "pipeline.py")
        try:
            told = {"ok": True, "pipelines": [declaration(cls, path) for cls in found]}
            if not head.get("outline"):
                return told
            if wrong := unknown_call(files.files):
                raise LoadFailed(misspelt(files, *wrong))
            return {**told, "steps": outline(files.files)}
        except PipelineRefused as error:
            raise refused(files, path, error) from error
    except LoadFailed as error:
        return {"ok": False, "error": error.error}


def _turn(wire: Wire, head: dict[str, Any]) -> None:
    gc.disable()  # a collection at a random moment would run the author's finalizers there
    early = bool(head.get("early"))
    entries = [] if early else wire.read_line()
    outer = Outer.take()
    outer.set_exception_handler(_fatal)
    prints = Prints(wire, outer)
    prints.quiet = early or len(entries) > 1
    files = Files(head.get("root", ".stepwell"), head["files"])
    turn = Turn(head, files, wire, prints, outer=outer)
    watchdog = Watchdog(wire, float(head.get("stall", 10)), files.names)
    watchdog.loop = turn.loop
    watchdog.announce = turn.inline.announce
    watchdog.start()
    sys.stdout = sys.stderr = prints
    ordered.install(turn.loop, files.names)
    Guard.watch(turn.loop, files.names)
    watchdog.loading = True
    try:
        turn.pipeline = load_entry(files, head["entry"])
    except LoadFailed as error:
        wire.put(encode(["end", "failed", error.error]))
        wire.flush()
        _idle(wire)
    finally:
        watchdog.loading = False
    play(turn, wire, outer, _parts(wire) if early else [entries], held=early)


def _parts(wire: Wire) -> Iterator[list[Any]]:
    while part := wire.next_line():
        yield part


def play(
    turn: Turn,
    wire: Wire,
    outer: asyncio.AbstractEventLoop,
    journal: Iterable[list[Any]],
    *,
    held: bool = False,
) -> None:
    """Replay the journal, then do what comes over the wire until the outer loop is stopped."""

    def apply(lines: list[Any]) -> None:
        while lines:
            for line in lines:
                for entry in line:
                    turn.deliver(entry)
                turn.flush()
            lines = wire.read_kept()

    def begin() -> None:
        turn.replay(journal, held=held)
        apply(wire.read_kept() + wire.read_buffered())
        outer.add_reader(wire.sock.fileno(), lambda: apply(wire.read_ready()))

    outer.call_soon(begin)
    outer.run_forever()


def _idle(wire: Wire) -> NoReturn:
    while True:
        wire.read_line()  # leaves the process when the host closes the socket


class _Nowhere(io.TextIOBase):
    """Prints of a module that is only being described."""

    def write(self, text: str) -> int:
        return len(text)


def _fatal(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """End the process on an error of our own: a loop that only logs it would leave the run hanging."""
    error = context.get("exception")
    if error is None:
        return
    print(context.get("message"), file=sys.__stderr__)
    traceback.print_exception(error, file=sys.__stderr__)
    os._exit(4)


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
