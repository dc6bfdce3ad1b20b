from typing import get_args

from fixture_runs import JOURNAL

from stepwell.engine.entries import Entry, EntryType
from stepwell_web import journalview


def test_every_type_of_entry_has_words() -> None:
    for kind in get_args(EntryType):
        words = journalview.line(Entry("r", 1, 0.0, kind, "a#1", 1, 1, {})).words
        assert words != kind and words


def test_words_say_who_and_what() -> None:
    words = [journalview.line(e).words for e in JOURNAL]
    assert words[2] == "Attempt 1 started"
    assert words[3].startswith("Failed after 18s: ")
    assert words[4].startswith("jun.sato approved: ")


def test_outcomes_have_the_shape_of_their_state() -> None:
    told = [("done", {"ok": True}), ("done", {"ok": False}), ("decision", {"approve": False}), ("lost", {}),
            ("ended", {"state": "cancelled"}), ("retry", {}), ("asked", {})]  # fmt: skip
    tones = [journalview.line(Entry("r", 1, 0.0, kind, "a#1", 1, 1, data)).tone for kind, data in told]  # type: ignore[arg-type]
    assert tones == ["passed", "failed", "failed", "lost", "cancelled", "failed", ""]


def test_work_that_was_reused_is_told_with_its_run() -> None:
    done = Entry("r", 1, 0.0, "done", "a#1", 1, 0, {"ok": True, "seconds": 0.0, "reused": {"run": "x", "number": 41}})
    assert journalview.line(done).words == "Reused from run #41"
