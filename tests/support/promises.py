"""What the design promises about a run, written down without the engine's own fold: the model that tests hold it to.

The model knows what was acknowledged to those outside, and reads the entries that the disk has taken. It is told
nothing by the engine. What runs owe each other is in promises_between.py.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from stepwell.engine.entries import Entry

MOVES = {
    "queued": {"running", "waiting", "paused"},
    "running": {"waiting", "paused", "queued"},  # queued: it goes on under a fresh journal
    "waiting": {"running", "paused", "queued"},
    "paused": {"queued", "running", "waiting"},
}
"""From which state a run may go where, besides ending. What has ended stays as it is."""
STEP_MOVES = {
    "queued": {"running", "waiting", "failed", "skipped", "cancelled"},  # waiting: for the run that it calls
    "running": {"passed", "failed", "retrying", "queued", "cancelled"},
    "retrying": {"queued", "running", "cancelled", "skipped"},
    "waiting": {"passed", "failed", "queued", "cancelled", "skipped"},
    "failed": {"passed"},  # a wait whose time was over, though its event had come before
}
ENDED = {"passed", "failed", "cancelled", "diverged"}
LOSSES = 5
"""So often in a row an attempt may be lost before the step fails."""
_OVER = {"done", "dropped"}
_WAITS = {"sleep", "event", "approval"}
_BY_OTHERS = {"run", "approval", "call"}
"""Kinds of steps that end though the code of their run rests."""
_ACTS = {"asked", "started", "called", "took", "dropped", "undoing", "continued"}
"""Types of what no run does that is held or paused."""


def name_of(key: str) -> str:
    """Give the name of a step; in the programs here each is used once, whatever the number behind it."""
    return key.rpartition("#")[0]


def kinds_of(entries: Sequence[Entry]) -> dict[str, str]:
    """Give the kinds of the steps that were asked for; what is missing is a `do`."""
    return {entry.key: entry.data["kind"] for entry in entries if entry.type == "asked"}


def over(entries: Sequence[Entry]) -> dict[str, Entry]:
    """Give the keys of steps that are over, each with the first entry that says so."""
    kinds, found = kinds_of(entries), dict[str, Entry]()
    for entry in entries:
        waited = entry.type == "fired" and kinds.get(entry.key) in _WAITS
        if entry.type in _OVER or entry.type == "took" or waited:
            found.setdefault(entry.key, entry)
    return found


def rounds(history: Sequence[Entry]) -> list[Sequence[Entry]]:
    """Divide all that a run ever wrote into its journals; only the last one is kept."""
    starts = [0, *(place for place, entry in enumerate(history) if entry.type == "continued"), len(history)]
    return [history[start:end] for start, end in pairwise(starts)]


class Promises:
    """What one run owes. `check` is called as often as one likes with what the disk has taken; it only grows."""

    def __init__(self, run: str) -> None:
        self.run = run
        self.created = False  # acknowledged
        self.events: dict[str, tuple[str, Any]] = {}  # id → (type, payload), acknowledged
        self.refused: set[str] = set()  # ids of events that were never acknowledged
        self.decided: Counter[str] = Counter()
        self.failed: set[str] = set()  # keys of commands that have failed, in whatever attempt
        self.cancelled = False
        self.may_fail = False
        self.adopted = 0  # entries from another run, behind the first one
        self._history: Sequence[Entry] = []
        self._lived: list[Sequence[Entry]] = []  # by runs from which it adopts, in rounds before
        self._effects: Counter[str] = Counter()  # of steps that are over

    def adopt(self, entries: Sequence[Entry], source: "Promises") -> None:
        """Take over what another run lived through: nothing of that which is over runs again here."""
        self.adopted, self.may_fail, self.failed = len(entries), source.may_fail, set(source.failed)
        self.events = {e.data["id"]: (e.data["type"], e.data["payload"]) for e in entries if e.type == "event"}
        self.decided = Counter(entry.key for entry in entries if entry.type == "decision")
        self._effects = Counter({name_of(key): 0 for key in over(entries)})
        self._lived = [*source._lived, *rounds(source._history)[:-1]]

    def check(self, history: Sequence[Entry], effects: Counter[str]) -> None:
        """Raise AssertionError for the first promise that is broken."""
        assert not self.created or history, f"{self.run} was created, acknowledged and lost"
        self._history = history
        for number, entry in enumerate(history, 1):
            assert entry.seq == number, f"{self.run}: entry {entry.seq} stands at {number}"
        times = [entry.at for entry in history]
        assert times == sorted(times), f"{self.run}: its time goes back"
        assert [e.seq for e in history if e.type == "ended"] in ([], [len(history)]), (
            f"{self.run} went on after its end"
        )
        self._check_accepted(history)
        self._check_rounds(rounds(history))
        self._check_steps(history)
        self._check_rest(history)
        self._check_events(history)
        self._check_undoing(rounds(history)[-1])
        self._check_effects(history, effects)

    def _check_accepted(self, history: Sequence[Entry]) -> None:
        kept = {e.data["id"]: (e.data["type"], e.data["payload"]) for e in history if e.type == "event"}
        assert {id: kept.get(id) for id in self.events} == self.events, f"{self.run}: acknowledged events are lost"
        assert not self.refused & set(kept), f"{self.run}: an event was refused and is there"
        decided = Counter(entry.key for entry in history if entry.type == "decision")
        assert decided == self.decided, f"{self.run}: decisions {decided} instead of {self.decided}"
        cancels = sum(entry.type == "cancel" for entry in history)
        ended = bool(history) and history[-1].type == "ended"
        assert cancels >= self.cancelled or ended, f"{self.run}: an acknowledged cancellation is lost"

    def _check_rounds(self, rounds: Sequence[Sequence[Entry]]) -> None:
        """Each event is there once; one that nobody took comes along into the next round, in its place."""
        known: set[str] = set()
        left: list[Any] = []
        for journal in rounds:
            arrived = [(entry.seq, entry.data) for entry in journal if entry.type == "event"]
            carried, new = arrived[: len(left)], [data["id"] for _, data in arrived[len(left) :]]
            assert [data for _, data in carried] == left, f"{self.run}: of the events {left} went on {carried}"
            assert len(set(new)) == len(new) and not known & set(new), f"{self.run}: an event arrived twice: {new}"
            known |= set(new)
            taken = {entry.data["event"] for entry in journal if entry.type == "took"}
            left = [data for seq, data in arrived if seq not in taken]

    def _check_steps(self, history: Sequence[Entry]) -> None:
        ends = over(history)
        attempts: dict[str, int] = {}
        kinds = kinds_of(history)
        for entry in history:
            if not entry.key or entry.key.startswith("~"):
                continue
            said = f"{self.run}: {entry.type} of {entry.key} at {entry.seq}"
            end = ends.get(entry.key)
            if end is not None and end.seq < entry.seq:
                # The code takes or drops what it has not heard the end of yet; an event that came in time is delivered.
                assert entry.type == "dropped" or (entry.type, end.type) == ("took", "fired"), f"{said} after {end}"
            if entry.type in {"started", "retry", "done"} and entry.attempt:
                assert entry.attempt >= attempts.get(entry.key, 0), f"{said}: of an older attempt"
                attempts[entry.key] = entry.attempt
            if entry.type == "done" and kinds.get(entry.key) == "run" and not entry.data["ok"]:
                lost = sum(e.type == "lost" and e.key == entry.key for e in history)
                assert entry.key in self.failed or lost >= LOSSES, f"{said}: it did not fail, it was lost {lost} times"

    def _check_rest(self, history: Sequence[Entry]) -> None:
        """Nothing begins in a run that is held or paused; it was at rest when it was paused."""
        kinds = kinds_of(history)
        held, paused = bool(history) and bool(history[0].data.get("held")), False
        for entry in history[1 + self.adopted :]:
            said = f"{self.run} {'is paused' if paused else 'has not begun'} and there is {entry}"
            if held or paused:
                assert entry.type not in _ACTS, said
                assert entry.type not in {"done", "retry"} or kinds.get(entry.key) in _BY_OTHERS, said
            if entry.type in {"paused", "resumed"}:
                paused = entry.type == "paused"
            elif entry.type == "admitted":
                start = history[0].data["order"].get("start_at")
                assert held and (start is None or entry.at >= start), f"{self.run}: {entry}, due at {start}"
                held = False

    def _check_events(self, history: Sequence[Entry]) -> None:
        events = {entry.seq: entry.data for entry in history if entry.type == "event"}
        arrived = list({data["id"]: data["type"] for data in events.values()}.items())
        taken = {entry.key: events[entry.data["event"]]["id"] for entry in history if entry.type == "took"}
        assert len(set(taken.values())) == len(taken), f"{self.run}: an event went to two waits: {taken}"
        served: dict[str, list[str]] = defaultdict(list)
        for entry in history:  # in the order asked
            if entry.type == "asked" and entry.data["kind"] == "event" and entry.key in taken:
                served[entry.data["options"]["type"]].append(taken[entry.key])
        for type, ids in served.items():
            there = [id for id, of in arrived if of == type]
            assert ids == there[: len(ids)], f"{self.run}: of {there} the waits for {type!r} were given {ids}"

    def _check_undoing(self, journal: Sequence[Entry]) -> None:
        """What passed is undone once the run has failed, or was cancelled with that wish: the latest first."""
        passed = [name_of(entry.key) for entry in journal if entry.type == "done" and entry.data["ok"]]
        undone = [name for name in passed if name.startswith("undo ")]
        wanted = [f"undo {name}" for name in reversed(passed) if name.endswith("u") and name not in undone]
        begun = any(entry.type == "undoing" for entry in journal)
        assert undone == wanted[: len(undone)] and (begun or not undone), f"{self.run}: undone {undone} of {wanted}"
        if journal and journal[-1].type == "ended":
            cancels = [entry.data for entry in journal if entry.type == "cancel"]
            state, cut_short = journal[-1].data["state"], any(data.get("now") for data in cancels)
            owed = state == "failed" or (state == "cancelled" and bool(cancels[0].get("undo")))
            assert not owed or cut_short or undone == wanted, f"{self.run}: undone {undone} of {wanted}"
            assert owed or cut_short or not begun, f"{self.run} has {state} and was undone"

    def _check_effects(self, history: Sequence[Entry], effects: Counter[str]) -> None:
        for key in over(history):
            name = name_of(key)
            before = self._effects.setdefault(name, effects[name])
            assert effects[name] == before, f"{self.run}: {name} was over and ran again"

    def check_result(self, result: list[list[Any]]) -> None:
        """Compare what the code says it was given with what the journal says, once the run has passed."""
        by_name: dict[str, dict[str, Entry]] = defaultdict(dict)
        payloads: dict[str, Any] = {}
        for journal in [*self._lived, self._history]:
            events = {entry.seq: entry.data["payload"] for entry in journal if entry.type == "event"}
            for entry in journal:
                by_name[name_of(entry.key)][entry.type] = entry
                if entry.type == "took":
                    payloads[name_of(entry.key)] = events[entry.data["event"]]
        given = Counter(name for name, kind, _ in result if kind != "late")
        assert all(count == 1 for count in given.values()), f"{self.run}: {given} went on twice"
        for name, kind, value in result:
            known = by_name[name]
            said = f"{self.run}: the code had {kind} {value!r} of {name}, the journal {known}"
            if kind == "raised":
                failed = "fired" in known or not known["done"].data["ok"]
                assert failed, said
            elif kind == "gave" and "took" in known:
                assert payloads[name] == value, said
            elif kind == "gave" and "done" in known:
                kept = known["done"].data["value"]
                assert (
                    value in (kept, kept.get("by"), kept.get("exit_code")) if isinstance(kept, dict) else value == kept
                ), said
            elif kind == "gave":
                assert "fired" in known and value is None, said
