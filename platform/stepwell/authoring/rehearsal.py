"""Plays a pipeline without an engine: a host in memory whose clock jumps, with the isolate in a real, fresh process.

For tests of pipelines and of the replay itself. Commands are answered by a function, people and events by a list of
actions, each taken when the run has nothing else to do. `kill_at` ends a turn the way a crash or a hibernation does.
"""

import json
import os
import random
import select
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from stepwell.authoring.frames import PASSED, frame_of, plain
from stepwell.authoring.results import LARGE_BYTES
from stepwell.authoring.version import REPLAY

Entry = list[Any]
Command = list[Any]
_SOURCES = str(Path(__file__).parents[2])
_TRACED = frozenset({"took", "drop", "undoing", "end", "diverged"})


def passing(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Answer every command with exit code 0, every read with an empty file, every call with its event's payload."""
    if "entry" in options:
        return {"ok": True, "value": options["event"].get("payload")}
    return {"ok": True, "value": "" if "path" in options else {"exit_code": 0, "seconds": 0.0, "outputs": {}}}


class Player(Protocol):
    """Plays one turn: an Isolate, or a Stage in this process. `read` gives None when nothing came in time."""

    def send(self, value: Any, /) -> None: ...

    def read(self, timeout: float, /) -> Any: ...


@dataclass
class Rehearsal:
    """One run. `actions` are ("event", type, payload), ("decide", done-data), ("cancel",), ("cancel", "undo")
    or ("overdue",), in order."""

    files: Mapping[str, str]
    entry: str = "pipeline.py"
    params: Mapping[str, Any] = field(default_factory=dict)
    actions: list[tuple[Any, ...]] = field(default_factory=list)
    execute: Callable[[str, Mapping[str, Any]], dict[str, Any]] = passing
    stall_seconds: float = 10.0
    patience_seconds: float = 20.0  # real time without a word after which a due timer fires beside running functions
    choose: random.Random = field(default_factory=random.Random)
    start: float = 1_000_000.0
    rules: int = REPLAY
    journal: list[Entry] = field(default_factory=list)
    commands: list[Command] = field(default_factory=list)
    last: Command = field(default_factory=list)

    def __post_init__(self) -> None:
        self._now = self.start
        self._open: dict[str, tuple[str, str, Any, float | None]] = {}
        self._pieces: dict[str, list[str]] = {}  # of large results
        if not self.journal:
            self._append("created", "", 0, {})

    def play(self, kill_at: int | None = None) -> Command:
        """Play one turn until it ends or nothing is left to do; gives its last word, [] when killed or waiting."""
        self.last = []
        sent = self.journal[-1][0]
        spoken = False  # an isolate that is still booting lets no timer pass
        with self.player() as isolate:
            while not self.last and (kill_at is None or len(self.journal) < kill_at):
                patient = not spoken or not self._dues()
                line = isolate.read(20.0 if patient else self.patience_seconds)
                spoken = True
                if line is None and patient:
                    raise TimeoutError(f"the isolate is silent after {self.journal[-1]}")
                entries = self._apply(line or [])
                idle = bool(line) and line[-1] == ["idle", sent]
                if not entries and not self.last and (idle or line is None):
                    entries = self._next(idle)
                    if not entries:
                        break
                if entries:
                    isolate.send(entries)
                    sent = entries[-1][0]
        return self.last

    def player(self) -> AbstractContextManager[Player]:
        """Give what plays the next turn."""
        return Isolate(self.head(), self.journal)

    def replay(self, entries: Sequence[Entry], part: int = 0) -> list[Command]:
        """Replay a journal in a fresh process and give what it says at the end of the replay.

        `part`: it comes in parts of so many entries, as a long one does.
        """
        early = {"early": True, "played": entries[-1][0]} if part else {}
        with Isolate({**self.head(), **early}, None if part else entries) as isolate:
            for begin in range(0, len(entries) if part else 0, part or 1):
                isolate.send_bytes(frame_of(zip(*map(in_short, entries[begin : begin + part]), strict=True)))
            if part:
                isolate.send([])
                isolate.send([])
            return isolate.read(20.0) or []

    def head(self) -> dict[str, Any]:
        """Give the first line of a turn."""
        return {
            "mode": "turn", "root": ".stepwell", "files": dict(self.files), "entry": self.entry, "run": "rehearsal",
            "params": dict(self.params), "stall": self.stall_seconds, "grace": 30, "number": 1, "scope": "acme/api",
            "result_bytes": LARGE_BYTES, "replay": self.rules,
        }  # fmt: skip

    def printed(self, key: str = "") -> str:
        """Give what run() or a step has printed."""
        return "".join(command[2] for command in self.commands if command[0] == "log" and command[1] == key)

    def _append(self, type_: str, key: str, attempt: int, data: Any) -> Entry:
        self._now += 0.001
        self.journal.append([len(self.journal) + 1, self._now, type_, key, attempt, data])
        return list(self.journal[-1])

    def _apply(self, line: list[Command]) -> list[Entry]:
        entries = []
        for command in line:
            self.commands.append(command)
            handle = _HANDLERS.get(command[0])
            entry = handle(self, command) if handle is not None else None
            if entry is not None:
                entries.append(entry)
        return entries

    def _asked(self, command: Command) -> None:
        _, key, kind, name, fingerprint, options, due, where, _base = command
        asked = {"kind": kind, "name": name, "fingerprint": fingerprint, "options": options, "due": due, "where": where}
        self._append("asked", key, 0, asked)
        self._open[key] = (kind, name, options, due)

    def _done(self, command: Command) -> Entry:
        _, key, name, fingerprint, attempt, ok, value, seconds = command
        inline = {"kind": "do", "name": name, "fingerprint": fingerprint}
        data = {"ok": ok, "value" if ok else "error": value, "seconds": seconds, "inline": inline}
        return [*self._append("done", key, attempt, data)[:5], None]

    def _piece(self, command: Command) -> None:
        _, key, number, piece = command
        self._pieces[key] = [*(self._pieces[key] if number else []), piece]

    def _large(self, command: Command) -> Entry:
        _, key, name, fingerprint, attempt, _size, seconds = command
        value = json.loads("".join(self._pieces.pop(key)))
        return self._done(["do", key, name, fingerprint, attempt, True, value, seconds])

    def _retried(self, command: Command) -> Entry:
        _, key, name, _fingerprint, attempt, error, delay, _seconds = command
        self._open[key] = ("backoff", name, {}, self._now + delay)
        return [*self._append("retry", key, attempt, {"error": error, "due": self._now + delay})[:5], None]

    def _dropped(self, command: Command) -> None:
        self._open.pop(command[1], None)
        self._append("dropped", command[1], 0, None)

    def _took(self, command: Command) -> None:
        self._open.pop(command[1], None)
        self._append("took", command[1], 0, {"event": command[2]})

    def _undoing(self, command: Command) -> None:
        self._append("undoing", "", 0, None)

    def _ended(self, command: Command) -> None:
        self.last = command

    def _dues(self) -> list[tuple[float, str]]:
        return sorted((due, key) for key, (_, _, _, due) in self._open.items() if due is not None)

    def _next(self, idle: bool) -> list[Entry]:
        asked = ("run", "read", "image", "call", "binding")
        commands = [key for key, (kind, *_) in self._open.items() if kind in asked] if idle else []
        if commands:
            key = self.choose.choice(commands)
            _, name, options, _ = self._open.pop(key)
            return [self._append("done", key, 1, self.execute(name, options))]
        if self.actions and idle and (self.actions[0][0] != "decide" or self._approval()):
            return self._act(self.actions.pop(0))
        for due, key in self._dues()[:1]:
            del self._open[key]
            self._now = max(self._now, due)
            return [self._append("fired", key, 0, None)]
        return []

    def _act(self, action: tuple[Any, ...]) -> list[Entry]:
        if action[0] == "event":
            return [self._append("event", "", 0, {"type": action[1], "payload": action[2], "id": None})]
        if action[0] == "cancel":
            return [self._append("cancel", "", 0, {"by": "", "reason": "", **dict.fromkeys(action[1:], True)})]
        if action[0] == "overdue":
            return [self._append("overdue", "", 0, None)]
        key = self._approval()
        del self._open[key]
        return [self._append("done", key, 1, action[1])]

    def _approval(self) -> str:
        return next((key for key, (kind, *_) in self._open.items() if kind == "approval"), "")


_HANDLERS: dict[str, Callable[[Rehearsal, Command], Entry | None]] = {
    "ask": Rehearsal._asked, "do": Rehearsal._done, "retry": Rehearsal._retried, "drop": Rehearsal._dropped,
    "took": Rehearsal._took, "chunk": Rehearsal._piece, "large": Rehearsal._large,
    "undoing": Rehearsal._undoing, "end": Rehearsal._ended, "diverged": Rehearsal._ended,
    "stalled": Rehearsal._ended,
}  # fmt: skip


class Isolate:
    """A fresh interpreter that serves one turn, or one description."""

    def __init__(self, head: Mapping[str, Any], journal: Sequence[Entry] | None = None) -> None:
        self._sock, theirs = socket.socketpair()
        # The seed is the isolate's; the padding moves its addresses, which no order may depend on.
        env = {"PYTHONHASHSEED": "0", "PYTHONPATH": _SOURCES, "PADDING": "x" * random.randrange(5000)}  # noqa: S311
        argv = [sys.executable, "-s", "-P", "-m", "stepwell.authoring.isolate", str(theirs.fileno())]
        self._process = subprocess.Popen(argv, pass_fds=[theirs.fileno()], env={**os.environ, **env})
        theirs.close()
        self._buffer = b""
        self.send(head)
        if journal is not None:
            self.send(journal)

    def __enter__(self) -> "Isolate":
        return self

    def __exit__(self, *exc: object) -> None:
        self._process.kill()
        self._process.wait()
        self._sock.close()

    def send(self, value: object) -> None:
        """Send one line."""
        self.send_bytes(json.dumps(value).encode() + b"\n")

    def send_bytes(self, data: bytes) -> None:
        """Send a frame."""
        self._sock.sendall(data)

    def read(self, timeout: float) -> Any:
        """Give the next line, None when none came in time; raises EOFError when the process is gone."""
        while b"\n" not in self._buffer:
            if not select.select([self._sock], [], [], timeout)[0]:
                return None
            self._receive()
        while self._buffer[:1] not in (b"[", b"{"):  # the last words of an isolate that held its lock for too long
            self._receive()
        line, _, self._buffer = self._buffer.partition(b"\n")
        return json.loads(line)

    def _receive(self) -> None:
        data = self._sock.recv(1 << 20)
        if not data:
            raise EOFError(self._buffer.decode() or f"the isolate ended with {self._process.wait()}")
        self._buffer += data

    def exit_code(self) -> int:
        """Close the socket, as the host does, and wait for the process."""
        self._sock.shutdown(socket.SHUT_RDWR)
        return self._process.wait(60)


def in_short(entry: Entry) -> Entry:
    """Give an entry as a frame tells it."""
    seq, at, kind, key, _, data = entry
    told = plain(data) if kind == "done" else None
    return entry if told is None else [seq, at, PASSED, key, *told]


def traced(commands: Sequence[Command]) -> list[Any]:
    """Keep what shows the order of things: asks, events taken, drops, prints, the end; not timers."""
    out: list[Any] = []
    for command in commands:
        if command[0] == "ask" and command[2] != "timer":
            out.append([*command[1:3], command[8]])
        elif (command[0] in _TRACED and not "".join(command[1:2]).startswith("~")) or command[:2] == ["log", ""]:
            out.append(command)
    return out


def bare(journal: Sequence[Entry]) -> list[Entry]:
    """Keep only what was delivered, so that a replay must ask everything again."""
    kept = [entry for entry in journal if entry[2] in ("created", "done", "fired", "event", "cancel", "overdue")]
    return [[*entry[:5], {k: v for k, v in entry[5].items() if k != "inline"} if entry[2] == "done" else entry[5]]
            for entry in kept]  # fmt: skip
