"""Calls of bindings: what code asks of `self.env`, made by the host once the ask is on disk.

A call is a task that stands in `live.attempts` like an attempt of a command, so that dropping, ending and hibernating
treat both alike; but it has neither attempts nor workspace, and never waits behind heavy steps for a place. After a
crash an open call is made again: bindings are idempotent by run and key.
"""

import asyncio
import logging
from typing import Any

from stepwell.engine.clock import pause
from stepwell.engine.live import Live
from stepwell.engine.parts import Parts
from stepwell.engine.seams import BindingCall
from stepwell.engine.slots import Slots
from stepwell.engine.specs import check_json
from stepwell.engine.state import StepState
from stepwell.engine.tasks import Tasks
from stepwell.errors import StepwellError, TryLater

_log = logging.getLogger(__name__)

AT_ONCE = 64
KIND = "binding"


class Calls:
    """Makes the calls of all runs, in turn between tenants."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._slots = Slots(AT_ONCE)
        self._tasks = Tasks()

    def start(self, live: Live, key: str) -> None:
        """Make the call of an open step, unless it is under way or the run is at a standstill."""
        if key in live.attempts or live.gone or live.state.finished or live.state.paused or live.state.held:
            return
        if key in live.withheld:
            return
        live.attempts[key] = self._tasks.start(self._call(live, key))

    def start_open(self, live: Live) -> None:
        """Make the calls that a crash or a pause has left open."""
        for step in list(live.state.steps.values()):
            if step.kind == KIND and step.state == "running":
                self.start(live, step.key)

    async def close(self) -> None:
        """End all calls; those that are open are made again at the next start."""
        await self._tasks.end()

    async def _call(self, live: Live, key: str) -> None:
        try:
            data = await self._answer(live, live.state.steps[key])
            current = live.attempts.get(key) is asyncio.current_task()
            if current and not live.state.finished and not live.gone:
                del live.attempts[key]
                self._parts.commits.append(live, "done", key, data)
        finally:
            if live.attempts.get(key) is asyncio.current_task():
                del live.attempts[key]

    async def _answer(self, live: Live, step: StepState) -> dict[str, Any]:
        began = self._parts.clock.elapsed()
        while True:
            try:
                data = await self._in_turn(live, step)
            except TryLater as error:
                await pause(self._parts.clock, error.retry_after)
            else:
                return {**data, "seconds": round(self._parts.clock.elapsed() - began, 6)}

    async def _in_turn(self, live: Live, step: StepState) -> dict[str, Any]:
        seconds = self._parts.limits.calling
        await self._slots.acquire(live.state.tenant)
        try:
            async with asyncio.timeout(seconds):
                return await self._made(live, step)
        except TimeoutError:
            return _failure("Timeout", f"self.env.{step.name} was not answered within {seconds:g} s.")
        finally:
            self._slots.release(live.state.tenant)

    async def _made(self, live: Live, step: StepState) -> dict[str, Any]:
        name = step.options["binding"]
        binding = self._parts.bindings.get(name)
        if binding is None:
            offered = ", ".join(self._parts.bindings) or "none"
            return _failure("NoBinding", f"There is no self.env.{name} here. There are: {offered}.")
        try:
            value = await binding.call(_asked(live, step))
            check_json(f"What self.env.{step.name} gives", value)
        except TryLater:
            raise
        except StepwellError as error:
            return _failure(type(error).__name__, str(error))
        except Exception as error:  # a binding's own mistake must fail its step, not the engine
            _log.exception("Step %s of run %s: the binding failed", step.key, live.id)
            return _failure("Bug", f"self.env.{step.name} failed ({type(error).__name__}). Please report this.")
        return {"ok": True, "value": value}


def _asked(live: Live, step: StepState) -> BindingCall:
    options = step.options
    args, kwargs = tuple(options.get("args") or ()), options.get("kwargs") or {}
    return BindingCall(live.state, step.key, step.asked_at, options["call"], args, kwargs, step.base)


def _failure(kind: str, message: str) -> dict[str, Any]:
    return {"ok": False, "error": {"type": kind, "message": message, "traceback": ""}}
