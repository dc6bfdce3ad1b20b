"""Restart from a step: which entries of an ended run its successor adopts. Pure.

The prefix up to the step's first mention, and what follows from it:
  a step that ended in it            → all its entries: it never runs again
  a step that did not                → what the code said of it; attempts and called runs are forgotten, it runs again
  a wait that was still open         → its time begins anew
  pauses, failed turns, admissions   → nothing
  events, later ones too             → come along unless the prefix, or something after it, took them
An approval is a decision about certain code: with other code the prefix ends where the first one took effect, and
people are asked again. A cancellation cannot be adopted, nor left out: the code went another way because of it.
What has been undone cannot be adopted either: its result is there, but not what it stands for.

Entries keep their time, because the code reads it, and get new numbers.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from stepwell.engine.ancestry import Ancestry
from stepwell.engine.entries import Entry
from stepwell.engine.fold import fold
from stepwell.engine.state import OPEN, RunState
from stepwell.engine.undone import undone
from stepwell.errors import Conflict, NotFound

_OF_ATTEMPTS = frozenset({"started", "lost", "retry", "fired", "called"})
_NEVER = frozenset({"created", "continued", "admitted", "paused", "resumed", "turn_failed"})
_TURNS_CODE = {"cancel": "was cancelled", "overdue": "was cancelled", "undoing": "had begun to undo its steps"}


@dataclass(frozen=True)
class Adoption:
    """What the successor's journal holds behind its first entry. `step` is where it really begins."""

    entries: tuple[Entry, ...]
    step: str
    ancestry: Ancestry


def adopt(entries: Sequence[Entry], step: str, *, run: str, now: float, same_code: bool) -> Adoption:
    """Give what `run` adopts of a journal when it is restarted from a step. Raises NotFound, Conflict."""
    cut = _mention(entries, step)
    if not same_code:
        cut = _first_verdict(entries[:cut])
    prefix = entries[:cut]
    _check(prefix, step)
    _check_undone(prefix, undone(entries))
    kept = [*_kept(prefix, now, same_code), *_untaken(entries, cut)]
    numbers = {entry.seq: number for number, entry in enumerate(kept, 2)}
    adopted = tuple(_renumbered(entry, run, numbers) for entry in kept)
    state = fold(entries[:1])
    begins = entries[cut].key
    ancestry = _ancestry(state, begins, now, prefix[-1].seq, list(numbers))
    return Adoption(adopted, begins, replace(ancestry, same_code=same_code))


def _mention(entries: Sequence[Entry], step: str) -> int:
    """Give the place of the first entry about a step."""
    for place, entry in enumerate(entries):
        if entry.key == step and step:
            return place
    state = fold(entries)
    known = ", ".join(repr(key) for key in state.steps) or "none"
    raise NotFound(f"Run #{state.number} has no step {step!r}. Its steps: {known}.")


def _first_verdict(prefix: Sequence[Entry]) -> int:
    """Give the place where people's word first let something go on, or the prefix's end."""
    kinds = {entry.key: entry.data["kind"] for entry in prefix if entry.type == "asked"}
    for place, entry in enumerate(prefix):
        if entry.type == "released" or (entry.type == "done" and kinds.get(entry.key) == "approval"):
            return place
    return len(prefix)


def _check(prefix: Iterable[Entry], step: str) -> None:
    for entry in prefix:
        if entry.type in _TURNS_CODE:
            raise Conflict(
                f"Step {step!r} was asked after the run {_TURNS_CODE[entry.type]}. Restart from a step before that."
            )


def _check_undone(prefix: Sequence[Entry], undone: Sequence[str]) -> None:
    adopted = {entry.key for entry in prefix if entry.type == "done"}
    gone = [key for key in undone if key in adopted]
    if gone:
        named = ", ".join(repr(key) for key in gone[:5]) + (f" and {len(gone) - 5} more" if len(gone) > 5 else "")
        raise Conflict(
            f"What the run did in {named} has been undone, or may have been. "
            f"Restart from {gone[0]!r} or a step before it, or run everything again."
        )


def _kept(prefix: Sequence[Entry], now: float, same_code: bool) -> Iterator[Entry]:
    state = fold(prefix)
    for entry in prefix:
        step = state.steps.get(entry.key)
        unfinished = step is not None and step.state in OPEN
        if entry.type in _NEVER or (unfinished and entry.type in _OF_ATTEMPTS):
            continue
        if unfinished and not same_code and entry.type == "decision":
            continue
        yield _anew(entry, now) if entry.type == "asked" and _waits(state, entry) else entry


def _waits(state: RunState, entry: Entry) -> bool:
    """Say whether an ask with a due time is still open at the end of the prefix."""
    return entry.data.get("due") is not None and entry.key in state.timers


def _anew(entry: Entry, now: float) -> Entry:
    """Begin a wait's time anew, unless it is for a moment of the calendar."""
    data: Mapping[str, Any] = entry.data
    if (data.get("options") or {}).get("until"):
        return entry
    return entry._replace(data={**data, "due": now + data["due"] - entry.at})


def _untaken(entries: Sequence[Entry], cut: int) -> Iterator[Entry]:
    taken = {entry.data["event"] for entry in entries if entry.type == "took"}
    return (entry for entry in entries[cut:] if entry.type == "event" and entry.seq not in taken)


def _renumbered(entry: Entry, run: str, numbers: Mapping[int, int]) -> Entry:
    data = entry.data
    if entry.type == "took":
        data = {**data, "event": numbers[data["event"]]}
    return entry._replace(run=run, seq=numbers[entry.seq], turn=0, data=data)


def _ancestry(source: RunState, step: str, now: float, cut: int, kept: Sequence[int]) -> Ancestry:
    """`cut`, the last entry that is adopted, and `kept` are numbers of entries in the source."""
    before = source.ancestry

    def upto(last: int) -> int:
        return 1 + sum(number <= last for number in kept)

    origins = [(run, upto(min(until, cut))) for run, until in before.origins] if before else []
    return Ancestry(
        run=source.id, step=step, until=upto(cut), at=now,
        seed=before.seed if before else source.id, number=before.number if before else source.number,
        origins=(*origins, (source.id, upto(cut))),
    )  # fmt: skip
