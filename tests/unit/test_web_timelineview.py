from itertools import pairwise

import pytest
from fixture_runs import NOW, waited_journal, waited_run

from stepwell.ci.timeline import Kind, Span, Timeline, timeline
from stepwell_web import timelineview
from stepwell_web.timeaxis import Axis


def stretches(*told: tuple[Kind, float]) -> tuple[Span, ...]:
    found, at = [], 0.0
    for kind, seconds in told:
        found.append(Span(kind, at, at + seconds))
        at += seconds
    return tuple(found)


def said(*told: tuple[Kind, float], over: bool = True) -> str:
    parts = stretches(*told)
    seconds: dict[Kind, float] = {}
    for one in parts:
        seconds[one.kind] = seconds.get(one.kind, 0.0) + one.end - one.start
    return timelineview.sentence(Timeline(0.0, parts[-1].end, (), parts, seconds), over)


def test_one_sentence_says_where_the_time_went() -> None:
    assert said(("code", 0.4), ("work", 3), ("person", 41), ("queued", 3.6)) == (
        "3.0s of 48s were work; 41s waited for approval and 3.6s queued."
    )
    assert said(("work", 10)) == "10s of 10s were work."
    assert said(("wait", 90), over=False) == (
        "Nothing of 1m 30s was work so far; 1m 30s waited for a time or an event."
    )


def test_the_sentence_says_what_another_run_lived_through() -> None:
    told = Timeline(0.0, 10.0, (), stretches(("work", 10)), {"work": 10.0}, adopted=1.5)
    assert timelineview.sentence(told, over=True) == (
        "10s of 10s were work. The first 1.5s were in the run that it was restarted from."
    )


def test_work_is_drawn_to_scale() -> None:
    axis = Axis(stretches(("work", 10), ("queued", 10), ("work", 20)))
    assert [axis.place(at) for at in (0, 10, 20, 40)] == [0, 25, 50, 100]
    assert not any(piece.folded for piece in axis.pieces)


def test_a_long_wait_is_folded_and_nothing_is_lost() -> None:
    axis = Axis(stretches(("work", 30), ("person", 5000), ("wait", 4000), ("work", 30)))
    assert [piece.folded for piece in axis.pieces] == [False, True, False]
    assert all(a.right == b.left and a.end == b.start for a, b in pairwise(axis.pieces))
    assert axis.pieces[-1].right == pytest.approx(100)
    assert axis.place(30) == pytest.approx(45.5)
    assert axis.place(9030) == pytest.approx(54.5)


def test_a_short_wait_and_a_wait_without_work_stay_to_scale() -> None:
    for told in ((("work", 10.0), ("person", 5.0)), (("person", 500.0),)):
        axis = Axis(stretches(*told))
        assert [piece.folded for piece in axis.pieces] == [False]


def test_the_grid_is_at_round_distances_and_begins_anew_after_a_fold() -> None:
    ticks = Axis(stretches(("work", 30), ("person", 9000), ("work", 30))).ticks()
    assert [(tick.after, tick.from_fold) for tick in ticks] == [
        (10, False), (20, False), (10, True), (20, True),
    ]  # fmt: skip


def test_a_page_tells_every_step_with_its_line_and_its_bars() -> None:
    view = waited_run()
    page = timelineview.page(view, timeline(waited_journal(), NOW))
    assert page.sentence == "2m 47s of 3d 0h were work; 3d 0h waited for approval."
    assert [fold.label for fold in page.folds] == ["3d 0h"]
    rows = {row.name: row for row in page.rows}
    assert rows["deploy"].where_href == f"{view.summary.url}/source?file=pipeline.py#L24"
    assert rows["unit 3.11"].bars[1].told == "Work, attempt 1: 8.0s, failed"
    assert all(0 <= bar.left <= bar.left + bar.width <= 100.001 for row in page.rows for bar in row.bars)
    assert sum(share.percent for share in page.shares) == pytest.approx(100)
