"""Entries of every version that was ever written are read as today's; none of a newer one is misread."""

from collections.abc import Callable
from pathlib import Path

import pytest

from stepwell.authoring.version import REPLAY, REPLAYS
from stepwell.engine.entries import VERSION, Entry
from stepwell.engine.loading import other_python
from stepwell.engine.versions import READERS, read
from stepwell.errors import Unavailable

JOURNALS = Path(__file__).resolve().parents[1] / "fixtures" / "journals"
OLD = Entry("r", 3, 5.0, "done", "build#1", 1, 2, {"passed": True, "result": 7}, version=1)


def _first(entry: Entry) -> Entry:
    return entry._replace(version=2, data={"ok": entry.data["passed"], "result": entry.data["result"]})


def _second(entry: Entry) -> Entry:
    return entry._replace(version=3, data={"ok": entry.data["ok"], "value": entry.data["result"]})


MADE_UP: dict[int, Callable[[Entry], Entry]] = {1: _first, 2: _second}


def test_an_old_entry_goes_through_every_reader_between() -> None:
    assert read(OLD, MADE_UP, 3) == OLD._replace(version=3, data={"ok": True, "value": 7})
    assert OLD.data == {"passed": True, "result": 7}, "a reader changed what it was given"


def test_an_entry_of_today_is_left_as_it_is() -> None:
    entry = OLD._replace(version=VERSION)
    assert read(entry) is entry


def test_an_entry_of_a_newer_version_is_refused_with_the_remedy() -> None:
    with pytest.raises(Unavailable, match=r"Entry 3 of run 'r' has version 4; .* up to 3\. Start the newer Stepwell"):
        read(OLD._replace(version=4), MADE_UP, 3)


@pytest.mark.parametrize("version", [0, -1])
def test_a_version_that_never_was_is_refused(version: int) -> None:
    with pytest.raises(Unavailable, match="which no Stepwell wrote"):
        read(OLD._replace(version=version), MADE_UP, 3)


def test_every_version_so_far_has_its_reader_and_a_journal_that_is_kept() -> None:
    assert set(READERS) == set(range(1, VERSION))
    for version in range(1, VERSION + 1):
        assert (JOURNALS / f"version{version}.jsonl").exists()


def test_new_runs_begin_with_a_replay_that_can_be_played() -> None:
    assert REPLAY in REPLAYS
    assert 1 in REPLAYS, "runs begun before versions were recorded have version 1"


def test_only_another_python_is_worth_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.python_version", lambda: "3.12.1")
    assert other_python("3.11.2") == " The run was begun under Python 3.11.2; this server has 3.12.1."
    assert (other_python("3.12.0"), other_python("")) == ("", "")
