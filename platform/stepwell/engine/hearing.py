"""What an isolate says about its steps, turned into drafts of the run's journal."""

import logging
from collections.abc import Callable
from typing import Any

from stepwell.engine import commands
from stepwell.engine.commands import Malformed
from stepwell.engine.live import Live
from stepwell.engine.parts import Parts
from stepwell.engine.seams import Output
from stepwell.engine.specs import Note
from stepwell.engine.state import Inflight, StepState
from stepwell.store.json_text import encode

_log = logging.getLogger(__name__)

OPEN_LOGS = 100
INFLIGHT_SHOWN = 1000


class Hearing:
    """Takes one isolate's commands about steps; those about the turn itself are the Turn's."""

    def __init__(self, live: Live, parts: Parts) -> None:
        self.live = live
        self._parts = parts
        self._logs: dict[str, Output] = {}
        self._handlers: dict[str, Callable[[list[Any]], None]] = {
            "do": self._do, "ask": self._ask, "retry": self._retry, "drop": self._drop, "took": self._took,
            "undoing": self._undoing,
            "running": self._running, "log": self._log,
        }  # fmt: skip

    def take(self, command: list[Any]) -> None:
        """Do what a command says. Raises Malformed."""
        handler = self._handlers.get(command[0])
        if handler is None:
            raise Malformed(f"It sent the unknown command {command[0][:40]!r}.")
        handler(command)

    def close(self) -> None:
        """Close the logs that are open."""
        for key in list(self._logs):
            self._close_log(key)

    def _do(self, command: list[Any]) -> None:
        key, attempt, data = commands.done(self.live, command)
        if "value" in data and not commands.fits(data, encode):
            raise Malformed(f"The result of {key!r} is larger than 1 MiB.")
        self._close_log(key)
        self._parts.commits.append(self.live, "done", key, data, attempt, ack=True)

    def _ask(self, command: list[Any]) -> None:
        key, data = commands.asked(self.live, command)
        if data["due"] is not None and "until" not in data["options"]:
            # The code counts from journal time, which may be ahead of a clock that was set back.
            data["due"] -= max(0.0, self.live.state.updated_at - self._parts.clock.now())
        if data["kind"] == "run" and data["options"].get("environment"):
            step = StepState(key, data["name"], "run", "queued", self._parts.commits.now(), options=data["options"])
            step.base, step.where = tuple(data["base"]), data["where"]
            data["held"], data["due"] = gated(self.live, step, self._parts)
        self._parts.commits.append(self.live, "asked", key, data)

    def _retry(self, command: list[Any]) -> None:
        key, attempt, data, delay = commands.retry(self.live, command)
        data["due"] = self._parts.clock.now() + delay
        self._close_log(key)
        self._parts.commits.append(self.live, "retry", key, data, attempt, ack=True)

    def _drop(self, command: list[Any]) -> None:
        self._parts.commits.append(self.live, "dropped", commands.text(command[1]), None)

    def _took(self, command: list[Any]) -> None:
        key, data = commands.taken(self.live, command)
        self._parts.commits.append(self.live, "took", key, data)

    def _undoing(self, command: list[Any]) -> None:
        if not self.live.state.undoing:
            self._parts.commits.append(self.live, "undoing", "", None)

    def _running(self, command: list[Any]) -> None:
        key, name, attempt, *rest = command[1:]
        fingerprint, delay = (*rest, None, None)[:2]
        inflight = Inflight(
            commands.text(key), commands.text(name), commands.whole(attempt), self._parts.clock.now(),
            fingerprint if isinstance(fingerprint, str | int) else None,
            None if delay is None else commands.number(delay),
        )  # fmt: skip
        step = self.live.state.steps.get(inflight.key)
        if len(self.live.state.inflight) < INFLIGHT_SHOWN and (step is None or step.state in {"running", "retrying"}):
            self.live.state.inflight[inflight.key] = inflight
            note = Note(self.live.id, inflight.since, "running", inflight.key, inflight.name, inflight.attempt)
            self._parts.tell(note, self.live)

    def _log(self, command: list[Any]) -> None:
        key = commands.text(command[1])
        output = self._logs.get(key)
        if output is None:
            while len(self._logs) >= OPEN_LOGS:
                self._close_log(next(iter(self._logs)))
            step = self.live.state.steps.get(key)
            attempt = (step.attempt if step else 0) + 1 if key else 0
            output = self._logs[key] = self._parts.logs.writer(self.live.id, key, attempt, ())
        data = str(command[2]).encode("utf-8", "replace")
        room = self._parts.limits.printed_bytes - self.live.printed
        self.live.printed += len(data)
        if room > 0:
            output.write(data[:room])
        if 0 <= room < len(data):
            output.note(f"No more than {self._parts.limits.printed_bytes:,} bytes of what the code prints are kept.")

    def _close_log(self, key: str) -> None:
        output = self._logs.pop(key, None)
        if output is not None:
            output.close()


def gated(live: Live, step: StepState, parts: Parts) -> tuple[bool, float | None]:
    """Ask the gate whether people must agree, and when the step may begin; one that fails holds the step."""
    if parts.gate is None:
        return False, None
    try:
        due = parts.gate.not_before(live.state, step)
        return parts.gate.holds(live.state, step), due if due is not None and due > parts.clock.now() else None
    except Exception:
        _log.exception("Step %s of run %s: the gate failed", step.key, live.id)
        return True, None


def holds(live: Live, step: StepState, parts: Parts) -> bool:
    """Ask the gate; one that fails holds the step."""
    if parts.gate is None:
        return False
    try:
        return parts.gate.holds(live.state, step)
    except Exception:
        _log.exception("Step %s of run %s: the gate failed", step.key, live.id)
        return True
