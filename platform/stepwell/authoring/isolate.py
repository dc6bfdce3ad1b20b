"""The only entry in an isolate: serve one description or one turn over a socket, then vanish.

`serve` is called in a process forked from the zygote, or by `python -s -P -m stepwell.authoring.isolate FD`. Whoever
starts the interpreter must fix PYTHONHASHSEED (sets of text are ordered by it) and must not pass -I or -E, which
ignore it. The process never outlives the socket: when the host closes it, `os._exit` ends everything at once and
nothing is unwound in the author's code.
"""

import asyncio
import gc
import os
import socket
import sys
import traceback
from typing import Any, NoReturn

from stepwell.authoring.code import Files, LoadFailed, load_all, load_entry, refused
from stepwell.authoring.pipeline import PipelineRefused, declaration
from stepwell.authoring.prints import Prints
from stepwell.authoring.turn import Turn
from stepwell.authoring.wire import Wire, encode


def serve(sock: socket.socket) -> NoReturn:
    """Serve the one request of a fresh process. Never returns."""
    try:
        wire = Wire(sock)
        head = wire.read_line()
        if head["mode"] == "describe":
            answer = describe(head)
            wire.send_bytes(encode(answer).encode("utf-8", "replace") + b"\n")
            while True:
                wire.read_line()
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
            return {"ok": True, "pipelines": [declaration(cls, path) for cls in found]}
        except PipelineRefused as error:
            raise refused(files, path, error) from error
    except LoadFailed as error:
        return {"ok": False, "error": error.error}


def _turn(wire: Wire, head: dict[str, Any]) -> None:
    entries = wire.read_line()
    gc.freeze()
    gc.disable()  # a collection at a random moment would run the author's finalizers there
    outer = asyncio.new_event_loop()
    outer.set_exception_handler(_fatal)
    prints = Prints(wire, outer)
    sys.stdout = sys.stderr = prints  # type: ignore[assignment]
    files = Files(head.get("root", ".stepwell"), head["files"])
    prints.quiet = len(entries) > 1
    try:
        pipeline = load_entry(files, head["entry"])
    except LoadFailed as error:
        wire.put(encode(["end", "failed", error.error]))
        wire.flush()
        while True:
            wire.read_line()
    turn = Turn(head, pipeline, files, wire, prints, outer)

    def receive() -> None:
        for line in wire.read_ready():
            for entry in line:
                turn.deliver(entry)
            turn.flush()

    def begin() -> None:
        turn.replay(entries)
        outer.add_reader(wire.sock.fileno(), receive)
        if wire.buffered():
            receive()

    outer.call_soon(begin)
    outer.run_forever()


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
