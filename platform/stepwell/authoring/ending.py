"""How a run's code ends: it returns or raises, is cancelled, continues as something else, or can never go on.

What it has left behind is cleared away first, in an order that every replay repeats; what has passed is then undone if
that is wanted; the last word goes to the host.
"""

import asyncio
from typing import TYPE_CHECKING, Any

from stepwell.authoring.results import ResultRefused, encode_result
from stepwell.authoring.step_future import Leaving, StepFuture
from stepwell.authoring.undo import Undos
from stepwell.authoring.verdict import failure, stuck, undone, verdict
from stepwell.authoring.wire import encode

if TYPE_CHECKING:
    from stepwell.authoring.turn import Turn


class Ending:
    """Ends the code of one turn, by the rules of a version of the replay."""

    def __init__(self, turn: "Turn", undos: Undos, rules: int) -> None:
        self.verdict: tuple[str, Any] | None = None  # the code is over; what is left is undoing
        self.leavings: dict[Leaving, dict[str, Any]] = {}
        self._turn = turn
        self._undos = undos
        self._rules = rules
        self._next: dict[str, Any] | None = None  # what the run continues as
        self._cancelled = False
        self._undo_asked = False  # by who cancelled
        self._undoing: asyncio.Task[list[str]] | None = None
        self._finishing = False
        self._left: list[StepFuture] = []  # handed to a task that nobody awaited to its end

    @property
    def undoing(self) -> bool:
        """It has begun to undo."""
        return self._undoing is not None

    def cancel(self, main: "asyncio.Task[Any]", *, undo: bool) -> None:
        """Raise a cancellation in the code, unless it is over."""
        if not main.done() and self.verdict is None:
            self._cancelled = True
            self._undo_asked = undo
            main.cancel()

    def leave(self, main: "asyncio.Task[Any]", leaving: Leaving) -> None:
        """Leave the code in order to continue; the first time counts."""
        if self._next is None:
            self._next = self.leavings[leaving]
            main.cancel()

    def leave_behind(self, when: str) -> None:
        """The code did not end in time after it was cancelled: leave it where it stands, and undo."""
        if self.verdict is not None:
            return
        turn = self._turn
        for step in list(turn.waiting.values()):
            turn.step_dropped(step)
        for timer in list(turn.loop.timers.values()):
            timer.cancel()
        self._judge("cancelled", failure("Cancelled", f"The code did not end {when} and was left."))

    def look(self, main: "asyncio.Task[Any]") -> None:
        """After a drain: end what is over, and what awaits something that no step, timer or event can bring."""
        if self.verdict is not None:
            self._close()
        elif main.done():
            self._finish(main)
        if self.verdict is None and not self._turn.waiting and not self._turn.loop.timers:
            self._end_stuck(main)

    def _finish(self, main: "asyncio.Task[Any]") -> None:
        loop = self._turn.loop
        if not self._finishing:
            self._finishing = True
            self._left = [task.step for task in loop.alive if task.step is not None and not task.step.done()]
            # A cancellation is raised once: branches that had it with run() have their grace to clean up.
            cleaning = {task for task in loop.alive if self._cancelled and self._rules >= 2 and task.cancelling()}
            for task in list(loop.alive):
                if task not in cleaning:
                    task.cancel()
            if not cleaning:
                self._cancel_used()
            loop.drain()
        if not loop.alive:
            if self._rules >= 2:
                self._cancel_used()
            self._conclude(main)

    def _cancel_used(self) -> None:
        for step in list(self._turn.waiting.values()):
            if step.used:
                step.cancel()

    def _conclude(self, main: "asyncio.Task[Any]") -> None:
        unused = [step for step in self._turn.steps.values() if step is not None and not step.used]
        for step in unused:
            step.cancel()
            step.used = False
        unused += [leaving for leaving in self.leavings if not leaving.used]
        if self._next is not None and not self._cancelled and (main.cancelled() or main.exception() is None):
            self._judge("continued", self._next)
        else:
            self._judge(*verdict(main, self._cancelled, self._left + unused))

    def _judge(self, state: str, value: Any) -> None:
        """The code is over: undo what has passed if that is wanted, then end the run."""
        turn = self._turn
        turn.prints.close_step("")
        if state == "passed":
            try:
                value = encode_result(value, "What run() returned")
            except ResultRefused as error:
                state, value = "failed", failure("ResultRefused", str(error))
        self.verdict = state, value
        if self._undos.wanted and (state == "failed" or (state == "cancelled" and self._undo_asked)):
            turn.begins_to_undo()
            self._undoing = turn.loop.create_task(self._undos.run(turn.ask), name="undo")
            turn.loop.drain()
        self._close()

    def _close(self) -> None:
        assert self.verdict is not None
        state, value = self.verdict
        if self._undoing is not None:
            if not self._undoing.done():
                return
            value = undone(value, self._undoing.result())
        self._turn.ended = True
        self._turn.wire.put(f'["end","{state}",{value if state == "passed" else encode(value)}]')

    def _end_stuck(self, main: "asyncio.Task[Any]") -> None:
        """Fail a run that would wait for ever."""
        if main.done():
            self._conclude(main)
            return
        files = self._turn.files
        self._judge("failed", stuck(main, files.names, files.root))
