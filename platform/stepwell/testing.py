"""Plays a pipeline in a test: the real replay loop, with results, decisions and events as the test gives them.

    played = play(Ship, {"kind": "push", "branch": "main"}, default=Result(), decisions={"Ship it?": True})
    assert played.state == "passed", played.error

No server, isolate, git or container is needed. The clock is moved: a sleep of a week passes at once. In the end the run
is replayed from its journal, as after a hibernation; a run() that asks something else then is `diverged`.
"""

import asyncio
import contextlib
import datetime
import io
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Literal

from stepwell.authoring import given as gifts
from stepwell.authoring.calling import params_of
from stepwell.authoring.event import KNOWN, Event
from stepwell.authoring.failures import ApprovalTimeout, EventTimeout
from stepwell.authoring.given import NOTHING, Given, NotPlayed
from stepwell.authoring.pipeline import Pipeline, check
from stepwell.authoring.rehearsal import Command, Entry, Player, Rehearsal
from stepwell.authoring.results import Approval, Result
from stepwell.authoring.stage import AskedStep, Stage

__all__ = ["Failure", "NotPlayed", "Played", "PlayedStep", "play"]

State = Literal["passed", "continued", "failed", "cancelled", "diverged", "waiting"]
MOST_ENTRIES = 20_000
MOST_CALLS = 8
"""Runs called one by the other, as the engine has it."""
START = datetime.datetime(2030, 1, 1, tzinfo=datetime.UTC)
"""When a run starts unless the test says otherwise."""


@dataclass(frozen=True)
class Failure:
    """Why a run or a step failed; as text, with the place if there is one."""

    type: str
    message: str
    traceback: str = ""

    def __str__(self) -> str:
        return self.traceback or f"{self.type}: {self.message}"


@dataclass(frozen=True)
class PlayedStep:
    """A step as it went. `options` are its settings as the host sees them, `args` those of a `step.do`'s function."""

    key: str
    name: str
    kind: str
    options: Mapping[str, Any]
    args: tuple[Any, ...]
    state: Literal["passed", "failed", "cancelled", "waiting"]
    result: Any = None
    error: Failure | None = None


@dataclass(frozen=True)
class Played:
    """How a run went. `steps` are names in the order in which they were asked; `seconds` is how far the clock moved.

    `waiting` is a run that waits for ever: nobody decides, nothing comes, and no timeout ends it. `continued` is one
    round, ended by step.continue_as; its result is the event of the next, for another `play`. `unused` are the names in
    results, decisions and events that no step asked for: misspelt, or of steps that this run did not come to. `called`
    are the runs of pipelines that were given for a step.call, by its key.
    """

    state: State
    result: Any
    error: Failure | None
    steps: list[str]
    seconds: float
    details: tuple[PlayedStep, ...] = field(repr=False)
    unused: tuple[str, ...] = ()
    called: "Mapping[str, Played]" = field(default_factory=dict, repr=False)

    def step(self, name: str, use: int = 1) -> PlayedStep:
        """Give the n-th step of a name. Raises KeyError with the names there are."""
        key = f"{name}#{use}"
        for step in self.details:
            if step.key == key:
                return step
        known = ", ".join(step.key for step in self.details) or "none"
        raise KeyError(f"There is no step {key!r}. There are: {known}.")


def play(
    pipeline: type[Pipeline], event: Event | Mapping[str, Any] | None = None, *,
    results: Mapping[str, Any] | None = None, decisions: Mapping[str, Any] | None = None,
    events: Mapping[str, Any] | None = None, default: Any = NOTHING, start: datetime.datetime = START,
    replay: bool = True,
) -> Played:  # fmt: skip
    """Play a run of the pipeline to its end. Raises NotPlayed when a step has no result.

    `results` are by a step's name, its key ("test#2") or a pattern ("test *"): values, exceptions, or callables, called
    like the step's function or with the command and its options. `step.do` runs for real where nothing is given. For a
    step.call it may be a pipeline, which is played with the same results, decisions and events.
    `default` is the result of every command without one. `decisions` by an approval's name: True, False, Approval(…),
    Rejected, ApprovalTimeout. `events` by type: a payload, EventTimeout, a callable. CancelledError anywhere: somebody
    cancels the run while that step is in flight.
    """
    if not (isinstance(pipeline, type) and issubclass(pipeline, Pipeline)):
        raise TypeError(f"play() was given {pipeline!r}. Give a class of your pipeline, like play(Ship).")
    check(pipeline)
    if start.tzinfo is None:
        raise ValueError(f"start has value {start!r}. Write a datetime with a time zone.")
    for name, table in (("results", results), ("decisions", decisions), ("events", events)):
        if table is not None and not isinstance(table, Mapping):
            raise TypeError(f"{name} has value {table!r}. Write names and values, like {{'test': Result()}}.")
    given = Given(results or {}, decisions or {}, events or {}, default)
    return _Host(pipeline, event, given, start.timestamp(), replay=replay).whole()


class _Host(Rehearsal):
    """The host of one run in memory; it answers at once whatever it has an answer for, then moves the clock."""

    def __init__(
        self, pipeline: type[Pipeline], event: Event | Mapping[str, Any] | None, given: Given, start: float,
        *, replay: bool, calls: tuple[str, ...] = (),
    ) -> None:  # fmt: skip
        """`calls` are the keys by which it was called, from the first run on."""
        super().__init__({}, params=_params(event), patience_seconds=0.02, start=start)
        self._pipeline = pipeline
        self._given = given
        self._replay = replay
        self._calls = calls
        self._called: dict[str, Played] = {}
        self._stage: Stage

    def whole(self) -> Played:
        """Play the run to its end, replay it and sum up."""
        self.play()
        return self.played(self.divergence() if self._replay else "")

    def head(self) -> dict[str, Any]:
        head = super().head()
        return {**head, "run": "/".join((head["run"], *self._calls))}  # what it draws is not what its caller draws

    def player(self) -> AbstractContextManager[Player]:
        self._stage = Stage(self._pipeline, self.head(), self.journal, self._substitute)
        return self._stage

    def divergence(self) -> str:
        """Replay the run that was played; say what was not the same, "" when all was."""
        known = {step.key for step in self._stage.asked}
        replayed = Stage(self._pipeline, self.head(), self.journal, self._substitute, known=known)
        with contextlib.redirect_stdout(io.StringIO()), replayed as stage:
            while True:
                for command in stage.read():
                    if command[0] == "diverged":
                        return f"When it was replayed: {command[1]}"
                    if command[0] == "end":
                        return _difference(self.last, command)
                    if command[0] == "idle":
                        return _difference(self.last, [])

    def played(self, divergence: str) -> Played:
        """Sum up."""
        details = tuple(self._step(asked) for asked in self._stage.asked)
        state: State = self.last[1] if self.last else "waiting"
        value = self.last[2] if self.last else None
        if divergence:
            state, value = "diverged", {"type": "Diverged", "message": divergence}
        if state == "continued" and value is not None:
            value = params_of(self.params, value["event"])
        done = state in {"passed", "continued"}
        result, error = (value, None) if done else (None, _failure(value) if value else None)
        unused = tuple(self._given.unused())
        names, seconds = [step.name for step in details], self._now - self.start
        return Played(state, result, error, names, seconds, details, unused, self._called)

    def _step(self, asked: AskedStep) -> PlayedStep:
        base = (asked.key, asked.name, asked.kind, asked.options, asked.args)
        for _, _, type_, key, _, data in reversed(self.journal):
            if key != asked.key or type_ not in {"done", "fired", "took", "dropped"}:
                continue
            if type_ == "took":
                return PlayedStep(*base, "passed", self.journal[data["event"] - 1][5]["payload"])
            if type_ == "fired" and asked.kind in _TIMED_OUT:
                return PlayedStep(*base, "failed", None, _TIMED_OUT[asked.kind])
            if type_ == "done" and not data["ok"]:
                return PlayedStep(*base, "failed", None, _failure(data["error"]))
            if type_ == "dropped":
                return PlayedStep(*base, "cancelled")
            return PlayedStep(*base, "passed", _value(asked.kind, (data or {}).get("value")))
        return PlayedStep(*base, "waiting")

    # What Rehearsal asks

    def _append(self, type_: str, key: str, attempt: int, data: Any) -> Entry:
        if len(self.journal) >= MOST_ENTRIES:
            raise NotPlayed(
                f"run() has not ended after {MOST_ENTRIES:,} entries in its journal. Give one of its steps "
                "asyncio.CancelledError to end a pipeline that loops for ever."
            )
        return super()._append(type_, key, attempt, data)

    def _apply(self, line: list[Command]) -> list[Entry]:
        entries = super()._apply(line)
        for command in line:
            if command[0] == "log":
                sys.stderr.write(command[2])
            elif command[0] == "cancelled":
                entries.append(self._cancel())
        return entries

    def _next(self, idle: bool) -> list[Entry]:
        for key, (kind, name, options, _) in list(self._open.items()):
            entry = self._answer(key, kind, name, options)
            if entry is not None:
                return [entry]
        for due, key in self._dues()[:1]:
            kind, _, ended, _ = self._open.pop(key)
            self._now = max(self._now, due)
            return [self._append("done", key, 1, ended) if kind == "called" else self._append("fired", key, 0, None)]
        return []

    def _answer(self, key: str, kind: str, name: str, options: Mapping[str, Any]) -> Entry | None:
        """Answer an open step; None when only time can."""
        if kind in {"timer", "backoff", "called"}:
            return None
        given = self._given.result(key, name, kind) if kind == "sleep" else self._find(key, kind, name, options)
        if gifts.is_error(given, asyncio.CancelledError):
            del self._open[key]
            return self._cancel()
        if kind == "call" and isinstance(given, type) and issubclass(given, Pipeline):
            self._call(key, name, options, given)
            kind = "called"
        if kind in {"sleep", "called"} or gifts.is_error(
            given, ApprovalTimeout if kind == "approval" else EventTimeout
        ):
            return None
        if kind == "event":
            return self._arrive(given, name, options)
        del self._open[key]
        approves = kind == "approval"
        data = gifts.decided(given, name, options, self._now) if approves else gifts.done(given, kind, name, options)
        return self._append("done", key, 1, data)

    def _call(self, key: str, name: str, options: Mapping[str, Any], pipeline: type[Pipeline]) -> None:
        """Play a called pipeline; its caller hears of its end when as much time has passed."""
        calls = (*self._calls, key)
        if len(calls) > MOST_CALLS:
            raise NotPlayed(f"Step {name!r} calls {pipeline.__name__} {len(calls)} deep. Does a pipeline call itself?")
        check(pipeline)
        params = params_of(self.params, options["event"])
        with self._stage.aside():
            played = _Host(pipeline, params, self._given, self._now, replay=self._replay, calls=calls).whole()
        self._called[key] = played
        if played.state == "continued":
            raise NotPlayed(
                f"Step {name!r} calls {pipeline.__name__}, which goes on as another round; one is played at a time. "
                f"Give results={{{name!r}: what its last round returns}}."
            )
        due = None if played.state == "waiting" else self._now + played.seconds
        self._open[key] = ("called", name, _ended(pipeline, played), due)

    def _arrive(self, given: Any, name: str, options: Mapping[str, Any]) -> Entry | None:
        payload = gifts.called(given, name, **options)
        if gifts.is_error(payload, EventTimeout):
            return None
        return self._append(
            "event", "", 0, {"type": options["type"], "payload": gifts.plain(payload, name), "id": None}
        )

    def _find(self, key: str, kind: str, name: str, options: Mapping[str, Any]) -> Any:
        if kind == "event":
            found, table = self._given.event(options["type"]), self._given.events
        elif kind == "approval":
            found, table = self._given.decision(key, name), self._given.decisions
        else:
            found, table = self._given.result(key, name, kind), self._given.results
        if found is not NOTHING:
            return found
        where = next((step.where for step in self._stage.asked if step.key == key), "")
        others = f" Given are: {', '.join(map(repr, table))}." if table else ""
        raise NotPlayed(f"Step {name!r} at {where} has no answer. Give {_remedy(kind, name, options)}.{others}")

    def _cancel(self) -> Entry:
        return self._append("cancel", "", 0, {"by": "tester", "reason": ""})

    def _substitute(self, key: str, function: Callable[..., Any]) -> Callable[..., Any]:
        given = self._given.result(key, key.rpartition("#")[0], "do")
        return function if given is NOTHING else gifts.function(given, lambda: self._stage.say(["cancelled"]))


def _remedy(kind: str, name: str, options: Mapping[str, Any]) -> str:
    match kind:
        case "run":
            return f"results={{{name!r}: Result()}}, or default=Result() for all commands"
        case "read" | "image":
            return f"results={{{name!r}: '{'the text of the file' if kind == 'read' else 'sha256:…'}'}}"
        case "approval":
            return f"decisions={{{name!r}: True}}, or False, Approval(…), ApprovalTimeout"
        case "call":
            called = options["entry"].rpartition(":")[2]
            return f"results={{{name!r}: {called}}} to have that played, or what its run() returns"
        case "event":
            return f"events={{{options['type']!r}: payload}}, or EventTimeout"
        case _:
            return f"results={{{name!r}: …}}"


def _params(event: Event | Mapping[str, Any] | None) -> dict[str, Any]:
    if isinstance(event, Event):
        return {name.lstrip("_"): value for name, value in vars(event).items() if value is not None}
    if event is not None and not isinstance(event, Mapping):
        raise TypeError(
            f"The event has value {event!r}. Write names and values, like {{'kind': 'push', 'branch': 'main'}}."
        )
    for name in event or {}:
        if name not in KNOWN:
            raise ValueError(f"An event has no field {name!r}. Known are: {', '.join(KNOWN)}.")
    return dict(event or {})


def _ended(pipeline: type[Pipeline], played: Played) -> dict[str, Any]:
    """Tell the caller how a called run has ended."""
    if played.state == "passed":
        return {"ok": True, "value": played.result, "seconds": played.seconds}
    why, traceback = f"was {played.state}", ""
    if played.error is not None:
        why, traceback = f"{played.state}: {played.error.type}: {played.error.message}", played.error.traceback
    error = {"type": "CallFailed", "message": f"the run of {pipeline.__name__} {why}", "traceback": traceback}
    return {"ok": False, "error": error, "seconds": played.seconds}


def _value(kind: str, value: Any) -> Any:
    made = {"run": Result, "approval": Approval}.get(kind)
    return value if made is None else made(**value)


def _failure(error: Mapping[str, Any]) -> Failure:
    return Failure(str(error.get("type")), str(error.get("message")), str(error.get("traceback") or ""))


def _difference(first: Command, again: Command) -> str:
    """Compare how a run ended with how its replay did; errors may carry addresses, their types do not."""
    if first[:2] != again[:2]:
        ends = [f"it ended as {command[1]}" if command else "it went on waiting" for command in (first, again)]
        return f"At first {ends[0]}, when it was replayed {ends[1]}. {_CAUSE}"
    if first[1:2] in (["passed"], ["continued"]) and first[2] != again[2]:
        return f"At first run() returned {first[2]!r}, when it was replayed {again[2]!r}. {_CAUSE}"
    return ""


_CAUSE = "Take time, randomness and outside data from step calls, and keep nothing in global variables."
_TIMED_OUT = {
    "event": Failure("EventTimeout", "the event did not come in time"),
    "approval": Failure("ApprovalTimeout", "nobody decided in time"),
}
