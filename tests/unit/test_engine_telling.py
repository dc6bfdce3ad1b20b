"""A journal told in columns before it is folded is the journal that is told entry by entry afterwards."""

import json
from typing import Any

import pytest

from stepwell.authoring.frames import PASSED, entries_of, passed
from stepwell.engine.entries import VERSION, Entry
from stepwell.engine.live import Live, absorb_part, load
from stepwell.engine.state import RunState
from stepwell.engine.telling import Columns, line_of, plain_of, replayed
from stepwell.engine.versions import READERS
from stepwell.store.entry_rows import Row, part_of
from stepwell.store.journal import Loaded

FIRST = {
    "tenant": "t", "scope": "t/x", "number": 1, "title": "", "metadata": {"secret": 1}, "code": "d", "entry": "p.py:P",
    "params": {},
}  # fmt: skip


def asked(kind: str, due: float | None = None) -> dict[str, Any]:
    return {"kind": kind, "name": "s", "fingerprint": "f", "options": {}, "base": [], "due": due, "where": ""}


ERROR = {"type": "E", "message": "no", "traceback": ""}
INLINE = {"kind": "do", "name": "f", "fingerprint": "x"}
JOURNAL: list[tuple[str, str, Any]] = [
    ("created", "", FIRST),
    ("asked", "s#1", asked("run")),
    ("started", "s#1", {"runner": "local"}),
    ("retry", "s#1", {"error": ERROR, "due": 9.0}),
    ("retry", "f#1", {"error": ERROR, "due": 9.0, "inline": INLINE}),
    ("fired", "s#1", None),
    ("fired", "f#1", None),
    ("asked", "~1", asked("timer", 8.0)),
    ("fired", "~1", None),
    ("event", "", {"type": "go", "payload": "ü\n", "id": None}),
    ("lost", "s#1", {"reason": "gone"}),
    ("done", 'f#1"', {"ok": True, "value": [1.5, None], "seconds": 0.25, "inline": INLINE}),
]


def rows(journal: list[tuple[Any, str, Any]]) -> list[Row]:
    times = [1764468184.1234567, 0.1, 1e9]
    return [
        (seq, times[seq % 3], kind, key, seq % 2, 0, VERSION, json.dumps(data))
        for seq, (kind, key, data) in enumerate(journal, 1)
    ]


def parted(journal: list[Row], size: int) -> list[Any]:
    columns, told = Columns(), []
    for begin in range(0, len(journal), size):
        part = part_of("r", journal[begin : begin + size])
        assert part is not None
        frame = columns.of(part, plain_of(part))
        told += entries_of(frame.partition(b"\n")[2]) if frame else []
    assert columns.last == told[-1][0]
    return told


def test_columns_tell_what_is_told_of_a_folded_journal_however_it_is_parted() -> None:
    kept = rows(JOURNAL)
    entries = [Entry("r", seq, at, kind, key, n, 0, json.loads(text)) for seq, at, kind, key, n, _, _, text in kept]
    texts = [row[7] for row in kept]
    live = load("r", Loaded(0, 0, entries, texts))
    whole = json.loads(line_of(replayed(live, zip(entries, texts, strict=True))))
    left_out = {("started", "s#1"), ("lost", "s#1"), ("retry", "s#1"), ("fired", "s#1")}
    assert [(entry[2], entry[3]) for entry in whole] == [
        (kind, key) for kind, key, _ in JOURNAL if (kind, key) not in left_out
    ]
    assert whole[0][5] is None, "metadata is not the code's to read"
    for size in (1, 2, 5, 100):
        assert list(map(in_full, parted(kept, size))) == [[*entry[:4], what_counts(entry[5])] for entry in whole]


def what_counts(data: Any) -> Any:
    """Leave out what a replay does not look at."""
    if not isinstance(data, dict) or "inline" not in data:
        return data
    inline = {name: data["inline"][name] for name in ("kind", "fingerprint")}
    return {name: value for name, value in data.items() if name != "seconds"} | {"inline": inline}


def in_full(told: Any) -> list[Any]:
    seq, at, kind, key, fingerprint, data = told
    if kind == PASSED:
        return [seq, at, "done", key, passed(fingerprint, data)]
    return [seq, at, kind, key, what_counts(data)]


def test_only_functions_that_passed_at_once_are_told_in_short() -> None:
    ends = [
        {"ok": True, "value": 1, "inline": INLINE},
        {"ok": True, "blob": {"id": "b", "size": 9}, "inline": INLINE},
        {"ok": False, "error": ERROR, "inline": INLINE},
        {"ok": True, "value": {"exit_code": 0}, "exit_code": 0},
    ]
    part = part_of("r", rows([("done", f"f#{n}", {"seconds": 0.5, **data}) for n, data in enumerate(ends, 1)]))
    assert part is not None
    assert plain_of(part) == [("x", 1), None, None, None]


def test_entries_of_an_older_version_are_told_as_they_are_read_today(monkeypatch: pytest.MonkeyPatch) -> None:
    def renamed(entry: Entry) -> Entry:
        return entry._replace(key=f"new {entry.key}", version=VERSION)

    monkeypatch.setitem(READERS, VERSION - 1, renamed)
    old = [(*row[:6], VERSION - 1, row[7]) for row in rows(JOURNAL)]
    assert [entry[3] for entry in parted(old, 5)][-1] == 'new f#1"'


def test_functions_that_passed_are_folded_together_as_they_are_one_by_one() -> None:
    entries = [("created", "", FIRST), *JOURNAL[9:10]]
    entries += [("done", f"f#{n}", {"ok": True, "value": n, "seconds": 0.25, "inline": INLINE}) for n in range(1, 9)]
    entries += [("done", "f#1", {"ok": True, "value": 1, "seconds": 0.25, "inline": INLINE})]
    one_by_one, together = (Live(RunState("r"), 0, 0) for _ in range(2))
    for sizes, live in (([1] * 11, one_by_one), ([2, 3, 5, 1], together)):
        kept = rows(entries)
        for size in sizes:
            part = part_of("r", kept[:size])
            assert part is not None
            absorb_part(live, part, plain_of(part))
            del kept[:size]
        assert not kept
    assert list(together.state.steps) == [f"f#{n}" for n in range(1, 9)]
    assert together.state == one_by_one.state
    assert (together.heard, together.size) == (one_by_one.heard, one_by_one.size)
    assert together.state.snapshot() == one_by_one.state
