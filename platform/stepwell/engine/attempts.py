"""Attempts of executors' steps: queue, start, time out, judge, and try again.

An attempt is a task. It is told apart from its step by the rule that only the task which still stands in
`live.attempts` may speak for the step: what a cancelled or forgotten one brings is dropped with its layer.
A step's timeout counts while the attempt executes, never while it queues. Of commands and builds the executor keeps it:
only that knows when they began, and a late one's artifacts and reports are kept like those of any that failed.
"""

import asyncio
import logging
from typing import Any

from stepwell.authoring.retries import Retry
from stepwell.engine.clock import pause
from stepwell.engine.live import EXECUTED, Live
from stepwell.engine.loading import load_code
from stepwell.engine.parts import Parts
from stepwell.engine.seams import Attempt, Code, Outcome, Prepared
from stepwell.engine.specs import Limits
from stepwell.engine.state import StepState
from stepwell.engine.tasks import Tasks
from stepwell.errors import StepwellError, TryLater

_log = logging.getLogger(__name__)

RUNNER = "local"


class Attempts:
    """Runs the attempts of all runs, as many at a time as there are slots."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._tasks = Tasks()

    def __len__(self) -> int:
        return len(self._tasks)

    def start(self, live: Live, key: str) -> None:
        """Make the next attempt of a queued step, now or when there is room for the run."""
        if key in live.attempts or live.gone or live.state.finished or live.state.paused or live.state.held:
            return
        if key in live.withheld:
            return
        if not self._parts.room.ask(live.wish(turn=False)):
            return
        live.attempts[key] = self._tasks.start(self._attempt(live, key))

    def stop(self, live: Live, key: str) -> None:
        """End an attempt whose step is wanted no more; its processes are dead when its task is done."""
        task = live.attempts.pop(key, None)
        if task is not None:
            task.cancel()

    async def abandon(self, run: str, key: str) -> None:
        """End what an earlier server has left running of a step that is wanted no more, should there be anything."""
        if self._parts.executor is not None:
            await self._parts.executor.abandon(run, key)

    def stop_queued(self, live: Live) -> None:
        """Give up the places in the queue of attempts that have not begun."""
        for key in list(live.attempts):
            if live.state.steps[key].state == "queued":
                self.stop(live, key)

    def start_queued(self, live: Live) -> None:
        """Make attempts of all steps that are queued."""
        for step in list(live.state.steps.values()):
            if step.kind in EXECUTED and step.state == "queued":
                self.start(live, step.key)

    def stop_all(self, live: Live) -> list["asyncio.Task[None]"]:
        """End every attempt of a run; give the tasks to wait for."""
        tasks = list(live.attempts.values())
        for key in list(live.attempts):
            self.stop(live, key)
        return tasks

    async def close(self) -> None:
        """End all attempts of all runs, without a word in any journal: at the next start they are lost ones."""
        await self._tasks.end()

    def _speaks(self, live: Live, key: str) -> bool:
        current = live.attempts.get(key) is asyncio.current_task()
        return current and not live.state.finished and not live.gone

    async def _attempt(self, live: Live, key: str) -> None:
        parts = self._parts
        try:
            code = await self._code(live)
            await parts.step_slots.acquire(live.state.tenant, live.rank)
            try:
                if not self._speaks(live, key) or live.state.paused or key in live.withheld:
                    return
                step = live.state.steps[key]
                parts.commits.append(live, "started", key, {"runner": RUNNER}, step.attempt + 1)
                outcome = await self._execute(live, step, code)
            finally:
                parts.step_slots.release(live.state.tenant)
            if self._speaks(live, key):
                del live.attempts[key]
                self._conclude(live, step, outcome)
        finally:
            if live.attempts.get(key) is asyncio.current_task():
                del live.attempts[key]

    async def _code(self, live: Live) -> Code:
        """Give the run's code, waiting as long as it takes: the step stays queued, nothing is lost."""
        while live.code is None:
            try:
                live.code = await load_code(live, self._parts)
            except TryLater as error:
                await pause(self._parts.clock, error.retry_after)
            except StepwellError:
                await pause(self._parts.clock, self._parts.limits.again)
        return live.code

    async def _execute(self, live: Live, step: StepState, code: Code) -> Outcome:
        parts, state = self._parts, live.state
        if parts.executor is None:
            return _refusal(
                "Unavailable",
                "This engine has no executor for commands and files. Do the work in step.do(name, function).",
            )
        assert step.kind in {"run", "read", "image"}
        attempt = Attempt(
            state.id, state.tenant, state.scope, state.metadata, code, step.key, step.name,
            step.kind, step.attempt, step.options, step.base,
            tuple(layer for _, layer in state.layers), state.number,
        )  # fmt: skip
        try:
            prepared = await parts.preparer.prepare(attempt) if parts.preparer else Prepared()
            return await self._bounded(attempt, prepared)
        except TryLater as error:
            await pause(parts.clock, error.retry_after)
            return Outcome(False, error=_error("TryLater", str(error)), lost=True)
        except StepwellError as error:
            return _refusal(type(error).__name__, str(error))
        except Exception as error:  # the executor's own mistake must cost an attempt, not the engine
            _log.exception("Step %s of run %s: the executor failed", step.key, state.id)
            message = f"The executor failed ({type(error).__name__}: {error}). Please report this."
            return Outcome(False, error=_error("Bug", message))

    async def _bounded(self, attempt: Attempt, prepared: Prepared) -> Outcome:
        """Execute within what `patience` gives; when it is over everything of the attempt is dead."""
        parts = self._parts
        assert parts.executor is not None
        output = parts.logs.writer(attempt.run, attempt.key, attempt.number, prepared.masks)
        work = asyncio.ensure_future(parts.executor.execute(attempt, prepared, output))
        seconds, message = patience(attempt, parts.limits)
        expired = False

        def expire() -> None:
            nonlocal expired
            expired = True
            work.cancel()

        handle = parts.clock.call_later(seconds, expire) if seconds else None
        try:
            outcome = await work
        except asyncio.CancelledError:
            if not expired:
                work.cancel()
                raise
            outcome = Outcome(False, error=_error("Timeout", message), seconds=seconds)
        finally:
            output.close()
            if handle is not None:
                handle.cancel()
        await output.kept()
        return outcome

    def _conclude(self, live: Live, step: StepState, outcome: Outcome) -> None:
        append, key, number = self._parts.commits.append, step.key, step.attempt
        error = dict(outcome.error) if outcome.error else _error("StepFailed", f"{step.name!r} failed.")
        if outcome.ok:
            append(live, "done", key, {"ok": True, "value": outcome.value, **_facts(outcome)}, number)
        elif outcome.lost:
            self.lose(live, step, str(error["message"]))
        else:
            delay = None if outcome.final else Retry.of_json(step.options.get("retries")).after_death(step.failures + 1)
            if delay is None:
                append(live, "done", key, {"ok": False, "error": error, **_facts(outcome)}, number)
            else:
                due = self._parts.clock.now() + delay
                append(live, "retry", key, {"error": error, "due": due, **_facts(outcome)}, number)

    def lose(self, live: Live, step: StepState, reason: str) -> None:
        """Note a lost attempt: another one follows, but not for ever."""
        self._parts.commits.append(live, "lost", step.key, {"reason": reason}, step.attempt)
        if step.losses >= self._parts.limits.losses:
            message = f"{step.name!r} was lost {step.losses} times in a row; the last time: {reason}"
            self._parts.commits.append(
                live, "done", step.key, {"ok": False, "error": _error("Lost", message), "seconds": 0.0}, step.attempt
            )


def patience(attempt: Attempt, limits: Limits) -> tuple[float, str]:
    """Return after how many seconds to kill an attempt, 0 for never, and what to say then.

    For a command or a build this is a backstop, should the executor not come back: beside its time there are its
    `setup=`, which may take as long again, and `limits.overdue` for its image, its tools and for keeping its files.
    """
    seconds, name = float(attempt.options.get("timeout") or 0), repr(attempt.name)
    if attempt.kind == "read" or not seconds:
        return seconds, f"{name} took longer than {seconds:g} s and was killed. Give it longer with timeout=."
    seconds = 2 * seconds + limits.overdue
    return seconds, (
        f"{name} was not over after {seconds:g} s, with all that is beside its command, and was killed: nothing of it "
        "is kept. Have the operator look at the runner's disk and container engine."
    )


def _facts(outcome: Outcome) -> dict[str, Any]:
    facts: dict[str, Any] = {"seconds": round(outcome.seconds, 6)}
    if outcome.layer is not None:
        facts["layer"] = outcome.layer
    if outcome.collected is not None:
        facts["collected"] = outcome.collected
    if outcome.connections is not None:
        facts["connections"] = outcome.connections
    if outcome.reused is not None:
        facts["reused"] = outcome.reused
    if outcome.exit_code is not None:
        facts["exit_code"] = outcome.exit_code
    return facts


def _refusal(kind: str, message: str) -> Outcome:
    return Outcome(False, error=_error(kind, message), final=True)


def _error(kind: str, message: str) -> dict[str, Any]:
    return {"type": kind, "message": message, "traceback": ""}
