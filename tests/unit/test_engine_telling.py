"""A journal told in columns before it is folded is the journal that is told entry by entry afterwards."""

import json
from typing import Any

from stepwell.authoring.isolate import entries_of
from stepwell.engine.entries import VERSION, Entry
from stepwell.engine.live import load
from stepwell.engine.telling import Columns, line_of, replayed
from stepwell.store.journal import Loaded, Row

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


def rows(journal: list[tuple[str, str, Any]]) -> list[Row]:
    times = [1764468184.1234567, 0.1, 1e9]
    return [
        (seq, times[seq % 3], kind, key, seq % 2, 0, VERSION, json.dumps(data))  # type: ignore[misc]
        for seq, (kind, key, data) in enumerate(journal, 1)
    ]


def parted(journal: list[Row], size: int) -> list[Any]:
    columns, told = Columns(), []
    for begin in range(0, len(journal), size):
        line = columns.of(journal[begin : begin + size])
        assert line is not None
        told += entries_of(*json.loads(line)) if line else []
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
        assert [list(entry) for entry in parted(kept, size)] == whole


def test_entries_of_an_older_version_are_not_told_as_they_are_kept() -> None:
    old = [(*row[:6], VERSION - 1, row[7]) for row in rows(JOURNAL)]
    assert Columns().of(old) is None
