"""What the design promises between runs: groups, rates, runs that call others, runs that adopt from others.

Like promises.py it reads what the disk has taken, and uses nothing of the engine.
"""

from collections.abc import Iterator, Sequence
from itertools import combinations, pairwise
from math import inf
from typing import Any

from hosts import Record
from promises import kinds_of, name_of, over, rounds

from stepwell.engine.entries import Entry

_OF_ATTEMPTS = {"started", "lost", "retry", "fired", "called"}
_NOT_ADOPTED = {"created", "continued", "admitted", "paused", "resumed", "turn_failed"}


class Placed:
    """A run's place in its group, in numbers of transactions."""

    def __init__(self, history: Sequence[Entry], record: Record) -> None:
        first, last = history[0], history[-1]
        self.run, self.number = first.run, first.data["number"]
        order = first.data.get("order") or {}
        self.group, self.policy = (order.get("group") or {}).get("name", ""), (order.get("group") or {}).get("policy")
        self.delayed, self.rated = "start_at" in order, "rate" in order
        begins = first if not first.data.get("held") else next((e for e in history if e.type == "admitted"), None)
        self.begun = record.when(begins) if begins is not None else inf
        self.ended = record.when(last) if last.type == "ended" else inf
        self.cancel = next((entry for entry in history if entry.type == "cancel"), None)

    def before(self, other: "Placed") -> bool:
        """Say whether this one certainly came first."""
        return self.number < other.number and not self.delayed and not other.delayed


def check_groups(record: Record, *, reliable: bool) -> None:
    """At most one run of a group goes on, in the order in which they came, and policies are heeded.

    What the engine owes without being asked is only owed by a `reliable` one.
    """
    placed = [Placed(history, record) for history in record.runs.values()]
    for group in {one.group for one in placed if one.group}:
        members = [one for one in placed if one.group == group]
        for one, other in combinations(members, 2):
            assert one.ended < other.begun or other.ended < one.begun or inf in (one.begun, other.begun), (
                f"{one.run} and {other.run} of group {group!r} go on side by side"
            )
        for older, younger in _in_order(members):
            assert younger.begun == inf or older.ended < younger.begun, f"{younger.run} overtook {older.run}"
            replaces = younger.policy == "cancel" or (younger.policy == "newest" and older.begun == inf)
            if reliable and replaces and younger.ended == inf and older.ended == inf:
                assert older.cancel is not None, f"{younger.run} has come and {older.run} is not cancelled"
        for one in members:
            if one.cancel is not None and one.cancel.data["reason"].startswith("superseded"):
                assert any(_replaces(other, one, record) for other in members), f"{one.run}: {one.cancel} by nobody"
        if reliable and all(one.begun == inf or one.ended < inf for one in members):
            waiting = [one for one in members if one.ended == inf]
            assert not waiting or any(one.delayed or one.rated for one in waiting), f"{group!r} stands still"


def _in_order(members: Sequence[Placed]) -> Iterator[tuple[Placed, Placed]]:
    return ((one, other) for one in members for other in members if one.before(other))


def _replaces(younger: Placed, older: Placed, record: Record) -> bool:
    assert older.cancel is not None
    held = older.begun > record.when(older.cancel)
    heeded = younger.policy == "cancel" or (younger.policy == "newest" and held)
    return younger is not older and heeded and (younger.delayed or older.delayed or older.before(younger))


def check_rate(record: Record, seconds: float) -> None:
    """One run begins in each window of so many seconds; of use while nobody has set the clock."""
    begun = sorted(
        entry.at
        for history in record.runs.values()
        if (history[0].data.get("order") or {}).get("rate")
        for entry in history
        if entry.type == "admitted"
    )
    assert all(after - before >= seconds for before, after in pairwise(begun)), begun


def check_families(record: Record, adopted: dict[str, int], *, reliable: bool) -> None:
    """A call makes one run and ends as it does; a run that nobody waits for any more is cancelled.

    `adopted`: how many entries of a run, behind the first, are another one's.
    """
    children: dict[tuple[str, str], Sequence[Entry]] = {}
    for run, history in record.runs.items():
        if (family := history[0].data.get("parent")) is not None:
            place = (family["run"], family["key"])
            assert place not in children, f"{place} has called {run} and another run"
            children[place] = history
    for run, history in record.runs.items():
        own = history[1 + adopted.get(run, 0) :]
        for entry in own:
            if entry.type == "called":
                child = children[run, entry.key]
                assert child[0].run == entry.data["run"], f"{run}: {entry} is not the child {child[0]}"
            elif entry.type == "done" and kinds_of(history).get(entry.key) == "call":
                _check_told(entry, children[run, entry.key], record)
    for (run, key), child in children.items():
        _check_bond(record.runs[run], key, child, record, reliable=reliable)
    if reliable:
        for history in record.runs.values():
            _check_called(history)


def _check_told(done: Entry, child: Sequence[Entry], record: Record) -> None:
    end = child[-1]
    assert end.type == "ended" and record.when(end) <= record.when(done), f"{done} before the end of {end.run}"
    passed = end.data["state"] == "passed"
    assert done.data["ok"] == passed and (not passed or done.data["value"] == end.data["result"]), f"{done} after {end}"


def _check_bond(parent: Sequence[Entry], key: str, child: Sequence[Entry], record: Record, *, reliable: bool) -> None:
    asked = next(entry for entry in parent if entry.type == "asked" and entry.key == key)
    assert asked.data["kind"] == "call", f"{child[0].run} belongs to {asked}"
    gone = [e for e in parent if e.seq > asked.seq and (e.type in {"ended", "continued"} or e.key == key)]
    given_up = next((e for e in gone if e.type in {"ended", "continued", "dropped"}), None)
    told = any(entry.type == "done" for entry in gone)
    cancel = next((entry for entry in child if entry.type == "cancel"), None)
    if cancel is not None and cancel.data["by"] == "stepwell":
        assert given_up is not None and record.when(given_up) <= record.when(cancel), f"{cancel}, awaited by {asked}"
    if reliable and child[-1].type == "ended":
        assert told or given_up, f"{asked.run} is not told that {child[-1]}"
    elif reliable:
        assert given_up is None or cancel is not None, f"{child[0].run} goes on after {given_up}"


def _check_called(history: Sequence[Entry]) -> None:
    journal = rounds(history)[-1]
    types = [entry.type for entry in journal]
    held = journal[0].data.get("held") and "admitted" not in types
    paused = [kind for kind in types if kind in {"paused", "resumed"}][-1:] == ["paused"]
    if held or paused or "cancel" in types or "ended" in types:
        return
    called = {entry.key for entry in journal if entry.type == "called"} | over(journal).keys()
    for key, kind in kinds_of(journal).items():
        assert kind != "call" or key in called, f"{journal[0].run} has asked for {key} and no run was made"


def adopted_by_restart(source: Sequence[Entry], key: str, now: float, *, same_code: bool) -> list[Entry] | None:
    """Give what a run restarted from a step has of the journal of another one, None when it must be refused."""
    cut = next(place for place, entry in enumerate(source) if entry.key == key)
    kinds = kinds_of(source)
    if not same_code:  # people have approved other code
        verdicts = (n for n, e in enumerate(source[:cut]) if e.type == "done" and kinds.get(e.key) == "approval")
        cut = next(verdicts, cut)
    prefix = source[:cut]
    undone = {entry.key for entry in source if f"undo {name_of(entry.key)}" in {name_of(e.key) for e in source}}
    if source[-1].type != "ended" or {entry.type for entry in prefix} & {"cancel", "overdue", "undoing"}:
        return None
    if undone & over(prefix).keys():
        return None
    closed = over(prefix).keys() | {e.key for e in prefix if e.type == "fired" and e.key.startswith("~")} | {""}
    forgotten = _OF_ATTEMPTS if same_code else _OF_ATTEMPTS | {"decision"}
    kept = []
    for entry in prefix:
        if entry.type in _NOT_ADOPTED or (entry.type in forgotten and entry.key not in closed):
            continue
        if entry.type == "asked" and entry.data["due"] is not None and entry.key not in closed:
            kept.append(entry._replace(data={**entry.data, "due": now + entry.data["due"] - entry.at}))
        else:
            kept.append(entry)
    taken = {entry.data["event"] for entry in source if entry.type == "took"}
    return kept + [entry for entry in source[cut:] if entry.type == "event" and entry.seq not in taken]


def undoing_was_cut_short(source: Sequence[Entry]) -> bool:
    """Say whether a run was ended while it was being undone: nobody can know what has been."""
    types = [entry.type for entry in source]
    return "undoing" in types and any(entry.type == "cancel" and entry.data.get("now") for entry in source)


def told_again(entries: Sequence[Entry], events: Sequence[Entry]) -> list[Any]:
    """Give what entries say, whatever their numbers: events, that are taken by number, by their ids."""
    ids = {entry.seq: entry.data["id"] for entry in events if entry.type == "event"}
    return [
        (e.type, e.key, e.at, e.attempt, {"event": ids[e.data["event"]]} if e.type == "took" else e.data)
        for e in entries
    ]
