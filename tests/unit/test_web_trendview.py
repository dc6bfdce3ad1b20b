import re
from dataclasses import replace

from fixture_runs import NASTY, NOW, summary

from stepwell.ci.trends import trend_of
from stepwell.ci.views import RunSummary
from stepwell_web import trendview


def run(number: int, seconds: float, state: str = "passed", **changes: object) -> RunSummary:
    begun = NOW - 10_000
    ended = None if state == "running" else begun + seconds
    return summary(number, state=state, started_at=begun, created_at=begun, ended_at=ended, **changes)


def heights(svg: str) -> list[float]:
    tops = re.findall(r'class="bar is-passed" d="M\d+ 36V([\d.]+)', svg)
    return [36 - float(top) + 1.5 for top in tops]


def test_a_trend_tells_median_of_passed_and_rate_of_judged_runs() -> None:
    runs = (run(1, 10), run(2, 30), run(3, 2, "failed"), run(4, 99, "cancelled"), run(5, 50), run(6, 1, "running"))
    trend = trend_of(runs)
    assert trend.median_seconds == 30
    assert (trend.pass_rate, trend.passed, trend.judged) == (0.75, 3, 4)


def test_waits_for_people_count_neither_in_the_median_nor_in_the_bars() -> None:
    waited = run(3, 90_020, waited=90_000.0)
    trend = trend_of((run(1, 10), run(2, 40), waited))
    assert trend.median_seconds == 20
    asks = run(4, 0, "running", waited=30.0, asks_since=NOW - 9_950)  # it began at NOW - 10,000
    assert asks.worked(NOW) == 20
    assert heights(trendview.draw(trend, NOW)) == [9, 36, 18]
    assert "#3 Passed, 20s" in trendview.draw(trend, NOW)


def test_a_trend_of_runs_without_result_tells_nothing() -> None:
    row = trendview.row(trend_of((run(1, 5, "running"),)), "/x", NOW)
    assert (row.median, row.rate, row.judged) == ("–", "–", "no result yet")


def test_bars_are_as_high_as_runs_are_long() -> None:
    low, middle, high = heights(trendview.draw(trend_of((run(1, 10), run(2, 15), run(3, 20))), NOW))
    assert high == 36
    assert (low, middle) == (18, 27)


def test_one_endless_run_does_not_press_the_others_flat() -> None:
    svg = trendview.draw(trend_of((run(1, 10), run(2, 10), run(3, 10), run(4, 100_000))), NOW)
    assert heights(svg) == [18, 18, 18]
    assert svg.count("is-passed over") == 1


def test_a_result_is_told_by_shape_too() -> None:
    states = ("failed", "cancelled", "waiting", "paused", "running")
    marks = [trendview.draw(trend_of((run(1, 9, state),)), NOW).partition('class="mark')[2] for state in states]
    shapes = {re.sub(r"is-\w+", "", mark.partition("/>")[0]) for mark in marks}
    assert len(shapes) == len(states)
    assert 'class="mark' not in trendview.draw(trend_of((run(1, 9),)), NOW)


def test_runs_of_no_time_are_drawn() -> None:
    assert trendview.draw(trend_of((run(1, 0), run(2, 0))), NOW).count('class="bar ') == 2


def test_words_say_what_the_bars_show() -> None:
    runs = (run(1, 1), run(2, 1), run(3, 1, "failed"))
    assert trendview.spoken(runs) == "Last 3 runs: 2 passed, 1 failed."
    assert trendview.spoken(runs[:1]) == "One run: 1 passed."


def test_what_others_wrote_is_escaped() -> None:
    trend = trend_of((replace(run(1, 1), title=NASTY),))
    assert "<script" not in trendview.draw(trend, NOW)
    assert "style=" not in trendview.draw(trend, NOW)
