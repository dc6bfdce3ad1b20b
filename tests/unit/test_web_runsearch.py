"""The search in the logs of runs: what is quoted, where it leads, and what becomes of what no moment suffices for."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fixture_logs import FixtureLog
from fixture_people import ADMIN
from fixture_services import FixtureServices, services

from stepwell.ci.history import cursor_after
from stepwell.ci.views import Page, RunSummary
from stepwell.errors import TryLater
from stepwell_web import runsearch
from stepwell_web.runsearch import RunSearch, Searched, split


@pytest.fixture
def given(tmp_path: Path) -> FixtureServices:
    found = services(tmp_path)
    found.logged.clear()
    return found


def write(given: FixtureServices, run: str, key: str, text: str, attempt: int = 1) -> None:
    given.logged[run, key, attempt] = FixtureLog(text.encode())


def listed(given: FixtureServices, size: int = 2) -> Callable[[str | None], Page[RunSummary]]:
    """Give the runs in pages, by the cursors of the product."""
    every = given.runs.list(ADMIN).items

    def page(cursor: str | None) -> Page[RunSummary]:
        at = next((n + 1 for n, run in enumerate(every) if cursor_after(run) == cursor), 0)
        items = every[at : at + size]
        return Page(items, cursor_after(items[-1]) if at + size < len(every) else None)

    return page


def search(given: FixtureServices, text: str, cursor: str | None = None, search: RunSearch | None = None) -> Searched:
    runs: Any = given.runs
    return (search or RunSearch()).find(runs, ADMIN, text, listed(given), cursor)


def test_lines_are_quoted_in_any_case_with_the_way_to_each(given: FixtureServices) -> None:
    write(given, "run1842", "unit 3.13#1", "fine\n\x1b[31mConnection\x1b[0m reset by peer\n" + "connection reset\n" * 4)
    write(given, "run1842", "", "Connection reset\n")
    write(given, "run1840", "hello#1", "nothing of it\n")
    found = search(given, "connection RESET")
    assert (found.looked, found.rest, found.cut) == (len(given.views), None, ())
    (one,) = found.runs
    assert (one.run.number, one.more) == (1842, 0)
    own, step = one.logs
    assert (own.title, own.count, own.lines[0].href) == (
        "Output of the run", 1, "/acme/payments-api/runs/1842?step=run&from=1#run:1",
    )  # fmt: skip
    assert (step.title, step.key, step.attempt, step.count) == ("unit 3.13", "unit 3.13#1", 1, 5)
    assert [line.number for line in step.lines] == [2, 3, 4]
    assert step.lines[0].parts == ("", "Connection reset", " by peer")
    assert step.lines[0].href == "/acme/payments-api/runs/1842?step=unit-3.13&attempt=1&from=2#unit-3.13:2"
    assert step.href.endswith("?step=unit-3.13&attempt=1&find=connection%20RESET")


def test_more_logs_than_are_quoted_are_counted(given: FixtureServices) -> None:
    keys = [step.key for step in given.views["run1834"].steps]
    for key in keys:
        write(given, "run1834", key, "needle\n")
    write(given, "run1834", "of nobody#1", "needle\n")
    (one,) = search(given, "needle").runs
    assert (len(one.logs), one.more) == (runsearch.LOGS, len(keys) + 1 - runsearch.LOGS)


def test_what_the_moment_does_not_suffice_for_is_found_by_going_on(given: FixtureServices) -> None:
    runs = [run.id for run in given.runs.list(ADMIN).items]
    for run in runs:
        write(given, run, "", "needle\n")
    ticks = iter(range(1_000_000))
    slow = RunSearch(lambda: next(ticks) / 4)  # four looks at the clock are a moment
    seen: list[str] = []
    looked, pages, cursor = 0, 0, None
    while True:
        found = search(given, "needle", cursor, slow)
        seen += [one.run.id for one in found.runs]
        looked, pages, cursor = looked + found.looked, pages + 1, found.rest
        assert found.cut == ()
        if cursor is None:
            break
    assert seen == runs
    assert looked == len(runs)
    assert pages > 2


def test_a_run_with_more_output_than_a_moment_is_named_and_left(given: FixtureServices) -> None:
    first, second = given.runs.list(ADMIN).items[:2]
    write(given, first.id, "", "needle\n" + "x\n" * 3_000_000)
    write(given, second.id, "", "needle\n")
    ticks = iter(range(1_000_000))
    found = search(given, "needle", None, RunSearch(lambda: next(ticks) / 4))
    assert [one.run.id for one in found.runs] == [first.id]  # its beginning is looked through
    assert found.cut == (first,)
    assert search(given, "needle", found.rest).runs[0].run.id == second.id


def test_few_search_at_a_time(given: FixtureServices, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runsearch, "_WAIT_SECONDS", 0.01)
    one, entered, leave = RunSearch(), threading.Barrier(runsearch._AT_ONCE + 1), threading.Event()

    def waits(cursor: str | None) -> Page[RunSummary]:
        entered.wait(20)
        leave.wait(20)
        return Page(())

    runs: Any = given.runs
    others = [threading.Thread(target=one.find, args=(runs, ADMIN, "x", waits, None)) for _ in range(2)]
    for other in others:
        other.start()
    entered.wait(20)
    with pytest.raises(TryLater, match="Others are searching logs"):
        search(given, "needle", None, one)
    leave.set()
    for other in others:
        other.join(20)
    assert search(given, "needle", None, one).looked == len(given.views)


@pytest.mark.parametrize(
    ("line", "text", "parts"),
    [
        ("  an Error here  ", "error", ("an ", "Error", " here")),
        (f"{'a' * 100}error{'b' * 200}", "error", (f"…{'a' * 80}", "error", f"{'b' * 160}…")),
        ("İ then error", "error", ("İ then ", "error", "")),  # longer in lower case
        ("İ then ERROR", "error", ("İ then ERROR", "", "")),
    ],
)
def test_a_line_is_cut_around_what_was_found(line: str, text: str, parts: tuple[str, str, str]) -> None:
    assert split(line, text) == parts
