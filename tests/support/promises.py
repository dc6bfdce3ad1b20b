"""What the design promises about a run, written down without the engine's own fold: the model that tests hold it to.

The model knows what was acknowledged to those outside, and reads the journal as it is on disk. It is told nothing by
the engine.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

from stepwell.engine.entries import Entry

MOVES = {
    "queued": {"running", "waiting", "paused"},
    "running": {"waiting", "paused"},
    "waiting": {"running", "paused"},
    "paused": {"queued", "running", "waiting"},
}
"""From which state a run may go where, besides ending. What has ended stays as it is."""
STEP_MOVES = {
    "queued": {"running", "failed", "skipped", "cancelled"},
    "running": {"passed", "failed", "retrying", "queued", "cancelled"},
    "retrying": {"queued", "running", "cancelled", "skipped"},
    "waiting": {"passed", "failed", "queued", "cancelled", "skipped"},
    "failed": {"passed"},  # a wait whose time was over, though its event had come before
}
ENDED = {"passed", "failed", "cancelled", "diverged"}
LOSSES = 5
"""So often in a row an attempt may be lost before the step fails."""
_OVER = {"done", "dropped"}


class Promises:
    """What one run owes. `check` is called as often as one likes with the journal on disk; it only grows."""

    def __init__(self, run: str) -> None:
        self.run = run
        self.created = False  # acknowledged
        self.events: dict[str, tuple[str, Any]] = {}  # id → (type, payload), acknowledged
        self.refused: set[str] = set()  # ids of events that were never acknowledged
        self.decided: Counter[str] = Counter()
        self.failed: set[str] = set()  # keys of commands that have failed, in whatever attempt
        self.cancelled = False
        self._seen: list[Entry] = []
        self._effects: Counter[str] = Counter()  # of steps that are over

    def check(self, journal: Sequence[Entry], effects: Counter[str]) -> None:
        """Raise AssertionError for the first promise that is broken."""
        assert not self.created or journal, f"{self.run} was created, acknowledged and lost"
        assert list(journal[: len(self._seen)]) == self._seen, f"{self.run}: the past of its journal has changed"
        self._seen = list(journal)
        for number, entry in enumerate(journal, 1):
            assert entry.seq == number, f"{self.run}: entry {entry.seq} stands at {number}"
        times = [entry.at for entry in journal]
        assert times == sorted(times), f"{self.run}: its time goes back"
        assert [e.seq for e in journal if e.type == "ended"] in ([], [len(journal)]), (
            f"{self.run} went on after its end"
        )
        self._check_accepted(journal)
        self._check_steps(journal)
        self._check_events(journal)
        self._check_effects(journal, effects)

    def _check_accepted(self, journal: Sequence[Entry]) -> None:
        arrived = [entry.data for entry in journal if entry.type == "event"]
        ids = Counter(data["id"] for data in arrived)
        assert all(count == 1 for count in ids.values()), f"{self.run}: an event arrived twice: {ids}"
        kept = {data["id"]: (data["type"], data["payload"]) for data in arrived}
        assert {id: kept.get(id) for id in self.events} == self.events, f"{self.run}: acknowledged events are lost"
        assert not self.refused & set(kept), f"{self.run}: an event was refused and is there"
        decided = Counter(entry.key for entry in journal if entry.type == "decision")
        assert decided == self.decided, f"{self.run}: decisions {decided} instead of {self.decided}"
        cancels = sum(entry.type == "cancel" for entry in journal)
        ended = bool(journal) and journal[-1].type == "ended"
        assert cancels >= self.cancelled or ended, f"{self.run}: an acknowledged cancellation is lost"

    def _check_steps(self, journal: Sequence[Entry]) -> None:
        over: dict[str, str] = {}
        attempts: dict[str, int] = {}
        kinds = {entry.key: entry.data["kind"] for entry in journal if entry.type == "asked"}
        for entry in journal:
            if not entry.key or entry.key.startswith("~"):
                continue
            said = f"{self.run}: {entry.type} of {entry.key} at {entry.seq}"
            # The code takes or drops what it has not heard the end of yet; an event that came in time is delivered.
            late = entry.type == "dropped" or (entry.type == "took" and over.get(entry.key) == "fired")
            assert entry.key not in over or late, f"{said} after {over.get(entry.key)}"
            if entry.type in {"started", "retry", "done"} and entry.attempt:
                assert entry.attempt >= attempts.get(entry.key, 0), f"{said}: of an older attempt"
                attempts[entry.key] = entry.attempt
            if entry.type == "done" and kinds.get(entry.key) == "run" and not entry.data["ok"]:
                lost = sum(e.type == "lost" and e.key == entry.key for e in journal)
                assert entry.key in self.failed or lost >= LOSSES, f"{said}: it did not fail, it was lost {lost} times"
            if entry.type in _OVER or entry.type == "took" or (entry.type == "fired" and self._waits(journal, entry)):
                over[entry.key] = entry.type

    def _waits(self, journal: Sequence[Entry], fired: Entry) -> bool:
        asked = [e for e in journal if e.type == "asked" and e.key == fired.key]
        return bool(asked) and asked[0].data["kind"] in {"sleep", "event", "approval"}

    def _check_events(self, journal: Sequence[Entry]) -> None:
        events = {entry.seq: entry.data for entry in journal if entry.type == "event"}
        waits = {e.key: e.data["options"]["type"] for e in journal if e.type == "asked" and e.data["kind"] == "event"}
        taken = {entry.key: entry.data["event"] for entry in journal if entry.type == "took"}
        assert len(set(taken.values())) == len(taken), f"{self.run}: an event went to two waits: {taken}"
        served: dict[str, list[int]] = defaultdict(list)
        for key, type in waits.items():  # in the order asked
            if key in taken:
                assert events[taken[key]]["type"] == type, f"{self.run}: {key} took an event of another type"
                served[type].append(taken[key])
        for type, seqs in served.items():
            assert seqs == sorted(seqs), f"{self.run}: waits for {type!r} were not served in the order asked: {taken}"
            arrived = [seq for seq, data in events.items() if data["type"] == type]
            assert seqs == arrived[: len(seqs)], f"{self.run}: an event of type {type!r} was passed over"

    def _check_effects(self, journal: Sequence[Entry], effects: Counter[str]) -> None:
        for entry in journal:
            if entry.type not in _OVER:
                continue
            before = self._effects.setdefault(entry.key, effects[entry.key])
            assert effects[entry.key] == before, f"{self.run}: {entry.key} was over and ran again"

    def check_result(self, result: list[list[Any]]) -> None:
        """Compare what the code says it was given with what the journal says, once the run has passed."""
        by_key: dict[str, dict[str, Entry]] = defaultdict(dict)
        for entry in self._seen:
            by_key[entry.key][entry.type] = entry
        payloads = {entry.seq: entry.data["payload"] for entry in self._seen if entry.type == "event"}
        given = Counter(key for key, kind, _ in result if kind != "late")
        assert all(count == 1 for count in given.values()), f"{self.run}: {given} went on twice"
        for key, kind, value in result:
            known = by_key[key]
            said = f"{self.run}: the code had {kind} {value!r} of {key}, the journal {known}"
            if kind == "raised":
                failed = "fired" in known or not known["done"].data["ok"]
                assert failed, said
            elif kind == "gave" and "took" in known:
                assert payloads[known["took"].data["event"]] == value, said
            elif kind == "gave" and "done" in known:
                kept = known["done"].data["value"]
                assert (
                    value in (kept, kept.get("by"), kept.get("exit_code")) if isinstance(kept, dict) else value == kept
                ), said
            elif kind == "gave":
                assert "fired" in known and value is None, said
