"""Undoing: what passed steps have registered to be run, in reverse order, when their run fails.

The functions are ordinary `step.do` steps of the run, asked one after the other when its code is over, so a crash in
the middle goes on where it was, and a replay finds each of them in its place.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from stepwell.authoring.durations import Duration
from stepwell.authoring.failures import StepFailed
from stepwell.authoring.inline import Work
from stepwell.authoring.results import decode, encode
from stepwell.authoring.retries import Decide, Retry
from stepwell.authoring.step_future import StepFuture


@dataclass(frozen=True)
class Undo:
    """An undo function with retries and a timeout of its own: `undo=Undo(release, retries=2)`."""

    function: Callable[[Any], Any]
    retries: int | Retry | Decide | None = None
    timeout: Duration | None = None


class Undos:
    """The undo functions of the steps that have passed.

    A step that the code has cancelled may have passed all the same: its result is on the way to the journal, or comes
    later in a replay. Such a one is expected, and undone like the others.
    """

    def __init__(self) -> None:
        self._passed: dict[int, tuple[StepFuture, str]] = {}
        self._expected: set[str] = set()
        self._all_here = asyncio.Event()

    @property
    def wanted(self) -> bool:
        """Say whether there is anything to undo."""
        return bool(self._passed or self._expected)

    def expect(self, step: StepFuture) -> None:
        """Await the result of a step that the code has cancelled too late."""
        self._expected.add(step.key)

    def note(self, seq: int, step: StepFuture, ok: bool, value: Any) -> None:
        """Remember a step whose result is entry `seq`; its value as text, since the code may change what it got."""
        if ok and step.work is not None and step.work.undo is not None:
            self._passed[seq] = step, encode(value)
        if step.key in self._expected:
            self._expected.remove(step.key)
            if not self._expected:
                self._all_here.set()

    async def run(self, ask: Callable[..., StepFuture]) -> list[str]:
        """Undo the latest first; what fails keeps no other from being undone. Gives what failed."""
        if self._expected:
            await self._all_here.wait()
        failed = []
        for _, (step, text) in sorted(self._passed.items(), reverse=True):
            work: Work = replace(step.work.undo, args=(decode(text),))
            try:
                await ask("do", f"undo {step.name}", step.fingerprint, work=work)
            except StepFailed as error:
                failed.append(str(error))
        return failed
