"""The steps of a run page: which one opens, their addresses, rows and nodes."""

from dataclasses import replace

import pytest
from fixture_runs import NOW, busy_run, failed_run, passed_run, step

from stepwell.engine.rounds import PastStep, Round
from stepwell.errors import NotFound
from stepwell_web import runview


def test_a_run_opens_on_its_first_failed_step() -> None:
    chosen = runview.choose(busy_run(), None)
    assert chosen is not None
    assert chosen.name == "unit 3.13"


def test_a_run_without_steps_opens_on_nothing() -> None:
    assert runview.choose(failed_run(), None) is None


def test_steps_have_short_addresses_of_their_own() -> None:
    steps = (step("a b", "passed", 0, 1), step("a/b", "passed", 0, 1, key="a/b#1"), step("ü", "passed", 0, 1))
    assert list(runview.slugs(steps).values()) == ["a-b", "a-b~2", "ü"]


def test_a_step_is_found_by_address_and_by_key() -> None:
    view = busy_run()
    for wanted in ("unit-3.12", "unit 3.12#1"):
        chosen = runview.choose(view, wanted)
        assert chosen is not None
        assert chosen.key == "unit 3.12#1"
    assert runview.choose(view, "nonsense") is None


def test_logs_of_earlier_rounds_have_their_own_addresses() -> None:
    past = Round(1, NOW - 9, NOW - 5, 1, (PastStep("look#1", "look", "run", "passed", 1, NOW - 6, 1.0),))
    view = replace(busy_run(), rounds=(past,))
    assert [runview.key_of(view, key) for key in ("look#1", "@1")] == ["look#1", "@1"]
    for unknown in ("look", "look#2", "@2"):
        with pytest.raises(NotFound):
            runview.key_of(view, unknown)


def test_bars_lie_on_the_runs_time_axis() -> None:
    rows = {r.name: r for r in runview.rows(busy_run(), None, NOW)}
    assert rows["checkout"].start == 0
    assert rows["e2e chrome"].start + rows["e2e chrome"].width == 1000
    assert rows["coverage"].width == 0
    assert all(0 <= r.start <= r.start + r.width <= 1000 for r in rows.values())


def test_many_passed_steps_fold_on_a_phone_but_never_the_open_one() -> None:
    view = busy_run()
    rows = runview.rows(view, view.steps[0], NOW)
    assert not rows[0].folded
    assert rows[1].folded
    assert not any(r.folded for r in runview.rows(passed_run(), None, NOW))


def test_the_graph_draws_steps_after_all_they_need() -> None:
    seen: set[str] = set()
    for node in runview.nodes(busy_run(), None, NOW):
        assert set(node.needs) <= seen
        seen.add(node.id)


def test_times_grow_in_the_graph_as_in_the_list() -> None:
    view = busy_run()
    told = {row.name: row.since for row in runview.rows(view, None, NOW)}
    since = {node.label: node.since for node in runview.nodes(view, None, NOW)}
    assert any(since.values()) and since == {name: told[name] for name in since}
