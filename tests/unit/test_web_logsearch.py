import pytest
from fixture_logs import LOG, FixtureLog

from stepwell_web import logsearch
from stepwell_web.logsearch import Found


def test_search_ignores_case_and_colour() -> None:
    log = FixtureLog(b"a\n\x1b[31mAss\x1b[0mert assert\nassert\n")
    assert logsearch.find(log, "assert") == Found(2, (2, 3))


def test_nothing_is_found_for_no_text() -> None:
    assert logsearch.find(FixtureLog(b"a\n"), "") == Found(0, ())


def test_all_lines_are_counted_and_the_first_of_them_named() -> None:
    assert logsearch.find(FixtureLog(b"x x\n" * 100), "x", most=3) == Found(100, (1, 2, 3))


@pytest.mark.parametrize("block", [1, 7, 64])
def test_lines_are_found_wherever_blocks_are_cut(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr(logsearch, "BLOCK", block)
    log = FixtureLog(b"one needle\n\n\ntwo\nneedle needle\nlast needle")
    assert logsearch.find(log, "needle") == Found(3, (1, 5, 6))


def test_a_line_without_end_is_searched_at_its_beginning_and_keeps_the_numbers_right(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(logsearch, "BLOCK", 8)
    monkeypatch.setattr(logsearch, "LONGEST_LINE", 16)
    log = FixtureLog(b"here " + b"x" * 1000 + b"there\nthere\n")
    assert logsearch.find(log, "here") == Found(2, (1, 2))


def test_what_a_progress_bar_has_overwritten_is_not_found() -> None:
    assert logsearch.find(FixtureLog(b"10 %\r100 %\n10 %\n"), "10 %").lines == (2,)


def test_errors_one_below_the_other_count_once() -> None:
    assert logsearch.errors(FixtureLog(LOG)) == Found(2, (18, 23))


def test_stepwells_own_lines_are_no_errors() -> None:
    assert logsearch.errors(FixtureLog(b"\x1eerror: of ours\nerror: theirs\n")).lines == (2,)
