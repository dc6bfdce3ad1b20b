"""The journal that a turn replays, as it comes: what is to be delivered next, and what the code has asked before.

The host sends a long journal in parts, and the code is played as far as they go: who waited for the last part would
add the time in which the host reads them to the time of the replay, and would hold all of the journal in memory. So
what the code asks may stand in a part that is not here yet. Such questions wait for the parts, one after the other,
until one has the answer or there is no more; they cannot be left open, since a divergence must end the code at once.
The usual answers are near. That functions are what they were is asked of nobody: their results say it themselves, and
are compared when they are about to be delivered.
"""

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from stepwell.authoring.frames import PASSED
from stepwell.authoring.loop import Loop
from stepwell.authoring.past import Past
from stepwell.authoring.step_future import StepFuture

Entry = Sequence[Any]  # [seq, at, type, key, attempt, data], or as it is told by PASSED


class Replay:
    """The rest of a journal. `played`: the last entry that an earlier turn is known to have dealt with.

    `diverge` gets a key and the facts, and does not come back.
    """

    def __init__(
        self, loop: Loop, diverge: Callable[..., object], parts: Iterable[Sequence[Entry]] = (), played: int = 0
    ) -> None:
        self.past = Past(played=played)
        self._diverge = diverge
        self.rest: deque[Entry] = deque()
        self._loop = loop
        self._parts = iter(parts)

    def pull(self) -> bool:
        """Wait for the next part; false when there is no more."""
        inside, self._loop.inside = self._loop.inside, False  # it is the host that lets the code wait
        try:
            part = next(self._parts, None)
        finally:
            self._loop.inside = inside
        if part is None:
            return False
        self.past.add(part)
        self.rest.extend(part)
        return True

    def _found(self, found: Callable[[], Any]) -> Any:
        while not (answer := found()) and self.pull():
            pass
        return answer

    def asked(self, key: str) -> tuple[str, str] | None:
        """Give kind and fingerprint of what was asked."""
        known: tuple[str, str] | None = self._found(lambda: self.past.asked.get(key))
        return known or self._asked_inline(key)

    def _asked_inline(self, key: str) -> tuple[str, str] | None:
        """Look for it in what is left; only a divergence finds the key of a function where it seeks something else."""
        for _, _, type_, other, fingerprint, data in self.rest:
            if other == key and type_ == PASSED:
                return "do", fingerprint
            if other == key and type_ == "done" and data.get("inline"):
                return data["inline"]["kind"], data["inline"]["fingerprint"]
        return None

    def took(self, key: str) -> int | None:
        """Give the event that a wait took."""
        taken: int | None = self._found(lambda: self.past.took.get(key))
        return taken

    def dropped(self, key: str) -> bool:
        """Say whether the code has given it up."""
        return bool(self._found(lambda: key in self.past.dropped))

    def undoing(self) -> bool:
        """Say whether the run was being undone."""
        return bool(self._found(lambda: self.past.undoing))

    def brings(self, key: str) -> bool:
        """Say whether the result of a step is still to come."""
        self._found(lambda: False)
        return any(entry[3] == key and entry[2] in {"done", PASSED} for entry in self.rest)

    # What the code asks, compared with what it has asked

    def check(self, step: StepFuture, known: tuple[str, str], options: Mapping[str, Any] | None = None) -> None:
        """Compare a step with the kind and fingerprint that the journal knows of its key."""
        if known != (step.kind, step.fingerprint):
            otherwise = self.past.told_otherwise(step.key, step.kind, options, step.where, known[0])
            self._diverge(step.key, self.past.told(step.key), otherwise)

    def compare(self, step: StepFuture, inline: Mapping[str, str] | None) -> None:
        """Compare a step with what its result says that it is, or with what the journal says elsewhere."""
        known = self.past.asked.get(step.key) if inline is None else (inline["kind"], inline["fingerprint"])
        if known is not None:
            self.check(step, known)

    def compare_all(self, steps: Mapping[str, StepFuture | None], timers: int, results: Mapping[str, int]) -> None:
        """At the end: nothing that the journal knows may be missing, or be another thing now.

        `timers`: how many there have been; `results`: keys and entries of results whose steps have not been asked.
        """
        left_over = self.past.left_over(steps, timers, results)
        if left_over is not None:
            self._diverge(left_over, self.past.told(left_over), "run() has not asked it again")
        for key in self.past.asked:
            if (step := steps.get(key)) is not None:
                self.compare(step, None)


def resolves(type_: str, data: Any) -> bool:
    """Say whether an entry ends its step with what it says itself."""
    return type_ in {PASSED, "fired"} or (type_ == "done" and "blob" not in data)
