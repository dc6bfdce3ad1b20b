"""Plays small turns in the process that isolates will be forked from, so that isolates begin with code that is warm.

CPython makes a function quick after some calls and writes that into the function's own memory. An isolate would do so
just before its turn is over, in pages that it must copy first; what is forked from here has it from its first step on.
What is played is ours and tells nothing of anybody, and what a turn changes in its process is taken back.
"""

import asyncio
import linecache
import socket
import sys
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NoReturn

from stepwell.authoring import ordered
from stepwell.authoring.code import Files, load_entry
from stepwell.authoring.guard import Guard
from stepwell.authoring.loop import Loop
from stepwell.authoring.outer import Outer
from stepwell.authoring.prints import Prints
from stepwell.authoring.turn import Turn
from stepwell.authoring.version import REPLAY
from stepwell.authoring.wire import Wire, decode, encode

ROUNDS = 12
"""The interpreter counts to 8 before it looks at what a function does, and to 2 more until it believes it."""
_PATIENCE_SECONDS = 1.0

SOURCE = """
from asyncio import gather
from stepwell import Pipeline, manual, push

async def work(number):
    return {"number": number}

class Warm(Pipeline):
    on = [push("main"), manual()]

    async def run(self, event, step):
        for number in range(3):
            await step.do("one by one", work, number)
        await gather(step.run("command", "true"), step.do("beside", work, 3))
        await step.sleep("rest", "1 second")
        return await step.wait_for_event("word", type="go")
"""
_HEAD = {
    "mode": "turn", "root": ".stepwell", "files": {"pipeline.py": SOURCE}, "entry": "pipeline.py:Warm", "run": "warm",
    "params": {"kind": "manual", "payload": {}}, "stall": 10, "grace": 30, "number": 1, "scope": "warm/warm",
    "replay": REPLAY,
}  # fmt: skip
_ANSWERS: dict[str, tuple[str, Any]] = {
    "run": ("done", {"ok": True, "value": {"exit_code": 0, "seconds": 0.0, "outputs": {}}}),
    "sleep": ("fired", None),
    "event": ("event", {"type": "go", "payload": 1}),
}


Player = Callable[[Turn, Wire, asyncio.AbstractEventLoop, Iterable[list[Any]]], None]
"""Plays a turn on a journal, until the loop is stopped."""


def warm_up(play: Player, rounds: int = ROUNDS) -> Iterator[list[Any]]:
    """Play one turn for each item that is asked for, first plays and replays by turns; give its last word."""
    journal: list[Any] = []
    for number in range(rounds):
        host = _Host(journal[: len(journal) // 2 if number % 2 else 0])
        _play(host, play)
        journal = host.journal
        yield host.last


class _Host:
    """Answers a turn in the same process, on its outer loop."""

    def __init__(self, journal: list[Any]) -> None:
        self.journal = journal or [[1, 1.0, "created", "", 0, None]]
        self.last: list[Any] = []
        self.sock, self.theirs = socket.socketpair()
        self.outer = Outer()
        self.outer.open()

    def begin(self) -> None:
        """Send what a turn begins with."""
        self._send(_HEAD)
        self._send(self.journal)
        self.outer.add_reader(self.sock.fileno(), self._heed)
        self.outer.call_later(_PATIENCE_SECONDS, self.outer.stop)

    def close(self) -> None:
        self.outer.close()
        self.sock.close()
        self.theirs.close()

    def _heed(self) -> None:
        told: list[list[Any]] = []
        for line in self.sock.recv(1 << 16).decode().splitlines():
            for command in decode(line):
                self.last = command
                told += self._answers(*command)
        if told:
            self._send(told)

    def _answers(self, word: str, *said: Any) -> Iterator[list[Any]]:
        """Journal what is said and what follows from it; give of that what the turn is told."""
        if word == "do":
            key, name, fingerprint, attempt, ok, value, seconds = said
            inline = {"name": name, "kind": "do", "fingerprint": fingerprint}
            self._journal("done", key, attempt, {"ok": ok, "value": value, "seconds": seconds, "inline": inline})
            yield [*self.journal[-1][:5], None]  # it has the value itself
        elif word == "ask":
            key, kind, name, fingerprint, options, _due, where, _seq = said
            asked = {"kind": kind, "name": name, "fingerprint": fingerprint, "options": options, "where": where}
            self._journal("asked", key, 0, asked)
            type_, data = _ANSWERS[kind]
            self._journal(type_, "" if type_ == "event" else key, 0, data)
            yield self.journal[-1]
        elif word == "took":
            self._journal("took", said[0], 0, {"event": said[1]})
        elif word == "end":
            self.outer.stop()

    def _journal(self, type_: str, key: str, attempt: int, data: Any) -> None:
        seq = len(self.journal) + 1
        self.journal.append([seq, float(seq), type_, key, attempt, data])

    def _send(self, value: Any) -> None:
        self.sock.sendall(encode(value).encode() + b"\n")


def _play(host: _Host, play: Player) -> None:
    with _taken_back() as after:
        after.callback(host.close)
        host.begin()
        wire = Wire(host.theirs)
        head = wire.read_line()
        entries = wire.read_line()
        prints = Prints(wire, host.outer)
        files = Files(head["root"], head["files"])
        turn = Turn(head, files, wire, prints, outer=host.outer, leave=_leave)
        sys.stdout = sys.stderr = prints
        after.callback(ordered.install(turn.loop, files.names))
        after.callback(_guarded(turn.loop, files.names))
        turn.pipeline = load_entry(files, head["entry"])
        play(turn, wire, host.outer, [entries])


def _guarded(loop: Loop, names: Collection[str]) -> Callable[[], None]:
    """Guard a turn as an isolate does; give what takes that back."""
    standing = Guard.standing
    if standing is not None:
        Guard.watch(loop, names)
        return standing.rest
    guard = Guard(loop, names)
    guard.install()
    return guard.remove


def _leave(_code: int) -> NoReturn:
    raise RuntimeError("A turn that warms up has diverged.")


@contextmanager
def _taken_back() -> Iterator[ExitStack]:
    """Leave the process as it was: what a pipeline may see of the interpreter must not tell that one was here."""
    path, finders, modules, streams = sys.path[:], sys.meta_path[:], set(sys.modules), (sys.stdout, sys.stderr)
    try:
        with ExitStack() as after:
            yield after
    finally:
        sys.path[:], sys.meta_path[:] = path, finders
        sys.stdout, sys.stderr = streams
        for name in set(sys.modules) - modules:
            del sys.modules[name]
        linecache.clearcache()
